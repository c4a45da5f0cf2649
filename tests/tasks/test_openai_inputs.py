"""Requests of OpenAI's endpoints, and of the models that take the same through `run`."""

import json
import random
from datetime import date
from typing import Any

import pytest

from cfai.binding import Form
from cfai.catalog import Catalog, Model
from cfai.errors import BadInput
from cfai.tasks.parts import ToolCall
from cfai.tasks.text_generation import Message, ShapeName, TextGeneration, Tool, check

CATALOG = Catalog.builtin()
CLASSIC = CATALOG.get("@cf/meta/llama-3.2-1b-instruct")
CHAT = CATALOG.get("@cf/zai-org/glm-4.7-flash")
GPT_OSS = CATALOG.get("@cf/openai/gpt-oss-20b")
GUARD = CATALOG.get("@cf/meta/llama-guard-3-8b")
USER = {"role": "user", "content": "hi"}
HI = (Message("user", "hi"),)


def problem(inputs: Any, form: Form = "chat", model: Model | None = None) -> str:
    with pytest.raises(BadInput) as refused:
        check(inputs, form=form, model=model)
    assert refused.value.code == 5006
    return refused.value.description.removeprefix("Error: ")


def asked(shape: ShapeName, temperature: float | None = None, is_native: bool = False, **fields: Any) -> TextGeneration:
    """A request that asks for no more than these."""
    return TextGeneration(shape=shape, is_native=is_native, temperature=temperature, **fields)


@pytest.mark.parametrize("model", [None, CLASSIC, CHAT, GPT_OSS], ids=lambda model: model.id if model else "none")
def test_every_model_answers_every_endpoint(model: Model | None) -> None:
    assert check({"messages": [USER]}, form="chat", model=model) == asked("chat", messages=HI)
    assert check({"prompt": "a"}, form="completion", model=model) == asked("completion", prompt="a", raw=True)
    assert check({"input": "hi"}, form="responses", model=model) == asked("responses", messages=HI)


