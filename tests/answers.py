"""Answers in parts, for the tests of what they are written as."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from datetime import date
from typing import Any

from cfai import sse
from cfai.catalog import Model, Neurons
from cfai.errors import AiError
from cfai.tasks.parts import CallArguments, CallStart, Finish, Part, Reasoning, Text, TokenLogprob, Usage
from cfai.tasks.shapes import Fidelity, Shape, shape_for
from cfai.tasks.text_generation import TextGeneration, Tool

MODEL = "@cf/x/y"
NOW = 1_700_000_000.25
USAGE = Usage(prompt_tokens=7, completion_tokens=3, cached_tokens=2, neurons=0.5)
PROMPT_USAGE = Usage(prompt_tokens=7, completion_tokens=0, cached_tokens=2)
TOOLS = (Tool("add"), Tool("now"))

WORDS: list[Part] = [Text("New"), Text(" York")]
CALLS: list[Part] = [
    Text("Well."),
    CallStart(0, "call_a", "add"),
    CallArguments(0, '{"a":'),
    CallArguments(0, "1}"),
    CallStart(1, "call_b", "now"),
    CallArguments(1, "{}"),
]
THOUGHTS: list[Part] = [Reasoning("A town"), Reasoning("."), Text("New York")]


def token(text: str, logprob: float) -> TokenLogprob:
    return TokenLogprob(text, text.encode(), logprob, (TokenLogprob("Old", b"Old", -3.0),))


LIKELY: list[Part] = [Text("New", (token("New", -0.5),)), Text(" York", (token(" Yo", -0.25), token("rk", 0.0)))]


def shape(
    name: Any, *, as_of: date | None = None, fidelity: Fidelity = "clean", model: str = MODEL, **fields: Any
) -> Shape:
    """A shape that gives the same ids, times and padding each time."""
    request = TextGeneration(**{"prompt": "hi", "shape": name, **fields})
    priced = Model(id=model, neurons=Neurons(input=9090.9, output=27272.7))
    return shape_for(
        request, model, as_of=as_of, fidelity=fidelity, neurons_of=priced.neurons_of, now=NOW, rng=random.Random(0)
    )


def stream(
    shape: Shape, *choices: Sequence[Part], finish: Finish = "stop", error: AiError | None = None
) -> list[bytes]:
    """The events of a whole stream; with an `error`, of one that broke before its first choice had finished."""
    events = shape.begin(PROMPT_USAGE)
    for choice, parts in enumerate(choices):
        for part in parts:
            events += shape.part(part, choice)
        if error is not None:
            return events + shape.failure(error)
        events += shape.finish(finish, choice)
    return events + shape.end(USAGE)


def told(events: Sequence[bytes]) -> list[Any]:
    """The JSON of each event; what ends a stream is a given."""
    assert events[-1] == sse.DONE
    data = [sse.Decoder().feed(event) for event in events[:-1]]
    assert all(len(each) == 1 for each in data), "each of them is one event"
    return [json.loads(each[0]) for each in data]
