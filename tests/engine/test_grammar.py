"""Answers keep to their grammar and end in time, whatever the weights and the tokenizer.

What the engine makes is read by Python's own `json` and looked at by `jsonschema`, which share nothing with the code
that constrains. `CFAI_SEEDS=20` makes more answers than a usual run does.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM

from cfai import weights
from cfai.catalog import Catalog
from cfai.engine import EngineSettings, LocalEngine, Sampling, TextStream
from cfai.engine.tokenizer import load_tokenizer
from cfai.errors import BadInput
from cfai.tasks.grammars import json_grammar, tool_grammar
from cfai.tasks.output_parser import OutputParser
from cfai.tasks.parts import Answer
from cfai.tasks.tool_formats import BARE, CHANNELS, HERMES, ToolFormat, tool_format
from cfai.tasks.tools import Tool
from tests.models import corpus, make_json_tokenizer, make_llama
from tests.schemas import SCHEMAS

SEEDS = int(os.environ.get("CFAI_SEEDS", "2"))

PADDING = 30
"""Tokens that a model has scores for and its tokenizer does not know."""


def make_model(folder: Path, *, ends: int | list[int] | None) -> Path:
    """Random weights for the tokenizer in `folder`."""
    torch.manual_seed(1)
    size = 1 + max(Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab(with_added_tokens=True).values())
    config = LlamaConfig(
        vocab_size=size + PADDING,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=2048,
        bos_token_id=0,
        eos_token_id=ends,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def sentencepiece_model(folder: Path) -> Path:
    return make_llama(folder / "m")


def byte_level_model(folder: Path) -> Path:
    return make_model(make_json_tokenizer(folder), ends=[1, 2])


def demo_tokenizer_model(folder: Path) -> Path:
    """Byte fallback, a space as ▁, and a call's marker as a special token."""
    demo = weights.find(Catalog.builtin().get(weights.DEMO_MODEL))
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(demo / name, folder / name)
    return make_model(folder, ends=2)


