"""Bytes in JavaScript: `ArrayBuffer`, and the typed arrays that own its memory or look into it.

A `Uint8Array` is a bytearray of Python's, so that whatever takes bytes takes a chunk of a stream, and owns its memory.
Everything else looks into memory that a `Uint8Array` owns. A `Uint8Array` over a part of a buffer is a copy of it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any

from cfai.worker.web.errors import JsRangeError
from cfai.worker.web.proxies import JsProxy, shown_as_proxy
from cfai.worker.web.typed_arrays import ArrayType, TypedArray, allow, refused_operand

__all__ = ["TYPED_ARRAYS", "ArrayBuffer", "Uint8Array", "array_of_bytes"]


_BYTES = "chunk.to_bytes()"


class Uint8Array(TypedArray, bytearray):  # type: ignore[misc]  # bytearray's methods are the lenient ones
    """Bytes as a stream hands them out.

    ```python
    chunk.to_bytes()  # what works on Cloudflare, too; chunk.decode() is noted
    ```
    """

    js_name = "Uint8Array"
    format = "B"

    @classmethod
    def new(cls, data: Any = 0, offset: int = 0, length: int | None = None) -> Uint8Array:
        if isinstance(data, ArrayBuffer):
            memory = data.memory
            if offset == 0 and length in (None, len(memory)):
                return memory
            data = memoryview(memory)[offset : None if length is None else offset + length]
        made: Uint8Array = array_of_bytes(bytes(_elements_of(cls, data)))
        return made

    @classmethod
    def _of_bytes(cls, data: bytes) -> Any:
        return array_of_bytes(data)

    def __init__(self, data: Any = b"") -> None:
        bytearray.__init__(self, data)

    def _view(self) -> memoryview:
        return memoryview(self)

    # bytearray's own is quicker than TypedArray's, and the same.
    __len__, __iter__ = bytearray.__len__, bytearray.__iter__

    def __getitem__(self, at: Any) -> Any:
        return TypedArray.__getitem__(self, at) if isinstance(at, slice) else bytearray.__getitem__(self, at)

    def __bytes__(self) -> bytes:
        return bytes(memoryview(self))

    @property
    def buffer(self) -> ArrayBuffer:
        return _buffer_of(self)

    def __str__(self) -> str:
        return self.join()

    __repr__ = __str__

    # What Pyodide's proxy of a Uint8Array does not have, and bytes do.
    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        allow("chunk.decode()", lambda: AttributeError("decode"), "chunk.to_bytes().decode()")
        return bytes(memoryview(self)).decode(encoding, errors)

    def encode(self, encoding: str = "utf-8") -> bytes:
        # What Starlette asks of a chunk that is neither bytes nor a memoryview.
        allow("a chunk of a stream given to a framework as it is", lambda: AttributeError("encode"), _BYTES)
        return bytes(memoryview(self))

    def hex(self, *args: Any) -> str:
        allow("chunk.hex()", lambda: AttributeError("hex"), "chunk.to_bytes().hex()")
        return bytes(memoryview(self)).hex(*args)

    def __add__(self, other: Any) -> Any:
        name = type(other).__name__
        allow("chunk + bytes", refused_operand("+", name), _BYTES)
        return bytes(memoryview(self)) + bytes(other)


def array_of_bytes(data: Any) -> Any:
    """A copy of `data`, anything with Python's buffer protocol, as the typed array of its format."""
    view = memoryview(data)
    kind = _BY_FORMAT.get(view.format.lstrip("@=<"), Uint8Array)
    if kind is Uint8Array:
        made: Uint8Array = type.__call__(Uint8Array, view.tobytes())
        return made
    return kind._of_bytes(view.tobytes())


class ArrayBuffer(JsProxy, metaclass=ArrayType):
    """`ArrayBuffer.new(4)`, or the `buffer` of a typed array."""

    js_name = "ArrayBuffer"

    def __init__(self, length: int = 0) -> None:
        self.memory: Uint8Array = array_of_bytes(bytes(length))

    @property
    def byteLength(self) -> int:  # noqa: N802  # JavaScript's spelling
        return len(self.memory)

    def slice(self, start: int | None = None, end: int | None = None) -> ArrayBuffer:
        return _buffer_of(array_of_bytes(memoryview(self.memory)[start:end]))

    def to_bytes(self) -> bytes:
        return bytes(self.memory)

    __bytes__ = to_bytes

    def to_py(self, *, depth: int = -1, default_converter: Any = None) -> memoryview:
        return memoryview(bytearray(self.memory))

    to_memoryview = to_py

    def to_string(self, encoding: str | None = None) -> str:
        return self.to_bytes().decode(encoding or "utf-8")

    assign: Any = lambda self, data: self.memory.assign(data)
    assign_to: Any = lambda self, data: self.memory.assign_to(data)

    def __len__(self) -> int:
        raise TypeError("object of type 'pyodide.ffi.JsProxy' has no len()")

    def __bool__(self) -> bool:
        return len(self.memory) > 0

    def __str__(self) -> str:
        return "[object ArrayBuffer]"

    __repr__ = __str__


