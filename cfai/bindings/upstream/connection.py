"""The connections to an OpenAI-compatible server: a pool for each event loop, and what can go wrong with them.

No proxy of the environment is used, nor a password of a `.netrc`: what is sent goes to the server that is named.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit
from weakref import WeakKeyDictionary

from anyio.lowlevel import current_token

from cfai import sse
from cfai.binding import JSON
from cfai.bindings.upstream.refusals import Server, refusal
from cfai.errors import AiError, EngineFailure, RequestTimeout

if TYPE_CHECKING:
    import httpx2

__all__ = ["Connection", "check_upstream_url", "read_body", "shown_url"]

CONNECT_SECONDS = 10.0
IDLE_SECONDS = 2.0
"""How long an idle connection is kept: less than the five seconds after which uvicorn's servers close theirs."""
LONGEST_ERROR = 64 * 1024
LONGEST_BODY = 64 * 1024 * 1024
"""Bytes that are read of an error, and of an answer that does not stream."""

_ENDPOINTS = ("/chat/completions", "/completions", "/embeddings", "/models", "/responses")


def check_upstream_url(text: str) -> str:
    """The address of a server's OpenAI endpoints, as it is used; a ValueError says what is wrong with `text`.

    ```python
    check_upstream_url("http://127.0.0.1:11434")  # 'http://127.0.0.1:11434/v1'
    ```

    An address without a path gets `/v1`, where all such servers have them; a path to an endpoint loses its end.
    """
    try:
        parts = urlsplit(text.strip())
        is_server = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, or half an IPv6 address
        is_server = False
    if not is_server or parts.query or parts.fragment:
        raise ValueError(
            f"{shown_url(text)!r} is no URL of an OpenAI-compatible server, such as http://127.0.0.1:8000/v1"
        )
    path = parts.path.rstrip("/")
    for endpoint in _ENDPOINTS:
        path = path.removesuffix(endpoint)
    return urlunsplit((parts.scheme, parts.netloc, path or "/v1", "", ""))


def shown_url(url: str) -> str:
    """The address without what may be secret in it: a user, a password, a query."""
    before, at, behind = url.rpartition("@")
    if at:
        scheme, slashes, _ = before.partition("://")
        url = f"{scheme}{slashes}{behind}" if slashes else behind
    return url.partition("?")[0]


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
                    raise refusal(server, response.status_code, await _error_in(response))
                yield response
        except (httpx2.TransportError, httpx2.InvalidURL, httpx2.DecodingError) as error:
            raise self.broken(error) from error

    async def models(self, server: Server) -> list[str]:
        """The names of the models that the server has. Raises as `posting`."""
        import httpx2

        try:
            response = await self._client().get(f"{self.url}/models", timeout=CONNECT_SECONDS)
        except httpx2.TransportError as error:
            raise self.broken(error) from error
        body = sse.loads(response.text[:LONGEST_BODY])
        if not response.is_success:
            raise refusal(server, response.status_code, body)
        rows = body.get("data") if isinstance(body, Mapping) else None
        return [str(row["id"]) for row in rows or () if isinstance(row, Mapping) and row.get("id")]

    def broken(self, error: Exception) -> AiError:
        """The error for a connection that cannot be made, falls silent or breaks."""
        import httpx2

        if isinstance(error, httpx2.TimeoutException) and not isinstance(error, httpx2.ConnectTimeout):
            silent = f"{self.shown} has sent nothing for {self._timeout:g} s"
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
            client = httpx2.AsyncClient(
                transport=httpx2.AsyncHTTPTransport(limits=limits),
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
