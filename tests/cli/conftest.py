"""A project for `cfai dev`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.dev import HELLO, configure


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    """Where the processes of a test put their private folder."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "entry.py").write_text(HELLO)
    configure(folder)
    return folder
