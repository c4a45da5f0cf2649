"""A watch over the event loop: a script that holds on to it keeps every other request waiting, and is told so."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

__all__ = ["watch_the_loop"]

BEAT_SECONDS = 1.0

BLOCKED_SECONDS = 5.0


def watch_the_loop(
    folder: Path, say: Callable[[str], None], is_excused: Callable[[], bool], *, limit: float = BLOCKED_SECONDS
) -> None:
    """Say it when the running loop does not come round for `limit` seconds, and where in `folder` the script is then.

    is_excused  whether it is a person that the script waits for
    """
    watch = _Watch(folder, say, is_excused, limit)
    watch.beat(asyncio.get_running_loop())
    threading.Thread(target=watch.run, args=(threading.get_ident(),), daemon=True).start()


class _Watch:
    def __init__(self, folder: Path, say: Callable[[str], None], is_excused: Callable[[], bool], limit: float) -> None:
        self._folder = folder
        self._say = say
        self._is_excused = is_excused
        self._limit = limit
        self._last = time.monotonic()

    def beat(self, loop: asyncio.AbstractEventLoop) -> None:
        self._last = time.monotonic()
        loop.call_later(min(BEAT_SECONDS, self._limit / 2), self.beat, loop)

    def run(self, thread: int) -> None:
        told_of = 0.0
        while True:
            time.sleep(min(BEAT_SECONDS, self._limit / 2))
            last = self._last
            if time.monotonic() - last < self._limit or told_of == last:
                continue
            if self._is_excused():
                continue
            told_of = last
            self._say(
                f"note: the script has held on to the event loop for {self._limit:g} s{self._place(thread)}; "
                "no other request is answered meanwhile. Use what can be awaited, or asyncio.to_thread"
            )

    def _place(self, thread: int) -> str:
        frame = sys._current_frames().get(thread)
        while frame is not None:
            file = Path(frame.f_code.co_filename)
            if file.is_relative_to(self._folder) and "site-packages" not in file.parts:
                return f", at {file.relative_to(self._folder)}:{frame.f_lineno}"
            frame = frame.f_back
        return ""
