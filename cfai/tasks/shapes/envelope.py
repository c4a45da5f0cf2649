"""What surrounds the choices in a chat.completion or text_completion object and in each chunk of its stream."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from cfai import sse
from cfai.errors import AiError
from cfai.tasks.parts import Usage
from cfai.tasks.shapes.failures import native_failure, openai_failure
from cfai.tasks.shapes.usage import openai_usage, priced
from cfai.tasks.text_generation import TextGeneration

__all__ = ["Envelope"]


@dataclass(frozen=True, slots=True)
class Envelope:
    """The same id, time and model on every chunk."""

    id: str
    created: int
    model: str
    object: str
    is_native: bool
    has_usage: bool
    as_of: date | None

    @classmethod
    def of(
        cls, request: TextGeneration, model: str, kind: str, *, as_of: date | None, now: float, rng: random.Random
    ) -> Envelope:
        """An envelope for the answer to `request`, its id as the native form or the OpenAI endpoint makes it."""
        made = f"{rng.getrandbits(128):032x}" if request.is_native else f"id-{int(now * 1000)}"
        return cls(made, int(now), model, kind, request.is_native, request.is_native or request.include_usage, as_of)

    def around(self, choices: Sequence[Any], kind: str | None = None, **more: Any) -> dict[str, Any]:
        """The object around `choices`, its keys in the order in which Cloudflare has them."""
        kind = kind or self.object
        if self.is_native:
            head: dict[str, Any] = {"choices": choices, "created": self.created, "id": self.id, "model": self.model}
            return {**head, "object": kind, **more}
        head = {"id": self.id, "created": self.created, "model": self.model, "object": kind, "choices": choices}
        return {**head, **more}

    def choice(self, index: int, **fields: Any) -> dict[str, Any]:
        """One of the choices, whose keys Cloudflare's own form has in the order of the alphabet."""
        choice = {"index": index, **fields}
        return _sorted(choice) if self.is_native else choice

    def chunk(self, choices: Sequence[Any], **more: Any) -> bytes:
        """One event of the stream."""
        return sse.encode(self.around(choices, self._chunk, **more))

    def usage(self, usage: Usage) -> dict[str, Any]:
        """The usage object, with its price where the native form has one."""
        return priced(usage, self.as_of) if self.is_native else openai_usage(usage)

    def end(self, usage: Usage) -> list[bytes]:
        """What ends the stream: the usage, natively once more in an event of the classic form."""
        events = [self.chunk([], usage=self.usage(usage))] if self.has_usage else []
        if self.is_native:
            events.append(sse.encode({"response": "", "usage": self.usage(usage)}))
        return [*events, sse.DONE]

    def failure(self, error: AiError) -> list[bytes]:
        """What ends the stream after an error."""
        return native_failure(error) if self.is_native else openai_failure(error)

    @property
    def _chunk(self) -> str:
        # Completions have one name for both.
        return "chat.completion.chunk" if self.object == "chat.completion" else self.object


def _sorted(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: _sorted(value) if isinstance(value, dict) else value for name, value in sorted(fields.items())}
