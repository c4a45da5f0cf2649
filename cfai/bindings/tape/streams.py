"""Streams on their way to a tape, and from one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from cfai.bindings.tape.entries import Chunk, End, Entry, Failure
from cfai.bindings.tape.errors import TapeEnds
from cfai.clock import Clock
from cfai.errors import AiError
from cfai.results import ByteStream
from cfai.wording import count

__all__ = ["Player", "Recorder", "seconds"]


def seconds(value: float) -> float:
    """As a tape has them: to the millisecond."""
    return round(max(value, 0.0), 3)


class Recorder:
    """Pass a stream on and write into `entry` what came, when, and how it ended.

    forget  is called when there is nothing to keep: the binding has a defect
    """

    def __init__(
        self, source: ByteStream, entry: Entry, *, clock: Clock, started: float, forget: Callable[[], None]
    ) -> None:
        self._source = source
        self._entry = entry
        self._clock = clock
        self._started = started
        self._forget = forget
        self._has_ended = False
        entry.end = End(entry.at, "closed")  # until something else is known

    @property
    def _now(self) -> float:
        return seconds(self._clock.now() - self._started)

    async def __anext__(self) -> bytes:
        try:
            chunk = await self._source.__anext__()
        except StopAsyncIteration:
            self._end(End(self._now, "done"))
            if self._entry.has_no_bytes:
                self._forget()
                raise TapeEnds(
                    f"the stream of {self._entry.call.model} ended without a single byte, and is not recorded: "
                    "whatever read it from a tape would test nothing"
                ) from None
            raise
        except AiError as error:
            self._end(End(self._now, "error", Failure.of(error)))
            raise
        except Exception:
            self._forget()
            raise
        self._entry.chunks.append(Chunk(self._now, chunk))
        return chunk

    def _end(self, end: End) -> None:
        self._has_ended = True
        self._entry.end = end

    async def aclose(self) -> None:
        if not self._has_ended:
            self._end(End(self._now, "closed"))
        await self._source.aclose()


class Player:
    """The chunks of a tape, each as it was, and at its time if `wait` lets time pass.

    wait  returns when so many seconds have passed since the call
    name  what the tape's end is told with
    """

    def __init__(
        self, chunks: Sequence[Chunk], end: End, *, wait: Callable[[float], Awaitable[None]], name: str
    ) -> None:
        self._chunks = chunks
        self._end = end
        self._wait = wait
        self._name = name
        self._next = 0

    async def __anext__(self) -> bytes:
        if self._next < len(self._chunks):
            chunk = self._chunks[self._next]
            await self._wait(chunk.at)
            self._next += 1
            return chunk.data
        await self._wait(self._end.at)
        if self._end.failure is not None:
            raise self._end.failure.error
        if self._end.kind == "closed":
            chunks = count(len(self._chunks), "chunk")
            raise TapeEnds(
                f"{self._name}: the tape ends here, after {chunks}, where the reader closed the stream when it was "
                "recorded; read no further, or record it anew with a reader that does"
            )
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self._next = len(self._chunks)
