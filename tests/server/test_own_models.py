"""A model that the user has defined answers on every route, as one of Cloudflare's does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from cfai import LocalBinding, ModelSettings
from cfai.server.app import rest_app
from tests.serving import serving

MINE = "@cf/mine/poet"
AI = "/client/v4/accounts/acc/ai"


@pytest.fixture
async def client(llama: Path) -> AsyncIterator[httpx2.AsyncClient]:
    row = {"context_window": 512, "description": "writes poems", "family": "chat", "created": "2026-01-02"}
    binding = LocalBinding({MINE: ModelSettings(weights=str(llama), row=row)}, demo=False)
    async with serving(rest_app(binding)) as address, httpx2.AsyncClient(base_url=address, timeout=60) as client:
        yield client
    await binding.aclose()


async def test_it_runs(client: httpx2.AsyncClient) -> None:
    inputs = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 4}
    ran = (await client.post(f"{AI}/run/{MINE}", json=inputs)).json()
    assert ran["success"]
    assert ran["result"]["object"] == "chat.completion", "the family that its row says"
    for path in ("/v1/chat/completions", f"{AI}/v1/chat/completions"):
        completion = (await client.post(path, json={"model": MINE, **inputs})).json()
        assert completion["model"] == MINE
        assert completion["usage"]["completion_tokens"] <= 4
    by_binding = await client.post("/run", json={"inputs": inputs}, headers={"cf-consn-model-id": MINE})
    assert by_binding.status_code == 200


async def test_its_limits_hold(client: httpx2.AsyncClient) -> None:
    refused = await client.post(f"{AI}/run/{MINE}", json={"prompt": "hi", "max_tokens": 513})
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (413, 5021)
    assert "512" in refused.json()["errors"][0]["message"]


async def test_it_is_listed(client: httpx2.AsyncClient) -> None:
    (found,) = (await client.get(f"{AI}/models/search", params={"search": "poems"})).json()["result"]
    assert (found["name"], found["description"]) == (MINE, "writes poems")
    assert {"property_id": "context_window", "value": "512"} in found["properties"]
    (by_binding,) = (await client.get("/ai-api/models/search", params={"search": "poems"})).json()["result"]
    assert by_binding["name"] == MINE
    listed = (await client.get("/v1/models")).json()["data"]
    assert [row["owned_by"] for row in listed if row["id"] == MINE] == ["mine"]
    one = (await client.get(f"/v1/models/{MINE}")).json()
    assert one["created"] == 1767312000
    authors = (await client.get(f"{AI}/authors/search", params={"search": "mine"})).json()["result"]
    assert [author["name"] for author in authors] == ["mine"]


async def test_its_schema_is_told(client: httpx2.AsyncClient) -> None:
    schema = (await client.get(f"{AI}/models/schema", params={"model": MINE})).json()["result"]
    assert schema["input"]
    assert schema["output"]
