"""Faults over HTTP, those that a server was started with and those that requests ask for: each as it is on the wire."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from cfai import Ai, FakeBinding, HttpBinding, sse
from cfai.bindings.faults.asked import AskedFaults, faults_are_on
from cfai.errors import OutOfCapacity, RequestTimeout
from cfai.server.app import App, binding_app, rest_app
from cfai.serving import listen, serve
from tests.serving import serving
from tests.waiting import until

MODEL = "@cf/meta/llama-2-7b-chat-int8"
IN_2023 = "2023-11-14"  # the wire form of that day has nothing but the pieces
PIECES = ["New", " York", " ist", " größer"]
RUN = f"/client/v4/accounts/acc/ai/run/{MODEL}"
V1 = "/client/v4/accounts/acc/ai/v1"
ASKED = [{"role": "user", "content": "where is new york?"}]
STREAM = {"prompt": "where is new york?", "stream": True}
WHOLE = b"".join([*(sse.encode({"response": piece}) for piece in PIECES), sse.DONE])
TENSORS = {"input": [{"type": "str", "shape": [1], "name": "INPUT_0", "value": ["hi"]}], "stream": True}


def app_with(faults: str | None, **settings: Any) -> App:
    return rest_app(FakeBinding({MODEL: PIECES}, as_of=IN_2023), faults=faults, **settings)


def asking(faults: str, **more: str) -> dict[str, str]:
    return {"x-cfai-faults": faults, **more}


async def post(address: str, path: str, body: object, headers: Mapping[str, str] = {}) -> httpx2.Response:
    async with httpx2.AsyncClient(timeout=20) as client:
        return await client.post(address + path, json=body, headers=dict(headers))


ROUTES = [
    (RUN, {"prompt": "hi"}, {}),
    ("/client/v4/accounts/acc/ai/run", {"model": MODEL, "prompt": "hi"}, {}),
    (f"{RUN}?queueRequest=true", {"requests": [{"prompt": "hi"}]}, {}),
    (f"{V1}/chat/completions", {"model": MODEL, "messages": ASKED}, {}),
    (f"{V1}/completions", {"model": MODEL, "prompt": "hi"}, {}),
    ("/v1/responses", {"model": MODEL, "input": "hi"}, {}),
    ("/run?version=3", {"inputs": {"prompt": "hi"}}, {"cf-consn-model-id": MODEL}),
    ("/run?version=2", {"inputs": {"prompt": "hi"}}, {"cf-consn-model-id": MODEL}),
    ("/ai-gateway/run?version=3", {"inputs": {"prompt": "hi"}}, {"cf-consn-model-id": MODEL}),
    ("/run", TENSORS, {"cf-consn-model-id": MODEL, "content-type": "text/plain"}),
    ("/", {"inputs": {"prompt": "hi"}}, {"mf-url": "https://workers-binding.ai/run?version=3"}),
]


@pytest.mark.parametrize(("path", "body", "headers"), ROUTES, ids=[path for path, _, _ in ROUTES])
async def test_a_request_on_any_route_asks_for_a_fault(path: str, body: object, headers: dict[str, str]) -> None:
    if "mf-url" in headers:  # what env.AI is told to send along, as miniflare passes it on
        faulty = {**headers, "mf-header-cf-consn-model-id": MODEL, "mf-header-x-cfai-faults": "rate-limit:seconds=7"}
        plain = {**headers, "mf-header-cf-consn-model-id": MODEL}
    else:
        faulty, plain = {**headers, **asking("rate-limit:seconds=7")}, headers
    async with serving(app_with("none")) as address:
        refused = await post(address, path, body, faulty)
        answered = await post(address, path, body, plain)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "7")
    told = refused.json()
    assert told.get("internalCode") == 3021 or told["errors"][0]["code"] == 3021
    assert ("error" in told) == ("v1/" in path), "OpenAI's clients read `error`"
    assert answered.status_code == 200


async def test_what_no_fault_is_called_is_refused_with_the_nearest() -> None:
    async with serving(app_with("none")) as address:
        unknown = await post(address, RUN, STREAM, asking("capasity"))
        of_openai = await post(address, "/v1/chat/completions", {}, asking("stall:many"))
    assert unknown.status_code == of_openai.status_code == 400
    assert "no fault is called 'capasity'; did you mean 'capacity'" in unknown.json()["errors"][0]["message"]
    assert "after of the fault 'stall:many' must be a whole number" in of_openai.json()["error"]["message"]


async def test_a_server_without_faults_lets_nobody_ask_for_them() -> None:
    async with serving(app_with(None)) as address:
        assert (await post(address, RUN, STREAM, asking("capacity"))).content == WHOLE
        assert (await post(address, RUN, STREAM, asking("nonsense"))).content == WHOLE


async def test_the_servers_own_faults_count_calls_of_all_requests_but_those_that_ask_for_others() -> None:
    async with serving(app_with("capacity:2")) as address:
        chat = {"model": MODEL, "messages": ASKED}
        assert (await post(address, RUN, STREAM)).status_code == 429
        assert (await post(address, RUN, STREAM, asking("none"))).status_code == 200
        assert (await post(address, RUN, STREAM, asking("timeout"))).status_code == 408
        assert (await post(address, "/v1/chat/completions", chat)).status_code == 429
        assert (await post(address, RUN, STREAM)).content == WHOLE


async def test_an_attempt_goes_on_with_the_count_of_the_one_before() -> None:
    async with serving(app_with("none")) as address:
        statuses = []
        for attempt in range(5):
            headers = asking("capacity:1, timeout:times=2, drop:0:times=1", **{"x-stainless-retry-count": str(attempt)})
            try:
                statuses.append((await post(address, RUN, {"prompt": "hi"}, headers)).status_code)
            except httpx2.RemoteProtocolError:
                statuses.append(0)
    assert statuses == [429, 408, 408, 0, 200]


async def test_an_attempt_of_any_number_is_answered() -> None:
    async with serving(app_with("none")) as address:
        for attempt in ("9" * 5000, "-1", "many"):
            headers = asking("capacity:1", **{"x-stainless-retry-count": attempt})
            assert (await post(address, RUN, {"prompt": "hi"}, headers)).status_code in (200, 429)


async def chunks_of(port: int, faults: str) -> tuple[list[bytes], list[bytes]]:
    """The chunks of a stream's body, and the pieces in which the network brought the answer."""
    body = json.dumps(STREAM).encode()
    head = f"POST {RUN} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nx-cfai-faults: {faults}\r\n"
    pieces = []
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        async for piece in stream:
            pieces.append(piece)
    rest = b"".join(pieces).partition(b"\r\n\r\n")[2]
    chunks = []
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        chunks.append(rest[: int(size, 16)])
        rest = rest[int(size, 16) + 2 :]
    return chunks[:-1], pieces


