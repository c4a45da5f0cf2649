"""Headers between Python's mappings and JavaScript's class."""

from __future__ import annotations

from collections.abc import Mapping
from email.message import Message
from http.client import HTTPMessage
from typing import Any

from cfai.worker.compat import current
from cfai.worker.web.headers import Headers
from cfai.worker.web.objects import JsObject

__all__ = ["HeaderMessage", "as_message", "js_headers"]


class HeaderMessage(HTTPMessage, Mapping):  # type: ignore[misc,type-arg]  # their names are those of HTTPMessage
    """Headers as `http.client` has them, any case, None for what is not there; and a Mapping."""

    # Message has them all, and comes first.
    __eq__, __hash__ = object.__eq__, object.__hash__


def as_message(headers: Headers) -> HeaderMessage:
    """A copy of `headers` for Python to read."""
    message = HeaderMessage()
    if not current().compat.keeps_commas:
        for name, value in headers.joined:
            message[name] = value.strip()
        return message
    for value in headers.all("set-cookie"):
        message.add_header("Set-Cookie", value.strip())
    for name, value in headers.joined:
        if name != "set-cookie":
            message.add_header(name, value.strip())
    return message


def js_headers(headers: Any) -> Headers:
    """What a script gives as `headers`: a dict, a list of pairs, or JavaScript's own."""
    if isinstance(headers, Headers):
        return headers
    if not isinstance(headers, dict | list):
        problem = "Received unexpected type for headers argument"
        if not isinstance(headers, Mapping | Message | JsObject | tuple):
            raise TypeError(problem)
        current().lenient(f"headers={_kind(headers)}", lambda: TypeError(problem))
    if isinstance(headers, Message):
        headers = headers.items()
    return Headers.new(headers)


def _kind(headers: Any) -> str:
    return "request.headers" if isinstance(headers, Message) else f"<{type(headers).__name__}>"
