"""What an OpenAI-compatible server streams, read as parts of an answer, however it writes them.

    data of an event -> Chunks.put -> parts; at the end why it ended and what it cost

There is one form on paper and many on the wire. What is known to differ, and is read alike here:

    thinking    `reasoning_content` (llama.cpp, SGLang, transformers serve), `reasoning` (Ollama, and vLLM since
                https://github.com/vllm-project/vllm/pull/27752), `<think>` in the text where a server leaves it there
    tool calls  in parts by `index` (OpenAI, vLLM, llama.cpp), whole in one delta (Ollama, transformers serve), several
                with index 0 and ids of their own (https://github.com/ollama/ollama/issues/15457), without an index
                (https://github.com/ollama/ollama/issues/7881), with an event that has only nulls (Cloudflare)
    usage       in an event without choices (OpenAI, llama.cpp), beside the last choice (transformers serve), everywhere
    the end     `[DONE]`, or only a `finish_reason` (transformers serve)
    errors      `{"error": {...}}`, `{"error": "text"}`, `{"object": "error", ...}`, and one that is no JSON
                (transformers serve puts a message between quotes that may have some itself)
"""

from __future__ import annotations

import math
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cfai import sse
from cfai.tasks.output_parser import OutputParser
from cfai.tasks.parts import CallArguments, CallStart, Finish, Part, Reasoning, Text, TokenLogprob, Usage
from cfai.tasks.shapes.logprobs import LEAST_LOGPROB

__all__ = ["Chunks", "ErrorInStream", "NoChunk"]

_FINISHES: Mapping[str, Finish] = {"length": "length", "tool_calls": "tool_calls", "function_call": "tool_calls"}
"""What is not among them, such as `stop`, `eos` and `content_filter`, is an end by itself."""

MOST_TOKENS = 2**53
"""A count of more is no count, and not every client can read it."""

_SURROGATE = re.compile("[\ud800-\udfff]")


class ErrorInStream(Exception):
    """An event that is an error: its JSON, or its text."""

    def __init__(self, body: Any) -> None:
        super().__init__(str(body))
        self.body = body


class NoChunk(Exception):
    """An event that is no chunk of an answer and no error."""


class Chunks:
    """One answer.

    tells_thinking  whether `<think>` is looked for in the text
    has_logprobs    whether they were asked for; a server may tell them unasked
    """

    def __init__(self, *, tells_thinking: bool, has_logprobs: bool) -> None:
        self._parser = OutputParser(None, thinking="on") if tells_thinking else None
        self._has_logprobs = has_logprobs
        self._calls: list[_Call] = []
        self._finish: str | None = None
        self.usage: Usage | None = None
        """What the server says that the answer cost; the last word counts."""
        self.pieces = 0
        """Events that had something of the answer: about as many as tokens."""
        self.reasoning_pieces = 0
        self.has_choices = False
        self.is_done = False
        """Whether `[DONE]` came."""

    @property
    def is_whole(self) -> bool:
        """Whether the server has said that the answer is at its end."""
        return self.has_choices and (self.is_done or self._finish is not None)

    @property
    def finish(self) -> Finish:
        """Why the answer ended."""
        return "tool_calls" if self._calls else _FINISHES.get(self._finish or "", "stop")

    def put(self, data: str) -> list[Part]:
        """The parts in one event's data. Raises `ErrorInStream` and `NoChunk`."""
        if data.strip() == "[DONE]":
            self.is_done = True
            return []
        body = sse.loads(data)
        if not isinstance(body, Mapping):
            raise ErrorInStream(data) if data.lstrip().startswith('{"error"') else NoChunk(data)
        return self.put_body(body)

    def put_body(self, body: Mapping[str, Any]) -> list[Part]:
        """The parts in one chunk, or in the one object of a server that does not stream."""
        if body.get("error") or body.get("object") == "error":
            raise ErrorInStream(body)
        if isinstance(told := body.get("usage"), Mapping):
            self.usage = _usage(told)
        parts: list[Part] = []
        for choice in _objects(body.get("choices")):
            if choice.get("index") not in (None, 0):
                continue  # one was asked for
            self.has_choices = True
            parts += self._of_choice(choice)
            if finish := choice.get("finish_reason"):
                self._finish = str(finish)
        if parts:
            self.pieces += 1
            self.reasoning_pieces += any(isinstance(part, Reasoning) for part in parts)
        return parts

    def end(self) -> list[Part]:
        """What was held back, once nothing follows."""
        parts = self._released()
        for call in self._calls:
            if call.is_told and not call.has_arguments:
                parts.append(CallArguments(call.index, "{}"))
        return parts

    def _released(self) -> list[Part]:
        """Text that may have begun a thought, and now has not; what a server tells apart itself comes as it is."""
        parser, self._parser = self._parser, None
        return [] if parser is None else list(parser.end())

    def _of_choice(self, choice: Mapping[str, Any]) -> list[Part]:
        delta = choice.get("delta") or choice.get("message") or {}
        if not isinstance(delta, Mapping):
            raise NoChunk(sse.dumps(dict(choice)))
        parts: list[Part] = []
        if thought := _text(delta.get("reasoning_content")) or _text(delta.get("reasoning")):
            parts += self._released()
            parts.append(Reasoning(thought))
        text = _text(delta.get("content")) or _text(delta.get("refusal")) or _text(choice.get("text"))
        logprobs = _logprobs(choice.get("logprobs")) if self._has_logprobs else ()
        if text or logprobs:
            parts += self._parser.put(text, logprobs) if self._parser is not None else [Text(text, logprobs)]
        calls = [*_objects(delta.get("tool_calls"))]
        if not calls and isinstance(legacy := delta.get("function_call"), Mapping):
            calls = [{"index": 0, "function": legacy}]
        if calls:
            parts += self._released()
        for call in calls:
            parts += self._of_call(call)
        return parts

    def _of_call(self, told: Mapping[str, Any]) -> list[Part]:
        function = told.get("function") or {}
        if not isinstance(function, Mapping):
            raise NoChunk(sse.dumps(dict(told)))
        call = self._call(told.get("index"), told.get("id"), function.get("name"))
        if call is None:
            return []
        parts: list[Part] = []
        if not call.is_told and (name := function.get("name")):
            call.is_told = True
            parts.append(CallStart(call.index, call.id, _sendable(str(name))))
        arguments = function.get("arguments")
        text = _text(arguments) if isinstance(arguments, str | None) else sse.dumps(arguments)
        if text and call.is_told:
            call.has_arguments = True
            parts.append(CallArguments(call.index, text))
        return parts

    def _call(self, index: Any, given: Any, name: Any) -> _Call | None:
        """The call that a delta goes on with, or a new one; None for a delta that says nothing of any."""
        known = [call for call in self._calls if index is None or call.told_index == index]
        if known and (not given or given == known[-1].given) and not (index is None and name):
            return known[-1]
        if not (given or name):
            return None
        made_up = f"call_{secrets.token_hex(12)}"
        call = _Call(len(self._calls), index, given, _sendable(str(given or made_up)))
        self._calls.append(call)
        return call


