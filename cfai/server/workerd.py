"""The binding protocol: what workerd's own `env.AI` sends to its service.

`POST /run?version=3` with `{"inputs", "options"}` and the model in `cf-consn-model-id`; replies without envelope.
https://github.com/cloudflare/workerd/blob/main/src/cloudflare/internal/ai-api.ts

    version=3   env.AI, and npm's @cloudflare/ai from 1.2 on
    version=2   @cloudflare/ai 1.1: JSON replies are gzip data, and no header says so
    none        @cloudflare/ai 1.0: tensors, `server/tensors.py`

Besides `run`, `env.AI` has paths for lists, documents, gateways and searches. What does not run locally is refused with
a sentence, in the form that the caller's class reads.
"""

from __future__ import annotations

import base64
import gzip
import os
import time
from collections.abc import Mapping
from datetime import date
from typing import Any
from urllib.parse import parse_qs

from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from cfai import sse
from cfai.binding import JSON, Binding, Call, Reply
from cfai.bindings.faults.asked import AskedFaults, with_faults
from cfai.catalog import Catalog, catalog_of
from cfai.errors import AiError, BadInput, IncompleteRequest, MethodNotAllowed, Unauthorized
from cfai.request_id import of_request
from cfai.server.bearer import Bearer, may_pass
from cfai.server.body import parse_json, read_body
from cfai.server.exchange import respond, send_reply
from cfai.server.inputs import stream_inputs_of
from cfai.server.listings import Answered, ModelSearch
from cfai.server.rest import edge_error
from cfai.server.tensors import TensorRun

__all__ = ["BINDING_HOST", "WorkerdRun", "binding_routes", "is_upgrade"]

BINDING_HOST = "workers-binding.ai"
"""The host that `env.AI` names, wherever its requests go."""

_PASSED_HEADERS = (b"x-session-affinity", b"cf-aig-metadata")


def binding_routes(
    binding: Binding, token: str | None = None, faults: AskedFaults | None = None, *, as_of: date | None = None
) -> list[BaseRoute]:
    """The paths of `env.AI` over `binding`. With a `token`, requests need it as `Authorization: Bearer ...`.

    as_of  the day whose models are listed; default today's
    """
    run = WorkerdRun(binding, token, faults)
    return [
        Route("/run", run),
        Route("/ai-gateway/run", run),
        Route("/ai-api/models/search", Bearer(Answered(ModelSearch(binding, as_of=as_of)), token), methods=["GET"]),
        Route(
            "/to-everything/markdown/supported", _Fixed(Reply({"result": []}, headers={"content-type": JSON}), token)
        ),
        *(Route(f"{path}{{rest:path}}", _Fixed(edge_error(_elsewhere(what)), token)) for path, what in _ELSEWHERE),
    ]


def is_upgrade(headers: Mapping[bytes, bytes]) -> bool:
    """Whether the request wants to become a WebSocket."""
    return headers.get(b"upgrade", b"").lower() == b"websocket"


class WorkerdRun:
    """The run route over `binding`, an ASGI endpoint."""

    def __init__(self, binding: Binding, token: str | None = None, faults: AskedFaults | None = None) -> None:
        self._binding = binding
        self._catalog = catalog_of(binding)
        self._token = token.encode() if token else None
        self._faults = faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        query = _query(scope)
        try:
            if not may_pass(headers, self._token):
                raise Unauthorized()
            _check_method(scope["method"], headers)
            model = _model(headers)
            body = await read_body(receive)
            is_tensors = "version" not in query and not _is_json(headers)
            if "userInputs" in query:
                call = _stream_call(model, body, query, headers, self._catalog)
            elif is_tensors:
                run = TensorRun.read(model, body, _passed(headers))
            else:
                call = _call(model, parse_json(body), headers)
        except AiError as error:
            await send_reply(Reply.from_error(error, {"cf-ai-req-id": of_request()}), send)
            return
        if is_tensors:
            # The network cuts what is sent, and that are tensors.
            answer = with_faults(self._faults, lambda call: self._in_tensors(run, call))
            await respond(lambda: answer(run.call), receive, send)
            return
        answer = with_faults(self._faults, self._binding.send)
        if query.get("version") == "2":
            await respond(lambda: answer(call), receive, send, render=_as_version_2)
        elif scope["path"] == "/ai-gateway/run":
            await respond(lambda: answer(call), receive, send, render=_logged)
        else:
            await respond(lambda: answer(call), receive, send)

    async def _in_tensors(self, run: TensorRun, call: Call) -> Reply:
        return run.written(await self._binding.send(call))


