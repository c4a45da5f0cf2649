"""What an unmodified `wrangler dev` asks of Cloudflare's API before a remote binding works."""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import anyio
import httpx2
import pytest
from anyio.abc import SocketStream

from cfai import FakeBinding
from cfai.server.app import rest_app
from cfai.server.tail import TailSocket
from tests.serving import serving

MODEL = "@cf/meta/llama-2-7b-chat-int8"
WORKERS = "/client/v4/accounts/any/workers"
BEARER = {"authorization": "Bearer s3cret"}


@pytest.fixture
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    app = rest_app(
        FakeBinding({MODEL: "New York"}, as_of="2023-11-14"), token="s3cret", hosts=["my-worker.cfai.workers.dev"]
    )
    async with serving(app) as address, httpx2.AsyncClient(base_url=address) as client:
        yield client


async def test_a_preview_is_made_and_answers(client: httpx2.AsyncClient) -> None:
    upload = await client.get(f"{WORKERS}/subdomain/edge-preview", headers=BEARER)
    assert upload.json()["result"]["token"]
    where = await client.get(f"{WORKERS}/subdomain", headers=BEARER)
    assert where.json() == {"result": {"subdomain": "cfai"}, "success": True, "errors": [], "messages": []}
    made = await client.post(
        f"{WORKERS}/scripts/my-worker/edge-preview", headers=BEARER, files={"index.js": b"export default {}"}
    )
    preview = made.json()["result"]
    assert preview["tail_url"].startswith("ws://127.0.0.1:")

    response = await client.post(
        "/",
        json={"inputs": {"prompt": "hi"}},
        headers={
            "host": "my-worker.cfai.workers.dev",
            "cf-workers-preview-token": preview["preview_token"],
            "MF-URL": "https://workers-binding.ai/run?version=3",
            "MF-Header-cf-consn-model-id": MODEL,
            "MF-Header-content-type": "application/json",
        },
    )
    assert response.json() == {"response": "New York"}


async def test_a_preview_needs_the_token_and_does_not_tell_it(client: httpx2.AsyncClient) -> None:
    for method, path in (
        ("GET", "/subdomain"),
        ("GET", "/subdomain/edge-preview"),
        ("POST", "/scripts/w/edge-preview"),
    ):
        assert (await client.request(method, WORKERS + path)).status_code == 401
        assert "s3cret" not in (await client.request(method, WORKERS + path, headers=BEARER)).text


# The preview's log: a WebSocket, with the bytes of RFC 6455, section 1.3 and 5.7.


async def upgrade(stream: SocketStream, path: str, *headers: str) -> bytes:
    lines = [f"GET {path} HTTP/1.1", "Host: 127.0.0.1", "Connection: Upgrade", "Upgrade: websocket", *headers]
    await stream.send("\r\n".join([*lines, "Sec-WebSocket-Version: 13", "", ""]).encode())
    return await stream.receive()


@pytest.fixture
async def stream() -> AsyncIterator[SocketStream]:
    async with serving(rest_app(FakeBinding()), websockets=TailSocket) as address:
        url = urlsplit(address)
        async with await anyio.connect_tcp(str(url.hostname), int(url.port or 0)) as stream:
            with anyio.fail_after(30):
                yield stream


KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="


def masked(opcode: int, payload: bytes) -> bytes:
    mask = b"\x37\xfa\x21\x3d"
    return bytes([0x80 | opcode, 0x80 | len(payload)]) + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(payload))


async def test_the_log_is_accepted_answers_pings_and_closes(stream: SocketStream) -> None:
    answer = await upgrade(stream, "/client/v4/tail/my-worker", KEY, "Sec-WebSocket-Protocol: trace-v1")
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in answer
    assert b"Sec-WebSocket-Protocol: trace-v1\r\n" in answer
    hello = masked(0x9, b"Hello")
    for byte in masked(0x1, b"dropped") + hello:  # however the network cuts it
        await stream.send(bytes([byte]))
    assert await stream.receive() == b"\x8a\x05Hello"
    await stream.send(masked(0x8, (1000).to_bytes(2)))
    assert await stream.receive() == b"\x88\x02\x03\xe8"
    with pytest.raises(anyio.EndOfStream):
        await stream.receive()


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/run?version=3", [KEY]),
        ("/client/v4/tail/my-worker", []),
        ("/client/v4/tail/my-worker", [KEY, "Origin: https://elsewhere.example"]),
    ],
)
async def test_no_other_websocket_is_accepted(stream: SocketStream, path: str, headers: list[str]) -> None:
    answer = await upgrade(stream, path, *headers)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'"internalCode":5006' in answer
    with pytest.raises(anyio.EndOfStream):
        await stream.receive()


async def test_a_message_without_end_is_cut_off(stream: SocketStream) -> None:
    await upgrade(stream, "/client/v4/tail/my-worker", KEY)
    with pytest.raises((anyio.BrokenResourceError, anyio.EndOfStream)):
        await stream.send(b"\x81\xff" + (1 << 40).to_bytes(8) + bytes(4))
        for _ in range(1000):
            await stream.send(bytes(4096))
        await stream.receive()


async def test_the_server_ends_with_a_log_open() -> None:
    async with serving(rest_app(FakeBinding()), websockets=TailSocket) as address:
        url = urlsplit(address)
        stream = await anyio.connect_tcp(str(url.hostname), int(url.port or 0))
        await upgrade(stream, "/client/v4/tail/my-worker", KEY)
    assert await stream.receive() == b"\x88\x02\x03\xe9"
    await stream.aclose()
