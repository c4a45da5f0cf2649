"""Streams that Hypothesis draws."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cfai.testing.fuzz.case import CaseForm, CutStream, Level, StreamCase
from cfai.testing.fuzz.corpus import FORMS, LEVELS, TEXTS, check_names
from cfai.testing.fuzz.frames import FRAMES
from cfai.testing.fuzz.writing import written

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn, SearchStrategy

__all__ = ["streams"]


def streams(level: Level = "workers-ai", *, forms: Sequence[CaseForm] = ("classic",)) -> SearchStrategy[CutStream]:
    """Whole streams of any text, cut anywhere, for tests with [Hypothesis](https://hypothesis.readthedocs.io).

    ```python
    @given(streams())
    def test_my_parser(stream):
        assert "".join(my_parser(stream.chunks)) == stream.text
    ```

    Each has `chunks`, and what is in them: `text`, `pieces`, `data`. `level` and `forms` are those of `fuzz_stream`.
    """
    try:
        from hypothesis import strategies
    except ImportError as error:
        raise ImportError("streams() draws with Hypothesis, which is not installed: pip install hypothesis") from error
    check_names("level", [level], LEVELS)
    check_names("form", forms, FORMS)
    frames = [frame for frame in FRAMES.values() if level == "standard" or frame.level == level]
    samples = [piece for _, pieces in TEXTS.values() for piece in pieces]

    @strategies.composite
    def draw_stream(draw: DrawFn) -> CutStream:
        pieces = draw(strategies.lists(strategies.text() | strategies.sampled_from(samples), max_size=6))
        form = draw(strategies.sampled_from(list(forms)))
        is_production = draw(strategies.booleans())
        if is_production:
            pieces = list(map(_no_fraction, pieces))
        events: Any = written(pieces, form, fidelity="production" if is_production else "clean")
        frame = draw(strategies.none() | strategies.sampled_from(frames))
        about = "as it is"
        if frame is not None:
            events, about = frame.write(events), frame.about
        case = StreamCase("drawn", about, tuple(events), form, level)
        places = strategies.integers(1, len(case.bytes) - 1)
        cuts = draw(strategies.lists(places, max_size=12, unique=level != "standard"))
        return CutStream.at(case, cuts)

    return draw_stream()


def _no_fraction(piece: str) -> str:
    """A number that every language writes as it was written: production sends pieces that look like one as numbers."""
    is_number = re.fullmatch(r"-?(0|[1-9]\d*)(\.\d+)?", piece)
    return f"n{piece}" if is_number and not re.fullmatch(r"0|[1-9]\d{0,14}", piece) else piece
