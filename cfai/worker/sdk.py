"""What `workers` gives a script: Cloudflare's Python SDK in our words, over the web classes."""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from functools import wraps
from http import HTTPMethod, HTTPStatus
from typing import Any

from cfai.results import plain
from cfai.worker import ctx as contexts
from cfai.worker.calls import relaxed
from cfai.worker.web import fetching, messages
from cfai.worker.web.headers import Headers
from cfai.worker.web.messages import OnClassOrInstance
from cfai.worker.web.streams import ReadableStream
from cfai.worker.web.urls import URLSearchParams
from cfai.worker.web.values import JSON, JsException, JsProxy, JsTypeError, missing

__all__ = [
    "DurableObject",
    "Request",
    "Response",
    "WorkerEntrypoint",
    "WorkflowEntrypoint",
    "fetch",
    "handler",
    "import_from_javascript",
    "python_from_rpc",
    "python_to_rpc",
    "waitUntil",
    "wait_until",
]


class WorkerEntrypoint:
    """The base of an entrypoint; one is made per request."""

    def __init__(self, ctx: Any, env: Any) -> None:
        self.ctx = ctx
        self.env = env


class DurableObject(WorkerEntrypoint):
    """So that a script that declares one can be imported; none is run."""


class WorkflowEntrypoint(WorkerEntrypoint):
    """So that a script that declares one can be imported; none is run."""


class HeaderMap(MutableMapping[str, str]):
    """Headers as Python's own mapping: any case, and None for what is not there, as in `http.client.HTTPMessage`."""

    def __init__(self, headers: Headers) -> None:
        self._headers = headers

    def __getitem__(self, name: str) -> Any:
        return self._headers.get(name)

    def __setitem__(self, name: str, value: str) -> None:
        self._headers.set(name, value)

    def __delitem__(self, name: str) -> None:
        self._headers.delete(name)

    def __contains__(self, name: object) -> bool:
        return name in self._headers

    def __iter__(self) -> Iterator[str]:
        return iter(self._headers.keys())

    def __len__(self) -> int:
        return len(self._headers.keys())

    def get(self, name: str, default: Any = None) -> Any:
        return default if (value := self._headers.get(name)) is None else value

    def get_all(self, name: str, failobj: Any = None) -> Any:
        return self._headers.get_all(name) or failobj

    def append(self, name: str, value: str) -> None:
        self._headers.append(name, value)

    def __repr__(self) -> str:
        return f"HeaderMap({self._headers.keys()})"


class _Message:
    """What Request and Response share."""

    js_object: messages.Request | messages.Response

    def __getattr__(self, name: str) -> Any:
        raise missing(f"workers.{type(self).__name__}", name)

    @property
    def headers(self) -> HeaderMap:
        return HeaderMap(self.js_object.headers)

    @property
    def body(self) -> ReadableStream | None:
        return self.js_object.body

    @property
    def body_used(self) -> bool:
        return self.js_object.bodyUsed

    bodyUsed = body_used  # noqa: N815

    async def bytes(self) -> bytes:
        try:
            return bytes(await self.js_object.bytes())
        except JsTypeError as error:
            raise OSError("Body already used") from error

    async def buffer(self) -> Any:
        return bytearray(await self.bytes())

    async def memoryview(self) -> Any:
        return memoryview(await self.bytes())

    async def text(self) -> str:
        return (await self.bytes()).decode("utf-8-sig", "replace")

    string = text

    async def json(self) -> Any:
        return json.loads(await self.text())


class Request(_Message):
    """A request: `url` is a str, `method` compares with `"POST"`, `await request.json()` is a plain dict."""

    def __init__(self, input: Any, **options: Any) -> None:  # noqa: A002  # the SDK's own name
        if isinstance(input, messages.Request) and not options:
            self.js_object: messages.Request = input
        else:
            inner = input.js_object if isinstance(input, Request) else input
            self.js_object = messages.Request.new(inner, _as_init(options))

    @property
    def url(self) -> str:
        return self.js_object.url

    @property
    def method(self) -> str:
        method = self.js_object.method
        return HTTPMethod(method) if method in HTTPMethod.__members__ else method

    @property
    def cf(self) -> Any:
        return self.js_object.cf

    @property
    def redirect(self) -> str:
        return self.js_object.redirect

    @property
    def signal(self) -> Any:
        return self.js_object.signal

    def clone(self) -> Request:
        return Request(self.js_object.clone())

    def __repr__(self) -> str:
        return f"Request({self.js_object.method} {self.url})"


