"""Secrets in streams, which chunks cut anywhere: an answer spells a key piece by piece, each in an event of its own.

chunks -> their text in one -> what patterns find there -> taken out of each chunk that has a part of it
       -> the pieces of the answer in one -> what patterns find there -> taken out of the events of these pieces
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from cfai import sse
from cfai.bindings.tape.answers import StreamReader, Told, Unreadable
from cfai.tasks.parts import CallStart

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
    for find in patterns:
        texts = _cut(texts, list(find("".join(texts))))
    for find in patterns:
        texts = _cut(texts, _spelled("".join(texts), find))
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
    try:
        for data in sse.Decoder().feed(stream.encode("utf-8", "surrogateescape")):
            for item in reader.items(data):
                if isinstance(item, Told) and not isinstance(item.part, CallStart):
                    place = _place(stream, item.part.text, at)
                    at = place[1]
                    texts.setdefault((type(item.part), item.choice), []).append(_Piece(item.part.text, *place))
    except (Unreadable, LookupError, TypeError, ValueError, AttributeError):
        pass  # what cannot be read has no pieces; its text was looked through as a whole
    return list(texts.values())


def _place(stream: str, text: str, behind: int) -> tuple[int, int]:
    for written in (sse.dumps(text), json.dumps(text)):
        if (start := stream.find(written, behind)) >= 0:
            return start, start + len(written)
    raise Unreadable(text)  # a number, for one
