"""Embeddings that no model made: the right shape, and near where the words are."""

from __future__ import annotations

import math
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfai.catalog import Catalog
from cfai.errors import BadInput
from cfai.tasks import task_for
from cfai.tasks.vectors import likeness, vector
from tests.plausible import answer

BGE = "@cf/baai/bge-base-en-v1.5"
M3 = "@cf/baai/bge-m3"
QWEN3 = "@cf/qwen/qwen3-embedding-0.6b"
GEMMA = "@cf/google/embeddinggemma-300m"


def nearness(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(
    ("model", "dimensions"),
    [
        ("@cf/baai/bge-small-en-v1.5", 384),
        (BGE, 768),
        ("@cf/baai/bge-large-en-v1.5", 1024),
        (M3, 1024),
        (QWEN3, 1024),
        (GEMMA, 768),
        ("@cf/pfnet/plamo-embedding-1b", 2048),
        ("@hf/baai/bge-base-en-v1.5", 768),
    ],
)
def test_a_vector_has_the_models_own_number_of_dimensions_and_length_1(model: str, dimensions: int) -> None:
    body = answer(model, {"text": ["a cat", "", "日本語の文"]})
    assert body["shape"] == [3, dimensions]
    for found in body["data"]:
        assert len(found) == dimensions
        assert math.hypot(*found) == pytest.approx(1, abs=1e-6)


def test_a_text_alone_is_one_row() -> None:
    assert answer(BGE, {"text": "a cat"})["data"] == answer(BGE, {"text": ["a cat"]})["data"]


def test_a_text_has_one_vector_whatever_stands_beside_it_and_whatever_the_chance() -> None:
    task = task_for(Catalog.builtin().get(BGE))
    (_, cat) = task.plausible(task.check({"text": ["a dog", "a cat"]}), Random(1)).body["data"]
    (same,) = task.plausible(task.check({"text": "A cat."}), Random(2)).body["data"]
    assert cat == same


def test_vectors_of_other_models_and_poolings_are_not_near() -> None:
    (mean,) = answer(BGE, {"text": "a cat sleeps"})["data"]
    (cls,) = answer(BGE, {"text": "a cat sleeps", "pooling": "cls"})["data"]
    (gemma,) = answer(GEMMA, {"text": "a cat sleeps"})["data"]
    assert abs(nearness(mean, cls)) < 0.5
    assert abs(nearness(mean, gemma)) < 0.5


def test_a_search_finds_the_document_that_has_the_words() -> None:
    documents = [
        "The orange cloud is the logo of a company in San Francisco.",
        "Llamas are kept for their wool, and they carry loads over the Andes.",
        "An emoji that hugs is sent to friends.",
        "Workers run close to the people who ask them.",
    ]
    rows = answer(BGE, {"text": documents})["data"]
    for query, place in [("what do llamas carry?", 1), ("which emoji hugs?", 2), ("the company with a cloud", 0)]:
        (asked,) = answer(BGE, {"text": query})["data"]
        assert max(range(4), key=lambda at: nearness(asked, rows[at])) == place


words = st.lists(st.from_regex(r"[a-z]{4,9}", fullmatch=True), min_size=1, max_size=5)


@given(words)
def test_the_same_words_in_another_order_are_as_near_as_the_same_text(chosen: list[str]) -> None:
    assert likeness(" ".join(chosen), " ".join(reversed(chosen))) == pytest.approx(1)
    assert vector(" ".join(chosen), 384) == vector(" ".join(chosen).upper(), 384)


def test_m3_ranks_contexts_embeds_contexts_or_embeds_texts() -> None:
    contexts = [{"text": "dogs bark"}, {"text": "a cat sleeps"}]
    ranked = answer(M3, {"query": "where sleeps the cat", "contexts": contexts})
    assert [row["id"] for row in ranked["response"]] == [1, 0]
    embedded = answer(M3, {"contexts": contexts})
    assert (embedded["shape"], len(embedded["response"])) == ([2, 1024], 2)
    assert answer(M3, {"text": "dogs bark"})["data"] == embedded["response"][:1]


def test_what_another_option_would_take_is_not_looked_at() -> None:
    assert answer(M3, {"text": "dogs bark", "query": 5, "contexts": {"a": 1}}) == answer(M3, {"text": "dogs bark"})


def test_qwen3_embeds_queries_and_documents_in_this_order() -> None:
    body = answer(QWEN3, {"documents": ["b", "c"], "queries": "a"})
    assert body["data"] == answer(QWEN3, {"text": ["a", "b", "c"]})["data"]


@pytest.mark.parametrize(
    ("model", "inputs", "sentence"),
    [
        (
            BGE,
            {},
            "oneOf at '/' not met, 0 matches: required properties at '/' are 'text', "
            "required properties at '/' are 'requests'",
        ),
        (
            BGE,
            {"text": ""},
            "oneOf at '/' not met, 0 matches: Length of '/text' must be >= 1 not met, "
            "Type mismatch of '/text', 'array' not in 'string', required properties at '/' are 'text', "
            "required properties at '/' are 'requests'",
        ),
        (BGE, {"text": ["a"] * 101}, "Length of '/text' must be <= 100"),
        (BGE, {"text": ["a", 5]}, "Type mismatch of '/text/1', 'string' not in 'number','integer'"),
        (BGE, {"requests": [{"text": "a"}]}, "'/requests' is a batch, and this is no batch"),
        (GEMMA, {}, "required properties at '/' are 'text'"),
        (QWEN3, {}, "required properties at '/' are 'text'"),
        (QWEN3, {"text": 5}, "Type mismatch of '/text', 'string' not in 'number','integer'"),
        (QWEN3, {"queries": ["a"] * 33}, "Length of '/queries' must be <= 32"),
        (M3, {"query": "a", "contexts": [{"text": "b"}, {}]}, "required properties at '/contexts/1' are 'text'"),
        (M3, {"contexts": [{"text": "b"}, "c"]}, "Type mismatch of '/contexts/1', 'object' not in 'string'"),
    ],
)
def test_what_does_not_fit_is_refused(model: str, inputs: Any, sentence: str) -> None:
    with pytest.raises(BadInput) as refusal:
        answer(model, inputs)
    assert refusal.value.description == f"Error: {sentence}"


@pytest.mark.parametrize("inputs", [None, [], "a", 5, True, [{"text": "a"}], {"text": None}, {"text": {"0": "a"}}])
def test_any_json_value_is_answered_or_refused(inputs: Any) -> None:
    for model in (BGE, M3, QWEN3, GEMMA):
        with pytest.raises(BadInput):
            answer(model, inputs)


def test_defaults_are_filled_in_and_the_inputs_are_left_as_they_are() -> None:
    inputs = {"text": "a"}
    assert task_for(Catalog.builtin().get(BGE)).check(inputs) == {"text": "a", "pooling": "mean"}
    assert inputs == {"text": "a"}


def test_a_call_costs_neurons_by_the_models_price() -> None:
    task = task_for(Catalog.builtin().get(BGE))
    inputs = task.check({"text": "New York is big"})
    assert task.neurons(inputs, task.plausible(inputs, Random(0))) == pytest.approx(4 * 6058 / 1e6)


def test_text_generation_is_no_task_here() -> None:
    with pytest.raises(ValueError, match="generates text"):
        task_for(Catalog.builtin().get("@cf/meta/llama-2-7b-chat-int8"))
