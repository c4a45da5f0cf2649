"""What a caller expects of a stream, each as the flaws that a stream without it has."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cfai.tasks.text_generation import ShapeName
from cfai.testing.report import StreamReport, ToolCall
from cfai.testing.table import Flaw
from cfai.wording import count, first_difference

__all__ = [
    "finish_flaws",
    "form_flaws",
    "pieces_flaws",
    "text_flaws",
    "times_flaws",
    "tool_calls_flaws",
    "usage_flaws",
]


def text_flaws(report: StreamReport, expected: str | re.Pattern[str] | None) -> Iterator[Flaw]:
    if isinstance(expected, re.Pattern):
        if not expected.search(report.text):
            yield Flaw(f"the text is {report.text!r}", None, f"a text that has {expected.pattern!r}")
    elif expected is not None and report.text != expected:
        read = 0
        same = first_difference(report.text, expected)
        number = None
        for event in report.events:
            read += len(event.told.texts.get(0, ""))
            if read > same:
                number = event.number
                break
        here = f"{expected[same : same + 40]!r} from character {same} on" if number else repr(expected[same:])
        yield Flaw(f"the text is {_around(report.text, same)}, not {_around(expected, same)}", number, here)


def _around(text: str, place: int) -> str:
    start = place - 30 if len(text) > 80 and place > 40 else 0
    end = min(len(text), start + 80)
    return f"{'...' * (start > 0)}{text[start:end]!r}{'...' * (end < len(text))}"


def pieces_flaws(report: StreamReport, expected: Sequence[str] | int | None) -> Iterator[Flaw]:
    if expected is None:
        return
    if isinstance(expected, int):
        if len(report.pieces) != expected:
            yield Flaw(f"there are {count(len(report.pieces), 'piece')}", None, count(expected, "piece"))
        return
    if isinstance(expected, str):
        raise TypeError("pieces= is a list of texts or their number; a whole text is text=")
    events = [event for event in report.events if event.told.texts.get(0)]
    for place, event in enumerate(events):
        wanted = expected[place] if place < len(expected) else None
        if event.told.texts[0] != wanted:
            sentence = f"piece {place + 1} is {event.told.texts[0]!r}"
            yield Flaw(sentence, event.number, "no more pieces" if wanted is None else repr(wanted))
            return
    if len(events) < len(expected):
        yield Flaw(
            f"there are {count(len(events), 'piece')}, {len(expected)} expected", None, repr(expected[len(events)])
        )


def usage_flaws(report: StreamReport, expected: Mapping[str, Any] | bool | None) -> Iterator[Flaw]:
    usage = report.usage
    places = [event.number for event in report.events if event.told.usage]
    if expected is None:
        return
    if isinstance(expected, bool):
        if expected and usage is None:
            yield Flaw("the stream tells no usage", None, "an event with the usage")
        elif not expected and usage is not None:
            yield Flaw("the stream tells its usage", places[-1], "no usage")
        return
    if usage is None:
        yield Flaw("the stream tells no usage", None, f"usage {dict(expected)}")
        return
    wrong = {name: value for name, value in expected.items() if usage.get(name) != value}
    if wrong:
        told = ", ".join(f"{name} {usage.get(name)!r}" for name in wrong)
        yield Flaw(
            f"the usage tells {told}", places[-1], ", ".join(f"{name} {value!r}" for name, value in wrong.items())
        )


def finish_flaws(report: StreamReport, expected: str | None) -> Iterator[Flaw]:
    if expected is not None and report.finish_reason != expected:
        place = next((event.number for event in report.events if event.told.finish), None)
        if report.finish_reason is None:
            yield Flaw("no event has a finish_reason", None, f"finish_reason {expected!r}")
        else:
            yield Flaw(f"the finish_reason is {report.finish_reason!r}", place, f"finish_reason {expected!r}")


def tool_calls_flaws(report: StreamReport, expected: Sequence[Mapping[str, Any]] | None) -> Iterator[Flaw]:
    if expected is None:
        return
    calls = report.tool_calls
    if len(calls) != len(expected):
        names = [call.name for call in calls]
        yield Flaw(f"there are {count(len(calls), 'tool call')}: {names}", None, f"{len(expected)}")
        return
    place = next((event.number for event in report.events if event.told.calls), None)
    for call, wanted in zip(calls, expected, strict=True):
        if unknown := wanted.keys() - {"name", "arguments", "id"}:
            raise TypeError(f"a tool call has name, arguments and id, and no {min(unknown)!r}")
        if wrong := {name: value for name, value in wanted.items() if getattr(call, name) != value}:
            yield Flaw(f"a tool call is {_call(call)}", place, ", ".join(f"{k} {v!r}" for k, v in wrong.items()))
            return


def _call(call: ToolCall) -> str:
    return f"{call.name}({call.arguments!r})"


def form_flaws(report: StreamReport, expected: ShapeName | None) -> Iterator[Flaw]:
    if expected is not None and report.form != expected:
        place = next((event.number for event in report.events if event.form), None)
        yield Flaw(f"the stream is of the {report.form} form", place, f"the {expected} form")


def times_flaws(report: StreamReport, first: float | None, gap: float | None) -> Iterator[Flaw]:
    events = [event for event in report.events if event.text]
    if first is not None:
        if not events:
            yield Flaw("there is no piece", None, f"one within {first} s")
        elif events[0].at > first:
            yield Flaw(f"the first piece came after {events[0].at:.3f} s", events[0].number, f"it within {first} s")
    if gap is not None:
        for event, seconds in zip(events[1:], report.gaps, strict=True):
            if seconds > gap:
                yield Flaw(
                    f"the piece of event {event.number} came {seconds:.3f} s after the one before",
                    event.number,
                    f"it within {gap} s",
                )
                return
