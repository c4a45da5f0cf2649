"""Text generation: inputs of the classic form checked, outputs shaped.

The classic form is that of the Llama, Mistral, Qwen and Gemma 3 models: a `prompt`, or `messages`, and options. The
schema refuses first, in Cloudflare's words. It lets through what no model can answer (an empty list of messages, a
message that is no object, NaN, half a surrogate pair), so what comes out of `check` is looked at once more, piece by
piece, and refused in the same manner of speaking.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal, NoReturn

from cfai.errors import BadInput
from cfai.tasks.parts import Usage
from cfai.tasks.schema import Schema, place, types_of, validate

__all__ = [
    "Message",
    "ShapeName",
    "TextGeneration",
    "Tool",
    "answer",
    "check",
    "input_schema",
    "piece_event",
    "prompt_form",
    "usage_event",
]

CONTENT_PARTS_SINCE = date(2026, 2, 17)
"""From this day `content` may be a list of text parts."""
PROMPT_TEMPLATED_SINCE = date(2023, 12, 1)
USAGE_SINCE = date(2024, 1, 1)

ShapeName = Literal["classic", "chat", "completion", "responses"]
"""How an answer is written: Workers AI's own `response`, or as one of the three OpenAI endpoints does."""

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
SMALLEST_FACTOR = 0.01
MOST_ITEMS = 1024
MOST_STOPS = 16
DEEPEST = 64


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation, its text in one string."""

    role: str
    content: str
    name: str | None = None
    tool_call_id: str | None = None
    tool_calls: tuple[Any, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The message as chat templates want it: what was not given is not there."""
        message: dict[str, Any] = {"role": self.role, "content": self.content}
        if self.name is not None:
            message["name"] = self.name
        if self.tool_call_id is not None:
            message["tool_call_id"] = self.tool_call_id
        if self.tool_calls:
            message["tool_calls"] = list(self.tool_calls)
        return message


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may ask the caller to run."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=lambda: {"type": "object", "properties": {}})
    """The JSON schema of the arguments, which are one object."""

    def to_json(self) -> dict[str, Any]:
        """The tool as chat templates want it."""
        function = {"name": self.name, "description": self.description, "parameters": self.parameters}
        return {"type": "function", "function": function}


@dataclass(frozen=True, slots=True)
class TextGeneration:
    """Inputs that can be answered: either `prompt` or `messages`, and what was asked of the answer.

    None means that the caller did not say, also where the schema has a default, except for `temperature`, whose
    default of the classic form is filled in.
    """

    prompt: str | None = None
    messages: tuple[Message, ...] | None = None
    raw: bool = False
    stream: bool = False
    max_tokens: int | None = None
    temperature: float | None = 0.6
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    seed: int | None = None
    repetition_penalty: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    lora: str | None = None
    response_format: Mapping[str, Any] | None = None
    answer_schema: Mapping[str, Any] | None = None
    """The JSON schema that the answer must fit; None for free text."""
    tools: tuple[Any, ...] = ()
    tool_choice: Literal["auto", "none", "required"] = "auto"
    forced_tool: str | None = None
    """The one tool that must be called; `tool_choice` is then "required"."""
    parallel_tool_calls: bool = True
    stop: tuple[str, ...] = ()
    n: int = 1
    logprobs: int | None = None
    """How many of the likeliest tokens to report beside each token of the answer; None reports nothing."""
    logit_bias: Mapping[int, float] | None = None
    include_usage: bool = False
    """Whether a stream of an OpenAI endpoint ends with its usage."""
    template_options: Mapping[str, Any] = field(default_factory=dict)
    """More for the chat template, such as `enable_thinking` and `reasoning_effort`."""
    echoed: Mapping[str, Any] = field(default_factory=dict)
    """What an answer of the Responses form repeats of its request."""
    shape: ShapeName = "classic"
    is_native: bool = True
    """Whether the call came through `run`, and not through one of OpenAI's endpoints."""


