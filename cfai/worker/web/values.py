"""JavaScript's values as Python sees them: objects, arrays, bytes, errors, and the functions that make them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NoReturn, TypeVar

from cfai.results import AiList, AiResult, plain

__all__ = [
    "JSON",
    "Array",
    "JsArray",
    "JsClass",
    "JsException",
    "JsMap",
    "JsObject",
    "JsProxy",
    "JsRangeError",
    "JsSyntaxError",
    "JsTypeError",
    "Object",
    "Uint8Array",
    "jsnull",
    "missing",
    "options_of",
    "to_js",
]

T = TypeVar("T")


def missing(owner: str, name: str) -> AttributeError:
    """What is raised where a script asks for a name that is not there."""
    problem = f"{owner} has no {name!r}, or cfai does not have it yet (docs/workers.md lists what there is)"
    return AttributeError(problem, name=name)


class JsException(Exception):
    """An error that JavaScript threw: `name`, `message`, and both in `str(error)`."""

    name: str = "Error"
    message: str = ""
    stack: str = ""

    def __init__(self, message: str = "", name: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if name:
            self.name = name

    def __str__(self) -> str:
        return f"{self.name}: {self.message}" if self.message else self.name


class JsTypeError(JsException, TypeError):
    """JavaScript's TypeError, which `except TypeError` catches too."""

    name = "TypeError"


class JsRangeError(JsException, ValueError):
    name = "RangeError"


class JsSyntaxError(JsException, ValueError):
    name = "SyntaxError"


class _IsProxy(type):
    # What env.AI.run returns is a proxy on Cloudflare and an AiResult here; scripts ask isinstance(result, JsProxy).
    def __instancecheck__(cls, value: object) -> bool:
        return super().__instancecheck__(value) or (cls is JsProxy and isinstance(value, AiResult | AiList))


class JsProxy(metaclass=_IsProxy):
    """The base of what Python sees of JavaScript."""

    __slots__ = ()


class JsClass(_IsProxy):
    """A JavaScript class: `X.new(...)` makes one, calling it does not.

    Keyword arguments become one trailing object, as in every call from Python to JavaScript.
    """

    def __call__(cls, *args: Any, **options: Any) -> NoReturn:
        raise JsTypeError(f"Class constructor {cls.__name__} cannot be invoked without 'new'")

    def new(cls: type[T], *args: Any, **options: Any) -> T:
        if options:
            args = (*args, JsObject(options))
        made: T = type.__call__(cls, *args)
        return made


class _Constructor:
    def __init__(self, name: str) -> None:
        self.name = name


class JsObject(AiResult, JsProxy):
    """A plain object. On Cloudflare only its attributes can be read; here it is a dict as well."""

    def __delattr__(self, name: str) -> None:
        try:
            del self[name]
        except KeyError:
            raise AttributeError(name) from None

    def object_keys(self) -> JsArray:
        return JsArray(self.keys())

    def object_values(self) -> JsArray:
        return JsArray(self.values())

    def object_entries(self) -> JsArray:
        return JsArray(JsArray(pair) for pair in self.items())

    @property
    def constructor(self) -> _Constructor:
        return _Constructor("Object")

    @property
    def typeof(self) -> str:
        return "object"


class JsMap(JsObject):
    """A Map, as `to_js` makes of a dict; its keys are attributes too."""

    def set(self, key: str, value: Any) -> JsMap:
        self[key] = value
        return self

    def has(self, key: str) -> bool:
        return key in self

    def delete(self, key: str) -> bool:
        return self.pop(key, self) is not self

    @property
    def size(self) -> int:
        return len(self)

    @property
    def constructor(self) -> _Constructor:
        return _Constructor("Map")


class JsArray(AiList, JsProxy):
    """An Array."""

    def push(self, *items: Any) -> int:
        self.extend(items)
        return len(self)


class Uint8Array(bytes, JsProxy):
    """Bytes as a stream hands them out: `bytes` for Python, with the methods of a typed array."""

    @classmethod
    def new(cls, data: Iterable[int] | int = b"") -> Uint8Array:
        return cls(data)

    def to_bytes(self) -> bytes:
        return bytes(self)

    def to_memoryview(self) -> memoryview:
        return memoryview(self)

    def to_py(self) -> memoryview:
        return memoryview(self)

    @property
    def buffer(self) -> Uint8Array:
        return self

    @property
    def length(self) -> int:
        return len(self)

    @property
    def byteLength(self) -> int:  # noqa: N802  # JavaScript's spelling
        return len(self)


class _JsNull:
    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "jsnull"

    def to_py(self) -> None:
        return None


