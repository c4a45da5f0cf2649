"""A recorded answer in another wire form than it was recorded in: today's for a tape of 2023, or the other way round.

The parts, the usage and why the answer ended are read from the tape and written as the call wants them, each at its
time. What cannot be read so stays as it was recorded: errors, bytes that are no text, answers of other tasks.

The forms of 2023 tell no usage, and the classic form not why it ended. Then each piece counts as a token, each word of
the prompt as one, and an answer as long as it may be has ended for that reason.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from cfai import sse
from cfai.binding import EVENT_STREAM, Call
from cfai.bindings.tape.answers import (
    ChoicePart,
    Done,
    Finished,
    Item,
    StreamReader,
    Unreadable,
    created_in,
    read_whole,
    usage_in,
)
from cfai.bindings.tape.entries import Chunk, Entry
from cfai.bindings.tape.normal import as_of, checked, fidelity, known_model, wire_form
from cfai.errors import AiError
from cfai.tasks.parts import CallStart, Finish, Usage
from cfai.tasks.shapes import Shape, shape_for
from cfai.tasks.text_generation import TextGeneration

__all__ = ["in_form_of"]


def in_form_of(call: Call, entry: Entry) -> Entry:
    """`entry` as `call` wants it written; the entry itself where it is written so, or cannot be."""
    if wire_form(call) == wire_form(entry.call) or not 200 <= entry.status < 300:
        return entry
    try:
        request = checked(call)
        if request is None or request.stream != entry.is_stream:
            return entry
        if entry.is_stream and not entry.headers.get("content-type", "").startswith(EVENT_STREAM):
            return entry
        rewriting = _Rewriting(call, request, entry)
        return rewriting.stream() if entry.is_stream else rewriting.whole()
    except (Unreadable, AiError, LookupError, TypeError, ValueError, AttributeError):
        return entry  # it is the answer of another server, whatever it is


class _Rewriting:
    """One entry, written anew for one call."""

    def __init__(self, call: Call, request: TextGeneration, entry: Entry) -> None:
        self._call = call
        self._request = request
        self._entry = entry
        self._model = known_model(call)

    def whole(self) -> Entry:
        body = self._entry.body
        answers = read_whole(body)
        usage = self._usage(usage_in(body), sum(len(answer.text.split()) for answer in answers))
        if len(answers) == 1 and answers[0].finish == "stop" and not _tells_finish(body):
            answers = [replace(answers[0], finish=self._finish(usage))]
        return replace(self._entry, body=self._shape(created_in(body)).whole(answers, usage))

    def stream(self) -> Entry:
        decoder, reader = sse.Decoder(), StreamReader()
        read: list[tuple[Chunk, list[Item]]] = []
        created = None
        for chunk in self._entry.chunks:
            events = decoder.feed(chunk.data)
            created = created or next((made for event in events if (made := created_in(sse.loads(event)))), None)
            read.append((chunk, [item for event in events for item in reader.items(event)]))
        items = [item for _, found in read for item in found]
        told = [item for item in items if isinstance(item, Usage)]
        usage = self._usage(told[-1] if told else None, sum(isinstance(item, ChoicePart) for item in items))
        has_calls = any(isinstance(item, ChoicePart) and isinstance(item.part, CallStart) for item in items)
        writer = _Writer(
            self._shape(created), usage, "tool_calls" if has_calls else self._finish(usage), self._request.n
        )
        chunks = []
        for chunk, found in read:
            is_comment = not found and chunk.data.startswith(b":")
            written = [chunk.data] if is_comment else [event for item in found for event in writer.events(item)]
            chunks += [Chunk(chunk.at, event) for event in written]
        return replace(self._entry, chunks=chunks)

    def _shape(self, created: float | None) -> Shape:
        return shape_for(
            self._request,
            self._call.model,
            as_of=as_of(self._call),
            fidelity=fidelity(self._call),
            neurons_of=self._model.neurons_of,
            now=created or 0.0,  # with the seed below, the same bytes in every replay
            rng=random.Random(f"{self._call.model} {self._entry.call.inputs}"),
        )

    def _usage(self, told: Usage | None, made: int) -> Usage:
        request = self._request
        asked = [request.prompt or "", *(message.content for message in request.messages or ())]
        usage = told or Usage(sum(len(text.split()) for text in asked), made)
        neurons = self._model.neurons_of(usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens)
        return usage if usage.neurons is not None else replace(usage, neurons=neurons)

    def _finish(self, usage: Usage) -> Finish:
        """Why an answer without tool calls ended, where the tape does not say."""
        limits = self._model.limits(as_of(self._call))
        is_stream = self._request.stream
        default = limits.default_max_tokens_streaming if is_stream else limits.default_max_tokens
        most = self._request.max_tokens or default or limits.max_output_tokens
        return "length" if most is not None and usage.completion_tokens >= most else "stop"


def _tells_finish(body: Any) -> bool:
    return "choices" in body or "output" in body


class _Writer:
    """Writes the events of an answer as its items are read."""

    def __init__(self, shape: Shape, usage: Usage, finish: Finish, choices: int) -> None:
        self._shape = shape
        self._usage = usage
        self._finish = finish
        self._open = set(range(choices))
        self._has_begun = False
        self._has_ended = False

    def events(self, item: Item) -> list[bytes]:
        if self._has_ended:
            return []
        if isinstance(item, AiError):
            self._has_ended = True
            return self._shape.failure(item)
        events = [] if self._has_begun else self._shape.begin(self._usage)
        self._has_begun = True
        match item:
            case ChoicePart(part, choice) if choice in self._open:
                events += self._shape.part(part, choice)
            case Finished(finish, choice) if choice in self._open:
                events += self._close(finish, choice)
            case Done():
                for choice in sorted(self._open):
                    events += self._close(self._finish, choice)
                self._has_ended = True
                events += self._shape.end(self._usage)
        return events

    def _close(self, finish: Finish, choice: int) -> list[bytes]:
        self._open.discard(choice)
        return self._shape.finish(finish, choice)
