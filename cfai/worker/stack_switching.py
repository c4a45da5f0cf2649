"""`run_sync`: synchronous code that waits for an awaitable while the event loop goes on.

How it works. Pyodide suspends a WebAssembly stack (JavaScript promise integration) where `run_sync` is called; here the
stack is a greenlet's. Each step of a Worker's coroutine runs on a `_Stack` of its own rather than on the event loop's:
`Switching` is the coroutine that the loop's task sees, and passes `send` and `throw` on to the stack. `run_sync` drives
its awaitable on the spot; what that yields to the event loop leaves through `Switching.send`, just as if the script had
written `await`, and the step after comes back to the middle of the synchronous code. So the task stays the same one:
its cancellation, timeouts and context variables are those of the code that waits. A step that waits for nothing in this
way leaves its stack at once, and the next step of whichever task takes it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, TypeVar

from greenlet import GreenletExit, getcurrent, greenlet

from cfai.worker import compat
from cfai.worker import ctx as contexts

__all__ = ["as_in_pyodide", "can_run_sync", "run_sync", "switching", "wait"]

T = TypeVar("T")

# The first two are Pyodide's (src/core/stack_switching of 0.28 and of 0.26).
NO_STACK = (
    "Cannot stack switch because the Python entrypoint was a synchronous function. Use pyFunc.callPromising() to fix."
)
NO_SWITCHING = "WebAssembly stack switching not supported in this JavaScript runtime"


def switching(work: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]:
    """`work`, below which `run_sync` may be called.

    ```python
    await switching(handler(request))
    ```

    So may every task that is made while a request is answered.
    """
    return work if _stack() is not None else Switching(work, _stacks_of(asyncio.get_running_loop()))


def can_run_sync() -> bool:
    """Whether `run_sync` would work here."""
    if not compat.current().compat.has_run_sync:
        return False
    return _stack() is not None or _context_of_thread() is not None


def run_sync(awaitable: Awaitable[T]) -> T:
    """What `awaitable` gives, from synchronous code below a handler; other requests go on meanwhile.

    ```python
    answer = run_sync(env.AI.run(model, {"prompt": "hi"}))
    ```

    In a thread that a handler started (`asyncio.to_thread`, a `def` route of FastAPI) the event loop does the work.
    """
    if not compat.current().compat.has_run_sync:
        compat.current().lenient("run_sync", lambda: RuntimeError(NO_SWITCHING))
    return wait(awaitable)


def wait(awaitable: Awaitable[T]) -> T:
    """`run_sync` for cfai's own use, whatever the Worker's date."""
    work = _awaited(awaitable)
    if (stack := _stack()) is not None:
        return _drive(work, stack)
    if (ctx := _context_of_thread()) is not None:
        return ctx.finish_for_thread(work)
    work.close()
    if (close := getattr(awaitable, "close", None)) is not None:
        close()
    error = RuntimeError(NO_STACK)
    if threading.current_thread() is not threading.main_thread():
        error.add_note("a thread that a handler starts with asyncio.to_thread may wait")
    raise error


async def _awaited(awaitable: Awaitable[T]) -> T:
    return await awaitable


def _drive(work: Coroutine[Any, Any, T], stack: _Stack) -> T:
    step: Callable[[Any], Any] = work.send
    value: Any = None
    here = getcurrent()
    while True:
        try:
            asked = step(value)
        except StopIteration as end:
            result: T = end.value
            return result
        caller = stack.parent
        assert caller is not None  # whoever switched to it
        try:
            step, value = work.send, caller.switch((here, asked, None))
        except BaseException as error:
            step, value = work.throw, error


def _stack() -> _Stack | None:
    """The stack that runs, or that runs a greenlet of the script's own."""
    here: greenlet | None = getcurrent()
    while here is not None:
        if isinstance(here, _Stack):
            return here
        here = here.parent
    return None


