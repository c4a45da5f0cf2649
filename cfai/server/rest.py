"""The REST API: `POST /client/v4/accounts/{account}/ai/run/{model}` in Cloudflare's envelope.

Successes are `{"result", "success", "errors", "messages"}` in this order; refusals by the inference service put
`errors` first and an empty object as `result`; those by the API in front of it have `result: null`. Streams have no
envelope. What to do about an error travels in `messages`, which Cloudflare's clients carry along and do not judge.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

from starlette.types import Receive, Scope, Send

from cfai.binding import JSON, Binding, Call, Reply
from cfai.errors import AiError, Unauthorized
from cfai.server.bearer import may_pass
from cfai.server.body import parse_json, read_body
from cfai.server.exchange import respond, send_reply

__all__ = ["RestRun", "edge_error"]

_PASSED_HEADERS = ("x-session-affinity", "cf-aig-metadata")


class RestRun:
    """The run route over `binding`, an ASGI endpoint; the route's parameters are `account` and `model`.

    With a `token`, requests need it as `Authorization: Bearer ...`.
    """

    def __init__(self, binding: Binding, token: str | None = None) -> None:
        self._binding = binding
        self._token = token.encode() if token else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        if not may_pass(headers, self._token):
            await send_reply(edge_error(Unauthorized()), send)
            return
        try:
            inputs = parse_json(await read_body(receive))
        except AiError as error:
            refusal = Reply.from_error(error, {"cf-ai-req-id": str(uuid.uuid4())})
            await send_reply(_enveloped(refusal), send)
            return
        call = Call(scope["path_params"]["model"], inputs, _options(scope), _passed(headers))
        await respond(lambda: self._binding.send(call), receive, send, render=_enveloped)


def edge_error(error: AiError) -> Reply:
    """A refusal by the API in front of the inference service: authentication, routing."""
    body = {
        "result": None,
        "success": False,
        "errors": [{"code": error.code, "message": error.description}],
        "messages": [],
    }
    return Reply(body, error.status, {"content-type": JSON})


def _enveloped(reply: Reply) -> Reply:
    if error := reply.error:
        message = error.rest_message(reply.headers.get("cf-ai-req-id", ""))
        notes = [{"code": error.code, "message": error.hint}] if error.hint else []
        body: Any = {
            "errors": [{"message": message, "code": error.code}],
            "success": False,
            "result": {},
            "messages": notes,
        }
    elif reply.headers.get("content-type") == JSON:
        body = {"result": reply.body, "success": True, "errors": [], "messages": []}
    else:
        return reply
    return Reply(body, reply.status, reply.headers)


def _options(scope: Scope) -> dict[str, Any]:
    # The AI SDK adds its unknown settings to the query, so anything but ours is ignored.
    query = parse_qs(scope["query_string"].decode("latin-1"))
    return {"asOf": query["asOf"][-1]} if "asOf" in query else {}


def _passed(headers: Mapping[bytes, bytes]) -> dict[str, str]:
    return {name: headers[key].decode("latin-1") for name in _PASSED_HEADERS if (key := name.encode()) in headers}
