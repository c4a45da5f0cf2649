"""Time as a binding passes it: the machine's, or one that costs none."""

from __future__ import annotations

import heapq
import itertools
import sys
import time
from typing import Protocol, runtime_checkable

import anyio
from anyio.lowlevel import checkpoint, current_token

__all__ = ["VIRTUAL_START", "Clock", "RealClock", "VirtualClock", "seconds_since_1970"]

VIRTUAL_START = 1_767_225_600.0
"""The first of January 2026 at 00:00 UTC: the day that it is where a virtual clock begins to count."""


@runtime_checkable
class Clock(Protocol):
    """What tells the time, in seconds from any start, and lets it pass."""

    def now(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...


class RealClock:
    """The machine's own."""

    def now(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)


class VirtualClock:
    """A clock that jumps: whoever sleeps wakes at once, in the order in which real sleepers would.

    ```python
    clock = VirtualClock()
    await clock.sleep(30)
    clock.now()  # 30.0, and no time has passed
    ```

    It counts from 0 and belongs to one event loop. What waits for anything else, a socket or a timeout of the event
    loop, does so by the machine's clock. On an event loop whose own time jumps (`cfai.testing.virtual_time`), the two
    are one: a timeout that ends before a sleep does comes first.
    """

    def __init__(self) -> None:
        self._now = 0.0
        self._sleepers: list[tuple[float, int]] = []
        self._turns = itertools.count()
        self._loop: object = None
        self._start = 0.0
        """What the loop's own time was when this clock was at 0."""

    def now(self) -> float:
        if (loop := _loop_that_jumps()) is not None:
            if loop is not self._loop:
                self._loop, self._start = loop, anyio.current_time() - self._now
            self._now = anyio.current_time() - self._start
        return self._now

    async def sleep(self, seconds: float) -> None:
        if _loop_that_jumps() is not None:
            self.now()  # it counts from here on
            await anyio.sleep(max(seconds, 0.0))
            self.now()
            return
        mine = (self._now + max(seconds, 0.0), next(self._turns))
        heapq.heappush(self._sleepers, mine)
        try:
            await checkpoint()  # others that are about to sleep may wake before
            while self._sleepers[0] != mine:
                await checkpoint()
            self._now = max(self._now, mine[0])
        finally:
            self._sleepers.remove(mine)
            heapq.heapify(self._sleepers)


def seconds_since_1970(clock: Clock) -> float:
    """What has to be added to `clock.now()` to know the day and the hour.

    ```python
    seconds_since_1970(VirtualClock())  # 1767225600.0
    ```
    """
    return VIRTUAL_START if isinstance(clock, VirtualClock) else time.time() - clock.now()


def _loop_that_jumps() -> object | None:
    """The event loop that runs here, if its time is not the machine's. Such a loop, as trio's MockClock, has an
    `autojump_threshold`."""
    try:
        loop = current_token().native_token
    except anyio.NoEventLoopError:
        return None
    trio = sys.modules.get("trio")
    if trio is not None and isinstance(loop, trio.lowlevel.TrioToken):
        return loop if hasattr(trio.lowlevel.current_clock(), "autojump_threshold") else None
    return loop if hasattr(loop, "autojump_threshold") else None
