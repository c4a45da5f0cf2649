"""The streams that parsers are tried on: texts, oddities of Workers AI, and other ways to write events."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import date
from typing import get_args

from cfai import sse
from cfai.errors import OutOfCapacity
from cfai.testing.fuzz.case import CaseForm, Level, StreamCase
from cfai.testing.fuzz.frames import FRAMES
from cfai.testing.fuzz.writing import written
from cfai.wording import meant

__all__ = ["FORMS", "LEVELS", "TEXTS", "check_names", "corpus"]

FORMS: tuple[CaseForm, ...] = get_args(CaseForm)
LEVELS: tuple[Level, ...] = get_args(Level)

TEXTS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "plain": ("two pieces of a text", ("New", " York")),
    "Cyrillic": ("letters of two bytes", ("При", "вет, ", "мир")),
    "Chinese": ("characters of three bytes", ("北", "京在", "中国")),
    "emoji": ("characters of four bytes, and some that joiners make of several", ("👩‍🔬", " 🇺🇦", "👍🏽")),
    "combining marks": ("letters and marks that are two characters and stay so", ("cafe\u0301", " q\u0307")),
    "right to left": ("letters that are read from right to left", ("שלום", " مرحبا")),
    "quotes": ("quotes and backslashes, which JSON escapes", ('say "hi"', " \\ ", "it's", '\\"', "`")),
    "line ends": ("line ends in the text, and pieces of nothing else", ("two\nlines", "\n\n", "\r\n", "\n")),
    "spaces": ("spaces around pieces, which belong to the text", ("  ", " a", "b ", "\t", " ", "c")),
    "line separators": (
        "characters at which str.splitlines splits, and server-sent events do not",
        ("one\u2028two", "\u2029", "three\u0085four", "\x0b\x0c\x1c"),
    ),
    "[DONE] in the text": (
        "[DONE] in a piece: a stream ends where [DONE] is all of the data",
        ("[DONE]", "data: [DONE]", "\n\ndata: [DONE]\n\n", "!"),
    ),
    "an event in the text": (
        "pieces that look like events",
        ('data: {"response":"no"}\n\n', ": no comment\n\n", "event: no\n\n"),
    ),
    "JSON in the text": ("pieces that look like JSON", ('{"response":', '"no"}', "[1,", "]", "null")),
    "digits": ("pieces of digits, which are texts", ("1", "0", "00", "7", " 3")),
    "markup": ("pieces that mean something in HTML, URLs and templates", ("<b>&amp;</b>", "<script>", "%20", "$&")),
    "one long piece": ("a piece of half a kilobyte", ("All work and no play makes Jack a dull boy. " * 12,)),
}
"""What a text may be made of, with what is odd about it."""

MIXED = ("Où", " est", ' "Київ"', "?\n", "🙂", " 0")
"""A bit of everything, for what is odd about the events and not about the text."""
NUMBERS = ("7", " and ", "0", "8")


def corpus(
    level: Level = "workers-ai",
    *,
    forms: Sequence[CaseForm] = ("classic",),
    names: Collection[str] | None = None,
    skip: Collection[str] = (),
) -> list[StreamCase]:
    """The streams of `level` in these forms, or those of them that are named and not skipped.

    ```python
    [case.name for case in corpus("standard", forms=["chat"])]
    ```
    """
    check_names("level", [level], LEVELS)
    check_names("form", forms, FORMS)
    cases = [case for form in forms for case in _cases(form) if level == "standard" or case.level == level]
    known = list(dict.fromkeys(case.name for case in cases))
    check_names("stream of this level and form", [*(names or ()), *skip], known)
    return [case for case in cases if (names is None or case.name in names) and case.name not in skip]


def _cases(form: CaseForm) -> Iterator[StreamCase]:
    for name, (about, pieces) in TEXTS.items():
        yield StreamCase(name, about, tuple(written(pieces, form)), form)
    yield StreamCase("no text", "an answer without a piece", tuple(written((), form)), form)
    yield from _oddities(form)
    for name, frame in FRAMES.items():
        pieces = TEXTS["line separators"][1] if name == "raw separators" else MIXED
        yield StreamCase(name, frame.about, tuple(frame.write(written(pieces, form))), form, frame.level)


def _oddities(form: CaseForm) -> Iterator[StreamCase]:
    """https://github.com/cloudflare/ai has clients of Workers AI that were taught most of these, one by one."""
    production = tuple(written(MIXED, form, fidelity="production"))
    yield StreamCase("production", "the usage in every event, padding `p`, empty pieces at the end", production, form)
    calls = tuple(written(("Well.",), form, fidelity="production", calls_tool=True))
    yield StreamCase("a tool call", "events that tell a tool call and have no text", calls, form)
    if form == "classic":
        yield StreamCase(
            "2023", "no usage, as in the first streams", tuple(written(MIXED, form, as_of=date(2023, 11, 14)))
        )
        padded = tuple(written(MIXED, form, fidelity="production", as_of=date(2024, 3, 14)))
        yield StreamCase("2024", "padding `p` and no usage in the events", padded)
        numbers = tuple(written(NUMBERS, form, fidelity="production"))
        yield StreamCase("numbers", "pieces that are numbers and come as such, 0 among them", numbers)
        nulls = [sse.encode({"response": None}), sse.encode({"response": "", "tool_calls": None})]
        with_nulls = (*written(MIXED, form)[:-1], *nulls, sse.DONE)
        yield StreamCase("nulls", "events whose response is null", with_nulls, form, "standard")
        bare = [sse.encode({"tool_calls": [], "p": "abdefgh"}), sse.encode({"p": "ab"})]
        yield StreamCase("no response", "events without a response", (*written(MIXED, form)[:-1], *bare, sse.DONE))
    whole = written(MIXED, form)
    yield StreamCase("cut between events", "an end without [DONE]", tuple(whole[: len(whole) // 2]), form)
    half = whole[len(whole) // 2]
    yield StreamCase(
        "cut within an event", "an end in the middle of an event", (*whole[: len(whole) // 2], half[:-9]), form
    )
    failed = tuple(written(MIXED, form, error=OutOfCapacity()))
    yield StreamCase("an error", "an event that tells an error, in the middle of the answer", failed, form)


def check_names(what: str, given: Collection[str], known: Sequence[str]) -> None:
    """A ValueError names what is not known and what is nearest to it."""
    for name in given:
        if name not in known:
            raise ValueError(f"{name!r} is no {what}{meant(name, known) or '.'} There are: {', '.join(known)}")
