"""Event loops whose time jumps: where nothing is ready to run, it is at once the time of whatever comes next.

A program under test may have timeouts of its own, `asyncio.timeout(30)` around a stream that stalls. On such a loop
they run out in the order in which they would, and cost no time.

    asyncio   `VirtualTimeLoop`, wherever a `loop_factory` is taken
    trio      `trio.testing.MockClock`, with what keeps it from jumping while a thread works
    anyio     `virtual_time_backend("asyncio")` or `virtual_time_backend("trio")`, a backend with its options

While a thread works for the loop, in an executor or in anyio's or trio's default pool, time passes as the machine's
does. Not seen are threads that a program starts by itself, pools with a limiter of their own, and other processes: what
comes from them may come after a timeout that it would have been in time for. A socket's two ends in one loop are fine.
"""

from __future__ import annotations

import asyncio
import math
import selectors
import time
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from contextvars import Context
from typing import TYPE_CHECKING, Any, Literal, TypeVar, TypeVarTuple, Unpack

from anyio import to_thread

if TYPE_CHECKING:
    from trio.abc import Instrument
    from trio.testing import MockClock

__all__ = ["VirtualTimeLoop", "virtual_time_backend"]

_Args = TypeVarTuple("_Args")
_Result = TypeVar("_Result")


def virtual_time_backend(backend: Literal["asyncio", "trio"] = "asyncio") -> tuple[str, dict[str, Any]]:
    """A backend of anyio whose time jumps, and its options.

    ```python
    @pytest.fixture(params=["asyncio", "trio"])
    def anyio_backend(request):
        return virtual_time_backend(request.param)
    ```
    """
    if backend == "asyncio":
        return backend, {"loop_factory": VirtualTimeLoop}
    if backend == "trio":
        from trio.testing import MockClock

        clock = MockClock(autojump_threshold=0)
        return backend, {"clock": clock, "instruments": [_threads_of_trio(clock)]}
    raise ValueError(f"no backend is called {backend!r}; there are asyncio and trio")


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop of asyncio that never waits for a timer.

    ```python
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(asyncio.sleep(3600))  # over at once, and an hour later by the loop's time
    ```

    Its time begins at 0 and stands still while callbacks run.
    """

    autojump_threshold = 0.0
    """For how long nothing happens before time jumps: the sign by which `cfai.clock` knows such a loop."""

    def __init__(self) -> None:
        self._virtual_now = 0.0
        self._executor_jobs = 0
        self._pool_context = _context_of_asyncio()
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        return self._virtual_now

    def pass_time(self, seconds: float) -> None:
        """Let time pass; whatever was to come in between comes next."""
        # A hair more, lest a timer be due in less than floating-point numbers can tell.
        self._virtual_now = math.nextafter(self._virtual_now + seconds, math.inf)

    @property
    def has_threads_at_work(self) -> bool:
        """Whether a thread of an executor, or of anyio's pool, has something to do for this loop."""
        limiter = self._pool_context.run(to_thread.current_default_thread_limiter)
        return self._executor_jobs > 0 or limiter.borrowed_tokens > 0

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[_Args]], _Result], *args: *_Args
    ) -> asyncio.Future[_Result]:
        job = super().run_in_executor(executor, func, *args)
        self._executor_jobs += 1
        job.add_done_callback(self._job_is_done)
        return job

    def _job_is_done(self, _: asyncio.Future[_Result]) -> None:
        self._executor_jobs -= 1


class _JumpingSelector(selectors.DefaultSelector):
    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        if ready := super().select(0):
            return ready
        if self._loop.has_threads_at_work:
            before = time.monotonic()
            ready = super().select(timeout)
            self._loop.pass_time(min(time.monotonic() - before, timeout))
            return ready
        self._loop.pass_time(timeout)
        return []


def _context_of_asyncio() -> Context:
    """A context in which anyio sees that asyncio runs, also where there is no task."""
    context = Context()
    with suppress(ImportError):
        import sniffio

        context.run(sniffio.current_async_library_cvar.set, "asyncio")
    return context


def _threads_of_trio(clock: MockClock) -> Instrument:
    """What lets `clock` pass time as the machine does while trio's pool has something to do."""
    import trio

    class Threads(trio.abc.Instrument):
        def after_task_step(self, task: trio.lowlevel.Task) -> None:
            is_at_work = trio.to_thread.current_default_thread_limiter().borrowed_tokens > 0
            if is_at_work != (clock.rate > 0):
                clock.rate = 1.0 if is_at_work else 0.0
                clock.autojump_threshold = math.inf if is_at_work else 0.0

    return Threads()
