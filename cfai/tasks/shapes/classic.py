"""The classic form: `{"response": piece}` for each piece, the whole text as `response` otherwise."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from datetime import date
from typing import Any

from cfai import sse
from cfai.errors import AiError, BadInput
from cfai.tasks.parts import (
    CACHED_TOKENS_SINCE,
    Answer,
    CallArguments,
    CallStart,
    Finish,
    Part,
    Text,
    ToolCall,
    Usage,
)
from cfai.tasks.shapes.failures import native_failure
from cfai.tasks.shapes.padding import PADDED_SINCE, alphabet_padding
from cfai.tasks.shapes.think_tags import ThinkTags
from cfai.tasks.shapes.usage import Meter, priced
from cfai.tasks.text_generation import TextGeneration

__all__ = ["NULL_CALL", "NUMBER", "ClassicShape", "ProductionClassicShape"]

USAGE_SINCE = date(2024, 1, 1)
TOOLS_SINCE = date(2024, 6, 19)

NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?")
"""A piece that production sends as a JSON number."""
NULL_CALL = {"id": None, "type": None, "index": 0, "function": {"name": None, "arguments": ""}}
"""What follows the last tool call of a production stream."""


class ClassicShape:
    """Every event but `[DONE]` has a `response` that is a string, so that a page may add up all of them."""

    def __init__(self, request: TextGeneration, *, as_of: date | None = None) -> None:
        self._as_of = as_of
        self._is_json = request.answer_schema is not None
        self._has_tools = bool(request.tools) and self._is_since(TOOLS_SINCE)
        self._tags = ThinkTags(is_left_out=self._is_json)

    def begin(self, prompt: Usage | None = None) -> list[bytes]:
        return []

    def part(self, part: Part, choice: int = 0) -> list[bytes]:
        if type(part) is Text and not self._tags.is_open:
            return [self._piece(part)]
        before = [self._piece(Text(text))] if (text := self._tags.text(part)) else []
        if isinstance(part, CallStart | CallArguments):
            return [*before, self._calls([_delta(part)])]
        return before

    def finish(self, finish: Finish, choice: int = 0) -> list[bytes]:
        events = [self._piece(Text(text))] if (text := self._tags.close()) else []
        if finish == "tool_calls":
            # The AI SDK's provider reads it; without it an answer that waits for its tools looks finished.
            events.append(sse.encode({"response": "", "finish_reason": finish}))
        return events

    def end(self, usage: Usage) -> list[bytes]:
        if not self._is_since(USAGE_SINCE):
            return [sse.DONE]
        return [sse.encode({"response": "", "usage": self._usage(usage)}), sse.DONE]

    def failure(self, error: AiError) -> list[bytes]:
        return native_failure(error)

    def whole(self, answers: Sequence[Answer], usage: Usage) -> dict[str, Any]:
        answer = answers[0]
        body: dict[str, Any] = {"response": self._response(answer)}
        if self._has_tools:
            body["tool_calls"] = [_flat(call) for call in answer.calls]
        if self._is_since(USAGE_SINCE):
            body["usage"] = self._usage(usage)
        return body

    def _is_since(self, day: date) -> bool:
        return self._as_of is None or self._as_of >= day

    def _usage(self, usage: Usage) -> dict[str, Any]:
        is_priced = self._is_since(CACHED_TOKENS_SINCE)
        return priced(usage, self._as_of) if is_priced else usage.to_json(as_of=self._as_of)

    def _piece(self, part: Text) -> bytes:
        return f'data: {{"response":{sse.dumps(part.text)}}}\n\n'.encode()

    def _calls(self, calls: list[dict[str, Any]]) -> bytes:
        return sse.encode({"response": "", "tool_calls": calls})

    def _response(self, answer: Answer) -> Any:
        text = self._tags.whole(answer)
        if not self._is_json or answer.calls:
            return text
        try:
            return _parsed(text)
        except ValueError as error:
            hint = "it ended at max_tokens before its JSON did" if answer.finish == "length" else ""
            raise BadInput("JSON Mode couldn't be met", hint=hint) from error


class ProductionClassicShape(ClassicShape):
    """The same with what makes clients stumble on Cloudflare: padding, numbers, events that lack a `response`."""

    def __init__(self, request: TextGeneration, *, as_of: date | None, meter: Meter, rng: random.Random) -> None:
        super().__init__(request, as_of=as_of)
        self._meter = meter
        self._rng = rng
        self._is_padded = self._is_since(PADDED_SINCE)
        # https://github.com/cloudflare/langchain-cloudflare drops neurons from each event, since it cannot add floats.
        self._is_metered = self._is_since(CACHED_TOKENS_SINCE)

    def begin(self, prompt: Usage | None = None) -> list[bytes]:
        events = []
        if self._is_metered and prompt is not None:
            events.append(self._padded({"response": ""}, usage=self._meter.prompt(prompt)))
        if self._has_tools:
            events.append(sse.encode({"response": "", "tool_calls": []}))
        return events

    def finish(self, finish: Finish, choice: int = 0) -> list[bytes]:
        events = [self._piece(Text(text))] if (text := self._tags.close()) else []
        if finish == "tool_calls":
            return [*events, self._calls([NULL_CALL]), self._padded({"tool_calls": []})]
        return [*events, self._padded({"response": ""})] if self._is_padded else events

    def whole(self, answers: Sequence[Answer], usage: Usage) -> dict[str, Any]:
        body = super().whole(answers, usage)
        if not self._is_since(TOOLS_SINCE):
            return body
        response = body.pop("response")
        return {"response": response, "tool_calls": body.pop("tool_calls", []), **body}

    def _piece(self, part: Text) -> bytes:
        if not self._is_padded:
            return super()._piece(part)
        # The text as it is, not a float of it: "1.50" arrives as 1.50 and becomes 1.5 only with the client.
        value = part.text if NUMBER.fullmatch(part.text) else sse.dumps(part.text)
        metered = f',"usage":{sse.dumps(self._meter.part(part))}' if self._is_metered else ""
        return f'data: {{"response":{value},"p":"{alphabet_padding(self._rng)}"{metered}}}\n\n'.encode()

    def _calls(self, calls: list[dict[str, Any]]) -> bytes:
        return sse.encode({"tool_calls": calls})

    def _padded(self, event: dict[str, Any], **more: Any) -> bytes:
        padding = {"p": alphabet_padding(self._rng)} if self._is_padded else {}
        return sse.encode({**event, **padding, **more})


def _delta(part: CallStart | CallArguments) -> dict[str, Any]:
    if isinstance(part, CallStart):
        return {"id": part.id, "type": "function", "index": part.index, "function": {"name": part.name}}
    return {"index": part.index, "function": {"arguments": part.text}}


def _flat(call: ToolCall) -> dict[str, Any]:
    try:
        arguments = _parsed(call.arguments or "{}")
    except ValueError:  # cut off at max_tokens
        arguments = call.arguments
    return {"name": call.name, "arguments": arguments}


def _parsed(text: str) -> Any:
    """The JSON value of a text; the text itself if it has a number too large for a float, which JSON can spell."""
    value = json.loads(text)
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        return text
    return value
