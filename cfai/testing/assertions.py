"""Assertions on whole streams."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn, get_args

from cfai.errors import AiError
from cfai.tasks.text_generation import ShapeName
from cfai.testing.expectations import (
    finish_flaws,
    form_flaws,
    pieces_flaws,
    text_flaws,
    times_flaws,
    tool_calls_flaws,
    usage_flaws,
)
from cfai.testing.report import StreamReport
from cfai.testing.rules import flaws_of
from cfai.testing.sources import StreamSource, read_stream
from cfai.testing.table import Flaw, table
from cfai.wording import choose, count

__all__ = ["assert_fails", "assert_stream"]


async def assert_stream(
    stream: StreamSource,
    *,
    text: str | re.Pattern[str] | None = None,
    pieces: Sequence[str] | int | None = None,
    usage: Mapping[str, Any] | bool | None = None,
    finish_reason: str | None = None,
    tool_calls: Sequence[Mapping[str, Any]] | None = None,
    form: ShapeName | None = None,
    first_piece_within: float | None = None,
    gaps_within: float | None = None,
    since: float | None = None,
    whole_characters: bool = True,
) -> StreamReport:
    """Read a stream to its end and fail unless it is whole and as expected; returns what was in it.

    ```python
    answer = await assert_stream(stream, pieces=["New", " York"], usage={"completion_tokens": 2})
    assert answer.usage["total_tokens"] < 100
    ```

    Whatever is expected, a whole stream has only complete events of one form, ends once with `[DONE]` and no byte
    behind it, tells no error, and its usage adds up.

    text                what the pieces add up to, or a pattern that is found in it
    pieces              the pieces, empty ones left out, or how many there are
    usage               what the usage has, perhaps among other things; True: there is one, False: there is none
    finish_reason       "stop", "length", "tool_calls"
    tool_calls          each with `name` and, if given, `arguments` and `id`
    form                "classic", "chat", "completion" or "responses"
    first_piece_within  seconds, by `stream.clock` or the machine's
    gaps_within         seconds, the most between two pieces
    since               when the clock starts, such as `clock.now()` before the call; default: the start of reading
    whole_characters    False lets pieces have U+FFFD, which is what half a character is decoded to; a `text` does, too
    """
    __tracebackhide__ = True
    if form is not None:
        choose("form", form, get_args(ShapeName))
    report = await read_stream(stream, since=since)
    flaws = flaws_of(report, whole_characters=whole_characters and not isinstance(text, str))
    # What is not whole cannot be as expected either, and which of the two it is is the first thing to know.
    flaws = flaws or [
        *text_flaws(report, text),
        *pieces_flaws(report, pieces),
        *usage_flaws(report, usage),
        *finish_flaws(report, finish_reason),
        *tool_calls_flaws(report, tool_calls),
        *form_flaws(report, form),
        *times_flaws(report, first_piece_within, gaps_within),
    ]
    if flaws:
        _fail(report, flaws)
    return report


async def assert_fails(
    stream: StreamSource,
    *,
    code: int | None = None,
    error: type[Exception] | None = None,
    match: str | None = None,
    after_pieces: int | None = None,
    text: str | None = None,
) -> StreamReport:
    """Read a stream to its end and fail unless it ends as failed ones do; returns what was in it.

    ```python
    await assert_fails(stream, code=3040, after_pieces=2)
    ```

    An event that tells an error, an exception while reading, a response with an error status and an end without
    `[DONE]` are failures.

    code          the code of the error that is told or raised
    error         the class of what reading raises, such as `OSError` for a connection that drops
    match         a pattern that is found in the error's text
    after_pieces  how many pieces come before
    text          what they add up to
    """
    __tracebackhide__ = True
    report = await read_stream(stream)
    flaws = list(_failure(report, code, error, match))
    if after_pieces is not None and len(report.pieces) != after_pieces:
        flaws.append(
            Flaw(f"the stream fails after {count(len(report.pieces), 'piece')}", None, count(after_pieces, "piece"))
        )
    flaws += text_flaws(report, text)
    if flaws:
        _fail(report, flaws)
    return report


def _fail(report: StreamReport, flaws: Sequence[Flaw]) -> NoReturn:
    __tracebackhide__ = True
    first, *more = [flaw.sentence for flaw in flaws]
    sentences = "\n".join([first, *(f"also: {sentence}" for sentence in more)])
    # The table tells what an AiError says; of other errors the traceback is of use, too.
    cause = None if isinstance(report.raised, AiError) else report.raised
    raise AssertionError(f"{sentences}\n\n{table(report, flaws)}") from cause


def _failure(
    report: StreamReport, code: int | None, error: type[Exception] | None, match: str | None
) -> Iterator[Flaw]:
    found = report.error
    if found is None:
        is_told = code is not None or error is not None or match is not None
        if report.is_done or is_told:
            yield Flaw("the stream does not fail", None, _expected(code, error, match))
        return
    if code is not None and (not isinstance(found, AiError) or found.code != code):
        yield Flaw(f"the stream fails with {_described(found)}", _place(report), f"code {code}")
    if error is not None and not isinstance(found, error):
        yield Flaw(f"the stream fails with {_described(found)}", _place(report), error.__name__)
    if match is not None and not re.search(match, str(found)):
        yield Flaw(f"the stream fails with {_described(found)}", _place(report), f"an error that has {match!r}")


def _expected(code: int | None, error: type[Exception] | None, match: str | None) -> str:
    if code is not None:
        return f"an error with code {code}"
    if error is not None:
        return error.__name__
    return "an error" if match is None else f"an error that has {match!r}"


def _place(report: StreamReport) -> int | None:
    return next((event.number for event in report.events if event.told.error), None)


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
