"""What holds of every whole stream of Workers AI, each rule with the events that break it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from cfai.tasks.usages import covers, is_running
from cfai.testing.events import Event
from cfai.testing.report import StreamReport
from cfai.testing.table import Flaw
from cfai.wording import count

__all__ = ["flaws_of", "whole_events"]

Rule = Callable[[StreamReport], Iterator[Flaw]]


def flaws_of(report: StreamReport, *, whole_characters: bool = True) -> list[Flaw]:
    """All that is wrong with a stream by itself."""
    rules = [rule for rule in _RULES if whole_characters or rule is not _whole_characters]
    return [flaw for rule in rules for flaw in rule(report)]


def _is_a_stream(report: StreamReport) -> Iterator[Flaw]:
    if report.status is not None and not 200 <= report.status < 300:
        yield Flaw(f"the response has status {report.status}: {report.error}")
    elif report.content_type is not None and not report.content_type.startswith("text/event-stream"):
        asked = "; was the model asked with stream: true?" if report.content_type.startswith("application/json") else ""
        yield Flaw(f"the answer is no stream: its content-type is {report.content_type}{asked}")


def _did_not_fail(report: StreamReport) -> Iterator[Flaw]:
    for event in report.events:
        if event.told.error is not None:
            yield Flaw(f"the stream tells an error: {event.told.error}", event.number, "the rest of the answer")
            return
    if report.raised is not None:
        yield Flaw(f"reading the stream raised {type(report.raised).__name__}: {report.raised}")


def whole_events(report: StreamReport) -> Iterator[Flaw]:
    """Every event is complete and JSON."""
    done = _first_done(report)
    for event in report.events:
        if event.flaw and (done is None or event.number <= done.number):
            yield Flaw(
                f"event {event.number} is broken: {event.flaw}", event.number, 'data: {"response":...} or the like'
            )


def _ends_once(report: StreamReport) -> Iterator[Flaw]:
    done = _first_done(report)
    if done is None:
        yield Flaw("the stream ends without data: [DONE]", None, "data: [DONE]")
        return
    after = report.events[done.number :]
    dones = 1 + sum(event.kind == "done" for event in after)
    if dones > 1:
        yield Flaw(f"the stream has [DONE] {_times(dones)}", after[0].number, "the end of the stream")
    elif after:
        rest = b"".join(event.raw for event in after)
        yield Flaw(f"{count(len(rest), 'byte')} came after [DONE]", after[0].number, "the end of the stream")


def _one_form(report: StreamReport) -> Iterator[Flaw]:
    form = report.form
    for event in report.events:
        if event.form in (None, form):
            continue
        # Through run, streams of OpenAI's forms end with the usage in an event of the classic one.
        if event.form == "classic" and not event.text and event.told.usage and form in ("chat", "completion"):
            continue
        yield Flaw(
            f"event {event.number} is of the {event.form} form in a stream of the {form} form",
            event.number,
            f"the {form} form",
        )
        return


def _usage_adds_up(report: StreamReport) -> Iterator[Flaw]:
    usages = [(event, event.told.usage) for event in report.events if event.told.usage]
    for event, usage in usages:
        names = ("prompt_tokens", "completion_tokens", "total_tokens")
        if wrong := [name for name in names if not _is_count(usage.get(name))]:
            yield Flaw(
                f"the usage of event {event.number} has {wrong[0]} {usage.get(wrong[0])!r}",
                event.number,
                f"{wrong[0]} of 0 or more",
            )
            return
        prompt, completion, total = (usage[name] for name in names)
        if prompt + completion != total:
            yield Flaw(
                f"the usage of event {event.number} does not add up: {prompt} + {completion} is not {total}",
                event.number,
                f"total_tokens {prompt + completion}",
            )
            return
    told = [usage for _, usage in usages]
    if len(told) > 1 and not is_running(told):
        yield from _bits_sum_up(usages[-1][0], told)


def _bits_sum_up(event: Event, told: Sequence[Mapping[str, Any]]) -> Iterator[Flaw]:
    *before, last = told
    prompt = sum(usage["prompt_tokens"] for usage in before)
    completion = sum(usage["completion_tokens"] for usage in before)
    # What is not told bit by bit are tokens without a text, the one that ends an answer for instance.
    if not covers(last, before) or prompt != last["prompt_tokens"]:
        yield Flaw(
            f"the usages of the events before add up to {prompt} + {completion}, and the last tells "
            f"{last['prompt_tokens']} + {last['completion_tokens']}",
            event.number,
            f"prompt_tokens {prompt}, completion_tokens {completion} or more",
        )


def _tokens_for_the_pieces(report: StreamReport) -> Iterator[Flaw]:
    usage = report.usage
    if usage is None or not _is_count(usage.get("completion_tokens")):
        return
    if report.text.startswith("<think>"):
        return  # the tags around a thought are pieces, and no tokens
    pieces = sum(1 for event in report.events for text in event.told.texts.values() if text)
    if usage["completion_tokens"] < pieces:
        last = [event for event in report.events if event.told.usage][-1]
        yield Flaw(
            f"the usage tells {usage['completion_tokens']} completion_tokens, and there are {pieces} pieces",
            last.number,
            f"completion_tokens {pieces} or more",
        )


def _whole_characters(report: StreamReport) -> Iterator[Flaw]:
    for event in report.events:
        for char in event.text:
            if (why := _BROKEN.get(char)) or "\ud800" <= char <= "\udfff":
                yield Flaw(
                    f"the piece of event {event.number} has {char!a}: {why or 'half a character'}",
                    event.number,
                    "whole characters",
                )
                return


_BROKEN = {
    "\ufffd": "what a cut character is decoded to; where the model means it, pass whole_characters=False",
    "\0": "an empty character",
}


def _finishes_once(report: StreamReport) -> Iterator[Flaw]:
    finished: set[int] = set()
    for event in report.events:
        if again := sorted(finished & event.told.finish.keys()):
            yield Flaw(
                f"event {event.number} has a finish_reason, and choice {again[0]} had finished before",
                event.number,
                "one finish_reason",
            )
            return
        if event.text and finished >= {index for index, text in event.told.texts.items() if text}:
            yield Flaw(f"the piece of event {event.number} comes after the finish_reason", event.number, "no piece")
            return
        finished |= event.told.finish.keys()


def _in_sequence(report: StreamReport) -> Iterator[Flaw]:
    """Of responses: numbers without a gap, names that agree, a whole text that is the sum of its pieces."""
    numbered = [event for event in report.events if event.told.sequence_number is not None]
    for expected, event in enumerate(numbered):
        if (number := event.told.sequence_number) != expected:
            yield Flaw(
                f"event {event.number} has sequence_number {number}", event.number, f"sequence_number {expected}"
            )
            return
        if event.name is not None and event.name != event.value["type"]:
            kind = event.value["type"]
            yield Flaw(f"event {event.number} has type {kind} and name {event.name}", event.number, f"event: {kind}")
            return
    text = ""
    for event in numbered:
        text += event.text
        if event.told.whole is not None:
            if event.told.whole != text:
                yield Flaw(
                    f"event {event.number} tells a text that its pieces do not add up to", event.number, repr(text)
                )
                return
            text = ""


_RULES: tuple[Rule, ...] = (
    _is_a_stream,
    _did_not_fail,
    whole_events,
    _ends_once,
    _one_form,
    _usage_adds_up,
    _tokens_for_the_pieces,
    _whole_characters,
    _finishes_once,
    _in_sequence,
)


def _first_done(report: StreamReport) -> Event | None:
    return next((event for event in report.events if event.kind == "done"), None)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _times(count: int) -> str:
    return {2: "twice"}.get(count, f"{count} times")
