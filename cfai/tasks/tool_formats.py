"""How models write tool calls and thinking into their text, and how to read them out of it again.

There is no standard. What a model was taught stands in its chat template, so the template is where the format is
recognised. The forms differ in the marker that begins a call and in what follows it:

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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

from cfai.tasks.parts import CallArguments, CallStart, Part, Reasoning, Text, TokenLogprob

__all__ = ["BARE", "CHANNELS", "HERMES", "OutputParser", "Thinking", "ToolFormat", "ToolLike", "tool_format"]

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


class OutputParser:
    """Pieces of an answer to parts, as they come.

    ```python
    parser = OutputParser(tool_format(template), tools=request.tools)
    parser.put("It is ")  # [Text("It is ")]
    ```

    Text passes piece by piece, unchanged and at once, unless it may begin a marker: then it waits until that is clear.
    A call whose JSON breaks off or has no name that the caller knows is text like any other, if nothing of it was told.

    form      None reads no calls out of the text
    tools     the tools that may be called; None lets every name pass
    thinking  see `Thinking`
    """

    def __init__(
        self, form: ToolFormat | None, *, tools: Iterable[ToolLike] | None = None, thinking: Thinking = "off"
    ) -> None:
        self._format = form
        self._schemas = None if tools is None else {tool.name: tool.parameters for tool in tools}
        self._held = _Held()
        self._thinking = thinking
        self._calls = 0
        self._reader: _Reader | None = None
        """Of the call that is being read."""
        self._read = 0
        """Characters of what is held that the reader has seen."""
        self._state: Literal["begin", "text", "think", "calls", "header", "hidden"] = "begin"
        """Where it is: before the first word; in text; in thinking; behind a call, or a list's bracket; in the line
        that says what a channel is; in a channel that nobody reads."""
        if thinking == "open":
            self._state = "think"

    def put(self, piece: str, logprobs: tuple[TokenLogprob, ...] = ()) -> list[Part]:
        """The parts that a piece completes; `logprobs` are of the tokens that ended with it, and stay with its text."""
        self._held.append(piece, logprobs)
        return self._advance(is_last=False)

    def end(self) -> list[Part]:
        """What is left when no piece follows."""
        parts = self._advance(is_last=True)
        if self._reader is not None and self._reader.has_begun:
            parts += self._of_call(self._reader.end())
            self._held.clear()
        self._reader = None
        if self._state == "header" or (self._state == "calls" and not self._held.text.strip()):
            self._held.clear()
        return [*parts, *self._released(len(self._held.text))]

    def _advance(self, *, is_last: bool) -> list[Part]:
        parts: list[Part] = []
        while True:
            before = (self._state, self._reader, len(self._held.text), self._read)
            parts += self._read_call() if self._reader is not None else self._STEPS[self._state](self, is_last)
            if before == (self._state, self._reader, len(self._held.text), self._read):
                return parts

    # text and thinking

    def _begin(self, is_last: bool) -> list[Part]:
        """Before the first word: thinking, a bare call, or text."""
        text = self._held.text
        word = text.lstrip()
        marks = [THINK] if self._thinking != "off" else []
        is_bare = self._format is not None and self._format.kind == "bare"
        if any(word.startswith(mark) for mark in marks):
            self._held.take(len(text) - len(word) + len(THINK))
            self._state = "think"
        elif is_bare and word.startswith("{"):
            self._held.skip = len(text) - len(word)
            self._open()
        elif word or is_last:
            if not any(mark.startswith(word) for mark in marks) or is_last:
                self._state = "text"
        elif text and not (marks or is_bare):
            self._state = "text"
        return []

    def _text(self, is_last: bool) -> list[Part]:
        found, at, mark = self._held.find(self._markers, is_last=is_last)
        parts = self._released(at)
        if found:
            self._meet(mark)
        return parts

    @property
    def _markers(self) -> tuple[str, ...]:
        if self._format is None:
            return ()
        if self._format.kind == "channels":
            return CHANNEL_MARKS
        return ("<|python_tag|>",) if self._format.kind == "bare" else (self._format.begin,)

    def _meet(self, mark: str) -> None:
        """What is held begins with a marker."""
        if self._format is not None and self._format.kind == "channels":
            self._held.take(len(mark))
            self._state = "header" if mark in ("<|start|>", "<|channel|>") else "hidden"
        else:
            self._held.skip = len(mark)
            self._open()

    def _think(self, is_last: bool) -> list[Part]:
        marks = CHANNEL_MARKS if self._format is not None and self._format.kind == "channels" else (THINK_END,)
        found, at, mark = self._held.find(marks, is_last=is_last)
        parts: list[Part] = [Reasoning(piece) for piece, _ in self._held.take(at) if piece]
        if not found:
            return parts
        if mark in CHANNEL_MARKS:
            self._meet(mark)
        else:
            self._held.take(len(THINK_END))
            self._state = "calls"  # white space before the answer is not part of it, nor of the thinking
        return parts

    # calls

    def _open(self) -> None:
        """A call begins behind the marker that is held."""
        assert self._format is not None
        self._reader = _READERS[self._format.kind](self._format, self._schemas)
        self._read = self._held.skip

    def _read_call(self) -> list[Part]:
        reader = self._reader
        assert reader is not None
        text = self._held.text
        said: _Said = []
        while self._read < len(text) and not (reader.is_over or reader.is_broken):
            said += reader.put(text[self._read])
            self._read += 1
        if reader.is_broken and not reader.has_begun:
            self._reader, self._state = None, "text"
            # The first character is the marker's own: what stands behind it may hold another call.
            return self._released(max(self._held.skip, 1))
        if reader.is_over or reader.is_broken:
            said += reader.end()
        parts = self._of_call(said)
        if reader.is_over or reader.is_broken:
            self._held.take(self._read)
            self._calls += 1
            self._reader, self._state = None, "calls"
        return parts

    def _of_call(self, said: Iterable[tuple[Literal["name", "arguments"], str]]) -> list[Part]:
        assert self._format is not None
        parts: list[Part] = []
        for kind, text in said:
            if kind == "name":
                parts.append(CallStart(self._calls, self._format.new_id(), text))
            elif parts and isinstance(last := parts[-1], CallArguments):
                parts[-1] = CallArguments(self._calls, last.text + text)
            else:
                parts.append(CallArguments(self._calls, text))
        return parts

    def _between(self, is_last: bool) -> list[Part]:
        """Behind a call or behind thinking: white space, an end marker, the next call, or text."""
        text = self._held.text
        word = text.lstrip()
        if not word:
            return []
        ends: list[str] = []
        if self._format is not None and self._calls:
            ends = ["]"] if self._format.kind == "list" else []
            ends += [self._format.end] if self._format.end else []
        for end in ends:
            if word.startswith(end):
                self._held.take(len(text) - len(word) + len(end))
                return []
        kind = self._format.kind if self._format is not None else None
        if self._calls and ((kind == "list" and word[0] == ",") or (kind == "bare" and word[0] == ";")):
            self._held.skip = len(text) - len(word) + 1
            self._open()
        elif any(end.startswith(word) for end in ends) and not is_last:
            return []
        elif kind == "bare" and word.startswith("{"):
            self._held.skip = len(text) - len(word)
            self._open()
        else:
            begins = kind is not None and word.startswith(self._markers)
            if begins or not self._calls:
                self._held.take(len(text) - len(word))
            elif any(mark.startswith(word) for mark in self._markers) and not is_last:
                return []
            self._state = "text"
        return []

    # channels

    def _header(self, is_last: bool) -> list[Part]:
        """`<|channel|>commentary to=functions.add <|constrain|>json<|message|>`, up to the message."""
        text = self._held.text
        at = text.find("<|message|>")
        if at < 0:
            return []
        recipient = re.search(r"to=(?:functions\.)?([\w.-]+)", text[:at])
        names = self._schemas
        if recipient is not None and (names is None or recipient[1] in names):
            self._held.take(at + len("<|message|>"))
            self._reader, self._read = _MessageReader(recipient[1]), 0
        else:
            channel = re.search(r"analysis|commentary|final", text[:at])
            self._held.take(at + len("<|message|>"))
            self._state = "think" if channel is not None and channel[0] == "analysis" else "text"
        return []

    def _hidden(self, is_last: bool) -> list[Part]:
        """Behind an end marker, where only another beginning is looked for."""
        self._state = "text"
        return []

    def _released(self, count: int) -> list[Part]:
        held = self._held.take(count)
        if self._state == "think":
            return [Reasoning(piece) for piece, _ in held if piece]
        return [Text(piece, logprobs) for piece, logprobs in held if piece or logprobs]

    _STEPS = {  # noqa: RUF012  # the methods are not made before the class is
        "begin": _begin,
        "text": _text,
        "think": _think,
        "calls": _between,
        "header": _header,
        "hidden": _hidden,
    }


class _Held:
    """Pieces that wait, and their text."""

    def __init__(self) -> None:
        self._pieces: list[tuple[str, tuple[TokenLogprob, ...]]] = []
        self.text = ""
        self.skip = 0
        """Characters of a marker, before the call that is being read."""

    def append(self, piece: str, logprobs: tuple[TokenLogprob, ...]) -> None:
        self._pieces.append((piece, logprobs))
        self.text += piece

    def find(self, marks: Sequence[str], *, is_last: bool) -> tuple[bool, int, str]:
        """Whether a marker stands here whole, where the first one begins or may begin, and which it is."""
        found = [(at, mark) for mark in marks if (at := self.text.find(mark)) >= 0]
        if found:
            at, mark = min(found)
            return True, at, mark
        keep = 0 if is_last else max((_overlap(self.text, mark) for mark in marks), default=0)
        return False, len(self.text) - keep, ""

    def take(self, count: int) -> list[tuple[str, tuple[TokenLogprob, ...]]]:
        """The pieces of the first `count` characters; the one that goes on behind them is cut."""
        taken: list[tuple[str, tuple[TokenLogprob, ...]]] = []
        self.text = self.text[count:]
        while self._pieces and (count > 0 or not self._pieces[0][0]):
            piece, logprobs = self._pieces[0]
            if len(piece) > count:
                self._pieces[0] = (piece[count:], logprobs)
                taken.append((piece[:count], ()))
                break
            taken.append(self._pieces.pop(0))
            count -= len(piece)
        return taken

    def clear(self) -> None:
        self.take(len(self.text))


def _overlap(text: str, mark: str) -> int:
    """The length of the longest end of `text` that begins `mark`."""
    return next((n for n in range(min(len(text), len(mark) - 1), 0, -1) if text.endswith(mark[:n])), 0)


_Said = list[tuple[Literal["name", "arguments"], str]]


class _Reader(Protocol):
    """Reads one call, a character at a time."""

    is_over: bool
    is_broken: bool
    has_begun: bool
    """Its name was told."""

    def put(self, char: str) -> _Said: ...

    def end(self) -> _Said:
        """What was not told yet."""


class _Json:
    """Where a JSON value ends: it counts brackets outside of strings, and knows little else."""

    def __init__(self) -> None:
        self.depth = 0
        self.in_string = False
        self._escaped = False

    def put(self, char: str) -> None:
        if self.in_string:
            if self._escaped:
                self._escaped = False
            elif char == "\\":
                self._escaped = True
            elif char == '"':
                self.in_string = False
        elif char == '"':
            self.in_string = True
        elif char in "{[":
            self.depth += 1
        elif char in "}]":
            self.depth -= 1


class _ObjectReader:
    """`{"name": "add", "arguments": {"a": 1}}`, its keys in any order; a bracket of a list may stand before it."""

    def __init__(self, form: ToolFormat, schemas: Mapping[str, Any] | None) -> None:
        self._keys = (form.arguments, "arguments", "parameters")
        self._schemas = schemas
        self._may_have_bracket = form.kind == "list"
        self._json = _Json()
        self._token = ""
        """The key or the value that is being read."""
        self._key: str | None = None
        self._is_value = False
        self._name: str | None = None
        self._waiting = ""
        """Arguments that came before the name."""
        self._has_arguments = False
        self.is_over = self.is_broken = self.has_begun = False

    def put(self, char: str) -> _Said:
        json_ = self._json
        if json_.depth == 0:
            if char == "{":
                json_.put(char)
            elif char == "[" and self._may_have_bracket:
                self._may_have_bracket = False
            elif not char.isspace():
                self.is_broken = True
            return []
        was_top = json_.depth == 1 and not json_.in_string
        json_.put(char)
        if was_top and char == ":" and not self._is_value:
            self._key, self._token, self._is_value = _string(self._token), "", True
            self.is_broken = self._key is None
            return []
        if was_top and char in ",}":
            said = self._close() if self._is_value else []
            self._token, self._is_value = "", False
            if char == "}":
                self.is_over = True
                self.is_broken = self.is_broken or self._name is None
            return said
        self._token += char
        if self._is_value and self._key in self._keys and not (self._token.isspace()):
            return self._argue(char)
        if self._is_value and self._key == "name" and not json_.in_string and char == '"':
            return self._call(_string(self._token))
        return []

    def _argue(self, char: str) -> _Said:
        self._token = self._token.lstrip()
        if self._token[:1] != "{" or (self._has_arguments and self._json.depth == 1 and char.isspace()):
            return []  # a string that holds the object, or null: told when it is whole
        self._has_arguments = True
        if not self.has_begun:
            self._waiting += char
            return []
        return [("arguments", char)]

    def _call(self, name: str | None) -> _Said:
        if name is None or (self._schemas is not None and name not in self._schemas):
            self.is_broken = True
            return []
        self._name, self.has_begun = name, True
        told: _Said = [("name", name)]
        if self._waiting:
            told.append(("arguments", self._waiting))
            self._waiting = ""
        return told

    def _close(self) -> _Said:
        """A value of the call is whole."""
        if self._key not in self._keys or self._has_arguments:
            return []
        value = self._token.strip()
        text = _string(value) if value.startswith('"') else "{}" if value == "null" else None
        if text is None or not isinstance(_loaded(text), dict):
            self.is_broken = not self.has_begun
            return []
        self._has_arguments = True
        if not self.has_begun:
            self._waiting = text
            return []
        return [("arguments", text)]

    def end(self) -> _Said:
        if not self.is_over or self._has_arguments:
            return []
        self._has_arguments = True
        return [("arguments", "{}")]


class _NamedReader:
    """`add[ARGS]{"a": 1}`, perhaps with an id of the call between."""

    def __init__(self, form: ToolFormat, schemas: Mapping[str, Any] | None) -> None:
        self._schemas = schemas
        self._json = _Json()
        self._header = ""
        self.is_over = self.is_broken = self.has_begun = False

    def put(self, char: str) -> _Said:
        if not self.has_begun:
            if char != "{":
                self._header += char
                # A name is a word; a list or running text behind the marker is none.
                self.is_broken = char in "\n\"'," or len(self._header) > LONGEST_NAME
                return []
            name = re.split(r"\[(?:CALL_ID|ARGS)\]", self._header)[0].strip()
            if not re.fullmatch(r"[\w./:-]+", name) or (self._schemas is not None and name not in self._schemas):
                self.is_broken = True
                return []
            self.has_begun = True
            self._json.put(char)
            return [("name", name), ("arguments", char)]
        self._json.put(char)
        self.is_over = self._json.depth == 0
        return [("arguments", char)]

    def end(self) -> _Said:
        return []


class _TagReader:
    """`<function=add>` and a `<parameter=a>` for each argument, up to `</function>`."""

    def __init__(self, form: ToolFormat, schemas: Mapping[str, Any] | None) -> None:
        self._schemas = schemas
        self._text = ""
        self._properties: Mapping[str, Any] = {}
        self._told = 0
        self.is_over = self.is_broken = self.has_begun = False

    def put(self, char: str) -> _Said:
        self._text += char
        if char != ">":
            word = self._text.lstrip()
            head = "<function="
            if not self.has_begun and not (word.startswith(head) or head.startswith(word)):
                self.is_broken = True
            return []
        if not self.has_begun:
            return self._begin()
        if found := re.search(r"<parameter=([^>\n]+)>\n?(.*?)\n?</parameter>$", self._text, re.DOTALL):
            self._text = ""
            return self._argue(found[1].strip(), found[2])
        if self._text.endswith("</function>"):
            self.is_over = True
        return []

    def _begin(self) -> _Said:
        found = re.fullmatch(r"\s*<function=([^>\n]+)>", self._text)
        if found is None or (self._schemas is not None and found[1] not in self._schemas):
            self.is_broken = True
            return []
        schema = (self._schemas or {}).get(found[1]) or {}
        self._properties = schema.get("properties") or {}
        self._text, self.has_begun = "", True
        return [("name", found[1])]

    def _argue(self, name: str, text: str) -> _Said:
        schema = self._properties.get(name)
        is_string = isinstance(schema, Mapping) and schema.get("type") == "string"
        value = text if is_string or ((loaded := _loaded(text)) is None and text.strip() != "null") else loaded
        before = ", " if self._told else "{"
        self._told += 1
        return [
            ("arguments", f"{before}{json.dumps(name, ensure_ascii=False)}: {json.dumps(value, ensure_ascii=False)}")
        ]

    def end(self) -> _Said:
        return [("arguments", "}" if self._told else "{}")] if self.is_over else []


class _MessageReader:
    """The message of a channel: the arguments themselves."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._json = _Json()
        self.is_over = self.is_broken = self.has_begun = False

    def put(self, char: str) -> _Said:
        if not self.has_begun and char != "{":
            self.is_broken = not char.isspace()
            return []
        told: _Said = [] if self.has_begun else [("name", self._name)]
        self.has_begun = True
        self._json.put(char)
        self.is_over = self._json.depth == 0
        return [*told, ("arguments", char)]

    def end(self) -> _Said:
        return []


_READERS: dict[str, Any] = {
    "objects": _ObjectReader,
    "list": _ObjectReader,
    "bare": _ObjectReader,
    "named": _NamedReader,
    "tags": _TagReader,
}


def _loaded(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _string(text: str) -> str | None:
    """The string that this JSON is; None if it is none."""
    value = _loaded(text.strip())
    return value if isinstance(value, str) else None
