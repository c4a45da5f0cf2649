"""Somebody's parser, run on a stream: what it gives, in a form that can be compared."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any, Literal

import anyio
import anyio.from_thread

from cfai.testing.fuzz.case import CutStream, End

__all__ = [
    "COMPARISONS",
    "CommandFailed",
    "Comparison",
    "Expected",
    "Outcome",
    "Parser",
    "RunningParser",
    "expected_of",
]

Parser = Callable[[Any], Any]
"""Takes an iterable of chunks of bytes, an async one where it is async, and gives back or yields what it read."""

Comparison = Literal["text", "pieces", "data", "events"]
"""What a parser gives: the text, whole or in any parts; a text for each event that has one; the `data` of each event as
a server-sent events decoder has it; the JSON value of each event."""

COMPARISONS: tuple[Comparison, ...] = ("text", "pieces", "data", "events")


class CommandFailed(Exception):
    """A parser that is a command ended with another code than 0, or did not end."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a parser made of a stream."""

    value: Any = None
    raised: BaseException | None = None
    complaint: str = ""
    """Why its value is nothing to compare."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What a parser is to make of a stream."""

    value: Any
    may_raise: bool = False
    must_raise: bool = False

    def is_met_by(self, outcome: Outcome) -> bool:
        if outcome.raised is not None:
            return self.may_raise or self.must_raise
        return not self.must_raise and not outcome.complaint and outcome.value == self.value


def expected_of(stream: CutStream, comparison: Comparison, must_tell: Sequence[End]) -> Expected:
    """What a parser is to make of it. A stream that fails may make it raise; those of `must_tell` must."""
    case = stream.case
    values: Mapping[Comparison, Any] = {
        "text": case.text,
        "pieces": list(case.pieces),
        "data": list(case.data),
        "events": list(case.values),
    }
    return Expected(values[comparison], may_raise=case.end != "done", must_raise=case.end in must_tell)


class RunningParser(AbstractContextManager["RunningParser"]):
    """A parser with the event loop that it needs, on a thread of its own: whoever calls may have a loop already."""

    def __init__(self, parser: Parser, comparison: Comparison, *, within: float = 10.0) -> None:
        self._within = within
        """Seconds, for an async parser on one stream."""
        self._parser = parser
        self._comparison = comparison
        self._exits = ExitStack()
        self._portal: anyio.from_thread.BlockingPortal | None = None

    def __exit__(self, *error: object) -> None:
        self._exits.close()

    def __call__(self, stream: CutStream) -> Outcome:
        """What the parser makes of a stream; what it raises is part of the answer."""
        try:
            if not _is_async(self._parser):
                given = self._parser(iter(stream.chunks))
                if not inspect.isawaitable(given) and not isinstance(given, AsyncIterable):
                    return _outcome(_listed(given), self._comparison)
                _close(given)
            return _outcome(self._loop.call(_awaited, self._parser, stream.chunks, self._within), self._comparison)
        except Exception as error:  # the parser's own, and what the report tells
            return Outcome(raised=error)

    @property
    def _loop(self) -> anyio.from_thread.BlockingPortal:
        if self._portal is None:
            self._portal = self._exits.enter_context(anyio.from_thread.start_blocking_portal())
        return self._portal


def _is_async(parser: Parser) -> bool:
    called = getattr(parser, "__call__", None)  # noqa: B004  # it may be an object whose call is async
    return any(inspect.iscoroutinefunction(each) or inspect.isasyncgenfunction(each) for each in (parser, called))


async def _awaited(parser: Parser, chunks: Sequence[bytes], within: float) -> Any:
    with anyio.fail_after(within):
        given = parser(_async(chunks))
        if inspect.isawaitable(given):
            given = await given
        if not isinstance(given, AsyncIterable):
            return _listed(given)
        return [item async for item in given]


async def _async(chunks: Sequence[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


def _listed(given: Any) -> Any:
    return list(given) if isinstance(given, Iterable) and not isinstance(given, str | bytes | dict) else given


def _close(given: Any) -> None:
    if callable(close := getattr(given, "close", None)):
        close()  # a coroutine that was made with the wrong kind of chunks, and never runs


def _outcome(given: Any, comparison: Comparison) -> Outcome:
    if comparison in ("text", "pieces"):
        pieces = given if isinstance(given, list) else [given]
        if odd := [piece for piece in pieces if not isinstance(piece, str)]:
            return Outcome(pieces, complaint=f"{odd[0]!r} is no text")
        return Outcome("".join(pieces) if comparison == "text" else [piece for piece in pieces if piece])
    if not isinstance(given, list):
        return Outcome(given, complaint=f"{type(given).__name__} is no list of {comparison}")
    # Whether [DONE] is among them, and what is behind it, is a parser's own affair.
    return Outcome(given[: given.index("[DONE]")] if "[DONE]" in given else given)
