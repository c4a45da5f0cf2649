"""The classic form of an answer, on its days, and with production's oddities."""

import json
import random
from datetime import date
from typing import Any

import pytest

from cfai import sse
from cfai.errors import BadInput, EngineFailure
from cfai.tasks.parts import Answer, CallArguments, CallStart, Part, Text
from cfai.tasks.shapes import shape_for
from cfai.tasks.text_generation import TextGeneration
from tests.answers import CALLS, NOW, PROMPT_USAGE, THOUGHTS, TOOLS, USAGE, WORDS, shape, stream, told

FIRST_STREAM = date(2023, 11, 14)
COUNTED = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
COUNTED_TODAY = {**COUNTED, "prompt_tokens_details": {"cached_tokens": 2}, "neurons": USAGE.neurons}


def test_the_first_streams_were_pieces_and_nothing_else() -> None:
    assert stream(shape("classic", as_of=FIRST_STREAM), WORDS) == [
        b'data: {"response":"New"}\n\n',
        b'data: {"response":" York"}\n\n',
        b"data: [DONE]\n\n",
    ]
    assert shape("classic", as_of=FIRST_STREAM).whole([Answer.of(WORDS, "stop")], USAGE) == {"response": "New York"}


def test_today_a_stream_ends_with_its_usage() -> None:
    assert stream(shape("classic"), WORDS) == [
        b'data: {"response":"New"}\n\n',
        b'data: {"response":" York"}\n\n',
        b'data: {"response":"","usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10,'
        b'"prompt_tokens_details":{"cached_tokens":2},"neurons":0.5}}\n\n',
        b"data: [DONE]\n\n",
    ]
    whole = shape("classic").whole([Answer.of(WORDS, "stop")], USAGE)
    assert whole == {"response": "New York", "usage": COUNTED_TODAY}


def test_usage_before_caches() -> None:
    whole = shape("classic", as_of=date(2025, 6, 1)).whole([Answer.of(WORDS, "stop")], USAGE)
    assert whole == {"response": "New York", "usage": COUNTED}


@pytest.mark.parametrize("piece", ['say "hi"', "two\nlines\r\n", "北京 🙂", "\u2028", "\0", "data: [DONE]", "\\"])
def test_any_piece_arrives_as_it_is(piece: str) -> None:
    for fidelity in ("clean", "production"):
        events = stream(shape("classic", fidelity=fidelity), [Text(piece)])
        assert all(event.count(b"\n") == 2 for event in events)
        assert "".join(event["response"] for event in told(events)) == piece


def test_an_answer_may_have_called_no_tool() -> None:
    whole = shape("classic", tools=TOOLS).whole([Answer.of(WORDS, "stop")], USAGE)
    assert list(whole) == ["response", "tool_calls", "usage"]
    assert whole["tool_calls"] == []
    # langchain-cloudflare shows no text from the first event on that has the key, empty or not.
    assert not [event for event in told(stream(shape("classic", tools=TOOLS), WORDS)) if "tool_calls" in event]


def test_whole_tool_calls_are_flat_and_their_arguments_objects() -> None:
    whole = shape("classic", tools=TOOLS).whole([Answer.of(CALLS, "tool_calls")], USAGE)
    assert whole == {
        "response": "Well.",
        "tool_calls": [{"name": "add", "arguments": {"a": 1}}, {"name": "now", "arguments": {}}],
        "usage": COUNTED_TODAY,
    }


def test_arguments_that_were_cut_off_stay_a_text() -> None:
    cut: list[Part] = [CallStart(0, "call_a", "add"), CallArguments(0, '{"a":')]
    whole = shape("classic", tools=TOOLS).whole([Answer.of(cut, "length")], USAGE)
    assert whole["tool_calls"] == [{"name": "add", "arguments": '{"a":'}]


def test_streamed_tool_calls_begin_with_their_name() -> None:
    *events, usage = told(stream(shape("classic", tools=TOOLS), CALLS, finish="tool_calls"))
    assert [event["response"] for event in events] == ["Well.", "", "", "", "", "", ""]
    assert [event.get("tool_calls") for event in events] == [
        None,
        [{"id": "call_a", "type": "function", "index": 0, "function": {"name": "add"}}],
        [{"index": 0, "function": {"arguments": '{"a":'}}],
        [{"index": 0, "function": {"arguments": "1}"}}],
        [{"id": "call_b", "type": "function", "index": 1, "function": {"name": "now"}}],
        [{"index": 1, "function": {"arguments": "{}"}}],
        None,
    ]
    assert events[-1] == {"response": "", "finish_reason": "tool_calls"}
    assert usage == {"response": "", "usage": COUNTED_TODAY}


def test_tools_were_not_there_before_their_day() -> None:
    whole = shape("classic", tools=TOOLS, as_of=date(2024, 6, 18)).whole([Answer.of(WORDS, "stop")], USAGE)
    assert list(whole) == ["response", "usage"]


def test_a_json_answer_is_the_value_when_whole_and_its_text_when_streamed() -> None:
    parts: list[Part] = [Text('{"town":'), Text(' "New York"}')]
    wanted = shape("classic", answer_schema={"type": "object"})
    assert wanted.whole([Answer.of(parts, "stop")], USAGE)["response"] == {"town": "New York"}
    events = told(stream(shape("classic", answer_schema={"type": "object"}), parts))
    assert "".join(event["response"] for event in events) == '{"town": "New York"}'


