"""`pyodide.http`: Pyodide's way to ask the network, and its errors."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from cfai.worker.compat import current
from cfai.worker.web import fetching, messages
from cfai.worker.web.buffers import ArrayBuffer, Uint8Array
from cfai.worker.web.conversion import to_js
from cfai.worker.web.errors import JsException
from cfai.worker.web.objects import JsObject

__all__ = ["AbortError", "BodyUsedError", "FetchResponse", "HttpStatusError", "body_used_error", "pyfetch"]


class HttpStatusError(OSError):
    """What `raise_for_status` raises for a status of 400 and above."""

    def __init__(self, status: int, status_text: str, url: str) -> None:
        whose = "Client" if status < 500 else "Server"
        super().__init__(f"{status} {whose} Error: {status_text} for url: {url}")
        self.status, self.status_text, self.url = status, status_text, url

    def __reduce__(self) -> Any:
        return type(self), (self.status, self.status_text, self.url)


class BodyUsedError(OSError):
    """What a second reader of a body gets."""

    def __init__(self, *args: Any) -> None:
        super().__init__("Response body is already used")


class AbortError(OSError):
    """What is raised when asking or reading fails."""

    def __init__(self, reason: JsException) -> None:
        super().__init__(reason.message)


def body_used_error() -> OSError:
    """As the Pyodide of the day has it: the oldest one has no class for it."""
    error = BodyUsedError()
    return error if current().compat.has_fetch_errors else OSError(str(error))


@contextmanager
def reading() -> Iterator[None]:
    """JavaScript's errors while a body is read, as the Pyodide of the day raises them."""
    try:
        yield
    except JsException as error:
        if not current().compat.has_fetch_errors:
            raise
        raise AbortError(error) from error


class FetchResponse:
    """The response to `pyfetch`, and the base of the SDK's `Response`."""

    def __init__(self, url: str, js_response: messages.Response) -> None:
        self._url = url
        self.js_response = js_response

    @property
    def body_used(self) -> bool:
        return self.js_response.bodyUsed

    @property
    def headers(self) -> Mapping[str, str]:
        return dict(self.js_response.headers.joined)

    @property
    def ok(self) -> bool:
        return self.js_response.ok

    @property
    def redirected(self) -> bool:
        return self.js_response.redirected

    @property
    def status(self) -> int:
        return self.js_response.status

    @property
    def status_text(self) -> str:
        return self.js_response.statusText

    @property
    def type(self) -> str:
        return self.js_response.type

    @property
    def url(self) -> str:
        return self.js_response.url

    def _raise_if_failed(self) -> None:
        if self.body_used:
            raise body_used_error()

    def raise_for_status(self) -> None:
        if 400 <= self.status < 600:
            error = HttpStatusError(self.status, self.status_text, self.url)
            raise error if current().compat.has_fetch_errors else OSError(str(error))

    def clone(self) -> FetchResponse:
        self._raise_if_failed()
        return FetchResponse(self._url, self.js_response.clone())

    async def _read(self) -> bytes:
        self._raise_if_failed()
        with reading():
            return await self.js_response.read()

    async def buffer(self) -> ArrayBuffer:
        return Uint8Array.new(await self._read()).buffer

    async def bytes(self) -> bytes:
        return await self._read()

    async def memoryview(self) -> memoryview:
        return memoryview(bytearray(await self._read()))

    async def text(self) -> str:
        return (await self._read()).decode("utf-8-sig", "replace")

    async def string(self) -> str:
        return await self.text()

    async def json(self, **options: Any) -> Any:
        return json.loads(await self.text(), **options)


async def pyfetch(
    url: Any, /, *, fetcher: Callable[..., Awaitable[Any]] | None = None, **options: Any
) -> FetchResponse:
    """Ask the network; what fails on the way there is an OSError.

    ```python
    response = await pyfetch("https://example.com", method="POST", body="text")
    ```
    """
    init = to_js(options, dict_converter=lambda entries: JsObject(tuple(pair) for pair in entries))
    try:
        response = await (fetching.fetch if fetcher is None else fetcher)(url, init)
    except JsException as error:
        failure = AbortError(error)
        raise failure if current().compat.has_fetch_errors else OSError(str(failure)) from error
    return FetchResponse(response.url, response)
