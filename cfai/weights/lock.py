"""One process at a time, and a disk that does not run full."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

__all__ = ["ROOM_LEFT", "alone"]

ROOM_LEFT = 64 * 1024 * 1024
"""Bytes of a disk that are left free."""


@contextlib.contextmanager
def alone(lock: Path, *, on_wait: Callable[[], None]) -> Iterator[None]:
    """Hold the lock, which ends with the process. `on_wait` is called if another one has it, and may raise.

    ```python
    with alone(folder / "pull.lock", on_wait=lambda: print("another process is at it")): ...
    ```
    """
    from filelock import FileLock, Timeout

    lock.parent.mkdir(parents=True, exist_ok=True)
    held = FileLock(lock)
    try:
        held.acquire(timeout=0)
    except Timeout:
        on_wait()
        held.acquire()
    try:
        yield
    finally:
        held.release()
