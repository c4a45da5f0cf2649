"""How each format's call is read, a character at a time: its name, then its arguments as they come."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Literal, Protocol

from cfai.tasks.tool_formats import LONGEST_NAME, ToolFormat

__all__ = ["READERS", "MessageReader", "Reader", "Said"]

Said = list[tuple[Literal["name", "arguments"], str]]


class Reader(Protocol):
    """Reads one call, a character at a time."""

    is_over: bool
    is_broken: bool
    has_begun: bool
    """Its name was told."""

    def put(self, char: str) -> Said: ...

    def end(self) -> Said:
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

    def put(self, char: str) -> Said:
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

    def _argue(self, char: str) -> Said:
        self._token = self._token.lstrip()
        if self._token[:1] != "{" or (self._has_arguments and self._json.depth == 1 and char.isspace()):
            return []  # a string that holds the object, or null: told when it is whole
        self._has_arguments = True
        if not self.has_begun:
            self._waiting += char
            return []
        return [("arguments", char)]

    def _call(self, name: str | None) -> Said:
        if name is None or (self._schemas is not None and name not in self._schemas):
            self.is_broken = True
            return []
        self._name, self.has_begun = name, True
        told: Said = [("name", name)]
        if self._waiting:
            told.append(("arguments", self._waiting))
            self._waiting = ""
        return told

    def _close(self) -> Said:
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

    def end(self) -> Said:
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

    def put(self, char: str) -> Said:
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

    def end(self) -> Said:
        return []


class _TagReader:
    """`<function=add>` and a `<parameter=a>` for each argument, up to `</function>`."""

    def __init__(self, form: ToolFormat, schemas: Mapping[str, Any] | None) -> None:
        self._schemas = schemas
        self._text = ""
        self._properties: Mapping[str, Any] = {}
        self._told = 0
        self.is_over = self.is_broken = self.has_begun = False

    def put(self, char: str) -> Said:
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

    def _begin(self) -> Said:
        found = re.fullmatch(r"\s*<function=([^>\n]+)>", self._text)
        if found is None or (self._schemas is not None and found[1] not in self._schemas):
            self.is_broken = True
            return []
        schema = (self._schemas or {}).get(found[1]) or {}
        self._properties = schema.get("properties") or {}
        self._text, self.has_begun = "", True
        return [("name", found[1])]

    def _argue(self, name: str, text: str) -> Said:
        schema = self._properties.get(name)
        is_string = isinstance(schema, Mapping) and schema.get("type") == "string"
        value = text if is_string or ((loaded := _loaded(text)) is None and text.strip() != "null") else loaded
        before = ", " if self._told else "{"
        self._told += 1
        return [
            ("arguments", f"{before}{json.dumps(name, ensure_ascii=False)}: {json.dumps(value, ensure_ascii=False)}")
        ]

    def end(self) -> Said:
        return [("arguments", "}" if self._told else "{}")] if self.is_over else []


class MessageReader:
    """The message of a channel: the arguments themselves."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._json = _Json()
        self.is_over = self.is_broken = self.has_begun = False

    def put(self, char: str) -> Said:
        if not self.has_begun and char != "{":
            self.is_broken = not char.isspace()
            return []
        told: Said = [] if self.has_begun else [("name", self._name)]
        self.has_begun = True
        self._json.put(char)
        self.is_over = self._json.depth == 0
        return [*told, ("arguments", char)]

    def end(self) -> Said:
        return []


READERS: dict[str, Any] = {
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
