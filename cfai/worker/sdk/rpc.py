"""Values between Python and JavaScript, as entrypoints are given them and give them back."""

from __future__ import annotations

import datetime
import inspect
from collections.abc import Iterable, Mapping
from types import LambdaType
from typing import Any

from cfai.worker.compat import current
from cfai.worker.sdk.blobs import Blob, File
from cfai.worker.sdk.forms import FormData
from cfai.worker.sdk.requests import Request
from cfai.worker.sdk.responses import Response
from cfai.worker.web import blobs, forms, messages
from cfai.worker.web.conversion import to_js
from cfai.worker.web.dates import Date
from cfai.worker.web.dicts import JsDict
from cfai.worker.web.errors import JsException
from cfai.worker.web.maps import JsMap
from cfai.worker.web.nulls import jsnull
from cfai.worker.web.objects import JsObject
from cfai.worker.web.proxies import JsProxy

__all__ = ["python_from_rpc", "python_to_rpc"]


def python_from_rpc(value: Any) -> Any:
    """`value` with JavaScript's objects made Python's: dicts, lists, sets, `Request`, `Response`, datetimes."""
    if value is jsnull and current().compat.has_external_sdk:
        return None
    if not isinstance(value, JsProxy):
        return value
    found = value.to_py(default_converter=_from_javascript)
    return _with_none(found) if current().compat.has_external_sdk else found


def _with_none(value: Any) -> Any:
    if value is jsnull:
        return None
    if isinstance(value, dict):
        return JsDict({key: _with_none(item) for key, item in value.items()})
    return [_with_none(item) for item in value] if isinstance(value, list) else value


def _from_javascript(value: Any, convert: Any, cache: Any) -> Any:
    if value is jsnull:
        return None if current().compat.has_external_sdk else value
    if isinstance(value, blobs.File):
        return File(value, value.name)
    if isinstance(value, Date):
        return datetime.datetime.fromtimestamp(value.getTime() / 1000)
    if isinstance(value, JsException):
        return Exception(str(value))
    for javascript, python in _CLASSES:
        if isinstance(value, javascript):
            return python(value)
    return value


_CLASSES: tuple[tuple[type, Any], ...] = (
    (messages.Response, Response),
    (messages.Request, Request),
    (forms.FormData, FormData),
    (blobs.Blob, Blob),
)


def python_to_rpc(value: Any) -> Any:
    """`value` with Python's objects made JavaScript's; what cannot be sent is refused."""
    is_external = current().compat.has_external_sdk
    if value is None:
        return jsnull if is_external else None
    if is_external:
        value = _without_none(value)
    _refuse(value)
    return to_js(value, default_converter=_to_javascript, dict_converter=_object_of if is_external else _map_of)


def _object_of(entries: Iterable[Any]) -> JsObject:
    return JsObject(tuple(pair) for pair in entries)


def _map_of(entries: Iterable[Any]) -> JsMap:
    return JsMap(tuple(pair) for pair in entries)


def _to_javascript(value: Any, convert: Any, cache: Any) -> Any:
    if value is None:
        return jsnull if current().compat.has_external_sdk else None
    if hasattr(value, "js_object"):
        return value.js_object
    if isinstance(value, datetime.datetime):
        return Date.new(value.timestamp() * 1000)
    if isinstance(value, Exception):
        return JsException(str(value))
    _refuse(value)
    return value


def _without_none(value: Any) -> Any:
    if value is None:
        return jsnull
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items()}
    return [_without_none(item) for item in value] if isinstance(value, list) else value


def _refuse(value: Any) -> None:
    if current().compat.has_external_sdk and callable(value) and not isinstance(value, type):
        return
    if isinstance(value, tuple | bytearray | LambdaType) and not isinstance(value, JsProxy):
        raise TypeError(f"{type(value)} cannot be sent over RPC.")
    if inspect.isawaitable(value):
        raise TypeError(f"Awaitable {type(value)} cannot be sent over RPC.")
    if isinstance(value, Mapping):
        for item in value.values():
            _refuse(item)
    elif isinstance(value, list | set | frozenset):
        for item in value:
            _refuse(item)
