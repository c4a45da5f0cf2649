"""`URL` and `URLSearchParams`. Ada parses the URLs, as it does in workerd."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote_plus, unquote_to_bytes

from cfai.worker.web.arrays import JsArray
from cfai.worker.web.conversion import entries_of, members_of
from cfai.worker.web.errors import JsTypeError
from cfai.worker.web.nulls import jsnull, seen
from cfai.worker.web.pairs import Pairs
from cfai.worker.web.primitives import text_of
from cfai.worker.web.proxies import JsClass, JsProxy, missing

__all__ = ["URL", "URLSearchParams", "parse_form", "write_form"]


def parse_form(text: str) -> list[tuple[str, str]]:
    """The pairs of `application/x-www-form-urlencoded` (URL standard, 5.1)."""
    pairs = (piece.partition("=") for piece in text.split("&") if piece)
    return [(_decoded(name), _decoded(value)) for name, _, value in pairs]


def _decoded(text: str) -> str:
    return unquote_to_bytes(text.replace("+", " ")).decode("utf-8", "replace")


def write_form(pairs: list[tuple[str, str]]) -> str:
    """`pairs` as `application/x-www-form-urlencoded` (URL standard, 5.2)."""
    return "&".join(f"{_encoded(name)}={_encoded(value)}" for name, value in pairs)


def _encoded(text: str) -> str:
    # quote_plus leaves the tilde alone whatever it is told.
    return quote_plus(text, safe="*", errors="replace").replace("~", "%7E")


class URLSearchParams(Pairs, JsProxy, metaclass=JsClass):
    """The names and values of a query, in order."""

    def __init__(self, init: Any = None) -> None:
        self._url: URL | None = None
        self._pairs = _pairs_from(init)

    def __getattr__(self, name: str) -> Any:
        raise missing("js.URLSearchParams", name)

    def has(self, name: Any, value: Any = None) -> bool:
        return any(_is(pair, name, value) for pair in self._pairs)

    def append(self, name: Any, value: Any) -> None:
        self._change([*self._pairs, (text_of(name), text_of(value))])

    def set(self, name: Any, value: Any) -> None:
        """The first of that name changes in its place; the others go."""
        self._change(self._with(text_of(name), text_of(value)))

    def delete(self, name: Any, value: Any = None) -> None:
        self._change([pair for pair in self._pairs if not _is(pair, name, value)])

    def sort(self) -> None:
        # By JavaScript's code units, of which a character beyond U+FFFF has two.
        self._change(sorted(self._pairs, key=lambda pair: pair[0].encode("utf-16-be", "surrogatepass")))

    def _change(self, pairs: list[tuple[str, str]]) -> None:
        self._pairs = pairs
        if self._url is not None:
            self._url._parsed.search = write_form(pairs)

    def __iter__(self) -> Iterator[str]:
        # What has get, has and size is a Map to Pyodide, and a Map is iterated by its keys.
        return self.keys()

    @property
    def size(self) -> int:
        return len(self._pairs)

    def __len__(self) -> int:
        return len(self._pairs)

    def __bool__(self) -> bool:
        return True

    def __str__(self) -> str:
        return write_form(self._pairs)

    __repr__ = __str__


def _is(pair: tuple[str, str], name: Any, value: Any = None) -> bool:
    return pair[0] == text_of(name) and (value is None or pair[1] == text_of(value))


def _pairs_from(init: Any) -> list[tuple[str, str]]:
    if init is None or isinstance(init, str):
        return parse_form((init or "").removeprefix("?"))
    if isinstance(init, URLSearchParams):
        return list(init._pairs)
    members = None if isinstance(init, Mapping | JsArray) else members_of(init)
    if members:
        return [(name, text_of(value)) for name, value in members.items()]
    try:
        pairs = list(entries_of(init, "js.URLSearchParams.new(<dict>)"))
    except JsTypeError:
        raise JsTypeError("Invalid URL search params sequence.") from None
    return [(text_of(name), text_of(value)) for name, value in pairs]


def _part(name: str) -> property:
    def read(self: URL) -> str:
        return str(getattr(self._parsed, name))

    def write(self: URL, value: Any) -> None:
        try:
            setattr(self._parsed, name, text_of(value))
        except ValueError:  # a part that cannot be is left as it was, but a whole URL must be one
            if name == "href":
                raise JsTypeError("Invalid URL string.") from None
        self._changed()

    return property(read, write)


class URL(JsProxy, metaclass=JsClass):
    """An absolute URL in its parts, which can be set."""

    def __init__(self, url: Any = None, base: Any = None) -> None:
        self._parsed = _parsed(url, base)
        self._params: URLSearchParams | None = None

    href, protocol = _part("href"), _part("protocol")
    username, password = _part("username"), _part("password")
    host, hostname, port = _part("host"), _part("hostname"), _part("port")
    pathname, search, hash = _part("pathname"), _part("search"), _part("hash")

    def __getattr__(self, name: str) -> Any:
        raise missing("js.URL", name)

    @classmethod
    def canParse(cls, url: Any, base: Any = None) -> bool:  # noqa: N802
        try:
            _parsed(url, base)
        except JsTypeError:
            return False
        return True

    @classmethod
    def parse(cls, url: Any, base: Any = None) -> Any:
        return cls.new(url, base) if cls.canParse(url, base) else seen(jsnull)

    @property
    def searchParams(self) -> URLSearchParams:  # noqa: N802
        if self._params is None:
            self._params = URLSearchParams.new(self.search)
            self._params._url = self
        return self._params

    @property
    def origin(self) -> str:
        return str(self._parsed.origin)

    @origin.setter
    def origin(self, value: str) -> None:
        raise JsTypeError("Cannot set property origin of #<URL> which has only a getter")

    def _changed(self) -> None:
        if self._params is not None:
            self._params._pairs = parse_form(self.search.removeprefix("?"))

    def toString(self) -> str:  # noqa: N802
        return str(self._parsed.href)

    toJSON = toString  # noqa: N815

    def __str__(self) -> str:
        return self.toString()

    __repr__ = __str__


def _parsed(url: Any, base: Any) -> Any:
    import ada_url

    if isinstance(base, Mapping) or members_of(base):  # keywords, which are one trailing object
        base = None
    try:
        return ada_url.URL(text_of(url), None if base is None else text_of(base))
    except ValueError:
        error = JsTypeError("Invalid URL string.")
        error.add_note(f"{text_of(url)!r} is no URL" + ("" if base is None else f" on {text_of(base)!r}"))
        raise error from None
