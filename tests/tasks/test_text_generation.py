"""Inputs of text generation become something that can be answered, or a BadInput and nothing else."""

import enum
import json
import random
from datetime import date
from typing import Any

import pytest

from cfai.errors import BadInput
from cfai.tasks import text_generation
from cfai.tasks.parts import ToolCall
from cfai.tasks.text_generation import Message, TextGeneration, Tool, check

THE_DAY_OF_THE_FIRST_STREAM = date(2023, 11, 14)
USER = {"role": "user", "content": "hi"}


def problem(inputs: Any, *, as_of: date | None = None) -> str:
    with pytest.raises(BadInput) as refused:
        check(inputs, as_of=as_of)
    return refused.value.description.removeprefix("Error: ")


def test_a_prompt_alone() -> None:
    assert check({"prompt": "where is new york?"}) == TextGeneration(prompt="where is new york?")


def test_everything_that_a_prompt_may_have() -> None:
    inputs = {
        "prompt": "a",
        "raw": True,
        "stream": True,
        "max_tokens": 5.0,
        "temperature": 1,
        "top_p": 1,
        "top_k": 50,
        "seed": 9999999999,
        "repetition_penalty": 2,
        "frequency_penalty": -2,
        "presence_penalty": 0.5,
        "lora": "my-lora",
        "response_format": {"type": "json_object"},
        "stop": "###",
    }
    checked = check(inputs)
    assert checked == TextGeneration(
        prompt="a",
        raw=True,
        stream=True,
        max_tokens=5,
        temperature=1.0,
        top_p=1.0,
        top_k=50,
        seed=9999999999,
        repetition_penalty=2.0,
        frequency_penalty=-2.0,
        presence_penalty=0.5,
        lora="my-lora",
        answer_schema={"type": "object"},
        stop=("###",),
    )
    assert (type(checked.max_tokens), type(checked.temperature)) == (int, float)


def test_a_conversation_with_tools() -> None:
    tools = [{"name": "f", "description": "d", "parameters": {"type": "object", "properties": {}}}]
    calls = [{"name": "f", "arguments": {"x": [1, 2.5, None]}}]
    checked = check(
        {
            "messages": [
                {"role": "system", "content": "be short"},
                {"role": "user", "content": [{"type": "text", "text": "where"}, {"text": "is it?"}], "name": "ann"},
                {"role": "assistant", "content": "", "tool_calls": calls, "name": None},
                {"role": "tool", "content": "here", "tool_call_id": "1"},
            ],
            "tools": tools,
            "stop": ["a", "b"],
            "lora": "my-lora",
        }
    )
    assert checked == TextGeneration(
        messages=(
            Message("system", "be short"),
            Message("user", "where\nis it?", name="ann"),
            Message("assistant", "", tool_calls=(ToolCall("call00000", "f", '{"x":[1,2.5,null]}'),)),
            Message("tool", "here", tool_call_id="1"),
        ),
        tools=(Tool("f", "d"),),
        stop=("a", "b"),
        lora="my-lora",
    )
    assert checked.messages is not None
    assert [message.to_json() for message in checked.messages] == [
        {"role": "system", "content": "be short"},
        {"role": "user", "content": "where\nis it?", "name": "ann"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {
                    "id": "call00000",
                    "type": "function",
                    "function": {"name": "f", "arguments": {"x": [1, 2.5, None]}},
                }
            ],
        },
        {"role": "tool", "content": "here", "tool_call_id": "1"},
    ]


def test_null_at_the_top_is_not_given() -> None:
    inputs = {"prompt": "a", "messages": None, "max_tokens": None, "top_p": None, "stop": None, "tools": None}
    assert check(inputs) == TextGeneration(prompt="a")


@pytest.mark.parametrize(
    ("inputs", "prompt"),
    [
        ({"prompt": "a", "messages": 5, "tools": float("nan")}, "a"),
        ({"prompt": 5, "messages": [USER]}, None),
        ({"prompt": "a", "lora": 5, "messages": [USER], "functions": []}, "a"),
    ],
)
def test_what_belongs_to_the_other_form_is_ignored(inputs: dict[str, Any], prompt: str | None) -> None:
    if "lora" in inputs:
        assert problem(inputs) == "Type mismatch of '/lora', 'string' not in 'number','integer'"
    else:
        assert check(inputs).prompt == prompt


def test_unknown_keys_are_ignored() -> None:
    assert check({"prompt": "a", "x": b"?", 5: 6, "\ud800": "\ud800"}) == TextGeneration(prompt="a")


