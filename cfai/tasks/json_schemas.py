"""Which JSON schemas can be enforced, and in which words llguidance wants them.

Enforced are, for any value, `type`, `enum`, `const`, `anyOf`, `allOf`, `oneOf` whose branches exclude each other, and
`$ref` within the schema, also recursive; and

    objects   properties, required, additionalProperties, patternProperties, maxProperties
    arrays    items, prefixItems, minItems, maxItems
    strings   minLength, maxLength, pattern (without look-around), format: date, date-time, time, duration, email,
              hostname, ipv4, ipv6, uuid, uri
    numbers   minimum, maximum, exclusiveMinimum, exclusiveMaximum, multipleOf (of integers, up to 256)

Keywords that say nothing about what is valid (title, description, default, ...) and formats of other names are passed
over, as JSON Schema has it. Any other keyword is refused with its place: an answer that only may fit is none. Objects
have their properties in the schema's order, and no others where it lists some and says nothing of others.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cfai.errors import BadInput

__all__ = ["SPACED", "enforceable", "enforced_in_part", "refusal"]

SPACED = {"whitespace_pattern": "[ ]?"}
"""How JSON is written, for llguidance: with one space at most between its tokens."""

FORMATS = frozenset({"date", "date-time", "time", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"})
_TIME = r"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
_YEAR = "([0-9]{3}[1-9]|[0-9]{2}[1-9]0|[0-9][1-9]00|[1-9]000)"
_LEAP_YEAR = "([0-9]{2}(0[48]|[2468][048]|[13579][26])|(0[48]|[2468][048]|[13579][26])00)"
_DAY = "((0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)"
_DATE = f"({_YEAR}-{_DAY}|{_LEAP_YEAR}-02-29)"
_STRICTER = {"date": f"^{_DATE}$", "time": f"^{_TIME}$", "date-time": f"^{_DATE}T{_TIME}$"}
"""What every reader of these formats takes: no 29 February in other years, no year 0, no second 60, no lower case."""
DEEPEST = 64
MOST_PATTERNS = 8
"""What one value may be asked for at once: the work doubles with each."""
LARGEST_FACTOR = 256
"""What is counted by a machine with as many states."""


_IGNORED_UNLESS_SET = {"uniqueItems": False, "minProperties": 0, "minContains": 0}
"""Keywords that mean nothing with this value."""

_CHILDREN = ("items", "additionalProperties", "not")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_MAPS = ("properties", "patternProperties", "$defs", "definitions")


def enforceable(schema: Mapping[str, Any] | bool, *, at: str = "") -> Mapping[str, Any]:
    """The schema without what means nothing, or a refusal that names the place."""
    from llguidance import LLMatcher

    if schema is True:
        schema = {}
    if not isinstance(schema, Mapping):
        raise BadInput(f"the JSON schema at '{at or '/'}' allows nothing, or is no object")
    if _has_too_many_patterns(schema):
        raise BadInput(
            f"the JSON schema cannot be enforced: it asks one value for more than {MOST_PATTERNS} patterns",
            hint="leave some out, and check the answer",
        )
    cleaned: Mapping[str, Any] = _cleaned(schema, schema, at, 0)
    if problem := LLMatcher.validate_grammar(LLMatcher.grammar_from_json_schema(json.dumps(cleaned))):
        named = (
            re.match(r"(oneOf) ", problem)
            or re.search(r"[\"'`](\$?\w[\w-]*)[\"'`]", problem)
            or re.search(r": (\w[\w-]*)$", problem)
        )
        place = next(_places(cleaned, named[1], at), None) if named else None
        raise refusal(problem, f" at '{place}'" if place else f" at '{at}'" if at else "")
    return cleaned


def enforced_in_part(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """As much of the schema as can be enforced, as an object at least."""
    from llguidance import LLMatcher

    try:
        return enforceable(schema)
    except BadInput:
        if _has_too_many_patterns(schema):
            return {"type": "object"}
        part = {**_without_factors(schema), "x-guidance": {**SPACED, "lenient": True, "coerce_one_of": True}}
        problem = LLMatcher.validate_grammar(LLMatcher.grammar_from_json_schema(json.dumps(part)))
        return {"type": "object"} if problem else part


def _without_factors(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_factors(item) for key, item in value.items() if key not in ("multipleOf", "x-guidance")}
    return [*map(_without_factors, value)] if isinstance(value, (list, tuple)) else value


def _cleaned(value: Any, root: Any, at: str, depth: int) -> Any:
    if depth > DEEPEST:
        raise BadInput(f"the JSON schema is nested more than {DEEPEST} deep at '{at}'")
    if not isinstance(value, Mapping):
        return value
    cleaned = {key: item for key, item in value.items() if key != "x-guidance"}
    for key, idle in _IGNORED_UNLESS_SET.items():
        if key in cleaned and cleaned[key] == idle:
            del cleaned[key]
    if isinstance(cleaned.get("format"), str) and cleaned["format"] not in FORMATS:
        del cleaned["format"]
    if cleaned.get("format") in _STRICTER and "pattern" not in cleaned:
        cleaned["pattern"] = _STRICTER[cleaned["format"]]
    _exclude_zero(cleaned)
    least = cleaned.pop("minProperties", 0)
    if not isinstance(least, (int, float)) or least > len(cleaned.get("required") or ()):
        # Names may come twice in what the grammar allows, and count once.
        raise BadInput(
            f"the JSON schema cannot be enforced at '{at}': minProperties beyond the required ones",
            hint="name the properties in `required`",
        )
    factor = cleaned.get("multipleOf", 1)
    if not isinstance(factor, (int, float)) or not 1 <= factor <= LARGEST_FACTOR or factor % 1:
        raise BadInput(
            f"the JSON schema cannot be enforced at '{at}/multipleOf': only whole numbers up to {LARGEST_FACTOR} can",
            hint="leave it out, and check the answer",
        )
    for key in _CHILDREN:
        if key in cleaned:
            cleaned[key] = _cleaned(cleaned[key], root, f"{at}/{key}", depth + 1)
    for key in _LISTS:
        if isinstance(cleaned.get(key), (list, tuple)):
            cleaned[key] = [
                _cleaned(item, root, f"{at}/{key}/{index}", depth + 1) for index, item in enumerate(cleaned[key])
            ]
    for key in _MAPS:
        if isinstance(cleaned.get(key), Mapping):
            cleaned[key] = {
                name: _cleaned(item, root, f"{at}/{key}/{name}", depth + 1) for name, item in cleaned[key].items()
            }
    if _names_all_it_wants(cleaned) and not _has_parts(root):
        cleaned["additionalProperties"] = False
    branches = cleaned.get("oneOf")
    if isinstance(branches, list) and "anyOf" not in cleaned and _exclude_each_other(branches, root):
        cleaned["anyOf"] = cleaned.pop("oneOf")
        cleaned.pop("discriminator", None)
    return cleaned


def _names_all_it_wants(schema: Mapping[str, Any]) -> bool:
    """It lists an object's properties and does not say that there may be others."""
    names = schema.get("properties")
    says = {"additionalProperties", "patternProperties", "unevaluatedProperties", "anyOf", "oneOf", "allOf", "$ref"}
    return isinstance(names, Mapping) and names.keys() >= {*(schema.get("required") or ())} and not says & schema.keys()


