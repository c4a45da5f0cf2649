"""`Headers`, as the Fetch standard has it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from cfai.worker.web.values import JsArray, JsClass, JsTypeError, pairs_of

__all__ = ["Headers"]

_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_BAD_VALUE = re.compile(r"[\x00\r\n]")


class Headers(metaclass=JsClass):
    """Header names and values. Names are kept in lower case; a repeated name is one value joined by commas."""

    def __init__(self, init: Any = None) -> None:
        self._pairs: list[tuple[str, str]] = []
        if isinstance(init, Headers):
            self._pairs = list(init._pairs)
        elif init is not None:
            for name, value in pairs_of(init, "Headers"):
                self.append(name, value)

    def append(self, name: str, value: object) -> None:
        self._pairs.append((_name(name), _value(value)))

    def set(self, name: str, value: object) -> None:
        name = _name(name)
        self._pairs = [pair for pair in self._pairs if pair[0] != name]
        self._pairs.append((name, _value(value)))

    def delete(self, name: str) -> None:
        name = _name(name)
        self._pairs = [pair for pair in self._pairs if pair[0] != name]

    def get(self, name: str) -> str | None:
        values = self.get_all(name)
        return ", ".join(values) if values else None

    def get_all(self, name: str) -> list[str]:
        name = _name(name)
        return [value for key, value in self._pairs if key == name]

    def getSetCookie(self) -> JsArray:  # noqa: N802
        return JsArray(self.get_all("set-cookie"))

    def has(self, name: str) -> bool:
        return any(key == _name(name) for key, _ in self._pairs)

    def keys(self) -> list[str]:
        return sorted({name for name, _ in self._pairs})

    def values(self) -> list[str]:
        return [value for _, value in self.entries()]

    def entries(self) -> list[tuple[str, str]]:
        """Each name once with its values joined, except `set-cookie`, which keeps its own line per value."""
        found: list[tuple[str, str]] = []
        for name in self.keys():
            values = self.get_all(name)
            found += [(name, value) for value in values] if name == "set-cookie" else [(name, ", ".join(values))]
        return found

    items = entries

    def forEach(self, call: Callable[..., Any]) -> None:  # noqa: N802
        for name, value in self.entries():
            call(value, name)

    @property
    def raw(self) -> list[tuple[str, str]]:
        """The lines in the order in which they were added, as they go onto the wire."""
        return list(self._pairs)

    def __getitem__(self, name: str) -> str:
        if (value := self.get(name)) is None:
            raise KeyError(name)
        return value

    def __setitem__(self, name: str, value: object) -> None:
        self.set(name, value)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.has(name)

    def __iter__(self) -> Iterator[JsArray]:
        return iter([JsArray(pair) for pair in self.entries()])

    def __repr__(self) -> str:
        return f"Headers({self.keys()})"


def _name(name: object) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise JsTypeError(f"Invalid header name: {name!r}")
    return name.lower()


def _value(value: object) -> str:
    text = str(value).strip(" \t")
    if _BAD_VALUE.search(text):
        raise JsTypeError(f"Invalid header value: {text!r}")
    try:
        text.encode("latin-1")
    except UnicodeEncodeError:
        raise JsTypeError(f"Invalid header value: {text!r} has characters that a header cannot carry") from None
    return text
