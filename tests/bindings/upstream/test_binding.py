"""A model that an OpenAI-compatible server answers: what is sent, what comes back, what is stopped."""

from __future__ import annotations

import functools
import gc
from typing import Any

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream
from starlette.types import Receive, Scope, Send

from cfai import Ai, ByteStream, Call, Reply, UpstreamBinding
from cfai.catalog import Catalog
from cfai.errors import BadInput, ConnectionDropped, ContextExceeded, EngineFailure, NoSuchModel
from tests.bindings.upstream.servers import (
    ASKED,
    MODEL,
    USAGE,
    Server,
    answered,
    asking,
    chunk,
    events,
    stream_of,
    text_of,
)
from tests.waiting import until

HELLO = (chunk({"role": "assistant", "content": ""}), chunk({"content": "Hel"}), chunk({"content": "lo"}))
WHOLE = stream_of(*HELLO, chunk({}, "stop"), chunk(usage=USAGE))
STREAM = Call(MODEL, {**ASKED, "stream": True})


@pytest.mark.parametrize("cut", [1, 7, None])
async def test_an_answer_is_the_same_wherever_the_network_cuts_it(cut: int | None) -> None:
    reply = await answered(Server(WHOLE, cut=cut))
    assert (reply.status, text_of(reply)) == (200, "Hello")
    assert reply.body["usage"]["total_tokens"] == 5


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(stream_of(*HELLO, chunk({}, "stop", usage=USAGE), done=False), id="no [DONE]"),
        pytest.param(stream_of(*HELLO, chunk(usage=USAGE)), id="no finish_reason"),
        pytest.param(stream_of(*HELLO, chunk({}, "stop"), chunk(usage=USAGE), line_end="\r\n"), id="CRLF"),
        pytest.param(b": ping\n\nevent: message\nid: 7\n" + WHOLE + b": bye\n\n", id="comments and other fields"),
        pytest.param(WHOLE.replace(b"data: ", b"data:"), id="no space"),
        pytest.param(b"\xef\xbb\xbf" + WHOLE, id="a byte order mark"),
        pytest.param(WHOLE + b"data: after\n\n", id="more behind [DONE]"),
    ],
)
async def test_a_stream_may_be_written_in_many_ways(body: bytes) -> None:
    reply = await answered(Server(body))
    assert (text_of(reply), reply.body["usage"]["total_tokens"]) == ("Hello", 5)


async def test_a_server_that_does_not_stream_is_read_all_the_same() -> None:
    message = {"role": "assistant", "content": "Hello", "reasoning": "hm"}
    body = {"choices": [{"index": 0, "message": message, "finish_reason": "length"}], "usage": USAGE}
    reply = await answered(Server(_json(body), content_type="application/json; charset=utf-8"))
    assert text_of(reply) == "Hello"
    assert reply.body["choices"][0]["finish_reason"] == "length"
    assert reply.body["choices"][0]["message"]["reasoning_content"] == "hm"


async def test_what_the_server_is_asked_is_what_the_caller_said_and_no_more() -> None:
    server = Server(WHOLE)
    async with asking(server, token="s3cret", model="the-model") as binding:
        await binding.send(Call("@cf/meta/llama-3.1-8b-instruct-fp8", {"prompt": "hi"}))
    assert server.asked == [
        {
            "path": "/v1/chat/completions",
            "model": "the-model",
            "stream": True,
            "stream_options": {"include_usage": True},
            "messages": [{"role": "user", "content": "hi"}],
            "max_tokens": 256,
            "temperature": 0.6,
        }
    ]
    assert server.headers[0]["authorization"] == "Bearer s3cret"
    assert server.headers[0]["content-type"] == "application/json"


