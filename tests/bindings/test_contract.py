"""What every binding does alike: the same tests, and where they hold the same model, the same bytes."""

from __future__ import annotations

import functools
import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from cfai import (
    Ai,
    AiError,
    Binding,
    ByteStream,
    Call,
    FaultBinding,
    HttpBinding,
    LocalBinding,
    Reply,
    TapeBinding,
    sse,
)
from cfai.binding import Form
from cfai.bindings.limits import LimitsBinding
from cfai.bindings.metered import MeteredBinding
from cfai.bindings.upstream import UpstreamBinding
from cfai.errors import BadInput, ConnectionDropped, EngineFailure, InvalidModelName, NoSuchModel
from cfai.server.app import binding_app, rest_app
from cfai.tasks.shapes import Fidelity
from tests.bindings.scripted import fake_of, masked
from tests.serving import serving

MODEL = "@cf/test/llama"
PROMPT = {"prompt": "New York is located", "temperature": 0, "max_tokens": 12}


@pytest.fixture(params=["local", "http", "http on a socket", "fake", "tape", "faults", "limits", "upstream"])
async def binding(request: pytest.FixtureRequest, local: LocalBinding, tmp_path: Path) -> AsyncIterator[Binding]:
    match request.param:
        case "local":
            yield local
        case "http":
            async with serving(rest_app(local, token="t0ken")) as address:
                http = HttpBinding(address, token="t0ken")
                yield http
                await http.aclose()
        case "http on a socket":
            socket = tmp_path / "ai.sock"
            async with serving(binding_app(local), unix_socket=socket):
                http = HttpBinding(socket=socket)
                yield http
                await http.aclose()
        case "fake":
            yield fake_of(local, MODEL)
        case "faults":  # with none, and with one that is for another model
            yield FaultBinding(FaultBinding(local), "split-bytes:model=@cf/test/other")
        case "limits":  # of which none is reached, around an account that counts
            yield LimitsBinding(MeteredBinding(local))
        case "tape":
            yield _Taped(local, tmp_path)
        case "upstream":  # the OpenAI-compatible server is cfai's own
            async with serving(rest_app(local, token="t0ken")) as address:
                upstream = UpstreamBinding(address, token="t0ken")
                yield upstream
                await upstream.aclose()


class _Taped:
    """Every call recorded from `inner`, to its stream's end, and then answered by the tape."""

    def __init__(self, inner: Binding, folder: Path) -> None:
        self._inner = inner
        self._folder = folder
        self._calls = itertools.count()

    async def send(self, call: Call) -> Reply:
        path = self._folder / f"{next(self._calls)}.json"
        recording = TapeBinding(path, self._inner)
        reply = await recording.send(call)
        if isinstance(reply.body, ByteStream):
            await _events(reply)
        recording.close_tape()
        return await TapeBinding(path, record="none").send(call)

    async def aclose(self) -> None:
        await self._inner.aclose()


async def _events(reply: Reply) -> list[bytes]:
    assert isinstance(reply.body, ByteStream)
    return [event async for event in reply.body]


async def test_a_stream_is_whole_events_that_end_in_done(binding: Binding, local: LocalBinding) -> None:
    call = Call(MODEL, {**PROMPT, "stream": True})
    reply = await binding.send(call)
    assert (reply.status, reply.headers["content-type"]) == (200, "text/event-stream")
    assert reply.headers["cf-ai-req-id"]
    events = await _events(reply)
    assert all(
        event.startswith(b"data: ") and event.endswith(b"\n\n") and event.count(b"\n\n") == 1 for event in events
    )
    assert events[-1] == b"data: [DONE]\n\n"
    bodies = [sse.loads(event.decode()[6:]) for event in events[:-1]]
    assert all(isinstance(body["response"], str) for body in bodies)
    assert events == await _events(await local.send(call))
    assert bodies[-1]["usage"]["completion_tokens"] == 12


CHATTY = {"messages": [{"role": "user", "content": "New York is"}], "temperature": 0, "max_tokens": 12}
ASKED: dict[Form, dict[str, Any]] = {
    "native": PROMPT,
    "chat": CHATTY,
    "completion": PROMPT,
    "responses": {"input": "New York is", "temperature": 0, "max_output_tokens": 12},
}

UNTOLD = ("native", True, {"fidelity": "production"})
"""Begins with the tokens of the prompt, which OpenAI's endpoints tell at the end."""

FAMILIES = ["@cf/meta/llama-3.1-8b-instruct", "@cf/zai-org/glm-4.7-flash", "@cf/openai/gpt-oss-20b"]
"""One of each: classic, chat, responses."""


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("form", ASKED)
async def test_every_form_has_the_models_own_bytes(
    binding: Binding, local: LocalBinding, form: Form, stream: bool
) -> None:
    for options in ({}, {"asOf": "2023-11-14"}, {"fidelity": "production"}):
        if isinstance(binding, UpstreamBinding) and (form, stream, options) == UNTOLD:
            continue
        call = Call(MODEL, {**ASKED[form], "stream": stream}, options, form=form)
        assert await masked(await binding.send(call)) == await masked(await local.send(call))


