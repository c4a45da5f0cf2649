"""`ReadableStream`: one class for the stream of a model, of a request, and of a script's own making."""

from __future__ import annotations

import types
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any, Self

import anyio

from cfai.worker import compat
from cfai.worker import ctx as contexts
from cfai.worker.web.promises import Promise, error_of
from cfai.worker.web.streams.algorithms import member
from cfai.worker.web.streams.queueing import strategy_of
from cfai.worker.web.streams.readers import END, ByobReader, Read, Reader, Waiting
from cfai.worker.web.streams.sources import CLOSE_LIMIT, ByteController, Controller, FromIterable
from cfai.worker.web.values import JsArray, JsClass, JsException, JsProxy, JsTypeError, Uint8Array, options_of

__all__ = ["CLOSE_LIMIT", "ClientGone", "ReadableStream"]

LOCKED = "This ReadableStream is currently locked to a reader."


class ReadableStream(JsProxy, metaclass=JsClass):
    """Chunks until the end, read once.

    ```python
    async for chunk in stream: ...      # bytes with .to_bytes()
    reader = stream.getReader()         # (await reader.read()).done / .value
    ```

    `ReadableStream.new({"start": ..., "pull": ..., "cancel": ...})` makes one as in JavaScript; `ReadableStream.of`
    makes one of any async iterable of bytes or str. Whoever stops early closes it: `cancel()`, `aclose()` or
    `async with`. Closing it closes what it reads from.
    """

    def __init__(self, source: Any = None, strategy: Any = None) -> None:
        self._begin()
        self.controller: Controller | FromIterable
        kind = member(source, "type")
        if kind == "bytes":
            self.controller = ByteController(self, source, strategy_of(strategy, 0))
        elif kind is None:
            self.controller = Controller(self, source, strategy_of(strategy, 1))
        else:
            raise JsTypeError(f'"{kind}" is not a valid type of ReadableStream.')
        self.controller.start(member(source, "start"))

    def _begin(self) -> None:
        self.state = "readable"
        self.error: BaseException | None = None
        self.was_read = False
        self.expected_length: int | None = None
        self._reader: Reader | _Iteration | None = None
        self._reads: deque[Read] = deque()
        self._at_end: list[Callable[[], None]] = []

    @classmethod
    def of(cls, chunks: Any) -> ReadableStream:
        """A stream of what an async iterable makes, asked for when it is read."""
        if isinstance(chunks, ReadableStream):
            return chunks
        stream: ReadableStream = cls.__new__(cls)
        stream._begin()
        stream.controller = FromIterable(stream, aiter(chunks))
        return stream

    @classmethod
    def with_controller(cls, make: Any) -> ReadableStream:
        """A stream whose controller is `make(stream)`."""
        stream: ReadableStream = cls.__new__(cls)
        stream._begin()
        stream.controller = make(stream)
        return stream

    @classmethod
    def from_(cls, items: Any) -> ReadableStream:
        """`ReadableStream.from`: a stream of what an iterable, async or not, has."""
        if hasattr(items, "__aiter__"):
            return cls.of(items)
        if isinstance(items, str) or not hasattr(items, "__iter__"):
            raise JsTypeError("ReadableStream.from() takes an iterable")
        return cls.of(_each(items))

    @property
    def locked(self) -> bool:
        return self._reader is not None

    def cancel(self, reason: Any = None) -> Promise:
        """Read no more, and say so to the source."""
        return Promise.reject(JsTypeError(LOCKED)) if self.locked else self.cancel_locked(reason)

    def getReader(self, options: Any = None, **named: Any) -> Reader:  # noqa: N802  # JavaScript's spelling
        self._require_unlocked()
        mode = {**options_of(options), **named}.get("mode")
        if mode is None:
            return Reader(self)
        if mode != "byob":
            raise JsTypeError("mode must be undefined or 'byob' in call to getReader().")
        if self.state == "readable" and not self.controller.has_bytes:
            raise JsTypeError("This ReadableStream does not support BYOB reads.")
        return ByobReader(self)

    def tee(self) -> JsArray:
        """Two streams of the same chunks. A chunk is kept until both have read it."""
        self._require_unlocked()
        from cfai.worker.web.streams.teeing import tee

        return JsArray(tee(self))

    def pipeTo(self, destination: Any, options: Any = None, **named: Any) -> Promise:  # noqa: N802
        """Write every chunk to `destination`, as fast as it takes them."""
        from cfai.worker.web.streams.piping import pipe

        if self.locked:
            return Promise.reject(JsTypeError(LOCKED))
        if destination.locked:
            return Promise.reject(JsTypeError("This WritableStream is currently locked to a writer"))
        return pipe(self, destination, {**options_of(options), **named})

    def pipeThrough(self, transform: Any, options: Any = None, **named: Any) -> Any:  # noqa: N802
        """`transform.readable`, with this stream piped to `transform.writable`."""
        from cfai.worker.web.streams.piping import pipe

        readable, writable = member(transform, "readable"), member(transform, "writable")
        self._require_unlocked()
        if writable.locked:
            raise JsTypeError("This WritableStream is currently locked to a writer.")
        pipe(self, writable, {**options_of(options), **named}).mark_handled()
        return readable

    def values(self, options: Any = None, **named: Any) -> AsyncIterator[Any]:
        """The chunks; leaving early cancels the stream, unless `preventCancel` is set."""
        self._require_unlocked()
        given = {**options_of(options), **named}
        return _Iteration(self, cancels=not given.get("preventCancel"))

    def __aiter__(self) -> AsyncIterator[Any]:
        return self.values()

    async def __anext__(self) -> Any:
        compat.current().lenient("anext(stream)", _not_an_iterator, instead="async for chunk in stream")
        return self.shown(await self.next_chunk())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return "[object ReadableStream]"

    # What follows is for the runtime: readers, pipes and the responses that send a stream.

    async def next_chunk(self) -> Any:
        """The next chunk, for whoever holds the lock; StopAsyncIteration at the end."""
        self.was_read = True
        return await self.controller.next_chunk() if not self._reads else await self.wait()

    async def next_bytes(self) -> bytes:
        """The next chunk of a body. Raises JsTypeError where it is none of bytes."""
        chunk = await self.next_chunk()
        if isinstance(chunk, str | bytes | bytearray | memoryview):
            if not isinstance(chunk, JsProxy) and isinstance(self.controller, Controller):
                compat.current().lenient(f"a chunk of Python's {type(chunk).__name__} in a body", _no_bytes)
            return chunk.encode() if isinstance(chunk, str) else bytes(chunk)
        if hasattr(chunk, "to_bytes") and not isinstance(chunk, int):
            return bytes(chunk.to_bytes())
        raise _no_bytes()

    async def in_bytes(self) -> AsyncIterator[bytes]:
        """The chunks of a body, which is closed at the end."""
        async with self:
            while True:
                try:
                    yield await self.next_bytes()
                except StopAsyncIteration:
                    return

    async def wait(self) -> Any:
        waiting = Waiting()
        self.read_into(waiting)
        if (chunk := await waiting.future) is END:
            raise StopAsyncIteration
        return chunk

    def read_into(self, read: Read) -> None:
        self.was_read = True
        if self.state == "closed":
            read.finish()
        elif self.state == "errored":
            assert self.error is not None
            read.fail(self.error)
        else:
            self._reads.append(read)
            self.controller.asked()

    @property
    def has_reads(self) -> bool:
        """Whether somebody waits for a chunk."""
        while self._reads and not self._reads[0].is_wanted:
            self._reads.popleft()
        return bool(self._reads)

    @property
    def first_read(self) -> Read:
        return self._reads[0]

    def deliver(self, chunk: Any) -> Any:
        """Give `chunk` to who waits first; returns what is left of it, or None."""
        read = self._reads.popleft()
        rest = read.deliver(chunk)
        if getattr(read, "is_whole", True) is False:
            self._reads.appendleft(read)
        return rest

    def shown(self, chunk: Any) -> Any:
        """`chunk` as a script is given it: bytes that come from Python are an array of JavaScript's."""
        return Uint8Array(chunk) if type(chunk) is bytes else chunk

    def finish_reads(self) -> None:
        """Those who wait for a chunk wait no longer."""
        while self._reads:
            self._reads.popleft().finish()

    def close_now(self) -> None:
        if self.state != "readable":
            return
        self.state = "closed"
        self.finish_reads()
        if isinstance(self._reader, Reader):
            self._reader.closed.settle()
        self._tell_the_end()

    def fail_now(self, reason: Any) -> None:
        if self.state != "readable":
            return
        self.state, self.error = "errored", error_of(reason)
        while self._reads:
            self._reads.popleft().fail(self.error)
        if isinstance(self._reader, Reader):
            self._reader.closed.fail(self.error)
        self._tell_the_end()

    def on_end(self, call: Callable[[], None]) -> None:
        """Call `call` when there is nothing more to read, whatever the reason."""
        self._at_end.append(call)

    def _tell_the_end(self) -> None:
        calls, self._at_end = self._at_end, []
        for call in calls:
            call()

    def lock(self, reader: Any) -> None:
        self._reader = reader
        if isinstance(reader, Reader) and self.state != "readable":
            if self.error is None:
                reader.closed.settle()
            else:
                reader.closed.fail(self.error)

    def unlock(self, error: BaseException | None = None) -> None:
        """Release the lock; reads that still wait fail with `error`."""
        self._reader = None
        while self._reads and error is not None:
            self._reads.popleft().fail(error)

    def cancel_locked(self, reason: Any = None) -> Promise:
        self.was_read = True
        if self.state == "closed":
            return Promise.resolve()
        if self.state == "errored":
            return Promise.reject(self.error)
        self.close_now()
        return self.controller.cancel(reason)

    async def aclose(self, reason: Any = None) -> None:
        """Stop reading and close the source. Closing twice does nothing."""
        if self.state != "readable":
            await self.controller.aclose()
            return
        with anyio.move_on_after(CLOSE_LIMIT, shield=True):
            await self.cancel_locked(reason)

    def _require_unlocked(self) -> None:
        if self.locked:
            raise JsTypeError(LOCKED)


