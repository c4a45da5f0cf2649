"""What surrounds the choices in a chat.completion or text_completion object and in each chunk of its stream."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cfai import sse
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

    @classmethod
    def of(cls, request: TextGeneration, model: str, kind: str, *, now: float, rng: random.Random) -> Envelope:
        """An envelope for the answer to `request`, its id as the native form or the OpenAI endpoint makes it."""
        made = f"{rng.getrandbits(128):032x}" if request.is_native else f"id-{int(now * 1000)}"
        return cls(made, int(now), model, kind, request.is_native)

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

    @property
    def _chunk(self) -> str:
        # Completions have one name for both.
        return "chat.completion.chunk" if self.object == "chat.completion" else self.object


def _sorted(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: _sorted(value) if isinstance(value, dict) else value for name, value in sorted(fields.items())}
