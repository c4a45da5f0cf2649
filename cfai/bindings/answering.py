"""The events of an answer, whoever makes it: comments until it begins, what each part adds, and how it ends."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from typing import Self

import anyio

from cfai import sse
from cfai.bindings.asked import Asked
from cfai.errors import AiError

__all__ = ["Answering"]

SHORTEST_WAIT = 0.01
"""Seconds between two comments at least, so that what is waited for has time to come."""


class Answering(ABC):
    """The answer to one call; iterated, the events of its stream.

    keep_alive  seconds after which a stream that has no piece yet gives a comment

    ```python
    async for event in answer: ...  # b'data: {"response":"New"}\\n\\n'
    ```
    """

    def __init__(self, asked: Asked, *, keep_alive: float) -> None:
        self.request = asked.request
        self._asked = asked
        self._keep_alive = keep_alive
        self._events: deque[bytes] = deque()
        self._has_begun = False
        self._is_over = False
        """Nothing follows the events that are in line: it has ended, failed or was closed."""

    @abstractmethod
    async def begin(self) -> None:
        """Return when the first piece is there; raise what stands in its way. May be cancelled and called again."""

    @abstractmethod
    async def _read_on(self) -> None:
        """Wait for what comes next, and put its events in line."""

    @abstractmethod
    def _let_go(self) -> None:
        """Give back what it holds; called when it has failed."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while not self._events:
            if self._is_over:
                raise StopAsyncIteration
            try:
                if self._has_begun:
                    await self._read_on()
                else:
                    await self._begin_or_comment()
            except AiError as error:
                # A stream that has begun ends the same way whatever happened: an EventSource that sees a cut
                # connects again and runs the prompt once more.
                self._is_over = True
                self._let_go()
                self._events.extend(self._asked.shape.failure(error))
        return self._events.popleft()

    async def _begin_or_comment(self) -> None:
        with anyio.move_on_after(max(self._keep_alive, SHORTEST_WAIT)) as waiting:
            await self.begin()
        if waiting.cancelled_caught:
            self._events.append(sse.KEEP_ALIVE)