@pytest.mark.parametrize("fidelity", ["clean", "production"])
@pytest.mark.parametrize(
    "model", ["@cf/meta/llama-3.1-8b-instruct", "@cf/zai-org/glm-4.7-flash", "@cf/openai/gpt-oss-20b"]
)
async def test_a_fake_has_the_bytes_of_every_family_and_its_price(model: str, fidelity: Fidelity, llama: Path) -> None:
    local = LocalBinding({model: llama}, demo=False)
    fake = fake_of(local, model)
    for stream in (False, True):
        for asked in (PROMPT, CHATTY, {**CHATTY, "stop": "a"}):
            call = Call(model, {**asked, "stream": stream}, {"fidelity": fidelity})
            played, made = await fake.send(call), await local.send(call)
            assert played.headers.get("cf-ai-neurons") == made.headers.get("cf-ai-neurons")
            assert await masked(played) == await masked(made)
        assert fake.calls[-1].neurons > 0
    await local.aclose()


async def test_a_whole_answer_is_the_streams_text(binding: Binding) -> None:
    reply = await binding.send(Call(MODEL, PROMPT))
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    events = await _events(await binding.send(Call(MODEL, {**PROMPT, "stream": True})))
    text = "".join(sse.loads(event.decode()[6:])["response"] for event in events[:-1])
    assert reply.body["response"] == text


@pytest.mark.parametrize(
    ("model", "inputs", "kind"),
    [
        ("@cf/no/such", {"prompt": "hi"}, NoSuchModel),
        ("no model", {"prompt": "hi"}, InvalidModelName),
        ("@cf/modèle/x", {"prompt": "hi"}, InvalidModelName),
        ("@cf/../x", {"prompt": "hi"}, InvalidModelName),
        ("@cf/x\r\nhost: y", {"prompt": "hi"}, InvalidModelName),
        (MODEL, {"prompt": ""}, BadInput),
        (MODEL, {}, BadInput),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_refusal_is_a_reply_that_describes_its_error(
    binding: Binding, model: str, inputs: dict[str, Any], kind: type[Exception], stream: bool
) -> None:
    reply = await binding.send(Call(model, {**inputs, "stream": stream}))
    assert isinstance(reply.error, kind)
    assert reply.status == reply.error.status
    with pytest.raises(kind):
        await Ai(binding).run(model, {**inputs, "stream": stream})


async def test_a_stream_may_be_closed_unread(binding: Binding) -> None:
    for _ in range(3):
        reply = await binding.send(Call(MODEL, {**PROMPT, "stream": True}))
        await reply.aclose()
    assert (await binding.send(Call(MODEL, PROMPT))).status == 200


async def test_many_at_once(binding: Binding) -> None:
    bodies: list[Any] = []

    async def ask() -> None:
        bodies.append((await binding.send(Call(MODEL, PROMPT))).body)

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(ask)
    assert len(bodies) == 20
    assert all(body == bodies[0] for body in bodies)


async def test_the_http_binding_works_under_trio(local: LocalBinding) -> None:
    async def ask(address: str) -> list[bytes]:
        binding = HttpBinding(address)
        stream = await Ai(binding).run(MODEL, {**PROMPT, "stream": True})
        events = [event async for event in stream]
        await binding.aclose()
        return events

    expected = await _events(await local.send(Call(MODEL, {**PROMPT, "stream": True})))
    async with serving(rest_app(local)) as address:
        got = await anyio.to_thread.run_sync(lambda: anyio.run(ask, address, backend="trio"))
    assert got == expected


async def test_inputs_that_are_no_json_are_bad_input(binding: Binding) -> None:
    for value in ({1, 2}, object(), float("nan")):
        reply = await binding.send(Call(MODEL, {"prompt": "hi", "temperature": value}))
        assert isinstance(reply.error, BadInput)


async def test_an_http_binding_goes_from_loop_to_loop(local: LocalBinding) -> None:
    async def ask(http: HttpBinding) -> int:
        status = (await http.send(Call(MODEL, PROMPT))).status
        await http.aclose()
        return status

    async with serving(rest_app(local)) as address:
        http = HttpBinding(f"{address}/client/v4")
        for backend in ("asyncio", "trio", "asyncio"):
            run = functools.partial(anyio.run, ask, http, backend=backend)
            assert await anyio.to_thread.run_sync(run) == 200


async def test_a_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    for binding, name in (
        (HttpBinding("http://127.0.0.1:9"), "http://127.0.0.1:9"),
        (HttpBinding(socket=tmp_path / "no.sock"), "no.sock"),
    ):
        reply = await binding.send(Call(MODEL, PROMPT))
        assert isinstance(reply.error, EngineFailure)
        assert f"{name} does not answer" in str(reply.error)
        await binding.aclose()


async def test_a_server_that_breaks_off_is_an_error_and_not_an_end() -> None:
    async def half(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send(
            {"type": "http.response.body", "body": b'data: {"response":"New"}\n\ndata: {"res', "more_body": True}
        )

    async with serving(half) as address:
        binding = HttpBinding(address)
        stream = await Ai(binding).run(MODEL, {"prompt": "hi", "stream": True})
        assert await anext(stream) == b'data: {"response":"New"}\n\n'
        with pytest.raises(ConnectionDropped, match="does not answer"):
            await anext(stream)
        await binding.aclose()


async def test_a_page_in_place_of_an_answer_is_an_error() -> None:
    async def page(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 502, "headers": [(b"content-type", b"text/html")]})
        await send({"type": "http.response.body", "body": b"<html>Bad gateway</html>"})

    async with serving(page) as address:
        binding = HttpBinding(address)
        with pytest.raises(AiError, match="Bad gateway") as caught:
            await Ai(binding).run(MODEL, {"prompt": "hi"})
        await binding.aclose()
    assert caught.value.status == 502
