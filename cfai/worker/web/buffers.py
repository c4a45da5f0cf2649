"""Bytes in JavaScript: `ArrayBuffer`, the typed arrays and `DataView`.

A `Uint8Array` is a bytearray of Python's, so that whatever takes bytes takes a chunk of a stream, and owns its memory.
Everything else looks into memory that a `Uint8Array` owns. A `Uint8Array` over a part of a buffer is a copy of it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar

from cfai.worker.compat import current
from cfai.worker.web.errors import JsRangeError, JsTypeError
from cfai.worker.web.nulls import as_number, number_text
from cfai.worker.web.proxies import JsClass, JsProxy, is_ours, shown_as_proxy

__all__ = ["TYPED_ARRAYS", "ArrayBuffer", "DataView", "TypedArray", "Uint8Array", "array_of_bytes"]


class _ArrayType(JsClass):
    @property
    def __name__(self) -> str:  # type: ignore[override]
        return "JsProxy"

    def _problem_without_new(self) -> str:
        return f"Constructor {self.name} requires 'new'"

    def from_(self, items: Iterable[Any], call: Callable[..., Any] | None = None) -> Any:
        return self.new(list(items) if call is None else [call(item, at) for at, item in enumerate(items)])

    def of(self, *items: Any) -> Any:
        return self.new(list(items))


class TypedArray(JsProxy, metaclass=_ArrayType):
    """What the typed arrays share."""

    js_name: ClassVar[str] = "TypedArray"
    format: ClassVar[str] = "B"

    def _view(self) -> memoryview:
        raise NotImplementedError

    @classmethod
    def _element(cls, value: Any) -> Any:
        """`value` as this kind of array holds it: whole numbers wrap round, as in C."""
        if cls.format in "efd":
            return float(value)
        bits = struct.calcsize(cls.format) * 8
        whole = int(value) & ((1 << bits) - 1)
        signed = cls.format.islower()
        return whole - (1 << bits) if signed and whole >> (bits - 1) else whole

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            problem = "Slice subscripting isn't implemented for typed arrays"
            _lenient("a slice of a typed array", lambda: NotImplementedError(problem))
            return _made(type(self), bytes(self._view()[at].tobytes()))
        try:
            return as_number(self._view()[at])
        except IndexError:
            raise IndexError(at) from None

    def __setitem__(self, at: Any, value: Any) -> None:
        if isinstance(at, slice):
            problem = "Slice subscripting isn't implemented for typed arrays"
            _lenient("a slice of a typed array", lambda: NotImplementedError(problem))
            self._view()[at] = memoryview(bytes(value)).cast(self.format)  # type: ignore[call-overload]  # any format
        else:
            self._view()[at] = self._element(value)

    def __len__(self) -> int:
        return len(self._view())

    def __iter__(self) -> Iterator[Any]:
        return iter([as_number(item) for item in self._view()])

    def __bytes__(self) -> bytes:
        return self._view().tobytes()

    @property
    def length(self) -> int:
        return len(self._view())

    @property
    def byteLength(self) -> int:  # noqa: N802  # JavaScript's spelling
        return self._view().nbytes

    @property
    def BYTES_PER_ELEMENT(self) -> int:  # noqa: N802
        return struct.calcsize(self.format)

    @property
    def byteOffset(self) -> int:  # noqa: N802
        return 0

    def to_bytes(self) -> bytes:
        return self._view().tobytes()

    def to_py(self, *, depth: int = -1, default_converter: Any = None) -> memoryview:
        copied: memoryview = memoryview(bytearray(self._view().tobytes())).cast(self.format)  # type: ignore[call-overload]
        return copied

    to_memoryview = to_py

    def to_string(self, encoding: str | None = None) -> str:
        return self.to_bytes().decode(encoding or "utf-8")

    def to_file(self, file: Any) -> None:
        file.write(self.to_bytes())

    def assign(self, data: Any) -> None:
        """Fill the array with the bytes of `data`, which are as many."""
        source = memoryview(data).cast("B")
        if source.nbytes != self._view().nbytes:
            raise ValueError(f"cannot assign {source.nbytes} bytes to an array of {self._view().nbytes}")
        self._view().cast("B")[:] = source

    def assign_to(self, data: Any) -> None:
        """Fill `data` with the bytes of the array."""
        memoryview(data).cast("B")[:] = self._view().cast("B")

    def set(self, source: Any, offset: int = 0) -> None:
        items = list(source)
        if offset + len(items) > len(self):
            raise JsRangeError("offset is out of bounds")
        for at, item in enumerate(items, offset):
            self._view()[at] = self._element(item)

    def fill(self, value: Any, start: int | None = None, end: int | None = None) -> Any:
        for at in range(*slice(start, end).indices(len(self))):
            self._view()[at] = self._element(value)
        return self

    def slice(self, start: int | None = None, end: int | None = None) -> Any:
        return _made(type(self), self._view()[start:end].tobytes())

    def subarray(self, start: int | None = None, end: int | None = None) -> Any:
        return TypedArray.slice(self, start, end)

    def join(self, separator: str = ",") -> str:
        return separator.join(number_text(item) for item in self)

    def toString(self) -> str:  # noqa: N802
        return self.join()

    def __bool__(self) -> bool:
        return len(self) > 0

    def __str__(self) -> str:
        return self.join()

    __repr__ = __str__


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
        _lenient("chunk.decode()", lambda: AttributeError("decode"), "chunk.to_bytes().decode()")
        return bytes(memoryview(self)).decode(encoding, errors)

    def encode(self, encoding: str = "utf-8") -> bytes:
        # What Starlette asks of a chunk that is neither bytes nor a memoryview.
        _lenient("a chunk of a stream given to a framework as it is", lambda: AttributeError("encode"), _BYTES)
        return bytes(memoryview(self))

    def hex(self, *args: Any) -> str:
        _lenient("chunk.hex()", lambda: AttributeError("hex"), "chunk.to_bytes().hex()")
        return bytes(memoryview(self)).hex(*args)

    def __add__(self, other: Any) -> Any:
        name = type(other).__name__
        _lenient("chunk + bytes", refused_operand("+", name), _BYTES)
        return bytes(memoryview(self)) + bytes(other)


_BYTES = "chunk.to_bytes()"


def _lenient(idiom: str, refusal: Callable[[], BaseException], remedy: str = "") -> None:
    # cfai itself may take a Uint8Array for the bytes that it is.
    if not is_ours(2):
        current().lenient(idiom, refusal, instead=remedy)


def refused_operand(operator: str, other: str) -> Callable[[], TypeError]:
    return lambda: TypeError(f"unsupported operand type(s) for {operator}: 'pyodide.ffi.JsProxy' and '{other}'")


def array_of_bytes(data: Any) -> Any:
    """A copy of `data`, anything with Python's buffer protocol, as the typed array of its format."""
    view = memoryview(data)
    kind = _BY_FORMAT.get(view.format.lstrip("@=<"), Uint8Array)
    if kind is Uint8Array:
        made: Uint8Array = type.__call__(Uint8Array, view.tobytes())
        return made
    return _made(kind, view.tobytes())


