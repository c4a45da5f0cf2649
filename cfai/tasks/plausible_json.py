"""A JSON value that fits a JSON schema, made up.

Everything that JSON mode can enforce is kept, see `cfai/tasks/json_schemas.py`; of other keywords, what can be had by
trying again.
"""

from __future__ import annotations

import datetime
import math
import re
import uuid
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from cfai.tasks.plausible_text import text_of_pattern
from cfai.tasks.words import listed, sentence

__all__ = ["plausible_json"]

DEEPEST = 6
"""From this depth on, what need not be there is not."""

GIVE_UP = 48
TRIES = 40
RANGE = 100

_IMPLIED = {
    "properties": "object",
    "required": "object",
    "additionalProperties": "object",
    "items": "array",
    "prefixItems": "array",
    "minItems": "array",
    "minLength": "string",
    "pattern": "string",
    "format": "string",
    "minimum": "number",
    "maximum": "number",
    "multipleOf": "number",
}


class _Impossible(Exception):
    """No value fits, or none was found."""


def plausible_json(schema: Mapping[str, Any], rng: Random) -> Any:
    """A value that fits `schema`; None where there seems to be none.

    ```python
    plausible_json({"type": "object", "properties": {"age": {"type": "integer", "minimum": 18}}}, Random(0))
    ```
    """
    try:
        return _Maker(schema, rng).value(schema, 0)
    except _Impossible:
        return None


