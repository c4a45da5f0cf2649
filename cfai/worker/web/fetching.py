"""`fetch`: ask the network."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from cfai.results import plain
from cfai.worker import ctx as contexts
from cfai.worker.web import network
from cfai.worker.web.aborting import AbortSignal, aborted_by
from cfai.worker.web.callbacks import begin
from cfai.worker.web.connecting import Refused, dial, pump
from cfai.worker.web.headers import Headers
from cfai.worker.web.messages import NO_BODY, Request, Response
from cfai.worker.web.network import Network
from cfai.worker.web.promises import error_of, promised
from cfai.worker.web.streams import ReadableStream
from cfai.worker.web.timers import disallowed
from cfai.worker.web.values import JsArray, JsException, JsObject, JsTypeError, options_of
from cfai.worker.web.websockets import Line, WebSocket

if TYPE_CHECKING:
    import httpx2

__all__ = ["fetch"]

# workerd, src/workerd/api/http.c++, has the sentences and the number.
MOST_REDIRECTS = 20
REDIRECTS = (301, 302, 303, 307, 308)
ONE_TIME = (
    "A request with a one-time-use body (it was initialized from a stream, not a buffer) encountered a redirect "
    "requiring the body to be retransmitted. To avoid this error in the future, construct this request from a "
    "buffer-like body initializer."
)

# What belongs to one connection, or is made anew for each.
_OF_THE_CONNECTION = ("connection", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade")
# httpx2 has taken these off the body already.
_OF_THE_CODING = ("content-encoding", "content-length", "transfer-encoding", "connection", "keep-alive")


@promised
async def fetch(resource: Any, init: Any = None, **options: Any) -> Response:
    """Ask the network.

    ```python
    response = await fetch("https://example.com/", method="POST", body="hello")
    ```
    """
    given = {**options_of(init), **options}
    if contexts.current.get(None) is None:
        disallowed("fetch()")
    body = given.get("body")
    # An object that was meant as JSON; JavaScript would send [object Object].
    if isinstance(body, Mapping | list | JsObject | JsArray):
        given["body"] = json.dumps(plain(body))
    request = Request.new(resource, given)
    signal = given.get("signal") or request.signal
    if urlsplit(request.url).scheme not in ("http", "https"):
        raise JsTypeError(f"Fetch API cannot load: {request.url}")
    if (request.headers.find("upgrade") or "").lower() == "websocket":
        response: Response = await aborted_by(signal, _upgraded(request))
        return response
    whole, stream = request.whole, request.stream()
    sending = _Sending(request.method, request.url, request.headers, whole, stream if whole is None else None)
    response = await aborted_by(signal, _answer(sending, follows=request.redirect == "follow"))
    if signal is not None and isinstance(body := response.body, ReadableStream):
        _watch(signal, body)
    return response


@dataclass(frozen=True)
class _Sending:
    """What is sent, to one address after the other."""

    method: str
    url: str
    headers: Headers
    whole: bytes | None
    stream: ReadableStream | None

    @property
    def lines(self) -> list[tuple[bytes, bytes]]:
        lines = [pair for pair in self.headers.raw if pair[0] not in _OF_THE_CONNECTION]
        if self.stream is not None and (length := self.stream.expected_length) is not None:
            lines.append(("content-length", str(length)))
        return [(name.encode("latin-1"), value.encode()) for name, value in lines]

    @property
    def content(self) -> Any:
        return self.whole or None if self.stream is None else self.stream.in_bytes()

    def redirected(self, status: int, location: str) -> _Sending:
        url = urljoin(self.url, location)
        if urlsplit(url).scheme not in ("http", "https"):
            raise JsTypeError("Invalid Location header; unable to follow redirect.")
        if status != 303 and self.stream is not None:
            raise JsTypeError(ONE_TIME)
        headers = Headers.new(self.headers)
        if _origin(url) != _origin(self.url):
            headers.delete("authorization")
        if (status in (301, 302) and self.method == "POST") or (status == 303 and self.method != "HEAD"):
            for name in ("content-length", "content-type"):
                headers.delete(name)
            return _Sending("GET", url, headers, b"", None)
        return replace(self, url=url, headers=headers)


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


async def _answer(sending: _Sending, *, follows: bool) -> Response:
    own = network.current()
    connections = own or Network()
    try:
        for redirects in range(MOST_REDIRECTS + 1):
            answer = await _send(sending, connections)
            location = answer.headers.get("location")
            if not follows or answer.status_code not in REDIRECTS or location is None:
                return await _response(sending, answer, redirects > 0, None if own else connections)
            await answer.aclose()
            sending = sending.redirected(answer.status_code, location)
        raise JsTypeError("Too many redirects.")
    except BaseException:
        if own is None:
            await connections.aclose()
        raise


async def _send(sending: _Sending, connections: Network) -> httpx2.Response:
    import httpx2

    client = connections.client
    try:
        request = client.build_request(sending.method, sending.url, headers=sending.lines, content=sending.content)
        return await client.send(request, stream=True, follow_redirects=False)
    # The traceback is the script's, which can do nothing with the frames of an HTTP client.
    except httpx2.TransportError as error:
        raise _lost(error) from None
    except httpx2.InvalidURL:
        raise JsTypeError(f"Fetch API cannot load: {sending.url}") from None


def _lost(error: Exception) -> JsException:
    lost = JsException("Network connection lost.")
    lost.add_note(f"{type(error).__name__}: {error}")
    return lost


async def _response(
    sending: _Sending, answer: httpx2.Response, redirected: bool, connections: Network | None
) -> Response:
    headers = [pair for pair in answer.headers.multi_items() if pair[0].lower() not in _OF_THE_CODING]
    stream = ReadableStream.of(_Fetched(answer, connections))
    is_empty = answer.status_code in NO_BODY or sending.method == "HEAD"
    if is_empty:
        await stream.aclose()
    elif (ctx := contexts.current.get(None)) is not None:
        ctx.owns(stream)
    init = {"status": answer.status_code, "statusText": answer.reason_phrase, "headers": headers}
    response: Response = Response.new(None if is_empty else stream, init)
    response.url = sending.url
    response.redirected = redirected
    return response


class _Fetched:
    """The body of an answer; closing it frees the connection."""

    def __init__(self, answer: httpx2.Response, connections: Network | None) -> None:
        self._answer = answer
        self._connections = connections
        self._body: AsyncIterator[bytes] | None = None

    def __aiter__(self) -> _Fetched:
        return self

    async def __anext__(self) -> bytes:
        import httpx2

        if self._body is None:
            self._body = self._answer.aiter_bytes()
        try:
            return await anext(self._body)
        except httpx2.TransportError as error:
            raise _lost(error) from error
        except httpx2.DecodingError as error:
            raise JsTypeError("Decompression failed.") from error

    async def aclose(self) -> None:
        await self._answer.aclose()
        if self._connections is not None:
            await self._connections.aclose()


def _watch(signal: AbortSignal, body: ReadableStream) -> None:
    def stop() -> None:
        body.fail_now(error_of(signal.reason))
        begin(body.aclose())

    forget = signal.on_abort(stop)
    body.on_end(forget)


async def _upgraded(request: Request) -> Response:
    """The server's WebSocket, or its answer if it has none for us."""
    handshake = ("sec-websocket-key", "sec-websocket-version", "sec-websocket-extensions", "sec-websocket-protocol")
    headers = [pair for pair in request.headers.raw if pair[0] not in (*_OF_THE_CONNECTION, *handshake)]
    protocols = [
        one.strip() for one in (request.headers.find("sec-websocket-protocol") or "").split(",") if one.strip()
    ]
    try:
        connection = await dial(f"ws{request.url.removeprefix('http')}", protocols=protocols, headers=headers)
    except Refused as refused:
        return Response.new(refused.body, {"status": refused.status, "headers": refused.headers})
    incoming, outgoing = Line(), Line()
    begin(pump(connection, incoming, outgoing))
    answered = [] if connection.response is None else list(connection.response.headers.raw_items())
    socket = WebSocket.of(incoming, outgoing)
    return Response.new(None, {"status": 101, "webSocket": socket, "headers": answered})
