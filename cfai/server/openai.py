"""OpenAI's endpoints: `/v1/chat/completions` and its neighbours, here and at `/client/v4/accounts/{account}/ai/v1/...`.

The request without its model is the call's inputs, in the form of the endpoint; the reply is passed on as it is. An
error is written for both kinds of client: `error` for OpenAI's, `errors` and the rest of the envelope for Cloudflare's.
"""

from __future__ import annotations

from typing import Any

from starlette.types import Receive, Scope, Send

from cfai.binding import JSON, Binding, Call, Form, Listing, Reply
from cfai.bindings.faults.asked import AskedFaults, with_faults
from cfai.catalog import Catalog, Model, catalog_of
from cfai.errors import AiError, IncompleteRequest, NoSuchModel
from cfai.request_id import of_request
from cfai.server.body import read_json
from cfai.server.exchange import respond, send_reply
from cfai.server.rest import OPTIONS_IN_BODY, options_of, passed_headers
from cfai.server.resume import Streams
from cfai.tasks.shapes.failures import openai_failure

__all__ = ["Completions", "Models", "model_in", "openai_error", "rendered"]


class Completions:
    """An endpoint that answers in `form`, over `binding`; an ASGI endpoint."""

    def __init__(self, binding: Binding, streams: Streams, form: Form, faults: AskedFaults | None = None) -> None:
        self._binding = binding
        self._streams = streams
        self._form = form
        self._faults = faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            call = self._call(scope, await read_json(receive))
        except AiError as error:
            await send_reply(openai_error(error), send)
            return
        # Faults are of the connection: a stream that can be continued goes on behind them.
        answer = with_faults(
            self._faults,
            lambda call: self._streams.over(scope, lambda: self._binding.send(call), failure=openai_failure)(),
        )
        await respond(lambda: answer(call), receive, send, render=rendered, failure=openai_failure)

    def _call(self, scope: Scope, body: Any) -> Call:
        model = model_in(body)
        # What only Cloudflare's endpoint has stands beside OpenAI's fields.
        given = body.get("options")
        options = {name: given[name] for name in OPTIONS_IN_BODY if name in given} if isinstance(given, dict) else {}
        inputs = {name: value for name, value in body.items() if name not in ("model", "options")}
        return Call(model, inputs, {**options, **options_of(scope)}, passed_headers(scope), self._form)


class Models:
    """The models that run here, or the one of the route's parameter `model`; an ASGI endpoint."""

    def __init__(self, binding: Binding, catalog: Catalog | None = None) -> None:
        self._binding = binding
        self._catalog = catalog or catalog_of(binding)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        rows = await self._rows()
        wanted = scope["path_params"].get("model")
        if wanted is None:
            body: Any = {"object": "list", "data": list(rows.values())}
        elif (body := rows.get(wanted)) is None:
            await send_reply(openai_error(NoSuchModel(wanted)), send)
            return
        await send_reply(Reply(body, headers={"content-type": JSON}), send)

    async def _rows(self) -> dict[str, dict[str, Any]]:
        catalog = {model.id: model for model in self._catalog.models()}
        if isinstance(self._binding, Listing):
            names = await self._binding.models_here()
        else:  # it does not say: then it may have any
            names = [model.id for model in catalog.values() if model.status == "active"]
        return {name: _row(catalog.get(name) or Model(name)) for name in names}


def openai_error(error: AiError) -> Reply:
    """The reply that describes `error` to OpenAI's clients and to Cloudflare's."""
    return rendered(Reply.from_error(error, {"cf-ai-req-id": of_request()}))


def model_in(body: Any) -> str:
    """The model that a body names."""
    if not isinstance(body, dict):
        raise IncompleteRequest("body is not a JSON object")
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise IncompleteRequest("model", hint='the body names it: {"model": "@cf/...", ...}')
    return model


def _row(model: Model) -> dict[str, Any]:
    created = model.created.toordinal() - _EPOCH if model.created else 0
    return {"id": model.id, "object": "model", "created": created * 86400, "owned_by": model.author}


_EPOCH = 719163
"""The ordinal of 1970-01-01."""


def rendered(reply: Reply) -> Reply:
    """The reply, and if it is an error, for both kinds of client."""
    if (error := reply.error) is None:
        return reply
    notes = [{"code": error.code, "message": error.hint}] if error.hint else []
    body = {**error.to_openai(), "success": False, "result": {}, "messages": notes}
    # OpenAI has no other sign for a model that is not there.
    return Reply(body, 404 if isinstance(error, NoSuchModel) else reply.status, reply.headers)
