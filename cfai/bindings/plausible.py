"""What a fake says when nobody told it: text that reads like an answer, values of the schema, calls of the tools."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

from cfai.binding import JSON, Call
from cfai.bindings.asked import Asked
from cfai.bindings.script import Script, words_of_json
from cfai.sse import dumps
from cfai.tasks.plausible_json import plausible_json
from cfai.tasks.text_generation import LLAMA_GUARD
from cfai.tasks.words import sentence

if TYPE_CHECKING:
    from cfai.tasks import Task

__all__ = ["chance", "plausible_answer", "plausible_text"]

MOST_SENTENCES = 4


def chance(seed: int, call: Call) -> Random:
    """The chance that one call has: the same for the same seed, model and inputs, whatever was called before."""
    inputs = call.inputs
    if isinstance(inputs, dict):  # whole or as a stream, it is the same answer
        inputs = {name: value for name, value in inputs.items() if name not in ("stream", "stream_options")}
    try:
        told = dumps(inputs)
    except (TypeError, ValueError):  # bytes, as audio and images are
        told = repr(inputs)
    return Random(f"{seed} {call.model} {told}")


def plausible_text(asked: Asked, rng: Random) -> Script:
    """An answer of a model that generates text."""
    request = asked.request
    if request.tools and request.tool_choice == "required":
        tools = [tool for tool in request.tools if request.forced_tool in (None, tool.name)]
        tool = rng.choice(tools)
        return Script(tool_calls=[{"name": tool.name, "arguments": plausible_json(tool.parameters, rng) or {}}])
    if request.answer_schema is not None:
        return Script(pieces=words_of_json(dumps(plausible_json(request.answer_schema, rng))))
    if asked.model.id == LLAMA_GUARD:
        return Script(pieces="safe")
    return Script(pieces=" ".join(sentence(rng) for _ in range(rng.randint(1, MOST_SENTENCES))))


def plausible_answer(task: Task, inputs: Any, rng: Random) -> Script:
    """An answer of a model that generates none, to inputs that were checked."""
    body, content_type = task.plausible(inputs, rng)
    if content_type == JSON:
        return Script(json=body)
    return Script(pieces=[body], headers={"content-type": content_type})
