"""The ways to cut a stream into chunks."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from typing import Literal

from cfai.testing.fuzz.case import CutStream, StreamCase

__all__ = ["coarse_cuts", "one_by_one", "place_of", "random_cuts", "single_cuts"]

MOST_SINGLE_CUTS = 400
"""Longer streams are not cut at every byte but where it matters, and at some others."""

Place = Literal["character", "line end", "blank line", "line", "event"]


def coarse_cuts(case: StreamCase) -> Iterator[CutStream]:
    """In one chunk, an event a chunk, two of them, half events, and each byte for itself."""
    ends = list(itertools.accumulate(map(len, case.events)))[:-1]
    halves = [end - len(event) // 2 for end, event in zip(ends, case.events, strict=False)]
    for cuts in ([], ends, ends[1::2], halves, range(1, len(case.bytes))):
        yield CutStream.at(case, cuts)


def one_by_one(case: StreamCase) -> CutStream:
    """With an event to a chunk, as Workers AI sends them."""
    return CutStream.at(case, list(itertools.accumulate(map(len, case.events)))[:-1])


def single_cuts(case: StreamCase, rng: random.Random) -> Iterator[CutStream]:
    """In two chunks, in each of the ways there are."""
    places = range(1, len(case.bytes))
    for place in places if len(places) <= MOST_SINGLE_CUTS else _places_that_matter(case, rng):
        yield CutStream.at(case, [place])


def random_cuts(case: StreamCase, rng: random.Random, *, count: int) -> Iterator[CutStream]:
    """In chunks of any size; at the level of the standard some are empty."""
    places = range(1, len(case.bytes))
    for _ in range(count if places else 0):
        cuts = rng.choices(places, k=rng.randint(2, 12))
        yield CutStream.at(case, cuts if case.level == "standard" else set(cuts))


def place_of(stream: bytes, cut: int) -> Place:
    """What a cut before this byte goes through."""
    before, behind = stream[:cut], stream[cut:]
    if behind and behind[0] & 0b1100_0000 == 0b1000_0000:
        return "character"
    if before.endswith(b"\r") and behind.startswith(b"\n"):
        return "line end"
    if not before.endswith((b"\n", b"\r")):
        return "line end" if behind.startswith((b"\n", b"\r")) else "line"
    is_behind_blank = before.endswith((b"\n\n", b"\r\r", b"\r\n\r\n"))
    return "event" if is_behind_blank or not behind.startswith((b"\n", b"\r")) else "blank line"


def _places_that_matter(case: StreamCase, rng: random.Random) -> list[int]:
    stream = case.bytes
    found = {at for at in range(1, len(stream)) if place_of(stream, at) != "line"}
    for end in itertools.accumulate(map(len, case.events)):
        found |= {at for at in range(end - 8, end + 9) if 0 < at < len(stream)}
    others = sorted(set(range(1, len(stream))) - found)
    room = max(0, MOST_SINGLE_CUTS - len(found))
    return sorted(found | set(rng.sample(others, min(room, len(others)))))
