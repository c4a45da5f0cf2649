"""A client that hangs up frees its slot within a step: whatever it asked, by whichever way in, however far it was."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream

from cfai import ByteStream, Call, LocalBinding, Reply
from cfai.server.app import rest_app
from tests.held import models_held
from tests.models import make_llama
from tests.serving import serving
from tests.waiting import until

MODEL = "@cf/test/endless"

WAYS_IN: dict[str, tuple[str, dict[str, str], Callable[[dict[str, Any]], dict[str, Any]]]] = {
    "REST": (f"/client/v4/accounts/acc/ai/run/{MODEL}", {}, lambda inputs: inputs),
    "OpenAI": ("/v1/chat/completions", {}, lambda inputs: {"model": MODEL, **inputs}),
    "binding": (
        "/run?version=3",
        {"host": "workers-binding.ai", "cf-consn-model-id": MODEL},
        lambda inputs: {"inputs": inputs, "options": {}},
    ),
    "remote proxy": (
        "/",
        {
            "mf-binding": "AI",
            "mf-url": "https://workers-binding.ai/run?version=3",
            "mf-header-cf-consn-model-id": MODEL,
            "mf-header-content-type": "application/json",
        },
        lambda inputs: {"inputs": inputs, "options": {}},
    ),
}
"""Path, headers, and the body in which a call's inputs travel."""

LETTER = {"type": "object", "properties": {"letter": {"const": "New York " * 200}}, "required": ["letter"]}
NATIVE_JSON = {"response_format": {"type": "json_schema", "json_schema": LETTER}}
OPENAI_JSON = {"response_format": {"type": "json_schema", "json_schema": {"name": "letter", "schema": LETTER}}}


class Noting:
    """A binding that passes calls on and notes, when a caller leaves, how many tokens there were by then."""

    def __init__(self, local: LocalBinding) -> None:
        self._local = local
        self.tokens_when_left: list[int] = []

    async def send(self, call: Call) -> Reply:
        try:
            reply = await self._local.send(call)
        except BaseException:
            self.tokens_when_left.append(self._tokens())
            raise
        if isinstance(reply.body, ByteStream):
            return Reply(ByteStream(self._noted(reply.body)), reply.status, reply.headers)
        return reply

    async def _noted(self, events: ByteStream) -> AsyncGenerator[bytes]:
        left: list[int] = []
        try:
            async for event in events:
                yield event
        except BaseException:
            left.append(self._tokens())
            raise
        finally:
            await events.aclose()
            self.tokens_when_left += left  # whoever sees it knows that the model has been told

    def _tokens(self) -> int:
        return int(self._local.stats()["tokens"])

    def stats(self) -> dict[str, Any]:
        return self._local.stats()

    async def aclose(self) -> None:
        await self._local.aclose()


@contextlib.asynccontextmanager
async def noting(folder: Path, **settings: Any) -> AsyncIterator[tuple[Noting, int]]:
    """A server with one slot, and its port."""
    local = LocalBinding({MODEL: folder}, slots=1, queue_limit=1, **settings)
    await local.warm_up()
    binding = Noting(local)
    async with serving(rest_app(binding)) as address:
        yield binding, int(address.rpartition(":")[2])
    await binding.aclose()


async def ask(port: int, way_in: str, inputs: dict[str, Any]) -> SocketStream:
    """Send a request, read nothing."""
    path, headers, wrap = WAYS_IN[way_in]
    asked = {"messages": [{"role": "user", "content": "New York"}], "max_tokens": 3900, **inputs}
    body = json.dumps(wrap(asked)).encode()
    given = {"host": "localhost", "content-type": "application/json", "content-length": str(len(body)), **headers}
    client = await anyio.connect_tcp("127.0.0.1", port)
    head = "".join(f"{name}: {value}\r\n" for name, value in given.items())
    await client.send(f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body)
    return client


def reset(client: SocketStream) -> None:
    """Let the connection end as one does whose machine is gone: no goodbye, only a reset."""
    client.extra(SocketAttribute.raw_socket).setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def the_slot_is_free(binding: Noting, port: int) -> None:
    """Nothing runs or waits, and who asks now is answered."""
    await until(lambda: binding.stats()["running"] + binding.stats()["waiting"] == 0)
    made = int(binding.stats()["tokens"])
    async with await ask(port, "REST", {"max_tokens": 1}) as client:
        assert (await client.receive()).startswith(b"HTTP/1.1 200 OK\r\n")
    assert binding.stats()["tokens"] == made + 1


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("way_in", WAYS_IN)
async def test_while_the_model_loads(endless_llama: Path, way_in: str, stream: bool) -> None:
    is_loading, may_go_on = threading.Event(), threading.Event()

    def progress(*_: object) -> None:
        is_loading.set()
        may_go_on.wait(20)

    async with noting(endless_llama, on_progress=progress) as (binding, port):
        async with await ask(port, way_in, {"stream": stream}):
            await until(is_loading.is_set)
        await until(lambda: binding.tokens_when_left == [0])
        may_go_on.set()
        await the_slot_is_free(binding, port)


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("way_in", WAYS_IN)
async def test_in_the_queue(endless_llama: Path, way_in: str, stream: bool) -> None:
    async with noting(endless_llama) as (binding, port):
        async with await ask(port, "REST", {"stream": True}) as first:
            await until(lambda: binding.stats()["running"] == 1)
            with models_held():
                async with await ask(port, way_in, {"stream": stream}):
                    await until(lambda: binding.stats()["waiting"] == 1)
                await until(lambda: len(binding.tokens_when_left) == 1)
            await until(lambda: binding.stats()["waiting"] == 0)
            assert binding.stats()["running"] == 1, "the one before goes on"
            assert await first.receive()
        await the_slot_is_free(binding, port)


@pytest.fixture(scope="module")
def long_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with room for a prompt that takes seconds to read."""
    return make_llama(tmp_path_factory.mktemp("long"), endless=True, positions=60_000)


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("way_in", WAYS_IN)
async def test_while_its_prompt_is_read(long_llama: Path, way_in: str, stream: bool) -> None:
    messages = [{"role": "user", "content": "New York " * 20_000}]
    async with noting(long_llama, pinned=[MODEL]) as (binding, port):
        with models_held(after=2) as held:
            async with await ask(port, way_in, {"stream": stream, "messages": messages}):
                await until(held.is_set)
            await until(lambda: len(binding.tokens_when_left) == 1)
        await the_slot_is_free(binding, port)
        assert binding.tokens_when_left == [0]
        assert binding.stats()["tokens"] == 1, "that of the next one only"


@pytest.mark.parametrize("leave", [lambda client: None, reset], ids=["closes", "is gone"])
@pytest.mark.parametrize("mode", ["text", "JSON"])
@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("way_in", WAYS_IN)
async def test_while_its_answer_is_made(
    endless_llama: Path, way_in: str, stream: bool, mode: str, leave: Callable[[SocketStream], None]
) -> None:
    form = {} if mode == "text" else OPENAI_JSON if way_in == "OpenAI" else NATIVE_JSON
    async with noting(endless_llama, pinned=[MODEL]) as (binding, port):
        with models_held(after=6) as held:
            async with await ask(port, way_in, {"stream": stream, **form}) as client:
                await until(held.is_set)
                assert binding.stats()["tokens"] > 5
                leave(client)
            await until(lambda: len(binding.tokens_when_left) == 1)
        await until(lambda: binding.stats()["running"] == 0)
        (then,) = binding.tokens_when_left
        # The step that was under way, and one that was already made ready behind it.
        assert binding.stats()["tokens"] - then <= 2
        await the_slot_is_free(binding, port)
