"""`TransformStream`: a writable stream whose chunks, transformed, are those of a readable one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cfai.worker.web.promises import Promise, error_of
from cfai.worker.web.streams.algorithms import call, member
from cfai.worker.web.streams.queueing import strategy_of
from cfai.worker.web.streams.readable import ReadableStream
from cfai.worker.web.streams.sources import Controller
from cfai.worker.web.streams.writable import WritableStream
from cfai.worker.web.values import JsClass, JsProxy, JsTypeError

__all__ = ["TransformController", "TransformStream"]

NOT_READABLE = "The readable side of this TransformStream is no longer readable."


class TransformStream(JsProxy, metaclass=JsClass):
    """Two ends: what is written to `writable` is read from `readable`.

    ```python
    pipe = TransformStream.new()
    writer = pipe.writable.getWriter()      # write in a task of its own: a write waits until it is read
    return Response(pipe.readable)
    ```

    `TransformStream.new({"transform": ..., "flush": ...})` changes what passes: both are given a controller with
    `enqueue(chunk)`, `terminate()` and `error(reason)`.
    """

    def __init__(self, transformer: Any = None, writable_strategy: Any = None, readable_strategy: Any = None) -> None:
        if member(transformer, "readableType") is not None:
            raise JsTypeError("transformer.readableType must be undefined.")
        if member(transformer, "writableType") is not None:
            raise JsTypeError("transformer.writableType must be undefined.")
        started = Promise.pending()
        start = member(transformer, "start")
        self._controller = TransformController(self, transformer)
        self.readable = self._source(_Source(self._controller), readable_strategy)
        self._controller.attach(self.readable)
        self.writable: WritableStream = WritableStream.new(_Sink(self._controller, started), writable_strategy)
        result = None if start is None else start(self._controller)
        call(lambda: result, done=started.settle, failed=started.mark_handled().fail)

    def _source(self, source: Any, strategy: Any) -> ReadableStream:
        return ReadableStream.with_controller(lambda stream: Controller(stream, source, strategy_of(strategy, 0)))

    def __repr__(self) -> str:
        return f"[object {type(self).__name__}]"


class TransformController(JsProxy):
    """What a transformer is given.

    A write waits while nobody wants to read: `_wanted` is the promise that somebody does.
    """

    def __init__(self, stream: TransformStream, transformer: Any) -> None:
        self._stream = stream
        self._transform: Callable[..., Any] | None = member(transformer, "transform")
        self._flush: Callable[..., Any] | None = member(transformer, "flush")
        self._cancel: Callable[..., Any] | None = member(transformer, "cancel")
        self._has_backpressure = True
        self._wanted = Promise.pending().mark_handled()
        self._finishing: Promise | None = None

    def attach(self, readable: ReadableStream) -> None:
        self._readable = readable
        assert isinstance(readable.controller, Controller)  # with_controller was given one
        self._output = readable.controller
        self._output.start(None)

    @property
    def desiredSize(self) -> Any:  # noqa: N802  # JavaScript's spelling
        return self._output.desiredSize

    def enqueue(self, chunk: Any = None) -> None:
        if not self._output.is_open:
            raise JsTypeError(NOT_READABLE)
        try:
            self._output.enqueue(chunk)
        except Exception as error:
            self._fail_writable(error)
            raise
        if self._output.is_open and self._output.has_backpressure and not self._has_backpressure:
            self._set_backpressure(True)

    def error(self, reason: Any = None) -> None:
        self._output.error(reason)
        self._fail_writable(reason)

    def terminate(self) -> None:
        if self._output.is_open:
            self._output.close()
        self._fail_writable(JsTypeError("The transform stream has been terminated"))

    # What follows is for the two ends.

    def write(self, chunk: Any) -> Any:
        if not self._has_backpressure:
            return self._perform(chunk)
        return self._write_when(self._wanted, chunk)

    async def _write_when(self, wanted: Promise, chunk: Any) -> None:
        await wanted
        writable = self._stream.writable
        if writable.error is not None:
            raise writable.error
        result = self._perform(chunk)
        if result is not None:
            await result

    def _perform(self, chunk: Any) -> Any:
        if self._transform is None:
            self.enqueue(chunk)
            return None
        promise = Promise.pending()

        def failed(error: BaseException) -> None:
            self.error(error)
            promise.fail(error)

        call(self._transform, chunk, self, done=lambda _: promise.settle(), failed=failed)
        return promise

    def close(self) -> Promise:
        """Everything is written."""
        if self._finishing is not None:
            return self._finishing
        self._finishing = promise = Promise.pending().mark_handled()

        def done(result: Any) -> None:
            if self._readable.state == "errored":
                promise.fail(self._readable.error)
                return
            if self._output.is_open:
                self._output.close()
            promise.settle()

        def failed(error: BaseException) -> None:
            self._output.error(error)
            promise.fail(error)

        flush, self._transform = self._flush, None
        self._flush = None
        call(flush, *(() if flush is None else (self,)), done=done, failed=failed)
        return promise

    def abort(self, reason: Any) -> Promise:
        """The one who writes gives up."""
        return self._cancel_with(reason, lambda error: self._output.error(error))

    def cancel(self, reason: Any) -> Promise:
        """The one who reads gives up."""
        return self._cancel_with(reason, self._fail_writable)

    def _cancel_with(self, reason: Any, tell: Callable[[Any], None]) -> Promise:
        if self._finishing is not None:
            return self._finishing
        self._finishing = promise = Promise.pending().mark_handled()
        error = error_of(reason)

        def done(result: Any) -> None:
            tell(error)
            promise.settle()

        def failed(problem: BaseException) -> None:
            tell(problem)
            promise.fail(problem)

        cancel, self._cancel = self._cancel, None
        call(cancel, reason, done=done, failed=failed)
        return promise

    def pull(self) -> Promise:
        """Somebody wants to read."""
        self._set_backpressure(False)
        return self._wanted

    def _set_backpressure(self, has: bool) -> None:
        if self._has_backpressure != has:
            self._has_backpressure = has
            wanted, self._wanted = self._wanted, Promise.pending().mark_handled()
            wanted.settle()

    def _fail_writable(self, reason: Any) -> None:
        self._transform = self._flush = None
        self._stream.writable.fail_if_writable(reason)
        if self._has_backpressure:
            self._set_backpressure(False)


class _Sink(JsProxy):
    """The writable end's."""

    def __init__(self, controller: TransformController, started: Promise) -> None:
        self._controller, self._started = controller, started

    def start(self, _: Any) -> Promise:
        return self._started

    def write(self, chunk: Any, _: Any) -> Any:
        return self._controller.write(chunk)

    def close(self) -> Promise:
        return self._controller.close()

    def abort(self, reason: Any) -> Promise:
        return self._controller.abort(reason)


class _Source(JsProxy):
    """The readable end's."""

    def __init__(self, controller: TransformController) -> None:
        self._controller = controller

    def pull(self, _: Any) -> Promise:
        return self._controller.pull()

    def cancel(self, reason: Any) -> Promise:
        return self._controller.cancel(reason)
