"""JavaScript's primitive values: `String`, `Number`, `Boolean`, `BigInt`, `Math`, `Symbol`, and `parseInt` & co."""

from __future__ import annotations

import math
import re
import secrets
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from cfai.worker.web.errors import JsRangeError, JsSyntaxError, JsTypeError, JsUriError
from cfai.worker.web.nulls import as_number, jsnull, number_text
from cfai.worker.web.proxies import JsProxy, Shown

__all__ = [
    "BigInt",
    "Boolean",
    "Math",
    "Number",
    "String",
    "Symbol",
    "decodeURI",
    "decodeURIComponent",
    "encodeURI",
    "encodeURIComponent",
    "isFinite",
    "isNaN",
    "number_of",
    "parseFloat",
    "parseInt",
    "text_of",
]


def text_of(value: Any) -> str:
    """What JavaScript makes of `value` where it wants a string."""
    if isinstance(value, str):
        return value
    if value is None:
        return "undefined"
    if value is jsnull:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return number_text(value)
    return str(value)


_NUMBER = re.compile(r"[+-]?(Infinity|(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?)")


def number_of(value: Any) -> float:
    """What JavaScript makes of `value` where it wants a number."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int | float):
        return as_number(value)
    if value is jsnull:
        return 0
    if value is None:
        return math.nan
    if isinstance(value, JsProxy) and hasattr(value, "valueOf") and (inner := value.valueOf()) is not value:
        return number_of(inner)
    text = text_of(value).strip()
    if not text:
        return 0
    if prefixed := re.fullmatch(r"0([xXoObB])([0-9a-fA-F]+)", text):
        try:
            return as_number(int(prefixed[2], {"x": 16, "o": 8, "b": 2}[prefixed[1].lower()]))
        except ValueError:
            return math.nan
    return _decimal(text) if _NUMBER.fullmatch(text) else math.nan


def _decimal(text: str) -> float:
    return as_number(float(text.replace("Infinity", "inf")))


def parseInt(value: Any, radix: Any = 10) -> float:  # noqa: N802  # JavaScript's spelling
    text = text_of(value).strip()
    sign = -1 if text.startswith("-") else 1
    text = text.lstrip("+-").lower()
    base = int(radix or 10)
    if text.startswith("0x") and base in (10, 16):
        text, base = text[2:], 16
    end = 0
    while end < len(text) and text[end] in "0123456789abcdefghijklmnopqrstuvwxyz"[:base]:
        end += 1
    return as_number(sign * int(text[:end], base)) if end else math.nan


def parseFloat(value: Any) -> float:  # noqa: N802
    found = _NUMBER.match(text_of(value).strip())
    return _decimal(found[0]) if found else math.nan


def isNaN(value: Any) -> bool:  # noqa: N802
    return math.isnan(number_of(value))


def isFinite(value: Any) -> bool:  # noqa: N802
    return math.isfinite(number_of(value))


_COMPONENT = "!'()*~"
_WHOLE = "!'()*~;/?:@&=+$,#"


def encodeURIComponent(value: Any) -> str:  # noqa: N802
    return _encoded(value, _COMPONENT)


def encodeURI(value: Any) -> str:  # noqa: N802
    return _encoded(value, _WHOLE)


def decodeURIComponent(value: Any) -> str:  # noqa: N802
    return _decoded(text_of(value))


def decodeURI(value: Any) -> str:  # noqa: N802
    kept = "".join(f"%{ord(one):02X}" for one in ";/?:@&=+$,#")
    pattern = "|".join(re.findall("%..", kept))
    return "".join(
        part if re.fullmatch(pattern, part, re.IGNORECASE) else _decoded(part)
        for part in re.split(f"({pattern})", text_of(value), flags=re.IGNORECASE)
    )


def _encoded(value: Any, safe: str) -> str:
    try:
        return quote(text_of(value), safe=safe)
    except UnicodeEncodeError:
        raise JsUriError("URI malformed") from None


def _decoded(text: str) -> str:
    if re.search("%(?![0-9a-fA-F]{2})", text):
        raise JsUriError("URI malformed")
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise JsUriError("URI malformed") from None


class _Boxed(Shown):
    """`Number.new(3)`, `String.new("x")`: an object around a primitive value."""

    __slots__ = ("_value",)

    def __init__(self, value: Any) -> None:
        self._value = value

    def valueOf(self) -> Any:  # noqa: N802
        return self._value

    def __str__(self) -> str:
        return text_of(self._value)

    __repr__ = __str__


class String(_Boxed):
    js_name = "String"

    def __new__(cls, value: Any = "") -> Any:
        return text_of(value)

    @staticmethod
    def new(value: Any = "") -> Any:
        return _boxed(String, text_of(value))

    @staticmethod
    def fromCharCode(*codes: int) -> str:  # noqa: N802
        units = b"".join((int(code) & 0xFFFF).to_bytes(2, "little") for code in codes)
        return units.decode("utf-16-le", "surrogatepass")

    @staticmethod
    def fromCodePoint(*codes: int) -> str:  # noqa: N802
        return "".join(map(chr, codes))


class Number(_Boxed):
    js_name = "Number"
    MAX_SAFE_INTEGER = 2**53 - 1
    MIN_SAFE_INTEGER = -(2**53 - 1)
    EPSILON = 2.0**-52
    MAX_VALUE = 1.7976931348623157e308
    MIN_VALUE = 5e-324
    POSITIVE_INFINITY = math.inf
    NEGATIVE_INFINITY = -math.inf
    NaN = math.nan
    parseInt = staticmethod(parseInt)  # noqa: N815
    parseFloat = staticmethod(parseFloat)  # noqa: N815

    def __new__(cls, value: Any = 0) -> Any:
        return number_of(value)

    @staticmethod
    def new(value: Any = 0) -> Any:
        return _boxed(Number, number_of(value))

    @staticmethod
    def isInteger(value: Any) -> bool:  # noqa: N802
        return _is_number(value) and math.isfinite(value) and float(value).is_integer()

    @staticmethod
    def isSafeInteger(value: Any) -> bool:  # noqa: N802
        return Number.isInteger(value) and abs(value) < 2**53

    @staticmethod
    def isFinite(value: Any) -> bool:  # noqa: N802
        return _is_number(value) and math.isfinite(value)

    @staticmethod
    def isNaN(value: Any) -> bool:  # noqa: N802
        return isinstance(value, float) and math.isnan(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


class Boolean(_Boxed):
    js_name = "Boolean"

    def __new__(cls, value: Any = False) -> Any:
        if isinstance(value, float) and math.isnan(value):
            return False
        # Every object is true in JavaScript, an empty one too.
        return bool(value) if isinstance(value, str | int | float) or value is None or value is jsnull else True

    @staticmethod
    def new(value: Any = False) -> Any:
        return _boxed(Boolean, Boolean(value))


def _boxed(kind: type[_Boxed], value: Any) -> _Boxed:
    made: _Boxed = object.__new__(kind)
    _Boxed.__init__(made, value)
    return made


class BigInt(Shown):
    js_name = "BigInt"

    def __new__(cls, value: Any) -> Any:
        if isinstance(value, float):
            if not value.is_integer():
                text = number_text(value)
                raise JsRangeError(f"The number {text} cannot be converted to a BigInt because it is not an integer")
            return int(value)
        if isinstance(value, int):
            return int(value)
        if value is None or value is jsnull:
            raise JsTypeError(f"Cannot convert {text_of(value)} to a BigInt")
        try:
            return int(text_of(value).strip() or "0", 0)
        except ValueError:
            raise JsSyntaxError(f"Cannot convert {text_of(value)} to a BigInt") from None


class Symbol(Shown):
    """Symbols, as far as Python can do something with one: compare it, print it."""

    js_name = "Symbol"
    __slots__ = ("description",)
    iterator: Any
    asyncIterator: Any  # noqa: N815
    toStringTag: Any  # noqa: N815

    def __init__(self, description: str = "") -> None:
        self.description = description

    def __str__(self) -> str:
        return f"Symbol({self.description})"

    __repr__ = __str__


for _name in ("iterator", "asyncIterator", "toStringTag"):
    setattr(Symbol, _name, Symbol(f"Symbol.{_name}"))


def _one(call: Any) -> Any:
    def of_number(value: Any = None) -> Any:
        number = number_of(value)
        try:
            return as_number(call(number))
        except (ValueError, OverflowError):
            return number if isinstance(number, float) and not math.isfinite(number) else math.nan

    return staticmethod(of_number)


class Math(Shown):
    """`Math`: whole results are ints, as they arrive from JavaScript."""

    js_name = "Math"
    E, PI = math.e, math.pi
    LN2, LN10, LOG2E, LOG10E = math.log(2), math.log(10), 1 / math.log(2), 1 / math.log(10)
    SQRT2, SQRT1_2 = math.sqrt(2), math.sqrt(0.5)

    floor, ceil, trunc, abs = _one(math.floor), _one(math.ceil), _one(math.trunc), _one(abs)
    sqrt, exp, expm1 = _one(math.sqrt), _one(math.exp), _one(math.expm1)
    log = _one(lambda value: math.log(value) if value else -math.inf)
    log2 = _one(lambda value: math.log2(value) if value else -math.inf)
    log10 = _one(lambda value: math.log10(value) if value else -math.inf)
    log1p = _one(math.log1p)
    sin, cos, tan, asin, acos, atan = map(_one, (math.sin, math.cos, math.tan, math.asin, math.acos, math.atan))
    sinh, cosh, tanh = _one(math.sinh), _one(math.cosh), _one(math.tanh)
    round = _one(lambda value: math.floor(value + 0.5))
    sign = _one(lambda value: (value > 0) - (value < 0) if value == value else math.nan)
    cbrt = _one(lambda value: math.copysign(round(abs(value) ** (1 / 3), 12), value))
    clz32 = _one(lambda value: 32 - (int(value) & 0xFFFFFFFF).bit_length())

    @staticmethod
    def fround(value: Any) -> Any:
        import struct

        return as_number(struct.unpack("f", struct.pack("f", number_of(value)))[0])

    @staticmethod
    def imul(one: Any, other: Any) -> int:
        product = int(number_of(one)) * int(number_of(other)) & 0xFFFFFFFF
        return product - 2**32 if product >> 31 else product

    @staticmethod
    def max(*values: Any) -> Any:
        return _extreme(max, values, -math.inf)

    @staticmethod
    def min(*values: Any) -> Any:
        return _extreme(min, values, math.inf)

    @staticmethod
    def pow(base: Any, exponent: Any) -> Any:
        try:
            power = number_of(base) ** number_of(exponent)
        except ZeroDivisionError:
            return math.inf
        except OverflowError:
            return math.inf
        return math.nan if isinstance(power, complex) else as_number(power)

    @staticmethod
    def hypot(*values: Any) -> Any:
        return as_number(math.hypot(*map(number_of, values)))

    @staticmethod
    def atan2(y: Any, x: Any) -> Any:
        return as_number(math.atan2(number_of(y), number_of(x)))

    @staticmethod
    def random() -> float:
        return secrets.randbelow(2**53) / 2**53


def _extreme(choose: Any, values: tuple[Any, ...], of_none: float) -> Any:
    numbers = [number_of(value) for value in values]
    if any(number != number for number in numbers):
        return math.nan
    return choose(numbers, default=of_none)
