"""What one event of a stream tells, in each of the forms in which Workers AI streams.

    {"response": "New"}                               classic
    {"choices": [{"delta": {"content": "New"}}]}      chat, and with `text` in place of `delta` a completion
    {"type": "response.output_text.delta", ...}       responses

`tasks/shapes` writes them. Whatever is odd in an event of somebody else's is left out, and no error.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from cfai.errors import AiError, EngineFailure
from cfai.tasks.text_generation import ShapeName

__all__ = ["CallDelta", "Told", "calls_in", "form_of", "loads", "told_by"]


@dataclass(frozen=True, slots=True)
class CallDelta:
    """What an event adds to a tool call."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: Any = ""
    """A piece of JSON text, or the whole value."""
    is_whole: bool = False
    choice: int = 0


@dataclass(frozen=True, slots=True)
class Told:
    """What an event tells."""

    texts: Mapping[int, str] = field(default_factory=dict)
    """A piece of text, by choice."""
    thoughts: Mapping[int, str] = field(default_factory=dict)
    """A piece of thinking, by choice."""
    usage: Mapping[str, Any] | None = None
    finish: Mapping[int, str] = field(default_factory=dict)
    """Why a choice ended."""
    calls: tuple[CallDelta, ...] = ()
    error: AiError | None = None
    whole: str | None = None
    """The text that all pieces add up to, where the event repeats it."""
    sequence_number: int | None = None

    @property
    def text(self) -> str:
        return "".join(self.texts.values())

    @property
    def reasoning(self) -> str:
        return "".join(self.thoughts.values())


class _Spelled(float):
    """A number that is written as it was: a piece of text such as `1.50` comes without quotes in production."""

    spelling: str

    def __new__(cls, spelling: str) -> _Spelled:
        number = super().__new__(cls, spelling)
        number.spelling = spelling
        return number

    def __str__(self) -> str:
        return self.spelling


def loads(data: str) -> Any:
    """The JSON value of an event's data; a ValueError says what is wrong with it."""
    return json.loads(data, parse_float=_Spelled, parse_int=lambda text: _Spelled(text) if text == "-0" else int(text))


def form_of(event: Mapping[str, Any]) -> ShapeName | None:
    """The form of an event, where one can tell: an error has none of its own."""
    kind = event.get("type")
    if isinstance(kind, str) and kind.startswith("response."):
        return "responses"
    if "choices" in event:
        choices = _objects(event["choices"])
        is_text = event.get("object") == "text_completion" or any("text" in choice for choice in choices)
        return "completion" if is_text else "chat"
    return "classic" if {"response", "tool_calls", "p", "usage", "finish_reason"} & event.keys() else None


def told_by(event: Mapping[str, Any]) -> Told:
    """What `event` tells, in whichever form it is."""
    if error := _error(event):
        return Told(error=error, sequence_number=_sequence_number(event))
    form = form_of(event)
    return _READERS[form](event) if form else Told()


def _error(event: Mapping[str, Any]) -> AiError | None:
    if event.get("errors"):
        return AiError.from_body(event, status=None)
    if event.get("type") == "response.failed":
        response = event.get("response")
        return _openai_error(response.get("error") if isinstance(response, Mapping) else None)
    return _openai_error(event["error"]) if event.get("error") else None


def _openai_error(error: object) -> AiError:
    if not isinstance(error, Mapping):
        return AiError(str(error))
    code = error.get("code")
    return AiError.of(code if isinstance(code, int) else EngineFailure.code, str(error.get("message", error)))


def _classic(event: Mapping[str, Any]) -> Told:
    piece = event.get("response")
    return Told(
        texts={} if piece is None else {0: _text(piece)},
        usage=_usage(event),
        finish=_finish(0, event),
        calls=calls_in(event.get("tool_calls")),
    )


def _chat(event: Mapping[str, Any]) -> Told:
    texts: dict[int, str] = {}
    finish: dict[int, str] = {}
    thoughts: dict[int, str] = {}
    calls: tuple[CallDelta, ...] = ()
    for choice in _objects(event.get("choices")):
        index = choice.get("index", 0)
        delta = choice.get("delta")
        delta = delta if isinstance(delta, Mapping) else {}
        if (content := delta.get("content")) is not None:
            texts[index] = _text(content)
        if thought := delta.get("reasoning_content") or delta.get("reasoning"):
            thoughts[index] = _text(thought)
        calls += calls_in(delta.get("tool_calls"), index)
        finish |= _finish(index, choice)
    # Some models have both forms in one event: https://developers.cloudflare.com/workers-ai/models/
    if (piece := event.get("response")) and not any(texts.values()):
        texts = {0: _text(piece)}
    return Told(texts, thoughts, _usage(event), finish, calls)