async def test_a_cut_stream_is_written_cut_by_cut() -> None:
    app = app_with("none")
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(serve, app, listener=listener, end_streams=app.aclose))
            with anyio.fail_after(60):
                by_byte, pieces = await chunks_of(port, "split-bytes")
                merged, _ = await chunks_of(port, "merge:3")
                in_characters, _ = await chunks_of(port, "split-character")
            tasks.cancel_scope.cancel()
    assert b"".join(by_byte) == b"".join(merged) == b"".join(in_characters) == WHOLE
    assert {len(chunk) for chunk in by_byte} == {1}
    assert len(pieces) >= len(by_byte), "no two bytes came together"
    assert [chunk.count(b"data:") for chunk in merged] == [3, 2]
    assert any(chunk.endswith("ö".encode()[:1]) for chunk in in_characters)


async def test_a_dropped_stream_that_can_be_continued_goes_on_behind_the_drop() -> None:
    async with serving(app_with("none")) as address, httpx2.AsyncClient(timeout=20) as client:
        seen = b""
        with pytest.raises(httpx2.RemoteProtocolError, match="peer closed connection"):
            async with client.stream(
                "POST", address + RUN, json=STREAM, headers=asking("drop:2", **{"last-event-id": "0"})
            ) as response:
                async for chunk in response.aiter_raw():
                    seen += chunk
        last = seen.rpartition(b"id: ")[2].partition(b"\n")[0].decode()
        assert last.endswith("-2")
        rest = await client.post(address + RUN, json=STREAM, headers={"last-event-id": last})
    lines = (seen + rest.content).splitlines(keepends=True)
    assert b"".join(line for line in lines if not line.startswith(b"id: ")) == WHOLE


