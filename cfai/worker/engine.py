"""The way from the worker process to the engine process, which may end and be started again meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio

from cfai.binding import Call, Reply
from cfai.bindings.http import HttpBinding
from cfai.errors import AiError, EngineFailure
from cfai.results import ByteStream

__all__ = ["EngineProcess"]

START_SECONDS = 15.0
"""How long a call waits for an engine that does not listen."""


class EngineProcess:
    """The binding of `env.AI` under `cfai dev`: the binding protocol on the engine's private socket.

    A call that finds no engine waits for one, and is made once more if the engine ends before it answers. A stream
    that breaks off says so, without the socket's path.
    """

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._http = HttpBinding(socket=socket)

    async def send(self, call: Call) -> Reply:
        reply = await self._send(call)
        if self._is_broken(reply):
            reply = await self._send(call)
        if self._is_broken(reply):
            return Reply.from_error(_ended())
        if isinstance(reply.body, ByteStream):
            return Reply(ByteStream(_Answer(reply.body, self)), reply.status, reply.headers)
        return reply

    async def _send(self, call: Call) -> Reply:
        with anyio.move_on_after(START_SECONDS):
            while not await self._listens():  # noqa: ASYNC110  # nothing tells that a process listens again
                await anyio.sleep(0.1)
        return await self._http.send(call)

    def _is_broken(self, reply: Reply) -> bool:
        error = reply.error
        return error is not None and self.broke(error)

    async def search_models(self, query: Mapping[str, str]) -> list[dict[str, Any]]:
        return await self._http.search_models(query)

    async def aclose(self) -> None:
        await self._http.aclose()

    async def _listens(self) -> bool:
        try:
            stream = await anyio.connect_unix(self._socket)
        except OSError:
            return False
        await stream.aclose()
        return True

    def broke(self, error: AiError) -> bool:
        """Whether `error` is the connection's, which names the socket."""
        return isinstance(error, EngineFailure) and str(self._socket) in error.description


class _Answer:
    def __init__(self, chunks: ByteStream, engine: EngineProcess) -> None:
        self._chunks = chunks
        self._engine = engine

    async def __anext__(self) -> bytes:
        try:
            return await anext(self._chunks)
        except AiError as error:
            if self._engine.broke(error):
                raise _ended() from None
            raise

    async def aclose(self) -> None:
        await self._chunks.aclose()


def _ended() -> EngineFailure:
    return EngineFailure("the engine ended and is being started again", hint="ask again")
