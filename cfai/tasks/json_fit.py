"""Whether a text is JSON of a schema, for answers whose making nothing here has constrained.

The keywords are those that can be enforced (`tasks/json_schemas.py`); others say nothing. A pattern is the caller's own
and is matched by llguidance, in time that its length bounds; where that is not installed, a light install, patterns and
formats are passed over.
"""

from __future__ import annotations

import functools
import importlib.util
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from cfai.wording import shortened

__all__ = ["misfit"]

DEEPEST = 64

LONGEST_MATCHED = 10_000
"""Characters of a text that is held against a pattern."""


def misfit(text: str, schema: Mapping[str, Any]) -> str | None:
    """What is wrong with `text` as JSON of `schema`; None where it fits.

    ```python
    misfit('{"age": "ten"}', {"properties": {"age": {"type": "integer"}}})  # "has no integer at '/age'"
    ```
    """
    try:
        value = json.loads(text, parse_constant=_no_number)
    except ValueError:
        return f"is no JSON: {shortened(text.strip(), 80)!r}" if text.strip() else "is empty"
    except RecursionError:
        return "is nested too deep"
    return next(_Fit(schema).problems(value, schema, "", 0), None)


class _Fit:
    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root

    def problems(self, value: Any, schema: Any, at: str, depth: int) -> Iterator[str]:
        where = f"at '{at or '/'}'"
        if schema is False or depth > DEEPEST:
            yield f"has something {where} that may not be there"
        if not isinstance(schema, Mapping) or depth > DEEPEST:
            return
        if (place := schema.get("$ref")) is not None:
            yield from self.problems(value, self._referred(place), at, depth + 1)
        kinds = schema.get("type")
        kinds = [kinds] if isinstance(kinds, str) else kinds or []
        if kinds and not any(_is(value, kind) for kind in kinds):
            yield f"has no {' or '.join(map(str, kinds))} {where}"
            return
        if "enum" in schema and not any(_same(value, one) for one in schema["enum"]):
            yield f"has none of the values {where} that there may be"
        if "const" in schema and not _same(value, schema["const"]):
            yield f"has another value {where} than the one that there may be"
        for part in schema.get("allOf") or ():
            yield from self.problems(value, part, at, depth + 1)
        for name in ("anyOf", "oneOf"):
            fitting = [one for one in schema.get(name) or () if self._fits(value, one, at, depth)]
            if name in schema and not (fitting if name == "anyOf" else len(fitting) == 1):
                yield f"fits {'none' if not fitting else 'several'} of what there may be {where}"
        if isinstance(value, dict):
            yield from self._of_object(value, schema, at, depth)
        elif isinstance(value, list):
            yield from self._of_array(value, schema, at, depth)
        elif isinstance(value, str):
            yield from _of_text(value, schema, where)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield from _of_number(value, schema, where)

    def _fits(self, value: Any, schema: Any, at: str, depth: int) -> bool:
        return next(self.problems(value, schema, at, depth + 1), None) is None

    def _of_object(self, value: Mapping[str, Any], schema: Mapping[str, Any], at: str, depth: int) -> Iterator[str]:
        if missing := [name for name in schema.get("required") or () if name not in value]:
            yield f"has no {shortened(str(missing[0]), 80)!r} at '{at or '/'}'"
        if len(value) > schema.get("maxProperties", len(value)):
            yield f"has too many properties at '{at or '/'}'"
        known = schema.get("properties") or {}
        patterns = schema.get("patternProperties") or {}
        others = schema.get("additionalProperties", True)
        for name, item in value.items():
            place = f"{at}/{name}"
            fitting = [wanted for pattern, wanted in patterns.items() if _matches(name, {"pattern": pattern})]
            if name in known:
                fitting.append(known[name])
            for wanted in fitting or [others]:
                yield from self.problems(item, wanted, place, depth + 1)

    def _of_array(self, value: Sequence[Any], schema: Mapping[str, Any], at: str, depth: int) -> Iterator[str]:
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
            yield f"has {len(value)} items at '{at or '/'}', too few or too many"
        first = schema.get("prefixItems") or []
        for index, item in enumerate(value):
            wanted = first[index] if index < len(first) else schema.get("items", True)
            yield from self.problems(item, wanted, f"{at}/{index}", depth + 1)

    def _referred(self, place: Any) -> Any:
        found: Any = self._root
        for step in str(place).removeprefix("#").strip("/").split("/"):
            if step:
                found = found.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(found, Mapping) else None
        return True if found is None else found


def _of_text(value: str, schema: Mapping[str, Any], where: str) -> Iterator[str]:
    if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)):
        yield f"has {len(value)} characters {where}, too few or too many"
    wanted = {name: schema[name] for name in ("pattern", "format") if name in schema}
    if wanted and not _matches(value, wanted):
        yield f"has {shortened(value, 40)!r} {where}, which is not of the form that was asked for"


def _of_number(value: float, schema: Mapping[str, Any], where: str) -> Iterator[str]:
    for name, holds in _BOUNDS.items():
        # What is no number was a boolean in drafts before the sixth.
        bound = schema.get(name)
        if isinstance(bound, int | float) and not isinstance(bound, bool) and not holds(value, bound):
            yield f"has {value} {where}, against {name} {bound}"


_BOUNDS: Mapping[str, Callable[[float, float], bool]] = {
    "minimum": lambda value, bound: value >= bound,
    "maximum": lambda value, bound: value <= bound,
    "exclusiveMinimum": lambda value, bound: value > bound,
    "exclusiveMaximum": lambda value, bound: value < bound,
    "multipleOf": lambda value, factor: factor == 0 or value % factor == 0,
}


def _matches(text: str, wanted: Mapping[str, Any]) -> bool:
    """Whether a text has the pattern and the format; true where nothing here can say so."""
    if len(text) > LONGEST_MATCHED or importlib.util.find_spec("llguidance") is None:
        return True
    from llguidance import LLMatcher

    grammar = LLMatcher.grammar_from_json_schema(json.dumps({"type": "string", **wanted}))
    if LLMatcher.validate_grammar(grammar):  # a pattern or a format that it does not know
        return True
    matcher = LLMatcher(_bytes(), grammar)
    tokens = [*json.dumps(text, ensure_ascii=False).encode("utf-8", "replace")]
    return bool(matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting())


@functools.cache
def _bytes() -> Any:
    """A tokenizer whose tokens are the bytes."""
    from llguidance import LLTokenizer

    return LLTokenizer("byte")


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _is(value: Any, kind: str) -> bool:
    if kind == "integer":
        return isinstance(value, int | float) and not isinstance(value, bool) and value == value // 1
    if kind == "number":
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, _KINDS.get(kind, object))


_KINDS: Mapping[str, type] = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}


def _same(one: Any, other: Any) -> bool:
    # True is 1 in Python, and not in JSON.
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)
