"""JSON inputs against a schema, refused in the words of Workers AI.

Cloudflare checks inputs with a validator of its own, https://github.com/cloudflare/cabidela, whose sentences reach the
user inside error 5006. Programs and tests match on them, so the sentences here are the same, and so are the rules that
decide which of them appear:

1. A schema gives a count of matches. A value that is absent counts 0 and is no error in itself; a property is there,
   for `required`, when its own schema counts 1 or more.
2. Inside `oneOf` and `anyOf` a refusal does not end the check. Its sentence is noted, once, and the next option tried.
   Notes are kept for the whole input: when the check fails later, and elsewhere, they stand in that error too.
3. Only the outermost `oneOf` or `anyOf` refuses when it is not met. One further in counts 0.
4. `type: object` does not look at the type of the value. What is no object has no properties; `required` refuses it.
5. An array of nothing but strings and numbers is also `binary`, and its items are not looked at.

A caller that needs more than these rules promise (an object that is one, items that are checked) looks for itself.
Cabidela adds up the items of an array inside `oneOf`, so that two text parts are two matches and refused; here an array
is one match.

The code recurses as deep as the schema, never as deep as the input.
"""

from __future__ import annotations

import difflib
import enum
import itertools
import math
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, NoReturn

from cfai.errors import BadInput

__all__ = ["Checked", "Schema", "place", "types_of", "validate"]

Schema = Mapping[str, Any]
"""A JSON schema made of the keywords that this module knows: type, properties, required, additionalProperties, items,
oneOf, anyOf, enum, minimum, maximum, minLength, maxLength, default. Others are ignored."""

Path = tuple[str, ...]

LONGEST_SHOWN = 200
"""Characters of the user's own text, such as a key, that one place in a refusal may hold."""


class Checked(NamedTuple):
    """Inputs that fit, with the defaults of the schema filled in."""

    payload: Any
    option: int | None
    """The place of the option that fits, where the schema as a whole is a choice."""


def validate(schema: Schema, payload: Any) -> Checked:
    """`payload` with defaults, itself unchanged, or a `BadInput` that says what does not fit.

    ```python
    validate({"type": "object", "required": ["prompt"]}, {})  # 5006: Error: required properties at '/' are 'prompt'
    ```
    """
    check = _Check()
    try:
        check.matches(schema, payload, (), noting=False)
    except _Refusal as refusal:
        raise BadInput(_sendable(str(refusal)), hint=_sendable(_misspelt(schema, payload))) from None
    return Checked(_with_defaults(payload, check.defaults), check.option)


def _sendable(text: str) -> str:
    # What quotes the input may hold half a surrogate pair.
    return re.sub("[\ud800-\udfff]", "\ufffd", text)


def _misspelt(schema: Schema, payload: Any) -> str:
    """Which key of the input is like one that the schema has; "" if none is. Cloudflare's words do not say it."""
    if not isinstance(payload, Mapping):
        return ""
    options = [schema, *schema.get("oneOf", ()), *schema.get("anyOf", ())]
    known = {name for option in options for name in option.get("properties", ())}
    for key in itertools.islice(payload, LONGEST_SHOWN):
        if isinstance(key, str) and key not in known and len(key) <= 2 * max(map(len, known), default=0):
            # One that is given already is not the one that was meant.
            near = difflib.get_close_matches(key.lower(), known - set(payload), n=1, cutoff=0.74)
            if near:
                return f'unknown key "{key}", did you mean "{near[0]}"?'
    return ""


def types_of(value: Any) -> tuple[str, ...]:
    """The names of all the JSON types that `value` has, in the validator's order."""
    match value:
        case _Absent():
            return ()
        case None:
            return ("null",)
        case bool():
            return ("boolean",)
        case str():
            return ("string",)
        case int() | float():
            return ("number", "integer") if _is_integer(value) else ("number",)
        case list() | tuple():
            if _NUMBER_OR_TEXT.issuperset(map(type, value)):  # seen quickly: a recording has millions of numbers
                return ("array", "binary")
            # JavaScript's find() gives the item that is no string or number, and null looks like not having found one.
            other = next((item for item in value if not _is_number_or_text(item)), None)
            return ("array", "binary") if other is None else ("array",)
        case _:
            return ("object",)


