"""Calls in OpenAI's forms: every binding answers them alike."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cfai import Binding, ByteStream, Call, FakeBinding, HttpBinding, LocalBinding, Reply, sse
from cfai.binding import Form
from cfai.bindings.upstream import UpstreamBinding
from cfai.errors import BadInput, NoSuchModel
from cfai.server.app import binding_app, rest_app
from tests.serving import serving

MODEL = "@cf/test/llama"
MESSAGES = [{"role": "user", "content": "New York is"}]
ASKED: dict[Form, dict[str, Any]] = {
    "chat": {"messages": MESSAGES, "temperature": 0, "max_tokens": 12},
    "completion": {"prompt": "New York is located", "temperature": 0, "max_tokens": 12},
    "responses": {"input": "New York is", "temperature": 0, "max_output_tokens": 12},
}


@pytest.fixture(params=["local", "http", "http on a socket", "fake", "upstream"])
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
            async with serving(binding_app(local), unix_socket=tmp_path / "ai.sock"):
                http = HttpBinding(socket=tmp_path / "ai.sock")
                yield http
                await http.aclose()
        case "upstream":
            async with serving(rest_app(local)) as address:
                upstream = UpstreamBinding(f"{address}/v1")
                yield upstream
                await upstream.aclose()
        case "fake":
            yield FakeBinding({MODEL: ["New", " York"], "@cf/no/such": NoSuchModel("@cf/no/such")})


def text_of(form: Form, body: dict[str, Any]) -> str:
    match form:
        case "chat":
            return str(body["choices"][0]["message"]["content"])
        case "completion":
            return str(body["choices"][0]["text"])
        case _:
            return "".join(
                part["text"] for item in body["output"] if item["type"] == "message" for part in item["content"]
            )


def streamed_text(form: Form, events: list[Any]) -> str:
    if form == "responses":
        return "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
    choices = [choice for event in events for choice in event["choices"]]
    return "".join((choice["delta"].get("content") or "") if form == "chat" else choice["text"] for choice in choices)


async def events_of(reply: Reply) -> list[Any]:
    """What the events carry; each is whole, and nothing follows `[DONE]`, where the form has one."""
    assert isinstance(reply.body, ByteStream)
    events = [event async for event in reply.body]
    data = [text for event in events for text in sse.Decoder().feed(event)]
    assert len(data) == len(events)
    return [json.loads(text) for text in data if text != "[DONE]"]


@pytest.mark.parametrize("form", ASKED)
async def test_a_stream_has_the_text_of_the_whole_answer(binding: Binding, form: Form) -> None:
    whole = await binding.send(Call(MODEL, ASKED[form], form=form))
    assert (whole.status, whole.headers["content-type"]) == (200, "application/json")
    text = text_of(form, whole.body)
    assert text
    stream = await binding.send(Call(MODEL, {**ASKED[form], "stream": True}, form=form))
    assert (stream.status, stream.headers["content-type"]) == (200, "text/event-stream")
    assert streamed_text(form, await events_of(stream)) == text


@pytest.mark.parametrize("form", ASKED)
async def test_every_answer_names_the_model_that_was_asked(binding: Binding, form: Form) -> None:
    whole = await binding.send(Call(MODEL, ASKED[form], form=form))
    assert whole.body["model"] == MODEL


async def test_several_answers_are_choices(binding: Binding) -> None:
    asked = {**ASKED["chat"], "n": 3}
    whole = await binding.send(Call(MODEL, asked, form="chat"))
    texts = [choice["message"]["content"] for choice in whole.body["choices"]]
    assert [choice["index"] for choice in whole.body["choices"]] == [0, 1, 2]
    events = await events_of(await binding.send(Call(MODEL, {**asked, "stream": True}, form="chat")))
    streamed = ["", "", ""]
    for choice in (choice for event in events for choice in event["choices"]):
        streamed[choice["index"]] += choice["delta"].get("content") or ""
    assert streamed == texts


@pytest.mark.parametrize("form", ASKED)
async def test_a_refusal_describes_its_error(binding: Binding, form: Form) -> None:
    unknown = await binding.send(Call("@cf/no/such", ASKED[form], form=form))
    assert isinstance(unknown.error, NoSuchModel)
    wrong = await binding.send(Call(MODEL, {**ASKED[form], "temperature": "hot"}, form=form))
    assert isinstance(wrong.error, BadInput)


async def test_usage_comes_where_it_was_asked_for(binding: Binding) -> None:
    asked = {**ASKED["chat"], "stream": True}
    assert all(not event.get("usage") for event in await events_of(await binding.send(Call(MODEL, asked, form="chat"))))
    asked["stream_options"] = {"include_usage": True}
    last = (await events_of(await binding.send(Call(MODEL, asked, form="chat"))))[-1]
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] == last["usage"]["prompt_tokens"] + last["usage"]["completion_tokens"]
