"""The kinds of JavaScript values by which `pyodide.ffi` tells them apart: `isinstance(value, JsArray)`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from cfai.worker.web.arrays import JsArray
from cfai.worker.web.buffers import ArrayBuffer
from cfai.worker.web.conversion import PyProxy
from cfai.worker.web.data_views import DataView
from cfai.worker.web.maps import JsMap, JsSet
from cfai.worker.web.objects import ObjectMap
from cfai.worker.web.proxies import JsProxy
from cfai.worker.web.typed_arrays import TypedArray

__all__ = ["KINDS", "SINCE_JSNULL"]


class _Kind(type):
    counts: Callable[[Any], bool]

    def __instancecheck__(cls, value: object) -> bool:
        return cls.counts(value)

    def __subclasscheck__(cls, other: type) -> bool:
        return other is cls


def _kind(name: str, counts: Callable[[Any], bool]) -> type:
    made = _Kind(name, (), {"__module__": "pyodide.ffi"})
    made.counts = counts
    return made


def _is_a(name: str, value: Any) -> bool:
    # By name, so that asking loads no stream and no request.
    return any(base.__dict__.get("js_name", base.__name__) == name for base in type(value).__mro__)


def _iterates(value: Any) -> bool:
    return isinstance(value, JsArray | JsMap | JsSet | TypedArray) or _is_a("Headers", value)


def _iterates_later(value: Any) -> bool:
    return isinstance(value, JsProxy) and hasattr(value, "__aiter__")


def _holds_function(value: Any) -> bool:
    return isinstance(value, PyProxy) and callable(value.held)


KINDS: dict[str, type] = {
    "JsArray": _kind("JsArray", lambda value: isinstance(value, JsArray | TypedArray)),
    "JsAsyncGenerator": _kind("JsAsyncGenerator", lambda value: False),
    "JsAsyncIterable": _kind("JsAsyncIterable", _iterates_later),
    "JsAsyncIterator": _kind("JsAsyncIterator", lambda value: False),
    "JsBigInt": _kind("JsBigInt", lambda value: False),
    "JsBuffer": _kind("JsBuffer", lambda value: isinstance(value, TypedArray | ArrayBuffer | DataView)),
    "JsCallable": _kind("JsCallable", lambda value: callable(value) and _is_of_javascript(value)),
    "JsCallableDoubleProxy": _kind("JsCallableDoubleProxy", _holds_function),
    "JsDomElement": _kind("JsDomElement", lambda value: False),
    "JsDoubleProxy": _kind("JsDoubleProxy", lambda value: isinstance(value, PyProxy)),
    "JsFetchResponse": _kind("JsFetchResponse", lambda value: isinstance(value, JsProxy) and _is_a("Response", value)),
    "JsGenerator": _kind("JsGenerator", lambda value: False),
    "JsIterable": _kind("JsIterable", _iterates),
    "JsIterator": _kind("JsIterator", lambda value: False),
    "JsMap": _kind("JsMap", lambda value: isinstance(value, JsMap | ObjectMap)),
    "JsMutableMap": _kind("JsMutableMap", lambda value: isinstance(value, JsMap | ObjectMap)),
    "JsOnceCallable": _kind("JsOnceCallable", lambda value: isinstance(value, PyProxy)),
    # A promise is a future of Pyodide's own for Python, and none of these kinds.
    "JsPromise": _kind("JsPromise", lambda value: False),
    "JsTypedArray": _kind("JsTypedArray", lambda value: isinstance(value, TypedArray)),
    "JsWeakRef": _kind("JsWeakRef", lambda value: False),
}

SINCE_JSNULL = {"JsCallableDoubleProxy", "JsOnceCallable", "JsWeakRef"}
"""The kinds that came with Pyodide 0.28, as `jsnull` did."""


def _is_of_javascript(value: Any) -> bool:
    if isinstance(value, JsProxy):
        return True
    held = value if inspect.isclass(value) else getattr(value, "__func__", value)
    return str(getattr(held, "__module__", "")).startswith("cfai.worker.web.")
