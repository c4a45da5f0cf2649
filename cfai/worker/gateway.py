"""What the doors to ASGI and WSGI applications share (`workers/gateway` of Cloudflare's workers-runtime-sdk 1.9)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from cfai.worker import sdk
from cfai.worker.web import messages

__all__ = ["NULL_BODY_STATUSES", "BaseOptions", "EncodeBody", "as_js_request"]

EncodeBody = Literal["automatic", "manual"]

# https://fetch.spec.whatwg.org/#null-body-status
NULL_BODY_STATUSES = frozenset({101, 103, 204, 205, 304})


@dataclass(frozen=True, kw_only=True)
class BaseOptions:
    """How responses are made.

    ```python
    asgi.fetch(app, request, env, options=asgi.Options(encode_body="manual"))
    ```
    """

    encode_body: EncodeBody = "automatic"

    def __post_init__(self) -> None:
        if self.encode_body not in get_args(EncodeBody):
            raise ValueError(f"encode_body must be one of {get_args(EncodeBody)}, got {self.encode_body!r}")

    def response_init(self) -> dict[str, Any]:
        """What `Response.new` is given beside status and headers."""
        return {} if self.encode_body == "automatic" else {"encodeBody": self.encode_body}


def as_js_request(request: Any) -> messages.Request:
    """The Request of `js` in one of `workers`."""
    return request.js_object if isinstance(request, sdk.Request) else request
