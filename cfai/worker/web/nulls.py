"""JavaScript's null and numbers, as Python holds them."""

from __future__ import annotations

import math
from typing import Any

from cfai.worker.compat import current

__all__ = ["as_number", "jsnull", "number_text", "seen"]


class JsNull:
    """The type of `jsnull`."""

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "jsnull"

    def __copy__(self) -> JsNull:
        return self

    def __deepcopy__(self, memo: Any) -> JsNull:
        return self

    def to_py(self) -> Any:
        return seen(self)


jsnull = JsNull()
"""JavaScript's null where a runtime tells it from undefined: false, and not None."""


def seen(value: Any) -> Any:
    """`value` out of JavaScript as the script sees it: null is None where the generation has no `jsnull`."""
    return None if value is jsnull and not current().compat.has_jsnull else value


_SAFE = 2**53


def as_number(value: Any) -> int | float:
    """A JavaScript number as Python gets it: an int if it is whole and safe. Larger ints of Python are BigInts."""
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < _SAFE else value
    return int(value) if abs(value) < _SAFE else _as_float(value)


def _as_float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def number_text(value: float) -> str:
    """`value` as JavaScript writes numbers: `1`, `1e+21`, `1e-7`."""
    if isinstance(value, int):
        return str(value)
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    if value.is_integer() and abs(value) < 1e21:
        return str(int(value))
    digits, _, exponent = repr(value).partition("e")
    if not exponent:
        return digits
    power = int(exponent)
    if -7 < power < 0:  # Python writes 1e-05 where JavaScript writes 0.00001
        significant = len(digits.replace(".", "").lstrip("-"))
        return f"{value:.{significant - 1 - power}f}"
    return f"{digits}e{power:+d}"
