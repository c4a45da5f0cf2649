"""The calls of a test as a table, for its report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cfai.binding import Call
from cfai.testing.observed import Seen
from cfai.wording import shortened

__all__ = ["transcript"]

MOST_CALLS = 50
"""Of more calls, the last are shown."""


def transcript(calls: Sequence[Seen]) -> str:
    """A line or two for each call: what was asked of which model, and what came of it."""
    if not calls:
        return "no calls"
    lines = []
    left_out = max(0, len(calls) - MOST_CALLS)
    if left_out:
        lines.append(f"... {left_out} calls before")
    for number, seen in enumerate(calls[left_out:], left_out + 1):
        lines.append(f"{number}. {seen.call.model}  {_asked(seen.call)}")
        lines.append(f"   -> {seen.outcome}")
    return "\n".join(lines)


def _asked(call: Call) -> str:
    if not isinstance(call.inputs, Mapping):
        return shortened(repr(call.inputs), 80)
    return ", ".join(f"{name}: {shortened(repr(value), 60)}" for name, value in call.inputs.items())
