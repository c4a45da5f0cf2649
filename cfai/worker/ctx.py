"""The context of one request: `ctx` in a handler, `self.ctx` in an entrypoint."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import anyio
from anyio.abc import TaskGroup

__all__ = ["Context", "current", "of"]

T = TypeVar("T")

current: ContextVar[Context] = ContextVar("cfai.worker.ctx.current")
"""The context of the request that is being answered; unset while a script is imported."""


@contextmanager
def of(ctx: Context) -> Iterator[None]:
    """Make `ctx` the current one."""
    token = current.set(ctx)
    try:
        yield
    finally:
        current.reset(token)


class Context:
    """What a handler may ask of the one who runs it.

    `waitUntil(awaitable)` keeps work going after the response; what it raises is reported and goes no further.
    """

    def __init__(self, background: TaskGroup, report: Callable[[BaseException], None]) -> None:
        self._background = background
        self._loop = asyncio.get_running_loop()
        self._for_threads: set[Future[Any]] = set()
        self.report = report
        self._streams: list[Any] = []
        self.props: dict[str, Any] = {}
        self.passes_through = False

    def waitUntil(self, work: Awaitable[Any]) -> None:  # noqa: N802  # JavaScript's spelling
        if not inspect.isawaitable(work):
            raise TypeError(f"waitUntil takes an awaitable, not {type(work).__name__}")
        self._background.start_soon(self._finish, work)

    wait_until = waitUntil

    def passThroughOnException(self) -> None:  # noqa: N802
        """Remembered, without effect: there is no origin server behind a local Worker."""
        self.passes_through = True

    def start(self, work: Callable[..., Coroutine[Any, Any, Any]], *args: Any) -> None:
        """Run `work(*args)` beside the handler; it may last as long as the response does."""
        self._background.start_soon(work, *args)

    def finish_for_thread(self, work: Coroutine[Any, Any, T]) -> T:
        """What `work` gives, for another thread than the event loop's, which does the work."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        self._for_threads.add(future)
        try:
            return future.result()
        finally:
            self._for_threads.discard(future)

    def leave_threads(self) -> None:
        """Cancel what threads wait for: the request is over, and a thread cannot be cancelled itself."""
        for future in list(self._for_threads):
            future.cancel()

    def owns(self, stream: Any) -> None:
        """Close `stream` when the request is over, however it ends: a model must not write for nobody."""
        self._streams.append(stream)

    async def close_streams(self, *, unread_only: bool = False) -> None:
        with anyio.CancelScope(shield=True):
            for stream in self._streams:
                if not (unread_only and stream.was_read):
                    await stream.aclose()

    async def _finish(self, work: Awaitable[Any]) -> None:
        try:
            await work
        except Exception as error:
            self.report(error)
