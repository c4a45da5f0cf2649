"""What a model says, as a script for a fake."""

from __future__ import annotations

import re
from typing import Any

from cfai import Binding, ByteStream, Call, FakeBinding, Reply, sse
from cfai.bindings import Script
from cfai.tasks.parts import Finish

__all__ = ["fake_of", "masked"]

_MADE_UP = re.compile(rb'("(?:p|id|item_id)":)"[^"]*"|("created(?:_at)?":)\d+')


def fake_of(binding: Binding, *models: str) -> FakeBinding:
    """A fake that says, piece by piece, what `binding` says to the same call."""

    async def answer(call: Call) -> Script | Exception:
        return await _said_by(binding, call)

    return FakeBinding(dict.fromkeys(models, answer))


async def masked(reply: Reply) -> tuple[int, str, list[bytes]]:
    """Status, content type and events of a reply, or its one JSON body, without what is made up for each answer."""
    if isinstance(reply.body, ByteStream):
        chunks = [event async for event in reply.body]
    else:
        chunks = [sse.dumps(reply.body).encode()]
    content_type = reply.headers["content-type"]
    return reply.status, content_type, [_MADE_UP.sub(rb"\1\2*", chunk) for chunk in chunks]


async def _said_by(binding: Binding, call: Call) -> Script | Exception:
    asked = {**call.inputs, "stream": True}
    if call.form in ("chat", "completion"):
        asked["stream_options"] = {"include_usage": True}
    options = {name: value for name, value in call.options.items() if name != "fidelity"}
    reply = await binding.send(Call(call.model, asked, options, form=call.form))
    if (error := reply.error) is not None:
        return error
    assert isinstance(reply.body, ByteStream)
    decoder = sse.Decoder()
    bodies = [sse.loads(data) async for event in reply.body for data in decoder.feed(event) if data != "[DONE]"]
    pieces = [piece for body in bodies if (piece := _piece(body))]
    return Script(pieces=pieces, usage=_usage(bodies[-1]), finish_reason=_finish(bodies))


def _piece(body: dict[str, Any]) -> str:
    if "response" in body and "type" not in body:
        return str(body["response"])
    if "choices" in body:
        choice = body["choices"][0] if body["choices"] else {}
        return str(choice.get("text") or choice.get("delta", {}).get("content") or "")
    return str(body["delta"]) if body["type"] == "response.output_text.delta" else ""


def _usage(last: dict[str, Any]) -> dict[str, Any] | None:
    told = last if "response" not in last or isinstance(last["response"], str) else last["response"]
    usage: dict[str, Any] | None = told.get("usage")
    if usage is None or "prompt_tokens" in usage:
        return usage
    return {"prompt_tokens": usage["input_tokens"], "completion_tokens": usage["output_tokens"]}


def _finish(bodies: list[dict[str, Any]]) -> Finish:
    reasons = [choice.get("finish_reason") for body in bodies for choice in body.get("choices") or ()]
    if any(reasons):
        return "length" if "length" in reasons else "stop"
    return "length" if bodies[-1].get("type") == "response.incomplete" else "stop"
