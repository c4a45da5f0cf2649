"""The binding protocol: what workerd's own `env.AI` sends to its service.

`POST /run?version=3` with `{"inputs", "options"}` and the model in `cf-consn-model-id`; replies without envelope.
https://github.com/cloudflare/workerd/blob/main/src/cloudflare/internal/ai-api.ts
"""

from __future__ import annotations

import uuid
from typing import Any

from starlette.types import Receive, Scope, Send

from cfai.binding import Binding, Call, Reply
from cfai.errors import AiError, IncompleteRequest
from cfai.server.body import parse_json, read_body
from cfai.server.exchange import respond, send_reply

__all__ = ["WorkerdRun"]

_PASSED_HEADERS = (b"x-session-affinity",)


class WorkerdRun:
    """The run route over `binding`, an ASGI endpoint."""

    def __init__(self, binding: Binding) -> None:
        self._binding = binding

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            call = _call(scope, parse_json(await read_body(receive)))
        except AiError as error:
            await send_reply(Reply.from_error(error, {"cf-ai-req-id": str(uuid.uuid4())}), send)
            return
        await respond(lambda: self._binding.send(call), receive, send)


def _call(scope: Scope, body: Any) -> Call:
    headers = dict(scope["headers"])
    # A prefix, `options.prefix`, may stand before the id and a colon.
    given = headers.get(b"cf-consn-model-id", b"").decode("latin-1")
    model = given if given.startswith("@") else given.partition(":")[2] or given
    if not model:
        raise IncompleteRequest("header cf-consn-model-id")
    if not isinstance(body, dict) or "inputs" not in body:
        raise IncompleteRequest("inputs")
    options = body.get("options")
    passed = {name.decode(): headers[name].decode("latin-1") for name in _PASSED_HEADERS if name in headers}
    return Call(model, body["inputs"], options if isinstance(options, dict) else {}, passed)
