"""What `serve` puts on the wire: an answer in one piece, a stream as it comes."""

from __future__ import annotations

from typing import Any

import anyio

from cfai.serving import listen, serve

LARGE = b"#" * 3_000_000


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    path = scope["path"]
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
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


async def ask(port: int, path: str) -> list[bytes]:
    """The pieces in which the answer comes."""
    pieces = []
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        async for piece in stream:
            pieces.append(piece)
    return pieces


async def test_an_answer_comes_in_one_piece_and_a_stream_as_it_is_made() -> None:
    async def run() -> None:
        await serve(app, listener=listener, end_streams=nothing_runs)

    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            whole = await ask(port, "/")
            assert len(whole) == 1
            assert whole[0].startswith(b"HTTP/1.1 200")
            assert b"end" in whole[0]
            stream = await ask(port, "/stream")
            assert len(stream) == 4
            assert b"0;" in stream[0]
            assert b"1;" in stream[1]
            large = b"".join(await ask(port, "/large"))
            assert large.count(b"#") == len(LARGE)
            tasks.cancel_scope.cancel()
