"""What `Request` and `Response` share: a body that is read once, whole or as a stream."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from typing import Any

from cfai.worker.web.blobs import Blob, bytes_of
from cfai.worker.web.buffers import ArrayBuffer, Uint8Array
from cfai.worker.web.errors import JsTypeError
from cfai.worker.web.forms import FormData
from cfai.worker.web.headers import Headers
from cfai.worker.web.jsontext import JSON
from cfai.worker.web.nulls import jsnull, seen
from cfai.worker.web.primitives import text_of
from cfai.worker.web.promises import promised
from cfai.worker.web.proxies import JsProxy, missing
from cfai.worker.web.streams import ReadableStream
from cfai.worker.web.urls import URLSearchParams

__all__ = ["NO_BODY", "Body"]

NO_BODY = (101, 204, 205, 304)
"""The statuses whose responses have none."""

_USED = "Body has already been used. It can only be used once. Use tee() first if you need to read it twice."
_TEXT = "text/plain;charset=UTF-8"


class Body(JsProxy):
    """A body is bytes for as long as nobody asks for a stream of it."""

    headers: Headers

    def __getattr__(self, name: str) -> Any:
        raise missing(f"js.{type(self).__name__}", name)

    def _take_body(self, body: Any) -> None:
        self._stream: ReadableStream | None = None
        self._bytes: bytes | None = None
        self._was_taken = False
        if body is None or body is jsnull:
            return
        kind = ""
        if isinstance(body, FormData):
            self._bytes, kind = body.write()
        elif isinstance(body, URLSearchParams):
            self._bytes, kind = str(body).encode(), "application/x-www-form-urlencoded;charset=UTF-8"
        elif isinstance(body, Blob):
            self._bytes, kind = body.data, body.type
        elif (found := bytes_of(body)) is not None:
            self._bytes = found
        elif isinstance(body, AsyncIterable):
            self._stream = ReadableStream.of(body)
            if self._stream.was_read:
                raise JsTypeError(
                    "This ReadableStream is disturbed (has already been read from), and cannot be used as a body."
                )
        else:
            # JavaScript makes a string of anything else, and says so in the content type.
            self._bytes, kind = text_of(body).encode("utf-8", "replace"), _TEXT
        if kind and not self.headers.has("content-type"):
            self.headers.set("content-type", kind)

    @property
    def has_body(self) -> bool:
        return self._bytes is not None or self._stream is not None

    @property
    def whole(self) -> bytes | None:
        """The body, where it is known without reading a stream; None where it is a stream."""
        return self._bytes if self.has_body else b""

    @property
    def body(self) -> Any:
        return seen(jsnull) if (stream := self._as_stream()) is None else stream

    def _as_stream(self) -> ReadableStream | None:
        if self._bytes is not None:
            self._stream, self._bytes = ReadableStream.of(_once(self._bytes)), None
            if self._was_taken:
                self._stream.getReader()  # it belongs to who has read it
        return self._stream

    @property
    def bodyUsed(self) -> bool:  # noqa: N802  # JavaScript's spelling
        return self._was_taken or (self._stream is not None and self._stream.was_read)

    def stream(self) -> ReadableStream | None:
        """The body, to be read by the caller; a second reader is refused."""
        self._require_unused()
        stream = self._as_stream()
        self._was_taken = stream is not None
        return stream

    async def read(self) -> bytes:
        """The whole body, for Python; a second reader is refused."""
        self._require_unused()
        if self._stream is not None and self._stream.locked:
            raise JsTypeError("This ReadableStream is currently locked to a reader.")
        self._was_taken = self.has_body
        if self._stream is None:
            return self._bytes or b""
        chunks = bytearray()
        async for chunk in self._stream.in_bytes():
            chunks += chunk
        return bytes(chunks)

    def _require_unused(self) -> None:
        if self.bodyUsed:
            raise JsTypeError(_USED)

    async def read_text(self) -> str:
        """The whole body as a text, for Python."""
        return (await self.read()).decode("utf-8-sig", "replace")

    async def read_form(self) -> FormData:
        """The whole body as a form, for Python."""
        self._require_unused()
        if (kind := self.headers.find("content-type")) is None:
            raise JsTypeError("Parsing a Body as FormData requires a Content-Type header.")
        return FormData.read(await self.read(), kind)

    async def read_blob(self) -> Blob:
        """The whole body as a Blob, for Python."""
        kind = self.headers.find("content-type") or ""
        return Blob.new([Uint8Array.new(await self.read())], {"type": kind})

    @promised
    async def text(self) -> str:
        return await self.read_text()

    @promised
    async def json(self) -> Any:
        return JSON.parse(await self.read_text())

    @promised
    async def bytes(self) -> Uint8Array:
        return Uint8Array.new(await self.read())

    @promised
    async def arrayBuffer(self) -> ArrayBuffer:  # noqa: N802
        return Uint8Array.new(await self.read()).buffer

    @promised
    async def blob(self) -> Blob:
        return await self.read_blob()

    @promised
    async def formData(self) -> FormData:  # noqa: N802
        return await self.read_form()

    def _copy_of_body(self) -> Any:
        """The body for a clone; what is a stream is read by both."""
        self._require_unused()
        if self._stream is None:
            return None if self._bytes is None else Uint8Array.new(self._bytes)
        self._stream, copy = self._stream.tee()
        return copy


async def _once(data: bytes) -> AsyncIterator[bytes]:
    if data:
        yield data
