"""Tools, and the choice among them, in each of the ways in which clients write them."""

from typing import Any

import pytest

from cfai.binding import Form
from cfai.errors import BadInput
from cfai.tasks.parts import ToolCall
from cfai.tasks.text_generation import Message, TextGeneration, Tool, check

USER = {"role": "user", "content": "hi"}
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string", "description": "where"}}}
FLAT = {"name": "weather", "description": "the weather", "parameters": PARAMETERS}
WRAPPED = {"type": "function", "function": FLAT}
WEATHER = Tool("weather", "the weather", PARAMETERS)
TIME = Tool("time", "", {"type": "object", "properties": {}})

FORMS: list[Form] = ["native", "chat"]
both_forms = pytest.mark.parametrize("form", FORMS)


def ask(form: Form = "native", **inputs: Any) -> TextGeneration:
    return check({"messages": [USER], **inputs}, form=form)


def problem(form: Form, **inputs: Any) -> str:
    with pytest.raises(BadInput) as refused:
        ask(form, **inputs)
    return refused.value.description.removeprefix("Error: ")


@both_forms
@pytest.mark.parametrize("tool", [FLAT, WRAPPED, {"type": "function", **FLAT}], ids=["flat", "wrapped", "responses"])
def test_a_tool_may_be_flat_or_wrapped(form: Form, tool: dict[str, Any]) -> None:
    request = ask(form, tools=[tool, {"name": "time"}])
    assert (request.tools, request.tool_choice, request.forced_tool) == ((WEATHER, TIME), "auto", None)
    assert request.tools[0].to_json() == WRAPPED


@both_forms
@pytest.mark.parametrize(
    ("given", "choice", "forced"),
    [
        (None, "auto", None),
        ("auto", "auto", None),
        ("none", "none", None),
        ("required", "required", None),
        ("any", "required", None),
        ({"type": "required"}, "required", None),
        ({"type": "function", "function": {"name": "time"}}, "required", "time"),
        ({"type": "function", "name": "time"}, "required", "time"),
    ],
)
def test_the_choice_among_tools(form: Form, given: Any, choice: str, forced: str | None) -> None:
    request = ask(form, tools=[WRAPPED, {"name": "time"}], tool_choice=given)
    assert (request.tool_choice, request.forced_tool) == (choice, forced)


@both_forms
@pytest.mark.parametrize(
    ("inputs", "sentence"),
    [
        ({"tools": ["f"]}, "Type mismatch of '/tools/0', 'object' not in 'string'"),
        ({"tools": [{}]}, "required properties at '/tools/0' are 'name,description,parameters'"),
        ({"tools": [{"name": ""}]}, "Length of '/tools/0/name' must be >= 1 not met"),
        ({"tools": [{"name": "f" * 257}]}, "Length of '/tools/0/name' must be <= 256"),
        ({"tools": [FLAT, WRAPPED]}, "'/tools' has two tools of one name"),
        (
            {"tools": [{"type": "web_search"}]},
            "'/tools/0' has the type 'web_search', and tools are of the type 'function'",
        ),
        (
            {"tools": [{"name": "f", "parameters": {"type": "array"}}]},
            "'/tools/0/parameters/type' is 'array', and arguments are an 'object'",
        ),
        ({"tools": [FLAT], "tool_choice": "weather"}, "enum weather not in auto,none,required,any at '/tool_choice'"),
        (
            {"tools": [FLAT], "tool_choice": {"type": "function", "function": {"name": "time"}}},
            "'/tool_choice' names 'time', which is not among the tools: weather",
        ),
        (
            {"tools": [FLAT], "tool_choice": {"type": "function"}},
            "required properties at '/tool_choice' are 'type,function'",
        ),
        (
            {"tools": [FLAT], "tool_choice": {"type": "allowed_tools"}},
            "'/tool_choice' has the type 'allowed_tools', and a choice is of the type 'function'",
        ),
        ({"tools": [FLAT], "tool_choice": 5}, "Type mismatch of '/tool_choice', 'object' not in 'number','integer'"),
        ({"tool_choice": "required"}, "'/tool_choice' asks for a call, and there are no tools"),
    ],
)
def test_tools_that_make_no_sense(form: Form, inputs: dict[str, Any], sentence: str) -> None:
    assert problem(form, **inputs) == sentence


@both_forms
def test_a_description_is_a_text(form: Form) -> None:
    mismatch = "Type mismatch of '/tools/0/function/description', 'string' not in 'boolean'"
    assert problem(form, tools=[{"type": "function", "function": {**FLAT, "description": False}}]) == mismatch


@pytest.mark.parametrize("choice", ["auto", "none"])
def test_a_choice_without_tools_is_no_choice(choice: str) -> None:
    assert ask(tool_choice=choice).tools == ()
    assert ask("chat", tools=[], tool_choice=choice).tools == ()


