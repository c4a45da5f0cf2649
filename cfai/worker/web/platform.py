"""What JavaScript finds lying about: console, crypto, Date, Math, timers, text codecs, AbortController."""

from __future__ import annotations

import asyncio
import copy
import math
import secrets
import sys
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TextIO

from cfai.worker.web.values import JSON, JsClass, JsException, JsMap, JsProxy, Uint8Array, options_of

__all__ = [
    "AbortController",
    "AbortSignal",
    "Date",
    "Map",
    "Math",
    "TextDecoder",
    "TextEncoder",
    "clearInterval",
    "clearTimeout",
    "console",
    "crypto",
    "setInterval",
    "setTimeout",
    "structuredClone",
]


def structuredClone(value: Any, options: Any = None) -> Any:  # noqa: N802  # JavaScript's spelling
    """A deep copy."""
    return copy.deepcopy(value)


class _Console:
    """`console`: one line per call, at once."""

    def log(self, *values: Any) -> None:
        self._write(sys.stdout, values)

    info = debug = log

    def error(self, *values: Any) -> None:
        self._write(sys.stderr, values)

    warn = error

    def _write(self, to: TextIO, values: tuple[Any, ...]) -> None:
        shown = [value if isinstance(value, str) else _shown(value) for value in values]
        to.write(" ".join(shown) + "\n")
        to.flush()


def _shown(value: Any) -> str:
    try:
        return (JSON.stringify(value) if isinstance(value, dict | list) else None) or str(value)
    except (TypeError, ValueError):
        return str(value)


class _Crypto:
    """`crypto`."""

    def randomUUID(self) -> str:  # noqa: N802
        return str(uuid.uuid4())

    def getRandomValues(self, array: Any) -> Any:  # noqa: N802
        data = secrets.token_bytes(len(array))
        if isinstance(array, bytearray | list):
            array[:] = data
            return array
        return Uint8Array(data)


console = _Console()
crypto = _Crypto()


class Date(metaclass=JsClass):
    """`Date`."""

    def __init__(self, value: Any = None) -> None:
        if value is None:
            self._when = datetime.now(UTC)
        elif isinstance(value, str):
            when = datetime.fromisoformat(value)
            self._when = when if when.tzinfo else when.replace(tzinfo=UTC)
        else:
            self._when = datetime.fromtimestamp(value / 1000, UTC)

    @staticmethod
    def now() -> int:
        return time.time_ns() // 1_000_000

    def getTime(self) -> int:  # noqa: N802
        return round(self._when.timestamp() * 1000)

    def toISOString(self) -> str:  # noqa: N802
        return self._when.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    toJSON = toISOString  # noqa: N815

    def __str__(self) -> str:
        return self.toISOString()


class Math:
    """`Math`: whole results are ints, as they arrive from JavaScript."""

    PI = math.pi
    floor = staticmethod(math.floor)
    ceil = staticmethod(math.ceil)
    max = staticmethod(max)
    min = staticmethod(min)
    abs = staticmethod(abs)

    @staticmethod
    def round(value: float) -> int:
        return math.floor(value + 0.5)

    @staticmethod
    def random() -> float:
        return secrets.randbelow(2**53) / 2**53


class Map:
    """`Map`."""

    @staticmethod
    def new(entries: Any = ()) -> JsMap:
        return JsMap((key, value) for key, value in entries or ())


class TextEncoder(metaclass=JsClass):
    encoding = "utf-8"

    def encode(self, text: str = "") -> Uint8Array:
        return Uint8Array(str(text).encode("utf-8", "replace"))


class TextDecoder(metaclass=JsClass):
    """`TextDecoder`; with `{"stream": True}` the pieces of a cut character wait for the rest."""

    encoding = "utf-8"

    def __init__(self, encoding: str = "utf-8", options: Any = None) -> None:
        import codecs

        strict = bool(options_of(options).get("fatal"))
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("strict" if strict else "replace")

    def decode(self, data: Any = b"", options: Any = None, *, stream: bool | None = None) -> str:
        more = bool(options_of(options).get("stream")) if stream is None else stream
        text = self._decoder.decode(bytes(data or b""), final=not more)
        if not more:
            self._decoder.reset()
        return text


class _Timer:
    def __init__(self) -> None:
        self.handle: asyncio.TimerHandle | None = None


def setTimeout(call: Callable[..., Any], delay: float = 0, *args: Any) -> _Timer:  # noqa: N802
    """Call later. A coroutine function is run to its end; what it raises is shown by the event loop."""
    timer = _Timer()
    timer.handle = asyncio.get_running_loop().call_later(max(0.0, delay or 0) / 1000, _call, call, args)
    return timer


def setInterval(call: Callable[..., Any], delay: float = 0, *args: Any) -> _Timer:  # noqa: N802
    timer = _Timer()
    seconds = max(1.0, delay or 0) / 1000
    loop = asyncio.get_running_loop()

    def again() -> None:
        timer.handle = loop.call_later(seconds, again)
        _call(call, args)

    timer.handle = loop.call_later(seconds, again)
    return timer


def clearTimeout(timer: _Timer | None = None) -> None:  # noqa: N802
    if timer is not None and timer.handle is not None:
        timer.handle.cancel()


clearInterval = clearTimeout  # noqa: N816

# The event loop holds its tasks weakly; a timer's task must live to its end.
_running: set[asyncio.Task[Any]] = set()


def _call(call: Callable[..., Any], args: tuple[Any, ...]) -> None:
    result = call(*args)
    if asyncio.iscoroutine(result):
        task = asyncio.get_running_loop().create_task(result)
        _running.add(task)
        task.add_done_callback(_running.discard)


class AbortSignal(JsProxy):
    """`AbortSignal`."""

    def __init__(self) -> None:
        self.aborted = False
        self.reason: Any = None
        self.onabort: Callable[[Any], Any] | None = None
        self._listeners: list[Callable[[Any], Any]] = []

    def addEventListener(self, kind: str, call: Callable[[Any], Any], options: Any = None) -> None:  # noqa: N802
        if kind == "abort":
            self._listeners.append(call)

    def throwIfAborted(self) -> None:  # noqa: N802
        if self.aborted:
            raise self.reason if isinstance(self.reason, BaseException) else JsException(str(self.reason))


class AbortController(metaclass=JsClass):
    """`AbortController`."""

    def __init__(self) -> None:
        self.signal = AbortSignal()

    def abort(self, reason: Any = None) -> None:
        signal = self.signal
        if signal.aborted:
            return
        signal.aborted = True
        signal.reason = reason if reason is not None else JsException("The operation was aborted", "AbortError")
        for call in [*signal._listeners, *([signal.onabort] if signal.onabort else [])]:
            call(signal)
