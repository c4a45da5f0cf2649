"""A binding that gives the replies it was made with, and remembers what it was asked."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any

from cfai import ByteStream, Call, Reply
from cfai.errors import AiError

__all__ = ["Canned"]

Given = Mapping[str, Any] | Sequence[bytes] | AiError | Callable[[], AsyncGenerator[bytes]]


class Canned:
    """Answer every call with `given`: a JSON object, the events of a stream, an error, or a function that streams."""

    def __init__(self, given: Given, *, here: Sequence[str] = (), headers: Mapping[str, str] | None = None) -> None:
        self.given = given
        self.here = [*here]
        self.headers = {"cf-ai-req-id": "req-1", **(headers or {})}
        self.calls: list[Call] = []

    async def send(self, call: Call) -> Reply:
        self.calls.append(call)
        given = self.given
        if isinstance(given, AiError):
            return Reply.from_error(given, self.headers)
        if isinstance(given, Mapping):
            return Reply(dict(given), headers={**self.headers, "content-type": "application/json"})
        events = given() if callable(given) else _each(given)
        return Reply(ByteStream(events), headers={**self.headers, "content-type": "text/event-stream"})

    async def models_here(self) -> list[str]:
        return self.here

    async def aclose(self) -> None:
        """It holds nothing."""


async def _each(events: Sequence[bytes]) -> AsyncGenerator[bytes]:
    for event in events:
        yield event
