"""`import js`, as a Python Worker sees it: the global names of JavaScript. Each is loaded when it is first used."""

import importlib
from typing import Any

from cfai.worker.web.values import missing

# Where the names are at home in cfai.worker.web.
_NAMES = {
    "aborting": ("AbortController", "AbortSignal"),
    "blobs": ("Blob", "File"),
    "console": ("console",),
    "crypto": ("crypto",),
    "events": ("CloseEvent", "CustomEvent", "ErrorEvent", "Event", "EventTarget", "MessageEvent"),
    "exceptions": ("DOMException",),
    "fetching": ("fetch",),
    "forms": ("FormData",),
    "headers": ("Headers",),
    "messages": ("Request", "Response"),
    "dates": ("Date",),
    "map_classes": ("Map", "Set"),
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
    "arrays": ("Array",),
    "buffers": ("ArrayBuffer", "DataView"),
    "jsontext": ("JSON",),
    "websockets": ("WebSocket", "WebSocketPair"),
}
_TYPED_ARRAYS = (
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
)
_NAMES["buffers"] += _TYPED_ARRAYS
_HOMES = {name: home for home, names in _NAMES.items() for name in names}

__all__ = list(_HOMES)  # the table is the list


def __getattr__(name: str) -> Any:
    if (home := _HOMES.get(name)) is None:
        raise missing("js", name)
    value = globals()[name] = getattr(importlib.import_module(f"cfai.worker.web.{home}"), name)
    return value