def _completion(event: Mapping[str, Any]) -> Told:
    choices = _objects(event.get("choices"))
    texts = {choice.get("index", 0): _text(choice.get("text") or "") for choice in choices}
    finish = {index: why for choice in choices for index, why in _finish(choice.get("index", 0), choice).items()}
    return Told(texts, usage=_usage(event), finish=finish)


def _responses(event: Mapping[str, Any]) -> Told:
    number = _sequence_number(event)
    match event["type"]:
        case "response.output_text.delta":
            return Told({0: _text(event.get("delta", ""))}, sequence_number=number)
        case "response.reasoning_text.delta" | "response.reasoning_summary_text.delta":
            return Told(thoughts={0: _text(event.get("delta", ""))}, sequence_number=number)
        case "response.output_text.done":
            return Told(whole=_text(event.get("text", "")), sequence_number=number)
        case "response.output_item.added":
            item = event.get("item")
            if isinstance(item, Mapping) and item.get("type") == "function_call":
                call = CallDelta(event.get("output_index", 0), item.get("call_id"), item.get("name"))
                return Told(calls=(call,), sequence_number=number)
        case "response.function_call_arguments.delta":
            call = CallDelta(event.get("output_index", 0), arguments=event.get("delta", ""))
            return Told(calls=(call,), sequence_number=number)
        case "response.completed" | "response.incomplete":
            response = event.get("response")
            response = response if isinstance(response, Mapping) else {}
            calls = any(item.get("type") == "function_call" for item in _objects(response.get("output")))
            ended = "tool_calls" if calls else "stop"
            finish = {0: "length" if event["type"].endswith("incomplete") else ended}
            return Told(usage=_openai_names(_usage(response)), finish=finish, sequence_number=number)
    return Told(sequence_number=number)


_READERS: dict[ShapeName, Callable[[Mapping[str, Any]], Told]] = {
    "classic": _classic,
    "chat": _chat,
    "completion": _completion,
    "responses": _responses,
}
assert _READERS.keys() == set(get_args(ShapeName))

# Responses count inputs and outputs where the older forms have a prompt and its completion.
_NAMES = {
    "input_tokens": "prompt_tokens",
    "output_tokens": "completion_tokens",
    "input_tokens_details": "prompt_tokens_details",
    "output_tokens_details": "completion_tokens_details",
}


def _openai_names(usage: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    return usage and {_NAMES.get(name, name): value for name, value in usage.items()}


def _usage(event: Mapping[str, Any]) -> Mapping[str, Any] | None:
    return usage if isinstance(usage := event.get("usage"), Mapping) else None


def _finish(index: int, event: Mapping[str, Any]) -> dict[int, str]:
    return {index: str(why)} if (why := event.get("finish_reason")) else {}


def _sequence_number(event: Mapping[str, Any]) -> int | None:
    return number if isinstance(number := event.get("sequence_number"), int) else None


def calls_in(calls: object, choice: int = 0) -> tuple[CallDelta, ...]:
    """Tool calls, in pieces as OpenAI's streams have them, or whole as the classic form had them first."""
    return tuple(_call(call, place, choice) for place, call in enumerate(_objects(calls)))


def _call(call: Mapping[str, Any], place: int, choice: int) -> CallDelta:
    if isinstance(function := call.get("function"), Mapping):
        index = call["index"] if isinstance(call.get("index"), int) else place
        return CallDelta(index, call.get("id"), function.get("name"), function.get("arguments") or "", choice=choice)
    return CallDelta(place, call.get("id"), call.get("name"), call.get("arguments", ""), is_whole=True, choice=choice)


def _objects(value: object) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _text(value: object) -> str:
    # Clients write what is no text as JavaScript's String() does, a number for one.
    if isinstance(value, str | _Spelled):
        return str(value)
    return json.dumps(value, ensure_ascii=False)
