"""Does a client give its caller each piece when it comes? A server that waits for the answer to that."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator

import anyio
from anyio import from_thread, to_thread

from cfai import Binding, ByteStream, Call, FakeBinding, Reply
from cfai.server.app import rest_app
from tests.serving import serving

__all__ = ["MODEL", "PIECES", "TOKEN", "read_piece_by_piece", "read_piece_by_piece_async"]

MODEL = "@cf/meta/llama-2-7b-chat-int8"
PIECES = ["New", " York", " is", " big"]
TOKEN = "t0ken"


class Held:
    """A binding whose streams stop behind the first piece until a reader has it."""

    def __init__(self, inner: Binding) -> None:
        self._inner = inner
        self.reader_has_it = anyio.Event()

    async def send(self, call: Call) -> Reply:
        reply = await self._inner.send(call)
        if isinstance(reply.body, ByteStream):
            return Reply(ByteStream(self._held(reply.body)), reply.status, reply.headers)
        return reply

    async def _held(self, events: ByteStream) -> AsyncGenerator[bytes]:
        async with events:
            async for event in events:
                yield event
                if PIECES[0].encode() in event:
                    await self.reader_has_it.wait()

    async def aclose(self) -> None:
        await self._inner.aclose()


@contextlib.asynccontextmanager
async def _serving_held() -> AsyncIterator[tuple[str, Held]]:
    held = Held(FakeBinding({MODEL: PIECES}, as_of="2023-11-14"))
    async with serving(rest_app(held, token=TOKEN)) as address:
        with anyio.fail_after(200):
            yield address, held


async def read_piece_by_piece_async(read: Callable[[str], AsyncIterator[str]]) -> list[str]:
    """What `read` gives, called with the address of a server that goes on when the first piece was given."""
    pieces: list[str] = []
    async with _serving_held() as (address, held):
        async for piece in read(address):
            pieces.append(piece)
            held.reader_has_it.set()
    return pieces


async def read_piece_by_piece(read: Callable[[str], Iterator[str]]) -> list[str]:
    """The same for a client that blocks, in a thread."""
    pieces: list[str] = []
    async with _serving_held() as (address, held):

        def take(piece: str) -> None:
            pieces.append(piece)
            held.reader_has_it.set()

        def blocking() -> None:
            for piece in read(address):
                from_thread.run_sync(take, piece)

        await to_thread.run_sync(blocking, abandon_on_cancel=True)
    return pieces
