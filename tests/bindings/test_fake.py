"""The fake says what a test told it, checks calls as production does, and remembers them."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Mapping
from typing import Any

import pytest

from cfai import Ai, AiError, ByteStream, Call, FakeBinding, Reply, sse
from cfai.binding import Form
from cfai.bindings import Script, UnexpectedCall, in_turn
from cfai.catalog import Catalog
from cfai.errors import BadInput, ConnectionDropped, ContextExceeded, EngineFailure, NoSuchModel, OutOfCapacity
from cfai.tasks.shapes import parse_fidelity
from tests.conftest import ANY_LOOP

pytestmark = ANY_LOOP

MODEL = "@cf/meta/llama-2-7b-chat-int8"
CHAT = "@cf/google/gemma-4-26b-a4b-it"
ASKED = {"prompt": "where is new york?"}
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
IN_JSON = {**ASKED, "response_format": {"type": "json_schema", "json_schema": CITY}}
WEATHER = {
    "name": "get_weather",
    "description": "The weather in a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string", "description": "Where"}}},
}
WITH_TOOLS = {"messages": [{"role": "user", "content": "weather in Paris?"}], "tools": [WEATHER]}


async def text_of(fake: FakeBinding, inputs: Mapping[str, Any] = ASKED, model: str = MODEL) -> Any:
    return (await Ai(fake).run(model, inputs)).response


async def bodies_of(fake: FakeBinding, inputs: Mapping[str, Any] = ASKED, form: Form = "native") -> list[Any]:
    """What the events of a stream carry, `[DONE]` left out."""
    reply = await fake.send(Call(MODEL, {**inputs, "stream": True}, form=form))
    return [sse.loads(data) for data in await data_of(reply) if data != "[DONE]"]


async def data_of(reply: Reply) -> list[str]:
    assert isinstance(reply.body, ByteStream)
    decoder = sse.Decoder()
    return [data async for event in reply.body for data in decoder.feed(event)]


async def test_a_text_comes_whole_or_word_by_word() -> None:
    fake = FakeBinding({MODEL: "in the  state of New York"})
    assert await text_of(fake) == "in the  state of New York"
    pieces = [body["response"] for body in await bodies_of(fake)]
    assert pieces == ["in", " the", "  state", " of", " New", " York", ""]


async def test_an_answer_may_be_said_after_the_fake_was_made() -> None:
    fake = FakeBinding()
    fake.answers[MODEL] = ["New", " York"]
    stream = await Ai(fake).run(MODEL, {**ASKED, "stream": True})
    assert b"".join([event async for event in stream]).endswith(b"data: [DONE]\n\n")
    assert fake.calls[0].inputs["prompt"] == "where is new york?"


async def test_answers_come_in_turn() -> None:
    fake = FakeBinding({MODEL: in_turn(OutOfCapacity(), "New York")})
    with pytest.raises(OutOfCapacity):
        await text_of(fake)
    assert await text_of(fake) == "New York"
    with pytest.raises(UnexpectedCall, match="all 2 answers are used up"):
        await text_of(fake)


@pytest.mark.parametrize(
    ("answers", "said"),
    [(in_turn("a", "b", repeat=True), "ababa"), (in_turn("a", "b", then="c"), "abccc")],
)
async def test_after_the_last_one_comes_what_its_arguments_say(answers: Any, said: str) -> None:
    fake = FakeBinding({MODEL: answers})
    assert "".join([await text_of(fake) for _ in range(5)]) == said


async def test_an_answer_may_be_for_some_inputs() -> None:
    fake = FakeBinding({MODEL: "I do not know."})
    fake.when(lambda inputs: "york" in inputs["prompt"]).answers("in America")
    fake.when(lambda inputs: "paris" in inputs["prompt"], model=MODEL).answers("in France")
    assert await text_of(fake, {"prompt": "where is new york?"}) == "in America"
    assert await text_of(fake, {"prompt": "where is paris?"}) == "in France"
    assert await text_of(fake, {"prompt": "where is rome?"}) == "I do not know."
    assert await text_of(fake, {"messages": [{"role": "user", "content": "new york"}]}) == "I do not know."


async def test_a_function_answers_from_the_call() -> None:
    def loud(call: Call) -> str:
        return str(call.inputs["prompt"]).upper()

    async def counted(call: Call) -> Script:
        return Script(pieces="yes", usage={"prompt_tokens": 7, "completion_tokens": 9})

    assert await text_of(FakeBinding({MODEL: loud})) == "WHERE IS NEW YORK?"
    result = await Ai(FakeBinding({MODEL: counted})).run(MODEL, ASKED)
    assert (result.response, result.usage.total_tokens) == ("yes", 16)


async def test_a_call_that_nobody_expected_says_what_was_called_and_what_there_is() -> None:
    fake = FakeBinding({"@cf/meta/llama-2-7b-chat-fp16": "hi"})
    with pytest.raises(UnexpectedCall) as caught:
        await text_of(fake)
    for told in (
        MODEL,
        '"prompt": "where is new york?"',
        "answers['@cf/meta/llama-2-7b-chat-fp16'] = 'hi' (another model)",
        "nearest     @cf/meta/llama-2-7b-chat-fp16",
        f'fake.answers["{MODEL}"] =',
    ):
        assert told in str(caught.value)


async def test_of_answers_that_do_not_fit_the_models_own_is_the_nearest() -> None:
    fake = FakeBinding({"@cf/meta/llama-2-7b-chat-fp16": "hi", MODEL: in_turn("hi")})
    await text_of(fake)
    with pytest.raises(
        UnexpectedCall, match=r"nearest     answers\['.*'\] = in_turn\('hi'\) \(its answer is used up\)"
    ):
        await text_of(fake)


async def test_a_fake_that_is_strict_no_more_makes_up_what_it_is_not_told() -> None:
    fake = FakeBinding({MODEL: "hi"})
    asked = {"text": ["a", "b"]}
    with pytest.raises(UnexpectedCall, match=r'answers\["@cf/baai/bge-m3"\] = \{...\}  # the result, or its bytes'):
        await Ai(fake).run("@cf/baai/bge-m3", asked)
    fake.strict = False
    assert (await Ai(fake).run("@cf/baai/bge-m3", asked)).shape == [2, 1024]
    assert await text_of(fake) == "hi"


async def test_a_call_that_nobody_expected_is_told_again_when_the_program_swallowed_it() -> None:
    fake = FakeBinding()
    fake.check()
    with contextlib.suppress(Exception):  # as careless programs do
        await text_of(fake)
    with pytest.raises(UnexpectedCall, match="no answer for this call"):
        fake.check()


async def test_answers_that_no_call_got_are_listed() -> None:
    fake = FakeBinding({MODEL: "hi", CHAT: in_turn("a", "b", "c")})
    fake.when(lambda inputs: True, model="@cf/my/model").answers("never")
    await text_of(fake)
    await Ai(fake).run(CHAT, {"messages": [{"role": "user", "content": "hi"}]})
    chat, never = fake.unused
    assert f"answers['{CHAT}']" in chat
    assert "2 of its 3 answers" in chat
    assert "model='@cf/my/model') = 'never'" in never


@pytest.mark.parametrize(
    ("inputs", "kind", "said"),
    [
        ({}, BadInput, "required properties at '/' are 'prompt'"),
        ({"prompt": ""}, BadInput, "Length of '/prompt' must be >= 1 not met"),
        ({**ASKED, "max_tokens": "12"}, BadInput, "Type mismatch of '/max_tokens', 'integer' not in 'string'"),
        ({"prompt": "word " * 9000}, ContextExceeded, "exceeded this model context window limit"),
    ],
)
async def test_inputs_are_refused_as_in_production(inputs: Any, kind: type[AiError], said: str) -> None:
    fake = FakeBinding({MODEL: "hi"})
    with pytest.raises(kind, match=said):
        await Ai(fake).run(MODEL, inputs)
    assert isinstance(fake.calls[0].error, kind)
    fake.check()


async def test_a_model_that_there_is_not_is_refused_as_in_production() -> None:
    with pytest.raises(NoSuchModel, match="5007: No such model @cf/meta/llama-9"):
        await Ai(FakeBinding({MODEL: "hi"})).run("@cf/meta/llama-9", ASKED)


async def test_the_limits_are_those_of_the_day() -> None:
    fake = FakeBinding({MODEL: lambda call: itertools.repeat("x")})
    for as_of, stream, tokens in ((None, False, 256), ("2023-11-14", True, 1800)):
        options = {} if as_of is None else {"asOf": as_of}
        reply = await fake.send(Call(MODEL, {**ASKED, "stream": stream}, options))
        if stream:
            await data_of(reply)
        usage = fake.calls[-1].usage
        assert usage is not None
        assert (usage.completion_tokens, fake.calls[-1].finish_reason) == (tokens, "length")


async def test_json_mode_gives_the_value() -> None:
    fake = FakeBinding({MODEL: {"city": "Paris"}})
    assert await text_of(fake, IN_JSON) == {"city": "Paris"}
    pieces = [body["response"] for body in await bodies_of(fake, IN_JSON)]
    assert len(pieces) > 2
    assert json.loads("".join(pieces)) == {"city": "Paris"}


async def test_a_dict_is_a_whole_result_otherwise() -> None:
    result = {"response": "hi", "usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}}
    fake = FakeBinding({MODEL: result})
    assert await Ai(fake).run(MODEL, ASKED) == result
    assert await Ai(fake).run(MODEL, IN_JSON) == result


async def test_tool_calls_have_the_form_of_the_call() -> None:
    fake = FakeBinding({MODEL: [{"name": "get_weather", "arguments": {"city": "Paris"}}]})
    result = await Ai(fake).run(MODEL, WITH_TOOLS)
    assert result.tool_calls == [{"name": "get_weather", "arguments": {"city": "Paris"}}]
    tools = [{"type": "function", "function": WEATHER}]
    reply = await fake.send(Call(MODEL, {**WITH_TOOLS, "tools": tools}, form="chat"))
    (choice,) = reply.body["choices"]
    assert choice["finish_reason"] == "tool_calls"
    (call,) = choice["message"]["tool_calls"]
    assert json.loads(call["function"]["arguments"]) == {"city": "Paris"}


async def test_an_error_behind_pieces_ends_the_stream() -> None:
    fake = FakeBinding({MODEL: ["New", EngineFailure("the model failed")]})
    stream = await Ai(fake).run(MODEL, {**ASKED, "stream": True})
    assert await anext(stream) == b'data: {"response":"New"}\n\n'
    with pytest.raises(EngineFailure, match="the model failed"):
        await anext(stream)
    with pytest.raises(EngineFailure, match="the model failed"):
        await text_of(fake)


async def test_bytes_are_the_body_as_it_is() -> None:
    chunks = [b"data: {", b'"response":"New"}\n\n', b"data: [DONE]\n\n"]
    reply = await FakeBinding({MODEL: chunks}).send(Call(MODEL, {**ASKED, "stream": True}))
    assert reply.headers["content-type"] == "text/event-stream"
    assert [chunk async for chunk in reply.body] == chunks


async def test_pieces_come_by_the_clock_and_cost_no_time() -> None:
    fake = FakeBinding({MODEL: ["New", " York", "!"]}, first_piece_after=3600, between_pieces=60)
    stream = await Ai(fake).run(MODEL, {**ASKED, "stream": True})
    assert stream.clock is fake.clock
    times = []
    async for _ in stream:
        times.append(fake.clock.now())
    assert times == [3600, 3660, 3720, 3720, 3720]
    await text_of(fake)
    assert fake.clock.now() == 2 * 3720


async def test_a_stream_that_is_closed_early_is_remembered() -> None:
    fake = FakeBinding({MODEL: ["New", " York", "!"]})
    stream = await Ai(fake).run(MODEL, {**ASKED, "stream": True})
    await anext(stream)
    await stream.aclose()
    await text_of(fake)
    closed, whole = fake.calls
    assert (closed.closed, closed.finished) == (True, False)
    assert (whole.closed, whole.finished) == (False, True)


async def test_a_stream_is_finished_once_its_last_event_was_read() -> None:
    fake = FakeBinding({MODEL: ["New", " York"]})
    reply = await fake.send(Call(MODEL, {"prompt": "hi", "stream": True}))
    assert isinstance(reply.body, ByteStream)
    told = [fake.calls[0].finished async for _ in reply.body]
    assert told == [False] * (len(told) - 1) + [True]


async def test_how_a_body_of_bytes_ended_is_remembered_as_well() -> None:
    fake = FakeBinding(
        {MODEL: [b"data: {}\n\n", b"data: [DONE]\n\n"], CHAT: [b"data: {}\n\n", ConnectionDropped("gone")]}
    )
    read, left = [await Ai(fake).run(MODEL, {**ASKED, "stream": True}) for _ in range(2)]
    assert len([chunk async for chunk in read]) == 2
    await anext(left)
    await left.aclose()
    broken = await Ai(fake).run(CHAT, {"messages": [{"role": "user", "content": "hi"}], "stream": True})
    with pytest.raises(ConnectionDropped):
        _ = [chunk async for chunk in broken]
    ends = [(call.finished, call.closed, call.error is None) for call in fake.calls]
    assert ends == [(True, False, True), (False, True, True), (False, False, False)]


async def test_stop_texts_end_an_answer() -> None:
    fake = FakeBinding({CHAT: ["one ", "E", "N", "D", " two"]})
    asked = {"messages": [{"role": "user", "content": "count"}], "stop": ["END"]}
    result = await Ai(fake).run(CHAT, asked)
    assert result.choices[0].message.content == "one "
    assert result.choices[0].finish_reason == "stop"


async def test_what_cannot_be_an_answer_is_refused_where_it_is_written() -> None:
    fake = FakeBinding()
    for answer in (5, None, OutOfCapacity, iter(["a"]), ["a", 5], {"a", "b"}):
        with pytest.raises(TypeError):
            fake.answers[MODEL] = answer  # type: ignore[assignment]  # which is what is tested
    with pytest.raises(ValueError, match="did you mean 'length'"):
        Script(finish_reason="lenght")  # type: ignore[arg-type]  # as above


async def test_choices_of_one_call_come_side_by_side() -> None:
    fake = FakeBinding({MODEL: ["a", "b"]})
    asked = {"messages": [{"role": "user", "content": "hi"}], "n": 2}
    choices = [choice for body in await bodies_of(fake, asked, form="chat") for choice in body["choices"]]
    assert [(one["index"], one["delta"]["content"]) for one in choices if one["delta"].get("content")] == [
        (0, "a"),
        (1, "a"),
        (0, "b"),
        (1, "b"),
    ]
    assert fake.calls[0].usage is not None
    assert fake.calls[0].usage.completion_tokens == 4


async def test_what_an_iterator_gives_is_said_by_every_choice() -> None:
    fake = FakeBinding({MODEL: lambda call: iter(["a", "b"]), CHAT: lambda call: iter([b"a", b"b"])})
    asked = {"messages": [{"role": "user", "content": "hi"}], "n": 2}
    reply = await fake.send(Call(MODEL, asked, form="chat"))
    assert [choice["message"]["content"] for choice in reply.body["choices"]] == ["ab", "ab"]
    reply = await fake.send(Call(CHAT, asked, form="chat"))
    assert [chunk async for chunk in reply.body] == [b"a", b"b"]


async def test_a_prompt_that_does_not_fit_is_refused_before_anything_is_answered() -> None:
    fake = FakeBinding({MODEL: in_turn({"response": "hi"})})
    with pytest.raises(ContextExceeded):
        await text_of(fake, {"prompt": "word " * 9000})
    assert await text_of(fake) == "hi"


async def test_thinking_and_log_probabilities_stand_where_the_form_has_them() -> None:
    fake = FakeBinding({CHAT: Script(reasoning="let me see", pieces=["New", " York"])})
    asked = {"messages": [{"role": "user", "content": "hi"}], "logprobs": True, "top_logprobs": 1}
    (choice,) = (await Ai(fake).run(CHAT, asked)).choices
    assert (choice.message.reasoning_content, choice.message.content) == ("let me see", "New York")
    assert [token.token for token in choice.logprobs.content] == ["New", " York"]
    usage = fake.calls[0].usage
    assert usage is not None
    assert (usage.completion_tokens, usage.reasoning_tokens) == (5, 3)


async def test_a_tool_that_was_not_offered_cannot_be_called() -> None:
    fake = FakeBinding({MODEL: [{"name": "get_wether", "arguments": {}}]})
    with pytest.raises(UnexpectedCall, match=r"(?s)'get_wether'.*nearest     get_weather"):
        await Ai(fake).run(MODEL, WITH_TOOLS)
    with pytest.raises(UnexpectedCall, match="no tools"):
        await Ai(fake).run(MODEL, ASKED)


async def test_a_vision_model_takes_images() -> None:
    model = "@cf/meta/llama-3.2-11b-vision-instruct"
    fake = FakeBinding({model: "a cat"})
    assert await text_of(fake, {"prompt": "what is it?", "image": [137, 80, 78, 71]}, model) == "a cat"
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw=="}}
    asked = {"messages": [{"role": "user", "content": [{"type": "text", "text": "what is it?"}, picture]}]}
    assert (await fake.send(Call(model, asked, form="chat"))).status == 200
    with pytest.raises(BadInput):
        await Ai(FakeBinding({MODEL: "a cat"})).run(MODEL, asked)


async def test_models_that_generate_no_text_are_told_their_results() -> None:
    vectors, speech = "@cf/baai/bge-small-en-v1.5", "@cf/deepgram/aura-1"
    fake = FakeBinding({vectors: {"shape": [1, 2], "data": [[0.5, 0.5]]}, speech: b"ID3"})
    assert (await Ai(fake).run(vectors, {"text": "hello"})).data == [[0.5, 0.5]]
    with pytest.raises(BadInput):
        await Ai(fake).run(vectors, {"txt": "hello"})
    reply = await fake.send(Call(speech, {"text": "hello"}))
    assert reply.headers["content-type"] == "audio/mpeg"
    assert [chunk async for chunk in reply.body] == [b"ID3"]
    assert fake.neurons > 0
    fake.answers[vectors] = "hello"
    with pytest.raises(TypeError, match="'shape', 'data'"):
        await Ai(fake).run(vectors, {"text": "hello"})


async def test_an_assertion_in_a_function_is_told_again_too() -> None:
    def answer(call: Call) -> str:
        assert "system" in str(call.inputs), "the system prompt is missing"
        return "hi"

    fake = FakeBinding({MODEL: answer})
    with contextlib.suppress(Exception):
        await text_of(fake)
    with pytest.raises(AssertionError, match="the system prompt is missing"):
        fake.check()


async def test_an_exception_of_ones_own_is_raised_as_it_is() -> None:
    fake = FakeBinding({MODEL: TimeoutError("too slow"), CHAT: ["a", ConnectionDropped()]})
    with pytest.raises(TimeoutError, match="too slow"):
        await text_of(fake)
    asked = {"messages": [{"role": "user", "content": "hi"}], "stream": True}
    reply = await fake.send(Call(CHAT, asked))
    with pytest.raises(ConnectionDropped):
        await data_of(reply)


async def test_headers_of_a_script_are_the_replys() -> None:
    fake = FakeBinding({MODEL: Script(pieces="hi", headers={"CF-AIG-Log-Id": "01J"})})
    ai = Ai(fake)
    await ai.run(MODEL, ASKED)
    assert ai.aiGatewayLogId == "01J"


async def test_what_a_reader_changes_is_its_own() -> None:
    fake = FakeBinding({MODEL: {"response": {"cities": ["Paris"]}}})
    (await fake.send(Call(MODEL, ASKED))).body["response"]["cities"].clear()
    assert await text_of(fake) == {"cities": ["Paris"]}


async def test_a_fake_of_a_server_remembers_so_many_calls() -> None:
    fake = FakeBinding({MODEL: "hi"}, most_calls=2)
    for number in range(5):
        await text_of(fake, {"prompt": str(number)})
    assert [call.inputs["prompt"] for call in fake.calls] == ["3", "4"]


async def test_ids_and_times_are_the_same_in_every_run() -> None:
    asked = {"messages": [{"role": "user", "content": "hi"}]}
    first, second = [await Ai(FakeBinding({CHAT: "hi"}, seed=4)).run(CHAT, asked) for _ in range(2)]
    assert first == second
    assert first.id != (await Ai(FakeBinding({CHAT: "hi"}, seed=5)).run(CHAT, asked)).id


async def test_an_answer_costs_what_the_catalog_or_the_script_says() -> None:
    priced, asked = "@cf/meta/llama-3.1-8b-instruct", {"messages": [{"role": "user", "content": "hi"}]}
    counted = {"prompt_tokens": 1000, "completion_tokens": 100}
    fake = FakeBinding({priced: in_turn(Script(pieces="hi", usage=counted), Script(pieces="hi", usage={"neurons": 7}))})
    reply = await fake.send(Call(priced, asked))
    by_the_catalog = Catalog.builtin().get(priced).neurons_of(1000, 100)
    assert by_the_catalog is not None
    assert fake.neurons == by_the_catalog > 0
    assert reply.headers["cf-ai-neurons"] == f"{by_the_catalog:.2f}"
    await fake.send(Call(priced, asked))
    assert fake.calls[1].neurons == 7


async def test_bytes_take_their_time_as_well() -> None:
    fake = FakeBinding({MODEL: [b"one", b"two"]}, first_piece_after=3, between_pieces=1)
    reply = await fake.send(Call(MODEL, {"prompt": "hi", "stream": True}))
    assert isinstance(reply.body, ByteStream)
    assert fake.clock.now() == 3
    assert [(chunk, fake.clock.now()) async for chunk in reply.body] == [(b"one", 3), (b"two", 4)]


async def test_in_production_a_model_of_the_responses_form_streams_nothing_through_run() -> None:
    asked = Call("@cf/openai/gpt-oss-20b", {"input": "hi", "stream": True})
    for fidelity, is_stream in (("clean", True), ("production", False)):
        fake = FakeBinding({asked.model: "hello"}, fidelity=parse_fidelity(fidelity))
        assert isinstance((await fake.send(asked)).body, ByteStream) == is_stream
