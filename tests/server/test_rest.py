"""The REST API over a real socket: bytes, codes and wording, and clients that leave."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from typing import Any, NoReturn

import anyio
import httpx2
import pytest

from cfai import ByteStream, Call, FakeBinding, LocalBinding, Reply
from cfai.errors import EngineFailure, OutOfCapacity
from cfai.server.app import rest_app
from tests.held import models_held
from tests.serving import serving
from tests.waiting import until

MODEL = "@cf/test/llama"
ENDLESS = "@cf/test/endless"
RUN = "/client/v4/accounts/acc/ai/run"


@pytest.fixture
async def client(local: LocalBinding) -> AsyncIterator[httpx2.AsyncClient]:
    async with (
        serving(rest_app(local, token="t0ken")) as address,
        httpx2.AsyncClient(base_url=address, headers={"authorization": "Bearer t0ken"}, timeout=30) as client,
    ):
        yield client


async def post(client: httpx2.AsyncClient, model: str, body: Any, **headers: str) -> httpx2.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await client.post(f"{RUN}/{model}", content=content, headers=headers)


async def test_a_whole_answer_is_enveloped_in_cloudflares_order(client: httpx2.AsyncClient) -> None:
    response = await post(client, MODEL, {"prompt": "New York", "max_tokens": 3, "seed": 1})
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.headers["cf-ai-req-id"]
    assert list(response.json()) == ["result", "success", "errors", "messages"]
    assert response.json()["result"]["usage"]["completion_tokens"] == 3
    assert re.fullmatch(
        r'\{"result":\{"response":".*","usage":\{.*\}\},"success":true,"errors":\[\],"messages":\[\]\}', response.text
    )


@pytest.mark.parametrize("model", [MODEL, "@cf%2Ftest%2Fllama"])
@pytest.mark.parametrize("kind", ["application/json", "application/x-www-form-urlencoded", "text/plain"])
async def test_model_ids_raw_or_encoded_and_any_content_type(client: httpx2.AsyncClient, model: str, kind: str) -> None:
    body = {"prompt": "New York", "max_tokens": 1}
    assert (await post(client, model, body, **{"content-type": kind})).status_code == 200


async def test_the_query_is_ignored_but_for_our_own(client: httpx2.AsyncClient) -> None:
    response = await client.post(f"{RUN}/{MODEL}?topK=3&asOf=2023-11-14", content=b'{"prompt":"New","max_tokens":1}')
    assert list(response.json()["result"]) == ["response"]


async def test_pieces_arrive_one_by_one_and_the_connection_ends_after_done(client: httpx2.AsyncClient) -> None:
    body = json.dumps({"prompt": "New York", "stream": True, "max_tokens": 40, "temperature": 0}).encode()
    async with client.stream("POST", f"{RUN}/{ENDLESS}", content=body) as response:
        assert response.headers["content-type"] == "text/event-stream"
        assert "content-length" not in response.headers
        chunks = [chunk async for chunk in response.aiter_raw()]
    assert b"".join(chunks).endswith(b"data: [DONE]\n\n")
    assert b"".join(chunks).count(b"[DONE]") == 1
    assert len(chunks) > 10, "not one buffered lump"


async def test_a_piece_is_sent_when_it_is_made() -> None:
    sent = anyio.Event()

    async def events() -> AsyncGenerator[bytes]:
        yield b'data: {"response":"New"}\n\n'
        await sent.wait()  # for the client to have the first
        yield b"data: [DONE]\n\n"

    async with serving(rest_app(Streaming(events))) as address, httpx2.AsyncClient(base_url=address) as client:
        with anyio.fail_after(20):
            async with client.stream("POST", f"{RUN}/{MODEL}", content=b'{"prompt":"hi","stream":true}') as response:
                chunks = response.aiter_raw()
                assert await anext(chunks) == b'data: {"response":"New"}\n\n'
                sent.set()
                assert await anext(chunks) == b"data: [DONE]\n\n"


class Streaming(FakeBinding):
    def __init__(self, events: Callable[[], AsyncGenerator[bytes]]) -> None:
        super().__init__()
        self._events = events

    async def send(self, call: Call) -> Reply:
        return Reply(ByteStream(self._events()), headers={"content-type": "text/event-stream"})


async def test_a_binding_that_breaks_is_a_json_error_and_a_log_line(caplog: pytest.LogCaptureFixture) -> None:
    async def broken(call: Call) -> NoReturn:
        raise ZeroDivisionError("inside")

    app = rest_app(FakeBinding({MODEL: broken}))
    async with serving(app) as address, httpx2.AsyncClient(base_url=address) as client:
        response = await post(client, MODEL, {"prompt": "hi"})
    assert (response.status_code, response.json()["errors"][0]["code"]) == (500, 8500)
    assert "ZeroDivisionError: inside" in caplog.text


async def test_a_stream_that_breaks_ends_with_the_error_and_done(caplog: pytest.LogCaptureFixture) -> None:
    async def events() -> AsyncGenerator[bytes]:
        yield b'data: {"response":"New"}\n\n'
        raise ZeroDivisionError("inside")

    async with serving(rest_app(Streaming(events))) as address, httpx2.AsyncClient(base_url=address) as client:
        response = await post(client, MODEL, {"prompt": "hi", "stream": True})
    assert response.text.endswith(
        'data: {"response":"","errors":[{"code":8500,"message":"the stream failed: inside"}]}\n\ndata: [DONE]\n\n'
    )
    assert "ZeroDivisionError: inside" in caplog.text


REFUSALS: list[tuple[str, Any, int, int, str]] = [
    ("@cf/no/such", {"prompt": "a"}, 400, 5007, "AiError: No such model @cf/no/such or task"),
    ("gpt-4", {"prompt": "a"}, 404, 3042, "AiError: The model name is invalid: 'gpt-4'"),
    (
        MODEL,
        {},
        400,
        5006,
        "AiError: Bad input: Error: oneOf at '/' not met, 0 matches: required properties at '/' are 'prompt', "
        "required properties at '/' are 'messages'",
    ),
    (
        MODEL,
        {"prompt": "a", "messages": [{"role": "user", "content": "x"}]},
        400,
        5006,
        "AiError: Bad input: Error: oneOf at '/' not met, 2 matches: "
        "Type mismatch of '/messages/0/content', 'array' not in 'string'",
    ),
    (
        MODEL,
        {"prompt": "a", "max_tokens": "5"},
        400,
        5006,
        "AiError: Bad input: Error: oneOf at '/' not met, 0 matches: Type mismatch of '/max_tokens', "
        "'integer' not in 'string'",
    ),
    (
        MODEL,
        {"prompt": ""},
        400,
        5006,
        "AiError: Bad input: Error: oneOf at '/' not met, 0 matches: Length of '/prompt' must be >= 1 not met, "
        "required properties at '/' are 'messages'",
    ),
    (
        MODEL,
        {"prompt": "a", "temperature": 6},
        400,
        5006,
        "AiError: Bad input: Error: oneOf at '/' not met, 0 matches: '/temperature' must be <= 5",
    ),
    (MODEL, b"", 400, 3003, "AiError: Request is missing headers or body: body"),
    (
        MODEL,
        b'{"prompt":',
        400,
        3003,
        "AiError: Request is missing headers or body: body is not JSON: Expecting value at line 1 column 11",
    ),
    (
        MODEL,
        b'{"prompt":"\xff"}',
        400,
        3003,
        "AiError: Request is missing headers or body: body is not UTF-8 at byte 11",
    ),
    (MODEL, b"[" * 100_000, 400, 5006, "AiError: Bad input: Error: the body is nested more than 64 deep"),
    (
        MODEL,
        b'{"prompt":"a","x":' + b"[" * 70 + b"]" * 70 + b"}",
        400,
        5006,
        "AiError: Bad input: Error: the body is nested",
    ),
    (
        MODEL,
        b'{"prompt":"a","seed":' + b"9" * 5000 + b"}",
        400,
        5006,
        "AiError: Bad input: Error: the body has a number",
    ),
    (
        MODEL,
        b'{"prompt":"a","temperature":NaN}',
        400,
        3003,
        "AiError: Request is missing headers or body: body is not JSON",
    ),
    (MODEL, b'{"prompt":"a","temperature":1e999}', 400, 5006, "AiError: Bad input: Error: "),
    (MODEL, b'{"prompt":"\\ud800"}', 400, 5006, "AiError: Bad input: Error: "),
    (MODEL, b" " * (10 * 1024 * 1024 + 1), 413, 3006, "AiError: Request is too large"),
    (MODEL, {"prompt": "New" * 40_000}, 413, 5021, "AiError: The estimated number of input and maximum output tokens"),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("model", "body", "status", "code", "message"), REFUSALS)
async def test_a_refusal_has_cloudflares_code_status_and_wording(
    client: httpx2.AsyncClient, model: str, body: Any, status: int, code: int, message: str, stream: bool
) -> None:
    if stream and isinstance(body, Mapping):
        body = {**body, "stream": True}
    response = await post(client, model, body)
    assert (response.status_code, response.headers["content-type"]) == (status, "application/json")
    answer = response.json()
    assert list(answer) == ["errors", "success", "result", "messages"]
    assert (answer["success"], answer["result"]) == (False, {})
    (error,) = answer["errors"]
    assert error["code"] == code
    assert error["message"].startswith(message)
    assert error["message"].endswith(f"({response.headers['cf-ai-req-id']})")
    assert "Traceback" not in response.text
    assert (await post(client, MODEL, {"prompt": "New", "max_tokens": 1})).status_code == 200, "the server goes on"


@pytest.mark.parametrize("authorization", [None, "Bearer wrong", "Bearer", "Basic t0ken", "t0ken", "Bearer t0kén"])
async def test_no_token_and_a_wrong_token_are_one_answer(client: httpx2.AsyncClient, authorization: str | None) -> None:
    del client.headers["authorization"]
    headers = {b"authorization": authorization.encode()} if authorization else {}
    response = await client.post(f"{RUN}/@cf/no/such", content=b"{", headers=headers)
    assert response.status_code == 401
    assert response.text == (
        '{"result":null,"success":false,"errors":[{"code":10000,"message":"Authentication error"}],"messages":[]}'
    )


async def test_the_scheme_is_not_case_sensitive(client: httpx2.AsyncClient) -> None:
    response = await post(client, MODEL, {"prompt": "New", "max_tokens": 1}, authorization="bearer t0ken")
    assert response.status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", f"{RUN}/{MODEL}", 405, 7001),
        ("POST", "/client/v4/accounts/acc/ai/nothing", 404, 7003),
        ("GET", "/nothing", 404, 7003),
        ("POST", "/health", 405, 7001),
    ],
)
async def test_other_addresses_answer_as_the_api_does(
    client: httpx2.AsyncClient, method: str, path: str, status: int, code: int
) -> None:
    response = await client.request(method, path)
    assert response.status_code == status
    assert response.json()["errors"][0]["code"] == code
    assert response.json()["result"] is None


async def test_each_request_is_one_line_of_the_log(
    client: httpx2.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="cfai.server")
    await client.post(f"{RUN}/{MODEL}?key=s3cret", content=b'{"prompt":"New","max_tokens":1}')
    await client.post(f"{RUN}/@cf/no/such", content=b"{}", headers={"authorization": "Bearer wr0ng"})
    await client.get("/a%0d%0ab%1b[2J")
    lines = [record.getMessage() for record in caplog.records if record.name == "cfai.server"]
    assert [line.rsplit(" ", 2)[0] for line in lines] == [
        f"POST {RUN}/{MODEL} 200",
        f"POST {RUN}/@cf/no/such 401",
        "GET /a%0D%0Ab%1B%5B2J 404",
    ]
    assert "s3cret" not in caplog.text
    assert "wr0ng" not in caplog.text


async def health(client: httpx2.AsyncClient) -> dict[str, Any]:
    body: dict[str, Any] = (await client.get("/health")).json()
    return body


async def test_health_counts_what_runs(client: httpx2.AsyncClient) -> None:
    assert await health(client) == {"status": "ok", "running": 0, "waiting": 0, "tokens": 0, "models": {}}
    await post(client, MODEL, {"prompt": "New", "max_tokens": 2, "seed": 1})
    stats = await health(client)
    assert (stats["running"], stats["tokens"]) == (0, 2)
    (model,) = stats["models"].values()
    assert (model["device"], model["dtype"]) == ("cpu", "float32")


def in_use(local: LocalBinding) -> list[bool]:
    """Of each model whether an answer holds it."""
    return [model["idle_seconds"] is None for model in local.stats()["models"].values()]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_stops_the_model(
    client: httpx2.AsyncClient, local: LocalBinding, stream: bool
) -> None:
    await post(client, ENDLESS, {"prompt": "New", "max_tokens": 1})
    async with anyio.create_task_group() as tasks:
        with models_held(after=6) as held:
            tasks.start_soon(post, client, ENDLESS, {"prompt": "New", "max_tokens": 4000, "stream": stream})
            await until(held.is_set)
            tasks.cancel_scope.cancel()
            made = local.stats()["tokens"]
            with anyio.CancelScope(shield=True):
                await until(lambda: in_use(local) == [False])
    await until(lambda: local.stats()["running"] == 0)
    assert local.stats()["tokens"] - made <= 2
    made = local.stats()["tokens"]
    await anyio.sleep(0.05)
    assert (await health(client))["tokens"] == made


async def test_clients_that_leave_while_they_wait_disturb_nobody(
    client: httpx2.AsyncClient, local: LocalBinding
) -> None:
    expected = (await post(client, ENDLESS, {"prompt": "New", "max_tokens": 30, "temperature": 0})).json()
    answers: list[Any] = []

    async def stay() -> None:
        answers.append((await post(client, ENDLESS, {"prompt": "New", "max_tokens": 30, "temperature": 0})).json())

    async def leave() -> None:
        with anyio.move_on_after(0.1):
            await post(client, ENDLESS, {"prompt": "New", "max_tokens": 4000, "stream": True})

    async with anyio.create_task_group() as tasks:
        for _ in range(6):
            tasks.start_soon(leave)
            tasks.start_soon(stay)
    assert answers == [expected] * 6
    await until(lambda: local.stats()["running"] + local.stats()["waiting"] == 0)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 403),
        ({"host": "localhost.evil.example:80"}, 403),
        ({"host": "0.0.0.0"}, 403),
        ({"host": ""}, 403),
        ({"host": "[::1"}, 200),
        ({"host": "[::1]:8788"}, 200),
        ({"host": "LOCALHOST:1"}, 200),
        ({"host": "127.9.9.9"}, 200),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, 200),
        ({"sec-fetch-site": "same-origin"}, 200),
    ],
)
async def test_only_this_machine_and_no_foreign_page_gets_in(
    client: httpx2.AsyncClient, headers: dict[str, str], status: int
) -> None:
    response = await client.get("/health", headers=headers)
    assert response.status_code == status
    assert "access-control-allow-origin" not in response.headers


async def test_a_name_that_was_allowed_gets_in() -> None:
    async with (
        serving(rest_app(FakeBinding(), hosts=["my-box"])) as address,
        httpx2.AsyncClient(base_url=address) as client,
    ):
        assert (await client.get("/health", headers={"host": "My-Box:8788"})).json() == {"status": "ok"}


async def test_without_a_token_none_is_asked_for() -> None:
    fake = FakeBinding({MODEL: "hi"}, as_of="2023-11-14")
    async with serving(rest_app(fake)) as address, httpx2.AsyncClient(base_url=address) as client:
        response = await post(client, MODEL, {"prompt": "hi"}, **{"x-session-affinity": "s1"})
    assert response.json()["result"] == {"response": "hi"}
    assert fake.calls[0].headers == {"x-session-affinity": "s1"}


async def test_an_error_of_the_model_before_the_first_piece_is_a_status() -> None:
    fake = FakeBinding({MODEL: EngineFailure("the model failed"), ENDLESS: OutOfCapacity()})
    async with serving(rest_app(fake)) as address, httpx2.AsyncClient(base_url=address) as client:
        failed = await post(client, MODEL, {"prompt": "hi", "stream": True})
        busy = await post(client, ENDLESS, {"prompt": "hi", "stream": True})
    assert (failed.status_code, failed.json()["errors"][0]["code"]) == (500, 8500)
    assert (busy.status_code, busy.json()["errors"][0]["code"]) == (429, 3040)
