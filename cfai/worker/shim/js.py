"""`import js`, as a Python Worker sees it: the global names of JavaScript."""

from typing import Any

from cfai.worker.web.fetching import fetch
from cfai.worker.web.headers import Headers
from cfai.worker.web.messages import Request, Response
from cfai.worker.web.platform import (
    AbortController,
    AbortSignal,
    Date,
    Map,
    Math,
    TextDecoder,
    TextEncoder,
    clearInterval,
    clearTimeout,
    console,
    crypto,
    setInterval,
    setTimeout,
    structuredClone,
)
from cfai.worker.web.streams import ReadableStream
from cfai.worker.web.urls import URL, URLSearchParams
from cfai.worker.web.values import JSON, Array, Object, Uint8Array, missing

__all__ = [
    "JSON",
    "URL",
    "AbortController",
    "AbortSignal",
    "Array",
    "Date",
    "Headers",
    "Map",
    "Math",
    "Object",
    "ReadableStream",
    "Request",
    "Response",
    "TextDecoder",
    "TextEncoder",
    "URLSearchParams",
    "Uint8Array",
    "clearInterval",
    "clearTimeout",
    "console",
    "crypto",
    "fetch",
    "setInterval",
    "setTimeout",
    "structuredClone",
]


def __getattr__(name: str) -> Any:
    raise missing("js", name)
