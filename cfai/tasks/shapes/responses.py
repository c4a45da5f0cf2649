"""Responses: an object whose `output` is a list of items, and a stream of named events that tell how it grows.

    response.created, response.in_progress
      for each item (reasoning, message, function_call):
        response.output_item.added
          response.content_part.added, ....delta, ....delta, ....done, response.content_part.done
        response.output_item.done
    response.completed, .incomplete or .failed, which has the whole object once more

A function call has no content parts. Items come one after the other: a part of another kind ends the one before.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, Literal, Protocol

from cfai import sse
from cfai.errors import AiError, InvalidRequest
from cfai.tasks.parts import (
    Answer,
    CallArguments,
    CallStart,
    Finish,
    Part,
    Reasoning,
    Text,
    Usage,
)
from cfai.tasks.shapes.logprobs import token_logprobs
from cfai.tasks.text_generation import TextGeneration, Tool

__all__ = ["ResponsesShape"]

Status = Literal["in_progress", "completed", "incomplete", "failed"]


class ResponsesShape:
    """On the OpenAI endpoint each event has its name on an `event:` line; through `run` there are `data:` lines only.

    Either way `[DONE]` is the last: OpenAI's own service has none here, its SDKs take it, and without it nobody could
    tell a whole stream from a cut one by the bytes.
    """

    def __init__(self, request: TextGeneration, model: str, *, now: float, rng: random.Random) -> None:
        self._request = request
        self._model = model
        self._created = int(now)
        self._rng = rng
        self._id = self._new_id("resp")
        self._sequence_number = 0
        self._output: list[dict[str, Any]] = []
        """The items that are done."""
        self._item: _Item | None = None
        self._finish: Finish = "stop"
        self._has_begun = False

    def begin(self, prompt: Usage | None = None) -> list[bytes]:
        self._has_begun = True
        response = self._response("in_progress", [])
        return [self._event("created", response=response), self._event("in_progress", response=response)]

    def part(self, part: Part, choice: int = 0) -> list[bytes]:
        events = []
        item = self._item
        if item is None or not item.takes(part):
            events += self._close("completed")
            item, added = self._open(part)
            events += added
        if (grown := item.grow(part)) is not None:
            events.append(self._event(f"{item.content}.delta", **self._place(item), **grown))
        return events

    def finish(self, finish: Finish, choice: int = 0) -> list[bytes]:
        self._finish = finish
        events = []
        if self._item is None and not self._output:  # an answer of no words is still a message
            events += self._open(Text(""))[1]
        return events + self._close(_status(finish))

    def end(self, usage: Usage) -> list[bytes]:
        status = _status(self._finish)
        return [self._event(status, response=self._response(status, self._output, usage)), sse.DONE]

    def failure(self, error: AiError) -> list[bytes]:
        # Whoever follows the events finds `response.failed`. SDKs that just read on raise at the one behind it, which
        # has an `error`, so that no half of an answer passes for a whole one.
        events = [] if self._has_begun else self.begin()
        events += self._close("incomplete")
        told = error.to_openai()
        failed = {"code": _failure_code(error), "message": told["error"]["message"]}
        events.append(self._event("failed", response=self._response("failed", self._output, error=failed)))
        flat = {key: told["error"][key] for key in ("code", "message", "param")}
        return [*events, self._named("error", {**flat, **told}), sse.DONE]

    def whole(self, answers: Sequence[Answer], usage: Usage) -> dict[str, Any]:
        answer = answers[0]
        parts: list[list[Part]] = [
            [CallStart(index, call.id, call.name), CallArguments(index, call.arguments)]
            for index, call in enumerate(answer.calls)
        ]
        if answer.text or not answer.calls:
            parts.insert(0, [Text(answer.text, answer.logprobs)])
        if answer.reasoning:
            parts.insert(0, [Reasoning(answer.reasoning)])
        status = _status(answer.finish)
        output = []
        for number, (first, *more) in enumerate(parts, 1):
            item = self._new_item(first)
            for part in (first, *more):
                item.grow(part)
            output.append(item.to_json(status if number == len(parts) else "completed"))
        return self._response(status, output, usage)

    # The object.

    def _response(
        self,
        status: Status,
        output: list[dict[str, Any]],
        usage: Usage | None = None,
        error: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        request = self._request
        cut = {"reason": "max_output_tokens"} if status == "incomplete" else None
        asked: dict[str, Any] = {
            "instructions": None,
            "max_output_tokens": request.max_tokens,
            "metadata": {},
            "parallel_tool_calls": request.parallel_tool_calls,
            "previous_response_id": None,
            "reasoning": {"effort": None, "summary": None},
            "temperature": request.temperature,
            "text": {"format": {"type": "text"}},
            "tool_choice": _tool_choice(request),
            "tools": [_tool(tool) for tool in request.tools],
            "top_p": request.top_p,
            "truncation": "disabled",
        }
        own = {
            "id": self._id,
            "object": "response",
            "created_at": self._created,
            "status": status,
            "error": error,
            "incomplete_details": cut,
            "model": self._model,
            "output": output,
            "usage": None if usage is None else _usage(usage),
        }
        # Twice, to come first and to have the last word.
        return {**own, **asked, **request.echoed, **own}

    # The items.

    def _new_item(self, part: Part) -> _Item:
        match part:
            case Text():
                return _Message(self._new_id("msg"))
            case Reasoning():
                return _Thoughts(self._new_id("rs"))
            case CallStart():
                return _FunctionCall(self._new_id("fc"), part)
            case CallArguments():
                raise AssertionError("arguments of a call that has not begun")

    def _open(self, part: Part) -> tuple[_Item, list[bytes]]:
        item = self._item = self._new_item(part)
        events = [self._event("output_item.added", output_index=len(self._output), item=item.to_json("in_progress"))]
        if item.has_content_part:
            events.append(self._event("content_part.added", **self._place(item), part=item.part()))
        return item, events

    def _close(self, status: Status) -> list[bytes]:
        item = self._item
        if item is None:
            return []
        place = self._place(item)
        events = [self._event(f"{item.content}.done", **place, **item.whole())]
        if item.has_content_part:
            events.append(self._event("content_part.done", **place, part=item.part()))
        done = item.to_json(status)
        events.append(self._event("output_item.done", output_index=len(self._output), item=done))
        self._output.append(done)
        self._item = None
        return events

    def _place(self, item: _Item) -> dict[str, Any]:
        place: dict[str, Any] = {"item_id": item.id, "output_index": len(self._output)}
        return {**place, "content_index": 0} if item.has_content_part else place

    # The bytes.

    def _event(self, name: str, **fields: Any) -> bytes:
        return self._named(f"response.{name}", fields)

    def _named(self, kind: str, fields: dict[str, Any]) -> bytes:
        event = sse.encode({"type": kind, "sequence_number": self._sequence_number, **fields})
        self._sequence_number += 1
        return event if self._request.is_native else f"event: {kind}\n".encode() + event

    def _new_id(self, kind: str) -> str:
        return f"{kind}_{self._rng.getrandbits(192):048x}"


class _Item(Protocol):
    """One item of the output while it grows."""

    id: str
    content: str
    """What its events call that which grows."""
    has_content_part: bool

    def takes(self, part: Part) -> bool:
        """Whether `part` belongs to this item and not to the next."""

    def grow(self, part: Part) -> dict[str, Any] | None:
        """Take `part`; the fields of its delta, if there is one to tell."""

    def whole(self) -> dict[str, Any]:
        """The fields of the event that all deltas add up to."""

    def part(self) -> dict[str, Any] | None:
        """Its content part as it is now."""

    def to_json(self, status: Status) -> dict[str, Any]: ...


class _Message:
    content = "output_text"
    has_content_part = True

    def __init__(self, name: str) -> None:
        self.id = name
        self._texts: list[str] = []
        self._logprobs: list[dict[str, Any]] = []

    def takes(self, part: Part) -> bool:
        return isinstance(part, Text)

    def grow(self, part: Part) -> dict[str, Any] | None:
        assert isinstance(part, Text)
        logprobs = token_logprobs(part.logprobs)
        self._texts.append(part.text)
        self._logprobs += logprobs
        return {"delta": part.text, "logprobs": logprobs}

    def whole(self) -> dict[str, Any]:
        return {"text": "".join(self._texts), "logprobs": self._logprobs}

    def part(self) -> dict[str, Any]:
        return {"type": "output_text", "annotations": [], **self.whole()}

    def to_json(self, status: Status) -> dict[str, Any]:
        content = [] if status == "in_progress" else [self.part()]
        return {"id": self.id, "type": "message", "status": status, "role": "assistant", "content": content}


class _Thoughts:
    content = "reasoning_text"
    has_content_part = True

    def __init__(self, name: str) -> None:
        self.id = name
        self._texts: list[str] = []

    def takes(self, part: Part) -> bool:
        return isinstance(part, Reasoning)

    def grow(self, part: Part) -> dict[str, Any] | None:
        assert isinstance(part, Reasoning)
        self._texts.append(part.text)
        return {"delta": part.text}

    def whole(self) -> dict[str, Any]:
        return {"text": "".join(self._texts)}

    def part(self) -> dict[str, Any]:
        return {"type": "reasoning_text", **self.whole()}

    def to_json(self, status: Status) -> dict[str, Any]:
        content = [] if status == "in_progress" else [self.part()]
        return {"id": self.id, "type": "reasoning", "status": status, "summary": [], "content": content}


class _FunctionCall:
    content = "function_call_arguments"
    has_content_part = False

    def __init__(self, name: str, start: CallStart) -> None:
        self.id = name
        self._start = start
        self._texts: list[str] = []

    def takes(self, part: Part) -> bool:
        return part is self._start or (isinstance(part, CallArguments) and part.index == self._start.index)

    def grow(self, part: Part) -> dict[str, Any] | None:
        if not isinstance(part, CallArguments):
            return None
        self._texts.append(part.text)
        return {"delta": part.text}

    def whole(self) -> dict[str, Any]:
        return {"arguments": "".join(self._texts)}

    def part(self) -> None:
        return None

    def to_json(self, status: Status) -> dict[str, Any]:
        call = {"call_id": self._start.id, "name": self._start.name, **self.whole()}
        return {"id": self.id, "type": "function_call", "status": status, **call}


def _status(finish: Finish) -> Status:
    return "incomplete" if finish == "length" else "completed"


def _failure_code(error: AiError) -> str:
    if error.status == 429:
        return "rate_limit_exceeded"
    return "invalid_prompt" if isinstance(error, InvalidRequest) else "server_error"


def _tool_choice(request: TextGeneration) -> Any:
    if request.forced_tool is not None:
        return {"type": "function", "name": request.forced_tool}
    return request.tool_choice


def _tool(tool: Tool) -> dict[str, Any]:
    described = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {"type": "function", **described, "strict": False}


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
    }
