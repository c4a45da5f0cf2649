"""Who may ask, where a server has a token."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping

from starlette.types import ASGIApp, Receive, Scope, Send

from cfai.binding import Reply
from cfai.errors import AiError, Unauthorized
from cfai.server.envelope import edge_error
from cfai.server.exchange import send_reply

__all__ = ["Bearer", "may_pass"]


class Bearer:
    """`endpoint` for those who bring the `token`; without one everybody may pass.

    refusal  how the endpoint's clients want to be told that they may not
    """

    def __init__(
        self, endpoint: ASGIApp, token: str | None, *, refusal: Callable[[AiError], Reply] = edge_error
    ) -> None:
        self._endpoint = endpoint
        self._token = token.encode() if token else None
        self._refusal = refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if may_pass(dict(scope["headers"]), self._token):
            await self._endpoint(scope, receive, send)
        else:
            await send_reply(self._refusal(Unauthorized()), send)


def may_pass(headers: Mapping[bytes, bytes], token: bytes | None) -> bool:
    """Whether a request with these headers, as ASGI has them, brings `token`; without one everybody may pass.

    `X-Auth-Key` is how clients of Cloudflare that have an e-mail address and a key bring it.
    """
    if token is None:
        return True
    scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() != b"bearer":
        given = headers.get(b"x-auth-key", b"")
    return hmac.compare_digest(given.strip(), token)
