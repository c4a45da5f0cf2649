"""The usage of a whole answer, from what its events tell of it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["covers", "is_running", "total_usage"]


def total_usage(usages: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The usage of the whole answer, of a stream that tells it once, again and again, or bit by bit."""
    if not usages:
        return None
    *before, last = usages
    if not before or is_running(usages) or covers(last, before):
        return last
    return {name: sum(usage.get(name) or 0 for usage in usages) for name in _counts(last)}


def is_running(usages: Sequence[Mapping[str, Any]]) -> bool:
    """Whether each of them tells what was used so far."""
    return all(
        (before.get(name) or 0) <= (after.get(name) or 0)
        for before, after in itertools.pairwise(usages)
        for name in ("prompt_tokens", "completion_tokens")
    )


def covers(last: Mapping[str, Any], before: Sequence[Mapping[str, Any]]) -> bool:
    """Whether `last` tells at least all that those before it told, each for itself."""
    return all(
        sum(usage.get(name) or 0 for usage in before) <= (last.get(name) or 0)
        for name in ("prompt_tokens", "completion_tokens")
    )


def _counts(usage: Mapping[str, Any]) -> list[str]:
    return [name for name, value in usage.items() if isinstance(value, int | float)]
