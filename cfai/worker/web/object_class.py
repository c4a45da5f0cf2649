"""JavaScript's `Object`, and `structuredClone`."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

from cfai.worker import instead
from cfai.worker.compat import current
from cfai.worker.web.arrays import JsArray, items_of
from cfai.worker.web.buffers import ArrayBuffer, array_of_bytes
from cfai.worker.web.conversion import entries_of, members_of
from cfai.worker.web.dates import Date
from cfai.worker.web.errors import JsException, JsTypeError
from cfai.worker.web.maps import JsMap, JsSet, LiteralMap, map_entries
from cfai.worker.web.nulls import jsnull
from cfai.worker.web.objects import JsObject, freeze, is_frozen, members
from cfai.worker.web.primitives import text_of
from cfai.worker.web.proxies import JsProxy, Shown
from cfai.worker.web.typed_arrays import TypedArray

__all__ = ["Object", "structuredClone"]


class Object(Shown):
    """JavaScript's `Object`: `Object.new(a=1)`, `Object.fromEntries(...)`, `Object.keys(o)`."""

    js_name = "Object"

    def __new__(cls, value: Any = None) -> Any:
        return JsObject() if value is None or value is jsnull else value

    @staticmethod
    def new(value: Any = None, **named: Any) -> Any:
        return JsObject(named) if value is None else value

    @staticmethod
    def fromEntries(entries: Any) -> JsObject:  # noqa: N802  # JavaScript's spelling
        return JsObject((text_of(key), item) for key, item in entries_of(entries, "js.Object.fromEntries(<dict>)"))

    @staticmethod
    def keys(value: Any) -> JsArray:
        return JsArray(_shown(value, "keys"))

    @staticmethod
    def values(value: Any) -> JsArray:
        return JsArray(_shown(value, "values").values())

    @staticmethod
    def entries(value: Any) -> JsArray:
        return JsArray(JsArray(entry) for entry in _shown(value, "entries").items())

    getOwnPropertyNames = keys  # noqa: N815

    @staticmethod
    def assign(target: Any, *sources: Any) -> Any:
        for source in sources:
            if source is not None and source is not jsnull:
                for key, item in _shown(source, "assign").items():
                    _put(target, key, item)
        return target

    @staticmethod
    def freeze(value: Any) -> Any:
        if isinstance(value, JsObject):
            freeze(value)
        return value

    seal = preventExtensions = freeze  # noqa: N815

    @staticmethod
    def isFrozen(value: Any) -> bool:  # noqa: N802
        return not isinstance(value, JsProxy) or (isinstance(value, JsObject) and is_frozen(value))

    isSealed = isFrozen  # noqa: N815

    @staticmethod
    def is_(one: Any, other: Any) -> bool:
        if isinstance(one, str | int | float) and isinstance(other, str | int | float):
            both_nan = isinstance(one, float) and isinstance(other, float) and math.isnan(one) and math.isnan(other)
            return both_nan or (one == other and isinstance(one, str) == isinstance(other, str))
        return one is other

    @staticmethod
    def hasOwn(value: Any, key: Any) -> bool:  # noqa: N802
        return text_of(key) in (members_of(value) or {})

    @staticmethod
    def create(prototype: Any, properties: Any = None) -> JsObject:
        if prototype is not jsnull and not isinstance(prototype, JsProxy | Mapping):
            raise JsTypeError(f"Object prototype may only be an Object or null: {text_of(prototype)}")
        return JsObject()

    @staticmethod
    def getPrototypeOf(value: Any) -> JsObject:  # noqa: N802
        return JsObject()

    @staticmethod
    def groupBy(items: Any, call: Any) -> JsObject:  # noqa: N802
        groups: dict[str, JsArray] = {}
        for at, item in enumerate(items):
            groups.setdefault(text_of(call(item, at)), JsArray()).push(item)
        return JsObject(groups)


# `is` cannot be written as a name in Python, and can be asked for: getattr(Object, "is").
setattr(Object, "is", Object.is_)


def _shown(value: Any, function: str) -> Mapping[str, Any]:
    if value is None or value is jsnull:
        raise JsTypeError("Cannot convert undefined or null to object")
    found = members_of(value)
    if isinstance(value, Mapping) and not isinstance(value, JsProxy) and value:
        hidden = type(value) is not dict or not current().compat.sees_keys_of_dicts
        what = "<dict>" if type(value) is dict else f"<{type(value).__name__}>"
        if hidden and current().differs(f"js.Object.{function}({what})", "finds no members", instead=instead.AS_OBJECT):
            return {}
    return found or {}


def _put(target: Any, key: str, item: Any) -> None:
    if isinstance(target, JsObject | LiteralMap):
        setattr(target, key, item)
    elif isinstance(target, JsArray):
        items_of(target)[int(key)] = item
    elif isinstance(target, dict):
        target[key] = item
    else:
        setattr(target, key, item)


def structuredClone(value: Any, options: Any = None) -> Any:  # noqa: N802  # JavaScript's spelling
    """A deep copy."""
    return _cloned(value, {})


def _cloned(value: Any, made: dict[int, Any]) -> Any:
    if id(value) in made:
        return made[id(value)]
    if value is None or value is jsnull or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, LiteralMap):
        current().lenient(
            "js.structuredClone(to_js(<dict>))", lambda: _uncloneable("[object Map]"), instead=instead.AS_OBJECT
        )
        return LiteralMap((key, _cloned(item, made)) for key, item in map_entries(value).items())
    if isinstance(value, JsObject):
        made[id(value)] = copied = JsObject()
        members(copied).update((key, _cloned(item, made)) for key, item in members(value).items())
        return copied
    if isinstance(value, JsArray):
        made[id(value)] = array = JsArray()
        items_of(array).extend(_cloned(item, made) for item in items_of(value))
        return array
    if isinstance(value, JsMap):
        return JsMap((key, _cloned(item, made)) for key, item in map_entries(value).items())
    if isinstance(value, JsSet):
        return JsSet(value)
    if isinstance(value, TypedArray):
        return array_of_bytes(value.to_py())
    if isinstance(value, ArrayBuffer):
        return value.slice()
    if isinstance(value, Date):
        return Date.new(value)
    if isinstance(value, dict | list | tuple | set):
        problem = "[object Object]" if isinstance(value, dict) else text_of(value)
        current().lenient(
            "js.structuredClone of a Python value", lambda: _uncloneable(problem), instead=instead.AS_OBJECT
        )
        return copy.deepcopy(value)
    raise _uncloneable("function(){}" if callable(value) else text_of(value))


def _uncloneable(what: str) -> JsException:
    return JsException(f"{what} could not be cloned.", "DataCloneError")
