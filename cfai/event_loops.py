"""What anyio does not have: work that a loop does for another thread, work of its own, and the first of several.

Asyncio and trio call the first two by different names, and both step out of the order of task groups.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Sequence
from typing import Any, Protocol, TypeVar, cast

import anyio
from anyio.lowlevel import EventLoopToken, current_token

__all__ = ["Arrival", "Readable", "first_of", "run_soon", "start_task"]


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


class Arrival:
    """What one task awaits and others set, once, in the loop that it was made in: less than an `anyio.Event`.

    ```python
    arrival = Arrival()
    await arrival  # until somebody calls arrival.set()
    ```
    """

    __slots__ = ("_event", "_future")

    def __init__(self) -> None:
        import asyncio

        self._event: anyio.Event | None = None
        try:
            task = asyncio.current_task()
        except RuntimeError:  # trio runs this task
            task = None
        if task is None:  # trio runs it, and may do so as a guest of asyncio's loop
            self._event = anyio.Event()
        else:
            self._future = task.get_loop().create_future()

    def set(self) -> None:
        if self._event is not None:
            self._event.set()
        elif not self._future.done():  # set before, or the task was cancelled
            self._future.set_result(None)

    def __await__(self) -> Generator[Any, None, None]:
        return self._future.__await__() if self._event is None else self._event.wait().__await__()


class Readable(Protocol):
    """What one task reads and others fill."""

    arrival: Arrival | None
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
        arrival = Arrival()
        for readable in readables:
            readable.arrival = arrival
        await arrival
