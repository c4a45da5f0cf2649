"""What servers refuse, and with which error the caller meets it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cfai.bindings.upstream.refusals import Server, refusal
from cfai.errors import (
    AiError,
    BadInput,
    ContextExceeded,
    EngineFailure,
    Forbidden,
    NoSuchModel,
    OutOfCapacity,
    RequestTimeout,
    RequestTooLarge,
)
from tests.bindings.upstream.servers import Server as Answering
from tests.bindings.upstream.servers import answered, asking

SERVER = Server("http://127.0.0.1:8000/v1", "@cf/mine/llama", "llama", ("s3cret",))


def refused(status: int, body: Any) -> AiError:
    return refusal(SERVER, status, body, endpoint="chat/completions")


@pytest.mark.parametrize(
    ("status", "body", "kind", "code", "http"),
    [
        (400, {"error": {"message": "bad"}}, BadInput, 5006, 400),
        (422, {"detail": [{"loc": ["body", "top_k"], "msg": "too small"}]}, BadInput, 5006, 400),
        (401, {"error": {"message": "Invalid API Key"}}, Forbidden, 5018, 403),
        (403, "no", Forbidden, 5018, 403),
        (404, {"error": {"message": "The model `llama` does not exist.", "code": 404}}, NoSuchModel, 5007, 400),
        (400, {"error": {"message": "nope", "code": "model_not_found"}}, NoSuchModel, 5007, 400),
        (404, {"detail": "Not Found"}, EngineFailure, 8500, 500),
        (405, "", EngineFailure, 8500, 500),
        (408, "", RequestTimeout, 3007, 408),
        (504, "<html>Gateway Time-out</html>", RequestTimeout, 3007, 408),
        (413, "", RequestTooLarge, 3006, 413),
        (429, {"error": {"message": "slow down"}}, OutOfCapacity, 3040, 429),
        (503, {"error": {"message": "Loading model", "type": "unavailable_error"}}, OutOfCapacity, 3040, 429),
        (500, {"error": "boom"}, EngineFailure, 8500, 500),
        (502, "<html><body>Bad gateway</body></html>", EngineFailure, 8500, 500),
        (307, "it is elsewhere", EngineFailure, 8500, 500),
    ],
)
def test_a_refusal_is_the_error_that_workers_ai_has_for_it(
    status: int, body: Any, kind: type[AiError], code: int, http: int
) -> None:
    error = refused(status, body)
    assert (type(error), error.code, error.status) == (kind, code, http)
    assert f"http://127.0.0.1:8000/v1/chat/completions answers {status}" in f"{error} {error.hint}"
    assert error.hint


@pytest.mark.parametrize(
    ("words", "asked", "limit"),
    [
        (
            "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens (4900 in the "
            "messages, 100 in the completion). Please reduce the length of the messages or completion.",
            5000,
            4096,
        ),
        (
            "This model's maximum context length is 16384 tokens. However, you requested 8192 output tokens and your "
            "prompt contains at least 8193 input tokens, for a total of at least 16385 tokens.",
            16385,
            16384,
        ),
        (
            "This model's maximum context length is 8192 tokens. However, your messages resulted in 10000 tokens.",
            10000,
            8192,
        ),
        ("You passed 5001 input tokens and requested 0. However, the model's context length is only 4096", 5001, 4096),
        ("The decoder prompt (length 5000) is longer than the maximum model length of 4096.", 5000, 4096),
        ("The input (5000 tokens) is longer than the model's context length (4096 tokens).", 5000, 4096),
        (
            "Requested token count exceeds the model's maximum context length of 4096 tokens. You requested a total of "
            "5000 tokens: 4900 tokens from the input messages and 100 tokens for the completion.",
            5000,
            4096,
        ),
        ("request (3014 tokens) exceeds the available context size (1024 tokens), try increasing it", 3014, 1024),
        (
            "input (3002 tokens) is too large to process. increase the physical batch size (current batch size: 512)",
            3002,
            512,
        ),
        ("Requested tokens (3000) exceed context window of 2048", 3000, 2048),
        (
            "AiError: The estimated number of input and maximum output tokens (9000) exceeded this model context "
            "window limit (8192).",
            9000,
            8192,
        ),
    ],
)
@pytest.mark.parametrize("status", [400, 413, 500])
def test_a_prompt_that_is_too_long_is_cloudflares_error_with_the_servers_numbers(
    words: str, asked: int, limit: int, status: int
) -> None:
    error = refused(status, {"error": {"message": words}})
    assert isinstance(error, ContextExceeded)
    assert f"({asked})" in str(error)
    assert f"({limit})" in str(error)


def test_the_numbers_may_stand_beside_the_words() -> None:
    told = {"message": "too long", "type": "exceed_context_size_error", "n_prompt_tokens": 3014, "n_ctx": 1024}
    assert "(3014)" in str(refused(400, {"error": told}))


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        {},
        7,
        {"error": None},
        {"error": {"message": None}},
        {"error": ["a", {"b": "c"}]},
        {"detail": [[[[]]]]},
        {"error": {"error": {"error": "deep"}}},
        "x" * 100_000,
        "\x1b[2J\r\n\x00",
        "\ud83d",
        {"error": {"message": "maximum context length is 99999999999999999999 tokens"}},
    ],
)
def test_any_body_makes_a_message_that_can_be_shown(body: Any) -> None:
    for status in (400, 404, 500):
        error = refused(status, body)
        assert len(str(error)) < 700
        assert str(error).isprintable()
        json.dumps(error.to_body()).encode()


def test_no_secret_stands_in_a_message() -> None:
    error = refused(401, {"error": {"message": "Incorrect API key provided: s3cret"}})
    assert "s3cret" not in json.dumps(error.to_body())
    assert "***" in str(error)


def test_half_a_secret_is_one_too() -> None:
    error = refused(401, {"error": {"message": f"{'x' * 293} s3cret"}})
    assert "s3c" not in json.dumps(error.to_body())


@pytest.mark.parametrize("content_type", ["text/html", "text/event-stream", "application/json"])
async def test_no_secret_stands_in_what_is_no_answer(content_type: str) -> None:
    for body in (b"data: your key is t0ken\n\n", b'{"key": "t0ken"}'):
        reply = await answered(Answering(body, content_type=content_type), token="t0ken")
        assert reply.status == 500
        assert "t0ken" not in json.dumps(reply.body)


async def test_neither_the_token_nor_the_password_of_the_address_is_ever_shown() -> None:
    body = json.dumps({"error": {"message": "user:pa55 may not use key t0ken"}}).encode()
    async with asking(Answering(body, status=401, content_type="application/json"), token="t0ken") as binding:
        url = binding.url.replace("http://", "http://user:pa55@")
    reply = await answered(Answering(body, status=401, content_type="application/json"), token="t0ken")
    assert "t0ken" not in json.dumps(reply.body)
    from cfai import Call, UpstreamBinding

    with_password = UpstreamBinding(url, model="m")
    reply = await with_password.send(Call("@cf/mine/llama", {"prompt": "hi"}))
    assert reply.status == 500
    assert "pa55" not in json.dumps(reply.body)
    assert "pa55" not in with_password.url
    await with_password.aclose()


async def test_a_busy_server_says_when_to_come_back() -> None:
    reply = await answered(Answering(b'{"error":{"message":"busy"}}', status=429, content_type="application/json"))
    assert (reply.status, reply.headers["retry-after"]) == (429, "1")


async def test_a_redirect_is_not_followed_and_named() -> None:
    async def moved(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"location", b"https://elsewhere.example/v1?key=abc")]
        await send({"type": "http.response.start", "status": 307, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    error = (await answered(moved)).error
    assert error is not None
    assert "https://elsewhere.example/v1" in str(error)
    assert "abc" not in str(error)
