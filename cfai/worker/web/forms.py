"""`FormData`: names with texts and files, in order."""

from __future__ import annotations

import secrets
from email.message import Message
from typing import Any

from cfai.worker.web.blobs import Blob, File
from cfai.worker.web.errors import JsTypeError
from cfai.worker.web.multipart import Part, parts_in, write_parts
from cfai.worker.web.pairs import Pairs
from cfai.worker.web.primitives import text_of
from cfai.worker.web.proxies import JsClass, JsProxy, missing
from cfai.worker.web.urls import parse_form

__all__ = ["FormData"]

_MULTIPART, _URLENCODED = "multipart/form-data", "application/x-www-form-urlencoded"


class FormData(Pairs, JsProxy, metaclass=JsClass):
    """`form.append("a", "1")`, `form.append("file", blob, "name.txt")`; a Blob comes back as a File."""

    def __init__(self) -> None:
        self._pairs: list[tuple[str, str | File]] = []

    def __getattr__(self, name: str) -> Any:
        raise missing("js.FormData", name)

    @classmethod
    def read(cls, body: bytes, content_type: str) -> FormData:
        """What a body of that type says."""
        header = Message()
        header["content-type"] = content_type
        form = cls.new()
        match header.get_content_type():
            case "multipart/form-data":
                boundary = header.get_param("boundary")
                if not isinstance(boundary, str) or not boundary:
                    raise JsTypeError(
                        "No boundary string in Content-Type header. The multipart/form-data MIME type requires a "
                        "boundary parameter, e.g. 'Content-Type: multipart/form-data; boundary=\"abcd\"'. See RFC 7578,"
                        " section 4."
                    )
                form._pairs = [(part.name, _of_part(part)) for part in parts_in(body, boundary)]
            case "application/x-www-form-urlencoded":
                if str(header.get_param("charset", "utf-8")).lower() not in ("utf-8", "utf8", "unicode-1-1-utf-8"):
                    raise JsTypeError("Non-utf-8 application/x-www-form-urlencoded body.")
                form._pairs = list(parse_form(body.decode("utf-8", "replace")))
            case _:
                raise JsTypeError(
                    "Unrecognized Content-Type header value. FormData can only parse the following MIME types: "
                    f"{_MULTIPART}, {_URLENCODED}"
                )
        return form

    def write(self) -> tuple[bytes, str]:
        """The form as a body, and its content type."""
        boundary = f"----cfai-form-{secrets.token_hex(16)}"
        return write_parts(map(_as_part, self._pairs), boundary), f"{_MULTIPART}; boundary={boundary}"

    def append(self, name: Any, value: Any, filename: Any = None) -> None:
        self._pairs.append((text_of(name), _entry(name, value, filename)))

    def set(self, name: Any, value: Any, filename: Any = None) -> None:
        """The first of that name changes in its place; the others go."""
        self._pairs = self._with(text_of(name), _entry(name, value, filename))

    def delete(self, name: Any) -> None:
        key = text_of(name)
        self._pairs = [pair for pair in self._pairs if pair[0] != key]


def _entry(name: Any, value: Any, filename: Any) -> str | File:
    if not isinstance(value, Blob):
        return text_of(value)
    if isinstance(value, File) and filename is None:
        return value
    # workerd calls a Blob without a filename after its field; browsers call it "blob".
    return File.new([value], name if filename is None else filename, {"type": value.type})


def _of_part(part: Part) -> str | File:
    if part.filename is None:
        return part.data.decode("utf-8", "replace")
    return File.new([part.data], part.filename, {"type": part.type or ""})


def _as_part(pair: tuple[str, str | File]) -> Part:
    name, value = pair
    if isinstance(value, str):
        return Part(name, value.encode())
    return Part(name, value.data, value.name, value.type)
