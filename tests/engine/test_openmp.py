"""A thread of torch's that waits for another one soon gives its core away, unless the user wants it otherwise."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="torch has GNU's OpenMP on Linux")

SHOW = {"OMP_DISPLAY_ENV": "verbose"}
"""The library says at its start what it goes by."""


def spins(**environment: str) -> tuple[int, list[str]]:
    """How often a waiting thread looks before it sleeps, and what of this a child's environment has."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("GOMP_", "OMP_"))}
    script = "import cfai.engine, os; print(*[name for name in os.environ if 'SPIN' in name or 'WAIT' in name])"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**inherited, **SHOW, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    [found] = re.findall(r"GOMP_SPINCOUNT = '(\w+)'", done.stderr)
    return (sys.maxsize if found == "INFINITE" else int(found)), done.stdout.split()


def test_a_thread_that_waits_sleeps_soon_and_nobody_else_is_told() -> None:
    count, told = spins()
    assert count <= 10_000
    assert told == []


def test_who_wants_it_otherwise_has_it_so() -> None:
    assert spins(GOMP_SPINCOUNT="77") == (77, ["GOMP_SPINCOUNT"])
    count, told = spins(OMP_WAIT_POLICY="active")
    assert count > 10_000
    assert told == ["OMP_WAIT_POLICY"]
