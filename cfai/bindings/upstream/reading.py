"""One request to the server on its way: parts are read by a task of their own, ahead of whoever takes them.

    server -> reading task, at most BUFFERED_PARTS ahead -> Reading.__anext__ -> the call's task

The task is what lets a call give up waiting, send a comment to keep its connection alive, and go on waiting. Whoever
takes no parts holds it up, and through it the server. It ends with the answer, with `aclose`, or when the answer is
forgotten; however it ends, the request is over, and the server sees its connection closed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

import anyio
from anyio.lowlevel import current_token

from cfai import sse
from cfai.binding import EVENT_STREAM
from cfai.bindings.upstream.chunks import Chunks, ErrorInStream, NoChunk
from cfai.bindings.upstream.connection import read_body
from cfai.bindings.upstream.refusals import Server, refusal, words_in
from cfai.errors import AiError, EngineFailure
from cfai.event_loops import Arrival, first_of, run_soon, start_task
from cfai.tasks.parts import Part
from cfai.wording import shortened

if TYPE_CHECKING:
    import httpx2

__all__ = ["Reading"]

BUFFERED_PARTS = 256
LONGEST_EVENT = 4 * 1024 * 1024
"""Bytes that may come without an event: a server that sends no line ends must not fill the memory."""
LAST_BYTES_SECONDS = 0.25

Posting = Callable[[], AbstractAsyncContextManager["httpx2.Response"]]


class Reading:
    """The parts of one answer; iterate for them, then look at `chunks` for how it ended and what it cost.

    ```python
    reading = Reading(lambda: connection.posting(endpoint, body, server), chunks, server, endpoint=endpoint)
    async for part in reading: ...
    ```

    Create it in the event loop of the task that reads it; that starts the request.
    """

    def __init__(self, posting: Posting, chunks: Chunks, server: Server, *, endpoint: str) -> None:
        self.chunks = chunks
        self._endpoint = endpoint
        self._posting = posting
        self._server = server
        self._parts: deque[Part] = deque()
        self._error: AiError | None = None
        self._has_ended = False
        self.arrival: Arrival | None = None
        self._room: anyio.Event | None = None
        self._over = anyio.Event()
        self._scope = anyio.CancelScope()
        self._token = current_token()
        self._task = start_task(self._run)

    @property
    def has_ended(self) -> bool:
        """Whether the server has said all that it will, though not all of it may be read."""
        return self._has_ended

    @property
    def has_something(self) -> bool:
        """Reading on does not have to wait: there is a part, the end, or an error."""
        return bool(self._parts) or self._has_ended

    @property
    def error(self) -> AiError | None:
        """The error with which the answer ended before any part that is still unread."""
        return self._error if not self._parts else None

    async def __anext__(self) -> Part:
        await first_of([self])
        if self._parts:
            part = self._parts.popleft()
            if self._room is not None:
                self._room.set()
            return part
        if self._error is not None:
            raise self._error
        raise StopAsyncIteration

    def __aiter__(self) -> AsyncIterator[Part]:
        return self

    async def aclose(self) -> None:
        """End the request, if it has not ended, and return when its connection is closed."""
        self._parts.clear()
        if self._has_ended:
            return
        self._scope.cancel()
        with anyio.CancelScope(shield=True):
            await self._over.wait()

    def abandon(self) -> None:
        """End the request soon; may be called in any thread."""
        run_soon(self._token, self._scope.cancel)

    # the reading task

    async def _run(self) -> None:
        try:
            with self._scope:
                await self._read()
        except AiError as error:
            self._fail(error)
        except Exception as error:
            self._fail(EngineFailure(f"{self._server.url} cannot be read: {type(error).__name__}: {error}"))
        finally:
            self._end()
            self._over.set()

    def _fail(self, error: AiError) -> None:
        if not self._has_ended:  # what goes wrong behind the answer is no concern of it
            self._error = error

    def _end(self) -> None:
        self._has_ended = True
        self._wake()

    async def _read(self) -> None:
        async with self._posting() as response:
            kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
            body = response.aiter_bytes()
            try:
                await (self._stream(body) if kind == EVENT_STREAM else self._whole(body, kind))
            except ErrorInStream as error:
                raise self._failed(error.body) from None
            except NoChunk as error:
                raise self._nonsense(str(error)) from None
            await self._put(self.chunks.end())
            self._end()
            # What follows the answer is the end of the body: once it is read, the connection can be used again.
            with anyio.move_on_after(LAST_BYTES_SECONDS):
                async for _ in body:
                    pass

    async def _stream(self, body: AsyncIterator[bytes]) -> None:
        decoder = sse.Decoder()
        pending = 0
        async for chunk in body:
            events = decoder.feed(chunk)
            pending = 0 if events or b"\n" in chunk else pending + len(chunk)
            if pending > LONGEST_EVENT:
                raise self._nonsense(f"{pending} bytes without the end of an event")
            for data in events:
                await self._put(self.chunks.put(data))
                if self.chunks.is_done:
                    break
            if self.chunks.is_done:
                break
        if not self.chunks.is_whole:
            if not self.chunks.has_choices:
                raise self._nonsense("a stream with no answer in it")
            raise EngineFailure(
                f"{self._server.url} broke off in the middle of its answer", hint="its own log says more"
            )

    async def _whole(self, body: AsyncIterator[bytes], kind: str) -> None:
        """A server that answers with one object, though a stream was asked for."""
        text = (await read_body(body)).decode("utf-8", "replace")
        answer = sse.loads(text)
        if not isinstance(answer, dict):
            raise self._nonsense(f"{kind or 'no content type'}: {words_in(text, self._server.secrets)}")
        await self._put(self.chunks.put_body(answer))
        if not self.chunks.has_choices:
            raise self._nonsense(text)

    async def _put(self, parts: Sequence[Part]) -> None:
        self._parts.extend(parts)
        if parts:
            self._wake()
        while len(self._parts) >= BUFFERED_PARTS:
            self._room = anyio.Event()
            await self._room.wait()

    def _wake(self) -> None:
        if self.arrival is not None:
            self.arrival.set()

    def _failed(self, body: object) -> AiError:
        """An error that came as an event: servers put the status there that the head cannot have any more."""
        error = body.get("error", body) if isinstance(body, dict) else None
        code = error.get("code", error.get("status_code")) if isinstance(error, dict) else None
        status = code if isinstance(code, int) and 400 <= code < 600 else 500
        return refusal(self._server, status, body, endpoint=self._endpoint)

    def _nonsense(self, what: str) -> AiError:
        said = words_in(what, self._server.secrets)
        return EngineFailure(
            f"{self._server.url} answers with what is no chat completion: {shortened(said, 120)}",
            hint="is it an OpenAI-compatible server, and is this the address of its endpoints, mostly ending in /v1?",
        )
