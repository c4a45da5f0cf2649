"""What the client sends: the request, its body, and word that the client is gone."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import quote

import anyio

from cfai.worker.web.messages import Request

__all__ = ["CF", "Incoming", "path_of", "request_of"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]

CF: dict[str, Any] = {
    "asOrganization": "",
    "asn": 395747,
    "botManagement": {
        "corporateProxy": False,
        "detectionIds": {},
        "ja3Hash": "25b4882c2bcb50cd6b469ff28c596742",
        "jsDetection": {"passed": False},
        "score": 99,
        "staticResource": False,
        "verifiedBot": False,
    },
    "city": "Austin",
    "clientAcceptEncoding": "gzip, deflate, br",
    "clientTcpRtt": 0,
    "clientTrustScore": 99,
    "colo": "DFW",
    "continent": "NA",
    "country": "US",
    "edgeRequestKeepAliveStatus": 1,
    "httpProtocol": "HTTP/1.1",
    "latitude": "30.27130",
    "longitude": "-97.74260",
    "metroCode": "635",
    "postalCode": "78701",
    "region": "Texas",
    "regionCode": "TX",
    "requestPriority": "weight=192;exclusive=0",
    "timezone": "America/Chicago",
    "tlsCipher": "AEAD-AES128-GCM-SHA256",
    "tlsVersion": "TLSv1.3",
}
"""What `request.cf` says on a machine that is none of Cloudflare's (miniflare's placeholder, plugins/core/cf.ts)."""

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
                gone()  # first, so that who waits for the body is cancelled, and does not fail
                self._tell()
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
    headers = [(name.decode("latin-1"), value.decode("utf-8", "replace")) for name, value in scope["headers"]]
    given = dict(headers)
    method = scope.get("method", "GET").upper()
    announced = "transfer-encoding" in given or given.get("content-length", "0") != "0"
    body = client.body() if client is not None and announced and method not in ("GET", "HEAD") else None
    address, _ = scope.get("client") or ("127.0.0.1", 0)
    # Cloudflare's network sets both of these, whatever the client said.
    added = {"accept-encoding": "br, gzip", "cf-connecting-ip": address}
    headers = [*(pair for pair in headers if pair[0] not in added), *added.items()]
    return Request.received(_url(scope, given.get("host")), method, headers, body, CF)


def _url(scope: Scope, host: str | None) -> str:
    host = host or "{}:{}".format(*(scope.get("server") or ("localhost", 80)))
    query = scope.get("query_string", b"").decode("latin-1")
    # A WebSocket is asked for by a request of HTTP, and that is how the script sees it.
    scheme = scope.get("scheme", "http").replace("ws", "http")
    return f"{scheme}://{host}{path_of(scope)}{f'?{query}' if query else ''}"


def path_of(scope: Scope) -> str:
    """The path as it came, percent-encoded: /caf%C3%A9 stays that in request.url."""
    raw: bytes | None = scope.get("raw_path")
    if raw:
        target = raw.decode("latin-1").partition("?")[0]
        # What begins otherwise (RFC 9112, section 3.2) is a whole URL, as clients of proxies send it, or `OPTIONS *`.
        return target if target.startswith("/") else "/" + target.partition("://")[2].partition("/")[2]
    return quote(scope["path"], safe="/%:@!$&'()*+,;=~")
