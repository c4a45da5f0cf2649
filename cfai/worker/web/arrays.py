"""`JsArray`: a JavaScript array, which is nearly a list."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from cfai.worker.compat import current
from cfai.worker.web.nulls import jsnull, seen
from cfai.worker.web.proxies import Shown, is_spelled_out, refused

__all__ = ["Array", "JsArray", "callback", "items_of"]


class JsArray(Shown):
    """An Array: index, slice, len and iteration as in a list, and JavaScript's methods.

    Two arrays are equal when they are one.
    """

    __slots__ = ("__items", "__weakref__")
    __hash__ = None  # type: ignore[assignment]
    js_name = "Array"

    def __init__(self, items: Iterable[Any] = (), /) -> None:
        self.__items = list(items)

    def __getattr__(self, name: str) -> Any:
        if name in _OF_LISTS and is_spelled_out():
            current().lenient(f"array.{name}(...)", lambda: AttributeError(name))
            return getattr(self.__items, name)
        raise AttributeError(name)

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            return JsArray(self.__items[at])
        return seen(self.__items[self.__place(at)])

    def __setitem__(self, at: Any, value: Any) -> None:
        self.__items[at if isinstance(at, slice) else self.__place(at)] = value

    def __delitem__(self, at: Any) -> None:
        del self.__items[at if isinstance(at, slice) else self.__place(at)]

    def __place(self, at: Any) -> int:
        if not isinstance(at, int):
            raise refused("object is not subscriptable")()
        if not -len(self.__items) <= at < len(self.__items):
            raise IndexError(at)
        return at

    def __iter__(self) -> Iterator[Any]:
        return map(seen, self.__items)

    def __reversed__(self) -> Iterator[Any]:
        return map(seen, reversed(self.__items))

    def __len__(self) -> int:
        return len(self.__items)

    def __contains__(self, value: object) -> bool:
        return any(item is value or item == value for item in self)

    def __add__(self, other: Any) -> JsArray:
        return JsArray([*self.__items, *other])

    def __iadd__(self, other: Any) -> JsArray:
        self.__items.extend(other)
        return self

    def __mul__(self, times: int) -> JsArray:
        return JsArray(self.__items * times)

    __rmul__ = __mul__

    def to_py(self, *, depth: int = -1, default_converter: Any = None) -> Any:
        from cfai.worker.web.conversion import to_py

        return to_py(self, depth=depth, default_converter=default_converter)

    def object_keys(self) -> JsArray:
        return JsArray(map(str, range(len(self.__items))))

    def object_values(self) -> JsArray:
        return JsArray(self.__items)

    def object_entries(self) -> JsArray:
        return JsArray(JsArray((str(at), item)) for at, item in enumerate(self.__items))

    def append(self, value: Any) -> None:
        self.__items.append(value)

    def extend(self, values: Iterable[Any]) -> None:
        self.__items.extend(values)

    def insert(self, at: int, value: Any) -> None:
        self.__items.insert(at, value)

    def remove(self, value: Any) -> None:
        self.__items.remove(value)

    def pop(self, at: int = -1) -> Any:
        return seen(self.__items.pop(at)) if self.__items else None

    def index(self, value: Any, start: int = 0, stop: int | None = None) -> int:
        return self.__items.index(value, start, len(self.__items) if stop is None else stop)

    def count(self, value: Any) -> int:
        return self.__items.count(value)

    def reverse(self) -> None:
        self.__items.reverse()

    # From here on the methods are JavaScript's.

    @property
    def length(self) -> int:
        return len(self.__items)

    @length.setter
    def length(self, value: int) -> None:
        del self.__items[value:]
        self.__items.extend([None] * (value - len(self.__items)))

    def push(self, *items: Any) -> int:
        self.__items.extend(items)
        return len(self.__items)

    def shift(self) -> Any:
        return seen(self.__items.pop(0)) if self.__items else None

    def unshift(self, *items: Any) -> int:
        self.__items[:0] = items
        return len(self.__items)

    def splice(self, start: int, count: int | None = None, *items: Any) -> JsArray:
        first, stop, _ = slice(start, None).indices(len(self.__items))
        end = stop if count is None else min(stop, first + max(0, count))
        taken = self.__items[first:end]
        self.__items[first:end] = items
        return JsArray(taken)

    def slice(self, start: int | None = None, end: int | None = None) -> JsArray:
        return JsArray(self.__items[start:end])

    def concat(self, *others: Any) -> JsArray:
        joined = list(self.__items)
        for other in others:
            joined.extend(other if isinstance(other, JsArray | list | tuple) else [other])
        return JsArray(joined)

    def join(self, separator: str = ",") -> str:
        from cfai.worker.web.primitives import text_of

        return separator.join("" if item is None or item is jsnull else text_of(item) for item in self.__items)

    def at(self, place: int) -> Any:
        inside = -len(self.__items) <= place < len(self.__items)
        return seen(self.__items[place]) if inside else None

    def includes(self, value: Any) -> bool:
        return value in self

    def indexOf(self, value: Any, start: int = 0) -> int:  # noqa: N802  # JavaScript's spelling
        return next((at for at in range(start, len(self.__items)) if self.__items[at] == value), -1)

    def lastIndexOf(self, value: Any) -> int:  # noqa: N802
        return next((at for at in reversed(range(len(self.__items))) if self.__items[at] == value), -1)

    def map(self, call: Callable[..., Any]) -> JsArray:
        call = callback(call, 3)
        return JsArray(call(item, at, self) for at, item in enumerate(self))

    def filter(self, call: Callable[..., Any]) -> JsArray:
        call = callback(call, 3)
        return JsArray(item for at, item in enumerate(self) if call(item, at, self))

    def forEach(self, call: Callable[..., Any]) -> None:  # noqa: N802
        call = callback(call, 3)
        for at, item in enumerate(self):
            call(item, at, self)

    def find(self, call: Callable[..., Any]) -> Any:
        call = callback(call, 3)
        return next((item for at, item in enumerate(self) if call(item, at, self)), None)

    def findIndex(self, call: Callable[..., Any]) -> int:  # noqa: N802
        call = callback(call, 3)
        return next((at for at, item in enumerate(self) if call(item, at, self)), -1)

    def some(self, call: Callable[..., Any]) -> bool:
        call = callback(call, 3)
        return any(call(item, at, self) for at, item in enumerate(self))

    def every(self, call: Callable[..., Any]) -> bool:
        call = callback(call, 3)
        return all(call(item, at, self) for at, item in enumerate(self))

    def reduce(self, call: Callable[..., Any], *initial: Any) -> Any:
        call = callback(call, 4)
        numbered = iter(enumerate(self))
        if initial:
            (total,) = initial
        elif (first := next(numbered, None)) is not None:
            total = first[1]
        else:
            from cfai.worker.web.errors import JsTypeError

            raise JsTypeError("Reduce of empty array with no initial value")
        for at, item in numbered:
            total = call(total, item, at, self)
        return total

    def flat(self, depth: int = 1) -> JsArray:
        flattened: list[Any] = []
        for item in self.__items:
            inner = isinstance(item, JsArray) and depth > 0
            flattened.extend(items_of(item.flat(depth - 1)) if inner else [item])
        return JsArray(flattened)

    def flatMap(self, call: Callable[..., Any]) -> JsArray:  # noqa: N802
        return self.map(call).flat()

    def fill(self, value: Any, start: int | None = None, end: int | None = None) -> JsArray:
        for at in range(*slice(start, end).indices(len(self.__items))):
            self.__items[at] = value
        return self

    def sort(self, compare: Callable[[Any, Any], Any] | None = None) -> JsArray:
        from cfai.worker.web.primitives import text_of

        # Without a function JavaScript sorts by text, 10 before 9, and undefined last.
        key = text_of if compare is None else functools.cmp_to_key(lambda one, other: int(compare(one, other)))
        kept = [item for item in self.__items if item is not None]
        self.__items[:] = [*sorted(kept, key=key), *[None] * (len(self.__items) - len(kept))]
        return self

    def entries(self) -> JsArray:
        return JsArray(JsArray((at, item)) for at, item in enumerate(self.__items))

    def toString(self) -> str:  # noqa: N802
        return self.join()

    def __str__(self) -> str:
        return self.join()

    __repr__ = __str__


_OF_LISTS = {"copy", "clear"}


def items_of(value: JsArray) -> list[Any]:
    """The items of `value`, live, with null as `jsnull`."""
    found: list[Any] = object.__getattribute__(value, "_JsArray__items")
    return found


def callback(call: Callable[..., Any], given: int) -> Callable[..., Any]:
    """A script's function, to be called with `given` arguments as JavaScript does, which may be more than it takes.

    JavaScript drops what a function does not take; Pyodide does not, and `array.map(lambda x: ...)` raises there.
    """
    try:
        signature = inspect.signature(call)
    except (TypeError, ValueError):  # a builtin that does not tell
        return call
    try:
        signature.bind(*range(given))
    except TypeError as error:
        positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        taken = sum(one.kind in positional for one in signature.parameters.values())
        name = getattr(call, "__qualname__", repr(call)).rpartition(".")[2]
        plural = "argument" if taken == 1 else "arguments"
        problem = f"{name}() takes {taken} positional {plural} but {given} were given"
        if taken > given:
            raise TypeError(f"{name}() {error}") from None
        current().lenient("a callback that takes fewer arguments than JavaScript gives it", lambda: TypeError(problem))
        return lambda *args: call(*args[:taken])
    return call


class Array(Shown):
    """JavaScript's `Array`."""

    def __new__(cls, *items: Any) -> Any:
        return cls.new(*items)

    @staticmethod
    def new(*items: Any) -> JsArray:
        if len(items) == 1 and isinstance(items[0], int) and not isinstance(items[0], bool):
            if items[0] < 0:
                from cfai.worker.web.errors import JsRangeError

                raise JsRangeError("Invalid array length")
            return JsArray([None] * items[0])
        return JsArray(items)

    @staticmethod
    def of(*items: Any) -> JsArray:
        return JsArray(items)

    @staticmethod
    def from_(items: Any, call: Callable[..., Any] | None = None) -> JsArray:
        from cfai.worker.web.conversion import iterated

        made = JsArray(iterated(items))
        if call is None:
            return made
        call = callback(call, 2)
        return made.map(lambda item, at, _: call(item, at))

    @staticmethod
    def isArray(value: Any) -> bool:  # noqa: N802
        return isinstance(value, JsArray)
