"""The connections that a Worker keeps open from one `fetch` to the next."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx2

__all__ = ["Network", "current", "using"]


class Network:
    """One HTTP client for all requests of a Worker, made when it is first needed.

    ```python
    answer = await network.client.send(request, stream=True)
    await network.aclose()
    ```
    """

    def __init__(self) -> None:
        self._client: httpx2.AsyncClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def client(self) -> httpx2.AsyncClient:
        loop = asyncio.get_running_loop()
        # A connection belongs to the loop that opened it. What another loop left is that one's to close.
        if self._client is None or self._loop is not loop:
            self._client, self._loop = _new_client(), loop
        return self._client

    async def aclose(self) -> None:
        """Close every connection."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()


def _new_client() -> httpx2.AsyncClient:
    import httpx2

    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=32, keepalive_expiry=60)
    client = httpx2.AsyncClient(timeout=None, limits=limits, trust_env=False)
    # Workers do not say who they are unless they want to.
    del client.headers["user-agent"]
    client.headers["accept-encoding"] = "gzip"
    return client


_current: ContextVar[Network] = ContextVar("cfai.worker.web.network.current")


def current() -> Network | None:
    """The network of the Worker that this code runs in."""
    return _current.get(None)


@contextmanager
def using(network: Network) -> Iterator[None]:
    """Make `network` the current one."""
    token = _current.set(network)
    try:
        yield
    finally:
        _current.reset(token)
