"""Where the chunks of a readable stream come from: what a script enqueues, or what an iterable of Python's makes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import anyio

from cfai.worker.web.callbacks import begin
from cfai.worker.web.nulls import jsnull, seen
from cfai.worker.web.promises import Promise
from cfai.worker.web.streams.algorithms import call, member
from cfai.worker.web.streams.queueing import Queue, Strategy
from cfai.worker.web.values import JsProxy, JsRangeError, JsTypeError, Uint8Array

if TYPE_CHECKING:
    from cfai.worker.web.streams.readable import ReadableStream

__all__ = ["CLOSE_LIMIT", "ByteController", "Controller", "FromIterable"]

# A script that does not let go of its stream must not hold up the one who closes it.
CLOSE_LIMIT = 5.0

CLOSED = "This ReadableStream is closed."


class Controller(JsProxy):
    """What a script's `start` and `pull` are given: `enqueue(chunk)`, `close()`, `error(reason)`, `desiredSize`."""

    has_bytes = False

    def __init__(self, stream: ReadableStream, source: Any, strategy: Strategy) -> None:
        self._stream = stream
        self._queue = Queue(strategy)
        self._pull: Callable[..., Any] | None = member(source, "pull")
        self._cancel: Callable[..., Any] | None = member(source, "cancel")
        self._is_started = self._is_pulling = self._pulls_again = self._is_ending = False

    @property
    def desiredSize(self) -> Any:  # noqa: N802  # JavaScript's spelling
        if self._stream.state == "errored":
            return seen(jsnull)
        return 0 if self._stream.state == "closed" else self._queue.desired_size

    def enqueue(self, chunk: Any = None) -> None:
        if not self.is_open:
            raise JsTypeError("Unable to enqueue")
        self._take_in(chunk)
        self._pull_if_needed()

    def close(self) -> None:
        if not self.is_open:
            raise JsTypeError(CLOSED)
        self._is_ending = True
        if not self._queue:
            self._finish()

    def error(self, reason: Any = None) -> None:
        if self._stream.state == "readable":
            self._let_go()
            self._stream.fail_now(reason)

    @property
    def is_open(self) -> bool:
        """Whether it may be closed or given chunks."""
        return not self._is_ending and self._stream.state == "readable"

    @property
    def has_backpressure(self) -> bool:
        return not self._should_pull()

    # What follows is for the stream.

    def start(self, function: Callable[..., Any] | None) -> None:
        if function is None:
            self._started()
            return
        result = function(self)
        call(lambda: result, done=self._started, failed=self.error)

    def _started(self, result: Any = None) -> None:
        self._is_started = True
        if self._pull is not None and self._should_pull():
            asyncio.get_running_loop().call_soon(self._pull_if_needed)

    async def next_chunk(self) -> Any:
        if self._queue:
            return self._take_out()
        return await self._stream.wait()

    def asked(self) -> None:
        """Somebody waits for a chunk."""
        while self._queue and self._stream.has_reads:
            self._stream.deliver(self._queue.take())
        if self._is_ending and not self._queue:
            self._finish()
        self._pull_if_needed()

    def cancel(self, reason: Any) -> Promise:
        cancel = self._cancel
        self._let_go()
        promise = Promise.pending()
        call(cancel, reason, done=lambda _: promise.settle(), failed=promise.fail)
        return promise

    async def aclose(self) -> None:
        """Nothing is open that a script does not close itself."""

    def _take_in(self, chunk: Any) -> None:
        if self._stream.has_reads:
            self._stream.deliver(chunk)
            return
        try:
            self._queue.put(chunk)
        except (Exception, SystemExit) as error:
            self.error(error)
            raise

    def _take_out(self) -> Any:
        chunk = self._queue.take()
        if self._is_ending and not self._queue:
            self._finish()
        else:
            self._pull_if_needed()
        return chunk

    def _finish(self) -> None:
        self._let_go()
        self._stream.close_now()

    def _let_go(self) -> None:
        self._queue.clear()
        self._pull = self._cancel = None

    def _should_pull(self) -> bool:
        if not self._is_started or not self.is_open:
            return False
        return self._stream.has_reads or self._queue.desired_size > 0

    def _pull_if_needed(self) -> None:
        # A loop, not a recursion: a source may answer every pull at once.
        while self._pull is not None and self._should_pull():
            if self._is_pulling:
                self._pulls_again = True
                return
            self._is_pulling, self._pulls_again = True, False
            if not call(self._pull, self, done=self._pulled, failed=self.error):
                return
            if not self._pulls_again:
                return

    def _pulled(self, result: Any) -> None:
        self._is_pulling = False
        if self._pulls_again:
            self._pull_if_needed()