@pytest.mark.parametrize(
    ("extra", "sentence"),
    [
        ({"temperature": float("nan")}, "'/temperature' must be a finite number"),
        ({"top_p": float("nan")}, "'/top_p' must be a finite number"),
        ({"max_tokens": 0}, "'/max_tokens' must be >= 1"),
        ({"max_tokens": -1.0}, "'/max_tokens' must be >= 1"),
        ({"repetition_penalty": 0.001}, "'/repetition_penalty' must be 0 or >= 0.01"),
        ({"response_format": "json"}, "Type mismatch of '/response_format', 'object' not in 'string'"),
        (
            {"response_format": {"json_schema": {"\udc00": 1}}},
            "'/response_format/json_schema' has half a surrogate pair",
        ),
        (
            {"response_format": {"json_schema": {5: 1}}},
            "'/response_format/json_schema' has a key that is not a string: 5",
        ),
        ({"response_format": {"json_schema": {1, 2}}}, "'/response_format/json_schema' must be a JSON value, not set"),
        ({"response_format": {"json_schema": [2**1025]}}, "'/response_format/json_schema/0' must be a finite number"),
        ({"lora": "a\ud83d"}, "'/lora' has half a surrogate pair, at character 1"),
        ({"stop": 5}, "Type mismatch of '/stop', 'array' not in 'number','integer'"),
        ({"stop": ["a", 5]}, "Type mismatch of '/stop/1', 'string' not in 'number','integer'"),
        ({"stop": ["a", ""]}, "Length of '/stop' must be >= 1 not met"),
        ({"stop": ["a"] * 17}, "Length of '/stop' must be <= 16"),
    ],
)
@pytest.mark.parametrize("form", [{"prompt": "a"}, {"messages": [USER]}], ids=["prompt", "messages"])
def test_options_that_the_schema_lets_through(form: dict[str, Any], extra: dict[str, Any], sentence: str) -> None:
    assert problem({**form, **extra}).startswith(sentence)


@pytest.mark.parametrize(
    ("extra", "sentence"),
    [
        ({"seed": 0}, "oneOf at '/' not met, 0 matches: '/seed' must be >= 1"),
        ({"top_k": 51}, "oneOf at '/' not met, 0 matches: '/top_k' must be <= 50"),
        ({"top_p": True}, "oneOf at '/' not met, 0 matches: Type mismatch of '/top_p', 'number' not in 'boolean'"),
        ({"temperature": -1}, "oneOf at '/' not met, 0 matches: '/temperature' must be >= 0"),
        ({"lora": 5}, "Type mismatch of '/lora', 'string' not in 'number','integer'"),
        ({"tools": {}}, "Type mismatch of '/tools', 'array' not in 'object'"),
        ({"tools": [{}] * 1025}, "Length of '/tools' must be <= 1024"),
        ({"functions": [{}] * 1025}, "Length of '/functions' must be <= 1024"),
        ({"tools": ["\ud800"]}, "'/tools/0' has half a surrogate pair, at character 0"),
    ],
)
def test_options_beside_messages(extra: dict[str, Any], sentence: str) -> None:
    assert problem({"messages": [USER], **extra}).startswith(sentence)


