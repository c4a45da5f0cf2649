"""Tokens come with the probabilities that the model's scores and the sampling parameters say.

The probabilities are computed here once more, in plain Python, from the scores of transformers' own model. Seeds are
fixed, so every run on one machine is the same. `CFAI_DRAWS=10000` draws more than a usual run does.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
import math
import os
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers.generation.logits_process import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    SequenceBiasLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from cfai.engine import LocalEngine, Sampling
from tests.architectures import at_once, make_checkpoint, running

DRAWS = int(os.environ.get("CFAI_DRAWS", "2000"))
LEAST = 1e-5
"""A result less probable than this is no accident: some hundred of them are looked at, always the same."""

VOCABULARY = 24
PROMPT = [3, 17, 3, 9, 3, 22, 17]
LENGTH = 40
"""Tokens of a long answer."""
TOGETHER = 50
"""Answers that are made at once."""

BIAS = {3: 3.0, 5: -100.0, 11: 1.5, 17: 2.5, 20: -1.0, 22: 2.5}


class Turns:
    """Allows a third of the tokens at every step, another third at the next."""

    def __init__(self) -> None:
        self._turn = 0

    is_satisfied = is_over = False

    def settle(self, token: int) -> int | None:
        return token

    def allowed(self) -> Sequence[int] | bytes:
        return range(self._turn % 3, VOCABULARY, 3)

    def advance(self, token: int) -> None:
        assert token % 3 == self._turn % 3
        self._turn += 1


class BitTurns(Turns):
    def allowed(self) -> bytes:
        return sum(1 << token for token in super().allowed()).to_bytes(VOCABULARY // 8, "little")


CASES: dict[str, dict[str, Any]] = {
    "plain": {"temperature": 1},
    "cool": {"temperature": 0.5},
    "hot": {"temperature": 2},
    "top_k": {"temperature": 1, "top_k": 6},
    "top_k of all": {"temperature": 1, "top_k": VOCABULARY + 1},
    "top_p": {"temperature": 1, "top_p": 0.8},
    "top_p, hot": {"temperature": 2, "top_p": 0.6},
    "top_k, top_p": {"temperature": 1.5, "top_k": 10, "top_p": 0.85},
    "repetition": {"temperature": 1, "repetition_penalty": 1.6},
    "repetition below 1": {"temperature": 1.5, "repetition_penalty": 0.8},
    "frequency": {"temperature": 1, "frequency_penalty": 0.7},
    "presence": {"temperature": 1, "presence_penalty": 1.5},
    "negative penalties": {"temperature": 2, "frequency_penalty": -0.05, "presence_penalty": -0.5},
    "min_p": {"temperature": 1, "min_p": 0.15},
    "min_p, top_k, top_p": {"temperature": 1.5, "min_p": 0.1, "top_k": 12, "top_p": 0.9},
    "logit_bias": {"temperature": 1, "logit_bias": BIAS},
    "logit_bias, repetition": {"temperature": 1, "logit_bias": BIAS, "repetition_penalty": 1.6},
    "logprobs": {"temperature": 0.8, "logprobs": 3},
    "constraint": {"temperature": 1, "constraint": Turns},
    "constraint in bits, top_k": {"temperature": 1, "constraint": BitTurns, "top_k": 4},
    "all": {
        "temperature": 1.3,
        "top_k": 15,
        "top_p": 0.95,
        "min_p": 0.02,
        "repetition_penalty": 1.6,
        "frequency_penalty": 0.3,
        "presence_penalty": 0.4,
        "logit_bias": BIAS,
    },
    "all, constraint": {
        "temperature": 1.3,
        "top_k": 6,
        "top_p": 0.95,
        "min_p": 0.02,
        "repetition_penalty": 1.6,
        "frequency_penalty": 0.3,
        "presence_penalty": 0.4,
        "logit_bias": BIAS,
        "constraint": Turns,
    },
}

EVERY_CASE = pytest.mark.parametrize(
    "options",
    [pytest.param(options, id=name) for name, options in CASES.items()],
)


def sampling(options: dict[str, Any], **more: Any) -> Sampling:
    fresh = {"constraint": options["constraint"]()} if "constraint" in options else {}
    return Sampling(**{**options, **fresh, **more})


# what should come


def shares(scores: Sequence[float], prompt: Sequence[int], made: Sequence[int], options: dict[str, Any]) -> list[float]:
    """Every token's probability to follow `prompt` and `made`, where the model's scores for it are `scores`."""
    left = [score + options.get("logit_bias", {}).get(token, 0.0) for token, score in enumerate(scores)]
    for token in {*prompt, *made}:
        factor = options.get("repetition_penalty", 1.0)
        left[token] *= factor if left[token] < 0 else 1 / factor
    for token, times in collections.Counter(made).items():
        left[token] -= times * options.get("frequency_penalty", 0.0) + options.get("presence_penalty", 0.0)
    if constraint := options.get("constraint"):
        left = [score if token in allowed(constraint, made) else -math.inf for token, score in enumerate(left)]
    left = [score / options["temperature"] for score in left]
    if top_k := options.get("top_k"):
        least = sorted(left)[-min(top_k, len(left))]
        left = [score if score >= least else -math.inf for score in left]
    if top_p := options.get("top_p"):
        unlikely, tail = softmax(left), 0.0
        for token in sorted(range(len(left)), key=left.__getitem__)[:-1]:
            tail += unlikely[token]
            if tail <= 1 - top_p:
                left[token] = -math.inf
    if min_p := options.get("min_p"):
        found = softmax(left)
        left = [score if share >= min_p * max(found) else -math.inf for score, share in zip(left, found, strict=True)]
    return softmax(left)


def softmax(scores: Sequence[float]) -> list[float]:
    most = max(scores)
    powers = [math.exp(score - most) for score in scores]
    return [power / sum(powers) for power in powers]


def allowed(constraint: type[Turns], made: Sequence[int]) -> set[int]:
    state = constraint()
    for token in made:
        state.advance(token)
    ids = state.allowed()
    if isinstance(ids, bytes):
        return {token for token in range(VOCABULARY) if ids[token // 8] >> token % 8 & 1}
    return set(ids)


class Scores:
    """The model's scores, as transformers computes them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    def along(self, prompt: Sequence[int], made: Sequence[int] = ()) -> list[list[float]]:
        """For the token behind `prompt` and for those behind each of `made`."""
        with torch.no_grad():
            rows = self._model(torch.tensor([[*prompt, *made]])).logits[0, len(prompt) - 1 :]
        values: list[list[float]] = rows.double().tolist()
        return values


