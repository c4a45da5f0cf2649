"""Filters on metadata: read once, then asked of many vectors.

Facts: https://developers.cloudflare.com/vectorize/reference/metadata-filtering/
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cfai.worker.bindings.vectorize_rules import VectorizeError

__all__ = ["Condition", "conditions_of", "value_at"]

MAX_BYTES = 2048
MAX_KEY_LENGTH = 512

Test = Callable[[Any], bool]


@dataclass(frozen=True, slots=True)
class Condition:
    """What one property has to be."""

    path: tuple[str, ...]
    tests: tuple[Test, ...]

    @property
    def name(self) -> str:
        return ".".join(self.path)

    def holds(self, metadata: Mapping[str, Any] | None) -> bool:
        value = value_at(metadata, self.path)
        return all(test(value) for test in self.tests)


def conditions_of(given: Any) -> tuple[Condition, ...]:
    """The conditions of a `filter`, all of which have to hold.

    ```python
    conditions_of({"genre": "fantasy", "year": {"$gte": 1990, "$lt": 2000}})
    ```
    """
    if not isinstance(given, Mapping):
        raise _wrong(f"expected an object, not {given!r}")
    if not given:
        raise _wrong("expected at least one property")
    try:
        size = len(json.dumps(given, separators=(",", ":"), ensure_ascii=False).encode())
    except (TypeError, ValueError) as error:
        raise _wrong(str(error)) from None
    if size > MAX_BYTES:
        raise _wrong(f"max is {MAX_BYTES} bytes of JSON, got {size}")
    return tuple(Condition(_path(key), _tests(key, wanted)) for key, wanted in given.items())


def value_at(metadata: Any, path: Sequence[str]) -> Any:
    for name in path:
        metadata = metadata.get(name) if isinstance(metadata, Mapping) else None
    return metadata


def _path(key: str) -> tuple[str, ...]:
    path = tuple(key.split("."))
    if len(key) > MAX_KEY_LENGTH or '"' in key or not all(path) or any(part.startswith("$") for part in path):
        raise _wrong(f"{key!r} is no property: names between dots, without quotes, none of them beginning with $")
    return path


def _tests(key: str, wanted: Any) -> tuple[Test, ...]:
    if not isinstance(wanted, Mapping):
        return (_equals(key, wanted),)
    if not wanted:
        raise _wrong(f"{key!r} has no operator")
    return tuple(_test(key, name, value) for name, value in wanted.items())


def _test(key: str, name: str, value: Any) -> Test:
    if name not in _OPERATORS:
        raise _wrong(f"{key!r} has the operator {name!r}; there are {', '.join(_OPERATORS)}")
    return _OPERATORS[name](key, value)


def _equals(key: str, wanted: Any) -> Test:
    if isinstance(wanted, list | Mapping):
        raise _wrong(f"{key!r} can be compared with a string, number, boolean or null, not with {wanted!r}")
    kind = _kind(wanted)
    return lambda value: _kind(value) is kind and value == wanted


def _differs(key: str, wanted: Any) -> Test:
    equals = _equals(key, wanted)
    return lambda value: not equals(value)


def _is_in(key: str, wanted: Any) -> Test:
    if not isinstance(wanted, list):
        raise _wrong(f"{key!r}: $in and $nin take a list, not {wanted!r}")
    tests = [_equals(key, one) for one in wanted]
    return lambda value: any(test(value) for test in tests)


def _is_not_in(key: str, wanted: Any) -> Test:
    is_in = _is_in(key, wanted)
    return lambda value: not is_in(value)


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[str, Any], Test]:
    def test(key: str, wanted: Any) -> Test:
        kind = _kind(wanted)
        if kind not in (str, float):
            raise _wrong(f"{key!r} can be less or more than a string or a number, not than {wanted!r}")
        # Strings are in the order of their bytes, which for UTF-8 is that of their code points.
        return lambda value: _kind(value) is kind and compare(value, wanted)

    return test


def _kind(value: Any) -> type:
    # In JSON true is not 1, while 1 is 1.0.
    return float if isinstance(value, int | float) and not isinstance(value, bool) else type(value)


_OPERATORS: dict[str, Callable[[str, Any], Test]] = {
    "$eq": _equals,
    "$ne": _differs,
    "$in": _is_in,
    "$nin": _is_not_in,
    "$lt": _ordered(operator.lt),
    "$lte": _ordered(operator.le),
    "$gt": _ordered(operator.gt),
    "$gte": _ordered(operator.ge),
}


def _wrong(problem: str) -> VectorizeError:
    return VectorizeError("VECTOR_QUERY", f"invalid filter: {problem}"[:400])
