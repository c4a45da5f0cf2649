"""Parsers that people write, caught with the smallest stream that they read wrongly, and those that read all."""

from __future__ import annotations

import codecs
import inspect
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import Any

import anyio
import httpx
import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from openai._streaming import SSEDecoder

from cfai import sse
from cfai.testing import CutStream, FuzzReport, StreamDifference, corpus, fuzz_stream, read_stream, streams
from cfai.testing.fuzz.corpus import FORMS, MIXED, NUMBERS, TEXTS
from cfai.testing.fuzz.cuts import place_of
from tests.conftest import ANY_LOOP

Chunks = Iterable[bytes]


def lines_of_each_chunk(chunks: Chunks) -> Iterator[str]:
    """The five lines that everybody pastes."""
    for chunk in chunks:
        for line in chunk.decode().split("\n"):
            if line.startswith("data: ") and line != "data: [DONE]":
                yield json.loads(line[6:])["response"]


def an_event_a_chunk(chunks: Chunks) -> Iterator[str]:
    for chunk in chunks:
        data = chunk.decode().removeprefix("data: ").strip()
        if data == "[DONE]":
            return
        yield json.loads(data.split("\n")[0])["response"]


def each_chunk_decoded(chunks: Chunks) -> Iterator[str]:
    rest = ""
    for chunk in chunks:
        *lines, rest = (rest + chunk.decode("utf-8", "replace")).split("\n")
        yield from pieces(lines)


def python_lines(chunks: Chunks) -> str:
    return "".join(pieces(b"".join(chunks).decode().splitlines()))


def done_anywhere(chunks: Chunks) -> Iterator[str]:
    for event in events(chunks):
        if "[DONE]" in event:
            return
        yield from pieces([event])


def truthy(chunks: Chunks) -> Iterator[str]:
    for event in events(chunks):
        if event.startswith("data: ") and event != "data: [DONE]" and (piece := json.loads(event[6:]).get("response")):
            yield str(piece)


def as_it_is(chunks: Chunks) -> Iterator[str]:
    for event in events(chunks):
        if event.startswith("data: ") and event != "data: [DONE]":
            yield json.loads(event[6:]).get("response", "")


def stripped(chunks: Chunks) -> Iterator[str]:
    for event in events(chunks):
        yield from (piece.strip() for piece in pieces([event]))


def required(chunks: Chunks) -> Iterator[str]:
    for event in events(chunks):
        if event.startswith("data: ") and event != "data: [DONE]":
            yield str(json.loads(event[6:])["response"])


def every_event_is_data(chunks: Chunks) -> Iterator[str]:
    for event in events(chunks):
        if (data := event.removeprefix("data: ")) != "[DONE]":
            yield str(json.loads(data).get("response", ""))


def carriage_returns_kept(chunks: Chunks) -> Iterator[str]:
    for event in events(chunks):
        yield from pieces(event.split("\n"))


def a_space_is_required(chunks: Chunks) -> Iterator[str]:
    decoder = sse.Decoder()
    for chunk in chunks:
        for data in decoder.feed(chunk.replace(b"data:{", b"date:{")):
            yield from pieces([f"data: {data}"])


def events(chunks: Chunks) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")()
    rest = ""
    for chunk in chunks:
        *whole, rest = (rest + decoder.decode(chunk)).split("\n\n")
        yield from whole


def pieces(lines: Iterable[str]) -> Iterator[str]:
    """What is right in the parsers above, so that each has one mistake."""
    for line in lines:
        value = sse.loads(line[6:]) if line.startswith("data: ") else None
        if isinstance(value, dict) and value.get("response") is not None:
            yield str(value["response"])


WRONG: list[tuple[Callable[[Chunks], Any], str, str, list[bytes]]] = [
    (
        lines_of_each_chunk,
        "plain",
        "a cut may go through a line",
        [b'data: {"respo', b'nse":"New"}\n\ndata: [DONE]\n\n'],
    ),
    (
        an_event_a_chunk,
        "plain",
        "a chunk may have several events",
        [b'data: {"response":"New"}\n\ndata: {"response":" York"}\n\ndata: [DONE]\n\n'],
    ),
    (
        each_chunk_decoded,
        "Cyrillic",
        "a cut may go through a character",
        [b'data: {"response":"\xd0', b'\x9f\xd1\x80\xd0\xb8"}\n\ndata: [DONE]\n\n'],
    ),
    (
        done_anywhere,
        "[DONE] in the text",
        "a stream ends where [DONE] is all of the data",
        [b'data: {"response":"\\n\\ndata: [DONE]\\n\\n"}\n\ndata: [DONE]\n\n'],
    ),
    (truthy, "numbers", "pieces that are numbers", []),
    (as_it_is, "numbers", "pieces that are numbers", []),
    (stripped, "plain", "two pieces of a text", [b'data: {"response":" York"}\n\ndata: [DONE]\n\n']),
    (required, "a tool call", "have no text", [b'data: {"tool_calls":[],"p":"abcd"}\n\ndata: [DONE]\n\n']),
    (every_event_is_data, "keep-alive", "comments between the events", [b": keep-alive\n\ndata: [DONE]\n\n"]),
]


