"""One stream to try a parser on, and what is in it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from cfai.tasks.told import loads
from cfai.testing.report import Chunk, StreamReport

__all__ = ["CaseForm", "CutStream", "End", "Level", "StreamCase"]

Level = Literal["workers-ai", "standard"]
"""`workers-ai` is what Workers AI and cfai are known to send, `standard` all that server-sent events may be."""

CaseForm = Literal["classic", "native-chat", "chat", "completion", "responses"]
"""The form of a stream: `native-chat` is what newer models answer through `run`, the three behind it are those of the
OpenAI endpoints."""

End = Literal["done", "cut", "error"]
"""How a stream ends: with `[DONE]`, without, or with an event that tells an error and `[DONE]`."""


@dataclass(frozen=True)
class StreamCase:
    """A stream, event by event, and what is odd about it."""

    name: str
    about: str
    """What is odd about it, and so what a parser that fails does not do."""
    events: tuple[bytes, ...]
    form: CaseForm = "classic"
    level: Level = "workers-ai"

    @property
    def bytes(self) -> bytes:
        return b"".join(self.events)

    @cached_property
    def _report(self) -> StreamReport:
        return StreamReport((Chunk(0.0, self.bytes),), seconds=0.0)

    @property
    def text(self) -> str:
        return self._report.text

    @property
    def pieces(self) -> tuple[str, ...]:
        """The pieces of text, empty ones left out."""
        return self._report.pieces

    @property
    def data(self) -> tuple[str, ...]:
        """What the `data:` lines of each whole event say, up to `[DONE]`."""
        data = tuple(event.data for event in self._report.events if event.data is not None and not event.is_cut)
        return data[: data.index("[DONE]")] if "[DONE]" in data else data

    @property
    def values(self) -> tuple[Any, ...]:
        """Their JSON values."""
        return tuple(loads(data) for data in self.data)

    @property
    def end(self) -> End:
        if self._report.error is not None:
            return "error"
        return "done" if self._report.is_done else "cut"


@dataclass(frozen=True)
class CutStream:
    """A stream in the chunks in which a parser meets it."""

    case: StreamCase
    chunks: tuple[bytes, ...]

    @classmethod
    def at(cls, case: StreamCase, cuts: Iterable[int]) -> CutStream:
        """`case` cut at these places; the same place twice gives a chunk of no bytes."""
        whole = case.bytes
        places = [0, *sorted(cuts), len(whole)]
        return cls(case, tuple(whole[start:end] for start, end in itertools.pairwise(places)))

    @property
    def cuts(self) -> tuple[int, ...]:
        places = []
        at = 0
        for chunk in self.chunks[:-1]:
            at += len(chunk)
            places.append(at)
        return tuple(places)

    @property
    def text(self) -> str:
        return self.case.text

    @property
    def pieces(self) -> tuple[str, ...]:
        return self.case.pieces

    @property
    def data(self) -> tuple[str, ...]:
        return self.case.data
