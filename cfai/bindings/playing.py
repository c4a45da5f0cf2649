"""A script on its way out: pieces at their times, cut where the call says, written in the shape of the call.

script -> takes, one for each choice -> parts -> events, or one JSON object
"""

from __future__ import annotations

import itertools
import random
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from cfai.bindings.asked import Asked, CutNotices
from cfai.bindings.call_log import LoggedCall
from cfai.bindings.script import Script
from cfai.clock import Clock
from cfai.cost import Cost
from cfai.errors import AiError, ConnectionDropped
from cfai.tasks.parts import (
    Answer,
    CallArguments,
    CallStart,
    Finish,
    Part,
    Reasoning,
    Text,
    TokenLogprob,
    Usage,
)
from cfai.tasks.text_generation import TextGeneration

__all__ = ["Chunks", "Playing", "Room", "Timing"]


@dataclass(frozen=True, slots=True)
class Timing:
    """When pieces come, by a clock."""

    clock: Clock
    first_piece_after: float = 0.0
    between_pieces: float = 0.0

    def of(self, script: Script) -> Timing:
        """This timing, and what the script says of it."""
        first, between = script.first_piece_after, script.between_pieces
        if first is None and between is None:
            return self
        return Timing(
            self.clock,
            self.first_piece_after if first is None else first,
            self.between_pieces if between is None else between,
        )

    async def before(self, steps: int, *, first: bool = False) -> None:
        """Wait as long as that many pieces take, the first one among them or not."""
        seconds = (self.first_piece_after if first else 0.0) + steps * self.between_pieces
        if seconds > 0:
            await self.clock.sleep(seconds)


class Room(NamedTuple):
    """Tokens of a call: those of its prompt, and those that an answer may have."""

    prompt_tokens: int
    max_tokens: int


class Playing:
    """The answer to one call; iterated, the events of its stream."""

    def __init__(
        self,
        asked: Asked,
        room: Room,
        script: Script,
        log: LoggedCall,
        timing: Timing,
        rng: random.Random,
        *,
        cut_notices: CutNotices,
    ) -> None:
        self._asked = asked
        self._cut_notices = cut_notices
        self._max_tokens = room.max_tokens
        self._script = script
        self._log = log
        self._timing = timing
        self._prompt_tokens, max_tokens = room
        request = asked.request
        if request.n > 1 and isinstance(script.pieces, Iterator):  # each choice says it all
            script = replace(script, pieces=[*itertools.islice(script.pieces, max_tokens + 1)])
        self._takes = [_Take(index, script, request, max_tokens, rng) for index in range(request.n)]
        self._open = [*self._takes]
        self._events: deque[bytes] = deque()
        self._has_ended = False

    async def whole(self) -> tuple[dict[str, Any], Usage]:
        """The whole answer as one JSON object, and what it cost."""
        answers = []
        error: Exception | None = None
        for take in self._takes:
            parts: list[Part] = []
            while (part := take.pull()) is not None:
                parts.append(part)
            error = error or take.error
            answers.append(Answer.of(parts, take.finish))
        await self._timing.before(max(take.tokens for take in self._takes) - 1, first=True)
        usage = self._noted()
        if error is not None:
            raise error
        self._note_cut()
        body = self._asked.shape.whole(answers, usage)
        self._log.finished = True
        return body, usage

    async def begin(self) -> None:
        """Return when the first piece of a stream is there; raise what stands in its way."""
        pulled = self._pull()
        await self._timing.before(0, first=True)
        if (error := self._takes[0].error) is not None:
            self._noted()
            raise error
        self._events.extend(self._asked.shape.begin(self._usage()))
        self._write(pulled)

    async def __anext__(self) -> bytes:
        while not self._events:
            if self._has_ended:
                raise StopAsyncIteration
            pulled = self._pull()
            if any(part is not None or take.error is not None for take, part in pulled):
                await self._timing.before(1)
            if not self._has_ended:  # closed by another task meanwhile
                self._write(pulled)
        event = self._events.popleft()
        self._log.finished = self._has_ended and not self._events and self._log.error is None
        return event

    def _pull(self) -> list[tuple[_Take, Part | None]]:
        """The next part of every choice that has not ended."""
        return [(take, take.pull()) for take in self._open]

    def _write(self, pulled: Sequence[tuple[_Take, Part | None]]) -> None:
        shape = self._asked.shape
        for take, part in pulled:
            if part is not None:
                self._events.extend(shape.part(part, take.index))
            elif take.error is not None:
                self._fail(take.error)
                return
            else:
                self._events.extend(shape.finish(take.finish, take.index))
                self._open.remove(take)
        if not self._open:
            self._has_ended = True
            self._note_cut()
            self._events.extend(shape.end(self._noted()))

    def _fail(self, error: Exception) -> None:
        self._has_ended = True
        self._log.error = error
        self._noted()
        if not isinstance(error, AiError) or isinstance(error, ConnectionDropped):
            raise error
        self._events.extend(self._asked.shape.failure(error))

    def _usage(self) -> Usage:
        """What the answer cost so far, or what the script says that it cost."""
        made = sum(take.tokens for take in self._takes)
        thought = sum(take.reasoning_tokens for take in self._takes)
        usage = self._script.counted() or Usage(self._prompt_tokens, made, reasoning_tokens=thought)
        if usage.neurons is not None:
            return usage
        neurons = self._asked.model.neurons_of(usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens)
        return usage if neurons is None else replace(usage, neurons=neurons)

    def cost(self) -> Cost:
        """What the answer has cost so far."""
        return self._usage().cost

    def _note_cut(self) -> None:
        self._cut_notices.note(self._asked, self._max_tokens, [take.finish for take in self._takes])

    def _noted(self) -> Usage:
        self._log.usage = usage = self._usage()
        self._log.neurons = usage.neurons or 0.0
        self._log.finish_reason = None if self._open and self._asked.request.stream else self._takes[0].finish
        return usage

    async def aclose(self) -> None:
        self._events.clear()
        if not self._log.finished and self._log.error is None:
            self._log.closed = True
            if not self._has_ended:
                self._noted()
        self._has_ended = True


