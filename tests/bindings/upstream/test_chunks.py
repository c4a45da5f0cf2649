"""What servers stream, in each of the ways that are known."""

from __future__ import annotations

from typing import Any

import pytest

from cfai import sse
from cfai.bindings.upstream.chunks import Chunks, ErrorInStream, NoChunk
from cfai.tasks.parts import Answer, CallArguments, CallStart, Part, Reasoning, Text
from tests.bindings.upstream.servers import chunk, stream_of

CITY = '{"city": "Oslo"}'


def read(*chunks: Any, thinking: bool = False, logprobs: bool = False) -> tuple[Answer, Chunks]:
    reader = Chunks(tells_thinking=thinking, has_logprobs=logprobs)
    parts: list[Part] = []
    for data in sse.Decoder().feed(stream_of(*chunks, done=False)):
        parts += reader.put(data)
    parts += reader.end()
    return Answer.of(parts, reader.finish), reader


def call(index: int | None, name: str | None, arguments: Any, **more: Any) -> dict[str, Any]:
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    placed = {} if index is None else {"index": index}
    return {"tool_calls": [{**placed, "type": "function", "function": function, **more}]}


def test_text_comes_piece_by_piece_and_the_finish_with_the_last_choice() -> None:
    answer, reader = read(
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": "New"}),
        chunk({"content": " York"}),
        chunk({}, "length"),
        chunk(usage={"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}),
    )
    assert (answer.text, answer.finish, reader.pieces) == ("New York", "length", 2)
    assert reader.usage is not None
    assert (reader.usage.prompt_tokens, reader.usage.completion_tokens) == (3, 2)
    assert reader.is_whole


@pytest.mark.parametrize("reason", ["stop", "eos", "content_filter", "end_turn", 5, ["stop"], {"reason": "stop"}])
def test_a_finish_of_any_other_name_is_an_end_by_itself(reason: Any) -> None:
    assert read(chunk({"content": "x"}, reason))[0].finish == "stop"


@pytest.mark.parametrize("usage_in", ["its own event", "the last choice", "every event"])
def test_usage_is_found_wherever_a_server_tells_it(usage_in: str) -> None:
    told = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    chunks = {
        "its own event": [chunk({"content": "a"}), chunk({}, "stop"), chunk(usage=told)],
        "the last choice": [chunk({"content": "a"}), chunk({}, "stop", usage=told)],
        "every event": [chunk({"content": "a"}, usage={**told, "completion_tokens": 1}), chunk({}, "stop", usage=told)],
    }[usage_in]
    usage = read(*chunks)[1].usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens) == (3, 2)


@pytest.mark.parametrize(
    "usage",
    [{"prompt_tokens": "3"}, {"prompt_tokens": -1}, {"prompt_tokens": 10**400}, {"prompt_tokens_details": 4}, [], 7],
)
def test_usage_that_is_none_counts_as_none(usage: Any) -> None:
    assert read(chunk({"content": "a"}, "stop", usage=usage))[1].usage is None


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning"])
def test_thinking_has_two_names(key: str) -> None:
    answer, _ = read(chunk({key: "hm"}), chunk({key: "m"}), chunk({"content": "Oslo"}, "stop"))
    assert (answer.reasoning, answer.text) == ("hmm", "Oslo")


def test_thinking_that_comes_under_both_names_is_told_once() -> None:
    answer, _ = read(chunk({"reasoning": "hm", "reasoning_content": "hm"}), chunk({"content": "Oslo"}, "stop"))
    assert answer.reasoning == "hm"


def test_thinking_that_a_server_leaves_in_the_text_is_told_apart_where_the_form_has_a_place_for_it() -> None:
    chunks = [chunk({"content": piece}) for piece in ("<th", "ink>h", "m</think>\n", "Oslo")]
    answer, _ = read(*chunks, chunk({}, "stop"), thinking=True)
    assert (answer.reasoning, answer.text) == ("hm", "Oslo")
    assert read(*chunks, chunk({}, "stop"))[0].text == "<think>hm</think>\nOslo"


def test_text_before_a_call_stays_before_it() -> None:
    reader = Chunks(tells_thinking=True, has_logprobs=False)
    parts = [
        part for delta in ({"content": " "}, call(0, "now", "{}", id="c1")) for part in reader.put_body(chunk(delta))
    ]
    assert parts == [Text(" "), CallStart(0, "c1", "now"), CallArguments(0, "{}")]


@pytest.mark.parametrize(
    ("deltas", "calls"),
    [
        pytest.param(
            [call(0, "weather", "", id="c1"), call(0, None, '{"city"'), call(0, None, ': "Oslo"}')],
            [("c1", "weather", CITY)],
            id="in parts, as OpenAI and vLLM",
        ),
        pytest.param([call(0, "weather", CITY, id="c1")], [("c1", "weather", CITY)], id="whole, as Ollama"),
        pytest.param(
            [call(0, "weather", CITY, id="c1"), call(0, "time", "{}", id="c2")],
            [("c1", "weather", CITY), ("c2", "time", "{}")],
            id="several with index 0, as Ollama",
        ),
        pytest.param(
            [call(None, "weather", CITY, id="c1"), call(None, "weather", CITY, id="c2")],
            [("c1", "weather", CITY), ("c2", "weather", CITY)],
            id="without an index, as Ollama of 2024",
        ),
        pytest.param(
            [call(0, "weather", "", id="c1"), call(0, "weather", CITY, id="c1")],
            [("c1", "weather", CITY)],
            id="the name and the id again",
        ),
        pytest.param(
            [call(0, "weather", CITY, id="c1"), call(0, None, "", id=None, type=None)],
            [("c1", "weather", CITY)],
            id="an event of nulls behind it, as Cloudflare",
        ),
        pytest.param(
            [call(0, "weather", {"city": "Oslo"}, id="c1")], [("c1", "weather", '{"city":"Oslo"}')], id="as an object"
        ),
        pytest.param([call(0, "now", None, id="c1")], [("c1", "now", "{}")], id="without arguments"),
        pytest.param(
            [call(0, "weather", CITY, id="c1"), call(1, "weather", CITY, id="c2"), call(1, None, " ")],
            [("c1", "weather", CITY), ("c2", "weather", CITY + " ")],
            id="two, by index",
        ),
        pytest.param(
            [{"function_call": {"name": "weather"}}, {"function_call": {"arguments": CITY}}],
            [(None, "weather", CITY)],
            id="as functions were called once",
        ),
        pytest.param([call(0, "weather", CITY)], [(None, "weather", CITY)], id="without an id"),
    ],
)
def test_tool_calls(deltas: list[dict[str, Any]], calls: list[tuple[str | None, str, str]]) -> None:
    answer, _ = read(*map(chunk, deltas), chunk({}, "stop"))
    assert answer.finish == "tool_calls"
    assert [(one.name, one.arguments) for one in answer.calls] == [(name, arguments) for _, name, arguments in calls]
    for found, (wanted, _, _) in zip(answer.calls, calls, strict=True):
        assert found.id == wanted or (wanted is None and found.id)


def test_a_call_and_a_text_in_one_event_are_both_told() -> None:
    reader = Chunks(tells_thinking=False, has_logprobs=False)
    delta = {"content": "Wait.", "reasoning": "hm", **call(0, "now", "{}", id="c1")}
    parts = reader.put_body(chunk(delta))
    assert parts == [Reasoning("hm"), Text("Wait."), CallStart(0, "c1", "now"), CallArguments(0, "{}")]


def test_a_completion_has_its_text_beside_the_choice() -> None:
    answer, _ = read({"choices": [{"text": "New", "index": 0, "finish_reason": None}]}, {"choices": [{"text": ""}]})
    assert answer.text == "New"


def test_content_may_be_a_list_of_parts() -> None:
    parts = [{"type": "text", "text": "New"}, {"type": "text", "text": " York"}]
    assert read(chunk({"content": parts}, "stop"))[0].text == "New York"


def test_logprobs_are_read_in_the_form_of_chats_and_of_completions() -> None:
    told = {"token": "Ne", "logprob": -0.5, "bytes": [78, 101], "top_logprobs": [{"token": "Ne", "logprob": -0.5}]}
    body = chunk({"content": "Ne"})
    body["choices"][0]["logprobs"] = {"content": [told, {"token": "w", "logprob": None, "bytes": None}]}
    (first, second) = read(body, logprobs=True)[0].logprobs
    assert (first.text, first.bytes, first.logprob, first.top[0].text) == ("Ne", b"Ne", -0.5, "Ne")
    assert (second.bytes, second.logprob) == (b"w", 0.0)
    assert read(body)[0].logprobs == ()
    lists = {"tokens": ["Ne"], "token_logprobs": [-0.5], "top_logprobs": [{"Ne": -0.5, "Ol": -1}], "text_offset": [0]}
    (token,) = read({"choices": [{"text": "Ne", "logprobs": lists}]}, logprobs=True)[0].logprobs
    assert (token.text, token.logprob, [other.text for other in token.top]) == ("Ne", -0.5, ["Ne", "Ol"])


@pytest.mark.parametrize("number", ["NaN", "Infinity", '"x"'])
def test_a_logprob_that_json_cannot_have_does_not_reach_the_answer(number: str) -> None:
    told = f'{{"content":[{{"token":"a","logprob":{number}}}]}}'
    data = f'{{"choices":[{{"delta":{{"content":"a"}},"logprobs":{told}}}]}}'
    (token,) = read(data, logprobs=True)[0].logprobs
    assert -9999.0 <= token.logprob <= 0


def test_half_a_surrogate_pair_becomes_a_mark() -> None:
    answer, _ = read('{"choices":[{"delta":{"content":"a\\ud83d"}}]}')
    assert answer.text == "a\ufffd"
    assert answer.text.encode()


@pytest.mark.parametrize(
    "data",
    [
        '{"error": {"message": "boom", "code": 500}}',
        '{"error": "boom"}',
        '{"object": "error", "message": "boom"}',
        '{"error": "it said "boom""}',
    ],
)
def test_errors_come_in_four_forms(data: str) -> None:
    with pytest.raises(ErrorInStream, match="boom"):
        Chunks(tells_thinking=False, has_logprobs=False).put(data)


@pytest.mark.parametrize(
    "data", ["hello", "[1]", "3", "{", "[" * 5000, '{"choices":[{"delta":3}]}', '{"choices":[{"delta":"x"}]}']
)
def test_what_is_no_chunk_is_said_to_be_none(data: str) -> None:
    with pytest.raises(NoChunk):
        Chunks(tells_thinking=False, has_logprobs=False).put(data)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"choices": None},
        {"choices": {}},
        {"choices": [None, 3]},
        {"choices": [{}]},
        {"choices": [{"delta": None}]},
        {"choices": [{"delta": {"tool_calls": [None, {}, {"function": None}]}}]},
        {"choices": [{"index": 1, "delta": {"content": "another's"}}]},
        {"type": "ping"},
    ],
)
def test_a_chunk_that_says_nothing_is_no_error(body: dict[str, Any]) -> None:
    assert Chunks(tells_thinking=False, has_logprobs=False).put_body(body) == []