async def test_every_option_is_translated() -> None:
    tool = {"name": "now", "description": "d", "parameters": {"type": "object", "properties": {}}}
    inputs = {
        "messages": [
            {"role": "developer", "content": "be kind"},
            {"role": "user", "content": [{"type": "text", "text": "hi"}]},
            {
                "role": "assistant",
                "content": None,
                "reasoning": "hm",
                "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "now", "arguments": '{"a": 1}'}}],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "noon"},
        ],
        "max_completion_tokens": 9,
        "temperature": 0,
        "top_p": 0.5,
        "top_k": 4,
        "min_p": 0.1,
        "seed": 5,
        "stop": "x",
        "logit_bias": {"7": -1},
        "repetition_penalty": 1.1,
        "frequency_penalty": 0.2,
        "presence_penalty": 0.3,
        "logprobs": True,
        "top_logprobs": 2,
        "parallel_tool_calls": False,
        "reasoning_effort": "low",
        "chat_template_kwargs": {"enable_thinking": False},
        "tools": [{"type": "function", "function": tool}],
        "tool_choice": {"type": "function", "function": {"name": "now"}},
    }
    server = Server(stream_of(chunk({"content": "x"}, "stop")))
    await answered(server, inputs)
    (asked,) = server.asked
    calls = [{"id": "c1", "type": "function", "function": {"name": "now", "arguments": '{"a": 1}'}}]
    assert asked["messages"] == [
        {"role": "system", "content": "be kind"},
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "", "reasoning_content": "hm", "reasoning": "hm", "tool_calls": calls},
        {"role": "tool", "content": "noon", "tool_call_id": "c1"},
    ]
    same = ("temperature", "top_p", "top_k", "min_p", "seed", "logit_bias", "repetition_penalty", "frequency_penalty")
    for name in (*same, "presence_penalty", "logprobs", "top_logprobs", "parallel_tool_calls", "reasoning_effort"):
        assert asked[name] == inputs[name], name
    assert asked["repeat_penalty"] == 1.1
    assert (asked["max_tokens"], asked["stop"]) == (9, ["x"])
    assert asked["chat_template_kwargs"] == {"enable_thinking": False}
    assert asked["tools"] == [{"type": "function", "function": tool}]
    assert asked["tool_choice"] == inputs["tool_choice"]


