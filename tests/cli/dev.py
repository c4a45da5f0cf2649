"""`cfai dev` in tests: started, asked, and looked at from outside."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.processes import Process

__all__ = ["HELLO", "address_of", "children_of", "configure", "dev", "engine_of", "is_alive", "save", "wait_for"]

HELLO = "from workers import Response\n\ndef on_fetch(request, env):\n    return Response('hello')\n"


def configure(folder: Path, **settings: object) -> None:
    config = {"main": "entry.py", "compatibility_date": "2025-01-01", "compatibility_flags": ["python_workers"]}
    save(folder / "wrangler.json", json.dumps({**config, "ai": {"binding": "AI"}, **settings}))


def save(file: Path, text: str) -> None:
    """Write a file as many editors do, in one change. Emptied and then written, it may be two, and two reloads."""
    new = file.parent.parent / f"{file.name}.saving"  # not in the folder that is watched
    new.write_text(text)
    new.replace(file)


def dev(project: Path, temporary: Path, *options: str) -> Process:
    # A short way to the socket: its path has a limit of about 100 characters.
    return Process("dev", str(project), "--port", "0", *options, environment={"TMPDIR": str(temporary)})


def address_of(process: Process) -> str:
    return process.read_until("[wrangler:info] Ready on").split()[-1]


def children_of(process: Process) -> list[int]:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    if not children.exists():
        pytest.skip("needs Linux's list of children")
    return [int(pid) for pid in children.read_text().split()]


def engine_of(process: Process) -> int:
    """The engine's process, once there is one."""
    found: list[int] = []

    def is_there() -> bool:
        found[:] = [pid for pid in children_of(process) if b"--with-parent" in command_of(pid)]
        return bool(found)

    wait_for(is_there)
    return found[0]


def command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def is_alive(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:  # it may go while it is looked at
        return False
    # A process that nobody waits for stays in the table.
    return status.rpartition(")")[2].split()[0] != "Z"


def wait_for(holds: Callable[[], bool]) -> None:
    ends_at = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < ends_at, "it never came about"
        time.sleep(0.01)
