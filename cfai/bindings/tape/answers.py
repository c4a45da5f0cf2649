"""Answers read back: from the JSON of any wire form to the parts that they were written from.

What cannot be read raises `Unreadable`; then a tape leaves the bytes as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cfai import sse
from cfai.errors import AiError
from cfai.tasks.parts import Answer, CallArguments, CallStart, Finish, Part, Reasoning, Text, ToolCall, Usage
from cfai.tasks.told import CallDelta, calls_in, form_of, loads, told_by

__all__ = [
    "ChoicePart",
    "Done",
    "Finished",
    "Item",
    "StreamReader",
    "Unreadable",
    "created_in",
    "read_whole",
    "usage_in",
]


class Unreadable(Exception):
    """No answer of a form that is known here."""


@dataclass(frozen=True, slots=True)
class ChoicePart:
    """A part of one of the answers."""

    part: Part
    choice: int = 0


@dataclass(frozen=True, slots=True)
class Finished:
    finish: Finish
    choice: int = 0


class Done:
    """The stream is whole."""


Item = ChoicePart | Finished | Usage | AiError | Done

_FINISHES: Mapping[str, Finish] = {"length": "length", "tool_calls": "tool_calls", "function_call": "tool_calls"}


class StreamReader:
    """Reads one stream, event by event."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[int, int], int] = {}
        """Of the tool calls of each choice, by their index: among the items of a response they are not numbered."""

    def items(self, data: str) -> Iterator[Item]:
        """What the `data` of one event says."""
        if data == "[DONE]":
            yield Done()
            return
        event = loads(data)
        if not isinstance(event, dict):
            raise Unreadable(data)
        told = told_by(event)
        if told.error is not None:
            if event.get("type") != "response.failed":  # the next event tells it again, with its code
                yield told.error
            return
        if form_of(event) is None:
            raise Unreadable(data)
        for choice, text in told.thoughts.items():
            yield ChoicePart(Reasoning(text), choice)
        for choice, text in told.texts.items():
            if text:
                yield ChoicePart(Text(text), choice)
        for call in told.calls:
            for part in _parts_of(call, self._number_of(call)):
                yield ChoicePart(part, call.choice)
        for choice, reason in told.finish.items():
            yield Finished(_FINISHES.get(reason, "stop"), choice)
        if (usage := _usage(told.usage)) is not None:
            yield usage

    def _number_of(self, call: CallDelta) -> int:
        before = sum(choice == call.choice for choice, _ in self._numbers)
        return self._numbers.setdefault((call.choice, call.index), before)


def _parts_of(call: CallDelta, number: int) -> Iterator[Part]:
    if call.name:
        yield CallStart(number, str(call.id or f"call{number:05d}"), call.name)
    if call.arguments:
        yield CallArguments(number, call.arguments if isinstance(call.arguments, str) else sse.dumps(call.arguments))


def usage_in(body: Mapping[str, Any]) -> Usage | None:
    """The usage that a whole answer tells; None if it tells none."""
    return _usage(body.get("usage"))


def _usage(told: Any) -> Usage | None:
    usage = Usage.from_json(told) if isinstance(told, Mapping) else None
    return usage if usage is not None and usage.total_tokens else None


def created_in(body: Any) -> float | None:
    """When an answer says that it was made, in seconds since 1970."""
    if not isinstance(body, Mapping):
        return None
    inner = body.get("response")
    made = body.get("created", body.get("created_at"))
    if made is None and isinstance(inner, Mapping):
        made = inner.get("created_at")
    return float(made) if isinstance(made, int | float) else None


def read_whole(body: Any) -> list[Answer]:
    """The answers in one JSON object; the classic form does not tell why they ended, and `stop` stands for that."""
    if not isinstance(body, Mapping):
        raise Unreadable(str(body))
    if isinstance(choices := body.get("choices"), list):
        return [_of_choice(choice) for choice in choices]
    if isinstance(output := body.get("output"), list):
        return [_of_output(body, output)]
    if "response" not in body:
        raise Unreadable(str(body))
    response = body["response"]
    calls = _whole_calls(body.get("tool_calls") or ())
    text = response if isinstance(response, str) else "" if response is None else sse.dumps(response)
    return [Answer(text, "tool_calls" if calls else "stop", calls=calls)]


def _of_choice(choice: Mapping[str, Any]) -> Answer:
    message = choice.get("message") or {}
    return Answer(
        str(message.get("content") or choice.get("text") or ""),
        _FINISHES.get(choice.get("finish_reason") or "", "stop"),
        str(message.get("reasoning_content") or ""),
        _whole_calls(message.get("tool_calls") or ()),
    )


def _of_output(body: Mapping[str, Any], output: list[Any]) -> Answer:
    texts: dict[str, list[str]] = {"message": [], "reasoning": []}
    calls = []
    for item in output:
        if item["type"] == "function_call":
            calls.append(ToolCall(item["call_id"], item["name"], item["arguments"]))
        elif item["type"] in texts:
            texts[item["type"]] += [str(part.get("text", "")) for part in item.get("content") or ()]
    finish: Finish = "length" if body.get("status") == "incomplete" else "tool_calls" if calls else "stop"
    return Answer("".join(texts["message"]), finish, "".join(texts["reasoning"]), tuple(calls))


def _whole_calls(calls: Any) -> tuple[ToolCall, ...]:
    parts = [part for call in calls_in(calls) for part in _parts_of(call, call.index)]
    return Answer.of(parts, "tool_calls").calls