async def test_a_raw_prompt_and_the_first_days_prompts_see_no_template() -> None:
    server = Server(stream_of({"choices": [{"index": 0, "text": "Hello", "finish_reason": "stop"}]}))
    raw = Call(MODEL, {"prompt": "New York is", "raw": True})
    spoken = Call(
        MODEL, {"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}], "raw": True}
    )
    async with asking(server) as binding:
        for call in (raw, Call(MODEL, {"prompt": "New York is"}, {"asOf": "2023-11-14"}), spoken):
            assert (await binding.send(call)).body["response"] == "Hello"
        await binding.send(Call(MODEL, {"prompt": "New York is", "logprobs": 2}, form="completion"))
    assert {asked["path"] for asked in server.asked} == {"/v1/completions"}
    assert [asked["prompt"] for asked in server.asked] == ["New York is", "New York is", "ab", "New York is"]
    assert server.asked[-1]["logprobs"] == 2


async def test_a_model_without_a_default_goes_on_to_the_end_of_the_servers_window() -> None:
    server = Server(WHOLE)
    async with asking(server) as binding:
        await binding.send(Call("@cf/zai-org/glm-4.7-flash", {"messages": ASKED["messages"]}))
        await binding.send(Call("@cf/meta/llama-2-7b-chat-int8", {"prompt": "hi", "stream": True}, SEED))
    assert "max_tokens" not in server.asked[0]
    assert server.asked[1]["max_tokens"] == 1800


SEED = {"asOf": "2023-11-14"}


async def test_inputs_that_are_wrong_never_reach_the_server() -> None:
    server = Server(WHOLE)
    async with asking(server) as binding:
        for inputs in ({}, {"prompt": ""}, {"prompt": "hi", "max_tokens": "many"}, {"prompt": "hi", "temperature": 9}):
            assert isinstance((await binding.send(Call(MODEL, inputs))).error, BadInput)
        too_long = Call("@cf/meta/llama-2-7b-chat-int8", {"prompt": "hi", "max_tokens": 2000, "stream": True}, SEED)
        assert isinstance((await binding.send(too_long)).error, ContextExceeded)
        speech = await binding.send(Call("@cf/openai/whisper", {"audio": [1]}))
        assert isinstance(speech.error, NoSuchModel)
    assert server.asked == []


async def test_json_mode_asks_for_the_schema_and_gives_the_value() -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    server = Server(stream_of(chunk({"content": '{"city": "Oslo"}'}, "stop")))
    asked = {**ASKED, "response_format": {"type": "json_schema", "json_schema": schema}}
    async with asking(server) as binding:
        assert (await binding.send(Call(MODEL, asked))).body["response"] == {"city": "Oslo"}
        await binding.send(Call(MODEL, {**ASKED, "response_format": {"type": "json_object"}}))
    formats = [asked["response_format"] for asked in server.asked]
    named = {"name": "answer", "schema": schema, "strict": True}
    assert formats == [{"type": "json_schema", "json_schema": named}, {"type": "json_object"}]


@pytest.mark.parametrize(
    ("text", "hint"), [("Oslo, I think.", "is no JSON"), ('{"city": 4}', "no string at '/city'"), ("", "is empty")]
)
async def test_a_server_that_passes_over_the_schema_does_not_pass_for_json(text: str, hint: str) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    asked = {**ASKED, "response_format": {"type": "json_schema", "json_schema": schema}}
    async with asking(Server(stream_of(chunk({"content": text}, "stop")))) as binding:
        error = (await binding.send(Call(MODEL, asked))).error
        assert isinstance(error, BadInput)
        assert "JSON Mode couldn't be met" in str(error)
        assert hint in error.hint
        *_, failure, done = await events(await binding.send(Call(MODEL, {**asked, "stream": True})))
        assert (failure["errors"][0]["code"], done) == (5006, "[DONE]")


async def test_several_answers_are_several_requests_with_seeds_of_their_own() -> None:
    server = Server(WHOLE)
    reply = await answered(server, {"n": 3, "seed": 5})
    assert [choice["message"]["content"] for choice in reply.body["choices"]] == ["Hello"] * 3
    assert sorted(asked["seed"] for asked in server.asked) == [5, 6, 7]
    assert all("n" not in asked for asked in server.asked)
    assert reply.body["usage"]["completion_tokens"] == 6
    assert reply.body["usage"]["prompt_tokens"] == 3


async def test_usage_that_a_server_does_not_tell_is_counted_and_said_once() -> None:
    said: list[str] = []
    async with asking(Server(stream_of(*HELLO, chunk({}, "stop"))), on_notice=said.append) as binding:
        for _ in range(2):
            usage = (await binding.send(Call(MODEL, ASKED))).body["usage"]
            assert (usage["prompt_tokens"], usage["completion_tokens"]) == (1, 2)
    assert [line for line in said if "tells no usage" in line] == said
    assert len(said) == 1


async def test_a_prompt_for_which_cloudflare_has_no_room_is_answered_and_said() -> None:
    said: list[str] = []
    usage = {"prompt_tokens": 9000, "completion_tokens": 2}
    body = stream_of(chunk({"content": "x"}, "stop"), chunk(usage=usage))
    async with asking(Server(body), on_notice=said.append) as binding:
        await binding.send(Call("@cf/meta/llama-2-7b-chat-int8", {"prompt": "hi"}))
    assert any("9002 tokens" in line and "5021" in line for line in said)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
async def test_closing_a_stream_closes_the_request_at_once(backend: str) -> None:
    async def ask(binding: UpstreamBinding) -> None:
        stream = await Ai(binding).run(MODEL, {**ASKED, "stream": True})
        assert await anext(stream) == b'data: {"response":"Hel"}\n\n'
        assert binding.stats()["running"] == 1
        await stream.aclose()
        assert binding.stats()["running"] == 0
        await until(lambda: server.left == 1)
        await binding.aclose()

    server = Server(stream_of(*HELLO, done=False), hangs=True)
    async with asking(server) as binding:
        await anyio.to_thread.run_sync(functools.partial(anyio.run, ask, binding, backend=backend))


@pytest.mark.parametrize("body", [b"", stream_of(*HELLO, done=False)])
async def test_a_call_that_is_cancelled_closes_the_request(body: bytes) -> None:
    server = Server(body, hangs=True)
    async with asking(server) as binding:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(binding.send, Call(MODEL, ASKED))
            await until(lambda: len(server.asked) == 1)
            tasks.cancel_scope.cancel()
        await until(lambda: server.left == 1)


async def test_a_stream_that_is_dropped_unread_ends_the_request() -> None:
    server = Server(stream_of(*HELLO, done=False), hangs=True)
    async with asking(server) as binding:
        reply = await binding.send(STREAM)
        del reply
        gc.collect()
        await until(lambda: server.left == 1)


async def test_one_answer_that_fails_ends_the_requests_for_the_others_before_anybody_closes() -> None:
    whole, cut = (
        Server(stream_of(*HELLO, done=False), hangs=True),
        Server(stream_of(*HELLO, done=False), breaks=True),
    )

    async def server(scope: Scope, receive: Receive, send: Send) -> None:
        await (cut if whole.asked else whole)(scope, receive, send)

    async with asking(server) as binding:
        reply = await binding.send(Call(MODEL, {**ASKED, "n": 2, "stream": True}, form="chat"))
        assert isinstance(reply.body, ByteStream)
        while b"[DONE]" not in await anext(reply.body):
            pass
        await until(lambda: whole.left == 1)
        await reply.aclose()


async def test_a_stream_that_waits_for_its_first_piece_is_kept_alive_by_comments() -> None:
    server = Server(hangs=True)
    async with asking(server, keep_alive=0.01) as binding:
        reply = await binding.send(STREAM)
        assert isinstance(reply.body, ByteStream)
        assert [await anext(reply.body) for _ in range(3)] == [b": keep-alive\n\n"] * 3
        await reply.aclose()
        await until(lambda: server.left == 1)


async def test_what_comes_after_comments_is_the_whole_answer() -> None:
    release = anyio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await release.wait()
        await Server(WHOLE)(scope, receive, send)

    async with asking(slow, keep_alive=0.01) as binding:
        reply = await binding.send(STREAM)
        assert isinstance(reply.body, ByteStream)
        assert await anext(reply.body) == b": keep-alive\n\n"
        release.set()
        rest = [event async for event in reply.body if not event.startswith(b":")]
    assert b"".join(rest).startswith(b'data: {"response":"Hel"}\n\ndata: {"response":"lo"}\n\n')
    assert rest[-1] == b"data: [DONE]\n\n"


async def test_a_slow_reader_holds_its_server_up_and_memory_stays_bounded() -> None:
    sent = 0

    async def endless(scope: Any, receive: Any, send: Any) -> None:
        nonlocal sent
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        piece = stream_of(chunk({"content": "x" * 4096}), done=False)
        while sent < 20_000:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            sent += 1
        await send({"type": "http.response.body", "body": stream_of()})

    async with asking(endless) as binding:
        reply = await binding.send(STREAM)
        before = -1
        while before != sent:  # until nothing moves any more
            before = sent
            await anyio.sleep(0.1)
        assert sent < 10_000
        assert isinstance(reply.body, ByteStream)
        assert await anext(reply.body)
        await reply.aclose()


async def test_connections_are_used_again() -> None:
    server = Server(WHOLE)
    async with asking(server) as binding:
        for _ in range(5):
            assert text_of(await binding.send(Call(MODEL, ASKED, form="chat"))) == "Hello"
    assert len(server.connections) < 5


async def test_a_server_that_is_gone_is_named_and_leaves_nothing_open() -> None:
    binding = UpstreamBinding("http://127.0.0.1:9", model="m")
    for stream in (False, True):
        error = (await binding.send(Call(MODEL, {**ASKED, "stream": stream}))).error
        assert isinstance(error, EngineFailure)
        assert "http://127.0.0.1:9/v1 does not answer" in str(error)
    await binding.aclose()


async def test_a_server_that_falls_silent_is_a_timeout_and_not_a_wait_for_ever() -> None:
    async with asking(Server(hangs=True), timeout=0.5) as binding:
        error = (await binding.send(Call(MODEL, ASKED))).error
        assert error is not None
        assert (error.code, error.status) == (3007, 408)
        assert "sent nothing for 0.5 s" in error.hint
    async with asking(Server(stream_of(*HELLO, done=False), hangs=True), timeout=1.0) as binding:
        *pieces, failure, done = await events(await binding.send(STREAM))
        assert [piece["response"] for piece in pieces] == ["Hel", "lo"]
        assert (failure["errors"][0]["code"], done) == (3007, "[DONE]")


@pytest.mark.parametrize("server", [{"breaks": True}, {}], ids=["the connection", "the stream"])
async def test_an_answer_that_breaks_off_ends_with_an_error_and_never_passes_for_a_whole_one(
    server: dict[str, Any],
) -> None:
    body = stream_of(*HELLO, done=False)
    async with asking(Server(body, **server)) as binding:
        error = (await binding.send(Call(MODEL, ASKED))).error
        assert isinstance(error, EngineFailure)
        *pieces, failure, done = await events(await binding.send(STREAM))
        assert [piece["response"] for piece in pieces] == ["Hel", "lo"]
        assert (failure["errors"][0]["code"], done) == (8500, "[DONE]")
        with pytest.raises(EngineFailure) as caught:
            async for _ in await Ai(binding).run(MODEL, {**ASKED, "stream": True}):
                pass
        assert not isinstance(caught.value, ConnectionDropped)


async def test_an_error_in_the_stream_is_the_error_of_the_call() -> None:
    late = {"error": {"message": "CUDA out of memory", "type": "server_error", "code": 500}}
    async with asking(Server(stream_of(*HELLO, late))) as binding:
        error = (await binding.send(Call(MODEL, ASKED))).error
        assert isinstance(error, EngineFailure)
        assert "CUDA out of memory" in str(error)
        *_, failure, done = await events(await binding.send(STREAM))
        assert "CUDA out of memory" in failure["errors"][0]["message"]
        assert done == "[DONE]"
    first = {"error": {"message": "Requested tokens (3000) exceed context window of 2048", "code": 400}}
    async with asking(Server(stream_of(first))) as binding:
        error = (await binding.send(STREAM)).error
        assert isinstance(error, ContextExceeded)
        assert "(3000)" in str(error) and "(2048)" in str(error)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"<html><body>It works!</body></html>", "text/html"),
        (b'{"hello": 1}', "application/json"),
        (b"[]", "application/json"),
        (b"", "text/plain"),
        (b"data: hello\n\n", "text/event-stream"),
        (b"data: {}\n\ndata: [DONE]\n\n", "text/event-stream"),
        (b"", "text/event-stream"),
        (b"\x00\xff" * 100, "text/event-stream"),
        (b'{"choices":[]}', "application/json"),
    ],
)
async def test_what_is_no_chat_completion_is_said_to_be_none(body: bytes, content_type: str) -> None:
    error = (await answered(Server(body, content_type=content_type))).error
    assert isinstance(error, EngineFailure)
    assert "no chat completion" in str(error)
    assert str(error).isprintable()


