"""Time as a binding passes it: the machine's, or one that costs none."""

from __future__ import annotations

import heapq
import itertools
import time
from typing import Protocol, runtime_checkable

import anyio
from anyio.lowlevel import checkpoint

__all__ = ["Clock", "RealClock", "VirtualClock"]


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
    loop, does so by the machine's clock.
    """

    def __init__(self) -> None:
        self._now = 0.0
        self._sleepers: list[tuple[float, int]] = []
        self._turns = itertools.count()

    def now(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
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
