"""The timer of cron triggers: each minute, the handler is run for every expression whose time it is.

A minute belongs to the process that claims it first, by making a file. So when one process takes over from another at a
reload, no minute is run twice; and the new one begins with the minute behind the last that was claimed, so that none is
left out while there was no process.
"""

from __future__ import annotations

import contextlib
import datetime
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import anyio

from cfai.config import Cron, CronError

__all__ = ["Claims", "CronTimer", "cron_timer"]

LATE_MINUTES = 2
"""A minute that is longer past, as after a night in which the machine slept, is left out."""

LONGEST_SLEEP = 20.0
"""How long to sleep at most: the clock may be set meanwhile."""


class Claims:
    """Which minutes were run in one session of `cfai dev`, told by files in `folder`.

    session  tells the sessions of one project apart; the processes of one session share it
    """

    def __init__(self, folder: Path, session: str) -> None:
        self._folder = folder
        self._session = session

    def claim(self, minute: int) -> bool:
        """Whether no other process has the minute already."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._file(minute).touch(exist_ok=False)
        except FileExistsError:
            return False
        except OSError:  # where nothing can be written, nobody else can claim it either
            return True
        for file in self._folder.glob("*.minute"):
            if int(file.stem.rpartition("-")[2]) < minute - LATE_MINUTES:
                with contextlib.suppress(OSError):
                    file.unlink()
        return True

    def last(self) -> int | None:
        """The last minute that was claimed in this session."""
        minutes = [int(file.stem.rpartition("-")[2]) for file in self._folder.glob(f"{self._session}-*.minute")]
        return max(minutes, default=None)

    def _file(self, minute: int) -> Path:
        return self._folder / f"{self._session}-{minute}.minute"


class CronTimer:
    """Calls `run(expression, time)` at the times of `crons`; the time is in milliseconds.

    ```python
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(timer.run)
        ...
        timer.stop()
    ```
    """

    def __init__(
        self,
        crons: Sequence[Cron],
        run: Callable[[str, int], Coroutine[Any, Any, object]],
        claims: Claims,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._crons = crons
        self._run = run
        self._claims = claims
        self._clock = clock
        self._sleep = sleep
        self._waiting = anyio.CancelScope()

    async def run(self) -> None:
        """Go on until `stop()`, and then until the handlers that run have ended."""
        async with anyio.create_task_group() as running:
            with self._waiting:
                last = self._claims.last()
                minute = self._present if last is None else max(last, self._present - LATE_MINUTES)
                while True:
                    minute = max(minute + 1, self._present - LATE_MINUTES)
                    await self._sleep_until(minute)
                    if self._claims.claim(minute):
                        moment = datetime.datetime.fromtimestamp(minute * 60, datetime.UTC)
                        for cron in self._crons:
                            if cron.matches(moment):
                                running.start_soon(self._run, cron.expression, minute * 60_000)

    def stop(self) -> None:
        """Begin no other run."""
        self._waiting.cancel()

    @property
    def _present(self) -> int:
        return int(self._clock() // 60)

    async def _sleep_until(self, minute: int) -> None:
        while (left := minute * 60 - self._clock()) > 0:
            await self._sleep(min(left, LONGEST_SLEEP))


def cron_timer(
    expressions: Sequence[str], run: Callable[[str, int], Coroutine[Any, Any, object]], state: Path, session: str
) -> CronTimer:
    """The timer of a project's expressions, without those that are none; its claims are kept under `state`."""
    crons = []
    for expression in expressions:
        with contextlib.suppress(CronError):  # which the config has remarked on
            crons.append(Cron.parse(expression))
    return CronTimer(crons, run, Claims(state / "cfai-crons", session))
