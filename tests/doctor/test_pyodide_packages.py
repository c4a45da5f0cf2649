"""How pyodide.json is made."""

from __future__ import annotations

from pathlib import Path

import pytest

from cfai.doctor import pyodide_packages


def test_what_pyodide_has_is_written_with_a_line_per_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "pyodide"
    folder.mkdir()
    (folder / "package.json").write_text('{"version": "0.1"}')
    packages = (
        '{"a": {"name": "Big_Lib", "package_type": "package", "imports": ["big"]},'
        ' "b": {"name": "ssl", "package_type": "cpython_module", "imports": ["ssl"]}}'
    )
    (folder / "pyodide-lock.json").write_text(f'{{"packages": {packages}}}')
    node = tmp_path / "node"
    node.write_text('#!/bin/sh\necho loading\necho \'["ssl", "_own", "curses"]\'\n')
    node.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    target = tmp_path / "made.json"
    pyodide_packages.main([str(folder)], target)
    assert target.read_text() == (
        '{\n "0.1": {\n  "missing": ["curses"],\n  "packages": {\n   "big-lib": ["big"]\n  }\n }\n}\n'
    )
