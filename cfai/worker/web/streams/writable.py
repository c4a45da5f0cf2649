"""`WritableStream` and its writer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cfai.worker.web.aborting import AbortController, AbortSignal
from cfai.worker.web.nulls import jsnull, seen
from cfai.worker.web.promises import Promise, error_of
from cfai.worker.web.streams.algorithms import call, member
from cfai.worker.web.streams.queueing import Queue, strategy_of
from cfai.worker.web.values import JsClass, JsProxy, JsTypeError

__all__ = ["WritableStream", "Writer"]

LOCKED = "This WritableStream is currently locked to a writer."
RELEASED = "This WritableStream writer has been released."
CLOSED = "This WritableStream has been closed."


class WritableStream(JsProxy, metaclass=JsClass):
    """Where chunks go, one after the other; `writer.ready` and the promise of a write say when there is room again.

    ```python
    writer = stream.getWriter()
    await writer.write(chunk)
    await writer.close()
    ```

    `WritableStream.new({"start": ..., "write": ..., "close": ..., "abort": ...})` makes one. How it ends: a failure
    makes it `erroring` until the write that is under way has come back, then `errored`.
    """

    def __init__(self, sink: Any = None, strategy: Any = None) -> None:
        if member(sink, "type") is not None:
            raise JsTypeError("Invalid underlying sink type. Only undefined is valid.")
        self.state = "writable"
        self.error: BaseException | None = None
        self.writer: Writer | None = None
        self.has_backpressure = False
        self._queue = Queue(strategy_of(strategy, 1))
        self._write: Callable[..., Any] | None = member(sink, "write")
        self._close: Callable[..., Any] | None = member(sink, "close")
        self._abort: Callable[..., Any] | None = member(sink, "abort")
        self._controller = WritableController(self)
        self._is_started = self._is_advancing = False
        self._in_flight: Promise | None = None
        self._closing: Promise | None = None
        self._is_closing_now = False
        self._aborting: tuple[Promise, Any, bool] | None = None
        self._update_backpressure()
        if (start := member(sink, "start")) is None:
            self._started()
        else:
            result = start(self._controller)
            call(lambda: result, done=self._started, failed=self._not_started)

    @property
    def locked(self) -> bool:
        return self.writer is not None

    def getWriter(self) -> Writer:  # noqa: N802  # JavaScript's spelling
        return Writer(self)

    def close(self) -> Promise:
        """Close when everything is written."""
        return Promise.reject(JsTypeError(LOCKED)) if self.locked else self.close_locked()

    def abort(self, reason: Any = None) -> Promise:
        """Write no more, and say so to the sink."""
        return Promise.reject(JsTypeError(LOCKED)) if self.locked else self.abort_locked(reason)

    def __repr__(self) -> str:
        return "[object WritableStream]"

    # What follows is for the writer, the controller and pipes.

    @property
    def desired_size(self) -> float | None:
        if self.state in ("errored", "erroring"):
            return None
        return 0 if self.state == "closed" else self._queue.desired_size

    @property
    def is_closing(self) -> bool:
        return self._closing is not None

    def write(self, chunk: Any) -> Promise:
        if self.state == "errored":
            return Promise.reject(self.error)
        if self.is_closing or self.state == "closed":
            return Promise.reject(JsTypeError(CLOSED))
        if self.state == "erroring":
            return Promise.reject(self.error)
        promise = Promise.pending()
        try:
            self._queue.put(chunk, promise)
        except Exception as error:
            self.fail_if_writable(error)
            promise.fail(error)
            return promise
        self._update_backpressure()
        self._advance()
        return promise

    def close_locked(self) -> Promise:
        if self.is_closing:
            return Promise.reject(JsTypeError("Cannot close a writer that is already being closed"))
        if self.state == "closed":
            return Promise.reject(JsTypeError(CLOSED))
        if self.state == "errored":
            return Promise.reject(self.error)
        closing = self._closing = Promise.pending()
        if self.writer is not None and self.has_backpressure and self.state == "writable":
            self.writer.ready.settle()
        self._advance()
        return closing

    def abort_locked(self, reason: Any = None) -> Promise:
        if self.state in ("closed", "errored"):
            return Promise.resolve()
        self._controller.abort(reason)
        if self._aborting is not None:
            return self._aborting[0]
        was_erroring = self.state == "erroring"
        promise = Promise.pending()
        self._aborting = (promise, None if was_erroring else reason, was_erroring)
        if not was_erroring:
            self._begin_to_fail(error_of(reason))
        return promise

    def fail_if_writable(self, reason: Any) -> None:
        if self.state == "writable":
            self._begin_to_fail(error_of(reason))

    def _started(self, result: Any = None) -> None:
        self._is_started = True
        if self.state == "erroring":
            self._finish_failing()
        self._advance()

    def _not_started(self, error: BaseException) -> None:
        self._is_started = True
        if self.state == "erroring":
            self._finish_failing()
        else:
            self._begin_to_fail(error)

    def _advance(self) -> None:
        if self._is_advancing:  # a sink that is through at once must not nest
            return
        self._is_advancing = True
        try:
            self._work()
        finally:
            self._is_advancing = False

    def _work(self) -> None:
        while self._is_started and self._in_flight is None and not self._is_closing_now:
            if self.state == "erroring":
                self._finish_failing()
                return
            if self.state != "writable":
                return
            if self._queue:
                chunk, self._in_flight = self._queue.first()
                if not call(self._write, chunk, self._controller, done=self._written, failed=self._not_written):
                    return
            elif self._closing is not None:
                self._is_closing_now = True
                if not call(self._close, done=self._closed, failed=self._not_closed):
                    return
            else:
                return

    def _written(self, result: Any = None) -> None:
        promise, self._in_flight = self._in_flight, None
        assert promise is not None
        self._queue.take()
        promise.settle()
        if self.state == "writable" and not self.is_closing:
            self._update_backpressure()
        self._advance()

    def _not_written(self, error: BaseException) -> None:
        promise, self._in_flight = self._in_flight, None
        assert promise is not None
        self._queue.take()
        promise.fail(error)
        self._fail_now(error)

    def _closed(self, result: Any = None) -> None:
        closing, self._closing = self._closing, None
        assert closing is not None
        self._is_closing_now = False
        # A sink that could be closed has not failed, even if it was about to.
        if self._aborting is not None:
            self._aborting[0].settle()
            self._aborting = None
        self.state, self.error = "closed", None
        self._let_go()
        closing.settle()
        if self.writer is not None:
            self.writer.closed.settle()

    def _not_closed(self, error: BaseException) -> None:
        closing, self._closing = self._closing, None
        assert closing is not None
        self._is_closing_now = False
        closing.fail(error)
        if self._aborting is not None:
            self._aborting[0].fail(error)
            self._aborting = None
        self._fail_now(error)

    def _fail_now(self, error: BaseException) -> None:
        if self.state == "writable":
            self._begin_to_fail(error)
        elif self.state == "erroring":
            self._finish_failing()

    def _begin_to_fail(self, error: BaseException) -> None:
        self.state, self.error = "erroring", error
        if self.writer is not None:
            self.writer.fail_ready(error)
        if self._in_flight is None and not self._is_closing_now and self._is_started:
            self._finish_failing()

    def _finish_failing(self) -> None:
        if self._in_flight is not None or self._is_closing_now:
            return
        self.state = "errored"
        while self._queue:
            self._queue.take()[1].fail(self.error)
        aborting, self._aborting = self._aborting, None
        abort = self._abort
        self._let_go()
        if aborting is None:
            self._reject_closing()
            return
        promise, reason, was_erroring = aborting
        if was_erroring:
            promise.fail(self.error)
            self._reject_closing()
            return

        def done(result: Any) -> None:
            promise.settle()
            self._reject_closing()

        def failed(error: BaseException) -> None:
            promise.fail(error)
            self._reject_closing()

        call(abort, reason, done=done, failed=failed)

    def _reject_closing(self) -> None:
        if self._closing is not None:
            self._closing.fail(self.error)
            self._closing = None
        if self.writer is not None:
            self.writer.closed.fail(self.error)

    def _update_backpressure(self) -> None:
        has_backpressure = self._queue.desired_size <= 0
        if has_backpressure != self.has_backpressure and self.writer is not None:
            if has_backpressure:
                self.writer.ready = Promise.pending().mark_handled()
            else:
                self.writer.ready.settle()
        self.has_backpressure = has_backpressure

    def _let_go(self) -> None:
        self._write = self._close = self._abort = None


class WritableController(JsProxy):
    """What a sink is given: `error(reason)`, and `signal`, which says that the stream is aborted."""

    def __init__(self, stream: WritableStream) -> None:
        self._stream = stream
        self._abort = AbortController.new()

    @property
    def signal(self) -> AbortSignal:
        return self._abort.signal

    def error(self, reason: Any = None) -> None:
        self._stream.fail_if_writable(reason)

    def abort(self, reason: Any) -> None:
        self._abort.abort(reason)


class Writer(JsProxy):
    """What `getWriter()` returns."""

    def __init__(self, stream: WritableStream) -> None:
        if stream.locked:
            raise JsTypeError(LOCKED)
        self._stream: WritableStream | None = stream
        self.closed = Promise.pending().mark_handled()
        self.ready = Promise.pending().mark_handled()
        stream.writer = self
        if stream.state == "writable":
            if stream.is_closing or not stream.has_backpressure:
                self.ready.settle()
        elif stream.state == "closed":
            self.ready.settle()
            self.closed.settle()
        else:
            self.ready.fail(stream.error)
            if stream.state == "errored":
                self.closed.fail(stream.error)

    @property
    def desiredSize(self) -> Any:  # noqa: N802  # JavaScript's spelling
        if self._stream is None:
            raise JsTypeError(RELEASED)
        size = self._stream.desired_size
        return seen(jsnull) if size is None else size

    def write(self, chunk: Any = None) -> Promise:
        return Promise.reject(JsTypeError(RELEASED)) if self._stream is None else self._stream.write(chunk)

    def close(self) -> Promise:
        return Promise.reject(JsTypeError(RELEASED)) if self._stream is None else self._stream.close_locked()

    def abort(self, reason: Any = None) -> Promise:
        return Promise.reject(JsTypeError(RELEASED)) if self._stream is None else self._stream.abort_locked(reason)

    def releaseLock(self) -> None:  # noqa: N802
        if self._stream is None:
            return
        error = JsTypeError(RELEASED)
        self.fail_ready(error)
        if self.closed.is_pending:
            self.closed.fail(error)
        else:
            self.closed = Promise.reject(error).mark_handled()
        self._stream.writer = None
        self._stream = None

    def fail_ready(self, error: BaseException) -> None:
        if self.ready.is_pending:
            self.ready.fail(error)
        else:
            self.ready = Promise.reject(error).mark_handled()

    def __repr__(self) -> str:
        return "[object WritableStreamDefaultWriter]"
