"""`Request` and `Response`."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping
from functools import partial
from http import HTTPStatus
from typing import Any

from cfai.worker.web.headers import Headers
from cfai.worker.web.streams import ReadableStream
from cfai.worker.web.urls import URL, URLSearchParams
from cfai.worker.web.values import (
    JSON,
    JsClass,
    JsProxy,
    JsRangeError,
    JsTypeError,
    Uint8Array,
    jsnull,
    missing,
    options_of,
)

__all__ = ["NO_BODY", "Body", "OnClassOrInstance", "Request", "Response", "status_text"]

NO_BODY = (101, 204, 205, 304)
_TEXT = "text/plain;charset=UTF-8"


class OnClassOrInstance:
    """A name that means one thing on the class and another on an instance, as `json` does on a Response."""

    def __init__(self, on_class: Callable[..., Any], on_instance: Callable[..., Any]) -> None:
        self._on_class = on_class
        self._on_instance = on_instance

    def __get__(self, instance: Any, owner: type) -> Callable[..., Any]:
        return self._on_class if instance is None else partial(self._on_instance, instance)


class Body(JsProxy):
    """What Request and Response share: a body that is read once, whole or as a stream."""

    headers: Headers

    def __getattr__(self, name: str) -> Any:
        raise missing(f"js.{type(self).__name__}", name)

    def _take_body(self, body: Any) -> None:
        self._stream: ReadableStream | None = None
        self._bytes: bytes | None = None
        self._used = False
        kind: str | None = None
        if body is None or body is jsnull:
            return
        if isinstance(body, bytes | bytearray | memoryview):
            self._bytes = bytes(body)
        elif isinstance(body, URLSearchParams):
            self._bytes, kind = str(body).encode(), "application/x-www-form-urlencoded;charset=UTF-8"
        elif isinstance(body, AsyncIterable):
            self._stream = ReadableStream.of(body)
        else:
            # JavaScript makes a string of anything else, and says so in the content type.
            self._bytes, kind = str(body).encode(), _TEXT
        if kind and not self.headers.has("content-type"):
            self.headers.set("content-type", kind)

    @property
    def whole(self) -> bytes | None:
        """The body, where it is known without reading a stream; None where it is a stream."""
        return b"" if self._bytes is None and self._stream is None else self._bytes

    @property
    def body(self) -> ReadableStream | None:
        if self._bytes is not None:
            self._stream, self._bytes = ReadableStream.of(_once(self._bytes)), None
        return self._stream

    @property
    def bodyUsed(self) -> bool:  # noqa: N802
        return self._used

    def stream(self) -> ReadableStream | None:
        """The body, to be read by the caller; a second reader is refused."""
        if self._used:
            raise JsTypeError(
                "Body has already been used. It can only be used once. Use tee() first if you need to read it twice."
            )
        self._used = self._bytes is not None or self._stream is not None
        return self.body

    async def bytes(self) -> Uint8Array:
        if (stream := self.stream()) is None:
            return Uint8Array()
        chunks = bytearray()
        async with stream:
            async for chunk in stream:
                chunks += chunk.encode() if isinstance(chunk, str) else chunk
        return Uint8Array(chunks)

    async def arrayBuffer(self) -> Uint8Array:  # noqa: N802
        return await self.bytes()

    async def text(self) -> str:
        return (await self.bytes()).decode("utf-8-sig", "replace")

    async def json(self) -> Any:
        return JSON.parse(await self.text())

    def _tee_body(self) -> Any:
        if self._used:
            raise JsTypeError("Cannot clone a body that was read.")
        if self._stream is None:
            return self._bytes
        self._stream, copy = self._stream.tee()
        return copy


async def _once(data: bytes) -> AsyncIterator[bytes]:
    if data:
        yield data


class Request(Body, metaclass=JsClass):
    """`Request.new(url_or_request, method=..., headers=..., body=...)`"""

    def __init__(self, resource: Any, init: Any = None) -> None:
        self.url: str
        self.method: str
        options = options_of(init)
        if isinstance(resource, Request):
            options = {"method": resource.method, "headers": resource.headers, **options}
            if "body" not in options:
                options["body"] = resource.stream()
        self.url = str(resource.url) if isinstance(resource, Request) else URL.new(resource).href
        self.method = str(options.get("method") or "GET").upper()
        self.headers = Headers.new(options.get("headers"))
        self.redirect = str(options.get("redirect") or "follow")
        self.signal = options.get("signal")
        self.cf = options.get("cf")
        body = options.get("body")
        if body is not None and self.method in ("GET", "HEAD"):
            raise JsTypeError("Request with a GET or HEAD method cannot have a body.")
        self._take_body(body)

    def clone(self) -> Request:
        init = {"method": self.method, "headers": self.headers, "redirect": self.redirect, "cf": self.cf}
        return Request.new(self.url, {**init, "body": self._tee_body()})

    def __repr__(self) -> str:
        return f"Request({self.method} {self.url})"


class Response(Body, metaclass=JsClass):
    """`Response.new(body, status=..., headers=...)`"""

    def __init__(self, body: Any = None, init: Any = None) -> None:
        options = options_of(init)
        status = options.get("status")
        self.webSocket = options.get("webSocket")
        self.status = _status(200 if status is None else status, with_socket=self.webSocket is not None)
        self.statusText = _reason(options)
        self.headers = Headers.new(options.get("headers"))
        self.url = ""
        self.redirected = False
        self.type = "default"
        if self.status in NO_BODY and body is not None and body is not jsnull:
            raise JsTypeError("Response with null body status (101, 204, 205, or 304) cannot have a body.")
        self._take_body(body)

    @classmethod
    def redirect(cls, url: Any, status: int = 302) -> Response:
        if status not in (301, 302, 303, 307, 308):
            raise JsRangeError(f"{status} is not a redirect status code.")
        return Response.new(None, {"status": status, "headers": {"location": URL.new(url).href}})

    @classmethod
    def error(cls) -> Response:
        return Response.new(None, {"status": 500})

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    def clone(self) -> Response:
        if self.webSocket is not None:
            raise JsTypeError("Cannot clone a response to a WebSocket handshake.")
        init = {"status": self.status, "statusText": self.statusText, "headers": self.headers}
        return Response.new(self._tee_body(), init)

    def __repr__(self) -> str:
        return f"Response({self.status})"


def _json_response(data: Any, init: Any = None, **options: Any) -> Response:
    options = {**options_of(init), **options}
    headers = Headers.new(options.get("headers"))
    if not headers.has("content-type"):
        headers.set("content-type", "application/json")
    return Response.new(JSON.stringify(data), {**options, "headers": headers})


Response.json = OnClassOrInstance(_json_response, Body.json)  # type: ignore[method-assign, assignment]


def _status(status: Any, *, with_socket: bool) -> int:
    try:
        number = int(status)
    except (TypeError, ValueError):
        raise JsTypeError(f"The status of a response is a number, not {status!r}.") from None
    if with_socket and number != 101:
        raise JsRangeError("Responses with a WebSocket must have status code 101.")
    if not with_socket and not 200 <= number <= 599:
        raise JsRangeError(
            f"Responses may only be constructed with status codes in the range 200 to 599, not {number}."
        )
    return number


def _reason(options: Mapping[str, Any]) -> str:
    text = str(options.get("statusText") or options.get("status_text") or "")
    if any(character in text for character in "\r\n\0"):
        raise JsTypeError(f"Invalid status text: {text!r}")
    return text


def status_text(response: Response) -> str:
    """The reason phrase: the script's, or the standard's."""
    if response.statusText:
        return response.statusText
    try:
        return HTTPStatus(response.status).phrase
    except ValueError:
        return ""
