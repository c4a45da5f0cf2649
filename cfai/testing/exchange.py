"""One request to a Worker in this process, without a socket: the ASGI exchange, and the response as it comes."""

from __future__ import annotations

import asyncio
import contextvars
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any, Self
from urllib.parse import urlsplit

from cfai.clock import Clock
from cfai.errors import ConnectionDropped
from cfai.results import ByteStream

__all__ = ["App", "Exchange", "Message", "ResponseHeaders", "Scope", "WorkerResponse", "begin", "scope_of"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

ORIGIN = "http://localhost:8787"
"""Where `cfai dev` serves."""


def scope_of(kind: str, method: str, url: str, headers: Sequence[tuple[str, str]]) -> Scope:
    """The ASGI scope of a request for `url`, a path or a whole URL."""
    parts = urlsplit(url if "://" in url else f"{ORIGIN}{url if url.startswith('/') else f'/{url}'}")
    lines = [(name.lower(), value) for name, value in headers]
    if not any(name == "host" for name, _ in lines):
        lines.insert(0, ("host", parts.netloc))
    return {
        "type": kind,
        "http_version": "1.1",
        "method": method,
        "scheme": parts.scheme,
        "path": parts.path or "/",
        "raw_path": (parts.path or "/").encode(),
        "query_string": parts.query.encode(),
        "headers": [(name.encode("latin-1"), value.encode()) for name, value in lines],
        "client": ("127.0.0.1", 0),
    }


def begin(app: App, scope: Scope, receive: Receive, send: Send) -> asyncio.Task[None]:
    """A task of the app's, in a context of its own: what the test's code has set in its context is not the Worker's."""

    async def run() -> None:
        await app(scope, receive, send)

    return contextvars.Context().run(asyncio.create_task, run())


class Exchange:
    """A request under way. The Worker makes a chunk when the one before was taken, as for a slow client."""

    def __init__(self, app: App, scope: Scope, body: AsyncIterator[bytes] | None) -> None:
        self._body = body
        self._chunks: deque[bytes] = deque()
        self._changed = asyncio.Event()
        self._ended = self._gone = self._unbounded = False
        self._count = 0
        self.status = 0
        self.lines: list[tuple[str, str]] = []
        self.task = begin(app, scope, self._receive, self._send)
        self.task.add_done_callback(lambda task: self._tell())

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _receive(self) -> Message:
        if self._body is not None:
            chunk = await anext(self._body, None)
            if chunk is None:
                self._body = None
            return {"type": "http.request", "body": chunk or b"", "more_body": chunk is not None}
        while not self._gone:
            await self._changed.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if self._gone:
            raise OSError("the client is gone")
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.lines = [(name.decode("latin-1"), value.decode()) for name, value in message["headers"]]
            self._tell()
            return
        if chunk := message.get("body", b""):
            self._chunks.append(chunk)
        self._ended = not message.get("more_body", False)
        self._tell()
        while self._chunks and not (self._ended or self._gone or self._unbounded):
            await self._changed.wait()

    async def head(self) -> None:
        while not self.status:
            if self.task.done():
                self.task.result()
                raise ConnectionDropped("the Worker ended the request without a response")
            await self._changed.wait()

    async def next_chunk(self) -> bytes:
        while not self._chunks:
            if self._ended or self._gone:
                raise StopAsyncIteration
            if self.task.done():
                self.task.result()
                raise ConnectionDropped(f"the Worker broke the response off after {self._count} chunks")
            await self._changed.wait()
        self._count += 1
        chunk = self._chunks.popleft()
        self._tell()
        return chunk

    def leave(self) -> None:
        """The client goes away."""
        if not self._ended:
            self._gone = True
            self._chunks.clear()
        self._tell()

    def read_ahead(self) -> None:
        """Let the Worker go on, whoever reads what it sends."""
        self._unbounded = True
        self._tell()


class _Source:
    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    async def __anext__(self) -> bytes:
        return await self._exchange.next_chunk()

    async def aclose(self) -> None:
        self._exchange.leave()


class ResponseHeaders(Mapping[str, str]):
    """Headers by name, in whatever case; `get_all` for those that come more than once."""

    def __init__(self, lines: Sequence[tuple[str, str]]) -> None:
        self._lines = lines

    def __getitem__(self, name: str) -> str:
        if not (values := self.get_all(name)):
            raise KeyError(name)
        return ", ".join(values)

    def get_all(self, name: str) -> list[str]:
        return [value for each, value in self._lines if each.lower() == name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name for name, _ in self._lines))

    def __len__(self) -> int:
        return len({name for name, _ in self._lines})

    def __repr__(self) -> str:
        return repr(dict(self))


class WorkerResponse:
    """What a Worker answers, read as it makes it.

    ```python
    async for chunk in await worker.fetch("/"):
        print(chunk)
    ```

    Closing it early, with `aclose()` or by leaving an `async with`, is to the Worker a client that leaves.
    """

    def __init__(self, exchange: Exchange, clock: Clock | None) -> None:
        self._stream = ByteStream(_Source(exchange), clock=clock)
        self._whole: bytes | None = None
        self._is_taken = False
        self.status = exchange.status
        self.headers = ResponseHeaders(exchange.lines)

    @property
    def ok(self) -> bool:
        """Whether the status is one of success."""
        return 200 <= self.status < 300

    @property
    def body(self) -> ByteStream:
        """The chunks, one by one as the Worker makes them."""
        self._is_taken = True
        return self._stream

    def __aiter__(self) -> ByteStream:
        return self.body

    async def bytes(self) -> bytes:
        """The whole body."""
        if self._whole is None:
            if self._is_taken:
                raise RuntimeError("the body of this response was taken as a stream; it can be read once")
            self._whole = b"".join([chunk async for chunk in self._stream])
        return self._whole

    async def text(self) -> str:
        """The whole body as text."""
        return (await self.bytes()).decode("utf-8", "replace")

    async def json(self) -> Any:
        """The whole body as the JSON value that it is."""
        text = await self.text()
        try:
            return json.loads(text)
        except ValueError as error:
            error.add_note(f"the response, of status {self.status}, is not JSON: {text[:1000]}")
            raise

    async def aclose(self) -> None:
        """Leave; a Worker that still sends notices."""
        await self._stream.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *reason: object) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<WorkerResponse {self.status}>"