class Response(_Message):
    """A response.

    ```python
    Response("hello")                                                      # text/plain
    Response(stream, headers={"content-type": "text/event-stream"})        # any async iterable of bytes or str
    Response.json({"a": 1}, status=201)
    ```
    """

    def __init__(
        self,
        body: Any = None,
        status: HTTPStatus | int | None = None,
        status_text: str = "",
        headers: Any = None,
        web_socket: Any = None,
        **options: Any,
    ) -> None:
        if isinstance(body, messages.Response):
            if status is not None or status_text or headers is not None or options:
                raise ValueError("Expected no options when constructing Response from a js.Response")
            self.js_object: messages.Response = body
            return
        options = _as_init({**options, "headers": _checked_headers(headers)})
        options |= {"status": 200 if status is None else status, "statusText": status_text, "webSocket": web_socket}
        self.js_object = messages.Response.new(_checked_body(body), options)

    @property
    def js_response(self) -> messages.Response:
        return self.js_object

    @property
    def status(self) -> int:
        return self.js_object.status

    @property
    def status_text(self) -> str:
        return self.js_object.statusText

    @property
    def ok(self) -> bool:
        return self.js_object.ok

    @property
    def url(self) -> str:
        return self.js_object.url

    @property
    def redirected(self) -> bool:
        return self.js_object.redirected

    @property
    def type(self) -> str:
        return self.js_object.type

    def clone(self) -> Response:
        return Response(self.js_object.clone())

    def replace_body(self, body: Any) -> Response:
        """This response with another body."""
        init = {"status": self.status, "statusText": self.status_text, "headers": self.js_object.headers}
        return Response(messages.Response.new(_checked_body(body), init))

    def raise_for_status(self) -> None:
        if 400 <= self.status < 600:
            raise OSError(f"{self.status} {messages.status_text(self.js_object)} for {self.url}")

    @staticmethod
    def redirect(url: str, status: HTTPStatus | int = HTTPStatus.FOUND) -> messages.Response:
        return messages.Response.redirect(url, int(status))

    @staticmethod
    def from_json(
        data: Any, status: HTTPStatus | int | None = None, status_text: str = "", headers: Any = None
    ) -> Response:
        """A JSON response, with the spaces that Python's json puts between items."""
        made = Response(
            json.dumps(plain(data)) if not isinstance(data, JsProxy) else JSON.stringify(data),
            status=status,
            status_text=status_text,
            headers=headers,
        )
        given = Headers.new(_checked_headers(headers))
        if not given.has("content-type"):
            made.js_object.headers.set("content-type", "application/json")
        return made

    def __repr__(self) -> str:
        return f"Response({self.status})"


# On the class `json` makes a response, on an instance it reads the body.
Response.json = OnClassOrInstance(Response.from_json, _Message.json)  # type: ignore[method-assign, assignment]


def _checked_body(body: Any) -> Any:
    if body is None or isinstance(body, str | bytes | bytearray | memoryview | URLSearchParams):
        return body
    if hasattr(body, "__aiter__"):
        return body
    raise TypeError(f"Unsupported type in Response: {type(body).__name__}")


def _checked_headers(headers: Any) -> Any:
    if isinstance(headers, HeaderMap):
        return headers._headers
    if headers is None or isinstance(headers, Mapping | list | tuple | Headers):
        return headers
    raise TypeError(f"Received unexpected type for headers argument: {type(headers).__name__}")


def _as_init(options: dict[str, Any]) -> dict[str, Any]:
    if "headers" in options:
        options = {**options, "headers": _checked_headers(options["headers"])}
    return options


async def fetch(resource: Any, **options: Any) -> Response:
    """Ask the network; what fails on the way there is an OSError."""
    inner = resource.js_object if isinstance(resource, Request) else resource
    try:
        return Response(await fetching.fetch(inner, _as_init(options)))
    except JsTypeError:
        raise
    except JsException as error:
        raise OSError(error.message) from error


def handler(function: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    """For a module-level `on_fetch`: its request becomes a `Request` of this module."""

    @wraps(function)
    async def handle(request: Any, env: Any = None, ctx: Any = None) -> Any:
        if isinstance(request, messages.Request):
            request = Request(request)
        return await relaxed(function, request, env, ctx)

    # wraps() shows the signature of what it wraps; surplus arguments are this function's business.
    del handle.__wrapped__
    return handle


def waitUntil(work: Awaitable[Any]) -> None:  # noqa: N802
    """The `waitUntil` of the request that is being answered."""
    if (ctx := contexts.current.get(None)) is None:
        raise RuntimeError("waitUntil needs a request; there is none while the script is imported")
    ctx.waitUntil(work)


wait_until = waitUntil


def import_from_javascript(name: str) -> Any:
    """The modules of the runtime that Python may import."""
    if name == "cloudflare:workers":
        return sys.modules["workers"]
    raise ImportError(f"{name} is not simulated")


def python_from_rpc(value: Any) -> Any:
    return value


def python_to_rpc(value: Any) -> Any:
    return value