jsnull = _JsNull()
"""JavaScript's null where a runtime tells it from undefined: false, and not None."""


def to_js(
    obj: Any,
    /,
    *,
    depth: int = -1,
    pyproxies: Any = None,
    create_pyproxies: bool = True,
    dict_converter: Callable[[Iterable[Any]], Any] | None = None,
    default_converter: Callable[[Any, Callable[[Any], Any], Any], Any] | None = None,
    eager_converter: Callable[[Any, Callable[[Any], Any], Any], Any] | None = None,
) -> Any:
    """`obj` as a JavaScript value: dicts become Maps, or what `dict_converter` makes of their entries."""

    def convert(value: Any, left: int) -> Any:
        if eager_converter is not None:
            return eager_converter(value, lambda inner: by_kind(inner, left), lambda *_: None)
        return by_kind(value, left)

    def by_kind(value: Any, left: int) -> Any:
        if value is None or isinstance(value, str | bool | int | float | JsProxy) or left == 0:
            return value
        if isinstance(value, bytes | bytearray | memoryview):
            return Uint8Array(value)
        if isinstance(value, Mapping):
            entries = [JsArray((key, convert(item, left - 1))) for key, item in value.items()]
            return dict_converter(JsArray(entries)) if dict_converter else JsMap((key, item) for key, item in entries)
        if isinstance(value, list | tuple):
            return JsArray(convert(item, left - 1) for item in value)
        return value if default_converter is None else default_converter(value, lambda v: convert(v, left), None)

    return convert(obj, depth)


def options_of(value: Any) -> dict[str, Any]:
    """The trailing object of a JavaScript call as a dict."""
    if value is None or value is jsnull:
        return {}
    if isinstance(value, Mapping):
        return dict(value)
    raise JsTypeError(f"expected an object of options, not {type(value).__name__}")


class Object:
    """JavaScript's `Object`."""

    @staticmethod
    def new() -> JsObject:
        return JsObject()

    @staticmethod
    def fromEntries(entries: Any) -> JsObject:  # noqa: N802
        return JsObject(entries.items() if isinstance(entries, Mapping) else ((key, item) for key, item in entries))

    @staticmethod
    def keys(value: Mapping[str, Any]) -> JsArray:
        return JsArray(value.keys())

    @staticmethod
    def values(value: Mapping[str, Any]) -> JsArray:
        return JsArray(value.values())

    @staticmethod
    def entries(value: Mapping[str, Any]) -> JsArray:
        return JsArray(JsArray(pair) for pair in value.items())

    @staticmethod
    def assign(target: dict[str, Any], *sources: Mapping[str, Any] | None) -> dict[str, Any]:
        for source in sources:
            target.update(source or {})
        return target


class Array:
    """JavaScript's `Array`."""

    @staticmethod
    def new(*items: Any) -> JsArray:
        return JsArray(items)

    @staticmethod
    def from_(items: Iterable[Any]) -> JsArray:
        return JsArray(items)

    of = new

    @staticmethod
    def isArray(value: Any) -> bool:  # noqa: N802
        return isinstance(value, list)


class JSON:
    """JavaScript's `JSON`."""

    @staticmethod
    def parse(text: Any) -> Any:
        try:
            return as_js(json.loads(text))
        except (TypeError, ValueError) as error:
            raise JsSyntaxError(str(error)) from None

    @staticmethod
    def stringify(value: Any, replacer: Any = None, indent: int | str | None = None) -> str | None:
        if value is None:
            return None
        separators = (",", ":") if not indent else (",", ": ")
        return json.dumps(_without_null(plain(value)), ensure_ascii=False, indent=indent or None, separators=separators)


def as_js(value: Any) -> Any:
    """A JSON value as objects and arrays."""
    if isinstance(value, Mapping):
        return JsObject((key, as_js(item)) for key, item in value.items())
    if isinstance(value, list | tuple):
        return JsArray(as_js(item) for item in value)
    return value


def _without_null(value: Any) -> Any:
    if value is jsnull:
        return None
    if isinstance(value, dict):
        return {key: _without_null(item) for key, item in value.items()}
    return [_without_null(item) for item in value] if isinstance(value, list) else value


def pairs_of(init: Any, what: str) -> Iterator[tuple[Any, Any]]:
    """The entries of whatever JavaScript takes as a record: an object, a list of pairs, an iterable of pairs."""
    if isinstance(init, Mapping):
        init = init.items()
    try:
        for pair in init:
            key, value = pair
            yield key, value
    except (TypeError, ValueError):
        raise JsTypeError(f"{what}: expected an object or pairs of a name and a value") from None