class ArrayBuffer(JsProxy, metaclass=_ArrayType):
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


def _made(kind: type[TypedArray], data: bytes) -> Any:
    if kind is Uint8Array:
        return array_of_bytes(data)
    return kind.new(_buffer_of(array_of_bytes(data)))


class DataView(JsProxy, metaclass=_ArrayType):
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
        kind = _OF_VIEWS.get(name[3:])
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
    kinds: dict[str, type[TypedArray]] = {"Uint8": Uint8Array}
    for name, code in formats.items():
        made: Any = _ArrayType(f"{name}Array", (_View,), {"js_name": f"{name}Array", "format": code})
        kinds[name] = made
    return kinds


_OF_VIEWS = _kinds()
TYPED_ARRAYS = {kind.name: kind for kind in _OF_VIEWS.values()}
"""The typed arrays by their names."""
_BY_FORMAT = {kind.format: kind for name, kind in _OF_VIEWS.items() if name != "Uint8Clamped"} | {
    "l": TYPED_ARRAYS["BigInt64Array"],
    "c": Uint8Array,
}

_all: tuple[type, ...] = (*TYPED_ARRAYS.values(), ArrayBuffer, DataView)
for _kind in _all:
    shown_as_proxy(_kind)


def __getattr__(name: str) -> Any:
    # The arrays that are made above are this module's, like those that are written out.
    if (found := TYPED_ARRAYS.get(name)) is None:
        raise AttributeError(name)
    return found