async def test_an_event_without_an_end_does_not_fill_the_memory() -> None:
    async def babbling(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        for _ in range(200):
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    assert "without the end of an event" in str((await answered(babbling)).error)


async def test_the_model_is_the_one_that_the_server_has_or_the_one_of_that_name() -> None:
    server = Server(WHOLE, names=["only-one"])
    await answered(server, model=None)
    assert server.asked[-1]["model"] == "only-one"
    server = Server(WHOLE, names=["another", MODEL])
    await answered(server, model=None)
    assert server.asked[-1]["model"] == MODEL
    for names in (["one", "two"], []):
        error = (await answered(Server(WHOLE, names=names), model=None)).error
        assert isinstance(error, NoSuchModel)
        assert "name what" in error.hint
        assert ", ".join(names) in error.hint


@pytest.mark.parametrize(
    ("head", "body", "said"),
    [
        ("200 OK\r\ncontent-encoding: gzip", b"no gzip", "does not answer: "),
        ("200 OK", b"[" * 100_000, "it lists: none"),
        ("500 Oh", b"[" * 100_000, "it lists: none"),
        ("401 No", b"[" * 100_000, "answers 401"),
    ],
)
async def test_a_list_of_models_that_is_none_is_an_error_of_the_call(head: str, body: bytes, said: str) -> None:
    async def listing(stream: SocketStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(f"HTTP/1.1 {head}\r\nconnection: close\r\n\r\n".encode() + body)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(SocketAttribute.local_port)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, listing)
        upstream = UpstreamBinding(f"http://127.0.0.1:{port}/v1")
        reply = await upstream.send(Call(MODEL, ASKED))
        await upstream.aclose()
        tasks.cancel_scope.cancel()
    assert said in f"{reply.error}; {reply.error.hint if reply.error else ''}"


async def test_an_address_that_cannot_be_asked_is_an_error_of_the_call() -> None:
    upstream = UpstreamBinding("http://127.0.0.1:1/v1\x7f")
    reply = await upstream.send(Call(MODEL, ASKED))
    await upstream.aclose()
    assert "does not answer" in str(reply.error)


async def test_cached_tokens_cost_what_they_cost() -> None:
    usage = {"prompt_tokens": 1000, "completion_tokens": 0, "prompt_tokens_details": {"cached_tokens": 1000}}
    catalog = Catalog.builtin().with_rows({MODEL: {"neurons": {"in": 50_000, "out": 50_000, "cached": 10_000}}})
    reply = await answered(Server(stream_of(chunk({"content": "a"}, "stop", usage=usage))), catalog=catalog)
    assert reply.headers["cf-ai-neurons"] == "10.00"


async def test_a_retired_model_is_answered_with_a_note_or_refused_as_cloudflare_does() -> None:
    said: list[str] = []
    retired = Call("@cf/meta/llama-2-7b-chat-int8", {"prompt": "hi"})
    async with asking(Server(WHOLE), on_notice=said.append) as binding:
        assert (await binding.send(retired)).status == 200
        strict = await binding.send(Call(retired.model, retired.inputs, {"strictRetired": True}))
    assert any("retired" in line for line in said)
    assert strict.error is not None and strict.error.code == 5028


async def test_a_binding_goes_from_loop_to_loop() -> None:
    async def ask(binding: UpstreamBinding) -> Reply:
        reply = await binding.send(Call(MODEL, ASKED, form="chat"))
        await binding.aclose()
        return reply

    async with asking(Server(WHOLE)) as binding:
        for backend in ("asyncio", "trio", "asyncio"):
            run = functools.partial(anyio.run, ask, binding, backend=backend)
            assert text_of(await anyio.to_thread.run_sync(run)) == "Hello"


async def test_no_proxy_and_no_secret_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    server = Server(WHOLE)
    assert text_of(await answered(server)) == "Hello"
    assert "authorization" not in server.headers[0]


def _json(body: Any) -> bytes:
    import json

    return json.dumps(body).encode()
