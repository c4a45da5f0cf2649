"""What was spent: from the days that servers here have written down, or from a tape."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from cfai.binding import Reply
from cfai.bindings.account import read_line
from cfai.bindings.metered import Told, cost_of
from cfai.bindings.tape.entries import Entry
from cfai.bindings.tape.errors import BadTape
from cfai.bindings.tape.file import load
from cfai.catalog import Catalog, Model
from cfai.cost import Cost
from cfai.errors import AiError

__all__ = ["NoLog", "Spent", "spent_in", "spent_on"]


@dataclass(frozen=True, slots=True)
class Spent:
    """What one model's answers cost on one day."""

    day: str
    """`2026-01-31`, empty where the answers have no date, as on a tape."""
    model: str
    requests: int
    cost: Cost


class NoLog(ValueError):
    """A file is neither a log of costs nor a tape."""


def spent_in(folder: Path) -> list[Spent]:
    """The days that an `Account` has kept in `folder`, the oldest first; nothing where none has.

    ```python
    spent_in(weights.home() / COSTS)[-1].cost.neurons
    ```
    """
    if not folder.is_dir():
        return []
    return [spent for file in sorted(folder.glob("*.jsonl")) for spent in _of_log(file.read_bytes())]


def spent_on(file: Path, *, catalog: Catalog | None = None) -> list[Spent]:
    """What a tape, or a file of such a folder, says was spent. Raises `NoLog`, and `BadTape` for a tape that is broken.

    catalog  whose prices count where a tape's answers tell none; default: the built-in one
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise NoLog(f"{file} cannot be read: {error.strerror or error}") from error
    if found := _of_log(content):
        return found
    try:
        tape = load(file)
    except BadTape as error:
        if b"cfai-tape" in content:
            raise
        raise NoLog(f"{file} is neither a tape nor a log of costs") from error
    return _of_tape(tape.entries if tape else (), catalog or Catalog.builtin())


def _of_log(content: bytes) -> list[Spent]:
    rows = [row for line in content.splitlines() if (row := _row(line)) is not None]
    return _summed(rows)


def _row(line: bytes) -> Spent | None:
    """A line as `Account` writes them; None for any other."""
    if (read := read_line(line)) is None:
        return None
    at, model, cost = read
    return Spent(at[:10], model, 1, cost)


def _of_tape(entries: Iterable[Entry], catalog: Catalog) -> list[Spent]:
    return _summed([spent for entry in entries if (spent := _spent(entry, catalog)) is not None])


def _spent(entry: Entry, catalog: Catalog) -> Spent | None:
    if entry.broken is not None or not 200 <= entry.status < 300:
        return None
    told = None
    if entry.end is not None:
        told = Told()
        for chunk in entry.chunks:
            told.feed(chunk.data)
        told.has_ended = entry.end.kind == "done"
    model = _known(entry.call.model, catalog)
    reply = Reply(entry.body, entry.status, entry.headers)
    name = entry.call.model if model is None else model.id
    return Spent("", name, 1, cost_of(entry.call, reply, told, model))


def _known(model: str, catalog: Catalog) -> Model | None:
    try:
        return catalog.get(model)
    except AiError:
        return None


def _summed(rows: Iterable[Spent]) -> list[Spent]:
    """One row for each day and model, in the order in which they came."""
    found: dict[tuple[str, str], Spent] = {}
    for row in rows:
        before = found.get((row.day, row.model))
        found[row.day, row.model] = row if before is None else _both(before, row)
    return list(found.values())


def _both(one: Spent, other: Spent) -> Spent:
    return replace(one, requests=one.requests + other.requests, cost=Cost.total([one.cost, other.cost]))
