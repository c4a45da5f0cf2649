"""Waiting in tests: for what must come about, without a guess how long it takes."""

from __future__ import annotations

from collections.abc import Callable

import anyio

__all__ = ["until"]


async def until(holds: Callable[[], bool]) -> None:
    """Return when `holds()` does; fail after a minute."""
    with anyio.fail_after(60):
        while not holds():  # noqa: ASYNC110  # it comes about in another thread or process
            await anyio.sleep(0.005)
