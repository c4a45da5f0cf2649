"""The playground: one page that talks to the server it came from, and to nothing else.

It is plain HTML, CSS and JavaScript in this folder, sent as it is. Its content security policy lets it load these
files, and send requests, to this server only; a model's words could not reach another one even if they were markup.
"""

from __future__ import annotations

from importlib import resources

from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

__all__ = ["playground_routes"]

_BESIDE = (
    "style.css",
    "playground.js",
    "conversation.js",
    "elements.js",
    "events.js",
    "inspector.js",
    "run.js",
    "snippets.js",
    "state.js",
)

_KINDS = {"html": "text/html", "css": "text/css", "js": "text/javascript"}

_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cache-control": "no-cache",  # another version of cfai may listen here tomorrow
}


def playground_routes() -> list[Route]:
    """`/` and the files beside the page. They hold no secret, so they ask for no token; what the page sends does."""
    return [
        Route("/", _File("index.html"), methods=["GET"]),
        *(Route(f"/playground/{name}", _File(name), methods=["GET"]) for name in _BESIDE),
    ]


class _File:
    def __init__(self, name: str) -> None:
        self._body = resources.files(__name__).joinpath(name).read_bytes()
        self._kind = f"{_KINDS[name.rpartition('.')[2]]}; charset=utf-8"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = Response(self._body, headers={**_HEADERS, "content-type": self._kind})
        await response(scope, receive, send)
