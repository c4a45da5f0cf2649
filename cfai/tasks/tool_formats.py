"""How models write tool calls and thinking into their text.

There is no standard. What a model was taught stands in its chat template, so the template is where the format is
recognised; `tasks/output_parser.py` reads calls and thinking out of the text again. The forms differ in the marker that
begins a call and in what follows it:

    objects   <tool_call>\\n{"name": "add", "arguments": {"a": 1}}\\n</tool_call>      Hermes, Qwen, the demo model
    list      [TOOL_CALLS][{"name": "add", "arguments": {"a": 1}}]                   Mistral, Granite, Phi
    named     [TOOL_CALLS]add[ARGS]{"a": 1}                                          Mistral since 2025
    bare      {"name": "add", "parameters": {"a": 1}}                                Llama 3
    tags      <tool_call>\\n<function=add>\\n<parameter=a>\\n1\\n</parameter>\\n...      Qwen3-Coder
    channels  <|channel|>commentary to=functions.add<|message|>{"a": 1}              gpt-oss

A model whose template knows nothing of tools is told of them in its system prompt, in the first form.
"""

from __future__ import annotations

import functools
import json
import re
import secrets
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

__all__ = [
    "BARE",
    "CALL_END",
    "CHANNELS",
    "CHANNEL_MARKS",
    "HERMES",
    "LONGEST_NAME",
    "THINK",
    "THINK_END",
    "Thinking",
    "ToolFormat",
    "ToolLike",
    "tool_format",
]

THINK, THINK_END = "<think>", "</think>"

Thinking = Literal["off", "on", "open"]
"""Whether `<think>` is told from the answer: not at all, where the model writes it, or from the first word on, because
the prompt ends inside it."""

CALL_END = "</tool_call>"
LONGEST_NAME = 200
CHANNEL_MARKS = ("<|start|>", "<|channel|>", "<|message|>", "<|constrain|>", "<|end|>", "<|return|>", "<|call|>")


class ToolLike(Protocol):
    """What is asked of a tool here."""

    @property
    def name(self) -> str: ...

    @property
    def parameters(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True, slots=True)
class ToolFormat:
    """How a model writes its calls.

    kind         see the top of this file
    begin, end   what stands before and behind each call, or before and behind the list
    space        what stands between `begin` and the call, and between the call and `end`
    arguments    the key of the arguments, beside "name"
    is_taught    the chat template describes the tools and writes calls and results; otherwise `messages` does
    has_short_ids  the template takes call ids of nine letters and digits only
    """

    kind: Literal["objects", "list", "named", "bare", "tags", "channels"]
    begin: str = ""
    end: str = ""
    space: str = ""
    arguments: str = "arguments"
    is_taught: bool = True
    has_short_ids: bool = False

    @property
    def marks(self) -> tuple[str, ...]:
        """Texts that the parser must see, though they may be special tokens, whose text is otherwise dropped."""
        if self.kind == "channels":
            return CHANNEL_MARKS
        own = {"named": ("[ARGS]", "[CALL_ID]"), "bare": ("<|python_tag|>",)}.get(self.kind, ())
        return tuple(mark for mark in (self.begin, self.end, *own, THINK, THINK_END) if mark)

    def messages(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]
    ) -> list[Mapping[str, Any]]:
        """The messages with the tools, calls and results in their texts, for a template that knows none of them."""
        if self.is_taught:
            return list(messages)
        told = [_as_text(message) for message in messages]
        if tools:
            lines = "\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools)
            leads = bool(told) and told[0].get("role") in ("system", "developer")
            before = f"{told[0]['content']}\n\n" if leads else ""
            system = {
                **(told[0] if leads else {"role": "system"}),
                "content": before + INSTRUCTIONS.format(tools=lines),
            }
            told = [system, *told[leads:]]
        return told

    def new_id(self) -> str:
        """A made-up id for a call."""
        if self.has_short_ids:
            return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(9))
        return f"call_{secrets.token_hex(12)}"


INSTRUCTIONS = """\
You can call these tools. Each line describes one, its arguments as a JSON schema:
<tools>
{tools}
</tools>
To call a tool, write its name and arguments as one line of JSON between these tags, and nothing else:
<tool_call>
{{"name": "the tool's name", "arguments": {{"an argument": "its value"}}}}
</tool_call>"""

HERMES = ToolFormat("objects", "<tool_call>", CALL_END, "\n", is_taught=False)
BARE = ToolFormat("bare", arguments="parameters")
CHANNELS = ToolFormat("channels")


@functools.lru_cache(maxsize=64)
def tool_format(template: str | None) -> ToolFormat:
    """The format that a chat template writes calls in."""
    if template is None or not re.search(r"\btools\b", template):
        return HERMES
    if "<|channel|>" in template and "to=functions." in template:
        return CHANNELS
    if "<function=" in template and "<parameter=" in template:
        return ToolFormat("tags", "<tool_call>", CALL_END, "\n")
    if "[TOOL_CALLS]" in template:
        return ToolFormat("named" if "[ARGS]" in template else "list", "[TOOL_CALLS]", has_short_ids=True)
    if "<tool_call>" in template:
        return replace(HERMES, is_taught=True)
    if "<|tool_call|>" in template:
        is_list = re.search(r"<\|tool_call\|>['\" +~}{-]*\[", template) is not None
        end = "<|/tool_call|>" if "<|/tool_call|>" in template else ""
        return ToolFormat("list" if is_list else "objects", "<|tool_call|>", end, "" if is_list else " ")
    if '"parameters"' in template and ("<|start_header_id|>" in template or "<|python_tag|>" in template):
        return BARE
    return HERMES


def _as_text(message: Mapping[str, Any]) -> Mapping[str, Any]:
    content = str(message.get("content") or "")
    if message.get("role") in ("tool", "function"):
        return {"role": "user", "content": f"<tool_response>\n{content}\n</tool_response>"}
    calls = [call.get("function", call) for call in message.get("tool_calls") or ()]
    written = [
        f"<tool_call>\n{json.dumps({key: call[key] for key in ('name', 'arguments')}, ensure_ascii=False)}\n{CALL_END}"
        for call in calls
    ]
    if not written:
        return message
    return {"role": message["role"], "content": "\n".join([*([content] if content else []), *written])}
