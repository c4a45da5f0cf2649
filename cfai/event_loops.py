"""What anyio does not have: work that a loop does for another thread, work of its own, and the first of several.

Asyncio and trio call the first two by different names, and both step out of the order of task groups.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeVar, cast

import anyio
from anyio.lowlevel import EventLoopToken, current_token

__all__ = ["Readable", "first_of", "run_soon", "start_task"]


class _Loop(Protocol):
    """The methods of asyncio's event loop that are asked for here; trio's spell them differently."""

    def call_soon_threadsafe(self, call: Callable[..., object], *args: object) -> object: ...
    def create_task(self, work: Awaitable[None]) -> object: ...


def run_soon(token: EventLoopToken, call: Callable[..., object], *args: object) -> bool:
    """Have the loop of `token` make a call, from any thread. False if that loop has ended.

    ```python
    token = anyio.lowlevel.current_token()
    run_soon(token, event.set)  # in another thread
    ```
    """
    native: Any = token.native_token
    soon = (
        cast("_Loop", native).call_soon_threadsafe if hasattr(native, "call_soon_threadsafe") else native.run_sync_soon
    )
    try:
        soon(call, *args)
    except RuntimeError:  # asyncio's "Event loop is closed", trio's RunFinishedError
        return False
    return True


def start_task(work: Callable[[], Awaitable[None]]) -> object:
    """Start `work`, which raises nothing, in this loop beside all task groups; keep what comes back until it has ended.

    ```python
    task = start_task(reader.run)  # and wait for what tells that it has ended
    ```
    """
    native: Any = current_token().native_token
    if hasattr(native, "create_task"):
        return cast("_Loop", native).create_task(work())
    import trio

    return trio.lowlevel.spawn_system_task(work)


class Readable(Protocol):
    """What one task reads and others fill."""

    arrival: anyio.Event | None
    """Set by who fills it, when there is something."""

    @property
    def has_something(self) -> bool:
        """Reading on does not have to wait."""


R = TypeVar("R", bound=Readable)


async def first_of(readables: Sequence[R]) -> R:
    """The first of several, all read by this task, that has something to read.

    Give the one that was read last the last place, and none is read more often than the others.

    ```python
    stream = await first_of([one, another])
    ```
    """
    while True:
        for readable in readables:
            if readable.has_something:
                return readable
        arrival = anyio.Event()
        for readable in readables:
            readable.arrival = arrival
        await arrival.wait()