def test_everything_that_a_chat_completion_may_have() -> None:
    inputs = {
        "messages": [USER],
        "max_tokens": 5,
        "max_completion_tokens": 7,
        "temperature": 0,
        "top_p": 0,
        "top_k": -1,
        "min_p": 0.1,
        "seed": -5,
        "repetition_penalty": 1.1,
        "frequency_penalty": -2,
        "presence_penalty": 2,
        "stop": "###",
        "n": 3,
        "stream": True,
        "stream_options": {"include_usage": True, "include_obfuscation": None},
        "logprobs": True,
        "top_logprobs": 20,
        "logit_bias": {"50256": -100, "7": 1.5},
        "response_format": {"type": "json_object"},
        "tools": [{"type": "function", "function": {"name": "f", "strict": None}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "parallel_tool_calls": False,
        "reasoning_effort": "high",
        "chat_template_kwargs": {"enable_thinking": False},
        "lora": "my-lora",
        "modalities": ["text"],
        "service_tier": "auto",
        "store": True,
        "metadata": {"a": "b"},
        "user": "ann",
        "something_new": [1],
    }
    assert check(inputs, form="chat") == asked(
        "chat",
        messages=HI,
        max_tokens=7,
        temperature=0.0,
        top_p=0.001,
        min_p=0.1,
        seed=-5,
        repetition_penalty=1.1,
        frequency_penalty=-2.0,
        presence_penalty=2.0,
        stop=("###",),
        n=3,
        stream=True,
        include_usage=True,
        logprobs=20,
        logit_bias={50256: -100.0, 7: 1.5},
        answer_schema={"type": "object"},
        tools=(Tool("f"),),
        tool_choice="required",
        forced_tool="f",
        parallel_tool_calls=False,
        template_options={"reasoning_effort": "high", "enable_thinking": False},
        lora="my-lora",
    )


def test_null_and_nothing_are_not_given() -> None:
    names = ("max_tokens", "stop", "tool_choice", "response_format", "logprobs", "n", "stream_options", "audio")
    inputs = {"messages": [USER], "tools": [], "functions": [], "stop": [], **dict.fromkeys(names)}
    assert check(inputs, form="chat") == asked("chat", messages=HI)
    assert check({"input": "hi", "reasoning": {"effort": None}, "text": {"format": None}}, form="responses") == asked(
        "responses", messages=HI, echoed={"reasoning": {}, "text": {}}
    )


@pytest.mark.parametrize(
    ("extra", "sentence"),
    [
        ({"max_tokens": "5"}, "Type mismatch of '/max_tokens', 'integer' not in 'string'"),
        ({"max_completion_tokens": 0}, "'/max_completion_tokens' must be >= 1"),
        ({"temperature": 6}, "'/temperature' must be <= 5"),
        ({"top_p": 1.1}, "'/top_p' must be <= 1"),
        ({"top_k": 0.5}, "Type mismatch of '/top_k', 'integer' not in 'number'"),
        ({"n": 0}, "'/n' must be >= 1"),
        ({"n": 129}, "'/n' must be <= 128"),
        ({"stream": "yes"}, "Type mismatch of '/stream', 'boolean' not in 'string'"),
        ({"stream_options": 5}, "Type mismatch of '/stream_options', 'object' not in 'number','integer'"),
        (
            {"stream_options": {"include_usage": 1}},
            "Type mismatch of '/stream_options/include_usage', 'boolean' not in 'number','integer'",
        ),
        ({"logprobs": 5}, "Type mismatch of '/logprobs', 'boolean' not in 'number','integer'"),
        ({"top_logprobs": 2}, "'/top_logprobs' needs '/logprobs' to be true"),
        ({"logprobs": True, "top_logprobs": 21}, "'/top_logprobs' must be <= 20"),
        ({"logit_bias": [1]}, "Type mismatch of '/logit_bias', 'object' not in 'array','binary'"),
        ({"logit_bias": {"a": 1}}, "'/logit_bias' has the key 'a', and keys are the numbers of tokens"),
        ({"logit_bias": {"-1": 1}}, "'/logit_bias' has the key '-1', and keys are the numbers of tokens"),
        ({"logit_bias": {"1": 101}}, "'/logit_bias/1' must be >= -100 and <= 100"),
        ({"logit_bias": {"1": True}}, "Type mismatch of '/logit_bias/1', 'number' not in 'boolean'"),
        ({"stop": 5}, "Type mismatch of '/stop', 'array' not in 'number','integer'"),
        ({"stop": ["a"] * 17}, "Length of '/stop' must be <= 16"),
        ({"audio": {"voice": "alloy"}}, "'/audio' asks for an answer in audio"),
        ({"modalities": ["text", "audio"]}, "'/modalities' asks for more than 'text'"),
        ({"web_search_options": {}}, "'/web_search_options' asks for a web search"),
        (
            {"reasoning_effort": "hard"},
            "enum hard not in none,minimal,low,medium,high,xhigh at '/reasoning_effort'",
        ),
        (
            {"chat_template_kwargs": {"messages": []}},
            "'/chat_template_kwargs' has 'messages', which the request itself decides",
        ),
        ({"chat_template_kwargs": 5}, "Type mismatch of '/chat_template_kwargs', 'object' not in 'number','integer'"),
        ({"messages": []}, "Length of '/messages' must be >= 1 not met"),
        ({"messages": None}, "required properties at '/' are 'messages'"),
        ({"messages": "hi"}, "Type mismatch of '/messages', 'array' not in 'string'"),
        ({"messages": [USER] * 1025}, "Length of '/messages' must be <= 1024"),
        (
            {"messages": [{"role": "alien", "content": "hi"}]},
            "enum alien not in developer,system,user,assistant,tool,function at '/messages/0/role'",
        ),
        ({"messages": [{"content": "hi"}]}, "required properties at '/messages/0' are 'role'"),
        ({"messages": [{"role": "user"}]}, "required properties at '/messages/0' are 'role,content'"),
        (
            {"messages": [{"role": "user", "content": None}]},
            "Type mismatch of '/messages/0/content', 'string' not in 'null'",
        ),
    ],
)
def test_what_a_chat_completion_may_not_have(extra: dict[str, Any], sentence: str) -> None:
    assert problem({"messages": [USER], **extra}) == sentence


@pytest.mark.parametrize(
    ("part", "hint"),
    [
        ({"type": "image_url", "image_url": {"url": "data:"}}, "images need a vision model, and none runs locally yet"),
        ({"type": "input_audio", "input_audio": {}}, "no model that takes audio runs locally yet"),
        ({"type": "file", "file": {}}, "put the text of the file into the message"),
        ({"type": "smell"}, ""),
    ],
)
def test_only_text_can_be_read(part: dict[str, Any], hint: str) -> None:
    with pytest.raises(BadInput, match=f"has the type '{part['type']}', and content is made of 'text'") as refused:
        check({"messages": [{"role": "user", "content": [{"type": "text", "text": "see"}, part]}]}, form="chat")
    assert refused.value.hint == hint


@pytest.mark.parametrize(
    ("inputs", "options"),
    [
        ({"reasoning_effort": "low"}, {"reasoning_effort": "low"}),
        ({"reasoning_effort": "none"}, {"reasoning_effort": "none", "enable_thinking": False}),
        ({"enable_thinking": True}, {"enable_thinking": True}),
        ({"enable_thinking": True, "chat_template_kwargs": {"enable_thinking": False}}, {"enable_thinking": False}),
        ({"chat_template_kwargs": {"clear_thinking": True, "x": [1]}}, {"clear_thinking": True, "x": [1]}),
    ],
)
def test_what_goes_to_the_chat_template(inputs: dict[str, Any], options: dict[str, Any]) -> None:
    assert check({"messages": [USER], **inputs}, form="chat").template_options == options
    assert check({"messages": [USER], **inputs}, model=CLASSIC).template_options == options


def test_turns_come_back_as_they_were_answered() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
    request = check(
        {
            "messages": [
                {"role": "developer", "content": "be short"},
                USER,
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [call],
                    "reasoning_content": "hm",
                    "refusal": None,
                },
                {"role": "tool", "content": [{"type": "text", "text": "2"}], "tool_call_id": "c1"},
                {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}], "reasoning": "well"},
                {"role": "assistant", "content": None, "function_call": {"name": "g", "arguments": "{broken"}},
                {"role": "function", "name": "g", "content": "3"},
            ]
        },
        form="chat",
    )
    assert request.messages == (
        Message("developer", "be short"),
        *HI,
        Message("assistant", "", tool_calls=(ToolCall("c1", "f", '{"x": 1}'),), reasoning="hm"),
        Message("tool", "2", tool_call_id="c1"),
        Message("assistant", "no", reasoning="well"),
        Message("assistant", "", tool_calls=(ToolCall("call00001", "g", "{broken"),)),
        Message("function", "3", name="g"),
    )
    shown = [message.to_json() for message in request.messages]
    assert [message["role"] for message in shown] == [
        *("system", "user", "assistant", "tool", "assistant", "assistant", "tool")
    ]
    assert shown[2] == {
        "role": "assistant",
        "content": "",
        "reasoning_content": "hm",
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": {"x": 1}}}],
    }
    # What is no JSON goes to the model as it wrote it.
    assert shown[5]["tool_calls"][0]["function"]["arguments"] == "{broken"