class _Call:
    """A tool call that has begun."""

    def __init__(self, index: int, told_index: Any, given: Any, id: str) -> None:  # noqa: A002
        self.index = index
        self.told_index = told_index
        self.given = given
        self.id = id
        self.is_told = False
        self.has_arguments = False


def _objects(value: Any) -> Iterable[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _text(value: Any) -> str:
    """A text, or the texts of a list of parts."""
    if isinstance(value, str):
        return _sendable(value)
    return "".join(_text(part.get("text")) for part in _objects(value))


def _usage(told: Mapping[str, Any]) -> Usage | None:
    try:
        usage = Usage.from_json(told)
        counts = (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens, usage.reasoning_tokens)
        if not all(isinstance(count, int) and 0 <= count <= MOST_TOKENS for count in counts):
            return None
    except (AttributeError, TypeError):
        return None
    return Usage(*counts[:3], reasoning_tokens=counts[3])


def _logprobs(told: Any) -> tuple[TokenLogprob, ...]:
    if not isinstance(told, Mapping):
        return ()
    if isinstance(told.get("content"), list):
        return tuple(_token(token) for token in _objects(told["content"]))
    tokens, chances = told.get("tokens") or (), told.get("token_logprobs") or ()
    tops: Sequence[Any] = told.get("top_logprobs") or [None] * len(tokens)
    return tuple(
        TokenLogprob(text := _sendable(str(token)), text.encode(), _chance(chance), _likelier(top))
        for token, chance, top in zip(tokens, chances, tops, strict=False)
    )


def _token(told: Mapping[str, Any]) -> TokenLogprob:
    text = _sendable(str(told.get("token") or ""))
    spelled = told.get("bytes")
    try:
        spelling = bytes(spelled) if isinstance(spelled, list) else text.encode()
    except (TypeError, ValueError):
        spelling = text.encode()
    top = tuple(_token(other) for other in _objects(told.get("top_logprobs")))
    return TokenLogprob(text, spelling, _chance(told.get("logprob")), top)


def _likelier(told: Any) -> tuple[TokenLogprob, ...]:
    """The likeliest tokens as completions tell them, a logprob by each text."""
    if not isinstance(told, Mapping):
        return ()
    return tuple(
        TokenLogprob(text := _sendable(token), text.encode(), _chance(chance)) for token, chance in told.items()
    )


def _chance(value: Any) -> float:
    """A logprob that JSON can have: a server may write what is none."""
    if not isinstance(value, int | float) or math.isnan(value):
        return 0.0 if value is None else LEAST_LOGPROB
    return min(0.0, float(value))


def _sendable(text: str) -> str:
    """The text, a mark in place of each half of a surrogate pair, which JSON can spell and UTF-8 cannot."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)
