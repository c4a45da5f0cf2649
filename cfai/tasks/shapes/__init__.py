"""How an answer is written: parts of it to the bytes of a stream, or whole answers to one JSON object.

    classic     {"response": "New"}, the form of the first models and of most today
    chat        chat.completion objects and chunks, OpenAI's and that of the newer models
    completion  text_completion objects and chunks, for a bare prompt
    responses   response objects and their named events

A shape belongs to one call: it remembers what it has written. It has no clock but the moment it was made.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from datetime import date
from typing import Any, Literal, Protocol

from cfai.errors import AiError
from cfai.tasks.parts import Answer, Finish, Part, Usage
from cfai.tasks.shapes.chat import ChatShape, ProductionChatShape
from cfai.tasks.shapes.classic import ClassicShape, ProductionClassicShape
from cfai.tasks.shapes.completion import CompletionShape
from cfai.tasks.shapes.envelope import Envelope
from cfai.tasks.shapes.responses import ResponsesShape
from cfai.tasks.shapes.usage import Meter, NeuronsOf
from cfai.tasks.text_generation import TextGeneration

__all__ = ["Fidelity", "Shape", "parse_fidelity", "shape_for"]

Fidelity = Literal["clean", "production"]
"""`production` has the oddities of Cloudflare's own answers, `clean` has none that a client could stumble over."""


def parse_fidelity(text: str) -> Fidelity:
    """The fidelity that `text` names; a ValueError says which there are."""
    match text:
        case "clean" | "production":
            return text
    raise ValueError(f"fidelity must be clean or production, it is {text[:40]!r}")


class Shape(Protocol):
    """Writes one call's answer. Each `bytes` is one whole event; `choice` counts the answers of a call, from 0."""

    def begin(self, prompt: Usage | None = None) -> list[bytes]:
        """What comes before the first part. `prompt` is the usage so far, for forms that tell it at once."""

    def part(self, part: Part, choice: int = 0) -> list[bytes]: ...

    def finish(self, finish: Finish, choice: int = 0) -> list[bytes]:
        """What follows the last part of a choice."""

    def end(self, usage: Usage) -> list[bytes]:
        """What ends the stream, after every choice has finished."""

    def failure(self, error: AiError) -> list[bytes]:
        """What ends the stream in place of all that is still to come."""

    def whole(self, answers: Sequence[Answer], usage: Usage) -> dict[str, Any]:
        """The answers of a call that does not stream."""


def shape_for(
    request: TextGeneration,
    model: str,
    *,
    as_of: date | None = None,
    fidelity: Fidelity = "clean",
    neurons_of: NeuronsOf | None = None,
    now: float | None = None,
    rng: random.Random | None = None,
) -> Shape:
    """The shape in which `request` wants to be answered, with the name `model` on it.

    ```python
    shape = shape_for(check({"prompt": "hi"}), "@cf/meta/llama-2-7b-chat-int8")
    shape.part(Text("New"))  # [b'data: {"response":"New"}\\n\\n']
    ```

    neurons_of  `Model.neurons_of`, for the usage that production puts into each event
    now         seconds since 1970; default: this moment
    rng         where ids and padding come from; default: the system's
    """
    now = time.time() if now is None else now
    rng = rng or random.SystemRandom()
    production = fidelity == "production"
    match request.shape:
        case "classic":
            if production:
                return ProductionClassicShape(request, as_of=as_of, meter=Meter(neurons_of, as_of), rng=rng)
            return ClassicShape(request, as_of=as_of)
        case "chat":
            envelope = Envelope.of(request, model, "chat.completion", as_of=as_of, now=now, rng=rng)
            if production:
                return ProductionChatShape(request, envelope, meter=Meter(neurons_of, as_of), rng=rng)
            return ChatShape(request, envelope)
        case "completion":
            envelope = Envelope.of(request, model, "text_completion", as_of=as_of, now=now, rng=rng)
            return CompletionShape(request, envelope)
        case "responses":
            return ResponsesShape(request, model, now=now, rng=rng)
