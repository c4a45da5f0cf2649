"""A binding that is asked with `fetch`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from cfai.worker import sdk
from cfai.worker.web.messages import Request, Response
from cfai.worker.web.promises import promised
from cfai.worker.web.urls import URL
from cfai.worker.web.values import JsTypeError, options_of

__all__ = ["Fetcher", "FetcherWrapper"]

# https://fetch.spec.whatwg.org/#http-redirect-fetch
REDIRECTS = frozenset({301, 302, 303, 307, 308})
MOST_REDIRECTS = 20


class Fetcher:
    """Asks `answer`.

    ```python
    response = await env.ASSETS.fetch("https://assets.local/logo.svg")
    ```
    """

    # The built-in SDK wraps bindings of this kind, and no other that there is.
    is_wrapped_by_every_sdk = True

    def __init__(self, answer: Callable[[Request], Awaitable[Response]]) -> None:
        self._answer = answer

    @promised
    async def fetch(self, resource: Any, init: Any = None, **options: Any) -> Any:
        """The response to a URL or a request, as JavaScript has it."""
        given = getattr(resource, "js_object", resource)
        options = {**options_of(init), **options}
        request = given if isinstance(given, Request) and not options else Request.new(given, options)
        return await self._followed(request)

    async def _followed(self, request: Request) -> Response:
        response = await self._answer(request)
        for _ in range(MOST_REDIRECTS):
            location = response.headers.find("location") if response.status in REDIRECTS else None
            if location is None or request.redirect != "follow" or request.method not in ("GET", "HEAD"):
                return response
            request = Request.new(
                URL.new(location, request.url).href, {"method": request.method, "headers": request.headers}
            )
            response = await self._answer(request)
            response.url, response.redirected = request.url, True
        raise JsTypeError("Too many redirects.")

    def wrapped(self) -> FetcherWrapper:
        """As an entrypoint sees it."""
        return FetcherWrapper(self)


class FetcherWrapper:
    """A binding that is asked as `workers.fetch` asks the network: options are keywords, the answer is the SDK's."""

    def __init__(self, binding: Fetcher) -> None:
        self._binding = binding

    def fetch(self, *args: Any, **options: Any) -> Coroutine[Any, Any, sdk.Response]:
        return sdk.fetch(*args, fetcher=self._binding.fetch, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._binding, name)
