"""One thread that owns one thing, a connection for instance, and does one piece of work with it after the other."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Generic, Protocol, TypeVar

__all__ = ["Lane"]

CLOSE_SECONDS = 5.0


class Owned(Protocol):
    def interrupt(self) -> None: ...
    def close(self) -> None: ...


T = TypeVar("T", bound=Owned)
R = TypeVar("R")


class Lane(Generic[T]):
    """Opens the thing at the first piece of work, in its thread, and closes it there.

    ```python
    lane = Lane(lambda: Database(file), "d1 DB")
    rows = await lane.run(lambda database: database.query("SELECT 1"))
    ```

    A caller that is cancelled interrupts its own work, or takes it out of the queue.
    """

    def __init__(self, open_it: Callable[[], T], name: str) -> None:
        self._open = open_it
        self._name = name
        self._queue: SimpleQueue[_Work | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._thing: T | None = None
        self._running: _Work | None = None
        self._closed = False

    async def run(self, do: Callable[[T], R]) -> R:
        """What `do` returns, done in the thread."""
        if self._closed:
            raise RuntimeError(f"{self._name} is closed")
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()
        work = _Work(do)
        self._queue.put(work)
        try:
            result: R = await work.answer
        except asyncio.CancelledError:
            self._cancel(work)
            raise
        return result

    def close(self) -> None:
        """End the thread; work that is under way is interrupted, work that waits is not begun."""
        self._closed = True
        if self._thread is None:
            return
        with self._lock:
            if self._running is not None:
                self._running.cancelled = True
            if self._thing is not None:
                self._thing.interrupt()
        self._queue.put(None)
        self._thread.join(CLOSE_SECONDS)

    def _cancel(self, work: _Work) -> None:
        # Under the lock, so that the interrupt meets this work and not the one behind it.
        with self._lock:
            work.cancelled = True
            if self._running is work and self._thing is not None:
                self._thing.interrupt()

    def _work(self) -> None:
        while (work := self._queue.get()) is not None:
            with self._lock:
                if work.cancelled or self._closed:
                    continue
                self._running = work
            try:
                if self._thing is None:
                    self._thing = self._open()
                work.done(work.do(self._thing), None)
            except BaseException as error:  # whatever it is belongs to the one who waits
                work.done(None, error)
            finally:
                with self._lock:
                    self._running = None
        if self._thing is not None:
            self._thing.close()


class _Work:
    def __init__(self, do: Callable[[Any], Any]) -> None:
        self.do = do
        self.cancelled = False
        self._loop = asyncio.get_running_loop()
        self.answer: asyncio.Future[Any] = self._loop.create_future()

    def done(self, result: Any, error: BaseException | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop of a caller who is gone may be closed
            self._loop.call_soon_threadsafe(self._settle, result, error)

    def _settle(self, result: Any, error: BaseException | None) -> None:
        if self.answer.done():
            return
        if error is None:
            self.answer.set_result(result)
        else:
            self.answer.set_exception(error)
