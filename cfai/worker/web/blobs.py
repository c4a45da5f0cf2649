"""`Blob` and `File`: bytes with a type, and a name."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Iterable
from typing import Any

from cfai.worker.web.buffers import ArrayBuffer, Uint8Array
from cfai.worker.web.conversion import options_of
from cfai.worker.web.data_views import DataView
from cfai.worker.web.errors import JsTypeError
from cfai.worker.web.primitives import number_of, text_of
from cfai.worker.web.promises import promised
from cfai.worker.web.proxies import JsClass, JsProxy, missing
from cfai.worker.web.streams import ReadableStream
from cfai.worker.web.typed_arrays import TypedArray

__all__ = ["Blob", "File", "bytes_of", "now"]


class Blob(JsProxy, metaclass=JsClass):
    """`Blob.new(["text", b"bytes"], type="text/plain")`"""

    def __init__(self, parts: Any = None, options: Any = None) -> None:
        self.data = b"" if parts is None else _joined(parts)
        """The bytes, for Python."""
        self.type = _type(options_of(options).get("type"))

    def __getattr__(self, name: str) -> Any:
        raise missing(f"js.{type(self).__name__}", name)

    @property
    def size(self) -> int:
        return len(self.data)

    @promised
    async def text(self) -> str:
        return self.data.decode("utf-8", "replace")

    @promised
    async def bytes(self) -> Uint8Array:
        return Uint8Array.new(self.data)

    @promised
    async def arrayBuffer(self) -> ArrayBuffer:  # noqa: N802  # JavaScript's spelling
        return Uint8Array.new(self.data).buffer

    def slice(self, start: int | None = None, end: int | None = None, kind: str | None = None) -> Blob:
        """The bytes from `start` to `end`, each counted from the end if it is negative."""
        sliced = Blob.new()
        sliced.data = self.data[slice(start, end)]
        sliced.type = _type(kind)
        return sliced

    def stream(self) -> ReadableStream:
        return ReadableStream.of(_once(self.data))


class File(Blob):
    """`File.new(["text"], "name.txt", type="text/plain", lastModified=0)`"""

    def __init__(self, parts: Any, name: Any, options: Any = None) -> None:
        super().__init__(parts, options)
        self.name = text_of(name)
        modified = options_of(options).get("lastModified")
        self.lastModified = now() if modified is None else _whole(number_of(modified))


def now() -> int:
    """The time as JavaScript counts it, in milliseconds."""
    return time.time_ns() // 1_000_000


def _whole(number: float) -> int:
    return 0 if math.isnan(number) or math.isinf(number) else int(number)


def _joined(parts: Any) -> bytes:
    if isinstance(parts, str) or not isinstance(parts, Iterable):
        raise JsTypeError("A Blob is made of a list of parts.")
    return b"".join(_part(part) for part in parts)


def _part(part: Any) -> bytes:
    if isinstance(part, Blob):
        return part.data
    found = bytes_of(part)
    return text_of(part).encode() if found is None else found


def bytes_of(value: Any) -> bytes | None:
    """What `value` holds, if it is bytes of JavaScript or of Python."""
    if isinstance(value, ArrayBuffer | TypedArray | DataView):
        return bytes(value.to_bytes())
    return bytes(value) if isinstance(value, bytes | bytearray | memoryview) else None


def _type(kind: Any) -> str:
    text = "" if kind is None else text_of(kind)
    return text.lower() if all(character >= " " for character in text) else ""


async def _once(data: bytes) -> AsyncIterator[bytes]:
    if data:
        yield data
