"""Between Python's containers and JavaScript's: `to_js`, `to_py`, and what JavaScript makes of a Python value."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from cfai.worker import instead
from cfai.worker.compat import current
from cfai.worker.web.arrays import JsArray, items_of
from cfai.worker.web.buffers import array_of_bytes
from cfai.worker.web.errors import JsTypeError, destroyed_proxy
from cfai.worker.web.maps import JsMap, JsSet, LiteralMap, map_entries, shown_members
from cfai.worker.web.nulls import as_number, jsnull, seen
from cfai.worker.web.objects import JsObject, ObjectMap, members
from cfai.worker.web.proxies import JsProxy
from cfai.worker.web.typed_arrays import TypedArray

__all__ = [
    "ConversionError",
    "PyProxy",
    "as_js",
    "as_plain",
    "entries_of",
    "iterated",
    "members_of",
    "options_of",
    "pairs_of",
    "to_js",
    "to_py",
]

Converter = Callable[[Any, Callable[[Any], Any], Callable[[Any, Any], None]], Any]


class ConversionError(Exception):
    """What `to_js` and `to_py` raise for a value that has no counterpart."""


def to_js(
    obj: Any,
    /,
    *,
    depth: int = -1,
    pyproxies: Any = None,
    create_pyproxies: bool = True,
    dict_converter: Callable[[Any], Any] | None = None,
    default_converter: Converter | None = None,
    eager_converter: Converter | None = None,
) -> Any:
    """`obj` as a JavaScript value, deep. A dict becomes what `dict_converter` makes of its entries; without one a plain
    object in the newest generation, before it a Map whose keys are attributes too."""
    made: dict[int, Any] = {}
    originals: list[Any] = []  # an id is only good for as long as its object lives

    def remember(value: Any, converted: Any) -> None:
        made[id(value)] = converted
        originals.append(value)

    def convert(value: Any, left: int) -> Any:
        if eager_converter is not None:
            return eager_converter(value, lambda inner: by_kind(inner, left), remember)
        return by_kind(value, left)

    def by_kind(value: Any, left: int) -> Any:
        if value is None or value is jsnull or isinstance(value, str | bool | int | float | JsProxy):
            return value
        if id(value) in made:
            return made[id(value)]
        if left == 0:
            return value
        if isinstance(value, list | tuple):
            array = JsArray()
            remember(value, array)
            items_of(array).extend(convert(item, left - 1) for item in value)
            return array
        if isinstance(value, dict):
            return of_dict(value, left)
        if isinstance(value, set):
            return JsSet(convert(item, left - 1) for item in value)
        try:
            return array_of_bytes(memoryview(value))
        except TypeError:
            return other(value, left)

    def of_dict(value: dict[Any, Any], left: int) -> Any:
        if dict_converter is not None:
            return dict_converter(JsArray(JsArray((key, convert(item, left - 1))) for key, item in value.items()))
        converted: JsObject | LiteralMap
        converted = JsObject() if current().compat.makes_objects_of_dicts else LiteralMap()
        remember(value, converted)
        entries = members(converted) if isinstance(converted, JsObject) else map_entries(converted)
        for key, item in value.items():
            if key is not None and not isinstance(key, str | int | float):
                raise ConversionError(f"Cannot use {key!r} as a key for a Javascript Map")
            name: Any = _text_of(key) if isinstance(converted, JsObject) else key
            entries[name] = convert(item, left - 1)
        return converted

    def other(value: Any, left: int) -> Any:
        if default_converter is not None:
            return default_converter(value, lambda inner: convert(inner, left), remember)
        if not create_pyproxies:
            raise ConversionError("No conversion known for x.")
        if pyproxies is not None:
            pyproxies.append(PyProxy(value))
        return value

    found = convert(obj, depth)
    # At the top a Python object is handed back as a proxy; inside an array it comes back as itself.
    return PyProxy(found) if found is obj and create_pyproxies and _is_foreign(found) else found


def _is_foreign(value: Any) -> bool:
    kinds = str | bool | int | float | JsProxy
    return value is not None and value is not jsnull and not isinstance(value, kinds)


class PyProxy(JsProxy):
    """A Python object as JavaScript holds it: `create_proxy(f)` is called like f, until it is destroyed."""

    js_name = "PyProxy"

    def __init__(self, held: Any, *, once: bool = False) -> None:
        self._held = held
        self._once = once
        self._problem = ""

    def __call__(self, *args: Any, **options: Any) -> Any:
        held = self._alive()
        if self._once:
            self._problem = "OnceProxy can only be called once"
        return held(*args, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._alive(), name)

    def _alive(self) -> Any:
        if self._problem:
            from cfai.worker.web.errors import JsException

            raise JsException(self._problem)
        return self._held

    @property
    def held(self) -> Any:
        return self._held

    def unwrap(self) -> Any:
        return self._held

    def destroy(self, *args: Any) -> None:
        self._problem = (
            "Object has already been destroyed\n"
            "For more information about the cause of this error, use `pyodide.setDebug(true)`"
        )

    def __getitem__(self, key: Any) -> Any:
        return self._alive()[key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._alive())

    def __len__(self) -> int:
        return len(self._alive())

    def __bool__(self) -> bool:
        return True

    def __str__(self) -> str:
        return str(self._held)

    __repr__ = __str__


def to_py(value: Any, *, depth: int = -1, default_converter: Converter | None = None) -> Any:
    """A JavaScript value as Python's containers, deep: what every proxy's `to_py()` gives."""
    made: dict[int, Any] = {}

    def remember(source: Any, converted: Any) -> None:
        made[id(source)] = converted

    def convert(value: Any, left: int) -> Any:
        if id(value) in made:
            return made[id(value)]
        if value is jsnull:
            return seen(value)
        if left == 0 or not isinstance(value, JsProxy):
            return value
        if isinstance(value, JsArray):
            remember(value, items := list[Any]())
            items.extend(convert(item, left - 1) for item in items_of(value))
            return items
        if isinstance(value, JsObject | JsMap):
            remember(value, found := dict[Any, Any]())
            entries = members(value) if isinstance(value, JsObject) else map_entries(value)
            found.update((key, convert(item, left - 1)) for key, item in entries.items())
            return found
        if isinstance(value, JsSet):
            return {convert(item, left - 1) for item in value}
        if isinstance(value, TypedArray):
            return value.to_py()
        return value if default_converter is None else default_converter(value, lambda v: convert(v, left), remember)

    return convert(value, depth)


def as_js(value: Any) -> Any:
    """A JSON value as JavaScript objects and arrays, as `JSON.parse` makes them."""
    if isinstance(value, JsProxy) or value is jsnull:
        return value
    if value is None:
        return jsnull
    if isinstance(value, Mapping):
        return JsObject({key: as_js(item) for key, item in value.items()})
    if isinstance(value, list | tuple):
        return JsArray([as_js(item) for item in value])
    return as_number(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def as_plain(value: Any) -> Any:
    """`value` as the JSON value that JavaScript makes of it: no undefined members, null as None, dates as text."""
    if value is jsnull or value is None:
        return None
    if isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, TypedArray | bytes | bytearray | memoryview):
        return list(bytes(value)) if not isinstance(value, TypedArray) else list(value)
    if isinstance(value, PyProxy):
        return as_plain(value.held)
    if isinstance(value, JsArray):
        return [as_plain(item) for item in items_of(value)]
    if isinstance(value, list | tuple):
        return [as_plain(item) for item in value]
    if isinstance(value, Mapping) or members_of(value) is not None:
        found = value if isinstance(value, dict) else members_of(value) or {}
        return {str(key): as_plain(item) for key, item in found.items() if item is not None}
    if isinstance(value, JsProxy) and hasattr(value, "toJSON"):
        return as_plain(value.toJSON())
    return value


def _text_of(value: Any) -> str:
    from cfai.worker.web.primitives import text_of

    return text_of(value)


def members_of(value: Any) -> Mapping[str, Any] | None:
    """The own members of `value` as `Object.keys` finds them; None for what is no object with members."""
    if isinstance(value, JsObject):
        return members(value)
    if isinstance(value, LiteralMap):
        return shown_members(value)
    if isinstance(value, ObjectMap):
        return dict(value)
    if isinstance(value, JsArray):
        return {str(at): item for at, item in enumerate(items_of(value))}
    if isinstance(value, PyProxy):
        return members_of(value.held)
    if isinstance(value, JsMap | JsSet):
        return {}
    if (shown := getattr(type(value), "js_members", None)) is not None:
        found: Mapping[str, Any] = shown(value)
        return found
    if isinstance(value, Mapping):
        return {key: item for key, item in value.items() if isinstance(key, str)}
    return None


def entries_of(value: Any, what: str) -> Iterator[tuple[Any, Any]]:
    """The pairs that an iterable of entries gives, `[["a", 1]]` or a Map."""
    if isinstance(value, JsMap):
        yield from map_entries(value).items()
        return
    if isinstance(value, Mapping):
        # JavaScript iterates over the keys of a dict, and each is a text, no pair.
        first = next(iter(value), None)
        if first is not None:
            problem = f"Iterator value {first} is not an entry object"
            current().lenient(what, lambda: JsTypeError(problem), instead="{...}.items()")
        yield from value.items()
        return
    if isinstance(value, JsProxy) and not isinstance(value, JsArray):
        value = getattr(value, "entries", lambda: value)()
    if isinstance(value, JsObject):
        raise JsTypeError("object is not iterable (cannot read property Symbol(Symbol.iterator))")
    try:
        for pair in value:
            key, item = pair
            yield key, item
    except (TypeError, ValueError):
        raise JsTypeError(f"{what}: expected pairs of a key and a value") from None


def iterated(value: Any) -> Iterable[Any]:
    """What JavaScript gets out of `value` by iterating, or by its `length`."""
    if isinstance(value, JsMap):
        return value.entries()
    if isinstance(value, JsObject):
        length = members(value).get("length")
        return [members(value).get(str(at)) for at in range(length)] if isinstance(length, int) else []
    if value is None or value is jsnull:
        raise JsTypeError(f"{'undefined' if value is None else 'object null'} is not iterable")
    return value if isinstance(value, Iterable) else []


def options_of(value: Any) -> dict[str, Any]:
    """The trailing object of a JavaScript call as a dict; JavaScript's null in it is None."""
    if value is None or value is jsnull:
        return {}
    found = members_of(value)
    if found is None or isinstance(value, JsArray):
        raise JsTypeError(f"expected an object of options, not {type(value).__name__}")
    return {key: None if item is jsnull else item for key, item in found.items()}


def given_by_script(argument: Any) -> Any:
    """An argument of `X.new(...)`: of a plain dict JavaScript sees no key before Pyodide 0.28."""
    if type(argument) is dict and argument and not current().compat.sees_keys_of_dicts:
        there = "is ignored, because JavaScript does not see the keys of a dict,"
        idiom = "a dict of options that is not given as to_js(...) or as keywords"
        if current().differs(idiom, there, instead=instead.GIVEN_AS_OBJECT):
            return JsObject()
    return argument


def pairs_of(init: Any, what: str) -> Iterator[tuple[Any, Any]]:
    """The entries of whatever JavaScript takes as a record: an object, a list of pairs, an iterable of pairs."""
    if isinstance(init, JsObject | LiteralMap):
        yield from (members_of(init) or {}).items()
        return
    if isinstance(init, Mapping):
        init = init.items()
    yield from entries_of(init, what)


def borrowed_for_iteration() -> Exception:
    return destroyed_proxy("when an iterator was exhausted.")
