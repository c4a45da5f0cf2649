"""Answers as their readers see them, and the figures that follow from the times of their pieces."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.turns import Figures

__all__ = ["Answer", "figures"]

LONG_ANSWER = 200


@dataclass(slots=True)
class Answer:
    """One sequence: the times of its pieces in seconds, and how many tokens it has."""

    times: list[float] = field(default_factory=list)
    tokens: int = 0

    def made_between(self, start: float, end: float) -> float:
        """Tokens between two moments; all pieces are taken for equally long."""
        return sum(start < at <= end for at in self.times) * self.tokens / len(self.times)

    @property
    def gaps(self) -> list[float]:
        """Seconds between its pieces."""
        return [b - a for a, b in zip(self.times, self.times[1:], strict=False)]


def figures(answers: Sequence[Answer]) -> Figures:
    """What answers amount to that were asked for at once; their times count from that moment.

    tokens/s     all tokens over the time until the last one, prefill included
    decode/s     tokens per second while all sequences decode; that of one sequence if they ran one after another
    step ms      how long a token of each running sequence takes, then
    first ms     until a sequence's first piece, the median; `last first ms` is that of the one that waited longest
    gap ms       between two pieces of a sequence, the median; `gap p99 ms` the 99th percentile
    late/early   time per piece in the last tenth over that in the second tenth, if the answers are long
    """
    first = max(answer.times[0] for answer in answers)
    last = min(answer.times[-1] for answer in answers)
    if last > first:
        rate = sum(answer.made_between(first, last) for answer in answers) / (last - first)
        running = len(answers)
    else:
        seconds = sum(answer.times[-1] - answer.times[0] for answer in answers)
        rate = sum(answer.tokens - 1 for answer in answers) / seconds
        running = 1
    gaps = [gap for answer in answers for gap in answer.gaps]
    is_long = min(len(answer.times) for answer in answers) >= LONG_ANSWER
    return {
        "tokens": sum(answer.tokens for answer in answers),
        "tokens/s": sum(answer.tokens for answer in answers) / max(answer.times[-1] for answer in answers),
        "decode/s": rate,
        "step ms": 1000 * running / rate,
        "first ms": 1000 * statistics.median(answer.times[0] for answer in answers),
        "last first ms": 1000 * first,
        "gap ms": 1000 * statistics.median(gaps),
        "gap p99 ms": 1000 * statistics.quantiles(gaps, n=100)[98],
        "late/early": statistics.median(map(_growth, answers)) if is_long else None,
    }


def _growth(answer: Answer) -> float:
    times, tenth = answer.times, len(answer.times) // 10
    return (times[-1] - times[-tenth - 1]) / (times[2 * tenth] - times[tenth])
