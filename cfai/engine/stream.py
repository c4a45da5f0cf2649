"""From the engine thread to a task: how pieces of text cross.

The engine thread puts pieces into a `TextStream`; one task reads it. Putting only appends to a deque. At the end of a
step the engine calls `Crossing.flush`, which wakes the readers of every event loop with a single callback: a queued
callback costs some ten microseconds, a blocking hop per token fifteen times as much.

    engine thread                                   event loop
    stream.put(" York")   deque.append
    crossing.flush()  --- call_soon_threadsafe --->  reader's event is set, __anext__ takes the piece
    stream.is_closed  <-- a flag -----------------   aclose()

A stream holds a bounded number of pieces. A full one makes `is_full` true and its own sequence waits; others go on.
Closing sets a flag that the engine looks at before every step, so an abandoned answer ends within one token.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal

from anyio.lowlevel import EventLoopToken, current_token

from cfai.errors import AiError
from cfai.event_loops import Arrival, run_soon

if TYPE_CHECKING:
    from cfai.engine.sequence import Token

__all__ = ["Crossing", "TextStream"]

BUFFERED_PIECES = 256


class TextStream:
    """The pieces of one answer, read by one task; iterate for them, then look at the counts.

    Create it in the task's event loop. `on_room` is called when a full stream has room again, and when it is closed.
    """

    def __init__(self, on_room: Callable[[], None], *, limit: int = BUFFERED_PIECES) -> None:
        self.token = current_token()
        self.prompt_tokens = 0
        self.cached_tokens = 0
        """Of the prompt's tokens those that an earlier prompt had left in the cache."""
        self.logprobs: list[Token] = []
        """Every token, if logprobs were asked for; complete up to the last piece that was read, or further."""
        self.tokens_read = 0
        """Tokens that ended with the piece that was read last, or before: so many of `logprobs` are its own."""
        self.completion_tokens = 0
        self.finish_reason: Literal["stop", "length"] | None = None
        """Why the answer ended, when it has: by itself, at a stop text or with all that its constraint allows; or
        because it had no token left."""
        self.is_closed = False
        self._on_room = on_room
        self._limit = limit
        self._pieces: deque[tuple[str, int]] = deque()
        self._ended = False
        self._error: AiError | None = None
        self.arrival: Arrival | None = None

    # the engine thread

    @property
    def is_full(self) -> bool:
        return len(self._pieces) >= self._limit

    def put(self, piece: str, tokens: int = 0) -> None:
        """Hand a piece over, with the number of tokens that have ended with it."""
        self._pieces.append((piece, tokens))

    def end(self, error: AiError | None = None) -> None:
        """No piece follows. The reader gets those that are here, then the error if there is one."""
        self._error = error
        self._ended = True

    # the event loop

    def wake(self) -> None:
        if self.arrival is not None:
            self.arrival.set()

    async def wait(self) -> None:
        """Return when there is something to read: a piece, the end, or an error. The error is not raised here."""
        while not self.has_something:
            self.arrival = Arrival()
            await self.arrival

    @property
    def has_something(self) -> bool:
        """Reading on does not have to wait."""
        return bool(self._pieces) or self._ended or self.is_closed

    async def __anext__(self) -> str:
        await self.wait()
        return self.take()

    def take(self) -> str:
        """The next piece, where `has_something`. Raises `StopAsyncIteration` at the end, or the error that ended it."""
        if self._pieces and not self.is_closed:
            piece, self.tokens_read = self._pieces.popleft()
            # Looked at after the pop: the engine may have put the piece that filled it just before.
            if len(self._pieces) >= self._limit - 1:
                self._on_room()
            return piece
        if self._error is not None:
            raise self._error
        raise StopAsyncIteration

    def __aiter__(self) -> TextStream:
        return self

    @property
    def error(self) -> AiError | None:
        """The error with which the answer ended before any piece that is still unread."""
        return self._error if self._ended and not self._pieces else None

    async def aclose(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            self._pieces.clear()
            self.wake()
            self._on_room()


class Crossing:
    """Collects the streams that a step touched and wakes their readers, one callback per event loop."""

    def __init__(self) -> None:
        self._touched: dict[Any, tuple[EventLoopToken, list[TextStream]]] = {}

    def touch(self, stream: TextStream) -> None:
        _, streams = self._touched.setdefault(stream.token.native_token, (stream.token, []))
        streams.append(stream)

    def flush(self) -> None:
        for token, streams in self._touched.values():
            if not run_soon(token, _wake, streams):
                for stream in streams:  # the loop is gone and its readers with it
                    stream.is_closed = True
        self._touched.clear()


def _wake(streams: Iterable[TextStream]) -> None:
    for stream in streams:
        stream.wake()
