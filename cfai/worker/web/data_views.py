"""`DataView`: the numbers in an `ArrayBuffer`, at any place and in either order of their bytes."""

from __future__ import annotations

import struct
from typing import Any

from cfai.worker.web.buffers import TYPED_ARRAYS, ArrayBuffer
from cfai.worker.web.errors import JsRangeError, JsTypeError
from cfai.worker.web.nulls import as_number
from cfai.worker.web.proxies import JsProxy, shown_as_proxy
from cfai.worker.web.typed_arrays import ArrayType

__all__ = ["DataView"]


class DataView(JsProxy, metaclass=ArrayType):
    """`DataView.new(buffer)`: numbers of any kind, at any place, big-endian unless said otherwise."""

    js_name = "DataView"

    def __init__(self, buffer: ArrayBuffer, offset: int = 0, length: int | None = None) -> None:
        if not isinstance(buffer, ArrayBuffer):
            raise JsTypeError("First argument to DataView constructor must be an ArrayBuffer")
        self.buffer = buffer
        self.byteOffset = offset
        end = len(buffer.memory) if length is None else offset + length
        self._view = memoryview(buffer.memory)[offset:end]

    @property
    def byteLength(self) -> int:  # noqa: N802  # JavaScript's spelling
        return self._view.nbytes

    def to_bytes(self) -> bytes:
        return self._view.tobytes()

    __bytes__ = to_bytes

    def __getattr__(self, name: str) -> Any:
        kind = TYPED_ARRAYS.get(f"{name[3:]}Array")
        if kind is None or name[:3] not in ("get", "set"):
            raise AttributeError(name)

        def get(at: int, little: bool = False) -> Any:
            return as_number(struct.unpack_from(_order(little) + kind.format, self._view, _place(at))[0])

        def put(at: int, value: Any, little: bool = False) -> None:
            struct.pack_into(_order(little) + kind.format, self._view, _place(at), kind._element(value))

        def _place(at: int) -> int:
            if not 0 <= at <= self._view.nbytes - struct.calcsize(kind.format):
                raise JsRangeError("Offset is outside the bounds of the DataView")
            return at

        return get if name[:3] == "get" else put


def _order(little: bool) -> str:
    return "<" if little else ">"


shown_as_proxy(DataView)
