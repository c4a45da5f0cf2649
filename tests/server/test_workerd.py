"""The binding protocol, as workerd's env.AI speaks it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import httpx2
import pytest

from cfai import Call, FakeBinding
from cfai.errors import NoSuchModel
from cfai.server.app import binding_app
from tests.serving import serving

MODEL = "@cf/meta/llama-2-7b-chat-int8"


@pytest.fixture
def fake() -> FakeBinding:
    return FakeBinding({MODEL: ["New", " York"], "@cf/no/such": NoSuchModel("@cf/no/such")})


@pytest.fixture
async def client(fake: FakeBinding) -> AsyncIterator[httpx2.AsyncClient]:
    async with serving(binding_app(fake)) as address, httpx2.AsyncClient(base_url=address) as client:
        yield client


async def run(client: httpx2.AsyncClient, model: str, body: object, **headers: str) -> httpx2.Response:
    """What workerd sends, Host included."""
    return await client.post(
        "/run?version=3",
        content=json.dumps(body),
        headers={
            "host": "workers-binding.ai",
            "content-type": "application/json",
            "cf-consn-model-id": model,
            "cf-consn-sdk-version": "2.0.0",
            **headers,
        },
    )


async def test_a_reply_has_no_envelope_and_the_exact_content_type(
    client: httpx2.AsyncClient, fake: FakeBinding
) -> None:
    body = {"inputs": {"prompt": "where is new york?"}, "options": {"rejectIfBusy": True}}
    response = await run(client, MODEL, body, **{"x-session-affinity": "s1"})
    assert response.headers["content-type"] == "application/json"
    assert response.text == '{"response":"New York"}'
    assert response.headers["cf-ai-req-id"]
    assert fake.calls == [
        Call(MODEL, {"prompt": "where is new york?"}, {"rejectIfBusy": True}, {"x-session-affinity": "s1"})
    ]


async def test_a_stream_is_passed_on(client: httpx2.AsyncClient) -> None:
    response = await run(client, MODEL, {"inputs": {"prompt": "hi", "stream": True}, "options": {}})
    assert response.headers["content-type"] == "text/event-stream"
    assert response.text == 'data: {"response":"New"}\n\ndata: {"response":" York"}\n\ndata: [DONE]\n\n'


async def test_a_prefix_stands_before_the_model(client: httpx2.AsyncClient, fake: FakeBinding) -> None:
    assert (await run(client, f"pfx:{MODEL}", {"inputs": {"prompt": "hi"}})).status_code == 200
    assert fake.calls[0].model == MODEL


async def test_an_id_may_have_a_colon(client: httpx2.AsyncClient, fake: FakeBinding) -> None:
    fake.answers["@my/llama:8b"] = "hi"
    assert (await run(client, "@my/llama:8b", {"inputs": {"prompt": "hi"}})).json() == {"response": "hi"}
    assert (await run(client, "pfx:@my/llama:8b", {"inputs": {"prompt": "hi"}})).json() == {"response": "hi"}


async def test_an_error_has_the_fields_that_workerd_reads(client: httpx2.AsyncClient) -> None:
    response = await run(client, "@cf/no/such", {"inputs": {"prompt": "hi"}, "options": {}})
    assert response.status_code == 400
    body = response.json()
    assert (body["internalCode"], body["name"]) == (5007, "AiError")
    assert body["description"] == "No such model @cf/no/such or task"


@pytest.mark.parametrize(
    ("model", "body"), [("", {"inputs": {}}), (MODEL, {"prompt": "hi"}), (MODEL, [1]), (MODEL, "inputs")]
)
async def test_what_is_no_call_is_refused(client: httpx2.AsyncClient, model: str, body: object) -> None:
    response = await run(client, model, body)
    assert (response.status_code, response.json()["internalCode"]) == (400, 3003)
