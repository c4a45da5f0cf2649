"""`fetch`: ask the network."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any

from cfai.results import plain
from cfai.worker.web.messages import NO_BODY, Request, Response
from cfai.worker.web.streams import ReadableStream
from cfai.worker.web.values import JsArray, JsException, JsObject, options_of

if TYPE_CHECKING:
    import httpx2

__all__ = ["fetch"]


async def fetch(resource: Any, init: Any = None, **options: Any) -> Response:
    """Ask the network."""
    import httpx2

    given = {**options_of(init), **options}
    body = given.get("body")
    # An object that was meant as JSON; JavaScript would send [object Object].
    if isinstance(body, Mapping | list | JsObject | JsArray):
        given["body"] = json.dumps(plain(body))
    request = Request.new(resource, given)
    stream = request.stream()
    client = httpx2.AsyncClient(follow_redirects=request.redirect == "follow", timeout=None)
    try:
        sent = client.build_request(
            request.method,
            request.url,
            headers=[(name.encode("latin-1"), value.encode()) for name, value in request.headers.raw],
            content=None if stream is None else _chunks(stream),
        )
        answer = await client.send(sent, stream=True)
    except (httpx2.TransportError, httpx2.InvalidURL) as error:
        await client.aclose()
        raise JsException(f"Network connection failed: {error or type(error).__name__}") from error
    except BaseException:
        await client.aclose()
        raise
    headers = [pair for pair in answer.headers.multi_items() if pair[0].lower() not in _HOP]
    init = {"status": answer.status_code, "statusText": answer.reason_phrase, "headers": headers}
    body = ReadableStream.of(_Fetched(answer, client))
    if answer.status_code in NO_BODY:
        await body.aclose()
    response = Response.new(None if answer.status_code in NO_BODY else body, init)
    response.url = str(answer.url)
    response.redirected = bool(answer.history)
    return response


# httpx2 has taken these off the body already.
_HOP = ("content-encoding", "content-length", "transfer-encoding", "connection", "keep-alive")


async def _chunks(stream: ReadableStream) -> AsyncIterator[bytes]:
    async with stream:
        async for chunk in stream:
            yield chunk.encode() if isinstance(chunk, str) else bytes(chunk)


class _Fetched:
    """The body of an answer; closing it closes the connection."""

    def __init__(self, answer: httpx2.Response, client: httpx2.AsyncClient) -> None:
        self._answer = answer
        self._client = client
        self._body: AsyncIterator[bytes] | None = None

    def __aiter__(self) -> _Fetched:
        return self

    async def __anext__(self) -> bytes:
        if self._body is None:
            self._body = self._answer.aiter_bytes()
        return await anext(self._body)

    async def aclose(self) -> None:
        await self._answer.aclose()
        await self._client.aclose()
