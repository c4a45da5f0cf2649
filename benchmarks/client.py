"""A client that costs little: raw sockets, and nothing is parsed until the answer is whole.

Pieces are not tokens, so tokens are counted by the `usage` that a server sends at the end.
"""

from __future__ import annotations

import asyncio
import bisect
import json
import socket
import time
from collections.abc import Iterator
from typing import Any

from benchmarks.answers import Answer

__all__ = ["StreamClient", "bytes_of", "loop_delay"]

HEAD_END = b"\r\n\r\n"


def bytes_of(port: int, path: str, body: dict[str, Any]) -> bytes:
    """A POST request with a JSON body, for a server on this machine that closes the connection after its answer."""
    content = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(content)}\r\nconnection: close\r\n\r\n".encode() + content


class StreamClient(asyncio.Protocol):
    """One request, and when each byte of its answer came."""

    def __init__(self, request: bytes, *, reads: bool = True) -> None:
        self._request = request
        self._reads = reads
        self._data = bytearray()
        self._ends: list[int] = []
        self._times: list[float] = []
        self._closed = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def open(cls, port: int, request: bytes, *, reads: bool = True) -> StreamClient:
        """Send the request. With `reads` false nothing of the answer is taken from the socket; its buffer is small."""
        loop = asyncio.get_running_loop()
        connection = socket.socket()
        if not reads:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.setblocking(False)
        await loop.sock_connect(connection, ("127.0.0.1", port))
        _, client = await loop.create_connection(lambda: cls(request, reads=reads), sock=connection)
        return client

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if not self._reads:
            transport.pause_reading()
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._times.append(time.perf_counter())
        self._data += data
        self._ends.append(len(self._data))

    def connection_lost(self, error: Exception | None) -> None:
        if not self._closed.done():
            self._closed.set_result(None)

    def close(self) -> None:
        assert self._transport is not None
        self._transport.abort()

    async def answer(self) -> Answer:
        """The whole answer, times by `time.perf_counter`. RuntimeError if it is no stream with a usage at its end."""
        await self._closed
        answer, tokens = Answer(), None
        for at, event in self._events():
            if _text(event):
                answer.times.append(at)
            tokens = (event.get("usage") or {}).get("completion_tokens", tokens)
        if tokens is None or not answer.times:
            raise RuntimeError(f"no tokens: {bytes(self._data[:500])!r}")
        answer.tokens = tokens
        return answer

    def _events(self) -> Iterator[tuple[float, dict[str, Any]]]:
        waiting = b""
        for end, chunk in self._chunks():
            *events, waiting = (waiting + chunk).replace(b"\r\n", b"\n").split(b"\n\n")
            at = self._times[bisect.bisect_left(self._ends, end)]
            for event in events:
                if event.startswith(b"data: {"):
                    yield at, json.loads(event[6:])

    def _chunks(self) -> Iterator[tuple[int, bytes]]:
        """The body in parts, each with the place of its end in all that came."""
        data = bytes(self._data)
        head, _, _ = data.partition(HEAD_END)
        at = len(head) + len(HEAD_END)
        if b"chunked" not in head.lower():
            yield from (
                (end, data[max(at, begin) : end]) for begin, end in zip([0, *self._ends], self._ends, strict=False)
            )
            return
        while (line_end := data.find(b"\r\n", at)) > 0 and (size := int(data[at:line_end], 16)):
            at = line_end + 2 + size + 2
            yield at - 2, data[line_end + 2 : at - 2]


def _text(event: dict[str, Any]) -> str:
    """The piece in an event: Workers AI's form or OpenAI's."""
    if choices := event.get("choices"):
        return choices[0].get("text") or (choices[0].get("delta") or {}).get("content") or ""
    return event.get("response") or ""


async def loop_delay(into: list[float], *, every: float = 0.005) -> None:
    """Add to `into`, until cancelled, by how many seconds this event loop woke up late."""
    while True:
        due = time.perf_counter() + every
        await asyncio.sleep(every)
        into.append(time.perf_counter() - due)
