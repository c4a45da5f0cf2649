"""The schemas as data: complete, without references, and each on its day."""

import json
from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest

from cfai.binding import Form
from cfai.catalog import Catalog, Model
from cfai.errors import BadInput
from cfai.tasks.text_generation import check, input_schema, output_schema

MODELS = [model for model in Catalog.builtin().models() if model.task == "Text Generation"]
FORMS: list[Form] = ["chat", "completion", "responses"]


def nodes(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        yield schema
    for item in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        yield from nodes(item)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.id)
def test_every_model_has_both_schemas(model: Model) -> None:
    for schema in (input_schema(model), output_schema(model), *(input_schema(model, form=form) for form in FORMS)):
        assert json.loads(json.dumps(schema)) == schema
        for node in nodes(schema):
            assert not {"$ref", "eras", "source"}.intersection(node)
            assert "items" in node or node.get("type") != "array"


def test_without_a_model_the_schema_is_the_classic_one() -> None:
    assert input_schema() == input_schema(Catalog.builtin().get("@cf/meta/llama-3.2-1b-instruct"))
    assert [option["title"] for option in input_schema()["oneOf"]] == ["Prompt", "Messages"]


def test_gpt_oss_has_three_options() -> None:
    options = input_schema(Catalog.builtin().get("@cf/openai/gpt-oss-120b"))["oneOf"]
    assert [option["title"] for option in options] == ["Responses", "Prompt", "Messages"]
    assert [option["required"] for option in options] == [["input"], ["prompt"], ["messages"]]


@pytest.mark.parametrize(
    ("day", "longest"),
    [("2023-11-30", None), ("2023-12-01", 4096), ("2024-04-11", 6144), ("2024-12-31", 6144), ("2025-01-01", None)],
)
def test_prompts_had_a_longest_length_for_a_time(day: str, longest: int | None) -> None:
    as_of = date.fromisoformat(day)
    assert check({"prompt": "a" * (longest or 100_000)}, as_of=as_of).prompt is not None
    if longest is not None:
        with pytest.raises(BadInput, match=f"Length of '/prompt' must be <= {longest}"):
            check({"prompt": "a" * (longest + 1)}, as_of=as_of)


def test_penalties_were_not_negative_before_2025() -> None:
    for extra in ({"frequency_penalty": -1}, {"presence_penalty": -1}):
        assert check({"prompt": "a", **extra}, as_of=date(2025, 1, 1)).prompt == "a"
        with pytest.raises(BadInput, match="must be >= 0"):
            check({"prompt": "a", **extra}, as_of=date(2024, 12, 31))
    with pytest.raises(BadInput, match=r"'/top_p' must be >= 0\.001"):
        check({"prompt": "a", "top_p": 0}, as_of=date(2025, 1, 1))
    # What was allowed then still means the likeliest token alone, or all of them.
    assert check({"prompt": "a", "top_p": 0}, as_of=date(2024, 12, 31)).top_p == 0.001
    assert check({"prompt": "a", "top_p": 2}, as_of=date(2024, 12, 31)).top_p == 2.0
