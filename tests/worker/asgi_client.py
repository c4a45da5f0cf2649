"""An ASGI client in the same process that reads a response as it is sent, and can go away in the middle."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio

__all__ = ["Client", "Exchange", "Whole"]


@dataclass
class Whole:
    """A response that was read to its end."""

    status: int
    headers: dict[str, str]
    chunks: list[bytes]
    ended: bool
    """Whether the body came to a clean end."""

    @property
    def text(self) -> str:
        return b"".join(self.chunks).decode()


@dataclass
class Exchange:
    """One request under way."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    lines: list[tuple[str, str]] = field(default_factory=list)
    ended: bool = False

    def __post_init__(self) -> None:
        self._head = anyio.Event()
        self._put, self._chunks = anyio.create_memory_object_stream[bytes](100)
        self._gone = anyio.Event()

    async def head(self) -> None:
        await self._head.wait()

    async def chunk(self) -> bytes:
        return await self._chunks.receive()

    async def rest(self) -> list[bytes]:
        return [chunk async for chunk in self._chunks]

    def leave(self) -> None:
        """The client goes away."""
        self._gone.set()


class Client:
    """Requests to an ASGI app."""

    def __init__(self, app: Any) -> None:
        self._app = app

    @asynccontextmanager
    async def request(
        self, method: str, path: str, *, headers: Sequence[tuple[str, str]] = (), body: Sequence[bytes] = ()
    ) -> AsyncIterator[Exchange]:
        exchange = Exchange()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._run, exchange, _scope(method, path, headers, bool(body)), list(body))
            yield exchange
        exchange._chunks.close()

    async def _run(self, exchange: Exchange, scope: dict[str, Any], body: list[bytes]) -> None:
        async def receive() -> dict[str, Any]:
            if body or "asked" not in scope:
                scope["asked"] = True
                chunk = body.pop(0) if body else b""
                return {"type": "http.request", "body": chunk, "more_body": bool(body)}
            await exchange._gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                exchange.lines = [
                    (name.decode("latin-1"), value.decode("latin-1")) for name, value in message["headers"]
                ]
                exchange.headers = dict(exchange.lines)
                exchange._head.set()
                return
            if message.get("body"):
                await exchange._put.send(message["body"])
            if not message.get("more_body"):
                exchange.ended = True
                exchange._put.close()

        try:
            await self._app(scope, receive, send)
        finally:
            exchange._head.set()
            exchange._put.close()

    async def __call__(
        self, method: str, path: str, *, headers: Sequence[tuple[str, str]] = (), body: Sequence[bytes] = ()
    ) -> Whole:
        with anyio.fail_after(60):
            async with self.request(method, path, headers=headers, body=body) as exchange:
                chunks = await exchange.rest()
        return Whole(exchange.status, exchange.headers, chunks, exchange.ended)

    async def get(self, path: str) -> Whole:
        return await self("GET", path)


def _scope(method: str, path: str, headers: Sequence[tuple[str, str]], has_body: bool) -> dict[str, Any]:
    raw, _, query = path.partition("?")
    lines = [("host", "localhost:8787"), *headers]
    if has_body and not any(name == "content-length" for name, _ in lines):
        lines.append(("transfer-encoding", "chunked"))
    return {
        "type": "http",
        "method": method,
        "scheme": "http",
        "path": raw,
        "raw_path": raw.encode(),
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in lines],
    }
