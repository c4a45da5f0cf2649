"""Answers read back: from the bytes of any wire form to the parts that they were written from.

    {"response": "New"}                               classic
    {"choices": [{"delta": {"content": "New"}}]}      chat, and with `text` in place of `delta` a completion
    {"type": "response.output_text.delta", ...}       responses

What cannot be read raises `Unreadable`; then a tape leaves the bytes as they are.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cfai import sse
from cfai.errors import AiError
from cfai.tasks.parts import Answer, CallArguments, CallStart, Finish, Part, Reasoning, Text, ToolCall, Usage

__all__ = ["Done", "Finished", "Item", "StreamReader", "Told", "Unreadable", "created_in", "read_whole", "usage_in"]


class Unreadable(Exception):
    """No answer of a form that is known here."""


@dataclass(frozen=True, slots=True)
class Told:
    """A part of one of the answers."""

    part: Part
    choice: int = 0


@dataclass(frozen=True, slots=True)
class Finished:
    finish: Finish
    choice: int = 0


class Done:
    """The stream is whole."""


Item = Told | Finished | Usage | AiError | Done

_FINISHES: Mapping[str, Finish] = {"length": "length", "tool_calls": "tool_calls", "function_call": "tool_calls"}


class StreamReader:
    """Reads one stream, event by event."""

    def __init__(self) -> None:
        self._calls = itertools.count()
        """Of function calls in the Responses form, which have no index."""
        self._call = 0

    def items(self, data: str) -> Iterator[Item]:
        """What the `data` of one event says."""
        if data == "[DONE]":
            yield Done()
            return
        event = sse.loads(data)
        if not isinstance(event, dict):
            raise Unreadable(data)
        if event.get("errors") or event.get("error"):
            yield AiError.from_body(event, None)
        elif str(event.get("type", "")).startswith("response."):
            yield from self._of_responses(event)
        elif isinstance(event.get("choices"), list):
            yield from _of_choices(event)
        elif "response" in event or "tool_calls" in event:
            yield from _of_classic(event, data)
        else:
            raise Unreadable(data)
        if (usage := usage_in(event)) is not None:
            yield usage

    def _of_responses(self, event: Mapping[str, Any]) -> Iterator[Item]:
        match event["type"].removeprefix("response."):
            case "output_text.delta":
                yield Told(Text(str(event["delta"])))
            case "reasoning_text.delta":
                yield Told(Reasoning(str(event["delta"])))
            case "output_item.added" if event["item"].get("type") == "function_call":
                self._call = next(self._calls)
                yield Told(CallStart(self._call, str(event["item"]["call_id"]), str(event["item"]["name"])))
            case "function_call_arguments.delta":
                yield Told(CallArguments(self._call, str(event["delta"])))
            case "completed" | "incomplete" as status:
                made = [item["type"] for item in event["response"]["output"]]
                has_calls = "function_call" in made
                yield Finished("length" if status == "incomplete" else "tool_calls" if has_calls else "stop")
                if (usage := usage_in(event["response"])) is not None:
                    yield usage


def _of_choices(event: Mapping[str, Any]) -> Iterator[Item]:
    for choice in event["choices"]:
        index = int(choice.get("index") or 0)
        delta = choice.get("delta") or {}
        if reasoning := delta.get("reasoning_content"):
            yield Told(Reasoning(str(reasoning)), index)
        if text := delta.get("content") or choice.get("text"):
            yield Told(Text(str(text)), index)
        for part in _call_parts(delta.get("tool_calls") or ()):
            yield Told(part, index)
        if reason := choice.get("finish_reason"):
            yield Finished(_FINISHES.get(reason, "stop"), index)


def _of_classic(event: Mapping[str, Any], data: str) -> Iterator[Item]:
    response = event.get("response")
    if isinstance(response, int | float) and not isinstance(response, bool):
        response = json.loads(data, parse_int=str, parse_float=str)["response"]  # as it was written, 1.50 for one
    if response:
        yield Told(Text(str(response)))
    for part in _call_parts(event.get("tool_calls") or ()):
        yield Told(part)
    if reason := event.get("finish_reason"):
        yield Finished(_FINISHES.get(reason, "stop"))


def _call_parts(calls: Any) -> Iterator[Part]:
    """The parts of tool calls, in pieces as OpenAI's streams have them, or whole as the classic form had them first."""
    for at, call in enumerate(calls):
        index, function = int(call.get("index", at)), call.get("function") or call
        if name := function.get("name"):
            yield CallStart(index, str(call.get("id") or f"call{index:05d}"), str(name))
        if arguments := function.get("arguments"):
            yield CallArguments(index, arguments if isinstance(arguments, str) else sse.dumps(arguments))


def usage_in(body: Mapping[str, Any]) -> Usage | None:
    """The usage that an event or a whole answer tells; None if it tells none."""
    told = body.get("usage")
    if not isinstance(told, Mapping):
        return None
    names = ("prompt", "completion") if "prompt_tokens" in told else ("input", "output")
    prompt, made = (told.get(f"{name}_tokens") for name in names)
    if not isinstance(prompt, int) or not isinstance(made, int):
        return None
    cached, reasoning = (told.get(f"{name}_tokens_details") or {} for name in names)
    return Usage(
        prompt,
        made,
        cached.get("cached_tokens", 0),
        neurons=told.get("neurons"),
        reasoning_tokens=reasoning.get("reasoning_tokens", 0),
    )


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
    return Answer.of(_call_parts(calls), "tool_calls").calls
