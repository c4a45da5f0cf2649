"""Secrets in streams, which chunks cut anywhere: an answer spells a key piece by piece, each in an event of its own.

chunks -> the pieces of the answer in one -> what patterns find there -> taken out of the events of these pieces
       -> their text in one -> what patterns find there -> taken out of each chunk that has a part of it
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from cfai import sse
from cfai.bindings.tape.answers import ChoicePart, StreamReader, Unreadable
from cfai.tasks.parts import CallArguments, CallStart, Reasoning, Text

__all__ = ["Find", "Found", "without_found"]


@dataclass(frozen=True, slots=True)
class Found:
    """What is to be taken out of a text, and written in its place."""

    start: int
    end: int
    written: str


Find = Callable[[str], Iterable[Found]]


def without_found(chunks: Sequence[bytes], patterns: Sequence[Find]) -> list[bytes]:
    """The chunks, as many as before, without what the patterns find in all of them together."""
    # A character that is cut at the end of a chunk survives the way to text and back.
    texts = [chunk.decode("utf-8", "surrogateescape") for chunk in chunks]
    for find in patterns:  # before what an escape cuts in the text of the stream
        texts = _cut(texts, _spelled("".join(texts), find))
    for find in patterns:
        texts = _cut(texts, list(find("".join(texts))))
    return [text.encode("utf-8", "surrogateescape") for text in texts]


def _cut(texts: list[str], found: Sequence[Found]) -> list[str]:
    """The texts without what was found in all of them together; the first with a part of it gets what is written."""
    if not found:
        return texts
    cut, begin = [], 0
    for text in texts:
        end, kept, at = begin + len(text), "", begin
        for one in found:
            if one.start < end and one.end > begin:
                kept += text[at - begin : max(one.start, begin) - begin]
                kept += one.written if one.start >= begin else ""
                at = min(one.end, end)
        cut.append(kept + text[at - begin :])
        begin = end
    return cut


@dataclass(frozen=True, slots=True)
class _Piece:
    text: str
    start: int
    """Of its JSON in the text of the stream."""
    end: int


def _spelled(stream: str, find: Find) -> list[Found]:
    """What a pattern finds in the pieces of an answer, as places in the text of their stream."""
    found = []
    for pieces in _pieces(stream):
        texts = [piece.text for piece in pieces]
        kept = _cut(texts, list(find("".join(texts))))
        found += [
            Found(piece.start, piece.end, sse.dumps(text))
            for piece, text in zip(pieces, kept, strict=True)
            if text != piece.text
        ]
    return sorted(found, key=lambda one: one.start)


def _pieces(stream: str) -> list[list[_Piece]]:
    """The pieces of each text in an answer: of each choice, its thinking, its words and the arguments of its calls."""
    reader, at = StreamReader(), 0
    texts: dict[object, list[_Piece]] = {}
    for data in sse.Decoder().feed(stream.encode("utf-8", "surrogateescape")):
        for part, choice in _told(reader, data):
            if (place := _place(stream, part.text, at)) is not None:
                at = place[1]
                texts.setdefault((type(part), choice), []).append(_Piece(part.text, *place))
    return list(texts.values())


def _told(reader: StreamReader, data: str) -> list[tuple[Reasoning | Text | CallArguments, int]]:
    try:
        told = [item for item in reader.items(data) if isinstance(item, ChoicePart)]
    except (Unreadable, LookupError, TypeError, ValueError, AttributeError):
        return []  # what cannot be read has no pieces; its text is looked through as a whole
    return [(item.part, item.choice) for item in told if not isinstance(item.part, CallStart)]


# A text, with the colon behind it if it is a key, or a piece of digits, which production sends as a number.
_LITERAL = re.compile(r'("(?:[^"\\\n]|\\.)*")(\s*:)?|(?<="response":)\s*([^\s",}]+)')


def _place(stream: str, text: str, behind: int) -> tuple[int, int] | None:
    for found in _LITERAL.finditer(stream, behind):
        if found[3] == text:
            return found.span(3)
        if found[1] and not found[2] and sse.loads(found[1]) == text:
            return found.span(1)
    return None
