"""The way to an engine process that comes and goes."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path

import anyio
import pytest
from anyio.abc import SocketStream

from cfai import Ai, Call, FakeBinding
from cfai.errors import EngineFailure
from cfai.server.app import binding_app
from cfai.worker.engine import EngineProcess
from tests.serving import serving

MODEL = "@cf/meta/llama-2-7b-chat-int8"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def way(tmp_path: Path) -> AsyncGenerator[EngineProcess]:
    binding = EngineProcess(tmp_path / "ai.sock")
    yield binding
    await binding.aclose()


async def test_a_call_waits_for_the_engine(way: EngineProcess, tmp_path: Path) -> None:
    answers: list[object] = []

    async def ask() -> None:
        answers.append((await way.send(Call(MODEL, {"prompt": "hi"}))).body)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await anyio.sleep(0.05)  # there is nothing to connect to yet
        async with serving(
            binding_app(FakeBinding({MODEL: "hello"}, as_of="2023-11-14")), unix_socket=tmp_path / "ai.sock"
        ):
            while not answers:  # noqa: ASYNC110
                await anyio.sleep(0.01)
    assert answers == [{"response": "hello"}]


async def test_an_answer_that_breaks_off_says_why_without_a_path(way: EngineProcess, tmp_path: Path) -> None:
    async def break_off(stream: SocketStream) -> None:
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        with contextlib.suppress(anyio.EndOfStream):
            asked = b""
            while not asked.endswith(b"}"):
                asked += await stream.receive()
            if b'"stream"' in asked:
                await stream.send(head + b'1a\r\ndata: {"response":"New"}\n\n\r\n')
        await stream.aclose()

    listener = await anyio.create_unix_listener(tmp_path / "ai.sock")
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, break_off)
        reply = await way.send(Call(MODEL, {"prompt": "hi", "stream": True}))
        with pytest.raises(EngineFailure, match=r"^8500: the engine ended and is being started again") as caught:
            async for _ in reply.body:
                pass
        assert caught.value.__cause__ is None
        broken = await way.send(Call(MODEL, {"prompt": "hi"}))
        assert broken.error is not None
        assert broken.error.description == "the engine ended and is being started again"
        tasks.cancel_scope.cancel()


async def test_models_are_searched_in_the_engines_catalog(tmp_path: Path) -> None:
    async with serving(
        binding_app(FakeBinding({MODEL: "hello"}, as_of="2023-11-14")), unix_socket=tmp_path / "ai.sock"
    ):
        engine = EngineProcess(tmp_path / "ai.sock")
        found = await Ai(engine).models({"task": "Text Embeddings", "per_page": 3})
        await engine.aclose()
    assert len(found) == 3
    assert {model["task"]["name"] for model in found} == {"Text Embeddings"}