class _Fixed:
    """An endpoint that always gives the same reply."""

    def __init__(self, reply: Reply, token: str | None) -> None:
        self._reply = reply
        self._token = token.encode() if token else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_allowed = may_pass(dict(scope["headers"]), self._token)
        await send_reply(self._reply if is_allowed else edge_error(Unauthorized()), send)


_ELSEWHERE = [
    ("/to-everything/", "toMarkdown()"),
    ("/ai-gateway/", "AI Gateway, apart from env.AI.run with the gateway option,"),
    ("/autorag/", "AutoRAG"),
    ("/aisearch/", "AI Search"),
]


def _elsewhere(what: str) -> AiError:
    return AiError.of(7000, f"{what} does not run locally", status=400)


def _query(scope: Scope) -> dict[str, str]:
    given = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    return {name: values[-1] for name, values in given.items()}


def _is_json(headers: Mapping[bytes, bytes]) -> bool:
    return headers.get(b"content-type", b"").partition(b";")[0].strip().lower() == JSON.encode()


def _check_method(method: str, headers: Mapping[bytes, bytes]) -> None:
    if is_upgrade(headers):
        raise BadInput("no model answers over a WebSocket here", hint="leave the option websocket out")
    if method != "POST":
        raise MethodNotAllowed(method)


def _model(headers: Mapping[bytes, bytes]) -> str:
    # A prefix, `options.prefix`, may stand before the id and a colon.
    given = headers.get(b"cf-consn-model-id", b"").decode("latin-1")
    model = given if given.startswith("@") else given.partition(":")[2] or given
    if not model:
        raise IncompleteRequest("header cf-consn-model-id")
    return model


def _stream_call(
    model: str, body: bytes, query: Mapping[str, str], headers: Mapping[bytes, bytes], catalog: Catalog
) -> Call:
    """A call with a stream among its inputs: the body is the stream, the other inputs and the options are the query."""
    others = parse_json(query["userInputs"].encode())
    if not isinstance(others, dict):
        raise IncompleteRequest("userInputs, which is no JSON object")
    content_type = headers.get(b"content-type", b"application/octet-stream").decode("latin-1")
    inputs = stream_inputs_of(model, body, content_type, others, catalog)
    options = {
        name: _BOOLEANS.get(value, value) for name, value in query.items() if name not in ("version", "userInputs")
    }
    return Call(model, inputs, options, _passed(headers))


_BOOLEANS = {"true": True, "false": False}
"""How JavaScript writes them in a query."""


def _call(model: str, body: Any, headers: Mapping[bytes, bytes]) -> Call:
    if not isinstance(body, dict) or "inputs" not in body:
        raise IncompleteRequest("inputs")
    options = body.get("options")
    return Call(model, body["inputs"], options if isinstance(options, dict) else {}, _passed(headers))


def _passed(headers: Mapping[bytes, bytes]) -> dict[str, str]:
    return {name.decode(): headers[name].decode("latin-1") for name in _PASSED_HEADERS if name in headers}


def _as_version_2(reply: Reply) -> Reply:
    """The reply as @cloudflare/ai 1.1 reads it: it unpacks whatever is no stream, content-encoding or not."""
    if reply.error or reply.headers.get("content-type") != JSON:
        return reply
    headers = {**reply.headers, "cf-ai-logs": base64.b64encode(b"[]").decode()}
    return Reply(gzip.compress(sse.dumps(reply.body).encode(), mtime=0), reply.status, headers)


def _logged(reply: Reply) -> Reply:
    """The reply of a gateway: `env.AI.aiGatewayLogId` has a value after a run through one."""
    return Reply(reply.body, reply.status, {"cf-aig-log-id": _ulid(), **reply.headers})


_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def _ulid() -> str:
    """An id of a gateway's log: the time, then chance, in Crockford's base32. https://github.com/ulid/spec"""
    number = int(time.time() * 1000) << 80 | int.from_bytes(os.urandom(10), "big")
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))