def unigram_model(folder: Path) -> Path:
    """Unigrams with ▁ for a space, without bytes for letters that were not seen. No token ends an answer."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    printable = [chr(code) for code in range(0x21, 0x7F)]
    trainer = trainers.UnigramTrainer(
        vocab_size=600,
        special_tokens=["<unk>", "</s>"],
        unk_token="<unk>",
        initial_alphabet=printable,
        show_progress=False,
    )
    tokenizer.train_from_iterator([*corpus(), *printable], trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    return make_model(folder, ends=None)


MODELS: dict[str, Callable[[Path], Path]] = {
    "sentencepiece": sentencepiece_model,
    "byte-level": byte_level_model,
    "byte-fallback": demo_tokenizer_model,
    "unigram": unigram_model,
}


@asynccontextmanager
async def running(folder: Path, **settings: Any) -> AsyncIterator[LocalEngine]:
    engine = LocalEngine(folder, EngineSettings(slots=64, queue_limit=10_000, **settings))
    try:
        await engine.ready.wait()
        yield engine
    finally:
        engine.close()


async def text(stream: TextStream) -> str:
    return "".join([piece async for piece in stream])


def validate(answer: str, schema: dict[str, Any]) -> None:
    value = json.loads(answer)
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    jsonschema.Draft202012Validator(schema, format_checker=checker).validate(value)


async def answer_of(engine: LocalEngine, grammar: str, *, max_tokens: int, **options: Any) -> TextStream:
    constraint = engine.checkpoint.constraint(grammar, max_tokens=max_tokens)
    prompt = engine.checkpoint.prompts.raw("New")
    return engine.submit(prompt, Sampling(max_tokens=max_tokens, constraint=constraint, **options))


@pytest.mark.parametrize("model", MODELS)
async def test_every_answer_fits_its_schema(model: str, tmp_path: Path) -> None:
    rng = random.Random(model)
    made = []
    # A vocabulary without bytes lacks the letters that it has not seen.
    unwritable = {"unicode names"} if model == "unigram" else set()
    async with running(MODELS[model](tmp_path)) as engine:
        for name, schema in SCHEMAS.items():
            grammar = json_grammar(schema)
            for seed in range(SEEDS):
                # Few tokens, so that most answers have to be led to their end.
                for max_tokens in (rng.choice((16, 40, 80)), 400):
                    try:
                        stream = await answer_of(
                            engine, grammar, max_tokens=max_tokens, seed=seed, temperature=rng.choice((0.5, 1, 2))
                        )
                    except BadInput as error:
                        assert "JSON Mode couldn't be met" in str(error), name
                        assert max_tokens < 400 or name in unwritable, f"{name}: {error.hint}"
                    else:
                        made.append((name, max_tokens, stream))
                        break
        for name, max_tokens, stream in made:
            answer = await text(stream)
            validate(answer, SCHEMAS[name])
            assert stream.completion_tokens <= max_tokens
            assert stream.finish_reason == "stop"
    assert len(made) == SEEDS * (len(SCHEMAS) - len(unwritable))
    assert len(SCHEMAS) >= 70


TOOLS = [
    Tool("weather", parameters=SCHEMAS["a recipe"]),
    Tool("add", parameters={"properties": {"a": {"type": "integer"}, "b": {"type": "number"}}, "required": ["a", "b"]}),
    Tool("ping", parameters={"type": "object", "properties": {}, "additionalProperties": False}),
    Tool("tree", parameters=SCHEMAS["a tree"]),
]
PARAMETERS = {tool.name: {"type": "object", **tool.parameters} for tool in TOOLS}

FORMS: dict[str, ToolFormat] = {
    "hermes": HERMES,
    "demo": tool_format("{{ tools }}<|tool_call|>{{ ' ' }}{"),
    "list": tool_format("{{ tools }}[TOOL_CALLS]"),
    "named": tool_format("{{ tools }}[TOOL_CALLS]{{ name }}[ARGS]"),
    "bare": BARE,
    "channels": CHANNELS,
}


async def parsed(stream: TextStream, form: ToolFormat) -> Answer:
    parser = OutputParser(form, tools=TOOLS)
    parts = [part async for piece in stream for part in parser.put(piece)]
    return Answer.of([*parts, *parser.end()], "stop")


@pytest.mark.parametrize("model", ["sentencepiece", "byte-level", "byte-fallback"])
async def test_required_calls_fit_their_tools(model: str, tmp_path: Path) -> None:
    async with running(MODELS[model](tmp_path)) as engine:
        made = []
        for kind, form in FORMS.items():
            for tools in ([TOOLS[0]], [TOOLS[1]], TOOLS, TOOLS):
                for seed in range(SEEDS):
                    grammar = tool_grammar(form, tools, specials=engine.checkpoint.tokenizer.specials)
                    options = {"temperature": 1, "seed": seed, "shown": form.marks}
                    made.append((kind, form, tools, await answer_of(engine, grammar, max_tokens=250, **options)))
        for kind, form, tools, stream in made:
            answer = await parsed(stream, form)
            assert answer.calls, kind
            assert not answer.text.strip(), kind
            for call in answer.calls:
                assert call.name in [tool.name for tool in tools], kind
                validate(call.arguments, PARAMETERS[call.name])


async def test_a_call_that_the_model_begins_by_itself_is_led_to_its_end(tmp_path: Path) -> None:
    form = FORMS["demo"]
    async with running(demo_tokenizer_model(tmp_path)) as engine:
        specials = engine.checkpoint.tokenizer.specials
        grammar = tool_grammar(form, TOOLS, required=False, specials=specials)
        streams = [
            await answer_of(
                engine,
                grammar,
                max_tokens=120,
                temperature=1,
                seed=seed,
                shown=form.marks,
                logit_bias={specials["<|tool_call|>"]: 5.0},
            )
            for seed in range(20 * SEEDS)
        ]
        answers = [await parsed(stream, form) for stream in streams]
    calls = [call for answer in answers for call in answer.calls]
    assert len(calls) > len(answers) / 2
    assert any(answer.text for answer in answers)
    for call in calls:
        validate(call.arguments, PARAMETERS[call.name])


async def test_an_answer_with_too_few_tokens_for_any_is_refused_with_their_number(llama: Path) -> None:
    async with running(llama) as engine:
        grammar = json_grammar(SCHEMAS["nested"])
        with pytest.raises(BadInput, match="JSON Mode couldn't be met") as caught:
            engine.checkpoint.constraint(grammar, max_tokens=5)
        number = int(caught.value.hint.split("up to ")[1].split()[0])
        stream = await answer_of(engine, grammar, max_tokens=number)
        validate(await text(stream), SCHEMAS["nested"])


async def test_a_tokenizer_that_cannot_write_json_is_refused(tmp_path: Path) -> None:
    tokenizer = Tokenizer(models.WordLevel({"<unk>": 0, "hello": 1, "</s>": 2}, unk_token="<unk>"))
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    async with running(make_model(tmp_path, ends=2)) as engine:
        with pytest.raises(BadInput, match="JSON Mode couldn't be met"):
            engine.checkpoint.constraint(json_grammar({"type": "object"}), max_tokens=100)


async def test_a_constrained_answer_changes_no_other(endless_llama: Path) -> None:
    async with running(endless_llama) as engine:
        prompt, greedy = engine.checkpoint.prompts.raw("New York"), Sampling(temperature=0, max_tokens=40)
        alone = await text(engine.submit(prompt, greedy))
        bound = await answer_of(engine, json_grammar({"type": "object"}), max_tokens=40, temperature=1, seed=3)
        beside = engine.submit(prompt, greedy)
        validate(await text(bound), {"type": "object"})
        assert await text(beside) == alone


async def test_drafts_and_penalties_do_not_loosen_a_grammar(llama: Path) -> None:
    schema = SCHEMAS["objects in a list"]
    async with running(llama, draft_tokens=4) as engine:
        options = {"temperature": 1, "repetition_penalty": 1.8, "top_k": 5, "logit_bias": {40: 9.0}}
        streams = [await answer_of(engine, json_grammar(schema), max_tokens=60, seed=s, **options) for s in range(8)]
        for stream in streams:
            validate(await text(stream), schema)


async def test_the_answer_ends_where_nothing_may_follow(endless_llama: Path) -> None:
    async with running(endless_llama) as engine:
        stream = await answer_of(engine, json_grammar({"const": {"a": 1}}), max_tokens=50)
        assert json.loads(await text(stream)) == {"a": 1}
        assert stream.completion_tokens < 20
        assert stream.finish_reason == "stop"


@pytest.mark.parametrize("model", MODELS)
def test_the_bytes_of_tokens_are_what_they_add_to_a_text(model: str, tmp_path: Path) -> None:
    folder = MODELS[model](tmp_path)
    tokenizer = load_tokenizer(folder)
    rng = random.Random(0)
    hidden = set(tokenizer.specials.values())
    tokens = [token for token in range(600) if token not in hidden and tokenizer.token_bytes(token)]
    for _ in range(200):
        ids = rng.choices(tokens, k=12)
        detokenizer = tokenizer.detokenizer()
        first = detokenizer.put(ids[0])
        decoded = first + "".join(map(detokenizer.put, ids[1:])) + detokenizer.flush()
        joined = b"".join(map(tokenizer.token_bytes, ids)).decode("utf-8", "replace")
        if "\ufffd" not in joined:
            assert decoded.lstrip(" ") == joined.lstrip(" ")
    assert tokenizer.token_bytes(100_000) == b""
    for name, token in tokenizer.specials.items():
        assert tokenizer.token_bytes(token) == name.encode()