def test_a_number_that_no_float_holds_leaves_the_answer_its_text() -> None:
    wanted = shape("classic", answer_schema={"type": "object"})
    assert wanted.whole([Answer.of([Text('{"people": 1e999}')], "stop")], USAGE)["response"] == '{"people": 1e999}'


def test_a_json_answer_that_was_cut_off_is_an_error_that_says_why() -> None:
    wanted = shape("classic", answer_schema={"type": "object"})
    with pytest.raises(BadInput, match="JSON Mode couldn't be met") as refused:
        wanted.whole([Answer.of([Text('{"town":')], "length")], USAGE)
    assert "max_tokens" in refused.value.hint


def test_thoughts_stand_between_tags() -> None:
    events = told(stream(shape("classic"), THOUGHTS))
    written = "".join(event["response"] for event in events)
    assert written == "<think>A town.</think>New York"
    assert shape("classic").whole([Answer.of(THOUGHTS, "stop")], USAGE)["response"] == written


def test_thoughts_that_lead_to_nothing_are_closed() -> None:
    for fidelity in ("clean", "production"):
        events = told(stream(shape("classic", fidelity=fidelity), THOUGHTS[:2], finish="length"))
        assert "".join(event["response"] for event in events) == "<think>A town.</think>"


def test_thoughts_do_not_break_json() -> None:
    parts = [*THOUGHTS[:2], Text("{}")]
    wanted = shape("classic", answer_schema={"type": "object"})
    assert wanted.whole([Answer.of(parts, "stop")], USAGE)["response"] == {}
    events = told(stream(shape("classic", answer_schema={"type": "object"}), parts))
    assert "".join(event["response"] for event in events) == "{}"


def test_a_stream_that_breaks_ends_with_the_error() -> None:
    *events, last = told(stream(shape("classic"), WORDS, error=EngineFailure("out of memory")))
    assert [event["response"] for event in events] == ["New", " York"]
    assert last == {"response": "", "errors": [{"code": 8500, "message": "out of memory"}]}


# Production.


def odd(parts: list[Part], as_of: date | None = None, finish: Any = "stop", **fields: Any) -> list[Any]:
    return told(stream(shape("classic", as_of=as_of, fidelity="production", **fields), parts, finish=finish))


def test_production_of_2023_is_clean() -> None:
    events = stream(shape("classic", as_of=FIRST_STREAM, fidelity="production"), WORDS)
    assert events == stream(shape("classic", as_of=FIRST_STREAM), WORDS)


def test_production_pads_since_its_blog_post() -> None:
    before, after = odd(WORDS, date(2024, 3, 13)), odd(WORDS, date(2024, 3, 14))
    assert not [event for event in before if "p" in event]
    assert [list(event) for event in after] == [
        ["response", "p"],
        ["response", "p"],
        ["response", "p"],
        ["response", "usage"],
    ]
    assert after[2]["response"] == ""  # the end of the text
    alphabet = "abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz"
    assert all(alphabet.startswith(event["p"]) and 2 <= len(event["p"]) <= 46 for event in after[:3])


def test_production_pads_at_random() -> None:
    lengths = {len(event["p"]) for event in odd([Text("x")] * 200, date(2025, 1, 1))[:-1]}
    assert len(lengths) > 20


def test_production_tells_usage_bit_by_bit() -> None:
    *events, last = odd(WORDS)
    told_of = [event["usage"] for event in events if "usage" in event]
    assert [(usage["prompt_tokens"], usage["completion_tokens"]) for usage in told_of] == [(7, 0), (0, 1), (0, 1)]
    assert [usage["neurons"] for usage in told_of] == [0.0636363, 0.0272727, 0.0272727]
    assert last == {"response": "", "usage": {**COUNTED_TODAY, "neurons": 0.5}}


@pytest.mark.parametrize(
    ("piece", "response"), [("42", 42), ("1.50", 1.5), ("-1", -1), ("0", 0), ("007", "007"), (" 1", " 1"), ("1.", "1.")]
)
def test_production_may_send_a_number_for_a_piece(piece: str, response: object) -> None:
    assert odd([Text(piece)], date(2025, 1, 1))[0]["response"] == response
    assert told(stream(shape("classic"), [Text(piece)]))[0]["response"] == piece


def test_production_streams_tool_calls_without_a_response() -> None:
    events = odd(CALLS[1:], date(2025, 6, 1), "tool_calls", tools=TOOLS)
    assert events[0] == {"response": "", "tool_calls": []}
    assert not [event for event in events[1:-1] if "response" in event]
    *_, end, last, usage = events
    nothing = {"id": None, "type": None, "index": 0, "function": {"name": None, "arguments": ""}}
    assert end == {"tool_calls": [nothing]}
    assert list(last) == ["tool_calls", "p"]
    assert usage == {"response": "", "usage": COUNTED}


def test_production_has_tool_calls_in_every_whole_answer() -> None:
    whole = shape("classic", as_of=date(2025, 6, 1), fidelity="production").whole([Answer.of(WORDS, "stop")], USAGE)
    assert json.dumps(whole) == json.dumps({"response": "New York", "tool_calls": [], "usage": COUNTED})


def test_production_repeats_itself_under_a_seed() -> None:
    def once(seed: int) -> list[bytes]:
        request = TextGeneration(prompt="hi")
        rng = random.Random(seed)
        made = shape_for(request, "m", fidelity="production", now=NOW, rng=rng)
        return [*made.begin(PROMPT_USAGE), *(event for part in WORDS * 9 for event in made.part(part)), sse.DONE]

    assert once(1) == once(1) != once(2)
