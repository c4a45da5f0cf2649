"""A stream that a parser reads wrongly, made as small as it can be while the parser still does."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace

from cfai.testing.fuzz.case import CutStream

__all__ = ["shrunk", "smaller_than"]

MOST_TRIES = 2000


def shrunk(stream: CutStream, is_wrong: Callable[[CutStream], bool], *, most_tries: int = MOST_TRIES) -> CutStream:
    """The smallest stream that `is_wrong` still, with as few cuts as need be, and that ends as it did."""
    tries = 0
    while True:
        for smaller in smaller_than(stream):
            tries += 1
            if is_wrong(smaller):
                stream = smaller
                break
            if tries > most_tries:
                return stream
        else:
            return stream


def smaller_than(stream: CutStream) -> Iterator[CutStream]:
    """The streams that lack something of `stream`, what takes away most first, and end as it does."""
    for smaller in itertools.chain(_fewer_cuts(stream), _fewer_events(stream)):
        if smaller.case.end == stream.case.end:
            yield smaller


def _fewer_cuts(stream: CutStream) -> Iterator[CutStream]:
    cuts = stream.cuts
    if not cuts:
        return
    yield CutStream.at(stream.case, ())
    yield from _single(stream)
    size = len(cuts) // 2
    while size:
        for start in range(0, len(cuts), size):
            yield CutStream.at(stream.case, cuts[:start] + cuts[start + size :])
        size //= 2


def _single(stream: CutStream) -> Iterator[CutStream]:
    if len(stream.cuts) > 1:
        for cut in stream.cuts:
            yield CutStream.at(stream.case, [cut])


def _fewer_events(stream: CutStream) -> Iterator[CutStream]:
    events = stream.case.events
    size = len(events) // 2
    while size:
        for start in range(0, len(events), size):
            yield _without(stream, start, start + size)
        size //= 2


def _without(stream: CutStream, start: int, end: int) -> CutStream:
    """`stream` less some events, cut where it was in what is left."""
    events = stream.case.events
    before = sum(map(len, events[:start]))
    behind = before + sum(map(len, events[start:end]))
    case = replace(stream.case, events=events[:start] + events[end:])
    moved = {cut if cut < before else max(before, cut - (behind - before)) for cut in stream.cuts}
    return CutStream.at(case, [cut for cut in moved if 0 < cut < len(case.bytes)])
