"""`Map` and `Set`, and the Map that `to_js` makes of a dict."""

from __future__ import annotations

from collections.abc import (
    Callable,
    ItemsView,
    Iterable,
    Iterator,
    KeysView,
    Mapping,
    MutableMapping,
    MutableSet,
    Set,
    ValuesView,
)
from typing import Any

from cfai.worker.web.arrays import JsArray, callback
from cfai.worker.web.nulls import jsnull, seen
from cfai.worker.web.objects import JsObject, members
from cfai.worker.web.proxies import Shown, js_name

__all__ = ["JsMap", "JsSet", "LiteralMap", "map_entries", "shown_members"]


@MutableMapping.register
class JsMap(Shown):
    """A Map: `m["a"]`, `m.get("a")`, `m.set("a", 1)`, `len`, iteration over its keys."""

    __slots__ = ("__entries", "__weakref__")
    __entries: dict[Any, Any]
    __hash__ = None  # type: ignore[assignment]
    js_name = "Map"

    def __init__(self, data: Mapping[Any, Any] | Iterable[tuple[Any, Any]] = (), /) -> None:
        entries = members(data) if isinstance(data, JsObject) else data
        object.__setattr__(self, "_JsMap__entries", dict(entries))

    update, setdefault, popitem = MutableMapping.update, MutableMapping.setdefault, MutableMapping.popitem

    def __getitem__(self, key: Any) -> Any:
        return seen(self.__entries[key])

    def __setitem__(self, key: Any, value: Any) -> None:
        self.__entries[key] = value

    def __delitem__(self, key: Any) -> None:
        del self.__entries[key]

    def __contains__(self, key: object) -> bool:
        return key in self.__entries

    def __iter__(self) -> Iterator[Any]:
        return iter(list(self.__entries))

    def __len__(self) -> int:
        return len(self.__entries)

    def get(self, key: Any, default: Any = None, /) -> Any:
        return seen(self.__entries.get(key, default))

    def pop(self, key: Any, *default: Any) -> Any:
        return seen(self.__entries.pop(key, *default))

    def keys(self) -> KeysView[Any]:
        return KeysView(self)

    def values(self) -> ValuesView[Any]:
        return ValuesView(self)

    def items(self) -> ItemsView[Any, Any]:
        return ItemsView(self)

    def set(self, key: Any, value: Any) -> JsMap:
        self.__entries[key] = value
        return self

    def has(self, key: Any) -> bool:
        return key in self.__entries

    def delete(self, key: Any) -> bool:
        return self.__entries.pop(key, self) is not self

    def clear(self) -> None:
        self.__entries.clear()

    def entries(self) -> Iterator[JsArray]:
        return iter([JsArray(entry) for entry in self.__entries.items()])

    def forEach(self, call: Callable[..., Any]) -> None:  # noqa: N802  # JavaScript's spelling
        call = callback(call, 3)
        for key, value in list(self.__entries.items()):
            call(seen(value), key, self)

    @property
    def size(self) -> int:
        return len(self.__entries)

    def to_py(self, *, depth: int = -1, default_converter: Any = None) -> Any:
        from cfai.worker.web.conversion import to_py

        return to_py(self, depth=depth, default_converter=default_converter)

    def __str__(self) -> str:
        return "[object Map]"

    __repr__ = __str__


class LiteralMap(JsMap):
    """What `to_js` makes of a dict up to 0.28: a Map whose text keys are attributes too."""

    __slots__ = ()
    js_name = "LiteralMap"

    def __getattr__(self, name: str) -> Any:
        entries = map_entries(self)
        for key in (name, js_name(name)):
            if key in entries:
                return seen(entries[key])
        raise AttributeError(name)

    def __setattr__(self, name: str, value: Any) -> None:
        self.set(js_name(name), value)

    def __delattr__(self, name: str) -> None:
        if not self.delete(js_name(name)):
            raise AttributeError(name)


def map_entries(value: JsMap) -> dict[Any, Any]:
    """The entries of `value`, live, with null as `jsnull`."""
    found: dict[Any, Any] = object.__getattribute__(value, "_JsMap__entries")
    return found


def shown_members(value: LiteralMap) -> dict[str, Any]:
    """The entries that `Object.keys` and `JSON.stringify` find: those with a text that is no name of Map's own."""
    names = _OWN_NAMES
    return {key: item for key, item in map_entries(value).items() if isinstance(key, str) and key not in names}


# `size` is Map's own too, and yet Pyodide's LiteralMap shows it.
_OWN_NAMES = {"clear", "constructor", "delete", "entries", "forEach", "get", "has", "keys", "set", "values"}


@MutableSet.register
class JsSet(Shown):
    """A Set."""

    __slots__ = ("__items", "__weakref__")
    __hash__ = None  # type: ignore[assignment]
    js_name = "Set"

    def __init__(self, items: Iterable[Any] = (), /) -> None:
        self.__items = dict.fromkeys(items)

    __or__, __and__, __sub__ = Set.__or__, Set.__and__, Set.__sub__

    @classmethod
    def _from_iterable(cls, items: Iterable[Any]) -> JsSet:
        return cls(items)

    def __contains__(self, value: object) -> bool:
        return value in self.__items

    def __iter__(self) -> Iterator[Any]:
        return map(seen, list(self.__items))

    def __len__(self) -> int:
        return len(self.__items)

    def add(self, value: Any) -> JsSet:
        self.__items[value] = None
        return self

    def has(self, value: Any) -> bool:
        return value in self.__items

    def delete(self, value: Any) -> bool:
        return self.__items.pop(value, jsnull) is None

    def discard(self, value: Any) -> None:
        self.__items.pop(value, None)

    def clear(self) -> None:
        self.__items.clear()

    def keys(self) -> Iterator[Any]:
        return iter(self)

    values = keys

    def entries(self) -> Iterator[JsArray]:
        return iter([JsArray((item, item)) for item in self])

    def forEach(self, call: Callable[..., Any]) -> None:  # noqa: N802  # JavaScript's spelling
        call = callback(call, 3)
        for item in list(self.__items):
            call(seen(item), seen(item), self)

    @property
    def size(self) -> int:
        return len(self.__items)

    def to_py(self, *, depth: int = -1, default_converter: Any = None) -> Any:
        from cfai.worker.web.conversion import to_py

        return to_py(self, depth=depth, default_converter=default_converter)

    def __str__(self) -> str:
        return "[object Set]"

    __repr__ = __str__
