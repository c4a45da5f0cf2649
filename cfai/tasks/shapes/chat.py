"""Chat completions: `chat.completion` objects, and chunks whose deltas add up to the message.

Through `run`, a stream ends with an event of the classic form that tells the usage once more; the OpenAI endpoint has
none, and tells usage only if asked.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from cfai import sse
from cfai.errors import AiError
from cfai.tasks.parts import Answer, CallArguments, CallStart, Finish, Part, Reasoning, Text, ToolCall, Usage
from cfai.tasks.shapes.envelope import Envelope
from cfai.tasks.shapes.logprobs import chat_logprobs
from cfai.tasks.shapes.padding import random_padding
from cfai.tasks.shapes.usage import Meter
from cfai.tasks.text_generation import TextGeneration

__all__ = ["ChatShape", "ProductionChatShape"]

# Stands where a piece will be while the bytes around it are made; JSON text has no such character of its own.
_PIECE = "\0"


class ChatShape:
    def __init__(self, request: TextGeneration, envelope: Envelope) -> None:
        self._choices = request.n
        self._has_logprobs = request.logprobs is not None
        self._envelope = envelope
        self._frames: dict[int, tuple[str, str]] = {}
        """What stands before and behind a piece of text, by choice."""

    def begin(self, prompt: Usage | None = None) -> list[bytes]:
        return [self._chunk({"role": "assistant", "content": ""}, choice) for choice in range(self._choices)]

    def part(self, part: Part, choice: int = 0) -> list[bytes]:
        if type(part) is Text:
            if self._has_logprobs:
                return [self._chunk({"content": part.text}, choice, logprobs=chat_logprobs(part.logprobs))]
            before, behind = self._frames.get(choice) or self._frame(choice)
            return [f"{before}{sse.dumps(part.text)}{behind}".encode()]
        return [self._chunk(_delta(part), choice)]

    def finish(self, finish: Finish, choice: int = 0) -> list[bytes]:
        return [self._chunk(_last_delta(finish), choice, finish_reason=finish)]

    def end(self, usage: Usage) -> list[bytes]:
        return self._envelope.end(usage)

    def failure(self, error: AiError) -> list[bytes]:
        return self._envelope.failure(error)

    def whole(self, answers: Sequence[Answer], usage: Usage) -> dict[str, Any]:
        choices = [
            self._envelope.choice(
                index,
                message=self._message(answer),
                logprobs=chat_logprobs(answer.logprobs) if self._has_logprobs else None,
                finish_reason=answer.finish,
            )
            for index, answer in enumerate(answers)
        ]
        return self._envelope.around(choices, usage=self._envelope.usage(usage))

    def _message(self, answer: Answer) -> dict[str, Any]:
        content = None if answer.calls and not answer.text else answer.text
        message: dict[str, Any] = {"role": "assistant", "content": content}
        if not self._envelope.is_native:
            message["refusal"] = None
        if answer.reasoning:
            message["reasoning_content"] = answer.reasoning
        if answer.calls:
            message["tool_calls"] = [_call(call) for call in answer.calls]
        return message

    def _chunk(
        self,
        delta: dict[str, Any],
        choice: int,
        *,
        logprobs: dict[str, Any] | None = None,
        finish_reason: Finish | None = None,
    ) -> bytes:
        written = self._envelope.choice(choice, delta=delta, logprobs=logprobs, finish_reason=finish_reason)
        return self._envelope.chunk([written])

    def _frame(self, choice: int) -> tuple[str, str]:
        before, _, behind = self._chunk({"content": _PIECE}, choice).decode().partition(sse.dumps(_PIECE))
        self._frames[choice] = before, behind
        return before, behind


class ProductionChatShape(ChatShape):
    """The same as recorded from Cloudflare.

    Through `run` each chunk is padded and tells what it adds to the usage; on the OpenAI endpoint chunks have neither
    `logprobs` nor `finish_reason`, but for the last, which has the usage too.
    """

    def __init__(self, request: TextGeneration, envelope: Envelope, *, meter: Meter, rng: random.Random) -> None:
        super().__init__(request, envelope)
        self._meter = meter
        self._rng = rng
        self._finished: list[dict[str, Any]] = []

    def begin(self, prompt: Usage | None = None) -> list[bytes]:
        if not self._envelope.is_native:
            return super().begin(prompt)
        first = {"role": "assistant", "content": "", "reasoning_content": None}
        usage = None if prompt is None else self._meter.prompt(prompt)
        # The prompt is read once, whatever the number of choices.
        return [self._odd(first, choice, usage=None if choice else usage) for choice in range(self._choices)]

    def part(self, part: Part, choice: int = 0) -> list[bytes]:
        delta = _delta(part)
        tokens = part.logprobs if isinstance(part, Text) and self._has_logprobs else None
        logprobs = None if tokens is None else chat_logprobs(tokens)
        if self._envelope.is_native:
            delta.setdefault("reasoning_content", None)
            return [self._odd(delta, choice, logprobs=logprobs, usage=self._meter.part(part))]
        bare: dict[str, Any] = {"index": choice, "delta": delta}
        return [self._envelope.chunk([bare if logprobs is None else {**bare, "logprobs": logprobs}])]

    def finish(self, finish: Finish, choice: int = 0) -> list[bytes]:
        if self._envelope.is_native:
            return [self._odd({"reasoning_content": None}, choice, finish_reason=finish)]
        self._finished.append({"index": choice, "delta": _last_delta(finish), "finish_reason": finish})
        return []

    def end(self, usage: Usage) -> list[bytes]:
        if not self._envelope.is_native:
            return [self._envelope.chunk(self._finished, usage=self._envelope.usage(usage)), sse.DONE]
        padding = random_padding(self._rng)
        return [
            self._envelope.chunk([], p=padding, usage=self._meter.rest(usage)),
            sse.encode({"response": "", "usage": self._envelope.usage(usage)}),
            sse.DONE,
        ]

    def _odd(
        self,
        delta: dict[str, Any],
        choice: int,
        *,
        logprobs: dict[str, Any] | None = None,
        finish_reason: Finish | None = None,
        usage: dict[str, Any] | None = None,
    ) -> bytes:
        written = self._envelope.choice(
            choice, delta=delta, finish_reason=finish_reason, logprobs=logprobs, matched_stop=None
        )
        more = {} if usage is None else {"usage": usage}
        return self._envelope.chunk([written], p=random_padding(self._rng), **more)


def _delta(part: Part) -> dict[str, Any]:
    match part:
        case Text():
            return {"content": part.text}
        case Reasoning():
            return {"reasoning_content": part.text}
        case CallStart():
            function = {"name": part.name, "arguments": ""}
            return {"tool_calls": [{"index": part.index, "id": part.id, "type": "function", "function": function}]}
        case CallArguments():
            return {"tool_calls": [{"index": part.index, "function": {"arguments": part.text}}]}


def _last_delta(finish: Finish) -> dict[str, Any]:
    # Some clients add up the content of every delta and do not expect one without; behind tool calls they do.
    return {} if finish == "tool_calls" else {"content": ""}


def _call(call: ToolCall) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