@pytest.mark.parametrize(
    ("parser", "name", "advice", "chunks"), WRONG, ids=lambda value: getattr(value, "__name__", "")
)
def test_a_mistake_that_people_make_is_shown_by_the_smallest_stream(
    parser: Callable[[Chunks], Any], name: str, advice: str, chunks: list[bytes]
) -> None:
    with pytest.raises(StreamDifference) as failure:
        fuzz_stream(parser)
    difference = failure.value.difference
    assert difference.stream.case.name == name
    assert advice in difference.advice
    if chunks:
        assert list(difference.stream.chunks) == chunks
    # What the report prints is a literal that a test can begin with, and it shows the same mistake.
    printed = str(failure.value).rpartition("chunks = ")[2]
    assert eval(printed) == list(difference.stream.chunks)


ONLY_BY_THE_STANDARD = [
    (carriage_returns_kept, "CRLF"),
    (python_lines, "raw separators"),
    (a_space_is_required, "no space"),
]


@pytest.mark.parametrize(("parser", "name"), ONLY_BY_THE_STANDARD)
def test_what_workers_ai_does_not_send_is_tried_where_it_is_asked_for(
    parser: Callable[[Chunks], Any], name: str
) -> None:
    fuzz_stream(parser, level="workers-ai")
    with pytest.raises(StreamDifference) as failure:
        fuzz_stream(parser, level="standard", streams=[name])
    assert failure.value.difference.stream.case.name == name


def test_the_report_of_the_parser_that_everybody_pastes() -> None:
    with pytest.raises(StreamDifference) as failure:
        fuzz_stream(lines_of_each_chunk)
    assert str(failure.value) == inspect.cleandoc(
        r"""
        lines_of_each_chunk raises JSONDecodeError: Unterminated string starting at: line 1 column 2 (char 1)

        stream    plain: two pieces of a text, in the classic form
        cut       before byte 13: within a line
        expected  'New'
        got       JSONDecodeError
        perhaps   a cut may go through a line: keep what stands behind the last line end
                  for the next chunk

        chunks = [
            b'data: {"respo',
            b'nse":"New"}\n\ndata: [DONE]\n\n',
        ]
        """
    )
    assert isinstance(failure.value.__cause__, json.JSONDecodeError)


def right(chunks: Chunks) -> Iterator[str]:
    decoder = sse.Decoder()
    for chunk in chunks:
        for data in decoder.feed(chunk):
            if data == "[DONE]":
                return
            yield from pieces([f"data: {data}"])


async def right_async(chunks: AsyncIterable[bytes]) -> AsyncIterator[str]:
    decoder = sse.Decoder()
    async for chunk in chunks:
        for data in decoder.feed(chunk):
            if data == "[DONE]":
                return
            for piece in pieces([f"data: {data}"]):
                yield piece


async def right_whole(chunks: AsyncIterable[bytes]) -> str:
    return "".join([piece async for piece in right_async(chunks)])


class Right:
    async def __call__(self, chunks: AsyncIterable[bytes]) -> str:
        return await right_whole(chunks)


def returns_a_coroutine(chunks: AsyncIterable[bytes]) -> Awaitable[str]:
    return right_whole(chunks)


@pytest.mark.parametrize("parser", [right, right_async, right_whole, Right(), returns_a_coroutine])
def test_a_parser_that_is_right_may_be_of_any_kind(parser: Callable[[Any], Any]) -> None:
    names = ["plain", "emoji", "keep-alive", "numbers", "an error", "cut between events"]
    report = fuzz_stream(parser, streams=names)
    assert report == FuzzReport(streams=6, runs=report.runs)
    assert report.runs > 1000


@ANY_LOOP
async def test_an_async_parser_is_tried_within_a_running_loop_as_well() -> None:
    assert fuzz_stream(right_async, streams=["plain"]).runs > 200


def test_a_parser_that_is_right_is_right_about_all_there_is() -> None:
    assert fuzz_stream(right, level="standard").streams == len(corpus("standard"))


def test_a_parser_may_be_asked_to_tell_what_is_no_whole_answer() -> None:
    with pytest.raises(StreamDifference, match=re.escape("right takes a stream without [DONE] for a whole one")):
        fuzz_stream(right, must_tell=["cut"])
    with pytest.raises(StreamDifference, match="right takes a stream with an error in it for a whole one"):
        fuzz_stream(right, must_tell=["error"])

    async def tells(chunks: AsyncIterable[bytes]) -> str:
        answer = await read_stream(chunks)
        if answer.error or not answer.is_done:
            raise answer.error or EOFError
        return answer.text

    ends = ["plain", "cut between events", "cut within an event", "an error"]
    fuzz_stream(tells, must_tell=["cut", "error"], streams=ends)


def test_an_async_parser_that_never_ends_is_wrong() -> None:
    async def waits(chunks: AsyncIterable[bytes]) -> str:
        await anyio.sleep_forever()
        return ""

    with pytest.raises(StreamDifference, match="waits raises TimeoutError"):
        fuzz_stream(waits, streams=["plain"], within=0.01)