def _has_parts(root: Any) -> bool:
    """Somewhere one object is described in several places, each of which names some properties."""
    return '"allOf"' in json.dumps(root, default=str)


def _has_too_many_patterns(schema: Any) -> bool:
    """Somewhere so many patterns hold at once that finding out what fits all of them takes all memory."""
    waiting = [schema]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping):
            if ("allOf" in value or "$ref" in value) and _patterns_of(value, schema, set()) > MOST_PATTERNS:
                return True
            waiting += value.values()
        elif isinstance(value, (list, tuple)):
            waiting += value
    return False


def _patterns_of(value: Any, root: Any, seen: set[str]) -> int:
    """How many patterns a value of this schema must fit at once."""
    if not isinstance(value, Mapping):
        return 0
    count = ("pattern" in value) + ("format" in value)
    reference = value.get("$ref")
    if isinstance(reference, str) and reference not in seen:
        seen.add(reference)
        count += _patterns_of(_resolved(value, root), root, seen)
    for key, together in (("allOf", sum), ("anyOf", max), ("oneOf", max)):
        if isinstance(value.get(key), (list, tuple)) and value[key]:
            count += together([_patterns_of(item, root, seen) for item in value[key]])
    return count


def _exclude_zero(cleaned: dict[str, Any]) -> None:
    """Put a bound that is next to 0 for one that excludes it: llguidance lets 0 pass if the other is nearer than 1."""
    for low, excluded, high, sign in (
        ("minimum", "exclusiveMinimum", "maximum", 1),
        ("maximum", "exclusiveMaximum", "minimum", -1),
    ):
        other = "exclusive" + high.capitalize()
        far = [cleaned[key] * sign for key in (high, other) if _is_number(cleaned.get(key))]
        if cleaned.get(excluded) == 0 and _is_number(cleaned[excluded]) and far and 0 < min(far) < 1:
            del cleaned[excluded]
            near = [cleaned[low] * sign] if _is_number(cleaned.get(low)) else []
            cleaned[low] = max([min(far) / 1000, *near]) * sign


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _exclude_each_other(branches: Sequence[Any], root: Any) -> bool:
    """No value fits two of them: they are of different types, or a required property tells them apart."""
    resolved = [_resolved(branch, root) for branch in branches]
    return all(_are_apart(a, b) for index, a in enumerate(resolved) for b in resolved[:index])