def place(path: Path) -> str:
    """Where in the inputs a path leads, as the refusals name it: `/messages/0/content`."""
    return "/" + "/".join(str(name)[:LONGEST_SHOWN] for name in path)


class _Absent(enum.Enum):
    ABSENT = enum.auto()


_ABSENT: Final = _Absent.ABSENT


class _Refusal(Exception):
    pass


class _Check:
    """One check of one input: the notes and defaults that it gathers on the way."""

    def __init__(self) -> None:
        self.notes: dict[str, None] = {}
        self.defaults: list[tuple[Path, Any]] = []
        self.option: int | None = None

    def matches(self, schema: Schema, value: Any, path: Path, *, noting: bool) -> int:
        """How often `value` matches; `noting` inside a choice, where a refusal becomes a note."""
        if "oneOf" in schema:
            return self._choice("oneOf", schema, value, path, noting=noting)
        if "anyOf" in schema:
            return self._choice("anyOf", schema, value, path, noting=noting)
        kind = schema.get("type")
        if value is _ABSENT and kind != "object" and "properties" not in schema:
            if "default" in schema and kind != "array":
                self.defaults.append((path, schema["default"]))
            return 0
        types = types_of(value)
        if kind == "array" and not {"binary", "string"}.intersection(types):
            return sum(
                self.matches(schema["items"], item, (*path, name), noting=noting) for name, item in _items(value)
            )
        if kind == "object" or "properties" in schema:
            return self._object(schema, value, path, noting=noting)
        if (problem := _scalar_problem(schema, value, types, path)) is not None:
            self._refuse(problem, noting=noting)
        return 1

    def _choice(self, keyword: str, schema: Schema, value: Any, path: Path, *, noting: bool) -> int:
        matched = 0
        before = len(self.defaults)
        for index, option in enumerate(schema[keyword]):
            mark = len(self.defaults)
            try:
                matched += min(1, self.matches({"type": schema.get("type"), **option}, value, path, noting=True))
            except _Refusal as refusal:
                self.notes[str(refusal)] = None
                del self.defaults[mark:]
                continue
            if not path and matched == 1:
                self.option = index
            # An option that is absent without a refusal ends a oneOf at once; one match is enough for anyOf.
            if matched != (1 if keyword == "oneOf" else 0):
                break
        if matched == 1:
            return 1
        del self.defaults[before:]
        if not path:
            count = f", {matched} matches" if keyword == "oneOf" else ""
            self._refuse(f"{keyword} at '/' not met{count}", noting=noting)
        return 0

    def _object(self, schema: Schema, value: Any, path: Path, *, noting: bool) -> int:
        mark = len(self.defaults)
        met = {
            name
            for name, wanted in schema.get("properties", {}).items()
            if self.matches(wanted, _property(value, name), (*path, name), noting=noting)
        }
        if not (value is _ABSENT or isinstance(value, Mapping)):
            del self.defaults[mark:]  # there is nothing to put them into
        others = 0
        if "additionalProperties" in schema and isinstance(value, Mapping):
            others = self._others(
                schema["additionalProperties"], value, [name for name in value if name not in met], path, noting=noting
            )
        required = schema.get("required", ())
        if not met.issuperset(required):
            self._refuse(f"required properties at '{place(path)}' are '{','.join(required)}'", noting=noting)
        return 1 if met or others else 0

    def _others(self, wanted: Any, value: Mapping[str, Any], names: list[str], path: Path, *, noting: bool) -> int:
        if wanted is True:
            return len(names)
        if wanted is False:
            if names:
                listed = ", ".join(place((*path, name)) for name in names)
                sentence = f"Additional or unevaluated properties '{listed}' at '{place(path)}' not allowed"
                self._refuse(sentence, noting=noting)
            return 0
        # Each is checked as if it were the whole input: its notes are its own, and its path starts at its name.
        last = [str(name).rpartition("/")[2] for name in names]
        return sum(bool(_Check().matches(wanted, _property(value, name), (name,), noting=False)) for name in last)

    def _refuse(self, sentence: str, *, noting: bool) -> NoReturn:
        # Only the outermost refusal carries the notes.
        notes = "" if noting or not self.notes else f": {', '.join(self.notes)}"
        raise _Refusal(sentence + notes)


