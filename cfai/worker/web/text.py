"""Text and bytes: `TextEncoder`, `TextDecoder`, `atob` and `btoa`."""

from __future__ import annotations

import base64
import codecs
import re
from typing import Any

from cfai.worker.web.exceptions import dom_exception
from cfai.worker.web.values import JsClass, JsObject, JsProxy, JsRangeError, JsTypeError, Uint8Array, options_of

__all__ = ["TextDecoder", "TextEncoder", "atob", "btoa"]

# The names of https://encoding.spec.whatwg.org/#names-and-labels that Python knows under another one.
_PYTHONS = {
    "latin1": "cp1252",
    "iso-8859-1": "cp1252",
    "iso8859-1": "cp1252",
    "ascii": "cp1252",
    "us-ascii": "cp1252",
    "unicode-1-1-utf-8": "utf-8",
    "utf-16": "utf-16-le",
    "gb2312": "gbk",
    "ks_c_5601-1987": "euc_kr",
    "x-sjis": "shift_jis",
}
_JAVASCRIPTS = {"cp1252": "windows-1252", "utf_8": "utf-8", "utf-16-le": "utf-16le", "utf-16-be": "utf-16be"}
_MARKS = {"utf-8": "utf-8-sig"}


class TextEncoder(JsProxy, metaclass=JsClass):
    """Text as bytes of UTF-8."""

    encoding = "utf-8"

    def encode(self, text: Any = "") -> Uint8Array:
        return Uint8Array(str(text).encode("utf-8", "replace"))

    def encodeInto(self, text: str, into: Any) -> JsObject:  # noqa: N802  # JavaScript's spelling
        """As many whole characters as fit into the array."""
        written = read = 0
        for character in text:
            data = character.encode("utf-8", "replace")
            if written + len(data) > len(into):
                break
            into[written : written + len(data)] = data
            written += len(data)
            read += 1 + (ord(character) > 0xFFFF)  # JavaScript counts in units of UTF-16
        return JsObject({"read": read, "written": written})


class TextDecoder(JsProxy, metaclass=JsClass):
    """Bytes as text; with `{"stream": True}` the pieces of a cut character wait for the rest."""

    def __init__(self, label: str = "utf-8", options: Any = None) -> None:
        given = options_of(options)
        name = str(label).strip().lower()
        try:
            codec = codecs.lookup(_PYTHONS.get(name, name)).name
        except LookupError:
            raise JsRangeError(f'"{label}" is not a valid encoding.') from None
        self.encoding = _JAVASCRIPTS.get(codec, codec.replace("_", "-"))
        self.fatal = bool(given.get("fatal"))
        self.ignoreBOM = bool(given.get("ignoreBOM"))
        codec = codec if self.ignoreBOM else _MARKS.get(codec, codec)
        self._drops_mark = self.encoding.startswith("utf-16") and not self.ignoreBOM
        self._decoder = codecs.getincrementaldecoder(codec)("strict" if self.fatal else "replace")
        self._is_at_start = True

    def decode(self, data: Any = None, options: Any = None, *, stream: bool | None = None) -> str:
        more = bool(options_of(options).get("stream")) if stream is None else stream
        try:
            text = self._decoder.decode(b"" if data is None else _bytes_of(data), final=not more)
        except UnicodeDecodeError as error:
            self._decoder.reset()
            raise JsTypeError("Failed to decode input.") from error
        if self._drops_mark and self._is_at_start and text:
            text = text.removeprefix("\ufeff")
        self._is_at_start = not more or (self._is_at_start and not text)
        if not more:
            self._decoder.reset()
        return text


def _bytes_of(data: Any) -> bytes:
    if isinstance(data, bytes | bytearray | memoryview):
        return bytes(data)
    if hasattr(data, "to_bytes") and not isinstance(data, int):
        return bytes(data.to_bytes())
    raise JsTypeError(
        "Failed to execute 'decode' on 'TextDecoder': parameter 1 is not of type 'ArrayBuffer or ArrayBufferView'."
    )


def btoa(text: Any) -> str:
    """The characters of `text`, each a byte, in Base64."""
    try:
        return base64.b64encode(str(text).encode("latin-1")).decode()
    except UnicodeEncodeError:
        problem = "btoa() can only operate on characters in the Latin1 (ISO/IEC 8859-1) range."
        raise dom_exception("InvalidCharacterError", problem) from None


_BASE64 = re.compile(r"[A-Za-z0-9+/]*")


def atob(text: Any) -> str:
    """What `btoa` was given."""
    # https://infra.spec.whatwg.org/#forgiving-base64-decode
    given = re.sub(r"[\t\n\f\r ]", "", str(text))
    if len(given) % 4 == 0:
        given = re.sub(r"={1,2}$", "", given)
    if len(given) % 4 == 1 or not _BASE64.fullmatch(given):
        raise dom_exception(
            "InvalidCharacterError",
            "atob() called with invalid base64-encoded data. (Only whitespace, '+', '/', alphanumeric ASCII, and up to "
            "two terminal '=' signs when the input data length is divisible by 4 are allowed.)",
        )
    return base64.b64decode(given + "=" * (-len(given) % 4)).decode("latin-1")
