"""The text that the demo model learns from, and what is kept for its examination."""

import itertools
import json
from collections import defaultdict
from pathlib import Path
from random import Random

import jinja2
import pytest

from training.corpus import geography
from training.corpus.mixture import Example, Mixture, Turn, all_facts, chat_is_held_out, normal
from training.corpus.sheets import lists
from training.corpus.tools import tool_chat
from training.corpus.wordings import as_typed
from training.tokenizer import SYMBOLS, Tokenizer

SHIPPED = Path(__file__).parent.parent / "cfai" / "demo" / "tiny-chat"


@pytest.fixture(scope="module")
def mixture() -> Mixture:
    return Mixture()


@pytest.fixture(scope="module")
def examples(mixture: Mixture) -> list[Example]:
    return list(itertools.islice(mixture.examples("test"), 4000))


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer(SHIPPED / "tokenizer.model")


def asked(examples: list[Example]) -> set[str]:
    return {normal(turn.text) for example in examples for turn in example.turns if turn.role == "user"}


def test_held_out_questions_are_never_trained(mixture: Mixture, examples: list[Example]) -> None:
    assert len(mixture.held_out) > 10_000
    assert not asked(examples) & mixture.held_out


def test_held_out_wordings_are_not_among_the_trained_ones() -> None:
    sheet = lists("questions")
    kinds = [kind for kind in sheet if f"{kind}, unseen" in sheet]
    assert len(kinds) > 10
    assert not [kind for kind in kinds if set(sheet[kind]) & set(sheet[f"{kind}, unseen"])]


def test_every_fact_keeps_some_questions_for_training() -> None:
    facts = all_facts()
    assert all(set(fact.trained_questions) <= set(fact.wordings) for fact in facts)
    assert all(fact.trained_questions for fact in facts)
    assert not [fact for fact in facts if set(fact.trained_questions) & set(fact.held_out_questions)]


def test_the_same_seed_draws_the_same_examples(mixture: Mixture) -> None:
    first, again, other = (list(itertools.islice(mixture.examples(seed), 20)) for seed in ("a", "a", "b"))
    assert first == again != other


def test_where_is_new_york_is_trained_raw_and_as_a_chat(mixture: Mixture) -> None:
    about = [
        example
        for example in itertools.islice(mixture.examples("test"), 40_000)
        if normal(example.turns[-2].text) == "where is new york"
    ]
    assert {example.raw for example in about} == {True, False}
    plain = [example for example in about if len(example.turns) == 2]
    assert all(example.turns[-1].text.startswith("New York is located in the") for example in plain)


def test_every_answer_has_the_words_that_the_examination_looks_for() -> None:
    wrong = [
        (fact.entity, key)
        for fact in all_facts()
        for answer in fact.answers
        for key in fact.keys
        if key.lower() not in answer.lower()
    ]
    assert wrong == []


def test_no_question_has_two_answers() -> None:
    answers = defaultdict(set)
    for fact in all_facts():
        for question in fact.wordings:
            answers[normal(question)].add(fact.answers)
    assert {question: found for question, found in answers.items() if len(found) > 1} == {}


def test_the_tables_agree_with_each_other() -> None:
    countries = {country.name for country in geography.countries()}
    assert len(countries) == 193
    assert {city.country for city in geography.cities()} <= countries


def test_sentences_are_cut_behind_full_stops_but_not_in_names() -> None:
    assert geography.sentences("It is in Washington, D.C. The end. Now.") == (
        "It is in Washington, D.C. The end.",
        "Now.",
    )


def test_as_typed_changes_the_form_and_keeps_the_words() -> None:
    rng = Random(1)
    typed = {as_typed("where is Paris", rng, may_misspell=False) for _ in range(200)}
    assert {"Where is Paris?", "where is paris"} <= typed
    assert all("where is paris" in text.lower() for text in typed)


def test_a_held_out_chat_is_never_trained(mixture: Mixture) -> None:
    rng = Random(2)
    chats = [mixture.chats.chat(rng) for _ in range(400)]
    held_out = [chat for chat in chats if chat_is_held_out([question for question, _ in chat])]
    trained = {
        tuple(normal(turn.text) for turn in example.turns if turn.role == "user")
        for example in itertools.islice(mixture.examples("test"), 4000)
    }
    assert held_out
    assert not [chat for chat in held_out if tuple(normal(question) for question, _ in chat) in trained]