def openai(chunks: Chunks) -> list[str]:
    return [event.data for event in SSEDecoder().iter_bytes(iter(chunks)) if event.data]


class _Body(httpx2.SyncByteStream, httpx.SyncByteStream):
    def __init__(self, chunks: Chunks) -> None:
        self._chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._chunks)


HEAD = {"content-type": "text/event-stream"}


def httpx2_source(chunks: Chunks) -> list[str]:
    request = httpx2.Request("GET", "http://localhost")
    response = httpx2.Response(200, headers=HEAD, stream=_Body(chunks), request=request)
    return [event.data for event in httpx2.EventSource(response)]


def httpx_lines(chunks: Chunks) -> list[str]:
    lines = httpx.Response(200, headers=HEAD, stream=_Body(chunks)).iter_lines()
    return [line[5:].removeprefix(" ") for line in lines if line.startswith("data:")]


@pytest.mark.parametrize("parser", [openai, httpx2_source])
def test_the_decoders_of_openai_and_httpx2_read_all_but_a_byte_order_mark(parser: Callable[[Chunks], Any]) -> None:
    fuzz_stream(parser, compare="data", forms=["classic"], level="standard", skip=["byte order mark"])
    with pytest.raises(StreamDifference) as failure:
        fuzz_stream(parser, compare="data", level="standard", streams=["byte order mark"])
    assert failure.value.difference.stream.chunks[0].startswith(b"\xef\xbb\xbfdata: ")


def test_the_lines_of_httpx_end_where_those_of_a_stream_do_not() -> None:
    with pytest.raises(StreamDifference) as failure:
        fuzz_stream(httpx_lines, compare="data", level="standard", streams=["raw separators"])
    assert failure.value.difference.got.value == ['{"response":"three']


@pytest.mark.parametrize("form", FORMS)
def test_the_streams_say_what_they_were_made_of(form: Any) -> None:
    cases = corpus("standard", forms=[form])
    assert len({case.name for case in cases}) == len(cases)
    for case in cases:
        if case.name in TEXTS:
            assert case.pieces == TEXTS[case.name][1]
        elif case.end == "done" and case.name not in ("no text", "a tool call", "numbers", "raw separators"):
            assert case.text == "".join(MIXED), case.name
    by_name = {case.name: case for case in cases}
    assert by_name["raw separators"].text == by_name["line separators"].text
    assert by_name["an error"].end == "error"
    assert {name for name, case in by_name.items() if case.end == "cut"} == {
        "cut between events",
        "cut within an event",
    }
    if form == "classic":
        assert by_name["numbers"].text == "".join(NUMBERS)


@pytest.mark.parametrize(
    ("stream", "cut", "place"),
    [
        ("data: é\n\n".encode(), 7, "character"),
        (b"data: e\n\n", 3, "line"),
        (b"data: e\n\n", 7, "line end"),
        (b"data: e\r\n\r\n", 8, "line end"),
        (b"data: e\n\n", 8, "blank line"),
        (b"data: e\n\ndata: f\n\n", 9, "event"),
        (b"id: 1\ndata: f\n\n", 6, "event"),
    ],
)
def test_where_a_cut_is(stream: bytes, cut: int, place: str) -> None:
    assert place_of(stream, cut) == place


@given(streams("standard", forms=["classic"]))
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
def test_hypothesis_draws_streams_that_are_read_as_they_were_written(stream: CutStream) -> None:
    assert b"".join(stream.chunks) == stream.case.bytes
    assert "".join(right(stream.chunks)) == stream.text


def test_hypothesis_finds_the_mistake_as_well() -> None:
    @given(streams())
    @settings(derandomize=True, database=None)
    def reads(stream: CutStream) -> None:
        assert "".join(lines_of_each_chunk(stream.chunks)) == stream.text

    with pytest.raises((AssertionError, ValueError, KeyError, TypeError, ExceptionGroup)):
        reads()


def test_without_hypothesis_the_rest_works_and_the_strategy_says_what_is_missing() -> None:
    code = (
        "import sys; sys.modules['hypothesis'] = None\n"
        "from cfai.testing import fuzz_stream, streams\n"
        "try: streams()\n"
        "except ImportError as error: print(error)\n"
        "heavy = {'torch', 'transformers', 'tokenizers', 'numpy', 'jinja2', 'llguidance', 'pytest'}\n"
        "print(heavy & sys.modules.keys())\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out == "streams() draws with Hypothesis, which is not installed: pip install hypothesis\nset()\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"level": "workers"}, "did you mean 'workers-ai'?"),
        ({"compare": "texts"}, "did you mean 'text'?"),
        ({"forms": ["chats"]}, "did you mean 'chat'?"),
        ({"streams": ["plane"]}, "did you mean 'plain'?"),
        ({"skip": ["CRLFF"]}, "'CRLFF' is no stream of this level and form"),
        ({"must_tell": ["cuts"]}, "did you mean 'cut'?"),
        ({"streams": []}, "nothing is left to try"),
        ({"skip": [case.name for case in corpus()]}, "nothing is left to try"),
    ],
)
def test_a_name_that_is_not_known_is_told_with_the_nearest(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        fuzz_stream(right, **options)
