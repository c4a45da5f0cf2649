"""Something that one thread finishes and tasks of any event loop wait for."""

from __future__ import annotations

import threading
from collections.abc import Callable

import anyio
from anyio.lowlevel import EventLoopToken, current_token

from cfai.errors import AiError
from cfai.event_loops import run_soon

__all__ = ["Ready"]


class Ready:
    """Something that another thread finishes once, awaited by any number of tasks in any event loop.

    ```python
    ready.set()  # in one thread
    await ready.wait()  # in others
    ```
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[tuple[EventLoopToken, anyio.Event]] = []
        self._calls: list[Callable[[AiError | None], object]] = []
        self._error: AiError | None = None
        self.is_set = False

    def set(self, error: AiError | None = None) -> None:
        """Let the waiting go on, or raise `error` in each of them."""
        with self._lock:
            self.is_set, self._error = True, error
            waiting, self._waiting = self._waiting, []
            calls, self._calls = self._calls, []
        for token, event in waiting:
            run_soon(token, event.set)
        for call in calls:
            call(error)

    def then(self, call: Callable[[AiError | None], object]) -> None:
        """Have `call` made with the error, or None, by the thread that finishes it; here if that was before."""
        with self._lock:
            is_set = self.is_set
            if not is_set:
                self._calls.append(call)
        if is_set:
            call(self._error)

    async def wait(self) -> None:
        """Return when it is finished; raises its error. May be cancelled and called again."""
        with self._lock:
            mine = None if self.is_set else (current_token(), anyio.Event())
            if mine is not None:
                self._waiting.append(mine)
        if mine is not None:
            try:
                await mine[1].wait()
            finally:
                with self._lock:
                    self._waiting = [each for each in self._waiting if each is not mine]
        if self._error is not None:
            raise self._error
