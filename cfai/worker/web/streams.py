"""`ReadableStream`: one class for the stream of a model, of a request, and of a script's own making."""

from __future__ import annotations

import inspect
import types
from collections import deque
from collections.abc import AsyncIterator
from typing import Any, Self

import anyio

from cfai.worker.web.values import JsClass, JsObject, JsProxy, JsTypeError, Uint8Array, options_of

__all__ = ["ReadableStream"]

# A script that does not let go of its stream must not hold up the one who closes it.
CLOSE_LIMIT = 5.0


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

    def __init__(self, source: Any = None) -> None:
        self._source: AsyncIterator[Any] = _Underlying(options_of(source))
        self._locked = False
        self._closed = False
        self.was_read = False

    @classmethod
    def of(cls, chunks: Any) -> ReadableStream:
        if isinstance(chunks, ReadableStream):
            return chunks
        stream: ReadableStream = ReadableStream.new()
        stream._source = aiter(chunks)
        return stream

    @property
    def locked(self) -> bool:
        return self._locked

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        if self._closed:
            raise StopAsyncIteration
        self.was_read = True
        try:
            chunk = await anext(self._source)
        except BaseException:  # the end, an error, a cancelled reader: whichever it is, nothing more will be read
            await self.aclose()
            raise
        return _chunk(chunk)

    async def aclose(self) -> None:
        """Stop reading and close the source. Closing twice does nothing."""
        if self._closed:
            return
        self._closed = True
        if (close := getattr(self._source, "aclose", None)) is not None:
            with anyio.move_on_after(CLOSE_LIMIT, shield=True):
                await close()

    async def cancel(self, reason: Any = None) -> None:
        await self.aclose()

    def getReader(self, options: Any = None) -> Reader:  # noqa: N802
        if self._locked:
            raise JsTypeError("This ReadableStream is currently locked to a reader.")
        self._locked = True
        return Reader(self)

    def tee(self) -> tuple[ReadableStream, ReadableStream]:
        """Two streams of the same chunks. A chunk is kept until both have read it."""
        if self._locked:
            raise JsTypeError("This ReadableStream is currently locked to a reader.")
        self._locked = True
        tee = _Tee(self)
        return ReadableStream.of(_Branch(tee, 0)), ReadableStream.of(_Branch(tee, 1))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return "[object ReadableStream]"


class Reader(JsProxy):
    """What `getReader()` returns."""

    def __init__(self, stream: ReadableStream) -> None:
        self._stream = stream

    async def read(self) -> JsObject:
        try:
            return JsObject({"done": False, "value": await anext(self._stream)})
        except StopAsyncIteration:
            return JsObject({"done": True, "value": None})

    async def cancel(self, reason: Any = None) -> None:
        await self._stream.aclose()

    def releaseLock(self) -> None:  # noqa: N802
        self._stream._locked = False


def _chunk(chunk: Any) -> Any:
    if isinstance(chunk, Uint8Array | str):
        return chunk
    if isinstance(chunk, bytes | bytearray | memoryview):
        return Uint8Array(chunk)
    return chunk


class _Underlying:
    """The source of a stream that a script makes from callbacks."""

    def __init__(self, source: dict[str, Any]) -> None:
        self._start = source.get("start")
        self._pull = source.get("pull")
        self._cancel = source.get("cancel")
        self._controller = _Controller()
        self._started = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        controller = self._controller
        if not self._started:
            self._started = True
            await _settled(self._start, controller)
        while not controller.chunks:
            if controller.failure is not None:
                raise controller.failure
            if controller.ended:
                raise StopAsyncIteration
            if self._pull is not None:
                await _settled(self._pull, controller)
            if not controller.chunks and not controller.ended and controller.failure is None:
                await controller.changed()
        return controller.chunks.popleft()

    async def aclose(self) -> None:
        controller = self._controller
        if not controller.ended and controller.failure is None:
            controller.ended = True
            await _settled(self._cancel, None)


class _Controller:
    """What `start` and `pull` are given."""

    def __init__(self) -> None:
        self.chunks: deque[Any] = deque()
        self.ended = False
        self.failure: BaseException | None = None
        self._changed: anyio.Event | None = None

    @property
    def desiredSize(self) -> int:  # noqa: N802
        return 0 if self.ended else 1 - len(self.chunks)

    def enqueue(self, chunk: Any) -> None:
        if self.ended:
            raise JsTypeError("This ReadableStream is closed.")
        self.chunks.append(chunk)
        self._tell()

    def close(self) -> None:
        self.ended = True
        self._tell()

    def error(self, reason: Any = None) -> None:
        self.failure = reason if isinstance(reason, BaseException) else JsTypeError(str(reason))
        self._tell()

    async def changed(self) -> None:
        self._changed = anyio.Event()
        await self._changed.wait()

    def _tell(self) -> None:
        if self._changed is not None:
            self._changed.set()


async def _settled(call: Any, argument: Any) -> None:
    if call is not None and inspect.isawaitable(result := call(argument)):
        await result


class _Tee:
    def __init__(self, stream: ReadableStream) -> None:
        self._stream = stream
        self._lock = anyio.Lock()
        self._queues: list[deque[Any] | None] = [deque(), deque()]

    async def next(self, branch: int) -> Any:
        queue = self._queues[branch]
        assert queue is not None
        async with self._lock:
            if not queue:
                chunk = await anext(self._stream)
                for other in self._queues:
                    if other is not None:
                        other.append(chunk)
            return queue.popleft()

    async def leave(self, branch: int) -> None:
        self._queues[branch] = None
        if self._queues == [None, None]:
            await self._stream.aclose()


class _Branch:
    def __init__(self, tee: _Tee, branch: int) -> None:
        self._tee = tee
        self._branch = branch

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        return await self._tee.next(self._branch)

    async def aclose(self) -> None:
        await self._tee.leave(self._branch)
