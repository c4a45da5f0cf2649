"""Prompts as the SDKs of 2023 and 2024 made them: https://www.npmjs.com/package/@cloudflare/ai, run."""

from __future__ import annotations

import json
from datetime import date
from importlib import resources

import pytest

from cfai.catalog import Catalog, bare_form, system_of, template_of
from cfai.errors import BadInput

CATALOG = Catalog.builtin()
TEMPLATES = json.loads((resources.files("cfai.catalog") / "prompts.json").read_text("utf-8"))["templates"]
SYSTEM, USER = {"role": "system", "content": "S"}, {"role": "user", "content": "U"}
ASSISTANT, NEXT = {"role": "assistant", "content": "A"}, {"role": "user", "content": "V"}
SQL = (
    "### Task\nGenerate a SQL query to answer [QUESTION]{0}[/QUESTION]\n\n### Database Schema\nThe query will run on a "
    "database with the following schema:\n{1}\n\n### Answer\nGiven the database schema, here is the SQL query that "
    "[QUESTION]{0}[/QUESTION]\n[SQL]"
)

RENDERED = {
    "bare": ("U", "S: U A V"),
    "chatml": (
        "<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n",
        "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\nA<|im_end|>\n"
        "<|im_start|>user\nV<|im_end|>\n<|im_start|>assistant\n",
    ),
    "deepseek": (
        "### Instruction:\nU\n### Response:\n",
        "S\n### Instruction:\nU\n### Response:\nA\n### Instruction:\nV\n### Response:\n",
    ),
    "falcon": ("User: U\nAssistant: \n", "S\nUser: U\nAssistant: A\nUser: V\nAssistant: \n"),
    "inst": ("[INST] U [/INST]", "[INST] S: U [/INST] A [INST] V [/INST]"),
    "llama2": (
        "<s>[INST] U [/INST]",
        "[INST] <<SYS>>\nS\n<</SYS>>\n\nU [/INST] A</s><s>[INST] V [/INST]",
    ),
    "llama2-2023": ("[INST]U[/INST]\n", "[INST]<<SYS>>S<</SYS>>[/INST]\n[INST]U[/INST]\nA\n[INST]V[/INST]\n"),
    "mistral-2023": ("[INST]U[/INST]\n", "<s>[INST]S[/INST]</s>\n[INST]U[/INST]\nA\n[INST]V[/INST]\n"),
    "mistral-instruct": ("[INST] U [/INST]", "<s>[INST] S U [/INST] A</s>[INST] V [/INST]"),
    "openchat": (
        "GPT4 User: U<|end_of_turn|>GPT4 Assistant:",
        "GPT4 User: S: U<|end_of_turn|>GPT4 Assistant: A<|end_of_turn|>GPT4 User: V<|end_of_turn|>GPT4 Assistant:",
    ),
    "openchat-alt": (
        "<s>Human: U<|end_of_turn|>Assistant: ",
        "<s>Human: S: U<|end_of_turn|>Assistant: A<|end_of_turn|><s>Human: V<|end_of_turn|>Assistant: ",
    ),
    "orca-hashes": (
        "### User:\nU\n\n### Assistant:\n\n",
        "### System:\nS\n\n### User:\nU\n\n### Assistant:\nA\n\n### User:\nV\n\n### Assistant:\n\n",
    ),
    "sqlcoder": (SQL.format("U", "false"), SQL.format("V", "S")),
    "tinyllama": (
        "<|user|>\nU</s>\n<|assistant|>\n",
        "<|system|>\nS</s>\n<|user|>\nU</s>\n<|assistant|>\nA</s>\n<|user|>\nV</s>\n<|assistant|>\n",
    ),
    "zephyr": (
        "<|user|>\nU</s>\n<|assistant|>\n",
        "<s><|system|>\nS</s>\n<|user|>\nU</s>\n<|assistant|>\nA</s>\n<|user|>\nV</s>\n<|assistant|>\n",
    ),
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_writes_what_the_sdk_wrote(name: str) -> None:
    question, conversation = RENDERED[name]
    assert template_of(name).render([USER]) == question
    assert template_of(name).render([SYSTEM, USER, ASSISTANT, NEXT]) == conversation


@pytest.mark.parametrize("name", TEMPLATES)
def test_what_looks_like_a_place_of_the_template_stays_text(name: str) -> None:
    odd = "{system} {user} {assistant} \\1 {0} %s"
    assert odd in template_of(name).render([{"role": "system", "content": odd}, {"role": "user", "content": odd}])


def test_a_role_of_later_days_is_refused_in_the_words_of_the_sdk() -> None:
    with pytest.raises(BadInput, match="Invalid role: tool"):
        template_of("llama2").render([USER, {"role": "tool", "content": "4"}])


def test_every_template_is_one_of_a_model_and_every_era_has_its_own() -> None:
    eras = [era for model in CATALOG.models() for era in model.prompts]
    assert {era.template for era in eras} == TEMPLATES.keys()
    assert {system_of(era) is None for era in eras} == {True, False}
    for model in CATALOG.models():
        untils = [era.until for era in model.prompts]
        assert untils == sorted(set(untils))


@pytest.mark.parametrize(
    ("model_id", "day", "template"),
    [
        ("@cf/meta/llama-2-7b-chat-int8", date(2023, 11, 14), "llama2-2023"),
        ("@cf/meta/llama-2-7b-chat-int8", date(2023, 12, 1), "llama2"),
        ("@cf/meta/llama-2-7b-chat-int8", date(2024, 4, 11), None),
        ("@cf/meta/llama-2-7b-chat-int8", None, None),
        ("@cf/microsoft/phi-2", date(2024, 3, 1), "bare"),
        ("@cf/meta/llama-3-8b-instruct", date(2024, 3, 1), None),
    ],
)
def test_a_day_has_its_template(model_id: str, day: date | None, template: str | None) -> None:
    era = CATALOG.get(model_id).prompt_era(day)
    assert (era and era.template) == template


def test_a_bare_prompt_had_no_template_at_first() -> None:
    assert [bare_form(day) for day in (date(2023, 11, 30), date(2023, 12, 1), None)] == ["raw", "template", "template"]