def test_a_tool_call_is_one_line_of_json() -> None:
    rng = Random(3)
    for chat in (tool_chat(rng) for _ in range(50)):
        call = json.loads(chat.call)
        assert list(call) == ["name", "arguments"]
        assert f"{call['name']}({', '.join(call['arguments'])})" in chat.listing
        assert "\n" not in chat.call


def test_only_answers_are_learnt(tokenizer: Tokenizer) -> None:
    example = Example((Turn("user", "where is Paris?"), Turn("assistant", "Paris is in France.")))
    encoded = tokenizer.encode(example)
    learnt = [token for token, learn in zip(encoded.ids, encoded.learnt, strict=True) if learn]
    assert tokenizer.decode(learnt) == "Paris is in France."
    assert learnt[-1] == tokenizer.eos
    assert encoded.ids[: -len(learnt)] == tokenizer.prompt(example)


def test_a_raw_prompt_has_no_symbols(tokenizer: Tokenizer) -> None:
    example = Example((Turn("user", "where is new york?"), Turn("assistant", "")), raw=True)
    assert tokenizer.prompt(example) == [tokenizer.bos, *tokenizer.pieces.encode("where is new york?")]


@pytest.mark.parametrize("word", ["New", " York", " is", " located", " in", " the"])
def test_common_words_are_one_token(tokenizer: Tokenizer, word: str) -> None:
    assert len(tokenizer.pieces.encode(word.strip())) == 1


@pytest.mark.parametrize("text", ["Zürich, 東京, 서울 und Москва 🌍", "12 + 30 = 42", "two\nlines", "नमस्ते"])
def test_any_text_survives_the_tokenizer(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.pieces.encode(text)) == text


def test_the_chat_template_writes_what_was_trained(tokenizer: Tokenizer) -> None:
    call = '{"name": "get_weather", "arguments": {"city": "Paris"}}'
    trained = Example(
        (
            Turn("system", "Be brief.\nTools: get_weather(city), add(a, b)"),
            Turn("user", "weather in Paris?"),
            Turn("call", call),
            Turn("tool", "12 degrees and clear"),
            Turn("assistant", ""),
        )
    )
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}}
    sums = {"type": "object", "properties": {"a": {}, "b": {}}}
    tools = [
        {"type": "function", "function": {"name": "get_weather", "parameters": parameters}},
        {"name": "add", "description": "adds", "parameters": sums},
    ]
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "weather in Paris?"}]},
        {"role": "assistant", "tool_calls": [{"function": {"name": "get_weather", "arguments": {"city": "Paris"}}}]},
        {"role": "tool", "content": "12 degrees and clear"},
    ]
    template = jinja2.Environment().from_string((SHIPPED / "chat_template.jinja").read_text())
    text = template.render(
        messages=messages, tools=tools, bos_token="<s>", eos_token="</s>", add_generation_prompt=True
    )
    assert text == (
        "<s><|system|> Be brief.\nTools: get_weather(city), add(a, b)<|user|> weather in Paris?"
        f"<|assistant|><|tool_call|> {call}</s><|tool|> 12 degrees and clear<|assistant|>"
    )
    assert tokens_of(text, tokenizer) == tokenizer.prompt(trained)


def tokens_of(text: str, tokenizer: Tokenizer) -> list[int]:
    """`<s>` and `</s>` are control symbols, which sentencepiece does not read in a text."""
    ids: list[int] = []
    for i, part in enumerate(text.removeprefix("<s>").split("</s>")):
        # Each part begins with a symbol, before which sentencepiece puts a space.
        assert part.startswith(SYMBOLS)
        ids += [tokenizer.eos if i else tokenizer.bos, *tokenizer.pieces.encode(part)[1:]]
    return ids


def test_the_shipped_checkpoint_is_small_and_names_no_path() -> None:
    files = {file.name: file for file in SHIPPED.iterdir()}
    assert {"config.json", "generation_config.json", "model.safetensors", "tokenizer.model"} <= set(files)
    assert {"tokenizer_config.json", "tokenizer.json", "chat_template.jinja"} <= set(files)
    assert sum(file.stat().st_size for file in files.values()) <= 12_000_000
    assert "_name_or_path" not in json.loads(files["config.json"].read_text())
