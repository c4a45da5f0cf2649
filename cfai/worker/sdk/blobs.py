"""`workers.Blob` and `workers.File`."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Any

from cfai.worker.compat import current
from cfai.worker.web import blobs
from cfai.worker.web.blobs import bytes_of

__all__ = ["Blob", "BlobEnding", "File"]


class BlobEnding(StrEnum):
    """What becomes of line ends; Workers leave them as they are, whatever is asked for."""

    TRANSPARENT = "transparent"
    NATIVE = "native"


class Blob:
    """Bytes with a type.

    ```python
    Blob("text", content_type="text/plain")
    Blob(["text", b"bytes", another_blob])
    ```
    """

    js_object: blobs.Blob

    def __init__(
        self, blob_parts: Any, content_type: str | None = None, endings: BlobEnding | str | None = None
    ) -> None:
        parts, kind = _parts_and_type(blob_parts, content_type)
        self.js_object = blobs.Blob.new(parts, {"type": kind})

    @property
    def size(self) -> int:
        return self.js_object.size

    @property
    def content_type(self) -> str:
        return self.js_object.type

    async def text(self) -> str:
        return self.js_object.data.decode("utf-8", "replace")

    async def bytes(self) -> bytes:
        return self.js_object.data

    def slice(self, start: int | None = None, end: int | None = None, content_type: str | None = None) -> Blob:
        """The bytes from `start` to `end`. Cloudflare's SDK drops the type that is asked for, and so does this."""
        return Blob([self.js_object.slice(start, end, content_type)])


class File(Blob):
    """A Blob with a name: `File("text", "name.txt", content_type="text/plain")`."""

    js_object: blobs.File

    def __init__(
        self,
        blob_parts: Any,
        filename: str,
        content_type: str | None = None,
        endings: BlobEnding | str | None = None,
        last_modified: int | None = None,
    ) -> None:
        if last_modified is None and (given := _js(blob_parts)) is not None:
            last_modified = getattr(given, "lastModified", None)
        parts, kind = _parts_and_type(blob_parts, content_type)
        self.js_object = blobs.File.new(parts, filename, {"type": kind, "lastModified": last_modified})

    @property
    def name(self) -> str:
        return self.js_object.name

    @property
    def last_modified(self) -> int:
        return self.js_object.lastModified


def _js(value: Any) -> blobs.Blob | None:
    if isinstance(value, Blob):
        return value.js_object
    return value if isinstance(value, blobs.Blob) else None


def _parts_and_type(given: Any, kind: str | None) -> tuple[list[Any], str | None]:
    """The parts, and the type, which a single Blob passes on."""
    if (whole := _js(given)) is not None:
        return [whole], kind or whole.type
    if isinstance(given, bytearray | memoryview):
        # Cloudflare's SDK takes them for lists of numbers.
        problem = "Don't know how to handle <class 'int'> for Blob()"
        current().lenient(f"Blob(<{type(given).__name__}>)", lambda: TypeError(problem))
        return [bytes(given)], kind
    is_single = isinstance(given, str) or bytes_of(given) is not None or not isinstance(given, Iterable)
    return [_part(part) for part in ([given] if is_single else given)], kind


def _part(part: Any) -> Any:
    if (blob := _js(part)) is not None:
        return blob
    if isinstance(part, str) or bytes_of(part) is not None:
        return part
    raise TypeError(f"Don't know how to handle {type(part)} for Blob()")
