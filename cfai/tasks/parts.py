"""What an answer to a text generation call is made of, in whatever form it is then written.

    pieces of text, from the model -> parts -> events, or one JSON object

A model gives text. Some of it may be a tool call, or thinking that comes before the answer; a parser tells them apart
(`tasks/output_parser.py`), and a shape writes the parts as the caller wants to read them (`tasks/shapes`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

from cfai.cost import Cost

__all__ = [
    "Answer",
    "CallArguments",
    "CallStart",
    "Finish",
    "Part",
    "Reasoning",
    "Text",
    "TokenLogprob",
    "ToolCall",
    "Usage",
]

CACHED_TOKENS_SINCE = date(2026, 1, 1)
"""From about this day usage says how much of the prompt was in a cache; recordings of 2025 lack it."""

Finish = Literal["stop", "length", "tool_calls"]
"""Why an answer ended: by itself or at a stop text, at `max_tokens`, or with tool calls for the caller to make."""


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """One token and the natural logarithm of its probability, with the likeliest tokens in its place and theirs."""

    text: str
    bytes: bytes
    logprob: float
    top: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of the answer."""

    text: str
    logprobs: tuple[TokenLogprob, ...] = ()
    """Of the tokens that ended with this piece, if the caller asked for them."""


@dataclass(frozen=True, slots=True)
class Reasoning:
    """A piece of what the model thinks before it answers."""

    text: str


@dataclass(frozen=True, slots=True)
class CallStart:
    """A tool call begins. `index` counts the calls of an answer from 0; `id` is made up here and unique."""

    index: int
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class CallArguments:
    """More of a call's arguments: all of them together are the text of one JSON object."""

    index: int
    text: str


Part = Text | Reasoning | CallStart | CallArguments


@dataclass(frozen=True, slots=True)
class Usage:
    """What an answer cost, in tokens. `cached_tokens` are those of the prompt that needed no computing."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    neurons: float | None = None
    """Cloudflare's measure of the same; None for models whose price is not known."""
    reasoning_tokens: int = 0
    """Those of the completion that went into thinking."""

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    @property
    def cost(self) -> Cost:
        return Cost(self.prompt_tokens, self.completion_tokens, self.cached_tokens, self.neurons)

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Usage:
        """The usage as an answer of any form tells it; what it does not tell is 0."""
        prompt, made = ("input", "output") if "input_tokens" in told else ("prompt", "completion")
        cached, reasoning = (told.get(f"{name}_tokens_details") or {} for name in (prompt, made))
        return cls(
            told.get(f"{prompt}_tokens", 0),
            told.get(f"{made}_tokens", 0),
            told.get("cached_tokens", cached.get("cached_tokens", 0)),
            neurons=told.get("neurons"),
            reasoning_tokens=told.get("reasoning_tokens", reasoning.get("reasoning_tokens", 0)),
        )

    def to_json(self, *, as_of: date | None = None) -> dict[str, Any]:
        """The usage object of the day `as_of`, or today's, its keys in Cloudflare's order."""
        counted = {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.total_tokens,
        }
        if as_of is not None and as_of < CACHED_TOKENS_SINCE:
            return counted
        return {**counted, "prompt_tokens_details": {"cached_tokens": self.cached_tokens}}


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A whole tool call. `arguments` is the text of a JSON object, as the model wrote it."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Answer:
    """One whole answer; a call may ask for several (`n`)."""

    text: str
    finish: Finish
    reasoning: str = ""
    calls: tuple[ToolCall, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()

    @classmethod
    def of(cls, parts: Iterable[Part], finish: Finish) -> Answer:
        """The answer that these parts make."""
        text: list[str] = []
        reasoning: list[str] = []
        logprobs: list[TokenLogprob] = []
        starts: dict[int, CallStart] = {}
        arguments: dict[int, list[str]] = {}
        for part in parts:
            match part:
                case Text():
                    text.append(part.text)
                    logprobs += part.logprobs
                case Reasoning():
                    reasoning.append(part.text)
                case CallStart():
                    starts[part.index] = part
                    arguments[part.index] = []
                case CallArguments():
                    arguments[part.index].append(part.text)
        calls = tuple(ToolCall(start.id, start.name, "".join(arguments[index])) for index, start in starts.items())
        return cls("".join(text), finish, "".join(reasoning), calls, tuple(logprobs))
