"""The envelope of Cloudflare's API, version 4.

Successes are `{"result", "success", "errors", "messages"}` in this order; refusals by the inference service put
`errors` first and an empty object as `result`; those by the API in front of it have `result: null`. What to do about an
error travels in `messages`, which Cloudflare's clients carry along and do not judge.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cfai.binding import JSON, Reply
from cfai.errors import AiError
from cfai.results import ByteStream

__all__ = ["edge_error", "enveloped", "success"]


def success(result: Any, *, result_info: Mapping[str, Any] | None = None) -> Reply:
    """An answer of the API's own; `result_info` says which page of a list it is."""
    body = {"result": result, "success": True, "errors": [], "messages": []}
    return Reply({**body, "result_info": result_info} if result_info else body, headers={"content-type": JSON})


def edge_error(error: AiError, *more: AiError) -> Reply:
    """A refusal by the API in front of the inference service: authentication, routing."""
    errors = [{"code": one.code, "message": one.description} for one in (error, *more)]
    body = {"result": None, "success": False, "errors": errors, "messages": []}
    return Reply(body, error.status, {"content-type": JSON})


def enveloped(reply: Reply) -> Reply:
    """A reply of the inference service as the API passes it on; streams and binary answers are left as they are."""
    if error := reply.error:
        message = error.rest_message(reply.headers.get("cf-ai-req-id", ""))
        notes = [{"code": error.code, "message": error.hint}] if error.hint else []
        body: Any = {
            "errors": [{"message": message, "code": error.code}],
            "success": False,
            "result": {},
            "messages": notes,
        }
    elif not isinstance(reply.body, ByteStream | bytes):
        body = {"result": reply.body, "success": True, "errors": [], "messages": []}
    else:
        return reply
    return Reply(body, reply.status, reply.headers)