@pytest.fixture(scope="module")
def scores(tmp_path_factory: pytest.TempPathFactory) -> Scores:
    folder = tmp_path_factory.mktemp("llama")
    return Scores(make_checkpoint(folder, "llama", vocabulary=VOCABULARY, spread=0.25, seed=2))


# how well it fits


def chi_square(counts: Sequence[int], expected: Sequence[float]) -> float:
    """The probability of counts that fit worse than these. Cells where few are expected are taken together."""
    assert all(count == 0 for count, share in zip(counts, expected, strict=True) if share == 0), "impossible tokens"
    cells, rare = [], (0, 0.0)
    for count, share in zip(counts, expected, strict=True):
        if share >= 5:
            cells.append((count, share))
        else:
            rare = (rare[0] + count, rare[1] + share)
    if rare[1] > 0:
        cells.append(rare)
    statistic = sum((count - share) ** 2 / share for count, share in cells)
    half = torch.tensor([(len(cells) - 1) / 2, statistic / 2], dtype=torch.float64)
    return float(torch.special.gammaincc(half[0], half[1])) if len(cells) > 1 else 1.0


def fit(tokens: Iterable[int], expected: Sequence[float]) -> float:
    counts = collections.Counter(tokens)
    return chi_square([counts[token] for token in range(VOCABULARY)], [share * counts.total() for share in expected])


