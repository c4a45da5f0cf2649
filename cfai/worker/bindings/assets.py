"""Static assets: files of one folder, and the `ASSETS` binding of a script."""

from __future__ import annotations

import mimetypes
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import anyio

from cfai.worker.web.messages import Request, Response
from cfai.worker.web.urls import URL

__all__ = ["Assets"]

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".htm": "text/html; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/vnd.microsoft.icon",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff2": "font/woff2",
}
# Wrangler's own files in that folder, which it does not serve either.
_NEVER = {"_headers", "_redirects", "node_modules"}


class Assets:
    """The files under `directory`.

    ```python
    response = await Assets(Path("public")).find("/")  # index.html, or None
    ```
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory.resolve()

    async def find(self, path: str) -> Response | None:
        """The file that a URL path, still percent-encoded, names."""
        for candidate in self._candidates(unquote(path)):
            file = anyio.Path(candidate)
            # A link may lead out of the folder: what counts is where the file really is.
            if await file.is_file() and Path(await file.resolve()).is_relative_to(self._directory):
                return Response.new(await file.read_bytes(), {"headers": {"content-type": _type_of(candidate)}})
        return None

    def _candidates(self, path: str) -> Iterator[Path]:
        names = [name for name in path.split("/") if name]
        if not path.startswith("/") or "\0" in path or "\\" in path or any(map(_is_hidden, names)):
            return
        at = self._directory.joinpath(*names)
        if names and not path.endswith("/"):
            yield at
            yield at.with_name(at.name + ".html")
        yield at / "index.html"

    async def fetch(self, resource: Any, options: Any = None) -> Response:
        """`env.ASSETS.fetch(request)`: the file, or 404."""
        request = getattr(resource, "js_object", resource)
        url = request.url if isinstance(request, Request) else str(request)
        return await self.find(URL.new(url).pathname) or Response.new("Not Found", {"status": 404})


def _is_hidden(name: str) -> bool:
    return name in _NEVER or (name.startswith(".") and name != ".well-known")


def _type_of(file: Path) -> str:
    return _TYPES.get(file.suffix.lower()) or mimetypes.guess_type(file.name)[0] or "application/octet-stream"
