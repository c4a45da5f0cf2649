"""What the answers to one request cost, for its line in the log."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from contextvars import ContextVar

from cfai.cost import Cost

__all__ = ["collected", "note_cost", "shown"]

_costs: ContextVar[list[Cost] | None] = ContextVar("costs", default=None)


@contextlib.contextmanager
def collected() -> Iterator[Sequence[Cost]]:
    """What `note_cost` is told while this request is answered, in whichever of its tasks."""
    costs: list[Cost] = []
    before = _costs.set(costs)
    try:
        yield costs
    finally:
        _costs.reset(before)


def note_cost(model: str, cost: Cost) -> None:
    """An answer of `model` has ended; `MeteredBinding` calls it."""
    if (costs := _costs.get()) is not None:
        costs.append(cost)


def shown(costs: Sequence[Cost]) -> str:
    """All of them together, behind a comma; nothing where no model was asked.

    ```python
    shown([Cost(39, 1, neurons=1.2448)])  # ', 39 tokens in, 1 out, 1.24 neurons, $0.0000137'
    ```
    """
    return f", {Cost.total(costs)}" if costs else ""
