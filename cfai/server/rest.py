"""The REST API: `POST /client/v4/accounts/{account}/ai/run/{model}` in Cloudflare's envelope; streams have none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

from starlette.types import Receive, Scope, Send

from cfai.binding import Binding, Call, Reply
from cfai.bindings.faults.asked import AskedFaults, with_faults
from cfai.catalog import catalog_of
from cfai.errors import AiError, IncompleteRequest
from cfai.request_id import of_request
from cfai.server.body import read_body
from cfai.server.envelope import edge_error, enveloped
from cfai.server.exchange import respond, send_reply
from cfai.server.inputs import inputs_of
from cfai.server.resume import Streams

__all__ = ["OPTIONS_IN_BODY", "RestRun", "edge_error", "options_of", "passed_headers"]

OPTIONS_IN_BODY = ("rejectIfBusy", "keepAlive")
"""What a body's `options` may hold."""

OPTIONS_IN_QUERY = ("asOf", "fidelity", "strictRetired", "keepAlive")

_PASSED_HEADERS = ("x-session-affinity", "cf-aig-metadata")


class RestRun:
    """The run route over `binding`, an ASGI endpoint; the route's parameter `model` may be missing, then it stands in
    the body."""

    def __init__(self, binding: Binding, streams: Streams, faults: AskedFaults | None = None) -> None:
        self._binding = binding
        self._catalog = catalog_of(binding)
        self._streams = streams
        self._faults = faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            call = _call(scope, await self._inputs(scope, await read_body(receive)))
        except AiError as error:
            await send_reply(enveloped(Reply.from_error(error, {"cf-ai-req-id": of_request()})), send)
            return
        # Faults are of the connection: a stream that can be continued goes on behind them.
        answer = with_faults(self._faults, lambda call: self._streams.over(scope, lambda: self._binding.send(call))())
        await respond(lambda: answer(call), receive, send, render=enveloped)

    async def _inputs(self, scope: Scope, body: bytes) -> Any:
        content_type = dict(scope["headers"]).get(b"content-type", b"").decode("latin-1")
        return await inputs_of(scope["path_params"].get("model") or "", body, content_type, self._catalog)


def _call(scope: Scope, body: Any) -> Call:
    model = scope["path_params"].get("model")
    if not model:
        if not isinstance(body, dict) or not isinstance(model := body.get("model"), str) or not model:
            raise IncompleteRequest("model", hint="name it in the path, .../ai/run/MODEL, or as `model` in the body")
        body = {name: value for name, value in body.items() if name != "model"}
        for name in ("input", "inputs"):
            if isinstance(body.get(name), dict):
                body = body[name]
                break
    options = options_of(scope)
    if isinstance(body, dict) and isinstance(given := body.get("options"), dict):
        # They are no inputs; the API takes them out.
        body = {name: value for name, value in body.items() if name != "options"}
        options = {**_asked_in_body(given), **options}
    return Call(model, body, options, passed_headers(scope))


def _asked_in_body(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: given[name] for name in OPTIONS_IN_BODY if name in given}


def options_of(scope: Scope) -> dict[str, Any]:
    """The options of a run that stand in the query."""
    # The AI SDK adds its unknown settings to the query, so anything but these is ignored.
    query = parse_qs(scope["query_string"].decode("latin-1"))
    options: dict[str, Any] = {name: query[name][-1] for name in OPTIONS_IN_QUERY if name in query}
    if query.get("queueRequest", [""])[-1] == "true":
        options["queueRequest"] = True
    return options


def passed_headers(scope: Scope) -> dict[str, str]:
    """The headers of a request that are meant for the binding."""
    headers = dict(scope["headers"])
    return {name: headers[key].decode("latin-1") for name in _PASSED_HEADERS if (key := name.encode()) in headers}
