"""JavaScript's values as Python sees them, under one roof.

proxies, nulls, errors      what all have in common
objects, arrays, maps       `{}`, `[]`, Map, Set
buffers, data_views, dates  ArrayBuffer and typed arrays, DataView, Date
primitives                  String, Number, Math and the like
conversion                  between these and Python's own containers
jsontext, object_class      `JSON`, `Object`
"""

from cfai.worker.web.arrays import Array, JsArray, callback
from cfai.worker.web.buffers import ArrayBuffer, Uint8Array
from cfai.worker.web.conversion import (
    ConversionError,
    PyProxy,
    as_js,
    as_plain,
    members_of,
    options_of,
    pairs_of,
    to_js,
)
from cfai.worker.web.data_views import DataView
from cfai.worker.web.errors import JsException, JsRangeError, JsSyntaxError, JsTypeError
from cfai.worker.web.jsontext import JSON
from cfai.worker.web.maps import JsMap, JsSet, LiteralMap
from cfai.worker.web.nulls import JsNull, jsnull, seen
from cfai.worker.web.object_class import Object, structuredClone
from cfai.worker.web.objects import JsObject, members
from cfai.worker.web.proxies import JsClass, JsProxy, missing
from cfai.worker.web.typed_arrays import TypedArray

__all__ = [
    "JSON",
    "Array",
    "ArrayBuffer",
    "ConversionError",
    "DataView",
    "JsArray",
    "JsClass",
    "JsException",
    "JsMap",
    "JsNull",
    "JsObject",
    "JsProxy",
    "JsRangeError",
    "JsSet",
    "JsSyntaxError",
    "JsTypeError",
    "LiteralMap",
    "Object",
    "PyProxy",
    "TypedArray",
    "Uint8Array",
    "as_js",
    "as_plain",
    "callback",
    "jsnull",
    "members",
    "members_of",
    "missing",
    "options_of",
    "pairs_of",
    "seen",
    "structuredClone",
    "to_js",
]
