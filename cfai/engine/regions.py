"""Which part of the KV cache belongs to whom. Bookkeeping only: no tensors.

The cache is one row of `capacity` places, a place for the keys and values of one token. A sequence gets a region: as
many neighbouring places as its prompt and its longest possible answer need, so that it never runs out in the middle
and its keys and values are read as they lie. When it ends, its region is kept with the tokens that are in it. A later
prompt that begins with the same tokens (a system prompt, a chat that goes on) takes them over: in place if it only
goes on, by a copy of the keys and values if they are somebody else's too. Kept regions give way, oldest first, to
whoever needs the room.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Collection, Iterable
from collections.abc import Sequence as Tokens
from dataclasses import dataclass, field

from cfai.adapters import Adapter

__all__ = ["Copy", "Region", "Regions"]

WORTH_REUSING = 16
"""A common beginning shorter than this many tokens is computed again."""


@dataclass(slots=True, eq=False)
class Region:
    """`size` places from `start` on, and the tokens whose keys and values are in the first of them."""

    start: int
    size: int
    adapter: Adapter | None = None
    """With which they were computed."""
    ids: list[int] = field(default_factory=list)
    """While its sequence runs the sequence's own list, which may go on behind what is computed."""
    computed: int = 0
    is_live: bool = True

    @property
    def end(self) -> int:
        return self.start + self.size


@dataclass(frozen=True, slots=True)
class Copy:
    """The keys and values of `count` tokens go from place `source` on to place `target` on."""

    source: int
    target: int
    count: int


class Regions:
    """Hands out the `capacity` places of a cache."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._regions: list[Region] = []  # by their start
        self._kept: dict[Region, None] = {}  # the oldest first

    @property
    def used(self) -> int:
        """Places that belong to running sequences."""
        return sum(region.size for region in self._regions if region.is_live)

    @property
    def kept(self) -> int:
        """Tokens that ended sequences left for later prompts."""
        return sum(region.computed for region in self._kept)

    def take(self, ids: list[int], size: int, *, adapter: Adapter | None = None) -> tuple[Region, Copy | None] | None:
        """A region of `size` places for the tokens `ids`, computed with `adapter`; None if there is no room.

        `computed` of the region says how many of `ids` need not be computed, at most all but one, once the copy is
        made.
        """
        source, common = self._longest_beginning(ids, adapter)
        if source is not None and not source.is_live and common == source.computed and self._stretch(source, size):
            self._kept.pop(source, None)
            source.is_live, source.ids, source.computed = True, ids, common
            return source, None
        if source is not None and not source.is_live:  # the last one to give way
            self._kept[source] = self._kept.pop(source)
        if (region := self._place(size)) is None:
            return None
        region.ids, region.adapter = ids, adapter
        if source is None or (not source.is_live and source not in self._kept):
            return region, None
        region.computed = common
        return region, Copy(source.start, region.start, common)

    def release(self, region: Region, computed: int) -> None:
        """The sequence ended; the first `computed` tokens of its region stay for later."""
        region.is_live = False
        region.computed = computed
        region.ids = region.ids[:computed]
        if computed >= WORTH_REUSING:
            region.size = computed
            self._kept[region] = None
        else:
            self._regions.remove(region)

    def _longest_beginning(self, ids: Tokens[int], adapter: Adapter | None) -> tuple[Region | None, int]:
        best, longest = None, WORTH_REUSING - 1
        for region in self._regions:
            most = min(region.computed, len(ids) - 1)
            # Other weights make other keys and values of the same tokens.
            if most > longest and region.adapter == adapter and (common := _common(region.ids, ids, most)) > longest:
                best, longest = region, common
        return best, longest if best is not None else 0

    def _stretch(self, region: Region, size: int) -> bool:
        """Make a kept region `size` places long where it lies, if what follows it is free or kept."""
        if size <= region.size:
            region.size = size
            return True
        in_the_way = [other for other in self._regions if region.end <= other.start < region.start + size]
        if region.start + size > self.capacity or any(other.is_live for other in in_the_way):
            return False
        for other in in_the_way:
            self._drop(other)
        region.size = size
        return True

    def has_room(self, size: int, *, without: Collection[Region] = ()) -> bool:
        """Whether there are `size` places in a row once all that is kept, and the regions `without`, are gone."""
        gone = {*self._kept, *without}
        return self._gap(size, [region for region in self._regions if region not in gone]) is not None

    def _place(self, size: int) -> Region | None:
        if not self.has_room(size):
            return None  # and nothing that is kept gives way in vain
        while (start := self._gap(size, self._regions)) is None:
            self._drop(next(iter(self._kept)))
        region = Region(start, size)
        insort(self._regions, region, key=lambda each: each.start)
        return region

    def _gap(self, size: int, regions: Iterable[Region]) -> int | None:
        """The start of the first run of `size` places between `regions`."""
        start = 0
        for region in regions:
            if region.start - start >= size:
                return start
            start = region.end
        return start if self.capacity - start >= size else None

    def _drop(self, region: Region) -> None:
        self._regions.remove(region)
        del self._kept[region]


STRIDE = 64


def _common(one: Tokens[int], other: Tokens[int], most: int) -> int:
    """How many of the first `most` tokens are the same; compared in strides, since lists compare fast."""
    at = 0
    while at < most and one[at : (end := min(at + STRIDE, most))] == other[at:end]:
        at = end
    while at < most and one[at] == other[at]:
        at += 1
    return at
