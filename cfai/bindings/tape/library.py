"""The entries that a tape had when it was opened: which of them answers a call, and which have not been asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cfai.binding import Call
from cfai.bindings.tape.entries import Entry, Tape
from cfai.bindings.tape.nearest import difference, nearest
from cfai.bindings.tape.normal import checked, fits, normalised, question
from cfai.errors import AiError
from cfai.wording import shortened

__all__ = ["Library"]


class Library:
    """`tape` from the file `path`.

    repeat  begin again with the first of equal entries when all of them were played
    """

    def __init__(self, tape: Tape, path: Path, *, repeat: bool) -> None:
        self.tape = tape
        self._path = path
        self._repeat = repeat
        self._rows = [_Row(number, entry) for number, entry in enumerate(tape.entries, 1)]

    def find(self, call: Call) -> Entry | None:
        """The entry that answers `call`, which counts as played from now on.

        One that was recorded from the same call comes first, then one that asks the same in another wire form; of
        several the one that was recorded first, each once.
        """
        for is_again in [False, True] if self._repeat else [False]:
            for row in self._matching(call):
                if is_again or not row.plays:
                    row.plays += 1
                    return row.entry
        return None

    def _matching(self, call: Call) -> Iterator[_Row]:
        """What answers the call, the best and least played first."""
        rows = sorted(self._rows, key=lambda row: row.plays)
        yield from self._fitting(rows, lambda row: row.normalised, normalised(call))
        if (asked := question(call)) is not None:
            yield from self._fitting(rows, lambda row: row.question, asked)

    def _fitting(self, rows: list[_Row], of: Callable[[_Row], Any], called: Any) -> Iterator[_Row]:
        return (row for row in rows if fits(of(row), called, self.tape.salt))

    def number_of(self, entry: Entry) -> int:
        return next(row.number for row in self._rows if row.entry is entry)

    def missing(self, call: Call) -> str:
        """What to say about a call that nothing answers."""
        called = normalised(call)
        played = next(self._fitting(self._rows, lambda row: row.normalised, called), None)
        if played is not None:
            times = sum(row.plays for row in self._rows if fits(row.normalised, called, self.tape.salt))
            return (
                f"entry {played.number} has this call, but it was played already: the tape has it "
                f"{'once' if times == 1 else f'{times} times'}, and this is one call more"
            )
        at = nearest(called, [row.normalised for row in self._rows])
        if at is None:
            return "the tape has no entries"
        row = self._rows[at]
        return f"the nearest is entry {row.number}:\n{difference(row.normalised, called, row.number)}"

    def unused(self) -> list[str]:
        """A line for each entry that no call was answered with."""
        return [f"entry {row.number} is unused: {_shown(row.entry.call)}" for row in self._rows if not row.plays]

    def stale(self) -> list[str]:
        """A line for each entry that would not be recorded like this today."""
        lines = []
        for row in self._rows:
            was_answered = row.entry.broken is None and 200 <= row.entry.status < 300
            if was_answered and (problem := _refusal(row.entry.call)) is not None:
                lines.append(
                    f"entry {row.number} is stale, its call is refused now, {problem}: {_shown(row.entry.call)}"
                )
        return lines

    @property
    def models(self) -> list[str]:
        return list(dict.fromkeys(row.entry.call.model for row in self._rows))


class _Row:
    def __init__(self, number: int, entry: Entry) -> None:
        self.number = number
        self.entry = entry
        self.plays = 0
        self.normalised = normalised(entry.call)
        self.question = question(entry.call)


def _refusal(call: Call) -> AiError | None:
    try:
        checked(call)
    except AiError as error:
        return error
    return None


def _shown(call: Call) -> str:
    return shortened(f"{call.model} {call.inputs}", 120)
