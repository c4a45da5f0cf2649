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

from cfai.worker import compat
from cfai.worker.web.conversion import PyProxy
from cfai.worker.web.proxies import is_spelled_out, missing

__all__ = ["ClientGone", "Context", "current", "of"]

T = TypeVar("T")

current: ContextVar[Context] = ContextVar("cfai.worker.ctx.current")
"""The context of the request that is being answered; unset while a script is imported."""

END_SECONDS = 5.0
"""A script that does not let go of its tasks holds nobody up longer than this."""


@contextmanager
def of(ctx: Context) -> Iterator[None]:
    """Make `ctx` the current one."""
    token = current.set(ctx)
    try:
        yield
    finally:
        current.reset(token)


class ClientGone(Exception):
    """Nobody reads what is written any more."""


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
        self._tasks: set[asyncio.Task[Any]] = set()
        self._at_end: dict[Callable[[], Any], None] = {}
        self._number = 0
        self.props: dict[str, Any] = {}
        self.passes_through = False

    def waitUntil(self, work: Awaitable[Any]) -> None:  # noqa: N802  # JavaScript's spelling
        if isinstance(work, PyProxy):
            work = work.unwrap()
        if not inspect.isawaitable(work):
            raise TypeError(f"waitUntil takes an awaitable, not {type(work).__name__}")
        self._background.start_soon(self._finish, work)

    def __getattr__(self, name: str) -> Any:
        if name == "wait_until" and is_spelled_out():
            compat.current().lenient("ctx.wait_until", lambda: AttributeError(name), instead="ctx.waitUntil(...)")
            return self.waitUntil
        raise missing("ctx", name)

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

    def keep(self, task: asyncio.Task[Any]) -> None:
        """`task` is a part of the request: what is left of it at the end is cancelled."""
        if task not in self._tasks:
            self._tasks.add(task)
            task.add_done_callback(self._let_go)

    def _let_go(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        # That nobody reads what a task writes is no news to anybody, and no error to complain about later.
        if isinstance(getattr(task, "_exception", None), ClientGone):
            task.exception()

    def at_end(self, call: Callable[[], Any]) -> None:
        """Call `call` when the request is over, unless it is forgotten before."""
        self._at_end[call] = None

    def forget(self, call: Callable[[], Any]) -> None:
        self._at_end.pop(call, None)

    def next_number(self) -> int:
        self._number += 1
        return self._number

    async def end(self, *, grace: float = 0) -> None:
        """Nothing is left to send or to wait for: timers end, and, in `grace` seconds, what else goes on."""
        while self._at_end:
            self._at_end.popitem()[0]()
        if self._tasks and grace:
            await asyncio.wait(self._tasks, timeout=grace)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=END_SECONDS)

    async def _finish(self, work: Awaitable[Any]) -> None:
        from cfai.worker.failures import is_the_scripts  # which knows responses, and they know contexts

        try:
            await work
        except BaseException as error:
            if not is_the_scripts(error):
                raise
            self.report(error)
