"""`Request` and `Response`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from http import HTTPStatus
from typing import Any

from cfai.worker import instead
from cfai.worker.compat import current
from cfai.worker.web.bodies import NO_BODY, Body
from cfai.worker.web.conversion import as_js, options_of
from cfai.worker.web.errors import JsRangeError, JsTypeError
from cfai.worker.web.headers import Headers, refuse_dict
from cfai.worker.web.jsontext import JSON
from cfai.worker.web.nulls import jsnull
from cfai.worker.web.primitives import number_of, text_of
from cfai.worker.web.proxies import JsClass, JsProxy, is_ours
from cfai.worker.web.urls import URL

__all__ = ["NO_BODY", "OnClassOrInstance", "Request", "Response", "status_text"]

# kj/compat/http.h of Cap'n Proto, by which workerd tells them.
_METHODS = frozenset(
    {
        *(
            "GET",
            "HEAD",
            "POST",
            "PUT",
            "DELETE",
            "PATCH",
            "PURGE",
            "OPTIONS",
            "TRACE",
            "CONNECT",
            "COPY",
            "LOCK",
            "MKCOL",
        ),
        *("MOVE", "PROPFIND", "PROPPATCH", "SEARCH", "UNLOCK", "ACL", "REPORT", "MKACTIVITY", "CHECKOUT", "MERGE"),
        *("M-SEARCH", "NOTIFY", "SUBSCRIBE", "UNSUBSCRIBE", "QUERY", "BAN"),
    }
)


class OnClassOrInstance:
    """A name that means one thing on the class and another on an instance, as `json` does on a Response."""

    def __init__(self, on_class: Callable[..., Any], on_instance: Callable[..., Any]) -> None:
        self._on_class = on_class
        self._on_instance = on_instance

    def __get__(self, instance: Any, owner: type) -> Callable[..., Any]:
        return self._on_class if instance is None else partial(self._on_instance, instance)


class Request(Body, metaclass=JsClass):
    """`Request.new(url_or_request, method=..., headers=..., body=...)`"""

    def __init__(self, resource: Any = None, init: Any = None) -> None:
        given = _of_request(init) if isinstance(init, Request) else options_of(init)
        if not is_ours(2):
            refuse_dict(given.get("headers"), "js.Request.new(..., headers=<dict>)")
        if isinstance(resource, Request):
            given = {**_of_request(resource), **given}
            if "body" not in given:
                if resource.bodyUsed:
                    raise JsTypeError("Cannot reconstruct a Request with a used body.")
                given["body"] = resource.stream()
            self.url: str = resource.url
        else:
            self.url = _url(resource)
        self._begin(_method(given.get("method")), Headers.new(given.get("headers")), given)
        body = given.get("body")
        if body is not None and self.method in ("GET", "HEAD"):
            raise JsTypeError("Request with a GET or HEAD method cannot have a body.")
        self._take_body(body)

    def _begin(self, method: str, headers: Headers, given: dict[str, Any]) -> None:
        self.method = method
        self.headers = headers
        self.redirect = _redirect(given.get("redirect"))
        self._signal = given.get("signal")
        self._cf = given.get("cf")
        self.cache = given.get("cache")
        self.integrity, self.keepalive = "", False

    @classmethod
    def received(
        cls, url: str, method: str, headers: Iterable[tuple[str, str]], body: Any = None, cf: Any = None
    ) -> Request:
        """A request that came in: taken as it is, whatever its method and URL are."""
        request: Request = cls.__new__(cls)
        request.url = url
        request._begin(method, Headers.new(headers), {"redirect": "manual", "cf": cf})
        request._take_body(body)
        return request

    @property
    def cf(self) -> Any:
        if isinstance(self._cf, dict):
            self._cf = as_js(self._cf)
        return self._cf

    @property
    def signal(self) -> Any:
        from cfai.worker.web.aborting import AbortSignal

        if self._signal is None:
            self._signal = AbortSignal.new()
        return self._signal

    def clone(self) -> Request:
        copy: Request = type(self).__new__(type(self))
        copy.url = self.url
        copy._begin(self.method, Headers.new(self.headers), _of_request(self))
        copy._take_body(self._copy_of_body())
        return copy


def _of_request(request: Request) -> dict[str, Any]:
    names = ("method", "headers", "redirect", "cache")
    return {**{name: getattr(request, name) for name in names}, "signal": request._signal, "cf": request._cf}


def _url(resource: Any) -> str:
    try:
        return str(URL.new(resource).href)
    except JsTypeError:
        raise JsTypeError(f"Invalid URL: {text_of(resource)}") from None


def _method(name: Any) -> str:
    if name is None:
        return "GET"
    method = text_of(name).upper()
    if method not in _METHODS:
        raise JsTypeError(f"Invalid HTTP method string: {text_of(name)}")
    return method


def _redirect(mode: Any) -> str:
    if mode is None:
        return "follow"
    if mode not in ("follow", "manual"):
        raise JsTypeError(
            'Invalid redirect value, must be one of "follow" or "manual" ("error" won\'t be implemented since it does '
            'not make sense at the edge; use "manual" and check the response status code).'
        )
    return str(mode)


class Response(Body, metaclass=JsClass):
    """`Response.new(body, status=..., headers=...)`"""

    def __init__(self, body: Any = None, init: Any = None) -> None:
        given = _of_response(init) if isinstance(init, Response) else options_of(init)
        if not is_ours(2):
            refuse_dict(given.get("headers"), "js.Response.new(..., headers=<dict>)")
            body = _as_javascript_sees_it(body)
        self.webSocket = given.get("webSocket")
        self.status = _status(given.get("status"), with_socket=self.webSocket is not None)
        self._reason = _reason(given.get("statusText"))
        self.headers = Headers.new(given.get("headers"))
        self.cf = given.get("cf")
        self.url = ""
        self.redirected = False
        self.type = "default"
        self._take_body(body)
        if self.status in NO_BODY and self.has_body:
            if self.whole != b"":  # an empty one is let pass, as none
                raise JsTypeError("Response with null body status (101, 204, 205, or 304) cannot have a body.")
            self._bytes = None

    @classmethod
    def redirect(cls, url: Any, status: Any = 302) -> Response:
        status = 302 if status is None else number_of(status)
        if status not in (301, 302, 303, 307, 308):
            raise JsRangeError(
                f"{text_of(status)} is not a redirect status code. It must be one of: 301, 302, 303, 307, or 308."
            )
        try:
            location = URL.new(url).href
        except JsTypeError:
            raise JsTypeError(f"Unable to parse URL: {text_of(url)}") from None
        return cls.new(None, {"status": status, "headers": {"location": location}})

    @classmethod
    def error(cls) -> Response:
        response: Response = cls.new()
        response.status, response.type = 0, "error"
        return response

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    @property
    def statusText(self) -> str:  # noqa: N802  # JavaScript's spelling
        return self._reason if self._reason is not None else _phrase(self.status)

    def clone(self) -> Response:
        if self.webSocket is not None:
            raise JsTypeError("Cannot clone a response to a WebSocket handshake.")
        self._require_unused()
        copy: Response = Response.new(None, {**_of_response(self), "status": self.status or None})
        copy.status, copy.url, copy.redirected, copy.type = self.status, self.url, self.redirected, self.type
        copy._take_body(self._copy_of_body())
        return copy


def _as_javascript_sees_it(body: Any) -> Any:
    if isinstance(body, bytes | bytearray) and not isinstance(body, JsProxy):
        there = "sends the text b'...'"
        if current().differs("js.Response.new(<bytes>)", there, instead=instead.TO_JS):
            return repr(body)
    return body


def _of_response(response: Response) -> dict[str, Any]:
    init = {"status": response.status, "statusText": response._reason, "headers": response.headers, "cf": response.cf}
    return {**init, "webSocket": response.webSocket}


def _json_response(data: Any, init: Any = None, **options: Any) -> Response:
    given = {**(_of_response(init) if isinstance(init, Response) else options_of(init)), **options}
    headers = Headers.new(given.get("headers"))
    if not headers.has("content-type"):
        headers.set("content-type", "application/json")
    return Response.new(JSON.stringify(data), {**given, "headers": headers})


Response.json = OnClassOrInstance(_json_response, Body.json)  # type: ignore[method-assign, assignment]


def _status(status: Any, *, with_socket: bool) -> int:
    number = 200 if status is None or status is jsnull else number_of(status)
    if with_socket and number != 101:
        raise JsRangeError("Responses with a WebSocket must have status code 101.")
    if not with_socket and not 200 <= number <= 599:  # NaN is not in it either
        raise JsRangeError("Responses may only be constructed with status codes in the range 200 to 599, inclusive.")
    return int(number)


def _reason(text: Any) -> str | None:
    if text is None:
        return None
    text = text_of(text)
    if any(character < " " for character in text):
        raise JsTypeError("Invalid statusText")
    return str(text)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def status_text(response: Response) -> str:
    """The reason phrase: the script's, or the standard's."""
    return response.statusText
