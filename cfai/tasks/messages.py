"""The turns of a conversation, in each of the ways in which clients write them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cfai import sse
from cfai.errors import BadInput
from cfai.tasks import fields
from cfai.tasks.parts import ToolCall

__all__ = ["NO_VISION", "ROLES", "Message", "messages", "messages_of_items"]

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
_TEXT_PARTS = ("text", "input_text", "output_text", "refusal")
NO_VISION = "images need a vision model, and none runs locally yet"
_NOT_TEXT = {
    "image_url": NO_VISION,
    "input_image": NO_VISION,
    "image": NO_VISION,
    "input_audio": "no model that takes audio runs locally yet",
    "video_url": "no model that takes video runs locally yet",
    "file": "put the text of the file into the message",
    "input_file": "put the text of the file into the message",
}


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation, its text in one string."""

    role: str
    content: str
    name: str | None = None
    tool_call_id: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    reasoning: str | None = None
    """What the model thought before this turn."""

    def to_json(self) -> dict[str, Any]:
        """The message as chat templates want it: what was not given is not there."""
        # Templates know these two by their older and their newer name only.
        role = {"developer": "system", "function": "tool"}.get(self.role, self.role)
        message: dict[str, Any] = {"role": role, "content": self.content}
        if self.name is not None:
            message["name"] = self.name
        if self.tool_call_id is not None:
            message["tool_call_id"] = self.tool_call_id
        if self.reasoning is not None:
            message["reasoning_content"] = self.reasoning
        if self.tool_calls:
            message["tool_calls"] = [
                {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": _parsed(call)}}
                for call in self.tool_calls
            ]
        return message


def messages(value: Any, where: str) -> tuple[Message, ...]:
    """A list of `{"role", "content"}`, as the classic form and the chat form have it."""
    given = fields.array(value, where)
    if not given:
        raise BadInput(f"Length of '{where}' must be >= 1 not met")
    ids = _call_ids()
    return tuple(_message(message, f"{where}/{index}", ids) for index, message in enumerate(given))


def messages_of_items(value: Any, where: str, instructions: str | None = None) -> tuple[Message, ...]:
    """The `input` of the Responses form, a text or a list of items, behind its `instructions`."""
    found = [] if instructions is None else [Message("system", instructions)]
    if isinstance(value, str):
        return (*found, Message("user", fields.non_empty_text(value, where)))
    items = fields.array(value, where)
    if not items:
        raise BadInput(f"Length of '{where}' must be >= 1 not met")
    for index, item in enumerate(items):
        _take_item(fields.object_of(item, f"{where}/{index}"), f"{where}/{index}", found)
    if not found:
        raise BadInput(f"'{where}' has no message")
    return tuple(found)


def _take_item(item: Mapping[str, Any], where: str, found: list[Message]) -> None:
    match item.get("type") or "message":
        case "message":
            found.append(_message(item, where, _call_ids()))
        case "reasoning":
            pass  # what a model thought before; it thinks anew
        case "function_call":
            call = ToolCall(
                fields.non_empty_text(item.get("call_id") or item.get("id"), f"{where}/call_id"),
                fields.non_empty_text(item.get("name"), f"{where}/name"),
                _arguments(item.get("arguments"), f"{where}/arguments"),
            )
            # Several in a row, and a text before them, are one turn of the assistant.
            last = found.pop() if found and found[-1].role == "assistant" else Message("assistant", "")
            found.append(Message("assistant", last.content, tool_calls=(*last.tool_calls, call)))
        case "function_call_output":
            if "output" not in item or "call_id" not in item:
                fields.missing(where, "call_id,output")
            call_id = fields.non_empty_text(item["call_id"], f"{where}/call_id")
            found.append(Message("tool", _content(item["output"], f"{where}/output"), tool_call_id=call_id))
        case kind:
            raise BadInput(
                f"'{where}' has the type {str(kind)[:40]!r}, and input is made of messages, function calls and their "
                "outputs",
                hint="what an earlier answer held must be sent again: nothing is stored here"
                if kind == "item_reference"
                else "",
            )


def _message(value: Any, where: str, ids: Iterator[str]) -> Message:
    message = fields.object_of(value, where)
    if "role" not in message:
        fields.missing(where, "role,content")
    role = fields.text(message["role"], f"{where}/role")
    if role not in ROLES:
        raise BadInput(f"enum {role[:40]} not in {','.join(ROLES)} at '{where}/role'")
    calls: tuple[ToolCall, ...] = ()
    if (given := message.get("tool_calls")) is not None:
        calls = tuple(
            _tool_call(call, f"{where}/tool_calls/{index}", ids)
            for index, call in enumerate(fields.array(given, f"{where}/tool_calls"))
        )
    elif (legacy := message.get("function_call")) is not None and role == "assistant":
        calls = (_tool_call(legacy, f"{where}/function_call", ids),)
    content = message.get("content")
    if content is None and not (role == "assistant" and (calls or "content" in message)):
        if "content" not in message:
            fields.missing(where, "role,content")
        fields.mismatch(content, f"{where}/content", "string")
    reasoning = message.get("reasoning_content")
    if reasoning is None:
        reasoning = message.get("reasoning")
    return Message(
        role=role,
        content="" if content is None else _content(content, f"{where}/content"),
        name=_optional_text(message, "name", where),
        tool_call_id=_optional_text(message, "tool_call_id", where),
        tool_calls=calls,
        reasoning=None if reasoning is None else fields.text(reasoning, f"{where}/reasoning"),
    )


def _optional_text(message: Mapping[str, Any], name: str, where: str) -> str | None:
    value = message.get(name)
    return None if value is None else fields.text(value, f"{where}/{name}")


def _content(value: Any, where: str) -> str:
    if isinstance(value, str):
        return fields.text(value, where)
    # A line each, so that the last word of one does not run into the first of the next.
    return "\n".join(_part(part, f"{where}/{index}") for index, part in enumerate(fields.array(value, where)))


def _part(value: Any, where: str) -> str:
    part = fields.object_of(value, where)
    kind = part.get("type", "text")
    if kind not in _TEXT_PARTS:
        raise BadInput(
            f"'{where}' has the type {str(kind)[:40]!r}, and content is made of 'text' parts only",
            hint=_NOT_TEXT.get(str(kind), ""),
        )
    name = "refusal" if kind == "refusal" else "text"
    if name not in part:
        fields.missing(where, f"type,{name}")
    return fields.text(part[name], f"{where}/{name}")


def _tool_call(value: Any, where: str, ids: Iterator[str]) -> ToolCall:
    call = fields.object_of(value, where)
    function = call
    if call.get("function") is not None:
        function, where = fields.object_of(call["function"], f"{where}/function"), f"{where}/function"
    if function.get("name") is None:
        fields.missing(where, "name")
    # Counted also where there is an id, so that a made up one says how many calls were before it.
    made_up, call_id = next(ids), call.get("id")
    return ToolCall(
        made_up if call_id in (None, "") else fields.text(call_id, f"{where}/id"),
        fields.non_empty_text(function["name"], f"{where}/name"),
        _arguments(function.get("arguments"), f"{where}/arguments"),
    )


def _arguments(value: Any, where: str) -> str:
    """The text of the arguments; a text that is no JSON stays what it is, for the model to see what it wrote."""
    if value is None or value == "":
        return "{}"
    return fields.text(value, where) if isinstance(value, str) else sse.dumps(fields.object_of(value, where))


def _parsed(call: ToolCall) -> Any:
    try:
        arguments = json.loads(call.arguments)
        fields.check_json({"arguments": arguments})
    except (ValueError, RecursionError, BadInput):
        return call.arguments
    return arguments if isinstance(arguments, dict) else call.arguments


def _call_ids() -> Iterator[str]:
    # Nine letters and digits: templates of Mistral's models refuse any other id.
    return (f"call{number:05d}" for number in itertools.count())
