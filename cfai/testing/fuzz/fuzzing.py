"""A parser tried on every stream of the corpus, in every way to cut it."""

from __future__ import annotations

import itertools
import random
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from cfai.testing.fuzz.case import CaseForm, CutStream, End, Level, StreamCase
from cfai.testing.fuzz.corpus import TEXTS, check_names, corpus
from cfai.testing.fuzz.cuts import coarse_cuts, one_by_one, random_cuts, single_cuts
from cfai.testing.fuzz.difference import Difference, StreamDifference
from cfai.testing.fuzz.parsers import COMPARISONS, Comparison, Parser, RunningParser, expected_of
from cfai.testing.fuzz.shrinking import shrunk

__all__ = ["FuzzReport", "find_difference", "fuzz_stream", "tries"]

TELLABLE = ("cut", "error")


@dataclass(frozen=True, slots=True)
class FuzzReport:
    """How much a parser was tried on."""

    streams: int
    runs: int


def fuzz_stream(
    parser: Parser,
    *,
    level: Level = "workers-ai",
    compare: Comparison = "text",
    forms: Sequence[CaseForm] | None = None,
    must_tell: Collection[End] = (),
    streams: Sequence[str] | None = None,
    skip: Collection[str] = (),
    within: float = 10.0,
    seed: int = 0,
) -> FuzzReport:
    """Fail if `parser` reads any stream of the corpus wrongly, however it is cut, and show the first, made small.

    ```python
    def test_my_parser():
        fuzz_stream(my_parser)  # takes an iterable of bytes, yields pieces of text
    ```

    parser     takes an iterable of chunks, an async one if it is async, and returns or yields what it read. It may
               raise where a stream is cut or tells an error, and nowhere else
    level      "workers-ai" is what Workers AI is known to send, "standard" all that server-sent events may be
    compare    what the parser gives: "text", in whichever parts, "pieces", the "data" of each event, or the "events"
    forms      "classic" if left out, and "responses", which name their events, where data and events are compared
    must_tell  "cut" if the parser is to raise where `[DONE]` is missing, "error" where an event tells an error
    streams    names of streams, in place of all of them
    skip       names of streams to leave out, such as "byte order mark"
    within     seconds that an async parser may take for one stream
    seed       of the cuts that are made at random
    """
    __tracebackhide__ = True
    found = find_difference(
        parser,
        level=level,
        compare=compare,
        forms=forms,
        must_tell=must_tell,
        streams=streams,
        skip=skip,
        within=within,
        seed=seed,
    )
    if isinstance(found, Difference):
        raise StreamDifference(found) from found.got.raised
    return found


def find_difference(
    parser: Parser,
    *,
    level: Level = "workers-ai",
    compare: Comparison = "text",
    forms: Sequence[CaseForm] | None = None,
    must_tell: Collection[End] = (),
    streams: Sequence[str] | None = None,
    skip: Collection[str] = (),
    within: float = 10.0,
    seed: int = 0,
) -> Difference | FuzzReport:
    """The same without failing: the first difference, or how much was tried."""
    if not callable(parser):
        raise TypeError(f"a parser takes chunks and gives what it read; {type(parser).__name__} cannot be called")
    check_names("comparison", [compare], COMPARISONS)
    check_names("end that a parser could tell", must_tell, TELLABLE)
    usual: Sequence[CaseForm] = ("classic",) if compare in ("text", "pieces") else ("classic", "responses")
    cases = corpus(level, forms=usual if forms is None else forms, names=streams, skip=skip)
    if not cases:
        raise ValueError("nothing is left to try: `streams` and `skip` leave no stream of this level and form")
    runs = 0
    with RunningParser(parser, compare, within=within) as run:

        def is_wrong(stream: CutStream) -> bool:
            nonlocal runs
            runs += 1
            return not expected_of(stream, compare, tuple(must_tell)).is_met_by(run(stream))

        for stream in tries(cases, seed=seed):
            if is_wrong(stream):
                small = shrunk(stream, is_wrong)
                name = getattr(parser, "__name__", type(parser).__name__)
                expected = expected_of(small, compare, tuple(must_tell))
                return Difference(small, expected, run(small), name, not is_wrong(one_by_one(small.case)))
    return FuzzReport(len(cases), runs)


def tries(cases: Sequence[StreamCase], *, seed: int = 0) -> Iterator[CutStream]:
    """Every stream in every way to cut it; what finds most comes first."""
    rng = random.Random(seed)
    texts = [case for case in cases if case.name in TEXTS]
    others = [case for case in cases if case.name not in TEXTS]
    for some in (texts, others):
        rounds = [list(coarse_cuts(case)) for case in some]
        yield from itertools.chain.from_iterable(zip(*rounds, strict=True))
    for case in (*texts, *others):
        yield from single_cuts(case, rng)
    for case in (*texts, *others):
        yield from random_cuts(case, rng, count=20)