def test_a_prompt_has_no_tools() -> None:
    assert check({"prompt": "a", "tools": [FLAT], "tool_choice": "required"}).tools == ()


def test_functions_with_code_are_the_callers_business() -> None:
    functions = [{"name": "sum", "code": "(a, b) => a + b"}]
    assert ask(functions=functions).tools == ()
    assert ask("chat", functions=functions).tools == ()
    assert problem("native", functions=[{"name": "sum"}]).endswith(
        "required properties at '/functions/0' are 'name,code'"
    )


def test_the_older_names_of_tools() -> None:
    request = ask("chat", functions=[FLAT, {"name": "time"}], function_call={"name": "time"})
    assert (request.tools, request.tool_choice, request.forced_tool) == ((WEATHER, TIME), "required", "time")
    assert ask("chat", functions=[FLAT], function_call="none").tool_choice == "none"
    newer = ask("chat", tools=[WRAPPED], functions=[{"name": "time"}], function_call="none")
    assert (newer.tools, newer.tool_choice) == ((WEATHER,), "auto")


@both_forms
@pytest.mark.parametrize(
    ("call", "known"),
    [
        (
            {"name": "weather", "arguments": {"city": "Z\u00fcrich"}},
            ToolCall("call00000", "weather", '{"city":"Z\u00fcrich"}'),
        ),
        ({"id": "1", "name": "weather", "arguments": '{"city": 5}'}, ToolCall("1", "weather", '{"city": 5}')),
        ({"name": "weather"}, ToolCall("call00000", "weather", "{}")),
        (
            {"id": "c", "type": "function", "function": {"name": "weather", "arguments": '{"city'}},
            ToolCall("c", "weather", '{"city'),
        ),
        ({"id": None, "function": {"name": "weather", "arguments": {}}}, ToolCall("call00000", "weather", "{}")),
    ],
)
def test_calls_and_their_results_come_back(form: Form, call: dict[str, Any], known: ToolCall) -> None:
    turns = [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "name": "weather", "tool_call_id": known.id, "content": "sunny"},
    ]
    request = check({"messages": [USER, *turns], "tools": [FLAT]}, form=form)
    assert request.messages == (
        Message("user", "hi"),
        Message("assistant", "", tool_calls=(known,)),
        Message("tool", "sunny", name="weather", tool_call_id=known.id),
    )


def test_production_refuses_calls_without_content_as_cloudflare_does() -> None:
    turns = [USER, {"role": "assistant", "content": None, "tool_calls": [{"name": "f"}]}]
    assert check({"messages": turns}).messages is not None
    with pytest.raises(BadInput, match="Type mismatch of '/messages/1/content', 'string' not in 'null'"):
        check({"messages": turns}, fidelity="production")


@both_forms
@pytest.mark.parametrize(
    ("calls", "sentence"),
    [
        ({"a": 1}, "Type mismatch of '/messages/0/tool_calls', 'array' not in 'object'"),
        (["f"], "Type mismatch of '/messages/0/tool_calls/0', 'object' not in 'string'"),
        ([{}], "required properties at '/messages/0/tool_calls/0' are 'name'"),
        ([{"function": {}}], "required properties at '/messages/0/tool_calls/0/function' are 'name'"),
        (
            [{"name": "f", "arguments": [1]}],
            "Type mismatch of '/messages/0/tool_calls/0/arguments', 'object' not in 'array','binary'",
        ),
        (
            [{"name": "f", "id": 5}],
            "Type mismatch of '/messages/0/tool_calls/0/id', 'string' not in 'number','integer'",
        ),
    ],
)
def test_calls_that_make_no_sense(form: Form, calls: Any, sentence: str) -> None:
    with pytest.raises(BadInput) as refused:
        check({"messages": [{"role": "assistant", "content": "", "tool_calls": calls}]}, form=form)
    assert refused.value.description == f"Error: {sentence}"


def test_arguments_that_no_template_could_write_stay_a_text() -> None:
    for arguments in ("[1]", '{"x": NaN}', '{"x": ' + "[" * 500 + "]" * 500 + "}", "[" * 100_000):
        calls = [{"name": "f", "arguments": arguments}]
        (message,) = check({"messages": [{"role": "assistant", "content": "", "tool_calls": calls}]}).messages or ()
        assert message.to_json()["tool_calls"][0]["function"]["arguments"] == arguments


@both_forms
def test_tools_nested_deeper_than_the_stack_are_no_problem(form: Form) -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    assert problem(form, tools=deep).startswith("'/tools' must be nested at most 64 deep")
    wide: Any = {}
    for _ in range(100_000):
        wide = {"function": wide}
    assert "must be nested at most 64 deep" in problem(form, tools=[wide])
    while deep:  # take them apart, or their end would be found by recursion
        deep = deep.pop()
    while wide:
        wide = wide.pop("function")