async def test_what_is_said_of_the_content_type_stands_on_the_whole_body() -> None:
    async with serving(app_with("none")) as address:
        whole = await post(address, RUN, {"prompt": "hi"}, asking("content-type"))
        stream = await post(address, RUN, STREAM, asking("content-type:text/html"))
        in_json = await post(address, RUN, STREAM, asking("json-for-stream"))
    assert whole.headers["content-type"] == "application/json; charset=utf-8"
    assert whole.json()["result"]["response"] == in_json.json()["result"]["response"] == "".join(PIECES)
    assert (stream.headers["content-type"], stream.content) == ("text/html", WHOLE)


async def test_two_dones_or_none_reach_the_client() -> None:
    async with serving(app_with("none")) as address:
        assert (await post(address, RUN, STREAM, asking("two-dones"))).content == WHOLE + sse.DONE
        assert (await post(address, RUN, STREAM, asking("no-done"))).content == WHOLE.removesuffix(sse.DONE)


async def test_tensors_are_cut_as_they_are_sent() -> None:
    headers = {"cf-consn-model-id": MODEL, "content-type": "text/plain"}
    async with serving(app_with("none")) as address:
        cut = await post(address, "/run", TENSORS, {**headers, **asking("split-bytes")})
        whole = await post(address, "/run", TENSORS, headers)
    assert cut.content == whole.content
    assert b'"type":"str"' in cut.content


async def test_a_stall_holds_the_connection_until_the_server_ends() -> None:
    app = app_with("stall:2")
    seen = b""
    async with serving(app) as address, anyio.create_task_group() as tasks:

        async def read() -> None:
            nonlocal seen
            async with (
                httpx2.AsyncClient(timeout=20) as client,
                client.stream("POST", address + RUN, json=STREAM) as response,
            ):
                async for chunk in response.aiter_raw():
                    seen += chunk

        tasks.start_soon(read)
        await until(lambda: b" York" in seen)
        await app.aclose()
    assert seen == WHOLE.partition(sse.encode({"response": PIECES[2]}))[0] + (
        b'data: {"response":"","errors":[{"code":3008,"message":"Request was aborted"}]}\n\n' + sse.DONE
    )


async def test_a_private_socket_has_them_too(tmp_path: Path) -> None:
    app = binding_app(FakeBinding({MODEL: PIECES}), faults="capacity:1")
    async with serving(app, unix_socket=tmp_path / "ai.sock") as path, Ai(HttpBinding(socket=path)) as ai:
        with pytest.raises(OutOfCapacity):
            await ai.run(MODEL, {"prompt": "hi"})
        assert (await ai.run(MODEL, {"prompt": "hi"})).response == "".join(PIECES)
        with pytest.raises(RequestTimeout):
            await ai.run(MODEL, {"prompt": "hi"}, {"extraHeaders": asking("timeout")})


async def test_each_fault_is_a_line_in_the_log_with_its_request(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "cfai.server")
    async with serving(app_with("none")) as address:
        await post(address, RUN, STREAM, asking("capacity:1"))
    assert next(record.getMessage() for record in caplog.records if record.name == "cfai.server") == (
        f"fault in POST {RUN}, call 1, {MODEL}: capacity:1: refused with 3040"
    )


def test_the_sentence_at_the_start() -> None:
    assert faults_are_on("none") == "faults are on for requests that ask for them in the header x-cfai-faults"
    assert faults_are_on("3040:2,drop:1") == (
        "faults are on: calls meet capacity:2, drop:1, or what their request's header x-cfai-faults asks for"
    )
    with pytest.raises(ValueError, match="did you mean 'drop'"):
        AskedFaults("dropp", tell=print)
