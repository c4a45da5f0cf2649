"""The schema that an answer must fit, in each of the ways in which requests say it."""

from typing import Any

import pytest

from cfai.binding import Form
from cfai.errors import BadInput
from cfai.tasks.text_generation import check

USER = {"role": "user", "content": "hi"}
SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}, "schema": {"type": "integer"}}}
WRAPPER = {"name": "person", "schema": SCHEMA, "strict": True, "description": None}
FORMS: list[Form] = ["native", "chat", "completion"]


def answer_schema(form: Form, **inputs: Any) -> Any:
    opening = {"prompt": "a"} if form == "completion" else {"messages": [USER]}
    return check({**opening, **inputs}, form=form).answer_schema


def problem(form: Form, **inputs: Any) -> str:
    with pytest.raises(BadInput) as refused:
        answer_schema(form, **inputs)
    return refused.value.description.removeprefix("Error: ")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("response_format", "schema"),
    [
        (None, None),
        ({"type": "json_object"}, {"type": "object"}),
        ({"type": "json_schema", "json_schema": SCHEMA}, SCHEMA),
        ({"type": "json_schema", "json_schema": WRAPPER}, SCHEMA),
        ({"type": "json_schema", "json_schema": {"schema": SCHEMA}}, SCHEMA),
        ({"json_schema": SCHEMA}, SCHEMA),
        ({"type": "json_schema", "json_schema": {"enum": ["a"]}}, {"enum": ["a"]}),
        ({"type": "json_schema", "json_schema": True}, {}),
        ({"type": "json_schema", "json_schema": {}}, {}),
    ],
)
def test_the_schema_may_be_bare_or_wrapped(form: Form, response_format: Any, schema: Any) -> None:
    assert answer_schema(form, response_format=response_format) == schema


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("response_format", "sentence"),
    [
        ({"type": "json_schema"}, "required properties at '/response_format' are 'type,json_schema'"),
        (
            {"type": "json_schema", "json_schema": {"name": "n"}},
            "required properties at '/response_format/json_schema' are 'name,schema'",
        ),
        (
            {"type": "json_schema", "json_schema": "{}"},
            "Type mismatch of '/response_format/json_schema', 'object' not in 'string'",
        ),
        (
            {"type": "json_schema", "json_schema": {"name": "n", "schema": 5}},
            "Type mismatch of '/response_format/json_schema/schema', 'object' not in 'number','integer'",
        ),
        (
            {"type": "json_schema", "json_schema": False},
            "Type mismatch of '/response_format/json_schema', 'object' not in 'boolean'",
        ),
    ],
)
def test_formats_without_a_schema(form: Form, response_format: Any, sentence: str) -> None:
    assert problem(form, response_format=response_format) == sentence


def test_text_is_a_format_of_openai_alone() -> None:
    assert answer_schema("chat", response_format={"type": "text"}) is None
    assert "enum text not in json_object,json_schema at '/response_format/type'" in problem(
        "native", response_format={"type": "text"}
    )
    assert problem("chat", response_format={"type": "xml"}) == (
        "enum xml not in text,json_object,json_schema at '/response_format/type'"
    )


@pytest.mark.parametrize("form", FORMS)
def test_guided_json_is_a_schema_or_its_text(form: Form) -> None:
    assert answer_schema(form, guided_json=SCHEMA) == SCHEMA
    assert answer_schema(form, guided_json='{"type": "integer"}') == {"type": "integer"}
    assert answer_schema(form, guided_json=SCHEMA, response_format={"type": "json_object"}) == {"type": "object"}
    assert problem(form, guided_json="{") == "'/guided_json' is a text that is no JSON"
    assert problem(form, guided_json="[" * 100 + "]" * 100) == "'/guided_json' must be nested at most 64 deep"
    assert problem(form, guided_json=5) == "Type mismatch of '/guided_json', 'object' not in 'number','integer'"


@pytest.mark.parametrize(
    ("text", "schema"),
    [
        ({}, None),
        ({"format": {"type": "text"}, "verbosity": "low"}, None),
        ({"format": {"type": "json_object"}}, {"type": "object"}),
        ({"format": {"type": "json_schema", "name": "n", "schema": SCHEMA}}, SCHEMA),
    ],
)
def test_the_format_of_a_response(text: dict[str, Any], schema: Any) -> None:
    assert check({"input": "hi", "text": text}, form="responses").answer_schema == schema


def test_a_response_format_needs_its_schema() -> None:
    with pytest.raises(BadInput, match="required properties at '/text/format' are 'type,schema'"):
        check({"input": "hi", "text": {"format": {"type": "json_schema", "name": "n"}}}, form="responses")
