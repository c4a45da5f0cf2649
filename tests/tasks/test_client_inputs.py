"""Bodies as published clients write them, null and empty fields included."""

from typing import Any

import pytest

from cfai.binding import Form
from cfai.catalog import Catalog
from cfai.tasks.text_generation import TextGeneration, check

LLAMA = Catalog.builtin().get("@cf/meta/llama-3.3-70b-instruct-fp8-fast")
HI = [{"content": "hi", "role": "user"}]
SCHEMA = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "properties": {"a": {"type": "integer"}},
}
FUNCTION = {"name": "final_result", "description": "the answer", "parameters": SCHEMA, "strict": True}
CALL = {"id": "abcdefghi", "type": "function", "function": {"name": "final_result", "arguments": '{"a":1}'}}


@pytest.mark.parametrize(
    ("form", "inputs", "said"),
    [
        ("native", {"prompt": "where is new york?", "stream": True}, {"stream": True}),
        ("native", {"messages": HI, "temperature": 0.7, "stop": None}, {"temperature": 0.7}),
        ("native", {"messages": HI, "tools": [], "stream": True}, {"tools": ()}),
        (
            "native",
            {
                "messages": HI,
                "response_format": {"type": "json_schema", "json_schema": SCHEMA},
                "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA}}],
                "tool_choice": "any",
            },
            {"answer_schema": SCHEMA, "tool_choice": "required"},
        ),
        (
            "native",
            {
                "messages": [
                    *HI,
                    {"role": "assistant", "content": "", "tool_calls": [CALL]},
                    {"role": "tool", "name": "final_result", "tool_call_id": "abcdefghi", "content": '{"b":2}'},
                ],
                "max_tokens": None,
            },
            {"max_tokens": None},
        ),
        ("chat", {"messages": HI, "max_tokens": None, "stream": False}, {"max_tokens": None, "stream": False}),
        (
            "chat",
            {"messages": HI, "stream": True, "stream_options": {"include_usage": True}},
            {"stream": True, "include_usage": True},
        ),
        (
            "chat",
            {"messages": HI, "tools": [{"type": "function", "function": FUNCTION}], "tool_choice": "required"},
            {"tool_choice": "required", "forced_tool": None},
        ),
        (
            "chat",
            {
                "messages": HI,
                "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}},
            },
            {"answer_schema": SCHEMA},
        ),
        ("responses", {"input": "hi", "stream": True}, {"stream": True}),
        (
            "responses",
            {
                "input": HI,
                "include": ["reasoning.encrypted_content"],
                "tools": [{"type": "function", **FUNCTION, "strict": None}],
                "tool_choice": "auto",
                "text": {"format": {"type": "json_schema", "name": "x", "schema": SCHEMA, "description": None}},
                "store": False,
                "truncation": "auto",
            },
            {"logprobs": None, "tool_choice": "auto", "answer_schema": SCHEMA},
        ),
        ("completion", {"prompt": "a", "max_tokens": 16, "suffix": None, "echo": False}, {"max_tokens": 16}),
    ],
)
def test_what_clients_send_is_understood(form: Form, inputs: dict[str, Any], said: dict[str, Any]) -> None:
    request = check(inputs, form=form, model=LLAMA)
    assert isinstance(request, TextGeneration)
    assert {name: getattr(request, name) for name in said} == said
