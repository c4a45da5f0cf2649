"""The connections to an OpenAI-compatible server: a pool for each event loop, and what can go wrong with them.

No proxy of the environment is used, nor a password of a `.netrc`: what is sent goes to the server that is named.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

import anyio
from anyio.lowlevel import current_token

from cfai import sse
from cfai.addresses import shown_url
from cfai.binding import JSON
from cfai.bindings.upstream.refusals import Server, refusal
from cfai.errors import AiError, EngineFailure, RequestTimeout

if TYPE_CHECKING:
    import httpx2

__all__ = ["Connection", "read_body"]

CONNECT_SECONDS = 10.0
IDLE_SECONDS = 2.0
"""How long an idle connection is kept: less than the five seconds after which uvicorn's servers close theirs."""
LONGEST_ERROR = 64 * 1024
LONGEST_BODY = 64 * 1024 * 1024
"""Bytes that are read of an error, and of an answer that does not stream."""

_NO_LIST = frozenset({404, 405, 500, 501})
"""With which servers answer that have no list, transformers serve with the third."""


class Connection:
    """One server, asked over connections that are kept while it is busy.

    url      as `check_upstream_url` gives it
    token    the bearer token, if the server wants one
    timeout  seconds without a byte after which a request fails
    """

    def __init__(self, url: str, *, token: str | None, timeout: float) -> None:
        self.url = url
        self.shown = shown_url(url)
        self._token = token
        self._timeout = timeout
        # A connection belongs to the event loop that opened it.
        self._clients: WeakKeyDictionary[Any, httpx2.AsyncClient] = WeakKeyDictionary()

    def server(self, model: str, name: str) -> Server:
        """Who messages speak of."""
        password = urlsplit(self.url).password
        return Server(self.shown, model, name, tuple(filter(None, (self._token, password))))

    @contextlib.asynccontextmanager
    async def posting(self, endpoint: str, body: Mapping[str, Any], server: Server) -> AsyncIterator[httpx2.Response]:
        """The response to a request, its body unread; left before its end, the connection is closed at once.

        Raises the `AiError` of a refusal, and of a connection that breaks, also while the body is read.
        """
        import httpx2

        try:
            async with self._client().stream("POST", f"{self.url}/{endpoint}", content=_json(body)) as response:
                if not response.is_success:
                    raise refusal(server, response.status_code, await _error_in(response), endpoint=endpoint)
                yield response
        except (httpx2.TransportError, httpx2.InvalidURL, httpx2.DecodingError) as error:
            raise self.broken(error) from error

    async def models(self, server: Server) -> list[str]:
        """The names of the models that the server lists; none where it has no list. Raises as `posting`."""
        import httpx2

        try:
            async with self._client().stream("GET", f"{self.url}/models", timeout=CONNECT_SECONDS) as response:
                if response.status_code in _NO_LIST:
                    return []
                if not response.is_success:
                    raise refusal(server, response.status_code, await _error_in(response), endpoint="models")
                with anyio.fail_after(CONNECT_SECONDS):
                    text = await read_body(response.aiter_bytes())
        except (httpx2.TransportError, httpx2.InvalidURL, httpx2.DecodingError, TimeoutError) as error:
            raise self.broken(error, CONNECT_SECONDS) from error
        body = sse.loads(text.decode("utf-8", "replace"))
        rows = body.get("data") if isinstance(body, Mapping) else None
        return [str(row["id"]) for row in rows or () if isinstance(row, Mapping) and row.get("id")]

    def broken(self, error: Exception, waited: float | None = None) -> AiError:
        """The error for a connection that cannot be made, falls silent for `waited` seconds, or breaks."""
        import httpx2

        is_silence = isinstance(error, httpx2.TimeoutException | TimeoutError)
        if is_silence and not isinstance(error, httpx2.ConnectTimeout):
            silent = f"{self.shown} has sent nothing for {waited or self._timeout:g} s"
            timeout = RequestTimeout()
            return AiError.of(timeout.code, timeout.description, status=timeout.status, hint=silent)
        problem = str(error) or type(error).__name__
        return EngineFailure(f"{self.shown} does not answer: {problem}", hint="is the server running, and is that it?")

    def _client(self) -> httpx2.AsyncClient:
        import httpx2

        loop = current_token().native_token
        if (client := self._clients.get(loop)) is None:
            headers = {"content-type": JSON, "accept": "text/event-stream, application/json"}
            if self._token:
                headers["authorization"] = f"Bearer {self._token}"
            limits = httpx2.Limits(max_connections=None, max_keepalive_connections=32, keepalive_expiry=IDLE_SECONDS)
            # Certificates take a moment to read, and only https needs them: no redirect is followed.
            verify = self.url.startswith("https:")
            client = httpx2.AsyncClient(
                transport=httpx2.AsyncHTTPTransport(verify=verify, limits=limits),
                timeout=httpx2.Timeout(self._timeout, connect=CONNECT_SECONDS, pool=None),
                headers=headers,
                trust_env=False,
            )
            self._clients[loop] = client
        return client

    async def aclose(self) -> None:
        """Close the connections of this event loop; those of others went with their loops."""
        if (client := self._clients.pop(current_token().native_token, None)) is not None:
            await client.aclose()


async def read_body(chunks: AsyncIterator[bytes], most: int = LONGEST_BODY) -> bytes:
    """The body of a response, cut where it is longer than `most`."""
    body = bytearray()
    async for chunk in chunks:
        body += chunk
        if len(body) > most:
            break
    return bytes(body[:most])


async def _error_in(response: httpx2.Response) -> Any:
    text = (await read_body(response.aiter_bytes(), LONGEST_ERROR)).decode("utf-8", "replace")
    if response.is_redirect:
        return f"it is at {shown_url(response.headers.get('location', ''))} now"
    body = sse.loads(text)
    return text if body is None else body


def _json(body: Mapping[str, Any]) -> bytes:
    return sse.dumps(body).encode()
