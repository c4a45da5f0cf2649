"""OpenAI-compatible servers of a few lines, which answer as they are told."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.types import Receive, Scope, Send

from cfai import ByteStream, Call, Reply, UpstreamBinding
from tests.serving import serving

__all__ = ["ASKED", "MODEL", "Server", "answered", "asking", "chunk", "events", "stream_of", "text_of"]

MODEL = "@cf/mine/llama"
ASKED = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 20}
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


def chunk(delta: Mapping[str, Any] | None = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    """One chunk of a chat completion; without a delta one that has no choice."""
    choices = [] if delta is None and finish is None else [{"index": 0, "delta": delta or {}, "finish_reason": finish}]
    return {"object": "chat.completion.chunk", "id": "c1", "created": 1, "model": "m", "choices": choices, **more}


def stream_of(*chunks: Any, done: bool = True, line_end: str = "\n") -> bytes:
    """The bytes of a stream of these chunks; a text among them is an event's data as it stands."""
    data = [one if isinstance(one, str) else json.dumps(one) for one in chunks] + (["[DONE]"] if done else [])
    return "".join(f"data: {text}{line_end}{line_end}" for text in data).encode()


@dataclass
class Server:
    """Answers every request with `body`, in pieces of `cut` bytes; remembers what it was asked.

    hangs   after the body, until the client leaves
    breaks  the connection after the body, without its end
    """

    body: bytes = b""
    status: int = 200
    content_type: str = "text/event-stream"
    cut: int | None = None
    hangs: bool = False
    breaks: bool = False
    names: Sequence[str] = ("m",)
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    left: int = 0
    """Requests whose clients left before their end."""
    connections: set[Any] = field(default_factory=set)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.connections.add(scope["client"])
        if scope["path"].endswith("/models"):
            rows = {"object": "list", "data": [{"id": name} for name in self.names]}
            await self._send(send, json.dumps(rows).encode(), 200, "application/json")
            return
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        self.asked.append({"path": scope["path"], **json.loads(body)})
        self.headers.append({name.decode(): value.decode() for name, value in scope["headers"]})
        await self._head(send, self.status, self.content_type)
        step = self.cut or max(1, len(self.body))
        for start in range(0, len(self.body), step):
            await send({"type": "http.response.body", "body": self.body[start : start + step], "more_body": True})
        if self.hangs:
            while (await receive())["type"] != "http.disconnect":
                pass
            self.left += 1
            return
        if not self.breaks:
            await send({"type": "http.response.body", "body": b""})

    async def _send(self, send: Send, body: bytes, status: int, content_type: str) -> None:
        await self._head(send, status, content_type)
        await send({"type": "http.response.body", "body": body})

    async def _head(self, send: Send, status: int, content_type: str) -> None:
        headers = [(b"content-type", content_type.encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})


@contextlib.asynccontextmanager
async def asking(server: Any, **options: Any) -> AsyncIterator[UpstreamBinding]:
    """A binding over `server`, on a real socket."""
    async with serving(server) as address:
        binding = UpstreamBinding(address, **{"model": "m", "on_notice": lambda line: None, **options})
        try:
            yield binding
        finally:
            await binding.aclose()


async def answered(server: Any, inputs: Mapping[str, Any] | None = None, **options: Any) -> Reply:
    """The whole answer to a chat in OpenAI's form."""
    async with asking(server, **options) as binding:
        return await binding.send(Call(MODEL, {**ASKED, **(inputs or {})}, form="chat"))


async def events(reply: Reply) -> list[Any]:
    """What the events of a stream carry, `[DONE]` as it is."""
    assert isinstance(reply.body, ByteStream), reply
    data = [event.decode().removeprefix("data: ").strip() async for event in reply.body]
    return [one if one == "[DONE]" or one.startswith(":") else json.loads(one) for one in data]


def text_of(reply: Reply) -> str:
    return str(reply.body["choices"][0]["message"]["content"])