class _Maker:
    def __init__(self, root: Mapping[str, Any], rng: Random) -> None:
        self._root = root
        self._rng = rng

    def value(self, schema: Any, depth: int, name: str = "") -> Any:
        """A value; `name` is the key that it will stand behind."""
        if schema is False or depth > GIVE_UP:
            raise _Impossible
        if not isinstance(schema, Mapping):
            schema = {}
        for key, put_together in (("$ref", self._with_reference), ("allOf", self._with_all)):
            if key in schema:
                rest = {other: value for other, value in schema.items() if other != key}
                # Deeper than it looks: what refers to itself has no other end.
                return self.value(put_together(rest, schema[key]), depth + (key == "$ref"), name)
        for key in ("anyOf", "oneOf"):
            if key in schema:
                return self._any(schema[key], {**schema, key: None}, depth, name)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return self._rng.choice(_of_type(schema["enum"], schema.get("type")))
        match self._type(schema, depth):
            case "object":
                return self._object(schema, depth)
            case "array":
                return self._array(schema, depth)
            case "integer":
                return int(self._number(schema, is_integer=True))
            case "number":
                return self._number(schema)
            case "boolean":
                return self._rng.random() < 0.5
            case "null":
                return None
            case _:
                return self._string(schema, name)

    def _any(self, options: Sequence[Any], schema: Mapping[str, Any], depth: int, name: str) -> Any:
        """A value of one of the options for which there is one; deep down of the shortest."""
        rest = {key: value for key, value in schema.items() if value is not None}
        tried = [*options]
        if depth < DEEPEST:
            self._rng.shuffle(tried)
        else:
            tried.sort(key=lambda option: len(str(option)))
        for option in tried:
            try:
                return self.value(_both(rest, option), depth + 1, name)
            except _Impossible:
                continue
        raise _Impossible

    def _with_reference(self, rest: Mapping[str, Any], place: str) -> Mapping[str, Any]:
        return _both(self._referred(place), rest)

    def _with_all(self, rest: Mapping[str, Any], parts: Sequence[Any]) -> Mapping[str, Any]:
        for part in parts:
            rest = _both(rest, part)
        return rest

    def _referred(self, place: str) -> Any:
        found: Any = self._root
        for step in place.removeprefix("#").split("/")[1:]:
            key = step.replace("~1", "/").replace("~0", "~")
            try:
                found = found[int(key)] if isinstance(found, list) else found[key]
            except (LookupError, TypeError, ValueError):
                raise _Impossible from None
        return found

    def _type(self, schema: Mapping[str, Any], depth: int) -> str:
        kinds = schema.get("type")
        if isinstance(kinds, str):
            return kinds
        if kinds is None:
            return next((kind for key, kind in _IMPLIED.items() if key in schema), "string")
        if not kinds:
            raise _Impossible
        if depth >= DEEPEST and "null" in kinds:
            return "null"
        return str(self._rng.choice([kind for kind in kinds if kind != "null"] or kinds))

    def _object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        known: Mapping[str, Any] = schema.get("properties", {})
        required = schema.get("required", ())
        others = schema.get("additionalProperties", {})
        most = schema.get("maxProperties", math.inf)
        found: dict[str, Any] = {}
        for name, wanted in known.items():
            is_needed = name in required
            left = most - len(found) - sum(one not in found for one in required)
            if not is_needed and (left < 1 or (depth >= DEEPEST and len(found) >= schema.get("minProperties", 0))):
                continue
            try:
                found[name] = self.value(wanted, depth + 1, name)
            except _Impossible:
                if is_needed:
                    raise
        for name in required:
            if name not in found:
                found[name] = self.value(self._pattern_of(schema, name, others), depth + 1, name)
        least = max(schema.get("minProperties", 0), 0 if known or required or others is False else 1)
        for _ in range(TRIES):
            if len(found) >= min(least, most):
                return found
            if name := self._other_name([*schema.get("patternProperties", ())]):
                found[name] = self.value(self._pattern_of(schema, name, others), depth + 1, name)
        raise _Impossible

    def _other_name(self, patterns: Sequence[str]) -> str:
        noun: str = self._rng.choice(listed("nouns"))
        if not patterns:
            return noun
        pattern = self._rng.choice(patterns)
        made = text_of_pattern(pattern, self._rng) or ""
        return made + noun if re.search(pattern, made + noun) else made

    def _pattern_of(self, schema: Mapping[str, Any], name: str, otherwise: Any) -> Any:
        for pattern, wanted in schema.get("patternProperties", {}).items():
            if re.search(pattern, name):
                return wanted
        return otherwise

    def _array(self, schema: Mapping[str, Any], depth: int) -> list[Any]:
        first: Sequence[Any] = schema.get("prefixItems", ())
        others = schema.get("items", {})
        least = max(schema.get("minItems", 0), 0 if depth >= DEEPEST else 1)
        most = schema.get("maxItems", max(least, len(first), 3))
        if others is False:
            most = min(most, len(first))
        if schema.get("minItems", 0) > most:
            raise _Impossible
        count = max(min(len(first), most), min(self._rng.randint(least, max(least, most)), least + 2, most))
        found: list[Any] = []
        for _ in range(TRIES + count):
            if len(found) == count:
                return found
            made = self.value(first[len(found)] if len(found) < len(first) else others, depth + 1)
            if not (schema.get("uniqueItems") and made in found):
                found.append(made)
        if len(found) >= schema.get("minItems", 0):
            return found
        raise _Impossible

    def _number(self, schema: Mapping[str, Any], *, is_integer: bool = False) -> float:
        step = schema.get("multipleOf")
        if is_integer and (step is None or step < 1):
            step = 1
        low = max(schema.get("minimum", -math.inf), schema.get("exclusiveMinimum", -math.inf))
        high = min(schema.get("maximum", math.inf), schema.get("exclusiveMaximum", math.inf))
        if low == -math.inf:
            low = min(0, high - RANGE)
        if high == math.inf:
            high = low + max(RANGE, step or 0)
        if low > high:
            raise _Impossible
        if step is None:
            made = round(self._rng.uniform(low, high), 2)
            return made if low < made < high else (low + high) / 2
        first, last = math.ceil(low / step), math.floor(high / step)
        first += first * step == schema.get("exclusiveMinimum")
        last -= last * step == schema.get("exclusiveMaximum")
        if first > last:
            raise _Impossible
        return float(self._rng.randint(first, last) * step) if step % 1 else self._rng.randint(first, last) * int(step)

    def _string(self, schema: Mapping[str, Any], name: str) -> str:
        least, most = schema.get("minLength", 0), schema.get("maxLength", math.inf)
        if (pattern := schema.get("pattern")) is not None:
            for _ in range(TRIES):
                made = text_of_pattern(pattern, self._rng)
                if made is not None and least <= len(made) <= most:
                    return made
            raise _Impossible
        if (form := _FORMATS.get(schema.get("format", ""))) is not None:
            return str(form(self._rng))
        made = sentence(self._rng) if "minLength" in schema and least > 12 else self._rng.choice(listed("nouns"))
        while len(made) < least:
            made = f"{made} {sentence(self._rng)}"
        if len(made) > most:
            made = made[: int(most)].rstrip().ljust(least, "x")
        return made