class ByteController(Controller):
    """The controller of a source of `type: "bytes"`."""

    has_bytes = True

    def __init__(self, stream: ReadableStream, source: Any, strategy: Strategy) -> None:
        super().__init__(stream, source, Strategy(strategy.high_water_mark, len))
        self._request: ByobRequest | None = None
        self._chunk_size = member(source, "autoAllocateChunkSize")
        if self._chunk_size is not None and int(self._chunk_size) <= 0:
            raise JsTypeError("The autoAllocateChunkSize option cannot be zero.")

    def enqueue(self, chunk: Any = None) -> None:
        data = chunk if isinstance(chunk, bytes | bytearray | memoryview) else _bytes_of(chunk)
        if not len(data):
            raise JsTypeError("Cannot enqueue a zero-length ArrayBuffer.")
        if not self.is_open:
            raise JsTypeError("This ReadableByteStreamController is closed.")
        self._forget_request()
        self._take_in(bytes(data))
        self._pull_if_needed()

    @property
    def byobRequest(self) -> Any:  # noqa: N802
        """The buffer that the reader wants filled, where it brought one."""
        if self._request is None and self._stream.has_reads:
            room = getattr(self._stream.first_read, "room", None) or self._chunk_size
            if room is not None:
                self._request = ByobRequest(self, int(room))
        return seen(jsnull) if self._request is None else self._request

    def close(self) -> None:
        super().close()
        self._forget_request()

    def fill(self, data: bytes) -> None:
        """The reader's buffer was filled with `data`."""
        self._forget_request()
        if data:
            self._take_in(data)
        self._pull_if_needed()

    def _take_in(self, chunk: Any) -> None:
        while chunk is not None and self._stream.has_reads:
            chunk = self._stream.deliver(chunk)
        if chunk is not None:
            self._queue.put(chunk)

    def asked(self) -> None:
        while self._queue and self._stream.has_reads:
            chunk = self._queue.take()
            # A buffer is filled from as many chunks as there are.
            while self._queue and len(chunk) < getattr(self._stream.first_read, "room", 0):
                chunk += self._queue.take()
            if (rest := self._stream.deliver(chunk)) is not None:
                self._queue.put_back(rest, len(rest))
        if self._is_ending and not self._queue:
            self._finish()
        self._pull_if_needed()

    def _forget_request(self) -> None:
        if self._request is not None:
            self._request.is_valid = False
            self._request = None


class ByobRequest(JsProxy):
    """A buffer to fill: write into `view`, then `respond(count)`."""

    def __init__(self, controller: ByteController, room: int) -> None:
        self._controller = controller
        self._view = Uint8Array(bytes(room))
        self.is_valid = True

    @property
    def view(self) -> Any:
        return self._view if self.is_valid else seen(jsnull)

    @property
    def atLeast(self) -> int:  # noqa: N802
        return 1

    def respond(self, count: int) -> None:
        self._require_valid()
        if not self._controller.is_open:
            if count:
                raise JsTypeError("The bytesWritten must be zero after the stream is closed.")
            self._controller._forget_request()
            return
        if count == 0:
            raise JsTypeError("The bytesWritten must be more than zero while the stream is open.")
        if count > len(self._view):
            raise JsRangeError(f"Too many bytes [{count}] in response to a BYOB read request.")
        self._controller.fill(bytes(self._view[:count]))

    def respondWithNewView(self, view: Any) -> None:  # noqa: N802
        self._require_valid()
        data = bytes(view)
        if not data:
            raise JsTypeError("The view byte length must be more than zero while the stream is open.")
        self._controller.fill(data)

    def _require_valid(self) -> None:
        if not self.is_valid:
            raise JsTypeError("This ReadableStreamBYOBRequest has been invalidated.")


def _bytes_of(chunk: Any) -> bytes:
    if hasattr(chunk, "to_bytes") and not isinstance(chunk, int):
        return bytes(chunk.to_bytes())
    raise JsTypeError(
        "Failed to execute 'enqueue' on 'ReadableByteStreamController': parameter 1 is not of type "
        "'ArrayBuffer or ArrayBufferView'."
    )


class FromIterable:
    """The chunks of an async iterable, each made when it is asked for. Whoever closes the stream closes it."""

    has_bytes = True

    def __init__(self, stream: ReadableStream, chunks: AsyncIterator[Any]) -> None:
        self._stream = stream
        self._chunks = chunks
        self._made: deque[Any] = deque()
        self._pulling: asyncio.Task[Any] | None = None
        self._is_closed = False

    async def next_chunk(self) -> Any:
        """A chunk straight from the iterable, for one reader who takes one after the other."""
        stream = self._stream
        if self._made:
            return self._made.popleft()
        if stream.state != "readable" or self._pulling is not None:
            return await stream.wait()
        try:
            return await anext(self._chunks)
        except (Exception, SystemExit) as error:
            await self._end(error)
            raise
        except BaseException:  # the reader was cancelled: nothing more will be read
            await self._end(None)
            raise

    def asked(self) -> None:
        while self._made and self._stream.has_reads:
            self._deliver(self._made.popleft())
        if self._pulling is None and self._stream.has_reads:
            self._pulling = begin(self._pull())

    async def _pull(self) -> None:
        try:
            while self._stream.has_reads:
                self._deliver(await anext(self._chunks))
        except (Exception, SystemExit) as error:
            await self._end(error)
        finally:
            self._pulling = None

    def _deliver(self, chunk: Any) -> None:
        while self._stream.has_reads:
            if (rest := self._stream.deliver(chunk)) is None:
                return
            chunk = rest
        self._made.appendleft(chunk)

    async def _end(self, error: BaseException | None) -> None:
        await self._close()
        if error is None or isinstance(error, StopAsyncIteration):
            self._stream.close_now()
        else:
            self._stream.fail_now(error)

    def cancel(self, reason: Any) -> Promise:
        self._made.clear()
        return Promise.of(self.aclose())

    async def aclose(self) -> None:
        if (pulling := self._pulling) is not None:
            pulling.cancel()
            await asyncio.wait([pulling])
        await self._close()

    async def _close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        if (close := getattr(self._chunks, "aclose", None)) is not None:
            with anyio.move_on_after(CLOSE_LIMIT, shield=True):
                await close()
