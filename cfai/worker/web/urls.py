"""`URL` and `URLSearchParams`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urljoin, urlsplit

from cfai.worker.web.values import JsArray, JsClass, JsObject, JsTypeError, pairs_of

__all__ = ["URL", "URLSearchParams"]

_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


class URLSearchParams(metaclass=JsClass):
    """The names and values of a query, in order."""

    def __init__(self, init: Any = "") -> None:
        self._url: URL | None = None
        if isinstance(init, str):
            self._pairs = parse_qsl(init.removeprefix("?"), keep_blank_values=True)
        elif isinstance(init, URLSearchParams):
            self._pairs = list(init._pairs)
        else:
            self._pairs = [(str(name), str(value)) for name, value in pairs_of(init or (), "URLSearchParams")]

    def get(self, name: str) -> str | None:
        return next((value for key, value in self._pairs if key == name), None)

    def getAll(self, name: str) -> JsArray:  # noqa: N802
        return JsArray(value for key, value in self._pairs if key == name)

    def has(self, name: str) -> bool:
        return any(key == name for key, _ in self._pairs)

    def append(self, name: str, value: object) -> None:
        self._change([*self._pairs, (name, str(value))])

    def set(self, name: str, value: object) -> None:
        kept = [pair for pair in self._pairs if pair[0] != name]
        self._change([*kept, (name, str(value))])

    def delete(self, name: str) -> None:
        self._change([pair for pair in self._pairs if pair[0] != name])

    def _change(self, pairs: list[tuple[str, str]]) -> None:
        self._pairs = pairs
        if self._url is not None:
            self._url.search = str(self)

    def keys(self) -> list[str]:
        return [name for name, _ in self._pairs]

    def values(self) -> list[str]:
        return [value for _, value in self._pairs]

    def entries(self) -> list[tuple[str, str]]:
        return list(self._pairs)

    items = entries

    def forEach(self, call: Callable[..., Any]) -> None:  # noqa: N802
        for name, value in self._pairs:
            call(value, name)

    @property
    def size(self) -> int:
        return len(self._pairs)

    def toString(self) -> str:  # noqa: N802
        return str(self)

    def __getitem__(self, name: str) -> str:
        if (value := self.get(name)) is None:
            raise KeyError(name)
        return value

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.has(name)

    def __iter__(self) -> Iterator[JsArray]:
        return iter([JsArray(pair) for pair in self._pairs])

    def __str__(self) -> str:
        return urlencode(self._pairs)


class URL(metaclass=JsClass):
    """An absolute URL in its parts."""

    def __init__(self, url: Any, base: Any = None) -> None:
        text = str(url) if base is None or isinstance(base, Mapping | JsObject) else urljoin(str(base), str(url))
        try:
            parts = urlsplit(text.strip())
            port = parts.port
        except ValueError:
            raise JsTypeError(f"Invalid URL string: {text}") from None
        if not parts.scheme or (parts.scheme in _DEFAULT_PORTS and not parts.hostname):
            raise JsTypeError(f"Invalid URL string: {text}")
        self.protocol = f"{parts.scheme}:"
        self.username = parts.username or ""
        self.password = parts.password or ""
        self.hostname = parts.hostname or ""
        self.port = "" if port in (None, _DEFAULT_PORTS.get(parts.scheme)) else str(port)
        path = _without_dots(parts.path) if parts.scheme in _DEFAULT_PORTS else parts.path
        self.pathname = quote(path, safe="/%:@!$&'()*+,;=~[]|")
        self._query = parts.query
        self.hash = f"#{parts.fragment}" if parts.fragment else ""

    @property
    def search(self) -> str:
        return f"?{self._query}" if self._query else ""

    @search.setter
    def search(self, query: str) -> None:
        self._query = query.removeprefix("?")

    @property
    def searchParams(self) -> URLSearchParams:  # noqa: N802
        params = URLSearchParams.new(self._query)
        params._url = self
        return params

    @property
    def host(self) -> str:
        host = f"[{self.hostname}]" if ":" in self.hostname else self.hostname
        return f"{host}:{self.port}" if self.port else host

    @property
    def origin(self) -> str:
        return f"{self.protocol}//{self.host}"

    @property
    def href(self) -> str:
        login = f"{self.username}{f':{self.password}' if self.password else ''}@" if self.username else ""
        slashes = "//" if self.hostname else ""
        return f"{self.protocol}{slashes}{login}{self.host}{self.pathname}{self.search}{self.hash}"

    def toString(self) -> str:  # noqa: N802
        return self.href

    def __str__(self) -> str:
        return self.href

    def __repr__(self) -> str:
        return f"URL({self.href!r})"


def _without_dots(path: str) -> str:
    """The path of a web URL with `.` and `..` taken, which may be encoded, and with slashes for backslashes."""
    kept: list[str] = []
    parts = path.replace("\\", "/").removeprefix("/").split("/")
    for at, part in enumerate(parts):
        plain = part.lower().replace("%2e", ".")
        if plain == "..":
            del kept[-1:]
        elif plain != ".":
            kept.append(part)
        if plain in (".", "..") and at == len(parts) - 1:
            kept.append("")
    return "/" + "/".join(kept)
