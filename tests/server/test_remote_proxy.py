"""The remote-proxy protocol, as miniflare's client speaks it."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator, Mapping
from urllib.parse import urlsplit

import httpx2
import pytest
from anyio import to_thread

from cfai import Call, FakeBinding
from cfai.server.app import rest_app
from tests.serving import serving

MODEL = "@cf/meta/llama-2-7b-chat-int8"
RUN = "https://workers-binding.ai/run?version=3"
BEARER = {"authorization": "Bearer s3cret"}


@pytest.fixture
def fake() -> FakeBinding:
    return FakeBinding({MODEL: ["New", " York"]}, as_of="2023-11-14")


@pytest.fixture
async def client(fake: FakeBinding) -> AsyncIterator[httpx2.AsyncClient]:
    async with serving(rest_app(fake)) as address, httpx2.AsyncClient(base_url=address) as client:
        yield client


@pytest.fixture
async def guarded(fake: FakeBinding) -> AsyncIterator[httpx2.AsyncClient]:
    async with serving(rest_app(fake, token="s3cret")) as address, httpx2.AsyncClient(base_url=address) as client:
        yield client


async def run(
    client: httpx2.AsyncClient,
    path: str = "/",
    url: str = RUN,
    *,
    stream: bool = False,
    headers: Mapping[str, str] | None = None,
) -> httpx2.Response:
    return await client.post(
        path,
        content=json.dumps({"inputs": {"prompt": "hi", "stream": stream}, "options": {}}),
        headers={
            "MF-Binding": "AI",
            "MF-URL": url,
            "MF-Header-cf-consn-model-id": MODEL,
            "MF-Header-content-type": "application/json",
            "MF-Header-x-session-affinity": "s1",
            **(headers or {}),
        },
    )


@pytest.mark.parametrize("path", ["/", "/remote-proxy", "/any/other?x=1"])
async def test_any_path_takes_calls(client: httpx2.AsyncClient, fake: FakeBinding, path: str) -> None:
    response = await run(client, path)
    assert (response.headers["content-type"], response.json()) == ("application/json", {"response": "New York"})
    assert fake.calls == [Call(MODEL, {"prompt": "hi", "stream": False}, {}, {"x-session-affinity": "s1"})]


async def test_a_stream_is_passed_on(client: httpx2.AsyncClient) -> None:
    response = await run(client, stream=True)
    assert response.headers["content-type"] == "text/event-stream"
    assert response.text.startswith('data: {"response":"New"}\n\n')
    assert response.text.endswith("data: [DONE]\n\n")


async def test_headers_of_the_outer_request_do_not_get_in(client: httpx2.AsyncClient, fake: FakeBinding) -> None:
    headers = {"x-session-affinity": "outer", "MF-Header-x-session-affinity": "inner", "cf-consn-model-id": "@x/y"}
    assert (await run(client, headers=headers)).status_code == 200
    assert (fake.calls[0].model, fake.calls[0].headers) == (MODEL, {"x-session-affinity": "inner"})


@pytest.mark.parametrize(
    ("url", "status", "code"),
    [
        ("https://example.com/run?version=3", 400, 7000),
        ("https://workers-binding.ai/other", 404, 7003),
        ("https://workers-binding.ai/ai-gateway/universal/run/g", 400, 7000),
        ("nothing", 400, 3003),
        ("https://[nothing", 400, 3003),
    ],
)
async def test_what_is_not_the_ai_binding_is_refused(
    client: httpx2.AsyncClient, url: str, status: int, code: int
) -> None:
    response = await run(client, url=url)
    body = response.json()
    assert (response.status_code, body.get("internalCode") or body["errors"][0]["code"]) == (status, code)


async def test_the_token_stands_in_the_url(guarded: httpx2.AsyncClient) -> None:
    assert (await run(guarded, "/?token=s3cret")).json() == {"response": "New York"}
    for path in ("/", "/?token=", "/?token=wrong", "/?token=s3cret&token=x"):
        refusal = await run(guarded, path)
        assert (refusal.status_code, refusal.json()["internalCode"]) == (401, 10000)


async def test_the_token_may_be_a_bearer_too(guarded: httpx2.AsyncClient) -> None:
    assert (await run(guarded, headers=BEARER)).status_code == 200
    # Inside, it is the Worker's own header, and no business of ours.
    assert (await run(guarded, headers={"MF-Header-authorization": "Bearer s3cret"})).status_code == 401


async def test_the_websocket_beside_each_call_is_refused_at_once(client: httpx2.AsyncClient) -> None:
    address = urlsplit(str(client.base_url))

    def ask() -> bytes:
        with socket.create_connection((str(address.hostname), int(address.port or 0)), timeout=30) as connection:
            connection.sendall(
                b"GET /?MF-Binding=AI HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
            return connection.recv(100)

    assert (await to_thread.run_sync(ask)).startswith(b"HTTP/1.1 403 ")


async def test_a_run_over_a_websocket_is_refused_with_a_sentence(client: httpx2.AsyncClient) -> None:
    headers = {"MF-URL": RUN, "MF-Header-cf-consn-model-id": MODEL, "upgrade": "websocket", "connection": "upgrade"}
    response = await client.get("/", headers=headers)
    assert response.status_code == 400
    assert "WebSocket" in response.json()["description"]
