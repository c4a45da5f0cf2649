"""One text generation call that an OpenAI-compatible server answers: a request in, the events of its answer out.

    checked request -> bodies -> server -> parts -> events, or one JSON object

A call may ask for several answers (`n`), which many servers do not know: each is a request of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from cfai.bindings.answering import Answering
from cfai.bindings.asked import Asked
from cfai.bindings.upstream.chunks import Chunks
from cfai.bindings.upstream.reading import Reading
from cfai.errors import BadInput
from cfai.event_loops import first_of
from cfai.tasks.json_fit import misfit
from cfai.tasks.parts import Answer, Finish, Part, Text, Usage

__all__ = ["UpstreamAnswer"]


class UpstreamAnswer(Answering):
    """The answer that an upstream server makes.

    ask         starts the request for the answer of that number
    keep_alive  seconds after which a stream that has no piece yet gives a comment
    on_usage    called at the end with what it cost, and whether that is an estimate
    """

    def __init__(
        self,
        asked: Asked,
        ask: Callable[[int], Reading],
        *,
        keep_alive: float,
        on_usage: Callable[[Usage, bool], None],
    ) -> None:
        super().__init__(asked, keep_alive=keep_alive)
        self._ask = ask
        self._on_usage = on_usage
        self._choices: list[_Choice] = []
        self._open: list[_Choice] = []
        """The choices that have not ended."""

    @property
    def is_running(self) -> bool:
        """Whether the server is at work on it."""
        return any(not choice.reading.has_ended for choice in self._choices)

    async def begin(self) -> None:
        if not self._choices:
            self._choices = [_Choice(index, self._ask(index), self._asked) for index in range(self.request.n)]
            self._open = [*self._choices]
        first = await self._first()
        if (error := first.reading.error) is not None:
            raise error
        self._has_begun = True
        if self.request.stream:
            self._events.extend(self._asked.shape.begin(self._prompt_usage()))

    async def _first(self) -> _Choice:
        """The first open choice that has something to read, once there is one."""
        ready = await first_of([choice.reading for choice in self._open])
        choice = next(choice for choice in self._open if choice.reading is ready)
        self._open.remove(choice)
        self._open.append(choice)  # the last place, so that no choice is read more often than the others
        return choice

    async def whole(self) -> tuple[dict[str, Any], Usage]:
        """The whole answer as one JSON object, and what it cost."""
        await self.begin()
        answers = []
        for choice in self._choices:
            parts = [part async for part in choice.reading]
            choice.note(parts)
            choice.check()
            answers.append(Answer.of(parts, choice.finish))
        usage = self._usage()
        return self._asked.shape.whole(answers, usage), usage

    def _prompt_usage(self) -> Usage | None:
        """What is known of the prompt when the first part is there; most servers tell at the end."""
        told = [choice.chunks.usage for choice in self._choices if choice.chunks.usage is not None]
        if not told:
            return None
        return Usage(told[0].prompt_tokens, 0, told[0].cached_tokens)

    def _usage(self) -> Usage:
        """What the answer cost, in the server's own numbers; where it has none, as many tokens as pieces."""
        told = [choice.chunks.usage for choice in self._choices]
        costs = [usage or choice.estimate() for usage, choice in zip(told, self._choices, strict=True)]
        usage = Usage(
            costs[0].prompt_tokens,
            sum(cost.completion_tokens for cost in costs),
            costs[0].cached_tokens,
            reasoning_tokens=sum(choice.reasoning_tokens for choice in self._choices),
        )
        neurons = self._asked.model.neurons_of(usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens)
        self._on_usage(usage, None in told)
        return replace(usage, neurons=neurons)

    async def _read_on(self) -> None:
        choice = await self._first()
        try:
            part = await anext(choice.reading)
        except StopAsyncIteration:
            if not self._is_over:  # else by another task, while this one waited
                self._end(choice)
            return
        choice.note([part])
        self._events.extend(self._asked.shape.part(part, choice.index))

    def _end(self, choice: _Choice) -> None:
        choice.check()
        self._events.extend(self._asked.shape.finish(choice.finish, choice.index))
        self._open.remove(choice)
        if not self._open:
            self._is_over = True
            self._events.extend(self._asked.shape.end(self._usage()))

    async def aclose(self) -> None:
        self._is_over = True
        self._events.clear()
        for choice in self._choices:
            await choice.reading.aclose()

    def _let_go(self) -> None:
        for choice in self._choices:
            choice.reading.abandon()

    def __del__(self) -> None:
        # A stream that was dropped unread must not keep the server busy. This may run in any thread at any place.
        self._let_go()


class _Choice:
    """One of the answers, as it is read."""

    def __init__(self, index: int, reading: Reading, asked: Asked) -> None:
        self.index = index
        self.reading = reading
        self._asked = asked
        self._is_json = asked.request.answer_schema is not None
        self._text: list[str] = []
        """Of an answer that must be JSON."""

    @property
    def chunks(self) -> Chunks:
        return self.reading.chunks

    @property
    def finish(self) -> Finish:
        return self.chunks.finish

    @property
    def reasoning_tokens(self) -> int:
        """Those that the server tells of, or pieces of thinking, which are all but always a token each."""
        told = self.chunks.usage
        return told.reasoning_tokens if told and told.reasoning_tokens else self.chunks.reasoning_pieces

    def estimate(self) -> Usage:
        return Usage(self._asked.estimated_tokens(), self.chunks.pieces)

    def note(self, parts: list[Part]) -> None:
        if self._is_json:
            self._text += [part.text for part in parts if isinstance(part, Text)]

    def check(self) -> None:
        """Refuse an answer that should be JSON and is not: many servers pass over what they were asked."""
        schema = self._asked.request.answer_schema
        if schema is None or self.finish == "tool_calls":
            return
        if (problem := misfit("".join(self._text), schema)) is not None:
            ended = "it ended at max_tokens" if self.finish == "length" else ""
            raise BadInput("JSON Mode couldn't be met", hint=ended or f"the answer of the upstream server {problem}")
