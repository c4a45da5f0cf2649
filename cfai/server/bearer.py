"""Who may ask, where a server has a token."""

from __future__ import annotations

import hmac
from collections.abc import Mapping

__all__ = ["may_pass"]


def may_pass(headers: Mapping[bytes, bytes], token: bytes | None) -> bool:
    """Whether a request with these headers, as ASGI has them, brings `token`; without one everybody may pass."""
    if token is None:
        return True
    scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
    return scheme.lower() == b"bearer" and hmac.compare_digest(given.strip(), token)