def _both(one: Any, other: Any) -> Mapping[str, Any]:
    """A schema for what fits two of them."""
    if one is False or other is False:
        raise _Impossible
    merged: dict[str, Any] = {**one} if isinstance(one, Mapping) else {}
    for key, value in (other if isinstance(other, Mapping) else {}).items():
        merged[key] = _PUT_TOGETHER[key](merged[key], value) if key in merged and key in _PUT_TOGETHER else value
    return merged


def _properties(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    return {**one, **{name: {"allOf": [one[name], value]} if name in one else value for name, value in other.items()}}


def _types(one: Any, other: Any) -> Any:
    ours, theirs = ([kinds] if isinstance(kinds, str) else kinds for kinds in (one, other))
    both = [kind for kind in ours if kind in theirs or (kind == "integer" and "number" in theirs)]
    return both or ["integer"] if "integer" in theirs and "number" in ours else both


_PUT_TOGETHER: Mapping[str, Any] = {
    "type": _types,
    "properties": _properties,
    "patternProperties": _properties,
    "required": lambda one, other: [*one, *(name for name in other if name not in one)],
    "enum": lambda one, other: [value for value in one if value in other],
    "items": lambda one, other: {"allOf": [one, other]},
    "allOf": lambda one, other: [*one, *other],
    "additionalProperties": lambda one, other: False if False in (one, other) else {"allOf": [one, other]},
    "minimum": max,
    "exclusiveMinimum": max,
    "minLength": max,
    "minItems": max,
    "minProperties": max,
    "maximum": min,
    "exclusiveMaximum": min,
    "maxLength": min,
    "maxItems": min,
    "maxProperties": min,
}


def _of_type(values: Sequence[Any], kinds: Any) -> list[Any]:
    wanted = _PYTHON if kinds is None else [kinds] if isinstance(kinds, str) else kinds
    found = [value for value in values if any(_is(value, kind) for kind in wanted)]
    if not found:
        raise _Impossible
    return found


def _is(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    return isinstance(value, _PYTHON[kind]) and not (kind == "integer" and value != int(value))


_PYTHON: Mapping[str, Any] = {
    "string": str,
    "object": Mapping,
    "array": (list, tuple),
    "integer": (int, float),
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
}


def _moment(rng: Random) -> datetime.datetime:
    start = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)
    return start + datetime.timedelta(seconds=rng.randrange(2 * 366 * 24 * 3600))


def _word(rng: Random) -> str:
    return "".join(letter for letter in rng.choice(listed("nouns")) if letter.isascii() and letter.isalpha()) or "x"


_FORMATS: Mapping[str, Any] = {
    "date": lambda rng: _moment(rng).date().isoformat(),
    "date-time": lambda rng: f"{_moment(rng):%Y-%m-%dT%H:%M:%SZ}",
    "time": lambda rng: f"{_moment(rng):%H:%M:%SZ}",
    "duration": lambda rng: f"PT{rng.randint(1, 59)}M",
    "email": lambda rng: f"{_word(rng)}@example.com",
    "hostname": lambda rng: f"{_word(rng)}.example.com",
    "ipv4": lambda rng: f"192.0.2.{rng.randint(1, 254)}",
    "ipv6": lambda rng: f"2001:db8::{rng.randint(1, 0xFFFF):x}",
    "uuid": lambda rng: str(uuid.UUID(int=rng.getrandbits(128), version=4)),
    "uri": lambda rng: f"https://example.com/{_word(rng)}",
}
