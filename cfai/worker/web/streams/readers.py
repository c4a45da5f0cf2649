"""Who reads a stream: the readers of scripts, and what waits for a chunk."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

from cfai.worker.web.promises import Promise
from cfai.worker.web.values import JsObject, JsProxy, JsTypeError, Uint8Array, options_of

if TYPE_CHECKING:
    from cfai.worker.web.streams.readable import ReadableStream

__all__ = ["END", "ByobReader", "Read", "Reader", "Waiting", "result_of"]

RELEASED = "This ReadableStream reader has been released."

END = object()
"""What is waited for when there is nothing more."""


class Read(Protocol):
    """A read that waits for its chunk."""

    @property
    def is_wanted(self) -> bool: ...
    def deliver(self, chunk: Any) -> Any:
        """Take `chunk`; returns what is left of it, or None."""

    def finish(self) -> None: ...
    def fail(self, error: BaseException) -> None: ...


class Waiting:
    """A read of the runtime's own."""

    __slots__ = ("future",)

    def __init__(self) -> None:
        self.future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    @property
    def is_wanted(self) -> bool:
        return not self.future.done()

    def deliver(self, chunk: Any) -> None:
        self.future.set_result(chunk)

    def finish(self) -> None:
        if not self.future.done():
            self.future.set_result(END)

    def fail(self, error: BaseException) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class _Promised:
    """A read of a script's."""

    __slots__ = ("promise",)
    is_wanted = True

    def __init__(self) -> None:
        self.promise = Promise.pending()

    def deliver(self, chunk: Any) -> None:
        self.promise.settle(result_of(chunk))

    def finish(self) -> None:
        self.promise.settle(result_of(None, done=True))

    def fail(self, error: BaseException) -> None:
        self.promise.fail(error)


class _Filling(_Promised):
    """A read into a buffer: at least some bytes, at most as many as there is room for."""

    __slots__ = ("_least", "_read", "room")

    def __init__(self, room: int, least: int) -> None:
        super().__init__()
        self.room = room
        self._least = least
        self._read = bytearray()

    def deliver(self, chunk: Any) -> Any:
        data = memoryview(chunk).cast("B")
        taken = min(self.room, len(data))
        self._read += data[:taken]
        self.room -= taken
        if len(self._read) >= self._least:
            self.promise.settle(result_of(bytes(self._read)))
        return data[taken:].tobytes() if taken < len(data) else None

    @property
    def is_whole(self) -> bool:
        return not self.promise.is_pending

    def finish(self) -> None:
        # The end may come before there was enough: what there is is given out first.
        self.promise.settle(result_of(bytes(self._read), done=not self._read))


def result_of(chunk: Any, *, done: bool = False) -> JsObject:
    return JsObject({"done": done, "value": Uint8Array(chunk) if isinstance(chunk, bytes) else chunk})


class Reader(JsProxy):
    """What `getReader()` returns: `(await reader.read()).done` and `.value`, until the lock is released."""

    def __init__(self, stream: ReadableStream) -> None:
        self._stream: ReadableStream | None = stream
        self.closed = Promise.pending().mark_handled()
        stream.lock(self)

    def read(self) -> Promise:
        if self._stream is None:
            return Promise.reject(JsTypeError(RELEASED))
        read = _Promised()
        self._stream.read_into(read)
        return read.promise

    def cancel(self, reason: Any = None) -> Promise:
        if self._stream is None:
            return Promise.reject(JsTypeError(RELEASED))
        return self._stream.cancel_locked(reason)

    def releaseLock(self) -> None:  # noqa: N802  # JavaScript's spelling
        if self._stream is not None:
            error = JsTypeError(RELEASED)
            self._stream.unlock(error)
            self._stream = None
            if self.closed.is_pending:
                self.closed.fail(error)
            else:
                self.closed = Promise.reject(error).mark_handled()

    def __repr__(self) -> str:
        return f"[object {self._name}]"

    _name = "ReadableStreamDefaultReader"


class ByobReader(Reader):
    """What `getReader(mode="byob")` returns: it reads as many bytes as there is room for in what it is given."""

    _name = "ReadableStreamBYOBReader"

    def read(self, view: Any = None, options: Any = None) -> Promise:
        least = options_of(options).get("min", 1)
        return self._read(view, int(least))

    def readAtLeast(self, least: int, view: Any) -> Promise:  # noqa: N802
        """Wait for `least` bytes; there may be fewer at the end."""
        return self._read(view, int(least))

    def _read(self, view: Any, least: int) -> Promise:
        if self._stream is None:
            return Promise.reject(JsTypeError(RELEASED))
        room = getattr(view, "byteLength", None)
        if room is None:
            room = len(view) if isinstance(view, bytes | bytearray | memoryview) else 0
        if room == 0:
            return Promise.reject(
                JsTypeError('You must call read() on a "byob" reader with a positive-sized TypedArray object.')
            )
        if least < 1:
            return Promise.reject(JsTypeError(f"Requested invalid minimum number of bytes to read ({least})."))
        if least > room:
            return Promise.reject(JsTypeError(f"Minimum bytes to read ({least}) exceeds size of buffer ({room})."))
        read = _Filling(room, least)
        self._stream.read_into(read)
        return read.promise
