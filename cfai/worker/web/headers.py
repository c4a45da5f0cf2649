"""`Headers`, as the Fetch standard has it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from cfai.worker import instead
from cfai.worker.compat import current
from cfai.worker.web.arrays import JsArray
from cfai.worker.web.conversion import iterated, members_of
from cfai.worker.web.errors import JsTypeError
from cfai.worker.web.nulls import jsnull, seen
from cfai.worker.web.pairs import Pairs
from cfai.worker.web.primitives import text_of
from cfai.worker.web.proxies import JsClass, JsProxy, is_ours, missing

__all__ = ["Headers", "refuse_dict"]

_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_BAD_VALUE = re.compile(r"[\x00\r\n]")
_NO_PAIR = "To initialize a Headers object from a sequence, each inner sequence must have exactly two elements."


class Headers(Pairs, JsProxy, metaclass=JsClass):
    """Header names and values. Names are kept in lower case; a repeated name is one value joined by commas.

    On the wire a value is UTF-8, as workerd has it, where browsers refuse what is not Latin-1.
    """

    def __init__(self, init: Any = None) -> None:
        self._pairs: list[tuple[str, str]] = []
        if isinstance(init, Headers):
            self._pairs = list(init._pairs)
        elif init is not None:
            if not is_ours(2):
                refuse_dict(init, "js.Headers.new(<dict>)")
            for name, value in _pairs_from(init):
                self.append(name, value)

    def __getattr__(self, name: str) -> Any:
        raise missing("js.Headers", name)

    def append(self, name: Any, value: Any) -> None:
        self._pairs.append((_name(name), _value(value)))

    def set(self, name: Any, value: Any) -> None:
        name = _name(name)
        self._pairs = [pair for pair in self._pairs if pair[0] != name]
        self._pairs.append((name, _value(value)))

    def delete(self, name: Any) -> None:
        name = _name(name)
        self._pairs = [pair for pair in self._pairs if pair[0] != name]

    def get(self, name: Any) -> Any:
        values = self.all(name)
        return ", ".join(values) if values else seen(jsnull)

    def find(self, name: str) -> str | None:
        """The value, or None: `get` for code that has no use for JavaScript's null."""
        return ", ".join(self.all(name)) or None

    def all(self, name: Any) -> list[str]:
        """The values of each line of that name."""
        name = _name(name)
        return [value for key, value in self._pairs if key == name]

    def getAll(self, name: Any) -> JsArray:  # noqa: N802  # JavaScript's spelling
        if _name(name) != "set-cookie":
            raise JsTypeError('getAll() can only be used with the header name "Set-Cookie".')
        return self.getSetCookie()

    def getSetCookie(self) -> JsArray:  # noqa: N802
        return JsArray(self.all("set-cookie"))

    def has(self, name: Any) -> bool:
        name = _name(name)
        return any(key == name for key, _ in self._pairs)

    @property
    def joined(self) -> list[tuple[str, str]]:
        """Each name once with its values joined, except `set-cookie`, which keeps its own line per value."""
        found: list[tuple[str, str]] = []
        for name in sorted({name for name, _ in self._pairs}):
            values = self.all(name)
            found += [(name, value) for value in values] if name == "set-cookie" else [(name, ", ".join(values))]
        return found

    @property
    def raw(self) -> list[tuple[str, str]]:
        """The lines in the order in which they were added, as they go onto the wire."""
        return list(self._pairs)

    def _shown(self) -> list[tuple[str, str]]:
        return self.joined


def refuse_dict(init: Any, idiom: str) -> None:
    """A dict that is given to JavaScript as it is: it iterates over the keys, and a text is no pair."""
    if isinstance(init, Mapping) and init and not isinstance(init, JsProxy):
        current().lenient(idiom, lambda: JsTypeError(_NO_PAIR), instead=instead.AS_PAIRS)


def _pairs_from(init: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(init, Mapping):
        yield from init.items()
        return
    if not isinstance(init, JsArray) and (members := members_of(init)):
        yield from members.items()
        return
    if isinstance(init, str | bool | int | float | bytes):
        raise JsTypeError("Headers are made of an object, or of pairs of a name and a value.")
    for pair in iterated(init):
        items = [] if isinstance(pair, str) else list(pair)
        if len(items) != 2:
            raise JsTypeError(_NO_PAIR)
        yield items[0], items[1]


def _name(name: Any) -> str:
    text = text_of(name)
    if not _NAME.fullmatch(text):
        raise JsTypeError("Invalid header name.")
    return text.lower()


def _value(value: Any) -> str:
    text = text_of(value).strip("\t\n\r ")
    if _BAD_VALUE.search(text):
        raise JsTypeError("Invalid header value.")
    return text