def test_a_completion_continues_its_prompt() -> None:
    inputs = {"prompt": ["Once"], "best_of": 2, "n": 2, "logprobs": 3, "echo": False, "stream": True, "max_tokens": 16}
    assert check(inputs, form="completion") == asked(
        "completion", prompt="Once", raw=True, n=2, logprobs=3, stream=True, max_tokens=16
    )


@pytest.mark.parametrize(
    ("inputs", "sentence"),
    [
        ({}, "required properties at '/' are 'prompt'"),
        ({"prompt": ["a", "b"]}, "'/prompt' must be one text, not 2"),
        ({"prompt": []}, "'/prompt' must be one text, not 0"),
        ({"prompt": [1, 2]}, "'/prompt' must be a text, not tokens"),
        ({"prompt": "a", "suffix": "b"}, "'/suffix' asks for a text to be filled in"),
        ({"prompt": "a", "echo": True}, "'/echo' asks for the prompt in the answer"),
        ({"prompt": "a", "best_of": 2}, "'/best_of' must be <= '/n'"),
        ({"prompt": "a", "logprobs": True}, "Type mismatch of '/logprobs', 'integer' not in 'boolean'"),
    ],
)
def test_what_a_completion_may_not_have(inputs: dict[str, Any], sentence: str) -> None:
    assert problem(inputs, "completion") == sentence


def test_a_response_repeats_its_request() -> None:
    tool = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}, "strict": True}
    inputs = {
        "input": [
            {"role": "user", "content": "what is 1 + 1?"},
            {"type": "reasoning", "summary": []},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I ask"}]},
            {"type": "function_call", "id": "fc", "call_id": "c1", "name": "f", "arguments": '{"x":1}'},
            {"type": "function_call", "call_id": "c2", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "2"},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "thanks"}]},
        ],
        "instructions": "be short",
        "max_output_tokens": 9,
        "reasoning": {"effort": "low"},
        "text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}},
        "tools": [tool],
        "tool_choice": {"type": "function", "name": "f"},
        "temperature": 0.5,
        "include": ["message.output_text.logprobs"],
        "previous_response_id": None,
        "stream": True,
    }
    echoed = ("instructions", "max_output_tokens", "reasoning", "text", "temperature")
    assert check(inputs, form="responses") == asked(
        "responses",
        temperature=0.5,
        messages=(
            Message("system", "be short"),
            Message("user", "what is 1 + 1?"),
            Message("assistant", "I ask", tool_calls=(ToolCall("c1", "f", '{"x":1}'), ToolCall("c2", "f", "{}"))),
            Message("tool", "2", tool_call_id="c1"),
            Message("user", "thanks"),
        ),
        max_tokens=9,
        template_options={"reasoning_effort": "low"},
        answer_schema={"type": "object"},
        tools=(Tool("f"),),
        tool_choice="required",
        forced_tool="f",
        logprobs=0,
        stream=True,
        echoed={name: inputs[name] for name in echoed},
    )


