"""Text and bytes: `TextEncoder` and `TextDecoder`."""

from __future__ import annotations

from typing import Any

from cfai.worker.web.values import JsClass, Uint8Array, options_of

__all__ = ["TextDecoder", "TextEncoder"]


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
