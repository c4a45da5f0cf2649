"""A binding that is asked with `fetch`, as a script of either SDK generation asks it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from cfai.worker import sdk
from cfai.worker.compat import current
from cfai.worker.web.messages import Request, Response
from cfai.worker.web.promises import promised
from cfai.worker.web.urls import URL
from cfai.worker.web.values import JsTypeError, options_of

__all__ = ["Fetcher"]

# https://fetch.spec.whatwg.org/#http-redirect-fetch
REDIRECTS = frozenset({301, 302, 303, 307, 308})
MOST_REDIRECTS = 20


class Fetcher:
    """Asks `answer`.

    ```python
    response = await env.ASSETS.fetch("https://assets.local/logo.svg")
    ```
    """

    def __init__(self, answer: Callable[[Request], Awaitable[Response]]) -> None:
        self._answer = answer

    @promised
    async def fetch(self, resource: Any, init: Any = None, **options: Any) -> Any:
        """The response to a URL or a request: a `workers.Response`, on built-in generations a `js.Response`."""
        given = getattr(resource, "js_object", resource)
        options = {**options_of(init), **options}
        request = given if isinstance(given, Request) and not options else Request.new(given, options)
        response = await self._followed(request)
        return sdk.Response(response) if current().compat.has_external_sdk else response

    async def _followed(self, request: Request) -> Response:
        response = await self._answer(request)
        for _ in range(MOST_REDIRECTS):
            location = response.headers.get("location") if response.status in REDIRECTS else None
            if location is None or request.redirect != "follow" or request.method not in ("GET", "HEAD"):
                return response
            request = Request.new(
                URL.new(location, request.url).href, {"method": request.method, "headers": request.headers}
            )
            response = await self._answer(request)
            response.url, response.redirected = request.url, True
        raise JsTypeError("Too many redirects.")
