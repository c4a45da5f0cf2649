"""Labels, translations, summaries, ranks and likenesses that no model made."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfai.errors import BadInput
from cfai.tasks.words import prose, tokens_in, words_of
from tests.plausible import answer

SST = "@cf/huggingface/distilbert-sst-2-int8"
RERANKER = "@cf/baai/bge-reranker-base"
M2M = "@cf/meta/m2m100-1.2b"
INDIC = "@cf/ai4bharat/indictrans2-en-indic-1B"
BART = "@cf/facebook/bart-large-cnn"
MINILM = "@hf/sentence-transformers/all-minilm-l6-v2"


@pytest.mark.parametrize(
    ("text", "likelier"),
    [("This pizza is great, I love it", "POSITIVE"), ("This is the worst pizza, awful", "NEGATIVE")],
)
def test_a_text_is_negative_or_positive_in_this_order(text: str, likelier: str) -> None:
    scores = answer(SST, {"text": text})
    assert [row["label"] for row in scores] == ["NEGATIVE", "POSITIVE"]
    assert sum(row["score"] for row in scores) == pytest.approx(1)
    assert max(scores, key=lambda row: row["score"])["label"] == likelier


def test_a_text_without_feelings_has_the_same_label_again_and_again() -> None:
    assert answer(SST, {"text": "water"}, seed=3) == answer(SST, {"text": "water"}, seed=3)


CONTEXTS = [{"text": "Lisbon lies by a river."}, {"text": "Paris is the capital of France."}, {"text": "Bread."}]


def test_contexts_are_ranked_by_the_words_that_they_share_with_the_query() -> None:
    rows = answer(RERANKER, {"query": "what is the capital of France?", "contexts": CONTEXTS})["response"]
    assert rows[0]["id"] == 1
    assert sorted(row["id"] for row in rows) == [0, 1, 2]
    assert [row["score"] for row in rows] == sorted((row["score"] for row in rows), reverse=True)
    assert all(0 <= row["score"] <= 1 for row in rows)


@pytest.mark.parametrize(("top_k", "count"), [(1, 1), (2, 2), (9, 3)])
def test_top_k_ranks_are_given(top_k: int, count: int) -> None:
    rows = answer(RERANKER, {"query": "France", "contexts": CONTEXTS, "top_k": top_k})["response"]
    assert len(rows) == count
    assert rows[0]["id"] == 1


def test_a_translation_says_which_text_went_into_which_language() -> None:
    assert answer(M2M, {"text": "hello", "target_lang": "fr"}) == {"translated_text": "[fr] hello"}
    assert answer(M2M, {"text": "hello", "target_lang": "en"}) == {"translated_text": "hello"}
    assert answer(M2M, {"text": "bonjour", "source_lang": "fr", "target_lang": "fr"}) == {"translated_text": "bonjour"}


def test_indic_languages_have_a_row_for_each_text() -> None:
    assert answer(INDIC, {"text": "hi", "target_language": "hin_Deva"}) == {"translations": ["[hin_Deva] hi"]}
    rows = answer(INDIC, {"text": ["one", "two"], "target_language": "tam_Taml"})["translations"]
    assert rows == ["[tam_Taml] one", "[tam_Taml] two"]


STORY = "The ship left the harbour at dawn. " * 12


def test_a_summary_is_the_texts_own_beginning_and_shorter() -> None:
    summary = answer(BART, {"input_text": STORY})["summary"]
    assert STORY.startswith(summary.rstrip("."))
    assert len(summary) < len(STORY) / 2
    assert answer(BART, {"input_text": "Hello."}) == {"summary": "Hello."}


@pytest.mark.parametrize("most", [1, 5, 20])
def test_a_summary_has_at_most_max_length_tokens(most: int) -> None:
    summary = answer(BART, {"input_text": STORY, "max_length": most})["summary"]
    assert 0 < tokens_in(summary) <= most


def test_sentences_are_compared_with_the_source() -> None:
    same, alike, other = answer(MINILM, {"source": "a red car", "sentences": ["red car", "a red house", "tea"]})
    assert same > alike > other
    assert answer(MINILM, {"source": "a", "sentences": []}) == []


@pytest.mark.parametrize(
    ("model", "inputs", "sentence"),
    [
        (SST, {"text": ""}, "Length of '/text' must be >= 1 not met"),
        (SST, {"text": ["a"]}, "Type mismatch of '/text', 'string' not in 'array','binary'"),
        (RERANKER, {"query": "a", "contexts": CONTEXTS, "top_k": 0}, "'/top_k' must be >= 1"),
        (RERANKER, {"query": "a", "contexts": ["b"]}, "Type mismatch of '/contexts/0', 'object' not in 'string'"),
        (RERANKER, {"query": "a"}, "required properties at '/' are 'query,contexts'"),
        (BART, {"input_text": STORY, "max_length": "9"}, "Type mismatch of '/max_length', 'integer' not in 'string'"),
        (
            INDIC,
            {"text": ["a"]},
            "required properties at '/' are 'text,target_language': Type mismatch of '/text', 'string' "
            "not in 'array','binary'",
        ),
        (
            MINILM,
            {"source": "a", "sentences": [1]},
            "Type mismatch of '/sentences/0', 'string' not in 'number','integer'",
        ),
    ],
)
def test_what_does_not_fit_is_refused(model: str, inputs: Any, sentence: str) -> None:
    with pytest.raises(BadInput) as refusal:
        answer(model, inputs)
    assert refusal.value.description == f"Error: {sentence}"


@given(st.text())
def test_words_are_found_in_any_text(text: str) -> None:
    words = words_of(text)
    assert all(word == word.casefold() and word for word in words)
    assert tokens_in(text) >= len(words)


@given(st.integers(0, 100), st.randoms(use_true_random=False))
def test_prose_has_as_many_words_as_were_asked_for(count: int, rng: Any) -> None:
    text = prose(rng, count)
    assert len(text.split()) == count
    assert count == 0 or text.endswith(".")
