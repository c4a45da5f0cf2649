"""JavaScript's `Map` and `Set`, as a script makes them."""

from __future__ import annotations

from typing import Any

from cfai.worker import instead
from cfai.worker.compat import current
from cfai.worker.web.conversion import entries_of, iterated
from cfai.worker.web.errors import JsTypeError
from cfai.worker.web.maps import JsMap, JsSet
from cfai.worker.web.nulls import jsnull
from cfai.worker.web.proxies import Shown

__all__ = ["Map", "Set"]


def _without_new(name: str) -> None:
    problem = f"Constructor {name} requires 'new'"
    remedy = instead.with_new(f"js.{name}")
    current().lenient(f"js.{name}(...) without .new", lambda: JsTypeError(problem), instead=remedy)


class Map(Shown):
    """JavaScript's `Map`."""

    js_name = "Map"

    def __new__(cls, entries: Any = None) -> Any:
        _without_new("Map")
        return cls.new(entries)

    @staticmethod
    def new(entries: Any = None) -> JsMap:
        return JsMap(() if entries is None or entries is jsnull else entries_of(entries, "js.Map.new(<dict>)"))


class Set(Shown):
    """JavaScript's `Set`."""

    js_name = "Set"

    def __new__(cls, items: Any = None) -> Any:
        _without_new("Set")
        return cls.new(items)

    @staticmethod
    def new(items: Any = None) -> JsSet:
        return JsSet(() if items is None or items is jsnull else iterated(items))
