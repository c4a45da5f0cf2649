"""What a whole stream is, and how one that is not is shown."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from datetime import date
from typing import Any

import httpx
import httpx2
import pytest

import cfai.testing
from cfai import Ai, ByteStream, FakeBinding, LocalBinding, Reply, sse
from cfai.clock import VirtualClock
from cfai.errors import EngineFailure, OutOfCapacity
from cfai.tasks.shapes import Fidelity
from cfai.testing import assert_fails, assert_stream, read_stream
from cfai.testing.sources import StreamSource
from tests.answers import CALLS, LIKELY, THOUGHTS, TOOLS, WORDS, shape, stream
from tests.conftest import ANY_LOOP

MODEL = "@cf/meta/llama-2-7b-chat-int8"
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
NEW, YORK = sse.encode({"response": "New"}), sse.encode({"response": " York"})
TOTAL = sse.encode({"response": "", "usage": USAGE})
WHOLE = [NEW, YORK, TOTAL, sse.DONE]


def chunk(delta: dict[str, Any], **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": None, **more}
    return sse.encode({"object": "chat.completion.chunk", "choices": [choice]})


async def each(chunks: list[bytes]) -> AsyncIterator[bytes]:
    for data in chunks:
        yield data


def response(client: Any, **more: Any) -> Any:
    return client.Response(
        200, **{"headers": {"content-type": "text/event-stream"}, "content": b"".join(WHOLE), **more}
    )


SOURCES: dict[str, Any] = {
    "a list of chunks": lambda: WHOLE,
    "one bytes": lambda: b"".join(WHOLE),
    "chunks of text": lambda: [b"".join(WHOLE).decode()],
    "bytes one by one": lambda: [bytes([byte]) for byte in b"".join(WHOLE)],
    "an async generator": lambda: each(WHOLE),
    "a ByteStream": lambda: ByteStream(each(WHOLE)),  # type: ignore[arg-type]  # a generator has aclose
    "a Reply": lambda: Reply(ByteStream(each(WHOLE)), headers={"content-type": "text/event-stream"}),  # type: ignore[arg-type]
    "a response of httpx2": lambda: response(httpx2),
    "a response of httpx": lambda: response(httpx),
    "a response of httpx that streams": lambda: response(httpx, content=each(WHOLE)),
}


@ANY_LOOP
@pytest.mark.parametrize("source", SOURCES)
async def test_a_stream_may_come_from_anywhere(source: str) -> None:
    answer = await assert_stream(
        SOURCES[source](),
        text="New York",
        pieces=["New", " York"],
        usage={"completion_tokens": 2},
        form="classic",
        first_piece_within=60,
    )
    assert (answer.pieces, answer.usage, answer.bytes) == (("New", " York"), USAGE, b"".join(WHOLE))
    assert [event.kind for event in answer.events] == ["piece", "piece", "usage", "done"]


@ANY_LOOP
async def test_the_binding_of_a_test_is_read_by_its_own_clock() -> None:
    clock = VirtualClock()

    async def slowly() -> AsyncIterator[bytes]:
        for seconds, data in zip([3, 0.5, 0.25, 0], WHOLE, strict=True):
            await clock.sleep(seconds)
            yield data

    began = clock.now()
    await clock.sleep(1)
    source = ByteStream(slowly(), clock=clock)  # type: ignore[arg-type]  # a generator has aclose
    answer = await assert_stream(source, first_piece_within=4, gaps_within=0.5, since=began)
    assert (answer.time_to_first_piece, answer.gaps, answer.seconds) == (4.0, (0.5,), 4.75)


async def test_a_stream_is_closed_also_where_reading_it_raises() -> None:
    closed = []

    class Stream:
        def __aiter__(self) -> AsyncIterator[bytes]:
            return self

        async def __anext__(self) -> bytes:
            raise OSError("gone")

        async def aclose(self) -> None:
            closed.append(self)

    answer = await read_stream(Stream())
    assert closed
    assert str(answer.error) == "gone"


@pytest.mark.parametrize("fidelity", ["clean", "production"])
@pytest.mark.parametrize("is_native", [True, False])
@pytest.mark.parametrize("form", ["classic", "chat", "completion", "responses"])
@pytest.mark.parametrize("as_of", [None, date(2023, 11, 14), date(2024, 5, 1)])
async def test_every_form_of_every_day_is_a_whole_stream(
    fidelity: Fidelity, is_native: bool, form: Any, as_of: date | None
) -> None:
    made = shape(form, fidelity=fidelity, as_of=as_of, is_native=is_native, include_usage=True)
    answer = await assert_stream(stream(made, WORDS), pieces=["New", " York"], form=form)
    assert answer.usage is None or answer.usage["total_tokens"] == 10


@pytest.mark.parametrize("fidelity", ["clean", "production"])
@pytest.mark.parametrize("form", ["classic", "chat", "responses"])
async def test_tool_calls_are_put_together_in_every_form(fidelity: Fidelity, form: Any) -> None:
    made = shape(form, fidelity=fidelity, tools=TOOLS)
    answer = await assert_stream(
        stream(made, CALLS[1:], finish="tool_calls"),
        text="",
        tool_calls=[{"name": "add", "arguments": {"a": 1}, "id": "call_a"}, {"name": "now", "arguments": {}}],
    )
    if not (form == "classic" and fidelity == "production"):
        assert answer.finish_reason == "tool_calls"


async def test_of_several_answers_the_first_is_told() -> None:
    def call(choice: int, name: str) -> bytes:
        calls = [{"index": 0, "id": "call_a", "type": "function", "function": {"name": name, "arguments": "{}"}}]
        return chunk({"tool_calls": calls}, index=choice)

    answer = await read_stream([call(0, "add"), call(1, "now"), sse.DONE])
    assert [each.name for each in answer.tool_calls] == ["add"]


async def test_a_piece_in_both_forms_at_once_is_one_piece() -> None:
    events = [sse.encode({"choices": [{"index": 0, "delta": {}}], "response": "New"}), sse.DONE]
    assert (await read_stream(events)).pieces == ("New",)


@pytest.mark.parametrize("fidelity", ["clean", "production"])
@pytest.mark.parametrize("form", ["classic", "chat", "completion", "responses"])
async def test_thoughts_and_probabilities_break_no_rule(fidelity: Fidelity, form: Any) -> None:
    thoughts = await assert_stream(stream(shape(form, fidelity=fidelity), THOUGHTS))
    assert "New York" in thoughts.text
    assert thoughts.reasoning == ("A town." if form in ("chat", "responses") else "")
    await assert_stream(stream(shape(form, fidelity=fidelity, logprobs=1), LIKELY), text="New York")


async def test_a_number_as_a_piece_is_the_text_it_was() -> None:
    answer = await assert_stream([b'data: {"response":1.50}\n\ndata: {"response":7,"p":"ab"}\n\n', sse.DONE])
    assert answer.pieces == ("1.50", "7")


async def test_several_answers_at_once_are_told_apart() -> None:
    made = stream(shape("chat", n=2), WORDS, WORDS[:1])
    assert (await assert_stream(made)).pieces == ("New", " York")


async def test_answers_of_the_fake_and_of_a_model_are_whole(local: LocalBinding) -> None:
    fake = FakeBinding({MODEL: ["New", " York"]})
    stream = await Ai(fake).run(MODEL, {"prompt": "hi", "stream": True})
    await assert_stream(stream, pieces=["New", " York"], finish_reason=None)
    inputs = {"prompt": "New York", "stream": True, "max_tokens": 8, "temperature": 0}
    answer = await assert_stream(await Ai(local).run("@cf/test/llama", inputs), usage=True, whole_characters=False)
    assert answer.usage is not None
    assert answer.usage["completion_tokens"] == 8


BROKEN: dict[str, tuple[StreamSource, str]] = {
    "no [DONE]": ([NEW, YORK], "the stream ends without data: [DONE]"),
    "two": ([*WHOLE, sse.DONE], "the stream has [DONE] twice"),
    "a byte behind": ([*WHOLE, b"\n"], "1 byte came after [DONE]"),
    "a comment behind": ([*WHOLE, sse.KEEP_ALIVE], f"{len(sse.KEEP_ALIVE)} bytes came after [DONE]"),
    "a cut event": ([NEW, b'data: {"resp'], "event 2 is broken: the stream ends within it"),
    "a cut character": ([NEW, b'data: {"response":"\xd0"}\n\n', sse.DONE], "event 2 is broken: byte 19 is half"),
    "a replaced character": ([sse.encode({"response": "\ufffd"}), sse.DONE], r"has '\ufffd': what a cut character"),
    "half an emoji": ([b'data: {"response":"\\ud83d"}\n\n', sse.DONE], r"has '\ud83d': half a character"),
    "an empty character": ([sse.encode({"response": "a\0"}), sse.DONE], r"has '\x00': an empty character"),
    "junk": ([b"an unknown error occurred while streaming\n\n", sse.DONE], "event 1 is broken: it is no event"),
    "no JSON": ([b"data: New York\n\n", sse.DONE], "event 1 is broken: its data is not JSON"),
    "no object": ([b"data: 7\n\n", sse.DONE], "event 1 is broken: its data is JSON, and no object"),
    "an error": ([NEW, sse.encode(OutOfCapacity().to_event()), sse.DONE], "tells an error: 3040: Capacity"),
    "two forms": ([NEW, chunk({"content": " York"}), sse.DONE], "event 2 is of the chat form in a stream of the"),
    "usage": (
        [NEW, sse.encode({"response": "", "usage": {**USAGE, "total_tokens": 4}}), sse.DONE],
        "the usage of event 2 does not add up: 3 + 2 is not 4",
    ),
    "no count": (
        [sse.encode({"response": "", "usage": {**USAGE, "prompt_tokens": None}}), sse.DONE],
        "the usage of event 1 has prompt_tokens None",
    ),
    "few tokens": ([NEW, YORK, YORK, TOTAL, sse.DONE], "tells 2 completion_tokens, and there are 3 pieces"),
    "bits": (
        [
            sse.encode({"response": "", "usage": {"prompt_tokens": 9, "completion_tokens": 0, "total_tokens": 9}}),
            TOTAL,
            sse.DONE,
        ],
        "the usages of the events before add up to 9 + 0, and the last tells 3 + 2",
    ),
    "finished twice": (
        [chunk({"content": "a"}, finish_reason="stop"), chunk({}, finish_reason="stop"), sse.DONE],
        "event 2 has a finish_reason, and choice 0 had finished before",
    ),
    "after the end": (
        [chunk({"content": "a"}, finish_reason="stop"), chunk({"content": "b"}), sse.DONE],
        "the piece of event 2 comes after the finish_reason",
    ),
    "a gap": (
        [sse.encode({"type": "response.created", "sequence_number": n}) for n in (0, 2)] + [sse.DONE],
        "event 2 has sequence_number 2",
    ),
    "status": (
        httpx2.Response(429, json=OutOfCapacity().to_body()),
        "the response has status 429: 3040: Capacity",
    ),
    "JSON": (httpx2.Response(200, json={"response": "New"}), "its content-type is application/json"),
    "nothing": ([], "the stream ends without data: [DONE]"),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_what_is_not_whole_fails_with_a_sentence_and_a_table(name: str) -> None:
    source, sentence = BROKEN[name]
    with pytest.raises(AssertionError) as failure:
        await assert_stream(source)
    message = str(failure.value)
    assert sentence in message
    assert all(len(line) <= 80 for line in message.partition("\n\n")[2].splitlines())


async def test_the_wrong_event_is_marked_and_what_was_expected_stands_below_it() -> None:
    with pytest.raises(AssertionError) as failure:
        await assert_stream(
            [NEW, sse.encode({"response": " Yolk\nand \u202e so on" + "." * 90}), sse.DONE], text="New York"
        )
    first, _, table = str(failure.value).partition("\n\n")
    assert first.startswith("the text is 'New Yolk\\nand")
    assert re.sub(r"\d\.\d{3}s", "0.000s", table).splitlines() == [
        "    #     time  what     event",
        '    1   0.000s  piece    {"response":"New"}',
        '>   2   0.000s  piece    " Yolk\\nand \\u202e ... ......" ... .................."}',
        "                 ^ expected 'rk' from character 6 on",
        "    3   0.000s  done     [DONE]",
    ]


async def test_of_a_long_stream_the_rows_around_the_wrong_one_are_shown() -> None:
    events = [sse.encode({"response": f"{number} "}) for number in range(1, 501)]
    events[299] = b"data: {\n\n"
    with pytest.raises(AssertionError) as failure:
        await assert_stream([*events, sse.DONE])
    shown = str(failure.value)
    assert len(shown.splitlines()) < 30
    assert "> 300 " in shown
    assert "...  291 more" in shown


UNEXPECTED: list[tuple[dict[str, Any], str]] = [
    ({"text": "New York City"}, "the text is 'New York', not 'New York City'"),
    ({"text": re.compile("Paris")}, "the text is 'New York'"),
    ({"pieces": ["New York"]}, "piece 1 is 'New'"),
    ({"pieces": ["New"]}, "piece 2 is ' York'"),
    ({"pieces": ["New", " York", "!"]}, "there are 2 pieces, 3 expected"),
    ({"pieces": 3}, "there are 2 pieces"),
    ({"usage": False}, "the stream tells its usage"),
    ({"usage": {"completion_tokens": 3}}, "the usage tells completion_tokens 2"),
    ({"finish_reason": "stop"}, "no event has a finish_reason"),
    ({"tool_calls": [{"name": "add"}]}, "there are no tool calls"),
    ({"form": "chat"}, "the stream is of the classic form"),
    ({"first_piece_within": -1}, "the first piece came after"),
    ({"gaps_within": -1}, "the piece of event 2 came"),
]


@pytest.mark.parametrize(("expected", "sentence"), UNEXPECTED)
async def test_what_is_not_as_expected_fails(expected: dict[str, Any], sentence: str) -> None:
    with pytest.raises(AssertionError, match=re.escape(sentence)):
        await assert_stream(WHOLE, **expected)


async def test_a_caller_is_told_what_was_meant() -> None:
    with pytest.raises(ValueError, match="did you mean 'classic'"):
        await assert_stream(WHOLE, form="clasic")  # type: ignore[arg-type]  # the mistake in question
    with pytest.raises(AssertionError, match="its content-type is application/json; was the model asked with stream"):
        await assert_stream({"response": "New York"})
    with pytest.raises(AssertionError, match="TypeError: a chunk of a stream is bytes or a text, not 1"):
        await assert_stream([1, 2])  # type: ignore[arg-type]  # as above
    with pytest.raises(TypeError, match="int is neither"):
        await assert_stream(7)  # type: ignore[arg-type]  # as above
    with pytest.raises(TypeError, match="it is to be awaited first"):
        run = Ai(FakeBinding({MODEL: "hi"})).run(MODEL, {"prompt": "hi", "stream": True})
        try:
            await assert_stream(run)  # type: ignore[arg-type]  # as above
        finally:
            run.close()


async def test_the_frames_of_the_assertion_are_left_out_of_a_traceback() -> None:
    with pytest.raises(AssertionError) as failure:
        await assert_stream([NEW])
    shown = [str(entry.path) for entry in failure.traceback.filter(failure)]
    assert not any("cfai/testing" in path for path in shown)


def failing(*events: bytes, error: Exception) -> Iterator[bytes]:
    yield from events
    raise error


async def test_a_stream_that_is_to_fail_is_asserted_to() -> None:
    told = [NEW, YORK, sse.encode(OutOfCapacity().to_event()), sse.DONE]
    answer = await assert_fails(told, code=3040, after_pieces=2, text="New York", match="Capacity")
    assert isinstance(answer.error, OutOfCapacity)
    await assert_fails(failing(NEW, error=EngineFailure("lost")), error=EngineFailure, code=8500, after_pieces=1)
    await assert_fails(failing(error=OSError("reset")), error=OSError, match="reset", after_pieces=0)
    await assert_fails([NEW, b'data: {"resp'], after_pieces=1)
    await assert_fails(httpx2.Response(429, json=OutOfCapacity().to_body()), code=3040)
    for form in ("classic", "chat", "completion", "responses"):
        for is_native in (True, False):
            made = shape(form, is_native=is_native)
            await assert_fails(stream(made, WORDS, error=OutOfCapacity()), code=3040, text="New York")


@pytest.mark.parametrize(
    ("source", "expected", "sentence"),
    [
        (WHOLE, {}, "the stream does not fail"),
        ([NEW], {"code": 3040}, "the stream does not fail"),
        ([NEW, sse.encode(OutOfCapacity().to_event())], {"code": 3007}, "fails with OutOfCapacity: 3040: Cap"),
        ([NEW, sse.encode(OutOfCapacity().to_event())], {"error": OSError}, "fails with OutOfCapacity: 3040: Cap"),
        ([NEW], {"after_pieces": 2}, "the stream fails after 1 piece"),
        ([NEW], {"text": "New York"}, "the text is 'New', not 'New York'"),
    ],
)
async def test_a_stream_that_fails_otherwise_or_not_at_all(
    source: list[bytes], expected: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(AssertionError, match=re.escape(sentence)):
        await assert_fails(source, **expected)


async def test_a_report_prints_as_its_table() -> None:
    answer = await read_stream([NEW, b"oops\n\n"])
    assert answer.error is None
    assert str(answer).count("\n") == 2


async def test_a_failure_tells_an_error_of_workers_ai_once_and_shows_where_others_are_from() -> None:
    async def breaking(error: Exception) -> AsyncIterator[bytes]:
        yield b'data: {"response":"New"}\n\n'
        raise error

    with pytest.raises(AssertionError, match="reading the stream raised OutOfCapacity: 3040") as told:
        await assert_stream(breaking(OutOfCapacity()))
    assert told.value.__cause__ is None
    mistake = KeyError("typo")
    with pytest.raises(AssertionError, match="reading the stream raised KeyError") as shown:
        await assert_stream(breaking(mistake))
    assert shown.value.__cause__ is mistake


@ANY_LOOP
async def test_the_table_shows_a_framed_event_in_the_letters_that_were_sent() -> None:
    answer = await read_stream([b": ping\n\n", 'event: piece\ndata: {"response":"größer"}\n\n'.encode(), sse.DONE])
    assert r'"event: piece\ndata: {\"response\":\"größer\"}\n\n"' in str(answer)


@ANY_LOOP
async def test_bits_of_usage_add_up_also_where_one_of_them_is_null() -> None:
    bits = [{"prompt_tokens": None, "completion_tokens": 2}, {"prompt_tokens": 3, "completion_tokens": 1}]
    answer = await read_stream([NEW, *(sse.encode({"response": "", "usage": bit}) for bit in bits), sse.DONE])
    assert answer.usage == {"prompt_tokens": 3, "completion_tokens": 3}


def test_what_there_is_to_import_is_listed() -> None:
    assert {"assert_stream", "fuzz_stream", "read_stream"} <= set(dir(cfai.testing))


@pytest.mark.parametrize(("form", "told"), [("chat", {"delta": {"content": "New"}}), ("completion", {"text": "New"})])
async def test_choices_are_known_by_what_is_in_them(form: str, told: dict[str, Any]) -> None:
    answer = await read_stream([sse.encode({"choices": [{"index": 0, **told}]}), sse.DONE])
    assert (answer.form, answer.text) == (form, "New")