def check(inputs: Any, *, as_of: date | None = None) -> TextGeneration:
    """The inputs of one call, checked as on the day `as_of`; a `BadInput` says what is wrong with them.

    ```python
    check({"prompt": "where is new york?", "stream": True}).stream  # True
    ```

    A key whose value is None was not given. Keys that the form does not have are ignored.
    """
    given = inputs
    if isinstance(inputs, Mapping):
        given = {name: value for name, value in inputs.items() if value is not None}
        # Before the schema, whose error may have a sentence for each of them.
        for name in ("messages", "tools", "functions"):
            _check_length(given.get(name), MOST_ITEMS, f"/{name}")
    checked = validate(input_schema(as_of), given)
    if checked.option == _MESSAGES_OPTION:
        validate(_MESSAGES_SAMPLING, given)
    # Of the two forms only the one that fits counts; what belongs to the other is an unknown key.
    form = _FORMS[checked.option or 0]
    fields = {name: given[name] for name in form if name in given}
    _check_json(fields)
    return TextGeneration(**{name: _FIELDS[name](value, f"/{name}") for name, value in fields.items()})


def input_schema(as_of: date | None = None) -> Schema:
    """The JSON schema of the inputs on the day `as_of`, or today's."""
    return _TODAY if as_of is None or as_of >= CONTENT_PARTS_SINCE else _BEFORE_CONTENT_PARTS


def prompt_form(as_of: date | None = None) -> Literal["raw", "template"]:
    """How a bare `prompt` reaches the model: as it is, or through the chat template as a user's message."""
    return "template" if as_of is None or as_of >= PROMPT_TEMPLATED_SINCE else "raw"


def answer(text: str, usage: Usage, *, as_of: date | None = None) -> dict[str, Any]:
    """The whole answer of a call that does not stream."""
    if not _has_usage(as_of):
        return {"response": text}
    return {"response": text, "usage": usage.to_json(as_of=as_of)}


def piece_event(piece: str) -> dict[str, Any]:
    """The event of one piece of a stream."""
    return {"response": piece}


def usage_event(usage: Usage, *, as_of: date | None = None) -> dict[str, Any] | None:
    """The event before `[DONE]`; None on days when streams had none."""
    return {"response": "", "usage": usage.to_json(as_of=as_of)} if _has_usage(as_of) else None


def _has_usage(as_of: date | None) -> bool:
    return as_of is None or as_of >= USAGE_SINCE


# The schemas. The order of the properties is the order in which they are looked at, so it decides the error.

_TEXT: Schema = {"type": "string"}
_TEXT_PARTS: Schema = {
    "type": "array",
    "items": {"type": "object", "properties": {"type": _TEXT, "text": _TEXT}},
}
_RESPONSE_FORMAT: Schema = {
    "type": "object",
    "properties": {"type": {"type": "string", "enum": ["json_object", "json_schema"]}, "json_schema": {}},
}
_FUNCTIONS: Schema = {
    "type": "array",
    "items": {"type": "object", "properties": {"name": _TEXT, "code": _TEXT}, "required": ["name", "code"]},
}
_TOOL: Schema = {
    "properties": {
        "name": _TEXT,
        "description": _TEXT,
        "parameters": {
            "type": "object",
            "properties": {
                "type": _TEXT,
                "required": {"type": "array", "items": _TEXT},
                "properties": {
                    "type": "object",
                    "additionalProperties": {
                        "type": "object",
                        "properties": {"type": _TEXT, "description": _TEXT},
                        "required": ["type", "description"],
                    },
                },
            },
            "required": ["type", "properties"],
        },
    },
    "required": ["name", "description", "parameters"],
}
_TOOLS: Schema = {
    "type": "array",
    "items": {
        "type": "object",
        "oneOf": [
            _TOOL,
            {
                "properties": {"type": _TEXT, "function": {"type": "object", **_TOOL}},
                "required": ["type", "function"],
            },
        ],
    },
}
_OPTIONS: Schema = {
    "raw": {"type": "boolean", "default": False},
    "stream": {"type": "boolean", "default": False},
    "max_tokens": {"type": "integer", "default": 256},
    "temperature": {"type": "number", "default": 0.6, "minimum": 0, "maximum": 5},
}
_SAMPLING: Schema = {
    "top_p": {"type": "number", "minimum": 0.001, "maximum": 1},
    "top_k": {"type": "integer", "minimum": 1, "maximum": 50},
    "seed": {"type": "integer", "minimum": 1, "maximum": 9999999999},
    "repetition_penalty": {"type": "number", "minimum": 0, "maximum": 2},
    "frequency_penalty": {"type": "number", "minimum": -2, "maximum": 2},
    "presence_penalty": {"type": "number", "minimum": -2, "maximum": 2},
}


