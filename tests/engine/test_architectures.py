"""The engine's tokens are those of `model.generate`, for many architectures, alone and in company.

`CFAI_PROMPTS=10` asks for ten prompts per architecture, some 300 in all, where a usual run has a few.
"""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
import torch
from transformers import AutoModelForCausalLM

from cfai.engine import LocalEngine, Sampling
from tests.architectures import ARCHITECTURES, ENDS, VOCABULARY, at_once, make_checkpoint, read, running

PROMPTS = int(os.environ.get("CFAI_PROMPTS", "5"))
TOKENS = 8
LENGTHS = [1, 300, 2, 129, 30, 7, 128, 61, 256, 12]
"""Of the prompts: within, at and beyond a prefill chunk and a sliding window."""

GREEDY = Sampling(temperature=0, max_tokens=TOKENS)
SAMPLINGS = [
    Sampling(temperature=1, seed=1, max_tokens=TOKENS),
    Sampling(temperature=0.7, top_p=0.9, seed=2, max_tokens=TOKENS + 3),
    Sampling(temperature=1.5, top_k=40, seed=3, max_tokens=TOKENS - 3),
    Sampling(
        temperature=1,
        repetition_penalty=1.3,
        frequency_penalty=0.5,
        presence_penalty=0.4,
        seed=4,
        max_tokens=TOKENS,
    ),
    Sampling(temperature=2, top_k=100, top_p=0.8, seed=1, max_tokens=TOKENS),
]

ENDING = {"llama", "qwen2", "gpt2", "gemma3", "mixtral"}
"""The architectures whose answers end by themselves here."""


class Reference:
    """What `generate` makes of a checkpoint, on the CPU in float32, one prompt at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        if getattr(model.config, "attn_logit_softcapping", None):  # some transformers forget it in their other kinds
            model.set_attn_implementation("eager")
        self._model = model
        self._known: dict[tuple[int, ...], list[int]] = {}

    def answer(self, prompt: Sequence[int]) -> list[int]:
        """The greedy tokens, without the one that ends the answer."""
        known = self._known.get(tuple(prompt))
        if known is None:
            ids = torch.tensor([prompt])
            settings = {"attention_mask": torch.ones_like(ids), "max_new_tokens": TOKENS, "do_sample": False}
            made: list[int] = self._model.generate(ids, **settings)[0, len(prompt) :].tolist()
            has_end = self._model.generation_config.eos_token_id is not None and made[-1] in ENDS
            known = self._known[tuple(prompt)] = made[:-1] if has_end else made
        return known


@pytest.fixture(scope="module", params=ARCHITECTURES)
def reference(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reference]:
    name: str = request.param
    yield Reference(make_checkpoint(tmp_path_factory.mktemp(name), name, ends=name in ENDING))


def random_prompt(length: int, seed: object) -> list[int]:
    return random.Random(f"{length} {seed}").choices(range(VOCABULARY), k=length)


def random_prompts() -> list[list[int]]:
    """Prompts without anything in common."""
    return [random_prompt(length, seed) for seed, length in zip(range(PROMPTS), itertools.cycle(LENGTHS), strict=False)]


def related_prompts() -> list[list[int]]:
    """Prompts that begin alike: with different ends, one the beginning of another, two the same."""
    common = random_prompt(150, "common")
    tails = [random_prompt(length, "tail") for length in (1, 20, 120)]
    return [common + tails[0], common + tails[1], common, common[:90] + tails[2], common + tails[1], common[:97]]


async def one_by_one(engine: LocalEngine, jobs: Sequence[tuple[list[int], Sampling]]) -> list[list[int]]:
    return [await read(engine.submit(prompt, sampling)) for prompt, sampling in jobs]


async def test_greedy_tokens_are_those_of_generate(reference: Reference) -> None:
    jobs = [(prompt, GREEDY) for prompt in random_prompts()]
    expected = [reference.answer(prompt) for prompt, _ in jobs]
    assert len({token for answer in expected for token in answer}) > PROMPTS, "the answers vary"
    async with running(reference.folder) as engine:
        assert await one_by_one(engine, jobs) == expected
    async with running(reference.folder) as engine:
        assert await at_once(engine, jobs) == expected


async def test_prompts_that_begin_alike_keep_their_answers(reference: Reference) -> None:
    jobs = [(prompt, GREEDY) for prompt in related_prompts()]
    expected = [reference.answer(prompt) for prompt, _ in jobs]
    async with running(reference.folder) as engine:
        assert await one_by_one(engine, jobs) == expected
        assert await at_once(engine, jobs[::-1]) == expected[::-1]
    async with running(reference.folder) as engine:
        assert await at_once(engine, jobs) == expected


async def test_growing_chats_are_answered_as_from_the_beginning(reference: Reference) -> None:
    system = random_prompt(40, "system")

    async def talk(engine: LocalEngine, seed: int) -> list[list[int]]:
        """A chat's history after every answer; each is the next prompt's beginning."""
        histories, history = [], system
        for turn in range(3):
            history = history + random_prompt(5 + 30 * turn + seed, "said")
            history = history + await read(engine.submit(history, GREEDY))
            histories.append(history)
        return histories

    together: dict[int, list[list[int]]] = {}

    async def keep(engine: LocalEngine, seed: int) -> None:
        together[seed] = await talk(engine, seed)

    async with running(reference.folder) as engine:
        alone = {seed: await talk(engine, seed) for seed in range(2)}
    async with running(reference.folder) as engine, anyio.create_task_group() as tasks:
        for seed in range(2):
            tasks.start_soon(keep, engine, seed)
    for seed, histories in alone.items():
        history = system
        for turn, longer in enumerate(histories):
            history = history + random_prompt(5 + 30 * turn + seed, "said")
            history = history + reference.answer(history)
            assert longer == history
    assert together == alone


async def test_a_seed_gives_the_same_tokens_whatever_runs_beside(reference: Reference) -> None:
    jobs = list(zip(random_prompts(), itertools.cycle(SAMPLINGS), strict=False))
    others = [(prompt, replace(sampling, seed=77, max_tokens=4)) for prompt, sampling in jobs]
    async with running(reference.folder) as engine:
        alone = await one_by_one(engine, jobs)
        assert await at_once(engine, jobs) == alone
    async with running(reference.folder) as engine:
        left = engine.submit(random_prompt(200, "left"), Sampling(max_tokens=500))
        mixed = await at_once(engine, [*others, *reversed(jobs), (random_prompt(9, "greedy"), GREEDY)])
        await left.aclose()
    assert mixed[len(jobs) : 2 * len(jobs)] == alone[::-1]
    assert mixed[: len(jobs)] != [answer[:4] for answer in alone], "another seed gives other tokens"
    assert mixed[-1] == reference.answer(random_prompt(9, "greedy"))
