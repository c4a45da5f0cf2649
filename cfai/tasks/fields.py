"""From JSON to the fields of a request.

The schemas have a weak notion of objects and arrays, so these readers look again at what should be one. Each takes a
value and its place in the inputs, and refuses in the schemas' manner of speaking.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from cfai.errors import BadInput
from cfai.tasks.schema import place, types_of

__all__ = [
    "MOST_ITEMS",
    "Read",
    "array",
    "check_json",
    "check_length",
    "flag",
    "integer",
    "mismatch",
    "missing",
    "non_empty_text",
    "number",
    "object_of",
    "text",
]

Read = Callable[[Any, str], Any]

MOST_ITEMS = 1024
DEEPEST = 64


def text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        mismatch(value, where, "string")
    return str.__str__(value)  # of an enum's member that is a str, the str


def non_empty_text(value: Any, where: str) -> str:
    if not (found := text(value, where)):
        raise BadInput(f"Length of '{where}' must be >= 1 not met")
    return found


def integer(value: float, where: str) -> int:
    return int(value)


def number(value: float, where: str) -> float:
    return float(value)


def flag(value: bool, where: str) -> bool:
    if not isinstance(value, bool):
        mismatch(value, where, "boolean")
    return value


def array(value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        mismatch(value, where, "array")
    return tuple(value)


def object_of(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        mismatch(value, where, "object")
    return value


def mismatch(value: Any, where: str, wanted: str) -> NoReturn:
    found = ",".join(repr(name) for name in types_of(value))
    raise BadInput(f"Type mismatch of '{where}', '{wanted}' not in {found}")


def missing(where: str, names: str) -> NoReturn:
    raise BadInput(f"required properties at '{where}' are '{names}'")


def check_length(value: Any, most: int, where: str) -> None:
    if isinstance(value, (list, tuple, Mapping)) and len(value) > most:
        raise BadInput(f"Length of '{where}' must be <= {most}")


def check_json(fields: Mapping[str, Any]) -> None:
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