def _classic(content: Schema) -> Schema:
    message = {"type": "object", "properties": {"role": _TEXT, "content": content}, "required": ["role", "content"]}
    return {
        "type": "object",
        "oneOf": [
            {
                "title": "Prompt",
                "properties": {
                    "prompt": {"type": "string", "minLength": 1},
                    "lora": _TEXT,
                    "response_format": _RESPONSE_FORMAT,
                    **_OPTIONS,
                    **_SAMPLING,
                },
                "required": ["prompt"],
            },
            {
                "title": "Messages",
                "properties": {
                    "messages": {"type": "array", "items": message},
                    "functions": _FUNCTIONS,
                    "tools": _TOOLS,
                    "response_format": _RESPONSE_FORMAT,
                    **_OPTIONS,
                },
                "required": ["messages"],
            },
        ],
    }


# A bad `seed` or `top_p` beside a `prompt` is answered with "required properties at '/' are 'messages'" as well: the
# Messages option does not look at these. So they have a schema of their own, a choice of one to get the same sentence.
_MESSAGES_SAMPLING: Schema = {"type": "object", "oneOf": [{"properties": {"messages": {}, **_SAMPLING}}]}

_TODAY = _classic({"oneOf": [_TEXT, _TEXT_PARTS]})
_BEFORE_CONTENT_PARTS = _classic(_TEXT)


# From JSON to fields. The schema has a weak notion of objects and arrays, so these look again at what should be one.


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        _mismatch(value, where, "string")
    return str.__str__(value)  # of an enum's member that is a str, the str


def _integer(value: float, where: str) -> int:
    return int(value)


def _number(value: float, where: str) -> float:
    return float(value)


def _factor(value: float, where: str) -> float:
    # A score divided by less than this leaves the range of float32; 0 switches the penalty off.
    if 0 < value < SMALLEST_FACTOR:
        raise BadInput(f"'{where}' must be 0 or >= {SMALLEST_FACTOR}")
    return float(value)


def _flag(value: bool, where: str) -> bool:
    return value


def _max_tokens(value: float, where: str) -> int:
    if value < 1:
        raise BadInput(f"'{where}' must be >= 1")
    return int(value)


