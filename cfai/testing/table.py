"""A stream as a table of 80 columns, the events that are wrong marked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from cfai.testing.events import Event
from cfai.testing.report import StreamReport

__all__ = ["Flaw", "table"]

WIDTH = 80
MOST_ROWS = 24
AROUND = 6
"""How many events are shown before and behind one that is wrong, of a stream with too many of them."""


@dataclass(frozen=True, slots=True)
class Flaw:
    """What is wrong with a stream: a sentence, and the event that shows it."""

    sentence: str
    number: int | None = None
    """The event's number; None where the stream lacks something at its end."""
    expected: str = ""


def table(report: StreamReport, flaws: Sequence[Flaw] = ()) -> str:
    """The events of a stream, a line each; beside one that is wrong, what was expected."""
    notes: dict[int, list[Flaw]] = {}
    for flaw in flaws:
        if flaw.number is not None:
            notes.setdefault(flaw.number, []).append(flaw)
    lines = ["    #     time  what     event"]
    last = 0
    for event in _shown(report.events, notes):
        if left_out := event.number - last - 1:
            lines.append(f"          ...  {left_out} more")
        last = event.number
        mark = ">" if event.number in notes else " "
        lines.append(_row(mark, event))
        lines += [_note(flaw) for flaw in notes.get(event.number, ()) if flaw.expected]
    if left_out := len(report.events) - last:
        lines.append(f"          ...  {left_out} more")
    lines += [f">  end  {flaw.expected}" for flaw in flaws if flaw.number is None and flaw.expected]
    if report.raised is not None:
        lines.append(_cut(f"  {report.seconds:>11.3f}s  raised   {type(report.raised).__name__}: {report.raised}"))
    if not report.events and report.raised is None:
        lines.append("          nothing came")
    return "\n".join(lines)


def _shown(events: Sequence[Event], notes: dict[int, list[Flaw]]) -> list[Event]:
    if len(events) <= MOST_ROWS:
        return list(events)
    places = sorted(notes) or [len(events)]
    near = {number for place in places[:2] for number in range(place - AROUND, place + AROUND + 1)}
    return [event for event in events if event.number in near or event.number in (1, 2, len(events))]


def _row(mark: str, event: Event) -> str:
    head = f"{mark}{event.number:>4} {event.at:>7.3f}s  {event.kind:<8} "
    row = _printable(head + _bytes(event))
    if len(row) > WIDTH and (summary := _summary(event)):
        row = f"{head}{_cut(_printable(summary), 30)}  {_bytes(event)}"
    return _cut(row)


def _summary(event: Event) -> str:
    """What a long event tells, to stand before its bytes."""
    told = event.told
    if told.text:
        return json.dumps(told.text, ensure_ascii=False)
    if told.usage:
        return " + ".join(str(told.usage.get(name)) for name in ("prompt_tokens", "completion_tokens"))
    return ", ".join(told.finish.values())


def _note(flaw: Flaw) -> str:
    return _cut(f"                 ^ expected {flaw.expected}")


def _bytes(event: Event) -> str:
    """A plain event without its frame, any other one with every byte of it."""
    if event.data is not None and event.raw == f"data: {event.data}\n\n".encode():
        return event.data
    try:
        text = event.raw.decode()
    except UnicodeDecodeError:
        return repr(event.raw)[1:]
    return json.dumps(text, ensure_ascii=False)


def _cut(line: str, width: int = WIDTH) -> str:
    line = _printable(line)
    if len(line) <= width:
        return line
    end = width // 4
    return f"{line[: width - end - 5]} ... {line[-end:]}"


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
