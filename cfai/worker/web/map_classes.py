"""JavaScript's `Map` and `Set`, as a script makes them."""

from __future__ import annotations

from typing import Any

from cfai.worker.compat import current
from cfai.worker.web.conversion import entries_of, iterated
from cfai.worker.web.errors import JsTypeError
from cfai.worker.web.maps import JsMap, JsSet
from cfai.worker.web.nulls import jsnull
from cfai.worker.web.proxies import Shown

__all__ = ["Map", "Set"]


class Map(Shown):
    """JavaScript's `Map`."""

    js_name = "Map"

    def __new__(cls, entries: Any = None) -> Any:
        current().lenient("js.Map(...) without .new", lambda: JsTypeError("Constructor Map requires 'new'"))
        return cls.new(entries)

    @staticmethod
    def new(entries: Any = None) -> JsMap:
        return JsMap(() if entries is None or entries is jsnull else entries_of(entries, "js.Map.new(<dict>)"))


class Set(Shown):
    """JavaScript's `Set`."""

    js_name = "Set"

    def __new__(cls, items: Any = None) -> Any:
        current().lenient("js.Set(...) without .new", lambda: JsTypeError("Constructor Set requires 'new'"))
        return cls.new(items)

    @staticmethod
    def new(items: Any = None) -> JsSet:
        return JsSet(() if items is None or items is jsnull else iterated(items))