@pytest.mark.parametrize(
    ("messages", "sentence"),
    [
        ([], "Length of '/messages' must be >= 1 not met"),
        ([USER] * 1025, "Length of '/messages' must be <= 1024"),
        ({"first": USER}, "Type mismatch of '/messages', 'array' not in 'object'"),
        (["hi"], "Type mismatch of '/messages/0', 'object' not in 'string'"),
        ([None, USER], "Type mismatch of '/messages/0', 'object' not in 'null'"),
        ([None, {"role": "user"}], "Type mismatch of '/messages/0', 'object' not in 'null'"),
        (
            [USER, {**USER, "role": "alien"}],
            "enum alien not in system,developer,user,assistant,tool,function at '/messages/1/role'",
        ),
        ([{**USER, "name": 5}], "Type mismatch of '/messages/0/name', 'string' not in 'number','integer'"),
        (
            [{**USER, "tool_call_id": []}],
            "Type mismatch of '/messages/0/tool_call_id', 'string' not in 'array','binary'",
        ),
        ([{**USER, "tool_calls": {"a": 1}}], "Type mismatch of '/messages/0/tool_calls', 'array' not in 'object'"),
        ([{**USER, "content": "a\udfff"}], "'/messages/0/content' has half a surrogate pair, at character 1"),
        ([{**USER, "content": ["a"]}], "Type mismatch of '/messages/0/content/0', 'object' not in 'string'"),
        (
            [{**USER, "content": {"a": {"text": "x"}}}],
            "Type mismatch of '/messages/0/content', 'array' not in 'object'",
        ),
        ([{**USER, "content": [{"type": "text"}]}], "required properties at '/messages/0/content/0' are 'type,text'"),
        (
            [{**USER, "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}],
            "'/messages/0/content/0' has the type 'image_url', and content is made of 'text' parts only",
        ),
        (
            [{**USER, "content": [None, {"text": 5}]}],
            "Type mismatch of '/messages/0/content/0', 'object' not in 'null'",
        ),
    ],
)
def test_messages_that_the_schema_lets_through(messages: Any, sentence: str) -> None:
    assert problem({"messages": messages}) == sentence


def test_members_of_an_enum_of_texts_are_their_texts() -> None:
    class Role(str, enum.Enum):  # noqa: UP042, a StrEnum would not show the difference
        USER = "user"

    assert check({"messages": [{"role": Role.USER, "content": Role.USER}]}).messages == (Message("user", "user"),)
    assert type(check({"prompt": Role.USER}).prompt) is str


def test_an_empty_list_of_parts_is_an_empty_message() -> None:
    assert check({"messages": [{**USER, "content": []}]}).messages == (Message("user", ""),)


def test_content_parts_have_a_first_day() -> None:
    parts = {"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]}
    assert check(parts, as_of=date(2026, 2, 17)).messages == (Message("user", "hi"),)
    assert problem(parts, as_of=date(2026, 2, 16)) == (
        "oneOf at '/' not met, 0 matches: required properties at '/' are 'prompt', "
        "Type mismatch of '/messages/0/content', 'string' not in 'array'"
    )


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


def test_what_is_nested_too_deeply_is_refused() -> None:
    circular: list[Any] = []
    circular.extend([circular, circular])
    sentence = "'/tools' must be nested at most 64 deep"
    assert problem({"messages": [USER], "tools": nested(63)}) == "Type mismatch of '/tools/0', 'object' not in 'array'"
    assert problem({"messages": [USER], "tools": nested(64)}) == sentence
    assert problem({"messages": [USER], "tools": circular}) == sentence


def test_the_input_is_left_alone() -> None:
    inputs = {"messages": [{**USER, "content": [{"type": "text", "text": "hi"}]}], "top_p": None, "max_tokens": 5.0}
    before = json.dumps(inputs)
    check(inputs)
    assert json.dumps(inputs) == before


SCALARS: list[Any] = [None, True, False, 0, 1, -1, 5.0, 0.5, 300, 10**400, float("nan"), float("-inf"), b"bytes"]
SCALARS += ["", "a", "user", "text", "json_object", "\ud800", "\N{EARTH GLOBE AMERICAS}"]


def any_json(rng: random.Random, depth: int = 0) -> Any:
    kind = rng.random()
    if kind < 0.6 or depth > 4:
        return rng.choice(SCALARS)
    if kind < 0.8:
        return [any_json(rng, depth + 1) for _ in range(rng.randrange(4))]
    names = ["role", "content", "type", "text", "name", "properties", "parameters", "a/b", 5, "\udfff", "tool_calls"]
    return {rng.choice(names): any_json(rng, depth + 1) for _ in range(rng.randrange(4))}


def any_inputs(rng: random.Random) -> Any:
    inputs: dict[Any, Any] = {}
    if rng.random() < 0.5:
        inputs["prompt"] = rng.choice(["a", "", "a\ud800", any_json(rng)])
    if rng.random() < 0.6:
        message = {"role": rng.choice(["user", any_json(rng)]), "content": rng.choice(["hi", any_json(rng)])}
        inputs["messages"] = rng.choice([[message, any_json(rng)], [message], any_json(rng)])
    for name in rng.sample(sorted(text_generation.TextGeneration.__dataclass_fields__), rng.randrange(4)):
        inputs[name] = any_json(rng)
    return inputs if rng.random() < 0.95 else any_json(rng)


def test_whatever_comes_in_only_bad_input_or_a_sound_request_comes_out() -> None:
    rng = random.Random(20231114)
    accepted = 0
    for _ in range(10_000):
        inputs = any_inputs(rng)
        as_of = rng.choice([None, THE_DAY_OF_THE_FIRST_STREAM])
        try:
            checked = check(inputs, as_of=as_of)
        except BadInput as error:
            json.dumps(error.to_body(), ensure_ascii=False).encode()
            continue
        accepted += 1
        assert (checked.prompt is None) != (checked.messages is None)
        assert checked.prompt != "" and checked.messages != ()
        json.dumps([message.to_json() for message in checked.messages or ()], allow_nan=False).encode()
        tools = [tool.to_json() for tool in checked.tools]
        json.dumps([tools, checked.answer_schema], allow_nan=False, ensure_ascii=False).encode()
        assert checked.temperature is not None and 0 <= checked.temperature <= 5
    assert accepted > 500


def test_the_prompt_goes_raw_until_december_2023() -> None:
    assert text_generation.prompt_form(THE_DAY_OF_THE_FIRST_STREAM) == "raw"
    assert text_generation.prompt_form(date(2023, 11, 30)) == "raw"
    assert text_generation.prompt_form(date(2023, 12, 1)) == "template"
    assert text_generation.prompt_form() == "template"
