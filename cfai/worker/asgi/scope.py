"""What an application is told about a request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any
from urllib.parse import unquote, urlsplit

from cfai.worker import compat
from cfai.worker.gateway import as_js_request

__all__ = ["ASGI", "App", "Message", "request_to_scope"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[dict[str, Any], Receive, Send], Awaitable[None]]

ASGI = {"spec_version": "2.0", "version": "3.0"}


def request_to_scope(
    req: Any,
    env: Any,
    ws: bool = False,  # the SDK's own signature
    state: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The scope of `req`, which may be a Request of `workers` or of `js`."""
    request = as_js_request(req)
    url = urlsplit(request.url)
    scope: dict[str, Any] = {
        "asgi": dict(ASGI),
        "headers": [(name.lower().encode(), value.encode()) for name, value in request.headers],
        "http_version": "1.1",
        "method": str(request.method),
        "scheme": url.scheme,
        "query_string": url.query.encode(),
        "type": "websocket" if ws else "http",
        "env": env,
    }
    if compat.current().compat.has_external_sdk:
        scope |= {"path": unquote(url.path), "raw_path": url.path.encode()}
    else:
        scope["path"] = url.path
    if state is not None:
        scope["state"] = dict(state)
    return scope
