"""Bindings for faults to be put around."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any

from cfai import Binding, ByteStream, Call, Reply, sse

MODEL = "@cf/meta/llama-2-7b-chat-int8"
PROMPT = {"prompt": "where is new york?"}
STREAM = {**PROMPT, "stream": True}
MESSAGES = [{"role": "user", "content": "where is new york?"}]

WHOLE_CALLS = {
    "native": Call(MODEL, PROMPT),
    "chat": Call(MODEL, {"messages": MESSAGES}, form="chat"),
    "completion": Call(MODEL, PROMPT, form="completion"),
    "responses": Call(MODEL, {"input": "where is new york?"}, form="responses"),
}
STREAM_CALLS = {
    name: Call(MODEL, {**call.inputs, "stream": True}, form=call.form) for name, call in WHOLE_CALLS.items()
}


class Watched:
    """`inner`, with a note of what it was asked and sent, and of how many of its streams are open."""

    def __init__(self, inner: Binding) -> None:
        self._inner = inner
        self.calls: list[Call] = []
        self.sent: list[bytes] = []
        self.open = 0

    async def send(self, call: Call) -> Reply:
        self.calls.append(call)
        self.sent.clear()
        reply = await self._inner.send(call)
        if not isinstance(reply.body, ByteStream):
            return reply
        self.open += 1
        return Reply(ByteStream(_WatchedStream(reply.body, self)), reply.status, reply.headers)

    async def aclose(self) -> None:
        await self._inner.aclose()


class _WatchedStream:
    def __init__(self, body: ByteStream, watched: Watched) -> None:
        self._body = body
        self._watched = watched

    async def __anext__(self) -> bytes:
        chunk = await self._body.__anext__()
        self._watched.sent.append(chunk)
        return chunk

    async def aclose(self) -> None:
        self._watched.open -= 1
        await self._body.aclose()


class Chunks:
    """Answers every call with the same chunks; an exception among them is raised in its turn."""

    def __init__(self, *chunks: bytes | Exception, content_type: str = "text/event-stream") -> None:
        self._chunks = chunks
        self._content_type = content_type

    async def send(self, call: Call) -> Reply:
        return Reply(ByteStream(_in_turn(self._chunks)), headers={"content-type": self._content_type})

    async def aclose(self) -> None:
        """It holds nothing."""


async def _in_turn(chunks: Sequence[bytes | Exception]) -> AsyncGenerator[bytes]:
    for chunk in chunks:
        if isinstance(chunk, Exception):
            raise chunk
        yield chunk


async def read(binding: Binding, call: Call) -> list[bytes]:
    """Every chunk of a stream."""
    reply = await binding.send(call)
    assert isinstance(reply.body, ByteStream), reply
    return [chunk async for chunk in reply.body]


async def read_until_error(binding: Binding, call: Call) -> tuple[list[bytes], Exception | None]:
    """Every chunk of a stream, and what it raised in place of its end."""
    reply = await binding.send(call)
    assert isinstance(reply.body, ByteStream), reply
    chunks: list[bytes] = []
    try:
        async for chunk in reply.body:
            chunks.append(chunk)
    except Exception as error:  # it is what the test looks at
        return chunks, error
    return chunks, None


def body_of(event: bytes) -> Any:
    """The JSON of an event."""
    return sse.loads(sse.Decoder().feed(event)[0])