def _array(value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        _mismatch(value, where, "array")
    return tuple(value)


def _object(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        _mismatch(value, where, "object")
    return value


def _stop(value: Any, where: str) -> tuple[str, ...]:
    # Not in the classic form; the OpenAI form has it, and a model here can honour it either way.
    stops = (value,) if isinstance(value, str) else _array(value, where)
    _check_length(stops, MOST_STOPS, where)
    texts = tuple(_text(stop, f"{where}/{index}") for index, stop in enumerate(stops))
    if "" in texts:
        raise BadInput(f"Length of '{where}' must be >= 1 not met")
    return texts


def _messages(value: Any, where: str) -> tuple[Message, ...]:
    messages = _array(value, where)
    if not messages:
        raise BadInput(f"Length of '{where}' must be >= 1 not met")
    return tuple(_message(message, f"{where}/{index}") for index, message in enumerate(messages))


def _message(value: Any, where: str) -> Message:
    # An array whose items the schema has not looked at begins with something that is no object, so that after this
    # line there are a role and a content.
    message = _object(value, where)
    role = _text(message["role"], f"{where}/role")
    if role not in ROLES:
        raise BadInput(f"enum {role[:40]} not in {','.join(ROLES)} at '{where}/role'")
    name, call = message.get("name"), message.get("tool_call_id")
    return Message(
        role=role,
        content=_content(message["content"], f"{where}/content"),
        name=None if name is None else _text(name, f"{where}/name"),
        tool_call_id=None if call is None else _text(call, f"{where}/tool_call_id"),
        tool_calls=_array(message.get("tool_calls") or (), f"{where}/tool_calls"),
    )


def _content(value: Any, where: str) -> str:
    if isinstance(value, str):
        return _text(value, where)
    # A line each, so that the last word of one does not run into the first of the next.
    return "\n".join(_part(part, f"{where}/{index}") for index, part in enumerate(_array(value, where)))


def _part(value: Any, where: str) -> str:
    part = _object(value, where)
    kind = part.get("type", "text")
    if kind != "text":
        raise BadInput(f"'{where}' has the type {str(kind)[:40]!r}, and content is made of 'text' parts only")
    if "text" not in part:
        raise BadInput(f"required properties at '{where}' are 'type,text'")
    return _text(part["text"], f"{where}/text")


_Field = Callable[[Any, str], Any]
_SHARED_FIELDS: Mapping[str, _Field] = {
    "raw": _flag,
    "stream": _flag,
    "max_tokens": _max_tokens,
    "temperature": _number,
    "top_p": _number,
    "top_k": _integer,
    "seed": _integer,
    "repetition_penalty": _factor,
    "frequency_penalty": _number,
    "presence_penalty": _number,
    "lora": _text,
    "response_format": _object,
    "stop": _stop,
}
_FIELDS: Mapping[str, _Field] = {"prompt": _text, "messages": _messages, "tools": _array, **_SHARED_FIELDS}
_FORMS = (("prompt", *_SHARED_FIELDS), ("messages", "tools", *_SHARED_FIELDS))
"""The fields of each option of the schema."""
_MESSAGES_OPTION = 1


def _mismatch(value: Any, where: str, wanted: str) -> NoReturn:
    found = ",".join(repr(name) for name in types_of(value))
    raise BadInput(f"Type mismatch of '{where}', '{wanted}' not in {found}")


def _check_length(value: Any, most: int, where: str) -> None:
    if isinstance(value, (list, tuple)) and len(value) > most:
        raise BadInput(f"Length of '{where}' must be <= {most}")


def _check_json(fields: Mapping[str, Any]) -> None:
    """Refuse what is no JSON value, or none that a tokenizer or a template can take, wherever it is."""
    waiting: list[tuple[Any, tuple[str, ...]]] = [(fields, ())]
    while waiting:
        value, path = waiting.pop()
        if isinstance(value, str):
            _check_text(value, path)
        elif isinstance(value, (int, float)):
            # A whole number too long for a double is Infinity to JavaScript.
            if value.bit_length() > 1024 if isinstance(value, int) else not math.isfinite(value):
                raise BadInput(f"'{place(path)}' must be a finite number")
        elif isinstance(value, (Mapping, list, tuple)):
            # An object that contains itself ends here as well.
            if len(path) > DEEPEST:
                raise BadInput(f"'{place(path[:1])}' must be nested at most {DEEPEST} deep")
            items = (
                list(value.items()) if isinstance(value, Mapping) else [(str(i), item) for i, item in enumerate(value)]
            )
            for name, _ in items:
                if not isinstance(name, str):
                    raise BadInput(f"'{place(path)}' has a key that is not a string: {str(name)[:40]}")
                _check_text(name, path)
            waiting.extend((item, (*path, name)) for name, item in reversed(items))
        elif value is not None:
            raise BadInput(f"'{place(path)}' must be a JSON value, not {type(value).__name__}")


def _check_text(text: str, path: tuple[str, ...]) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadInput(f"'{place(path)}' has half a surrogate pair, at character {error.start}") from None