def _are_apart(a: Any, b: Any) -> bool:
    if not (isinstance(a, Mapping) and isinstance(b, Mapping)):
        return a is False or b is False
    if (values := _values(a)) is not None and (others := _values(b)) is not None:
        return not values & others
    types, theirs = _types(a), _types(b)
    if types and theirs and not types & theirs:
        return True
    if types == theirs == {"object"}:
        properties, others_ = a.get("properties") or {}, b.get("properties") or {}
        shared = {*(a.get("required") or ())} & {*(b.get("required") or ())} & {*properties} & {*others_}
        return any(
            (mine := _values(properties[name])) is not None
            and (other := _values(others_[name])) is not None
            and not mine & other
            for name in shared
        )
    return False


def _types(schema: Mapping[str, Any]) -> set[str]:
    kind = schema.get("type")
    types = {kind} if isinstance(kind, str) else {each for each in kind if isinstance(each, str)} if kind else set()
    return {"number" if each == "integer" else each for each in types}


def _values(schema: Any) -> set[str] | None:
    if not isinstance(schema, Mapping):
        return None
    if "const" in schema:
        return {json.dumps(schema["const"], sort_keys=True)}
    if isinstance(schema.get("enum"), (list, tuple)):
        return {json.dumps(each, sort_keys=True) for each in schema["enum"]}
    return None


def _resolved(schema: Any, root: Any) -> Any:
    for _ in range(DEEPEST):
        reference = schema.get("$ref") if isinstance(schema, Mapping) else None
        if not isinstance(reference, str) or not reference.startswith("#"):
            return schema
        schema = root
        for name in reference.removeprefix("#").split("/")[1:]:
            schema = schema.get(name.replace("~1", "/").replace("~0", "~")) if isinstance(schema, Mapping) else None
    return None


def _places(schema: Any, name: str, at: str) -> Iterator[str]:
    """Where a keyword, or a value of one, stands in a schema."""
    if isinstance(schema, Mapping):
        for key, item in schema.items():
            if key == name or item == name:
                yield f"{at}/{key}"
            yield from _places(item, name, f"{at}/{key}")
    elif isinstance(schema, (list, tuple)):
        for index, item in enumerate(schema):
            yield from _places(item, name, f"{at}/{index}")


def refusal(problem: str, where: str = "") -> BadInput:
    """The refusal that tells llguidance's `problem` in a sentence."""
    lines = [line.strip() for line in problem.splitlines() if line.strip()]
    line = lines[-1].removeprefix("error: ") if lines[0].endswith(":") else lines[0]
    if line.startswith("oneOf"):
        line = "the branches of oneOf do not exclude each other; anyOf does what is meant mostly"
    return BadInput(
        f"the JSON schema cannot be enforced{where}: {line}",
        hint="leave out what it names, or ask for it in the prompt and check the answer",
    )