def _buffer_of(memory: Uint8Array) -> ArrayBuffer:
    buffer: ArrayBuffer = ArrayBuffer.new(0)
    buffer.memory = memory
    return buffer


def _elements_of(kind: type[TypedArray], data: Any) -> Iterable[Any]:
    if isinstance(data, int):
        return [kind._element(0)] * data
    if not isinstance(data, TypedArray) and isinstance(data, bytes | bytearray | memoryview):
        return memoryview(data).cast("B")
    if data is None:
        return ()
    return [kind._element(item) for item in data]


class _View(TypedArray):
    """A typed array that looks into an `ArrayBuffer`."""

    def __init__(self, data: Any = 0, offset: int = 0, length: int | None = None) -> None:
        size = struct.calcsize(self.format)
        if not isinstance(data, ArrayBuffer):
            items = list(_elements_of(type(self), data))
            data, offset, length = ArrayBuffer.new(len(items) * size), 0, len(items)
            memoryview(data.memory)[:] = struct.pack(f"<{len(items)}{self.format}", *map(self._element, items))
        if offset % size:
            raise JsRangeError(f"start offset of {type(self).name} should be a multiple of {size}")
        left = len(data.memory) - offset
        if length is None and left % size:
            raise JsRangeError(f"byte length of {type(self).name} should be a multiple of {size}")
        end = offset + (left if length is None else length * size)
        if not 0 <= offset <= end <= len(data.memory):
            raise JsRangeError(f"Invalid typed array length: {length}")
        self._buffer: ArrayBuffer = data
        self._start = offset
        self._cast: memoryview = memoryview(data.memory)[offset:end].cast(self.format)  # type: ignore[call-overload]

    @classmethod
    def _of_bytes(cls, data: bytes) -> Any:
        return cls.new(_buffer_of(array_of_bytes(data)))

    def _view(self) -> memoryview:
        return self._cast

    @property
    def buffer(self) -> ArrayBuffer:
        return self._buffer

    @property
    def byteOffset(self) -> int:  # noqa: N802  # JavaScript's spelling
        return self._start

    def subarray(self, start: int | None = None, end: int | None = None) -> Any:
        first, stop, _ = slice(start, end).indices(len(self))
        at = self._start + first * self.BYTES_PER_ELEMENT
        return type(self).new(self._buffer, at, max(0, stop - first))


class _Clamped(_View):
    @classmethod
    def _element(cls, value: Any) -> Any:
        """Between 0 and 255, halves to the even side; what is no number is 0."""
        number = float(value)
        return 0 if number != number else round(min(max(number, 0), 255))


def _kinds() -> dict[str, type[TypedArray]]:
    formats = {
        "Int8": "b",
        "Uint8Clamped": "B",
        "Int16": "h",
        "Uint16": "H",
        "Int32": "i",
        "Uint32": "I",
        "Float32": "f",
        "Float64": "d",
        "BigInt64": "q",
        "BigUint64": "Q",
    }
    kinds: dict[str, type[TypedArray]] = {"Uint8Array": Uint8Array}
    for name, code in formats.items():
        made: Any = ArrayType(
            f"{name}Array",
            (_Clamped if name == "Uint8Clamped" else _View,),
            {"js_name": f"{name}Array", "format": code},
        )
        kinds[made.name] = made
    return kinds


TYPED_ARRAYS = _kinds()
"""The typed arrays by their names."""
_BY_FORMAT = {kind.format: kind for name, kind in TYPED_ARRAYS.items() if name != "Uint8ClampedArray"} | {
    "l": TYPED_ARRAYS["BigInt64Array"],
    "c": Uint8Array,
}

_all: tuple[type, ...] = (*TYPED_ARRAYS.values(), ArrayBuffer)
for _kind in _all:
    shown_as_proxy(_kind)


def __getattr__(name: str) -> Any:
    # The arrays that are made above are this module's, like those that are written out.
    if (found := TYPED_ARRAYS.get(name)) is None:
        raise AttributeError(name)
    return found
