"""What JavaScript's typed arrays, `Uint8Array` and the others, have in common."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar

from cfai.worker.compat import current
from cfai.worker.web.errors import JsRangeError
from cfai.worker.web.nulls import as_number, number_text
from cfai.worker.web.proxies import JsClass, JsProxy, is_ours

__all__ = ["ArrayType", "TypedArray", "allow", "refused_operand"]


class ArrayType(JsClass):
    @property
    def __name__(self) -> str:  # type: ignore[override]
        return "JsProxy"

    def _problem_without_new(self) -> str:
        return f"Constructor {self.name} requires 'new'"

    def from_(self, items: Iterable[Any], call: Callable[..., Any] | None = None) -> Any:
        return self.new(list(items) if call is None else [call(item, at) for at, item in enumerate(items)])

    def of(self, *items: Any) -> Any:
        return self.new(list(items))


class TypedArray(JsProxy, metaclass=ArrayType):
    """What the typed arrays share."""

    js_name: ClassVar[str] = "TypedArray"
    format: ClassVar[str] = "B"

    def _view(self) -> memoryview:
        raise NotImplementedError

    @classmethod
    def _of_bytes(cls, data: bytes) -> Any:
        """An array of this kind with a copy of `data` as its memory."""
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
            allow("a slice of a typed array", lambda: NotImplementedError(problem))
            return self._of_bytes(bytes(self._view()[at].tobytes()))
        try:
            return as_number(self._view()[at])
        except IndexError:
            raise IndexError(at) from None

    def __setitem__(self, at: Any, value: Any) -> None:
        if isinstance(at, slice):
            problem = "Slice subscripting isn't implemented for typed arrays"
            allow("a slice of a typed array", lambda: NotImplementedError(problem))
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
        return self._of_bytes(self._view()[start:end].tobytes())

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


def allow(idiom: str, refusal: Callable[[], BaseException], remedy: str = "") -> None:
    """Let a script use an idiom that Pyodide's typed arrays refuse.

    ```python
    allow("chunk.decode()", lambda: AttributeError("decode"))
    ```
    """
    # cfai itself may take a Uint8Array for the bytes that it is.
    if not is_ours(2):
        current().lenient(idiom, refusal, instead=remedy)


def refused_operand(operator: str, other: str) -> Callable[[], TypeError]:
    return lambda: TypeError(f"unsupported operand type(s) for {operator}: 'pyodide.ffi.JsProxy' and '{other}'")
