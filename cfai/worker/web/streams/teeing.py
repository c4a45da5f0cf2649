"""`tee`: one stream as two."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cfai.worker.web.streams.readable import ReadableStream

__all__ = ["tee"]


def tee(stream: ReadableStream) -> list[ReadableStream]:
    source = _Tee(stream)
    return [type(stream).of(_Branch(source, at)) for at in range(2)]


class _Tee:
    def __init__(self, stream: ReadableStream) -> None:
        self._reader = stream.getReader()
        self._stream = stream
        self._turn = asyncio.Lock()
        self._queues: list[deque[Any] | None] = [deque(), deque()]

    async def next_chunk(self, branch: int) -> Any:
        async with self._turn:
            queue = self._queues[branch]
            if queue is None:
                raise StopAsyncIteration
            if not queue:
                # By way of the reader, so that a branch that is cancelled does not take the chunk with it.
                result = await self._reader.read()
                if result.done:
                    raise StopAsyncIteration
                for other in self._queues:
                    if other is not None:
                        other.append(result.value)
            return queue.popleft()

    async def leave(self, branch: int) -> None:
        self._queues[branch] = None
        if self._queues == [None, None]:
            await self._stream.aclose()


class _Branch:
    def __init__(self, source: _Tee, at: int) -> None:
        self._source = source
        self._at = at

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        return await self._source.next_chunk(self._at)

    async def aclose(self) -> None:
        await self._source.leave(self._at)
