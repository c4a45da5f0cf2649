"""OpenAI's endpoints over a real socket: what becomes of a request, and of a reply."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest

from cfai import FakeBinding
from cfai.errors import AiError, BadInput, ContextExceeded, EngineFailure, NoSuchModel, OutOfCapacity
from cfai.server.app import rest_app
from tests.server.canned import Canned
from tests.serving import serving

MODEL = "@cf/test/llama"
DEEP = "/client/v4/accounts/acc/ai/v1"
COMPLETION = {"id": "id-1", "object": "chat.completion", "choices": []}


async def post(binding: Any, path: str, body: Any, *, token: str | None = None, **headers: str) -> httpx2.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with serving(rest_app(binding, token=token)) as address, httpx2.AsyncClient(base_url=address) as client:
        return await client.post(path, content=content, headers=headers)


@pytest.mark.parametrize("base", ["/v1", DEEP])
@pytest.mark.parametrize(
    ("path", "form"), [("chat/completions", "chat"), ("completions", "completion"), ("responses", "responses")]
)
async def test_a_request_is_a_call_in_the_form_of_the_endpoint(base: str, path: str, form: str) -> None:
    canned = Canned(COMPLETION)
    body = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "stop": None}
    response = await post(canned, f"{base}/{path}", body, **{"x-session-affinity": "s1"})
    assert (response.status_code, response.json()) == (200, COMPLETION), "no envelope"
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"]
    (call,) = canned.calls
    assert (call.model, call.form) == (MODEL, form)
    assert call.inputs == {"messages": [{"role": "user", "content": "hi"}], "stop": None}
    assert call.headers == {"x-session-affinity": "s1"}
    assert call.options == {}


async def test_options_of_cloudflares_endpoint_are_no_inputs() -> None:
    canned = Canned(COMPLETION)
    body = {"model": MODEL, "prompt": "hi", "options": {"rejectIfBusy": True, "other": 1}}
    await post(canned, f"{DEEP}/completions?asOf=2026-01-01&x=y", body)
    assert canned.calls[0].inputs == {"prompt": "hi"}
    assert canned.calls[0].options == {"rejectIfBusy": True, "asOf": "2026-01-01"}


async def test_a_stream_is_passed_on_as_it_is() -> None:
    events = [b'data: {"choices":[{"delta":{"content":"New"}}]}\n\n', b"event: x\ndata: {}\n\n", b"data: [DONE]\n\n"]
    response = await post(Canned(events), "/v1/chat/completions", {"model": MODEL, "stream": True})
    assert response.content == b"".join(events)
    assert response.headers["content-type"] == "text/event-stream"
    assert response.headers["cache-control"] == "no-cache, no-transform"
    assert "content-encoding" not in response.headers


@pytest.mark.parametrize(
    ("error", "status", "type_", "code", "param"),
    [
        (NoSuchModel("@cf/x/y"), 404, "invalid_request_error", "model_not_found", None),
        (BadInput("'/temperature' must be <= 5"), 400, "invalid_request_error", "5006", "temperature"),
        (ContextExceeded(9000, 8192), 413, "invalid_request_error", "context_length_exceeded", None),
        (OutOfCapacity(), 429, "rate_limit_error", "rate_limit_exceeded", None),
        (EngineFailure("broke"), 500, "server_error", "8500", None),
    ],
)
async def test_an_error_is_told_to_both_kinds_of_client(
    error: AiError, status: int, type_: str, code: str, param: str | None
) -> None:
    response = await post(Canned(error), "/v1/chat/completions", {"model": MODEL, "messages": []})
    assert response.status_code == status
    body = response.json()
    assert (body["error"]["type"], body["error"]["code"], body["error"]["param"]) == (type_, code, param)
    assert error.description in body["error"]["message"]
    assert [(told["code"], error.description in told["message"]) for told in body["errors"]] == [(error.code, True)]
    assert (body["success"], body["result"]) == (False, {})


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"messages": []}, 400, 3003),
        ({"model": "", "messages": []}, 400, 3003),
        ({"model": ["a"], "messages": []}, 400, 3003),
        ([], 400, 3003),
        (b"", 400, 3003),
        (b"{", 400, 3003),
        (b"[" * 100, 400, 3003),
        (b"[" * 70 + b"]" * 70, 400, 5006),
        (b" " * (10 * 1024 * 1024 + 1), 413, 3006),
    ],
)
async def test_what_is_no_request_is_refused_before_the_binding(body: Any, status: int, code: int) -> None:
    canned = Canned(COMPLETION)
    response = await post(canned, "/v1/chat/completions", body)
    assert (response.status_code, response.json()["errors"][0]["code"]) == (status, code)
    assert response.json()["error"]["type"] == "invalid_request_error"
    assert not canned.calls


async def test_a_token_is_asked_for_in_openais_words() -> None:
    response = await post(Canned(COMPLETION), "/v1/chat/completions", {"model": MODEL}, token="t0ken")
    assert response.status_code == 401
    assert response.json()["error"] == {
        "message": "Authentication error",
        "type": "authentication_error",
        "code": "invalid_api_key",
        "param": None,
    }
    assert response.json()["errors"][0]["code"] == 10000
    let_in = {"authorization": "Bearer t0ken"}
    response = await post(Canned(COMPLETION), "/v1/chat/completions", {"model": MODEL}, token="t0ken", **let_in)
    assert response.status_code == 200


async def test_a_stream_that_breaks_ends_in_the_form_of_the_endpoint(caplog: pytest.LogCaptureFixture) -> None:
    async def events() -> Any:
        yield b'data: {"choices":[]}\n\n'
        raise ZeroDivisionError("inside")

    response = await post(Canned(events), "/v1/chat/completions", {"model": MODEL, "stream": True})
    *_, failure, done, _ = response.text.split("\n\n")
    assert json.loads(failure.removeprefix("data: "))["error"]["type"] == "server_error"
    assert done == "data: [DONE]"
    assert "ZeroDivisionError: inside" in caplog.text


@pytest.mark.parametrize("base", ["/v1", DEEP])
async def test_the_models_are_those_that_run_here(base: str) -> None:
    binding = Canned(COMPLETION, here=[MODEL, "@cf/meta/llama-2-7b-chat-int8"])
    async with serving(rest_app(binding)) as address, httpx2.AsyncClient(base_url=address) as client:
        listed = (await client.get(f"{base}/models")).json()
        one = (await client.get(f"{base}/models/@cf%2Fmeta%2Fllama-2-7b-chat-int8")).json()
        none = await client.get(f"{base}/models/@cf/meta/llama-3-8b-instruct")
    assert listed["object"] == "list"
    assert [row["id"] for row in listed["data"]] == [MODEL, "@cf/meta/llama-2-7b-chat-int8"]
    assert one == {
        "id": "@cf/meta/llama-2-7b-chat-int8",
        "object": "model",
        "created": one["created"],
        "owned_by": "meta",
    }
    assert one in listed["data"]
    assert one["created"] > 1_690_000_000
    assert (none.status_code, none.json()["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/chat/completions", 405, 7001),
        ("DELETE", f"{DEEP}/models", 405, 7001),
        ("POST", "/v1/nothing", 404, 7003),
        ("GET", f"{DEEP}/audio/speech", 404, 7003),
    ],
)
async def test_other_addresses_under_v1_answer_in_openais_words(method: str, path: str, status: int, code: int) -> None:
    async with serving(rest_app(FakeBinding())) as address, httpx2.AsyncClient(base_url=address) as client:
        response = await client.request(method, path)
    assert (response.status_code, response.json()["errors"][0]["code"]) == (status, code)
    assert response.json()["error"]["type"] == "invalid_request_error"
