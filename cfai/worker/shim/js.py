"""`import js`, as a Python Worker sees it: the global names of JavaScript. Each is loaded when it is first used."""

import importlib
from typing import Any

from cfai.worker.web.values import missing

# Where the names are at home in cfai.worker.web.
_NAMES = {
    "aborting": ("AbortController", "AbortSignal"),
    "console": ("console",),
    "crypto": ("crypto",),
    "events": ("CloseEvent", "CustomEvent", "ErrorEvent", "Event", "EventTarget", "MessageEvent"),
    "exceptions": ("DOMException",),
    "fetching": ("fetch",),
    "headers": ("Headers",),
    "messages": ("Request", "Response"),
    "platform": ("Date", "Map", "Math", "structuredClone"),
    "promises": ("Promise",),
    "streams.queueing": ("ByteLengthQueuingStrategy", "CountQueuingStrategy"),
    "streams.readable": ("ReadableStream",),
    "streams.transform": ("TransformStream",),
    "streams.writable": ("WritableStream",),
    "text": ("TextDecoder", "TextEncoder"),
    "timers": ("clearInterval", "clearTimeout", "queueMicrotask", "scheduler", "setInterval", "setTimeout"),
    "urls": ("URL", "URLSearchParams"),
    "values": ("JSON", "Array", "Object", "Uint8Array"),
    "websockets": ("WebSocket", "WebSocketPair"),
}
_HOMES = {name: home for home, names in _NAMES.items() for name in names}

__all__ = list(_HOMES)  # the table is the list


def __getattr__(name: str) -> Any:
    if (home := _HOMES.get(name)) is None:
        raise missing("js", name)
    value = globals()[name] = getattr(importlib.import_module(f"cfai.worker.web.{home}"), name)
    return value