@pytest.mark.parametrize(
    ("inputs", "sentence"),
    [
        ({}, "required properties at '/' are 'input'"),
        ({"input": []}, "Length of '/input' must be >= 1 not met"),
        ({"input": [{"type": "reasoning"}]}, "'/input' has no message"),
        ({"input": [{}] * 1025}, "Length of '/input' must be <= 1024"),
        ({"input": ["hi"]}, "Type mismatch of '/input/0', 'object' not in 'string'"),
        ({"input": [{"role": "user"}]}, "required properties at '/input/0' are 'role,content'"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image"}]}]},
            "'/input/0/content/0' has the type 'input_image', and content is made of 'text' parts only",
        ),
        (
            {"input": [{"type": "item_reference", "id": "x"}]},
            "'/input/0' has the type 'item_reference', and input is made of messages, function calls and their outputs",
        ),
        (
            {"input": [{"type": "function_call_output", "output": "x"}]},
            "required properties at '/input/0' are 'call_id,output'",
        ),
        (
            {"input": "hi", "tools": [{"type": "web_search"}]},
            "'/tools/0' has the type 'web_search', and tools are of the type 'function'",
        ),
        (
            {"input": "hi", "previous_response_id": "resp_1"},
            "'/previous_response_id' names an earlier answer, and none is stored",
        ),
        ({"input": "hi", "conversation": "c"}, "'/conversation' names a conversation, and none is stored"),
        ({"input": "hi", "background": True}, "'/background' asks for an answer to be fetched later"),
        ({"input": "hi", "prompt": {"id": "p"}}, "'/prompt' names a prompt that is stored elsewhere"),
        ({"input": "hi", "reasoning": "high"}, "Type mismatch of '/reasoning', 'object' not in 'string'"),
    ],
)
def test_what_a_response_may_not_have(inputs: dict[str, Any], sentence: str) -> None:
    assert problem(inputs, "responses") == sentence


def test_a_model_of_the_chat_family_answers_run_with_completions() -> None:
    assert check({"messages": [USER]}, model=CHAT) == asked("chat", is_native=True, messages=HI)
    assert check({"prompt": "a", "stream": True}, model=CHAT) == asked(
        "completion", is_native=True, prompt="a", stream=True
    )
    raw = check({"messages": [USER], "raw": True, "stop": None, "logprobs": True}, model=CHAT)
    assert raw == asked("chat", is_native=True, messages=HI, raw=True, logprobs=0)


def test_gpt_oss_tells_the_forms_apart() -> None:
    assert check({"input": "hi", "instructions": "be short"}, model=GPT_OSS) == asked(
        "responses",
        is_native=True,
        messages=(Message("system", "be short"), *HI),
        echoed={"instructions": "be short"},
    )
    assert check({"messages": [USER]}, model=GPT_OSS).shape == "chat"
    assert check({"prompt": "hi"}, model=GPT_OSS).shape == "completion"


def test_gpt_oss_had_one_form_at_first() -> None:
    assert check({"input": "hi"}, model=GPT_OSS, as_of=date(2026, 2, 16)).shape == "responses"
    assert check({"messages": [USER]}, model=GPT_OSS, as_of=date(2026, 2, 17)).shape == "chat"
    with pytest.raises(BadInput, match="required properties at '/' are 'input'"):
        check({"messages": [USER]}, model=GPT_OSS, as_of=date(2026, 2, 16))


def test_a_picture_is_not_passed_over() -> None:
    vision = CATALOG.get("@cf/meta/llama-3.2-11b-vision-instruct")
    assert check({"prompt": "what is it?", "image": None}, model=vision).prompt == "what is it?"
    assert problem({"prompt": "what is it?", "image": [1, 2, 3]}, "native", vision) == "'/image' cannot be looked at"


