"""A binding whose connection breaks off: the server's own is cut, and says nothing that was not said."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator

import anyio
import httpx2
import pytest

from cfai import Call, Reply
from cfai.errors import ConnectionDropped, EngineFailure
from cfai.server.app import rest_app
from tests.server.canned import Canned
from tests.serving import serving

MODEL = "@cf/test/llama"
RUN = f"/client/v4/accounts/acc/ai/run/{MODEL}"
EVENT = b'data: {"response":"New"}\n\n'
ROUTES = pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        (RUN, {"prompt": "hi", "stream": True}, {}),
        (RUN, {"prompt": "hi", "stream": True}, {"last-event-id": "0"}),
        ("/v1/chat/completions", {"model": MODEL, "messages": [], "stream": True}, {}),
        ("/run?version=3", {"inputs": {"prompt": "hi", "stream": True}}, {"cf-consn-model-id": MODEL}),
        (
            "/",
            {"inputs": {"prompt": "hi", "stream": True}},
            {"mf-url": "https://workers-binding.ai/run?version=3", "mf-header-cf-consn-model-id": MODEL},
        ),
    ],
    ids=["REST", "resumable", "OpenAI", "binding", "remote proxy"],
)


async def breaks_off() -> AsyncGenerator[bytes]:
    yield EVENT
    raise ConnectionDropped()


async def fails() -> AsyncGenerator[bytes]:
    yield EVENT
    raise EngineFailure("out of luck")


async def raw(address: str, path: str, body: object, headers: dict[str, str]) -> bytes:
    """All that comes on the connection until the server closes it."""
    content = json.dumps(body).encode()
    lines = [
        f"POST {path} HTTP/1.1",
        "host: localhost",
        "content-type: application/json",
        *map(": ".join, headers.items()),
    ]
    lines += [f"content-length: {len(content)}", "", ""]
    received = b""
    with anyio.fail_after(20):
        async with await anyio.connect_tcp("127.0.0.1", int(address.rpartition(":")[2])) as stream:
            await stream.send("\r\n".join(lines).encode() + content)
            async for part in stream:
                received += part
    return received


@ROUTES
async def test_a_stream_that_breaks_off_is_cut(path: str, body: object, headers: dict[str, str]) -> None:
    async with serving(rest_app(Canned(breaks_off))) as address:
        received = await raw(address, path, body, headers)
    assert received.startswith(b"HTTP/1.1 200")
    assert received.endswith(EVENT + b"\r\n"), "no event behind it, no last chunk"


@ROUTES
async def test_a_stream_that_fails_still_says_so(path: str, body: object, headers: dict[str, str]) -> None:
    async with serving(rest_app(Canned(fails))) as address:
        received = await raw(address, path, body, {**headers, "connection": "close"})
    assert b"out of luck" in received
    assert received.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")


class NoAnswer:
    async def send(self, call: Call) -> Reply:
        raise ConnectionDropped()

    async def aclose(self) -> None:
        """It holds nothing."""


@pytest.mark.parametrize("path", [RUN, "/v1/chat/completions"])
async def test_an_answer_that_never_comes_is_cut_too(path: str) -> None:
    async with serving(rest_app(NoAnswer())) as address, httpx2.AsyncClient() as client:
        with pytest.raises(httpx2.RemoteProtocolError, match="peer closed connection"):
            await client.post(address + path, json={"model": MODEL, "prompt": "hi", "messages": []})
