"""Names with values in order, which `Headers`, `URLSearchParams` and `FormData` are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from cfai.worker.web.arrays import JsArray, callback
from cfai.worker.web.nulls import jsnull, seen
from cfai.worker.web.primitives import text_of

__all__ = ["Pairs"]


class Pairs:
    """What the three have in common. Each says with `set` what becomes of a value; a name may come several times.

    ```python
    class FormData(Pairs, JsProxy, metaclass=JsClass): ...
    ```
    """

    _pairs: list[tuple[str, Any]]

    def _shown(self) -> list[tuple[str, Any]]:
        """The pairs that a loop sees, which may change them meanwhile."""
        return list(self._pairs)

    def _with(self, name: str, value: Any) -> list[tuple[str, Any]]:
        """The pairs with `value` in the place of the first of that name, and without the others of it."""
        first = next((at for at, pair in enumerate(self._pairs) if pair[0] == name), len(self._pairs))
        after = [pair for pair in self._pairs[first + 1 :] if pair[0] != name]
        return [*self._pairs[:first], (name, value), *after]

    def get(self, name: Any) -> Any:
        key = text_of(name)
        return next((value for one, value in self._pairs if one == key), seen(jsnull))

    def getAll(self, name: Any) -> JsArray:  # noqa: N802  # JavaScript's spelling
        key = text_of(name)
        return JsArray(value for one, value in self._pairs if one == key)

    def has(self, name: Any) -> bool:
        key = text_of(name)
        return any(one == key for one, _ in self._pairs)

    def set(self, name: Any, value: Any) -> None:
        raise NotImplementedError

    def delete(self, name: Any) -> None:
        raise NotImplementedError

    def keys(self) -> Iterator[str]:
        return iter([name for name, _ in self._shown()])

    def values(self) -> Iterator[Any]:
        return iter([value for _, value in self._shown()])

    def entries(self) -> Iterator[JsArray]:
        return iter([JsArray(pair) for pair in self._shown()])

    def __iter__(self) -> Iterator[Any]:
        return self.entries()

    def forEach(self, call: Callable[..., Any], this: Any = None) -> None:  # noqa: N802
        call = callback(call, 3)
        for name, value in self._shown():
            call(value, name, self)

    def __getitem__(self, name: Any) -> Any:
        return self.get(name)

    def __setitem__(self, name: Any, value: Any) -> None:
        self.set(name, value)

    def __delitem__(self, name: Any) -> None:
        self.delete(name)

    def __contains__(self, name: object) -> bool:
        return self.has(name)
