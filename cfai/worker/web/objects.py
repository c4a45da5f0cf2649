"""`JsObject`: a plain JavaScript object, read by its attributes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, ItemsView, Iterable, Iterator, KeysView, Mapping, MutableMapping, ValuesView
from typing import Any

from cfai.worker import instead
from cfai.worker.compat import current
from cfai.worker.web.nulls import seen
from cfai.worker.web.proxies import Shown, is_ours, is_spelled_out, js_name, refused

__all__ = ["JsObject", "ObjectMap", "members"]


class JsObject(Shown):
    """A plain object: `o.name` reads, `o.name = value` writes, `del o.name` deletes.

    ```python
    o = JsObject({"response": "hi"})
    o.response  # "hi"
    ```

    What a dict can do besides is allowed with a note. Code of cfai's own reads one by `members`.
    """

    __slots__ = ("__frozen", "__members", "__weakref__")
    __frozen: bool
    __members: dict[str, Any]
    __hash__ = None  # type: ignore[assignment]
    js_name = "Object"

    def __init__(self, data: Mapping[Any, Any] | Iterable[tuple[Any, Any]] = (), /) -> None:
        object.__setattr__(self, "_JsObject__members", _members_from(data))
        object.__setattr__(self, "_JsObject__frozen", False)

    def __getattr__(self, name: str) -> Any:
        found: dict[str, Any] = object.__getattribute__(self, "_JsObject__members")
        for key in (name, js_name(name)):
            if key in found:
                return seen(found[key])
        if (inherited := _INHERITED.get(name)) is not None:
            return lambda *args: inherited(self, *args)
        if name in _OF_DICTS and not current().strict and (name == "keys" or is_spelled_out()):
            return _OfDict(self, name)
        raise AttributeError(name)

    # Members come before what this class has, as `o.keys` is the data where there is a key of that name.
    def __getattribute__(self, name: str) -> Any:
        if name[:2] != "__":
            found: dict[str, Any] = object.__getattribute__(self, "_JsObject__members")
            if name in found:
                return seen(found[name])
        return object.__getattribute__(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self.__put(js_name(name), value)

    def __delattr__(self, name: str) -> None:
        self.__remove(js_name(name), AttributeError)

    def __getitem__(self, key: Any) -> Any:
        _lenient(f"object[{key!r}]", refused("object is not subscriptable"), "object[...]")
        return seen(self.__members[key])

    def __setitem__(self, key: Any, value: Any) -> None:
        _lenient(f"object[{key!r}] = ...", refused("object does not support item assignment"), "[]=", _BY_SETATTR)
        self.__put(key, value)

    def __delitem__(self, key: Any) -> None:
        _lenient(f"del object[{key!r}]", refused("object does not support item deletion"), "del []", _BY_DELATTR)
        self.__remove(key, KeyError)

    def __contains__(self, key: object) -> bool:
        what = current().compat.not_a_container
        problem = f"argument of type 'pyodide.ffi.JsProxy' is not {what}"
        _lenient(f"{key!r} in object", lambda: TypeError(problem), "in object")
        return key in self.__members

    def __iter__(self) -> Iterator[Any]:
        _lenient("iterating over an object", refused("object is not iterable"))
        return iter(list(self.__members))

    def __len__(self) -> int:
        problem = "object of type 'pyodide.ffi.JsProxy' has no len()"
        _lenient("len(object)", lambda: TypeError(problem), "iterating over an object")
        return len(self.__members)

    def __bool__(self) -> bool:
        return True

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.__members]

    def __copy__(self) -> JsObject:
        return self

    def __deepcopy__(self, memo: Any) -> JsObject:
        return self

    def to_py(self, *, depth: int = -1, default_converter: Any = None) -> Any:
        from cfai.worker.web.conversion import to_py

        return to_py(self, depth=depth, default_converter=default_converter)

    def object_keys(self) -> Any:
        return _array(self.__members)

    def object_values(self) -> Any:
        return _array(self.__members.values())

    def object_entries(self) -> Any:
        return _array(map(_array, self.__members.items()))

    def as_object_map(self, *, hereditary: bool = False) -> ObjectMap:
        if current().compat.has_py_json:
            text = "JsProxy.as_object_map() is deprecated. Use as_py_json() instead."
            warnings.warn(text, RuntimeWarning, stacklevel=2)
        return ObjectMap(self)

    def __put(self, key: Any, value: Any) -> None:
        if self.__frozen:
            from cfai.worker.web.errors import JsTypeError

            raise JsTypeError(
                f"Cannot assign to read only property '{key}' of object '#<Object>'"
                if key in self.__members
                else f"Cannot add property {key}, object is not extensible"
            )
        self.__members[_key(key)] = value

    def __remove(self, key: Any, error: type[Exception]) -> None:
        if self.__frozen:
            from cfai.worker.web.errors import JsTypeError

            raise JsTypeError(f"Cannot delete property '{key}' of #<Object>")
        if key not in self.__members:
            raise error(key)
        del self.__members[key]

    def __str__(self) -> str:
        return "[object Object]"

    __repr__ = __str__


_AS_DICT = instead.a_dict_of("object")
_BY_SETATTR = "setattr(object, name, value)"
_BY_DELATTR = "delattr(object, name)"


def _lenient(idiom: str, refusal: Callable[[], BaseException], kind: str = "", remedy: str = _AS_DICT) -> None:
    if not is_ours(2):
        current().lenient(idiom, refusal, kind=kind, instead=remedy)


def members(value: JsObject) -> dict[str, Any]:
    """The members of `value`, live, with null as `jsnull`, whatever they are called and without a note."""
    found: dict[str, Any] = object.__getattribute__(value, "_JsObject__members")
    return found


def freeze(value: JsObject) -> None:
    object.__setattr__(value, "_JsObject__frozen", True)


def is_frozen(value: JsObject) -> bool:
    return bool(object.__getattribute__(value, "_JsObject__frozen"))


def _members_from(data: Any) -> dict[str, Any]:
    if isinstance(data, JsObject):
        return dict(members(data))
    return {_key(key): value for key, value in (data.items() if isinstance(data, Mapping) else data)}


def _key(key: Any) -> str:
    if isinstance(key, str):
        return key
    from cfai.worker.web.primitives import text_of

    return text_of(key)


def _array(items: Iterable[Any]) -> Any:
    from cfai.worker.web.arrays import JsArray

    return JsArray(items)


_INHERITED: dict[str, Callable[..., Any]] = {
    "hasOwnProperty": lambda value, key: key in members(value),
    "propertyIsEnumerable": lambda value, key: key in members(value),
    "isPrototypeOf": lambda value, other: False,
    "toLocaleString": lambda value: str(value),
    "valueOf": lambda value: value,
}


_OF_DICTS = {"copy", "get", "items", "keys", "pop", "popitem", "setdefault", "update", "values"}


class _OfDict:
    """A method that only a dict has, called on an object."""

    def __init__(self, of: JsObject, name: str) -> None:
        self._of = of
        self._name = name

    def __call__(self, *args: Any, **options: Any) -> Any:
        name = self._name
        # dict(o) and {**o} ask for keys, and then for each by [].
        kind = "object[...]" if name == "keys" else name
        refusal = refused("object is not iterable") if name == "keys" else lambda: AttributeError(name)
        idiom = f"object.{name}(...)" if name != "keys" else "dict(object) or object.keys()"
        _lenient(idiom, refusal, kind)
        if name in ("get", "items", "values", "copy"):
            return getattr({key: seen(value) for key, value in members(self._of).items()}, name)(*args, **options)
        return getattr(members(self._of), name)(*args, **options)


@MutableMapping.register
class ObjectMap(Shown):
    """What `as_object_map()` returns: an object as a mapping."""

    # Deriving from MutableMapping would mix two metaclasses.
    get, pop, popitem, clear = Mapping.get, MutableMapping.pop, MutableMapping.popitem, MutableMapping.clear
    update, setdefault, __contains__ = MutableMapping.update, MutableMapping.setdefault, Mapping.__contains__

    def __init__(self, of: JsObject) -> None:
        self._of = members(of)

    def __getitem__(self, key: str) -> Any:
        return seen(self._of[key])

    def __setitem__(self, key: str, value: Any) -> None:
        self._of[key] = value

    def __delitem__(self, key: str) -> None:
        del self._of[key]

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._of))

    def __len__(self) -> int:
        return len(self._of)

    def keys(self) -> KeysView[str]:
        return KeysView(self)

    def values(self) -> ValuesView[Any]:
        return ValuesView(self)

    def items(self) -> ItemsView[str, Any]:
        return ItemsView(self)

    def to_py(self, *, depth: int = -1, default_converter: Any = None) -> Any:
        return dict(self)
