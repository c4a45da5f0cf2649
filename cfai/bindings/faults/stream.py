"""A stream with faults in it.

    inner stream -> events -> rewriters -> interruptions -> cutters -> the reader's chunks

The faults of one kind act in the order in which they were added. An interruption counts what comes out of the
rewriters; what a cutter has held back until then comes before it. A stream that is no event stream has chunks in place
of events, and only interruptions.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import anyio

from cfai import sse
from cfai.binding import Form
from cfai.bindings.faults.claim import Claim
from cfai.bindings.faults.rewriting import CUTTERS, REWRITERS
from cfai.clock import Clock
from cfai.errors import AiError, ConnectionDropped, RequestTimeout
from cfai.results import ByteStream
from cfai.tasks.shapes.failures import native_failure, openai_failure

__all__ = ["FaultyStream", "Pause"]

INTERRUPTIONS = ("stall", "drop", "timeout-in-stream")


class Pause:
    """Time that passes by a clock, or for ever, until it is over or somebody gives up waiting."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._scope: anyio.CancelScope | None = None
        self.is_given_up = False

    async def last(self, seconds: float | None) -> None:
        if self.is_given_up:
            return
        with anyio.CancelScope() as self._scope:
            await (anyio.sleep_forever() if seconds is None else self._clock.sleep(seconds))
        self._scope = None

    def give_up(self) -> None:
        """End it at once, whoever waits."""
        self.is_given_up = True
        if self._scope is not None:
            self._scope.cancel()


class FaultyStream:
    """`inner` with the faults of `claims`, a `ByteSource`."""

    def __init__(
        self, inner: ByteStream, claims: Sequence[Claim], *, clock: Clock, form: Form, is_events: bool
    ) -> None:
        self._inner = inner
        self._claims = claims
        self._form = form
        self._splitter = sse.Splitter() if is_events else None
        self._rewriters = [
            REWRITERS[claim.name](claim.fault, claim.happened) for claim in claims if claim.name in REWRITERS
        ]
        self._cutters = [CUTTERS[claim.name](claim.fault, claim.happened) for claim in claims if claim.name in CUTTERS]
        self._slow = [claim for claim in claims if claim.name == "slow-reader"]
        self._due = [claim for claim in claims if claim.name in INTERRUPTIONS]
        self._pause = Pause(clock)
        self._events: deque[bytes] = deque()
        self._chunks: deque[bytes] = deque()
        self._count = 0
        self._has_begun = False
        self._is_read = False
        self._is_over = False
        self._error: Exception | None = None

    async def __anext__(self) -> bytes:
        while not self._chunks:
            if self._is_over and self._error is not None:
                raise self._error
            if self._is_over or self._pause.is_given_up:
                raise StopAsyncIteration
            await self._advance()
        return self._chunks.popleft()

    async def aclose(self) -> None:
        self._pause.give_up()
        for claim in self._claims:
            claim.release()
        await self._inner.aclose()

    async def _advance(self) -> None:
        if due := [claim for claim in self._due if claim.fault.after == self._count]:
            self._flush()
            if not self._chunks:  # what was held back comes before, and the next step is back here
                self._due.remove(due[0])
                await self._interrupt(due[0])
        elif self._events or await self._read():
            event = self._events.popleft()
            # A comment is no event, and no client sees it.
            if self._splitter is None or not event.startswith(b":"):
                self._count += 1
            self._cut(event)
        else:
            self._flush()
            self._is_over = True

    async def _interrupt(self, claim: Claim) -> None:
        told = f"after {self._count} {'chunks' if self._splitter is None else 'events'}"
        match claim.name:
            case "stall":
                claim.happened(f"nothing {told}")
                await self._pause.last(claim.fault.seconds)
            case "drop":
                claim.happened(f"the connection dropped {told}")
                self._is_over, self._error = True, ConnectionDropped()
            case "timeout-in-stream":
                await self._pause.last(claim.fault.seconds)
                if not self._pause.is_given_up:
                    claim.happened(f"3007 {told}")
                    self._is_over = True
                    for event in _failure(RequestTimeout(), self._form, self._count):
                        self._cut(event)
                    self._flush()

    async def _read(self) -> bool:
        """Take the next events of the inner stream; False where there are no more."""
        while not self._events and not self._is_read:
            if self._has_begun:
                for claim in self._slow:
                    claim.happened("read slowly")
                    await self._pause.last(claim.fault.seconds)
            self._has_begun = True
            try:
                self._take(await self._inner.__anext__())
            except StopAsyncIteration:
                self._is_read = True
                # An event that was cut short goes on as it came.
                if self._splitter is not None and (rest := self._splitter.rest):
                    self._events.append(rest)
            except Exception as error:  # what came before it is still to be read
                self._is_read, self._error = True, error
        return bool(self._events)

    def _take(self, chunk: bytes) -> None:
        events = [chunk] if self._splitter is None else self._splitter.feed(chunk)
        for rewriter in self._rewriters:
            events = [rewritten for event in events for rewritten in rewriter.feed(event)]
        self._events += events

    def _cut(self, event: bytes) -> None:
        chunks = [event]
        for cutter in self._cutters:
            chunks = [cut for chunk in chunks for cut in cutter.feed(chunk)]
        self._chunks += chunks

    def _flush(self) -> None:
        chunks: list[bytes] = []
        for cutter in self._cutters:
            chunks = [*(cut for chunk in chunks for cut in cutter.feed(chunk)), *cutter.end()]
        self._chunks += chunks


def _failure(error: AiError, form: Form, sequence_number: int) -> list[bytes]:
    """The last events of a stream that failed, as the server of each form sends them."""
    if form == "native":
        return native_failure(error)
    if form == "responses":
        told = error.to_openai()
        flat = {key: told["error"][key] for key in ("code", "message", "param")}
        event = sse.encode({"type": "error", "sequence_number": sequence_number, **flat, **told})
        return [b"event: error\n" + event, sse.DONE]
    return openai_failure(error)
