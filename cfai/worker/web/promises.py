"""`Promise`: work that has begun, whoever awaits it, and however often."""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

from cfai.worker.compat import current
from cfai.worker.web.callbacks import begin, report
from cfai.worker.web.errors import destroyed_proxy
from cfai.worker.web.values import JsArray, JsClass, JsException, JsObject, JsProxy

__all__ = ["Promise", "error_of", "promised"]

P = ParamSpec("P")

# JavaScript complains when all that could run has run; awaiting takes Python some turns of its loop more.
UNSEEN_SECONDS = 0.1


class Promise(JsProxy, metaclass=JsClass):
    """A JavaScript promise. It can be awaited again and again, and by several at once.

    ```python
    promise = Promise.of(work())        # has begun; who awaits it and is cancelled alone cancels the work
    promise = Promise.pending()         # settled by `promise.settle(value)` or `promise.fail(error)`
    ```

    A failure that nobody looks at is reported, unless `mark_handled` was called.
    """

    def __init__(self, executor: Callable[[Any, Any], Any] | None = None) -> None:
        self._state = "pending"
        self._value: Any = None
        self._waiters: deque[Callable[[], None]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._is_handled = False
        if executor is not None:
            try:
                executor(self.settle, self.fail)
            except (Exception, SystemExit) as error:
                self.fail(error)

    @classmethod
    def pending(cls) -> Promise:
        promise: Promise = type.__call__(cls)  # a stream makes several per chunk
        return promise

    @classmethod
    def of(cls, work: Coroutine[Any, Any, Any]) -> Promise:
        """Begin `work`."""
        promise = cls.new()
        promise._task = begin(promise._run(work))
        return promise

    @classmethod
    def resolve(cls, value: Any = None) -> Promise:
        if isinstance(value, Promise):
            return value
        promise = cls.new()
        promise.settle(value)
        return promise

    @classmethod
    def reject(cls, reason: Any = None) -> Promise:
        promise = cls.new()
        promise.fail(reason)
        return promise

    @property
    def is_pending(self) -> bool:
        return self._state == "pending"

    def settle(self, value: Any = None) -> None:
        """End well. What can be awaited is waited for first. A promise that has ended stays as it is."""
        if self._state != "pending":
            return
        if value is not None and inspect.isawaitable(value):
            self._task = self._task or begin(self._run(value))
            return
        self._end("fulfilled", value)

    def fail(self, reason: Any = None) -> None:
        """End with an error."""
        if self._state != "pending":
            return
        waited_for = bool(self._waiters)
        self._end("rejected", error_of(reason))
        if not waited_for and not self._is_handled:
            asyncio.get_running_loop().call_later(UNSEEN_SECONDS, self._complain)

    def mark_handled(self) -> Promise:
        """Nobody needs to look at a failure."""
        self._is_handled = True
        return self

    def when_ended(self, done: Callable[[Any], None], failed: Callable[[BaseException], None]) -> bool:
        """Call one of them when this ends. Whether it has already."""
        self._is_handled = True

        def tell() -> None:
            if self._state == "fulfilled":
                done(self._value)
            else:
                failed(self._value)

        if self._state == "pending":
            self._waiters.append(tell)
            return False
        tell()
        return True

    def __await__(self) -> Generator[Any, None, Any]:
        return self._result().__await__()

    def then(self, fulfilled: Callable[[Any], Any] | None = None, rejected: Callable[[Any], Any] | None = None) -> Any:
        async def follow() -> Any:
            try:
                value = await self
            except (Exception, SystemExit) as error:
                if rejected is None:
                    raise
                return await _awaited(rejected(error))
            return value if fulfilled is None else await _awaited(fulfilled(value))

        self._is_handled = True
        return Promise.of(follow())

    def catch(self, rejected: Callable[[Any], Any]) -> Any:
        return self.then(None, rejected)

    def finally_(self, call: Callable[[], Any]) -> Any:
        async def follow() -> Any:
            try:
                return await self
            finally:
                await _awaited(call())

        self._is_handled = True
        return Promise.of(follow())

    @classmethod
    def all(cls, promises: Iterable[Any]) -> Promise:
        _check_is_kept(promises)

        async def work() -> JsArray:
            return JsArray(await asyncio.gather(*map(_awaited, promises)))

        return cls.of(work())

    @classmethod
    def allSettled(cls, promises: Iterable[Any]) -> Promise:  # noqa: N802
        _check_is_kept(promises)

        async def work() -> JsArray:
            ends = await asyncio.gather(*map(_awaited, promises), return_exceptions=True)
            return JsArray(
                JsObject({"status": "rejected", "reason": end})
                if isinstance(end, BaseException)
                else JsObject({"status": "fulfilled", "value": end})
                for end in ends
            )

        return cls.of(work())

    @classmethod
    def race(cls, promises: Iterable[Any]) -> Promise:
        """The first that ends, however it does."""
        _check_is_kept(promises)
        promise = cls.new()
        for one in promises:
            cls.resolve(one if isinstance(one, Promise) else cls.of(_awaited(one))).then(promise.settle, promise.fail)
        return promise

    @classmethod
    def any(cls, promises: Iterable[Any]) -> Promise:
        """The first that ends well; the errors of all where none does."""
        _check_is_kept(promises)
        promise = cls.new()

        async def work() -> Any:
            ends = [cls.resolve(one if isinstance(one, Promise) else cls.of(_awaited(one))) for one in promises]
            for one in ends:
                one.then(promise.settle, lambda error: None)
            results = await asyncio.gather(*ends, return_exceptions=True)
            if all(isinstance(result, BaseException) for result in results):
                promise.fail(JsException("All promises were rejected", "AggregateError"))

        promise._task = asyncio.get_running_loop().create_task(work())
        return promise

    def _end(self, state: str, value: Any) -> None:
        self._state, self._value = state, value
        while self._waiters:
            self._waiters.popleft()()

    async def _run(self, work: Awaitable[Any]) -> None:
        try:
            value = await work
        except asyncio.CancelledError as error:
            self._is_handled = True
            self.fail(error)
            raise
        except (Exception, SystemExit) as error:
            self.fail(error)
        else:
            self._task = None
            self.settle(value)

    async def _result(self) -> Any:
        self._is_handled = True
        if self._state == "pending":
            await self._end_of()
        if self._state == "rejected":
            if isinstance(self._value, asyncio.CancelledError):
                raise asyncio.CancelledError
            raise _without_our_frames(self._value)
        return self._value

    async def _end_of(self) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def wake() -> None:
            if not waiter.done():
                waiter.set_result(None)

        self._waiters.append(wake)
        try:
            await waiter
        except asyncio.CancelledError:
            if self._state == "pending":
                self._waiters.remove(wake)
                if self._task is not None and not self._waiters:
                    await _cancelled(self._task)
            raise

    def _complain(self) -> None:
        if not self._is_handled:
            self._is_handled = True
            report(self._value)

    def __repr__(self) -> str:
        return "[object Promise]"


_OURS = str(Path(__file__).parents[2])


def _without_our_frames(error: BaseException) -> BaseException:
    """`error` as JavaScript throws it: what a script logs of it begins where the script waits for it."""
    trace = error.__traceback__
    while isinstance(error, JsException) and trace is not None and trace.tb_frame.f_code.co_filename.startswith(_OURS):
        trace = trace.tb_next
    return error.with_traceback(trace)


def error_of(reason: Any) -> BaseException:
    """`reason`, which JavaScript may throw whatever it is, as an error that Python can raise."""
    if isinstance(reason, BaseException):
        return reason
    if reason is None:
        return JsException("undefined")
    return JsException(str(reason))


def promised(method: Callable[P, Coroutine[Any, Any, Any]]) -> Callable[P, Any]:
    """For an `async def` that JavaScript has as a function that returns a promise: it begins when it is called.

    In a thread that has no event loop, it begins when `run_sync` takes it.
    """

    @wraps(method)
    def begin(*args: P.args, **options: P.kwargs) -> Any:
        work = method(*args, **options)
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return work
        return Promise.of(work)

    return begin


def _check_is_kept(promises: Any) -> None:
    """A list of Python's is only lent to JavaScript, and so is what it holds."""
    if isinstance(promises, list | tuple) and not all(isinstance(one, str | int | float) for one in promises):
        current().lenient(
            "js.Promise.all of a Python list, without to_js,",
            lambda: destroyed_proxy("when an iterator was exhausted."),
            instead="js.Promise.all(to_js([...])), or asyncio.gather(*[...])",
        )


async def _awaited(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


async def _cancelled(task: asyncio.Task[None]) -> None:
    """Cancel `task` and wait until it has ended, however often the one who waits is cancelled meanwhile."""
    task.cancel()
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            continue
