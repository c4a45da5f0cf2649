"""`IdentityTransformStream` and `FixedLengthStream`: bytes in, the same bytes out."""

from __future__ import annotations

from typing import Any

from cfai.worker.web.streams.queueing import strategy_of
from cfai.worker.web.streams.readable import ReadableStream
from cfai.worker.web.streams.sources import ByteController
from cfai.worker.web.streams.transform import TransformController, TransformStream
from cfai.worker.web.values import JsTypeError

__all__ = ["FixedLengthStream", "IdentityTransformStream"]

# workerd, src/workerd/api/streams/internal.c++ and identity-transform-stream.c++
NO_BYTES = (
    "This TransformStream is being used as a byte stream, but received an object of "
    "non-ArrayBuffer/ArrayBufferView type on its writable side."
)
TOO_MANY = "Attempt to write too many bytes through a FixedLengthStream."
TOO_FEW = "FixedLengthStream did not see all expected bytes before close()."
NO_LENGTH = "FixedLengthStream requires an integer expected length less than 2^53."


class IdentityTransformStream(TransformStream):
    """Bytes pass as they are; a reader may bring a buffer (`getReader(mode="byob")`)."""

    def __init__(self, strategy: Any = None) -> None:
        super().__init__({"transform": self._pass, "flush": self._at_the_end}, strategy)

    def _source(self, source: Any, strategy: Any) -> ReadableStream:
        return ReadableStream.with_controller(lambda stream: ByteController(stream, source, strategy_of(strategy, 0)))

    def _pass(self, chunk: Any, controller: TransformController) -> None:
        if data := bytes_of(chunk):
            controller.enqueue(data)

    def _at_the_end(self, controller: TransformController) -> None:
        """Any end will do."""


class FixedLengthStream(IdentityTransformStream):
    """So many bytes, no more and no fewer; a response with such a body has a Content-Length.

    ```python
    stream = FixedLengthStream.new(11)
    return Response(stream.readable)
    ```
    """

    def __init__(self, length: Any, strategy: Any = None) -> None:
        if not isinstance(length, int | float) or isinstance(length, bool) or not 0 <= length < 2**53:
            raise JsTypeError(NO_LENGTH)
        self._left = int(length)
        super().__init__(strategy)
        self.readable.expected_length = self._left

    def _pass(self, chunk: Any, controller: TransformController) -> None:
        data = bytes_of(chunk)
        if len(data) > self._left:
            raise JsTypeError(TOO_MANY)
        self._left -= len(data)
        if data:
            controller.enqueue(data)

    def _at_the_end(self, controller: TransformController) -> None:
        if self._left:
            raise JsTypeError(TOO_FEW)


def bytes_of(chunk: Any) -> bytes:
    if isinstance(chunk, str):
        return chunk.encode()
    if isinstance(chunk, bytes | bytearray | memoryview):
        return bytes(chunk)
    if hasattr(chunk, "to_bytes") and not isinstance(chunk, int):
        return bytes(chunk.to_bytes())
    raise JsTypeError(NO_BYTES)