def _scalar_problem(schema: Schema, value: Any, types: tuple[str, ...], path: Path) -> str | None:
    kind = schema.get("type")
    if "enum" in schema and not _is_one_of(value, schema["enum"]):
        return f"enum {_shown(value)} not in {','.join(map(_shown, schema['enum']))} at '{place(path)}'"
    if kind is not None and kind not in types:
        return f"Type mismatch of '{place(path)}', '{kind}' not in {','.join(repr(name) for name in types)}"
    if kind == "string":
        if "maxLength" in schema and _length(value) > schema["maxLength"]:
            return f"Length of '{place(path)}' must be <= {schema['maxLength']}"
        if "minLength" in schema and _length(value) < schema["minLength"]:
            return f"Length of '{place(path)}' must be >= {schema['minLength']} not met"
    if kind in ("number", "integer"):
        if "minimum" in schema and value < schema["minimum"]:
            return f"'{place(path)}' must be >= {schema['minimum']}"
        if "maximum" in schema and value > schema["maximum"]:
            return f"'{place(path)}' must be <= {schema['maximum']}"
    return None


def _property(value: Any, name: str) -> Any:
    # A dict is a Mapping, but that it is a dict is quickly seen.
    return value.get(name, _ABSENT) if isinstance(value, (dict, Mapping)) else _ABSENT


def _items(value: Any) -> list[tuple[str, Any]]:
    # JavaScript's for-in walks the keys of an object as it does those of an array, and finds none in a number or null.
    if isinstance(value, Mapping):
        return list(value.items())
    if isinstance(value, (list, tuple)):
        return [(str(index), item) for index, item in enumerate(value)]
    return []


_NUMBER_OR_TEXT = frozenset({str, int, float})


def _is_number_or_text(value: Any) -> bool:
    return isinstance(value, (str, int, float)) and not isinstance(value, bool)


def _is_integer(value: float) -> bool:
    # To JavaScript 5.0 is an integer, and a whole number too long for a double is Infinity, which is none.
    try:
        number = float(value)
    except OverflowError:
        return False
    return math.isfinite(number) and number.is_integer()


def _is_one_of(value: Any, allowed: list[Any]) -> bool:
    return any(value == item and isinstance(value, bool) is isinstance(item, bool) for item in allowed)


def _length(text: str) -> int:
    # JavaScript counts UTF-16 units: a character beyond U+FFFF is two.
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _shown(value: Any, depth: int = 0) -> str:
    # What a JavaScript template string makes of the value, cut where it would fill the error with the user's data.
    match value:
        case str():
            text = value
        case None:
            text = "null"
        case bool():
            text = str(value).lower()
        case int() | float():
            text = _shown_number(value)
        case list() | tuple() if depth < 8:
            text = ",".join("" if item is None else _shown(item, depth + 1) for item in value[:100])
        case _:
            text = "[object Object]"
    return text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + "..."


def _shown_number(value: float) -> str:
    if _is_integer(value) and abs(value) < 1e21:
        return str(int(value))
    try:
        return str(float(value)).replace("inf", "Infinity").replace("nan", "NaN")
    except OverflowError:
        return "Infinity" if value > 0 else "-Infinity"


def _with_defaults(payload: Any, defaults: list[tuple[Path, Any]]) -> Any:
    if not defaults:
        return payload
    copies: dict[Path, Any] = {(): dict(payload)}
    for path, default in defaults:
        node = copies[()]
        for depth, name in enumerate(path[:-1], start=1):
            here = path[:depth]
            if here not in copies:
                inside = node[int(name)] if isinstance(node, list) else node.get(name, {})
                copies[here] = list(inside) if isinstance(inside, (list, tuple)) else dict(inside)
                node[int(name) if isinstance(node, list) else name] = copies[here]
            node = copies[here]
        node[path[-1]] = default
    return copies[()]