def evenness(places: Sequence[float], parts: int) -> float:
    """How probable it is that numbers from 0 to 1 lie no more evenly."""
    counts = collections.Counter(min(int(place * parts), parts - 1) for place in places)
    return chi_square([counts[part] for part in range(parts)], [len(places) / parts] * parts)


def independence(pairs: Sequence[tuple[float, float]], parts: int = 5) -> float:
    """The same for pairs of numbers in a square."""
    cells = [int(first * parts) * parts + int(second * parts) for first, second in pairs]
    counts = collections.Counter(cells)
    return chi_square([counts[cell] for cell in range(parts**2)], [len(pairs) / parts**2] * parts**2)


def places(made: Sequence[int], scores: Scores, options: dict[str, Any], noise: random.Random) -> list[float]:
    """Where each token of an answer lies when all that could have come are laid out from 0 to 1, each as long as it is
    probable, those that stand in the prompt or answer already first. If the shares are right, every place is as
    probable as every other, whatever came before.
    """
    found = []
    for at, row in enumerate(scores.along(PROMPT, made)[:-1]):
        before = collections.Counter([*PROMPT, *made[:at]])
        expected = shares(row, PROMPT, made[:at], options)
        order = sorted(range(VOCABULARY), key=lambda token: (-before[token], -expected[token]))
        start = sum(expected[token] for token in order[: order.index(made[at])])
        assert expected[made[at]] > 0, f"token {made[at]} is impossible behind {made[:at]}"
        found.append(min(start + noise.random() * expected[made[at]], 1 - 1e-12))
    return found


# what comes


async def answers(engine: LocalEngine, samplings: Sequence[Sampling]) -> list[list[int]]:
    made: list[list[int]] = []
    for group in range(0, len(samplings), TOGETHER):
        made += await at_once(engine, [(PROMPT, sampling) for sampling in samplings[group : group + TOGETHER]])
    return made


@EVERY_CASE
async def test_first_tokens_come_as_often_as_they_should(scores: Scores, options: dict[str, Any]) -> None:
    expected = shares(scores.along(PROMPT)[0], PROMPT, [], options)
    async with running(scores.folder, slots=TOGETHER) as engine:
        made = await answers(engine, [sampling(options, seed=seed, max_tokens=1) for seed in range(DRAWS)])
    assert fit(itertools.chain(*made), expected) > LEAST


