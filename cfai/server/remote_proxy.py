"""The remote-proxy protocol: how miniflare (and so wrangler, vite, vitest) reaches a binding that lives elsewhere.

    POST /?token=SECRET
    MF-Binding: AI
    MF-URL: https://workers-binding.ai/run?version=3
    MF-Header-cf-consn-model-id: @cf/meta/llama-2-7b-chat-int8

The request inside has the path and query of MF-URL, the headers whose names begin with MF-Header-, and the method and
body as they are: the binding protocol, `server/workerd.py`. No Authorization is sent, so a token stands in the query of
the URL that miniflare is given. A WebSocket is opened beside every call, for bindings that are called otherwise; it is
refused, and miniflare does without.
https://github.com/cloudflare/workers-sdk/tree/main/packages/miniflare/src/workers/shared
"""

from __future__ import annotations

from datetime import date
from urllib.parse import parse_qs, unquote, urlsplit

from starlette.routing import Router
from starlette.types import ASGIApp, Receive, Scope, Send

from cfai.binding import Binding, Reply
from cfai.bindings.faults.asked import AskedFaults
from cfai.errors import AiError, IncompleteRequest, NoRoute, Unauthorized
from cfai.server.bearer import may_pass
from cfai.server.exchange import send_reply
from cfai.server.preview import is_preview_token
from cfai.server.rest import edge_error
from cfai.server.workerd import BINDING_HOST, binding_routes, is_upgrade

__all__ = ["INNER", "RemoteProxy"]

INNER = b"mf-header-"
"""What stands before the name of a header of the request inside."""


class RemoteProxy:
    """Answer what comes in the remote-proxy protocol, on any path, over `binding`; pass the rest on to `app`."""

    def __init__(
        self,
        app: ASGIApp,
        binding: Binding,
        token: str | None = None,
        faults: AskedFaults | None = None,
        *,
        as_of: date | None = None,
    ) -> None:
        self._app = app
        self._binding = Router(binding_routes(binding, faults=faults, as_of=as_of), default=_no_route)
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        if b"mf-url" not in headers:
            if is_upgrade(headers) and b"MF-Binding=" in scope["query_string"]:
                await send_reply(_refused_websocket(), send)
            else:
                await self._app(scope, receive, send)
            return
        try:
            if not self._may_pass(scope):
                raise Unauthorized()
            inner = _inner(scope, headers[b"mf-url"].decode("latin-1"))
        except AiError as error:
            await send_reply(Reply.from_error(error), send)
            return
        await self._binding(inner, receive, send)

    def _may_pass(self, scope: Scope) -> bool:
        if self._token is None:
            return True
        headers = dict(scope["headers"])
        token = self._token.encode()
        in_query = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[-1]
        return (
            may_pass({b"authorization": b"Bearer " + in_query.encode()}, token)
            or is_preview_token(headers.get(b"cf-workers-preview-token", b""), token)
            or may_pass(headers, token)
        )


def _inner(scope: Scope, url: str) -> Scope:
    """The request that is wrapped in another one's headers."""
    try:
        target = urlsplit(url)
        host = target.hostname
    except ValueError:
        host = None
    if host is None:
        raise IncompleteRequest("header MF-URL, which is no URL")
    if host != BINDING_HOST:
        raise AiError.of(7000, f"{host} is not the AI binding, and nothing else is here", status=400)
    # Whether it wants a WebSocket can only be said outside.
    headers = [(name, value) for name, value in scope["headers"] if name == b"upgrade"]
    headers += [(name[len(INNER) :], value) for name, value in scope["headers"] if name.startswith(INNER)]
    return {
        **scope,
        "path": unquote(target.path),
        "raw_path": target.path.encode("latin-1"),
        "root_path": "",
        "query_string": target.query.encode("latin-1"),
        "headers": [(b"host", host.encode()), *headers],
    }


def _refused_websocket() -> Reply:
    return Reply(b"no WebSocket here\n", 403, {"content-type": "text/plain; charset=utf-8"})


async def _no_route(scope: Scope, receive: Receive, send: Send) -> None:
    await send_reply(edge_error(NoRoute(scope["path"])), send)
