"""What an unmodified `wrangler dev` asks of Cloudflare's API before a remote binding works."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx2
import pytest

from cfai import FakeBinding
from cfai.server.app import rest_app
from tests.serving import serving

MODEL = "@cf/meta/llama-2-7b-chat-int8"
WORKERS = "/client/v4/accounts/any/workers"
BEARER = {"authorization": "Bearer s3cret"}


@pytest.fixture
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    app = rest_app(FakeBinding({MODEL: "New York"}), token="s3cret", hosts=["my-worker.cfai.workers.dev"])
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