class _Take:
    """One of the choices: the script's parts, each a token, up to where the call cuts them."""

    def __init__(
        self, index: int, script: Script, request: TextGeneration, max_tokens: int, rng: random.Random
    ) -> None:
        self.index = index
        self.tokens = 0
        self.reasoning_tokens = 0
        self.finish: Finish = "tool_calls" if script.tool_calls else "stop"
        """Why it ended, once it has."""
        self.error: Exception | None = None
        """What it ended with in place of that."""
        self._has_logprobs = request.logprobs is not None
        self._has_top = bool(request.logprobs)
        self._rng = rng
        self._parts = self._cut(script, request.stop, max_tokens)

    def pull(self) -> Part | None:
        """The next part; None at the end."""
        try:
            return next(self._parts, None)
        except Exception as error:
            self.error = error
            return None

    def _cut(self, script: Script, stop: Sequence[str], max_tokens: int) -> Iterator[Part]:
        held = ""
        """What may begin a stop text."""
        for part in _parts_of(script, self._rng):
            if self.tokens == max_tokens:
                yield from self._text(held)
                # One of the calls may be there already, and then they are what the answer ended with.
                is_called = isinstance(part, CallArguments) or (isinstance(part, CallStart) and part.index > 0)
                self.finish = "tool_calls" if is_called else "length"
                return
            self.tokens += 1
            self.reasoning_tokens += isinstance(part, Reasoning)
            if not isinstance(part, Text):
                yield from self._text(held)
                held = ""
                yield part
            elif not stop:
                yield Text(part.text, self._logprobs(part.text))
            else:
                text = held + part.text
                if found := [at for mark in stop if (at := text.find(mark)) >= 0]:
                    yield from self._text(text[: min(found)])
                    self.finish = "stop"
                    return
                kept = _without_beginning(text, stop)
                held = text[kept:]
                yield from self._text(text[:kept])
        yield from self._text(held)
        if script.error is not None:
            raise script.error
        self.finish = script.finish_reason or self.finish

    def _text(self, text: str) -> Iterator[Part]:
        if text:
            yield Text(text, self._logprobs(text))

    def _logprobs(self, text: str) -> tuple[TokenLogprob, ...]:
        """Made up, where they are asked for: the piece is one token, and the likeliest."""
        if not self._has_logprobs:
            return ()
        token = TokenLogprob(text, text.encode(), round(-self._rng.random() / 4, 6))
        return (replace(token, top=(token,)) if self._has_top else token,)


class Chunks:
    """A body that is given as bytes, at its times."""

    def __init__(self, script: Script, log: LoggedCall, timing: Timing) -> None:
        self._chunks = deque(script.chunks())
        self._error = script.error
        self._log = log
        self._timing = timing
        self._has_begun = False

    async def begin(self) -> None:
        """Return when the first chunk is there."""
        await self._timing.before(0, first=True)
        if self._error is not None and not self._chunks:
            raise self._error

    async def __anext__(self) -> bytes:
        if self._chunks or self._error is not None:
            if self._has_begun:
                await self._timing.before(1)
            self._has_begun = True
        if self._chunks:
            return self._chunks.popleft()
        if self._error is not None:
            self._log.error = self._error
            raise self._error
        self._log.finished = True
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self._chunks.clear()
        self._log.closed = not self._log.finished and self._log.error is None


def _parts_of(script: Script, rng: random.Random) -> Iterator[Part]:
    """Everything that the script says."""
    for thought in script.thoughts():
        yield Reasoning(thought)
    for text in script.texts():
        yield Text(text)
    for index, (given, name, arguments) in enumerate(script.calls()):
        yield CallStart(index, given or f"call_{rng.getrandbits(96):024x}", name)
        for text in arguments:
            yield CallArguments(index, text)


def _without_beginning(text: str, stop: Sequence[str]) -> int:
    """How much of `text` stands before what may be the beginning of a stop text."""
    from cfai.tasks.output_parser import overlap

    return len(text) - max(overlap(text, mark) for mark in stop)
