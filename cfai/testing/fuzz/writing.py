"""Pieces of text as the stream that Workers AI makes of them, in each form."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import date

from cfai.errors import AiError
from cfai.tasks.parts import CallArguments, CallStart, Part, Text, Usage
from cfai.tasks.shapes import Fidelity, shape_for
from cfai.tasks.text_generation import ShapeName, TextGeneration, Tool
from cfai.testing.fuzz.case import CaseForm

__all__ = ["written"]

MODEL = "@cf/meta/llama-3.1-8b-instruct"
MADE_AT = 1_700_000_000.0

_SHAPES: dict[CaseForm, tuple[ShapeName, bool]] = {
    "classic": ("classic", True),
    "native-chat": ("chat", True),
    "chat": ("chat", False),
    "completion": ("completion", False),
    "responses": ("responses", False),
}


def written(
    pieces: Sequence[str],
    form: CaseForm,
    *,
    fidelity: Fidelity = "clean",
    as_of: date | None = None,
    calls_tool: bool = False,
    error: AiError | None = None,
) -> list[bytes]:
    """The events of an answer of these pieces, as `cfai serve` sends them, the same ones each time."""
    name, is_native = _SHAPES[form]
    tools = (Tool("add"),) if calls_tool else ()
    request = TextGeneration(prompt="hi", shape=name, is_native=is_native, include_usage=True, tools=tools)
    shape = shape_for(
        request,
        MODEL,
        as_of=as_of,
        fidelity=fidelity,
        neurons_of=lambda prompt, completion, cached: prompt * 0.02 + completion * 0.03,
        now=MADE_AT,
        rng=random.Random(0),
    )
    parts: list[Part] = [Text(piece) for piece in pieces]
    if calls_tool:
        parts += [CallStart(0, "call_1", "add"), CallArguments(0, '{"a":'), CallArguments(0, "1}")]
    events = shape.begin(Usage(7, 0))
    for part in parts:
        events += shape.part(part)
    if error is not None:
        return events + shape.failure(error)
    events += shape.finish("tool_calls" if calls_tool else "stop")
    return events + shape.end(Usage(7, len(parts)))
