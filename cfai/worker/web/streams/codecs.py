"""Streams that encode and decode: text, and compressed bytes."""

from __future__ import annotations

import zlib
from typing import Any

from cfai.worker.web.streams.identity import bytes_of
from cfai.worker.web.streams.transform import TransformController, TransformStream
from cfai.worker.web.text import TextDecoder
from cfai.worker.web.values import JsTypeError, Uint8Array, options_of

__all__ = ["CompressionStream", "DecompressionStream", "TextDecoderStream", "TextEncoderStream"]

# What zlib calls the formats: https://docs.python.org/3/library/zlib.html#zlib.decompressobj
_WINDOW = {"deflate": zlib.MAX_WBITS, "deflate-raw": -zlib.MAX_WBITS, "gzip": zlib.MAX_WBITS | 16}


class TextEncoderStream(TransformStream):
    """Text in, bytes of UTF-8 out."""

    encoding = "utf-8"

    def __init__(self) -> None:
        super().__init__({"transform": self._encode})

    def _encode(self, chunk: Any, controller: TransformController) -> None:
        if data := str(chunk).encode("utf-8", "replace"):
            controller.enqueue(Uint8Array(data))


class TextDecoderStream(TransformStream):
    """Bytes in, text out; a character that was cut waits for its rest."""

    def __init__(self, label: str = "utf-8", options: Any = None) -> None:
        given = options_of(options)
        self._decoder: TextDecoder = TextDecoder.new(label, given)
        self.encoding = self._decoder.encoding
        self.fatal = self._decoder.fatal
        self.ignoreBOM = self._decoder.ignoreBOM
        super().__init__({"transform": self._decode, "flush": self._flush})

    def _decode(self, chunk: Any, controller: TransformController) -> None:
        if isinstance(chunk, str):
            raise JsTypeError(
                "This TransformStream is being used as a byte stream, but received a value that is not a BufferSource."
            )
        if text := self._decoder.decode(bytes_of(chunk), {"stream": True}):
            controller.enqueue(text)

    def _flush(self, controller: TransformController) -> None:
        if text := self._decoder.decode():
            controller.enqueue(text)


class CompressionStream(TransformStream):
    """`stream.pipeThrough(CompressionStream.new("gzip"))`; also "deflate" and "deflate-raw"."""

    def __init__(self, format: str) -> None:  # noqa: A002  # JavaScript's name
        self._work = zlib.compressobj(wbits=_window(format))
        super().__init__({"transform": self._compress, "flush": self._flush})

    def _compress(self, chunk: Any, controller: TransformController) -> None:
        _put(self._work.compress(bytes_of(chunk)), controller)

    def _flush(self, controller: TransformController) -> None:
        _put(self._work.flush(), controller)


class DecompressionStream(TransformStream):
    """What `CompressionStream` has made, as it was."""

    # What comes out at a time: a few bytes in may be very many.
    piece = 1 << 16

    def __init__(self, format: str) -> None:  # noqa: A002
        self._work = zlib.decompressobj(_window(format))
        super().__init__({"transform": self._decompress, "flush": self._flush})

    def _decompress(self, chunk: Any, controller: TransformController) -> None:
        data = bytes_of(chunk)
        if self._work.eof and data:
            raise JsTypeError("Trailing bytes after end of compressed data")
        try:
            while data:
                _put(self._work.decompress(data, self.piece), controller)
                data = self._work.unconsumed_tail
        except zlib.error as error:
            raise JsTypeError("Decompression failed.") from error
        if self._work.unused_data:
            raise JsTypeError("Trailing bytes after end of compressed data")

    def _flush(self, controller: TransformController) -> None:
        _put(self._work.flush(), controller)
        if not self._work.eof:
            raise JsTypeError("Called close() on a decompression stream with incomplete data")


def _window(format: str) -> int:  # noqa: A002
    if format not in _WINDOW:
        raise JsTypeError("The compression format must be either 'deflate', 'deflate-raw' or 'gzip'.")
    return _WINDOW[format]


def _put(data: bytes, controller: TransformController) -> None:
    if data:
        controller.enqueue(Uint8Array(data))