@pytest.mark.parametrize(
    ("inputs", "model", "sentence"),
    [
        ({}, CHAT, "0 matches: required properties at '/' are 'prompt', required properties at '/' are 'messages'"),
        ({"prompt": "a", "messages": [USER]}, CHAT, "2 matches"),
        ({"prompt": "a", "temperature": 6}, CHAT, "0 matches: '/temperature' must be <= 5"),
        ({"messages": [USER], "n": 0}, CHAT, "0 matches: '/n' must be >= 1"),
        (
            {},
            GPT_OSS,
            "0 matches: required properties at '/' are 'input', required properties at '/' are 'prompt', "
            "required properties at '/' are 'messages'",
        ),
        ({"input": "hi", "messages": [USER]}, GPT_OSS, "2 matches: required properties at '/' are 'prompt'"),
    ],
)
def test_run_refuses_in_the_validators_words(inputs: dict[str, Any], model: Model, sentence: str) -> None:
    assert problem(inputs, "native", model) == f"oneOf at '/' not met, {sentence}"


def test_the_guard_model_has_a_form_of_its_own() -> None:
    turns = [USER, {"role": "assistant", "content": "hello"}]
    verdict = check({"messages": turns, "response_format": {"type": "json_object"}}, model=GUARD)
    assert verdict.shape == "classic" and verdict.messages is not None and verdict.answer_schema is not None
    assert set(verdict.answer_schema["properties"]) == {"safe", "categories"}
    assert check({"messages": turns}, model=GUARD).answer_schema is None
    assert problem({"messages": [*turns, turns[1]]}, "native", GUARD).startswith("'/messages' must alternate")
    assert problem({"prompt": "a"}, "native", GUARD) == "required properties at '/' are 'messages'"
    assert problem({"messages": [{"role": "system", "content": "x"}]}, "native", GUARD) == (
        "enum system not in user,assistant at '/messages/0/role'"
    )


KEYS = sorted(
    {
        *TextGeneration.__dataclass_fields__,
        *("input", "instructions", "text", "reasoning", "include", "stream_options", "top_logprobs", "functions"),
        *("function_call", "response_format", "guided_json", "reasoning_effort", "chat_template_kwargs", "best_of"),
        *("max_completion_tokens", "max_output_tokens", "modalities", "enable_thinking", "metadata", "echo"),
    }
)
SCALARS: list[Any] = [None, True, False, 0, 1, -1, 5.0, 0.5, 10**400, float("nan"), b"bytes", "", "a", "user", "\ud800"]
SCALARS += ["function", "function_call", "function_call_output", "json_schema", "none", "required", "input_text"]
NAMES: list[Any] = ["role", "content", "type", "text", "name", "parameters", "function", "arguments", "tool_calls", 5]
NAMES += ["json_schema", "schema", "format", "effort", "call_id", "output", "id", "code", "a/b", "\udfff", "properties"]


def any_json(rng: random.Random, depth: int = 0) -> Any:
    kind = rng.random()
    if kind < 0.5 or depth > 4:
        return rng.choice(SCALARS)
    if kind < 0.7:
        return [any_json(rng, depth + 1) for _ in range(rng.randrange(4))]
    return {rng.choice(NAMES): any_json(rng, depth + 1) for _ in range(rng.randrange(5))}


@pytest.mark.parametrize(
    ("form", "model"),
    [
        ("chat", None),
        ("completion", None),
        ("responses", None),
        ("native", CHAT),
        ("native", GPT_OSS),
        ("native", GUARD),
    ],
    ids=["chat", "completion", "responses", "native chat", "native responses", "guard"],
)
def test_whatever_comes_in_only_bad_input_or_a_sound_request_comes_out(form: Form, model: Model | None) -> None:
    rng = random.Random(20240517)
    accepted = 0
    for _ in range(3_000):
        key, value = rng.choice(
            [
                ("messages", [USER]),
                ("prompt", "a"),
                ("input", "hi"),
                ("messages", [any_json(rng)]),
                ("input", any_json(rng)),
            ]
        )
        inputs = {key: value, **{name: any_json(rng) for name in rng.sample(KEYS, rng.randrange(4))}}
        try:
            request = check(inputs, form=form, model=model)
        except BadInput as error:
            json.dumps(error.to_body(), ensure_ascii=False).encode()
            continue
        accepted += 1
        assert (request.prompt is None) != (request.messages is None)
        shown: list[Any] = [message.to_json() for message in request.messages or ()]
        shown += [tool.to_json() for tool in request.tools]
        shown += [request.answer_schema, request.template_options, request.echoed]
        json.dumps(shown, allow_nan=False, ensure_ascii=False).encode()
    assert accepted > 100