class ClientGone(contexts.ClientGone, JsException):
    """What whoever writes a body is told when nobody reads it any more."""

    def __init__(self) -> None:
        super().__init__("Network connection lost.")


class _Iteration(JsProxy):
    """`async for chunk in stream`"""

    def __init__(self, stream: ReadableStream, *, cancels: bool) -> None:
        self._stream: ReadableStream | None = stream
        self._cancels = cancels
        stream.lock(self)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        if (stream := self._stream) is None:
            raise StopAsyncIteration
        try:
            return stream.shown(await stream.next_chunk())
        except Exception:  # or the end
            self._release()
            raise

    async def aclose(self) -> None:
        if (stream := self._stream) is not None:
            self._release()
            if self._cancels:
                await stream.aclose()

    async def return_(self, value: Any = None) -> Any:
        await self.aclose()
        return value

    def _release(self) -> None:
        if self._stream is not None:
            self._stream.unlock()
            self._stream = None


def _no_bytes() -> JsTypeError:
    return JsTypeError("This ReadableStream did not return bytes.")


def _not_an_iterator() -> TypeError:
    return TypeError("'pyodide.ffi.JsProxy' object is not an async iterator")


async def _each(items: Any) -> AsyncIterator[Any]:
    for item in items:
        yield await item if hasattr(item, "__await__") else item
