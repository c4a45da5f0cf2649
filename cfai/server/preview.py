"""The preview endpoints: with them an unmodified `wrangler dev` starts here, as if it talked to Cloudflare.

For a binding that is always remote, as `ai` is, wrangler uploads a small Worker that is to pass requests on, and talks
to that Worker from then on. Nothing is uploaded here: its address answers in the remote-proxy protocol.

    GET  /client/v4/accounts/{account}/workers/subdomain/edge-preview      a token for the upload
    GET  /client/v4/accounts/{account}/workers/subdomain                   where Workers live: NAME.cfai.workers.dev
    POST /client/v4/accounts/{account}/workers/scripts/{name}/edge-preview a token for the preview, and where its log is
    GET  /client/v4/tail/{name}, a WebSocket                               the log, always empty: `server/tail.py`
    GET  https://NAME.cfai.workers.dev/                                    warms the Worker up; any answer will do
"""

from __future__ import annotations

import hashlib
import hmac

from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from cfai.binding import JSON, Reply
from cfai.errors import Unauthorized
from cfai.server.bearer import may_pass
from cfai.server.exchange import send_reply
from cfai.server.rest import edge_error

__all__ = ["SUBDOMAIN", "TAIL_PATH", "is_preview_token", "preview_routes"]

SUBDOMAIN = "cfai"
TAIL_PATH = "/client/v4/tail/"

_ACCOUNT = "/client/v4/accounts/{account}/workers"


def preview_routes(token: str | None = None) -> list[BaseRoute]:
    """With a `token`, requests need it as `Authorization: Bearer ...`; wrangler sends CLOUDFLARE_API_TOKEN."""
    return [
        Route(f"{_ACCOUNT}/subdomain/edge-preview", _Preview("token", token), methods=["GET"]),
        Route(f"{_ACCOUNT}/subdomain", _Preview("subdomain", token), methods=["GET"]),
        Route(f"{_ACCOUNT}/scripts/{{name}}/edge-preview", _Preview("upload", token), methods=["POST"]),
    ]


def is_preview_token(given: bytes, token: bytes) -> bool:
    """Whether `given` is what the preview of a server with `token` hands out in its place."""
    return hmac.compare_digest(given, _preview_token(token).encode())


def _preview_token(token: bytes | None) -> str:
    # wrangler prints preview tokens in its debug log, so this is not the server's own.
    return hmac.new(token or b"", b"cfai preview", hashlib.sha256).hexdigest()


class _Preview:
    def __init__(self, what: str, token: str | None) -> None:
        self._what = what
        self._token = token.encode() if token else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not may_pass(dict(scope["headers"]), self._token):
            await send_reply(edge_error(Unauthorized()), send)
            return
        while (await receive()).get("more_body"):  # the Worker that is not needed here
            pass
        body = {"result": self._result(scope), "success": True, "errors": [], "messages": []}
        await send_reply(Reply(body, headers={"content-type": JSON}), send)

    def _result(self, scope: Scope) -> dict[str, str]:
        preview = _preview_token(self._token)
        if self._what == "subdomain":
            return {"subdomain": SUBDOMAIN}
        if self._what == "token":
            return {"token": preview}
        host = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
        scheme = "wss" if scope["scheme"] == "https" else "ws"
        tail = f"{scheme}://{host}{TAIL_PATH}{scope['path_params']['name']}"
        return {"preview_token": preview, "tail_url": tail}
