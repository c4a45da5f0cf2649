"""Node programs in tests: packages installed as their lock says, and what a program tells line by line."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

__all__ = ["HERE", "installed", "needs_node", "tell"]

HERE = Path(__file__).parent

needs_node = pytest.mark.skipif(
    shutil.which("node") is None or shutil.which("npm") is None, reason="Node.js and npm are not on this machine"
)


def installed(folder: Path) -> Path:
    """`node_modules` of `folder`, as its package-lock.json has it."""
    modules = folder / "node_modules"
    done = modules / ".cfai-installed"
    lock = (folder / "package-lock.json").read_text()
    with _one_at_a_time(folder):
        if not done.is_file() or done.read_text() != lock:
            subprocess.run(
                ["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"], cwd=folder, check=True, timeout=600
            )
            done.write_text(lock)
    return modules


@contextlib.contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """npm begins by removing what is there, which other processes of the same run may be using or making."""
    name = hashlib.sha256(str(folder).encode()).hexdigest()[:16]
    with (Path(tempfile.gettempdir()) / f"cfai-npm-{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def tell(program: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> Iterator[Any]:
    """Run `program` and give the JSON values that it prints, each as soon as it is there."""
    with subprocess.Popen(
        ["node", str(program), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(environment or {})},
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        try:
            for line in process.stdout:
                yield json.loads(line)
            told = process.stderr.read()
            assert process.wait(30) == 0, told
        finally:
            process.kill()