@EVERY_CASE
async def test_later_tokens_come_as_often_as_they_should(scores: Scores, options: dict[str, Any]) -> None:
    seeds = random.Random(1).sample(range(2**31), DRAWS // LENGTH)
    async with running(scores.folder, slots=TOGETHER) as engine:
        made = await answers(engine, [sampling(options, seed=seed, max_tokens=LENGTH) for seed in seeds])
    noise = random.Random(2)
    found = [places(answer, scores, options, noise) for answer in made]
    assert evenness(list(itertools.chain(*found)), 20) > LEAST
    steps = [pair for answer in found for pair in itertools.pairwise(answer)]
    assert independence(steps) > LEAST, "a token does not depend on the random number of the one before"
    beside = [pair for answers in itertools.pairwise(found) for pair in zip(*answers, strict=True)]
    assert independence(beside) > LEAST, "nor on those of the answers beside it"


async def test_answers_of_one_batch_do_not_depend_on_each_other(scores: Scores) -> None:
    expected = shares(scores.along(PROMPT)[0], PROMPT, [], CASES["plain"])
    async with running(scores.folder, slots=TOGETHER) as engine:
        made = await answers(engine, [sampling(CASES["plain"], seed=seed, max_tokens=1) for seed in range(DRAWS)])
    tokens = [answer[0] for answer in made]
    for apart in (1, 2, TOGETHER):
        counts = collections.Counter(zip(tokens, tokens[apart:], strict=False))
        pairs = list(itertools.product(range(VOCABULARY), range(VOCABULARY)))
        likely = [expected[first] * expected[second] * counts.total() for first, second in pairs]
        assert chi_square([counts[pair] for pair in pairs], likely) > LEAST


async def test_answers_without_a_seed_differ_as_they_should(scores: Scores) -> None:
    expected = shares(scores.along(PROMPT)[0], PROMPT, [], CASES["plain"])
    async with running(scores.folder, slots=TOGETHER) as engine:
        made = await answers(engine, [sampling(CASES["plain"], max_tokens=1) for _ in range(DRAWS // 2)])
    # Another result at every run: one in a milliard fails.
    assert fit(itertools.chain(*made), expected) > 1e-9


async def test_a_seed_gives_its_token_whatever_is_drawn_beside(scores: Scores) -> None:
    cases = list(CASES.values())
    jobs = [(at, seed) for at in range(len(cases)) for seed in range(3)]
    order = random.Random(3).sample(jobs * 3, len(jobs) * 3)
    async with running(scores.folder, slots=TOGETHER) as engine:
        made = await answers(engine, [sampling(cases[at], seed=seed, max_tokens=4) for at, seed in order])
    by_job = collections.defaultdict(set)
    for job, answer in zip(order, made, strict=True):
        by_job[job].add(tuple(answer))
    assert {job: len(different) for job, different in by_job.items()} == dict.fromkeys(jobs, 1)
    assert len(set.union(*by_job.values())) > len(jobs) // 3, "seeds and parameters make a difference"


# that the judge is right


@pytest.mark.parametrize("name", ["plain", "cool", "top_k", "top_p", "repetition", "min_p", "logit_bias", "all"])
@pytest.mark.parametrize("seed", range(5))
def test_the_expected_shares_are_those_of_transformers(name: str, seed: int) -> None:
    options = CASES[name] | ({"frequency_penalty": 0, "presence_penalty": 0} if name == "all" else {})
    row = torch.randn(1, VOCABULARY, generator=torch.Generator().manual_seed(seed)) * 2
    kinds = {
        "logit_bias": lambda bias: SequenceBiasLogitsProcessor({(token,): value for token, value in bias.items()}),
        "repetition_penalty": RepetitionPenaltyLogitsProcessor,
        "temperature": lambda value: TemperatureLogitsWarper(float(value)),
        "top_k": TopKLogitsWarper,
        "top_p": TopPLogitsWarper,
        "min_p": MinPLogitsWarper,
    }
    processors = LogitsProcessorList([make(options[key]) for key, make in kinds.items() if key in options])
    theirs = processors(torch.tensor([PROMPT]), row.clone()).softmax(dim=-1)[0].tolist()
    assert shares(row[0].tolist(), PROMPT, [], options) == pytest.approx(theirs, abs=1e-6)


def test_the_statistics_tell_a_slightly_wrong_share_from_a_right_one() -> None:
    right = softmax([-0.2 * token for token in range(VOCABULARY)])
    wrong = softmax([-0.24 * token for token in range(VOCABULARY)])
    drawn = random.Random(4).choices(range(VOCABULARY), weights=right, k=3000)
    assert fit(drawn, right) > LEAST > fit(drawn, wrong)
    even = [random.Random(seed).random() for seed in range(3000)]
    assert evenness(even, 20) > LEAST > evenness([place**1.15 for place in even], 20)
    assert independence(list(itertools.pairwise(even))) > LEAST
    smooth = [(first + second) % 1 for first, second in itertools.pairwise([place / 2 for place in even])]
    assert independence(list(itertools.pairwise(smooth))) < LEAST


def test_every_parameter_has_a_case() -> None:
    parameters = {field.name for field in dataclasses.fields(Sampling)}
    assert parameters - {"max_tokens", "seed", "stop", "shown"} == set().union(*CASES.values())