def _context_of_thread() -> contexts.Context | None:
    """The context of the request that this other thread works for."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return contexts.current.get(None)
    return None


class _Stack(greenlet):  # type: ignore[misc]
    """Where steps run, one after another. Each ends with (where it waits, what it yields or returns, its error)."""

    def run(self, step: Callable[[Any], Any], value: Any) -> None:
        while True:
            result = error = None
            try:
                result = step(value)
            except GreenletExit:  # nobody will ever come back
                return
            except BaseException as raised:
                error = raised
            del step, value
            caller = self.parent
            assert caller is not None
            step, value = caller.switch((None, result, error))
            del result, error


class Switching(Coroutine[Any, Any, T]):
    """A coroutine whose steps run on a stack that can be left in the middle."""

    __slots__ = ("__weakref__", "_idle", "_stack", "_waits", "_work")

    def __init__(self, work: Coroutine[Any, Any, T], idle: list[_Stack]) -> None:
        self._work = work
        self._idle = idle
        self._stack: _Stack | None = None
        self._waits: greenlet | None = None

    def send(self, value: Any) -> Any:
        if self._stack is None:
            return self._step(self._work.send, value)
        return self._go_on(value, None)

    def throw(self, kind: Any, value: Any = None, trace: Any = None) -> Any:
        error = kind if isinstance(kind, BaseException) else value if value is not None else kind()
        if self._stack is None:
            return self._step(self._work.throw, error)
        return self._go_on(None, error)

    def close(self) -> None:
        if self._stack is None:
            self._work.close()
            return
        try:
            self.throw(GeneratorExit())
        except (GeneratorExit, StopIteration):
            return
        raise RuntimeError("coroutine ignored GeneratorExit")

    def _step(self, step: Callable[[Any], Any], value: Any) -> Any:
        here = getcurrent()
        stack = self._idle.pop() if self._idle else _Stack()
        stack.parent = here
        stack.gr_context = here.gr_context
        return self._end_of_step(stack, stack.switch(step, value))

    def _go_on(self, value: Any, error: BaseException | None) -> Any:
        stack, waits = self._stack, self._waits
        assert stack is not None and waits is not None
        self._stack = self._waits = None
        stack.parent = getcurrent()
        return self._end_of_step(stack, waits.switch(value) if error is None else waits.throw(error))

    def _end_of_step(self, stack: _Stack, end: tuple[greenlet | None, Any, BaseException | None]) -> Any:
        waits, result, error = end
        if waits is not None:
            self._stack, self._waits = stack, waits
            return result
        self._idle.append(stack)
        if error is not None:
            try:
                raise error
            finally:
                del error, end  # a traceback that holds its own error lives until the collector comes
        return result

    def __await__(self) -> Generator[Any, Any, T]:
        return self

    def __iter__(self) -> Switching[T]:
        return self

    def __next__(self) -> Any:
        return self.send(None)

    def __getattr__(self, name: str) -> Any:
        # cr_frame, cr_running, __qualname__ and the like: what debuggers, anyio and repr() ask of a task's coroutine.
        return getattr(self._work, name)

    def __repr__(self) -> str:
        return repr(self._work)


class _TaskFactory:
    """Makes the tasks of a loop: those of a request can switch stacks."""

    def __init__(self, before: Callable[..., Any] | None) -> None:
        self._before = before
        self.idle: list[_Stack] = []

    def __call__(self, loop: asyncio.AbstractEventLoop, work: Any, /, **options: Any) -> Any:
        ctx = contexts.current.get(None)
        if ctx is not None and asyncio.iscoroutine(work):
            work = Switching(work, self.idle)
        made = asyncio.Task(work, loop=loop, **options) if self._before is None else self._before(loop, work, **options)
        if ctx is not None:
            ctx.keep(made)
        return made


def _stacks_of(loop: asyncio.AbstractEventLoop) -> list[_Stack]:
    factory: Any = loop.get_task_factory()
    if not isinstance(factory, _TaskFactory):
        factory = _TaskFactory(factory)
        loop.set_task_factory(factory)
        _let_it_run_until_complete(loop)
    stacks: list[_Stack] = factory.idle
    return stacks


def _let_it_run_until_complete(loop: asyncio.AbstractEventLoop) -> None:
    before = loop.run_until_complete

    @wraps(before)
    def run_until_complete(future: Any) -> Any:
        if not loop.is_running() or _stack() is None:
            return before(future)
        if not compat.current().compat.has_run_sync:
            return asyncio.ensure_future(future)  # as in Pyodide 0.26, which only sees to it that it runs
        return wait(future)

    loop.run_until_complete = run_until_complete  # type: ignore[method-assign]


@contextmanager
def as_in_pyodide() -> Iterator[None]:
    """`asyncio.run` and `time.sleep` below a handler wait as `run_sync` does (pyodide/webloop.py of 0.28)."""
    run, sleep = asyncio.run, time.sleep

    @wraps(run)
    def run_below(main: Coroutine[Any, Any, T], **options: Any) -> T:
        if _stack() is None or contexts.current.get(None) is None:
            return run(main, **options)
        if not compat.current().compat.has_run_sync:
            refusal = "asyncio.run() cannot be called from a running event loop"
            compat.current().lenient("asyncio.run() in a handler", lambda: RuntimeError(refusal))
        return wait(main)

    @wraps(sleep)
    def sleep_below(seconds: float, /) -> None:
        if _stack() is None or not compat.current().compat.has_run_sync:
            sleep(seconds)
        else:
            wait(asyncio.sleep(seconds))

    asyncio.run, time.sleep = run_below, sleep_below  # type: ignore[assignment]
    try:
        yield
    finally:
        asyncio.run, time.sleep = run, sleep
