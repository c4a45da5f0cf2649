"""What was in a stream."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from cfai.errors import AiError, EngineFailure
from cfai.tasks.text_generation import ShapeName
from cfai.tasks.told import CallDelta
from cfai.tasks.usages import total_usage
from cfai.testing.events import Chunk, Event, cut_events

__all__ = ["Chunk", "StreamReport", "ToolCall"]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool that the model wants to be called, put together from all that the stream told of it."""

    name: str
    arguments: Any
    """The JSON value; the text of it where that is no JSON, as in an answer that was cut off."""
    id: str | None = None


@dataclass(frozen=True)
class StreamReport:
    """A stream that was read to its end.

    ```python
    answer = await read_stream(stream)
    print(answer.pieces, answer.time_to_first_piece)  # ('New', ' York') 0.25
    ```
    """

    chunks: tuple[Chunk, ...]
    """The bytes as they came, each with its time."""
    seconds: float = field(kw_only=True)
    """How long the whole of it took."""
    raised: Exception | None = field(default=None, kw_only=True)
    """What reading it raised."""
    status: int | None = field(default=None, kw_only=True)
    """The status of the response it came with, if any; likewise its content type."""
    content_type: str | None = field(default=None, kw_only=True)

    @property
    def bytes(self) -> bytes:
        """The whole stream."""
        return b"".join(chunk.data for chunk in self.chunks)

    @cached_property
    def events(self) -> tuple[Event, ...]:
        """The stream cut into events, comments and what is none included."""
        return tuple(cut_events(self.chunks))

    @property
    def data(self) -> tuple[str, ...]:
        """What the `data:` lines of each event say."""
        return tuple(event.data for event in self.events if event.data is not None)

    @property
    def form(self) -> ShapeName | None:
        """The form of the first event that has one."""
        return next((event.form for event in self.events if event.form), None)

    @cached_property
    def pieces(self) -> tuple[str, ...]:
        """The pieces of text, empty ones left out; where `n` answers were asked for, those of the first."""
        return tuple(event.told.texts[0] for event in self.events if event.told.texts.get(0))

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def reasoning(self) -> str:
        """What a model thought before it answered, where the form has a place of its own for it."""
        return "".join(event.told.reasoning for event in self.events)

    @property
    def finish_reason(self) -> str | None:
        return next((event.told.finish[0] for event in self.events if event.told.finish.get(0)), None)

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The tool calls; where `n` answers were asked for, those of the first."""
        return _put_together([call for event in self.events for call in event.told.calls if call.choice == 0])

    @cached_property
    def usages(self) -> tuple[Mapping[str, Any], ...]:
        """What each event tells of the usage."""
        return tuple(event.told.usage for event in self.events if event.told.usage)

    @property
    def usage(self) -> Mapping[str, Any] | None:
        """The usage of the whole answer, `prompt_tokens`, `completion_tokens` and `total_tokens` in every form."""
        return total_usage(self.usages)

    @property
    def neurons(self) -> float | None:
        usage = self.usage or {}
        return float(usage["neurons"]) if isinstance(usage.get("neurons"), int | float) else None

    @property
    def error(self) -> Exception | None:
        """The error of the stream's last event, or what reading it raised; also that of a response with no stream."""
        # Responses tell an error twice, the second time with its code.
        told = next((event.told.error for event in reversed(self.events) if event.told.error), None)
        return told or self._refusal or self.raised

    @property
    def _refusal(self) -> AiError | None:
        if self.status is None or 200 <= self.status < 300:
            return None
        try:
            return AiError.from_body(json.loads(self.bytes), self.status)
        except ValueError:
            return AiError.of(EngineFailure.code, self.bytes.decode("utf-8", "replace"), status=self.status)

    @property
    def is_done(self) -> bool:
        """Whether `data: [DONE]` came."""
        return any(event.kind == "done" for event in self.events)

    @property
    def time_to_first_piece(self) -> float | None:
        return next((event.at for event in self.events if event.text), None)

    @property
    def gaps(self) -> tuple[float, ...]:
        """The seconds between each piece and the next."""
        times = [event.at for event in self.events if event.text]
        return tuple(after - before for before, after in itertools.pairwise(times))

    def __str__(self) -> str:
        from cfai.testing.table import table

        return table(self)


def _put_together(deltas: Sequence[CallDelta]) -> tuple[ToolCall, ...]:
    calls: dict[tuple[int, int], list[CallDelta]] = {}
    wholes = 0
    for delta in deltas:
        if delta.is_whole:  # another event may number its own from 0 again
            wholes += 1
        calls.setdefault((delta.index, wholes if delta.is_whole else 0), []).append(delta)
    told = [_call(each) for each in calls.values()]
    return tuple(call for call in told if call.name)


def _call(deltas: Sequence[CallDelta]) -> ToolCall:
    name = next((delta.name for delta in deltas if delta.name), "")
    identity = next((delta.id for delta in deltas if delta.id), None)
    if not all(isinstance(delta.arguments, str) for delta in deltas):
        return ToolCall(name, deltas[-1].arguments, identity)
    text = "".join(delta.arguments for delta in deltas)
    try:
        return ToolCall(name, json.loads(text or "{}"), identity)
    except ValueError:
        return ToolCall(name, text, identity)
