"""What the client sends: the request, its body, and word that the client is gone."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import quote

import anyio

from cfai.worker.web.messages import Request

__all__ = ["Incoming", "path_of", "request_of"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]

# What is read ahead of a handler that does not read its body; beyond it the client waits.
READ_AHEAD = 1 << 20


class Incoming:
    """What the client sends after the head of its request."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._chunks: deque[bytes] = deque()
        self._waiting = 0
        self._complete = False
        self._gone = False
        self._changed = anyio.Event()

    async def watch(self, gone: Callable[[], None]) -> None:
        """Read what the client sends; when it goes away, say so to `gone`."""
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self._gone = True
                self._tell()
                gone()
                return
            if chunk := message.get("body", b""):
                self._chunks.append(chunk)
                self._waiting += len(chunk)
            self._complete = not message.get("more_body", False)
            self._tell()
            while self._waiting > READ_AHEAD:
                await self._changed.wait()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    async def body(self) -> AsyncIterator[bytes]:
        while True:
            while self._chunks:
                chunk = self._chunks.popleft()
                self._waiting -= len(chunk)
                self._tell()
                yield chunk
            if self._complete:
                return
            if self._gone:
                raise OSError("the client went away while it sent the body")
            await self._changed.wait()


def request_of(scope: Scope, client: Incoming | None = None) -> Request:
    """The request, as a script sees it; `client` has its body."""
    url, headers = _url_and_headers(scope)
    if client is None:
        return Request.new(url, {"headers": headers})
    given = dict(headers)
    method = scope["method"].upper()
    announced = "transfer-encoding" in given or given.get("content-length", "0") != "0"
    body = client.body() if announced and method not in ("GET", "HEAD") else None
    return Request.new(url, {"method": method, "headers": headers, "body": body})


def _url_and_headers(scope: Scope) -> tuple[str, list[tuple[str, str]]]:
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
    given = dict(headers)
    host = given.get("host") or "{}:{}".format(*(scope.get("server") or ("localhost", 80)))
    query = scope.get("query_string", b"").decode("latin-1")
    # A WebSocket is asked for by a request of HTTP, and that is how the script sees it.
    scheme = scope.get("scheme", "http").replace("ws", "http")
    return f"{scheme}://{host}{path_of(scope)}{f'?{query}' if query else ''}", headers


def path_of(scope: Scope) -> str:
    """The path as it came, percent-encoded: /caf%C3%A9 stays that in request.url."""
    raw: bytes | None = scope.get("raw_path")
    if raw:
        return raw.decode("latin-1").partition("?")[0]
    return quote(scope["path"], safe="/%:@!$&'()*+,;=~")
