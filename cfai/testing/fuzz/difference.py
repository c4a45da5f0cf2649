"""What a parser got wrong, in words."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cfai.testing.fuzz.case import CutStream
from cfai.testing.fuzz.cuts import place_of
from cfai.testing.fuzz.parsers import CommandFailed, Expected, Outcome
from cfai.wording import first_difference, shortened

__all__ = ["Difference", "StreamDifference"]

SHOWN = 60

_ADVICE = {
    "character": "a cut may go through a character: decode with codecs.getincrementaldecoder('utf-8')(), or new "
    "TextDecoder() and {stream: true}, never each chunk for itself",
    "line": "a cut may go through a line: keep what stands behind the last line end for the next chunk",
    "line end": "a cut may go before or through a line end: a line is whole when its end has come",
    "blank line": "a cut may go through the blank line that ends an event",
    "event": "an event may come in a chunk of its own",
}


@dataclass(frozen=True, slots=True)
class Difference:
    """A stream that a parser reads wrongly, as small as it could be made."""

    stream: CutStream
    expected: Expected
    got: Outcome
    name: str = "the parser"
    is_right_one_by_one: bool = False
    """Whether it reads the same stream rightly with an event to a chunk."""

    @property
    def advice(self) -> str:
        """What its author might have forgotten."""
        case = self.stream.case
        if self.expected.must_raise:
            return {"cut": "a stream without [DONE] is half an answer"}.get(case.end, case.about)
        whole = case.bytes
        places = [place_of(whole, cut) for cut in self.stream.cuts]
        if not places:
            several = "a chunk may have several events: read each of them"
            return several if self.is_right_one_by_one and len(case.events) > 1 else case.about
        if b"" in self.stream.chunks:
            return "a chunk may be empty, and is not the end"
        return _ADVICE[next((place for place in _ADVICE if place in places), "line")]

    def __str__(self) -> str:
        case = self.stream.case
        lines = [
            self.headline,
            "",
            *_field("stream", f"{case.name}: {case.about}, in the {case.form} form"),
            *_field("cut", self._cuts()),
            *_field("expected", _expected(self.expected, self.got)),
            *_field("got", _got(self.expected, self.got)),
            *_field("perhaps", self.advice),
            "",
            "chunks = [",
            *(f"    {chunk!r}," for chunk in self.stream.chunks),
            "]",
        ]
        return "\n".join(lines)

    @property
    def summary(self) -> str:
        """The same in a few words."""
        if self.got.raised is not None:
            return "fails"
        return "is taken for a whole answer" if self.expected.must_raise else "is read as another answer"

    @property
    def headline(self) -> str:
        """What is wrong, in one line."""
        if self.got.raised is not None:
            how = str(self.got.raised) or "no message"
            is_own = isinstance(self.got.raised, CommandFailed)
            return f"{self.name} {'fails' if is_own else f'raises {type(self.got.raised).__name__}'}: {how}"
        if self.expected.must_raise:
            what = {"cut": "a stream without [DONE]", "error": "a stream with an error in it"}[self.stream.case.end]
            return f"{self.name} takes {what} for a whole one"
        if self.got.complaint:
            return f"{self.name} gives what cannot be compared: {self.got.complaint}"
        return f"{self.name} reads another answer than the stream has"

    def _cuts(self) -> str:
        cuts = self.stream.cuts
        if not cuts:
            return "nowhere: it came in one chunk"
        whole = self.stream.case.bytes
        if len(cuts) == 1:
            return f"before byte {cuts[0]}: {_where(whole, cuts[0])}"
        return f"in {len(self.stream.chunks)} chunks"


class StreamDifference(AssertionError):
    """A parser reads a stream wrongly; `difference` has the stream."""

    def __init__(self, difference: Difference) -> None:
        super().__init__(str(difference))
        self.difference = difference


def _where(stream: bytes, cut: int) -> str:
    where = {
        "character": "within a character",
        "line end": "at a line end",
        "blank line": "between a line end and the blank line",
        "line": "within a line",
        "event": "between two lines",
    }
    return where[place_of(stream, cut)]


def _expected(expected: Expected, got: Outcome) -> str:
    return "an exception" if expected.must_raise else _near(expected.value, _value(got), of=expected.value)


def _got(expected: Expected, got: Outcome) -> str:
    if got.raised is not None:
        return str(got.raised) if isinstance(got.raised, CommandFailed) else type(got.raised).__name__
    return _near(expected.value, _value(got), of=_value(got))


def _value(got: Outcome) -> Any:
    return got.value if got.raised is None else None


def _near(expected: Any, got: Any, *, of: Any) -> str:
    """A long value from a little before the first difference on."""
    if not isinstance(of, str | list) or type(expected) is not type(got):
        return _short(of)
    start = max(0, first_difference(expected, got) - (20 if isinstance(of, str) else 2))
    if len(repr(of)) <= SHOWN or start == 0:
        return _short(of)
    return f"... {_short(of[start:])}"


def _short(value: Any) -> str:
    return shortened(repr(value), SHOWN)


def _field(name: str, text: str) -> Sequence[str]:
    return textwrap.wrap(
        text,
        80,
        initial_indent=f"{name:<9} ",
        subsequent_indent=" " * 10,
        break_long_words=False,
        drop_whitespace=True,
        break_on_hyphens=False,
    )
