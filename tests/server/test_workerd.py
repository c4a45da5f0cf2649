"""The binding protocol, as workerd's env.AI speaks it."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator

import httpx2
import pytest

from cfai import Call, FakeBinding
from cfai.errors import NoSuchModel
from cfai.server.app import binding_app, rest_app
from tests.serving import serving

MODEL = "@cf/meta/llama-2-7b-chat-int8"


@pytest.fixture
def fake() -> FakeBinding:
    return FakeBinding({MODEL: ["New", " York"], "@cf/no/such": NoSuchModel("@cf/no/such")}, as_of="2023-11-14")


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


async def test_version_2_has_gzip_data_that_no_header_tells_of(client: httpx2.AsyncClient, fake: FakeBinding) -> None:
    """@cloudflare/ai 1.1 unpacks every answer that is no stream and no error."""
    headers = {
        "host": "workers-binding.ai",
        "content-encoding": "application/json",
        "content-type": "text/plain;charset=UTF-8",
        "cf-consn-model-id": MODEL,
    }
    body: dict[str, object] = {"inputs": {"prompt": "hi"}, "options": {"debug": True}}
    response = await client.post("/run?version=2", content=json.dumps(body), headers=headers)
    assert "content-encoding" not in response.headers
    assert response.headers["content-type"] == "application/json"
    assert json.loads(gzip.decompress(response.content)) == {"response": "New York"}
    assert fake.calls[0].options == {"debug": True}

    body["inputs"] = {"prompt": "hi", "stream": True}
    response = await client.post("/run?version=2", content=json.dumps(body), headers=headers)
    assert response.text.startswith('data: {"response":"New"}\n\n')

    headers["cf-consn-model-id"] = "@cf/no/such"
    response = await client.post("/run?version=2", content=json.dumps(body), headers=headers)
    assert response.json()["internalCode"] == 5007


async def test_a_run_through_a_gateway_has_a_log_id(client: httpx2.AsyncClient, fake: FakeBinding) -> None:
    body = {"inputs": {"prompt": "hi"}, "options": {"gateway": {"id": "g"}}}
    headers = {"host": "workers-binding.ai", "content-type": "application/json", "cf-consn-model-id": MODEL}
    answers = [await client.post("/ai-gateway/run?version=3", json=body, headers=headers) for _ in range(2)]
    ids = [answer.headers["cf-aig-log-id"] for answer in answers]
    assert [len(log_id) for log_id in ids] == [26, 26]
    assert ids[0] < ids[1] or ids[0][:10] == ids[1][:10]
    assert fake.calls[0].options == {"gateway": {"id": "g"}}


@pytest.mark.parametrize(
    ("method", "path", "told"),
    [
        ("POST", "/to-everything/markdown/transformer", "toMarkdown"),
        ("POST", "/ai-gateway/universal/run/g", "AI Gateway"),
        ("GET", "/ai-gateway/gateways/g/logs/x", "AI Gateway"),
        ("POST", "/autorag/rags/r/search", "AutoRAG"),
    ],
)
async def test_what_does_not_run_here_says_so(client: httpx2.AsyncClient, method: str, path: str, told: str) -> None:
    response = await client.request(method, path, headers={"host": "workers-binding.ai"})
    assert response.status_code == 400
    assert told in response.json()["errors"][0]["message"]  # the sentence that each of the classes of env.AI shows


async def test_no_format_becomes_markdown(client: httpx2.AsyncClient) -> None:
    assert (await client.get("/to-everything/markdown/supported")).json() == {"result": []}


async def test_an_input_that_is_a_stream_is_refused_with_a_sentence(client: httpx2.AsyncClient) -> None:
    headers = {"content-type": "audio/mpeg", "cf-consn-model-id": MODEL}
    response = await client.post("/run?version=3&userInputs=%7B%22a%22%3A1%7D", content=b"\xff\xfb", headers=headers)
    assert (response.status_code, response.json()["internalCode"]) == (400, 5006)
    assert "audio/mpeg" in response.json()["description"]


async def test_a_websocket_is_refused_with_a_sentence(client: httpx2.AsyncClient) -> None:
    headers = {"upgrade": "websocket", "connection": "upgrade", "cf-consn-model-id": MODEL}
    response = await client.get("/run?version=3&body=%7B%7D", headers=headers)
    assert (response.status_code, response.json()["internalCode"]) == (400, 5006)
    assert "WebSocket" in response.json()["description"]
    assert (await client.get("/run?version=3", headers={"cf-consn-model-id": MODEL})).status_code == 405


async def test_the_public_port_speaks_it_too_and_wants_its_token(fake: FakeBinding) -> None:
    """workerd adds it: `injectRequestHeaders` of the service behind env.AI."""
    app = rest_app(fake, token="s3cret")
    async with serving(app) as address, httpx2.AsyncClient(base_url=address) as client:
        body = {"inputs": {"prompt": "hi"}, "options": {}}
        refusal = await run(client, MODEL, body)
        assert (refusal.status_code, refusal.json()["internalCode"]) == (401, 10000)
        assert (await run(client, MODEL, body, authorization="Bearer s3cret")).json() == {"response": "New York"}
        elsewhere = {"host": "workers-binding.ai", "authorization": "Bearer s3cret"}
        assert (await client.get("/health", headers=elsewhere)).status_code == 403
