"""What to say about a call that is not on the tape: the entry that is most like it, and what differs."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["difference", "nearest"]

_COMPARED = 4000
"""Characters of a call that count for its likeness: comparing takes the square of that."""

_SHOWN_LINES = 60


def nearest(called: Mapping[str, Any], recorded: Sequence[Mapping[str, Any]]) -> int | None:
    """The place of the entry that is most like the call; None if there is none."""
    text = _lines(called)
    matcher = difflib.SequenceMatcher(autojunk=False)
    matcher.set_seq2("\n".join(text)[:_COMPARED])
    best, place = -1.0, None
    for at, other in enumerate(recorded):
        matcher.set_seq1("\n".join(_lines(other))[:_COMPARED])
        bound = matcher.quick_ratio() + (other["model"] == called["model"])
        if bound > best and (likeness := matcher.ratio() + (other["model"] == called["model"])) > best:
            best, place = likeness, at
    return place


def difference(recorded: Mapping[str, Any], called: Mapping[str, Any], number: int) -> str:
    """What differs, as a diff."""
    lines = list(
        difflib.unified_diff(_lines(recorded), _lines(called), f"recorded (entry {number})", "called", lineterm="", n=1)
    )
    left = len(lines) - _SHOWN_LINES
    return "\n".join([*lines[:_SHOWN_LINES], *([f"... and {left} lines more"] if left > 0 else [])])


def _lines(call: Mapping[str, Any]) -> list[str]:
    return list(_wrapped(json.dumps(call, indent=2, ensure_ascii=False, default=repr).splitlines()))


def _wrapped(lines: Iterable[str]) -> Iterable[str]:
    for line in lines:
        yield line if len(line) <= 400 else f"{line[:400]}... ({len(line)} characters)"
