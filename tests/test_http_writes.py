"""What `serve` puts on the wire: an answer in one piece, a stream as it comes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio

from cfai.serving import listen, serve

LARGE = b"#" * 3_000_000


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    path = scope["path"]
    headers = [(b"content-type", b"text/plain")]
    if path == "/sized":
        headers.append((b"content-length", b"9"))
    if path == "/nothing":
        headers.append((b"transfer-encoding", b"chunked"))
    await send({"type": "http.response.start", "status": 204 if path == "/nothing" else 200, "headers": headers})
    if path == "/sized":
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        await send({"type": "http.response.body", "body": b"sized ", "more_body": True})
    if path == "/stream":
        for number in range(3):
            await send({"type": "http.response.body", "body": b"%d;" % number, "more_body": True})
            await anyio.sleep(0.1)
    if path == "/large":
        for begin in range(0, len(LARGE), 1000):
            await send({"type": "http.response.body", "body": LARGE[begin : begin + 1000], "more_body": True})
    await send({"type": "http.response.body", "body": b"end"})


async def nothing_runs() -> None:
    pass


async def ask(port: int, path: str, *, method: str = "GET", version: str = "1.1") -> list[bytes]:
    """The pieces in which the answer comes."""
    pieces = []
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        request = f"{method} {path} HTTP/{version}\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        await stream.send(request.encode())
        async for piece in stream:
            pieces.append(piece)
    return pieces


@asynccontextmanager
async def served() -> AsyncIterator[int]:
    async def run() -> None:
        await serve(app, listener=listener, end_streams=nothing_runs)

    with listen("127.0.0.1", 0) as listener:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            yield listener.getsockname()[1]
            tasks.cancel_scope.cancel()


async def test_an_answer_comes_in_one_piece_and_a_stream_as_it_is_made() -> None:
    async with served() as port:
        whole = await ask(port, "/")
        assert len(whole) == 1
        assert whole[0].startswith(b"HTTP/1.1 200")
        assert b"end" in whole[0]
        stream = await ask(port, "/stream")
        assert len(stream) >= 4
        assert b"0;" in stream[0]
        assert b"1;" in stream[1]
        large = b"".join(await ask(port, "/large"))
        assert large.count(b"#") == len(LARGE)


async def test_a_body_is_framed_as_its_head_says() -> None:
    async with served() as port:
        head, _, body = b"".join(await ask(port, "/stream")).partition(b"\r\n\r\n")
        assert b"transfer-encoding: chunked" in head.lower()
        assert body == b"2\r\n0;\r\n2\r\n1;\r\n2\r\n2;\r\n3\r\nend\r\n0\r\n\r\n"
        head, _, body = b"".join(await ask(port, "/sized")).partition(b"\r\n\r\n")
        assert b"transfer-encoding" not in head.lower()
        assert body == b"sized end"


async def test_who_knows_no_chunks_gets_none() -> None:
    async with served() as port:
        head, _, body = b"".join(await ask(port, "/stream", version="1.0")).partition(b"\r\n\r\n")
        assert b"transfer-encoding" not in head.lower()
        assert body == b"0;1;2;end"
        assert b"".join(await ask(port, "/stream", method="HEAD")).endswith(b"\r\n\r\n")


async def test_what_has_no_body_gets_none_whatever_its_head_says() -> None:
    async with served() as port:
        assert b"".join(await ask(port, "/nothing")).endswith(b"\r\n\r\n")


async def test_each_of_several_answers_is_framed_as_its_own_head_says() -> None:
    async with served() as port, await anyio.connect_tcp("127.0.0.1", port) as stream:
        for path, ending in (("/stream", "keep-alive"), ("/sized", "keep-alive"), ("/stream", "close")):
            await stream.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: {ending}\r\n\r\n".encode())
        answers = b"".join([piece async for piece in stream]).split(b"HTTP/1.1 200 OK\r\n")[1:]
        chunks = b"2\r\n0;\r\n2\r\n1;\r\n2\r\n2;\r\n3\r\nend\r\n0\r\n\r\n"
        assert [answer.partition(b"\r\n\r\n")[2] for answer in answers] == [chunks, b"sized end", chunks]
