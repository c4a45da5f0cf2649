"""`import js`, as a Python Worker sees it: the global names of JavaScript. Each is loaded when it is first used."""

import importlib
import math
import sys
from typing import Any

from cfai.worker.web.values import missing

# Where the names are at home in cfai.worker.web.
_NAMES = {
    "aborting": ("AbortController", "AbortSignal"),
    "arrays": ("Array",),
    "buffers": (
        "ArrayBuffer",
        "BigInt64Array",
        "BigUint64Array",
        "Float32Array",
        "Float64Array",
        "Int16Array",
        "Int32Array",
        "Int8Array",
        "Uint16Array",
        "Uint32Array",
        "Uint8Array",
        "Uint8ClampedArray",
    ),
    "blobs": ("Blob", "File"),
    "console": ("console",),
    "crypto": ("crypto",),
    "data_views": ("DataView",),
    "dates": ("Date",),
    "error_classes": (
        "AggregateError",
        "Error",
        "EvalError",
        "RangeError",
        "ReferenceError",
        "SyntaxError",
        "TypeError",
        "URIError",
    ),
    "events": ("CloseEvent", "CustomEvent", "ErrorEvent", "Event", "EventTarget", "MessageEvent"),
    "exceptions": ("DOMException",),
    "fetching": ("fetch",),
    "forms": ("FormData",),
    "headers": ("Headers",),
    "jsontext": ("JSON",),
    "map_classes": ("Map", "Set"),
    "messages": ("Request", "Response"),
    "object_class": ("Object", "structuredClone"),
    "primitives": (
        "BigInt",
        "Boolean",
        "Math",
        "Number",
        "String",
        "Symbol",
        "decodeURI",
        "decodeURIComponent",
        "encodeURI",
        "encodeURIComponent",
        "isFinite",
        "isNaN",
        "parseFloat",
        "parseInt",
    ),
    "promises": ("Promise",),
    "streams.codecs": ("CompressionStream", "DecompressionStream", "TextDecoderStream", "TextEncoderStream"),
    "streams.identity": ("FixedLengthStream", "IdentityTransformStream"),
    "streams.queueing": ("ByteLengthQueuingStrategy", "CountQueuingStrategy"),
    "streams.readable": ("ReadableStream",),
    "streams.transform": ("TransformStream",),
    "streams.writable": ("WritableStream",),
    "surroundings": ("globalThis", "navigator", "performance", "reportError", "self"),
    "text": ("TextDecoder", "TextEncoder", "atob", "btoa"),
    "timers": ("clearInterval", "clearTimeout", "queueMicrotask", "scheduler", "setInterval", "setTimeout"),
    "urls": ("URL", "URLSearchParams"),
    "websockets": ("WebSocket", "WebSocketPair"),
}
_HOMES = {name: home for home, names in _NAMES.items() for name in names}

__all__ = list(_HOMES)  # the table is the list


_VALUES = {"Infinity": math.inf, "NaN": math.nan, "undefined": None}


def __getattr__(name: str) -> Any:
    if name in _VALUES:
        return _VALUES[name]
    if name in ("globalThis", "self"):
        return sys.modules[__name__]
    if (home := _HOMES.get(name)) is None:
        raise missing("js", name)
    value = globals()[name] = getattr(importlib.import_module(f"cfai.worker.web.{home}"), name)
    return value
