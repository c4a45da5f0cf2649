"""One token from a row of scores."""

from __future__ import annotations

import collections

import pytest
import torch

from cfai.engine.sampling import BROKEN, Features, Sampler
from cfai.engine.sequence import Sampling, uniform

SHARES = [0.5, 0.3, 0.15, 0.05]
SCORES = torch.log(torch.tensor(SHARES))
CPU = torch.device("cpu")


def draws(
    sampling: Sampling, count: int = 4000, *, scores: torch.Tensor = SCORES, prompt: tuple[int, ...] = ()
) -> list[int]:
    """Tokens drawn from the same scores again and again, as if none of them counted."""
    sampler = Sampler(1, scores.shape[-1], CPU)
    sampler.begin(0, sampling, prompt)
    uniforms = torch.tensor([uniform(1, index) for index in range(count)], dtype=torch.float64)
    rows = torch.zeros(count, dtype=torch.long)
    features = Features.of([sampling])
    drawn = sampler.draw(scores.expand(count, -1), rows, uniforms if features.draws else None, features)
    tokens: list[int] = drawn.tokens.tolist()
    return tokens


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        (Sampling(temperature=1), {0: 0.5, 1: 0.3, 2: 0.15, 3: 0.05}),
        (Sampling(temperature=0.5), {0: 0.685, 1: 0.247, 2: 0.062, 3: 0.007}),
        (Sampling(temperature=1, top_k=2), {0: 0.625, 1: 0.375}),
        (Sampling(temperature=1, top_k=50), {0: 0.5, 1: 0.3, 2: 0.15, 3: 0.05}),
        (Sampling(temperature=1, top_p=0.79), {0: 0.625, 1: 0.375}),
        (Sampling(temperature=1, top_p=0.81), {0: 0.526, 1: 0.316, 2: 0.158}),
        (Sampling(temperature=1, top_p=0.001), {0: 1.0}),
        (Sampling(temperature=1, top_k=3, top_p=0.5), {0: 1.0}),
        (Sampling(temperature=1, top_p=1), {0: 0.5, 1: 0.3, 2: 0.15, 3: 0.05}),
        (Sampling(temperature=1, min_p=0.25), {0: 0.526, 1: 0.316, 2: 0.158}),
        (Sampling(temperature=1, min_p=0.31), {0: 0.625, 1: 0.375}),
        (Sampling(temperature=1, logit_bias={0: -100, 3: 1.0}), {1: 0.511, 2: 0.256, 3: 0.232}),
        (Sampling(temperature=0, logit_bias={3: 100, 99: 100}), {3: 1.0}),
        (Sampling(temperature=0), {0: 1.0}),
        (Sampling(temperature=1e-6), {0: 1.0}),
    ],
)
def test_tokens_come_as_often_as_they_should(sampling: Sampling, expected: dict[int, float]) -> None:
    counts = collections.Counter(draws(sampling))
    assert {token: count / 4000 for token, count in sorted(counts.items())} == pytest.approx(expected, abs=0.025)


@pytest.mark.parametrize(
    ("sampling", "prompt", "expected"),
    [
        (Sampling(temperature=0, repetition_penalty=1.2), (0,), 1),
        (Sampling(temperature=0, repetition_penalty=0.5), (1,), 1),
        (Sampling(temperature=0, presence_penalty=1), (0,), 0),  # the prompt does not count
        (Sampling(temperature=0, frequency_penalty=1), (0,), 0),
        (Sampling(temperature=0, repetition_penalty=0), (0,), 0),
    ],
)
def test_penalties_look_at_prompt_and_answer(sampling: Sampling, prompt: tuple[int, ...], expected: int) -> None:
    scores = torch.tensor([-1.0, -1.1, -3.0, -4.0])
    assert draws(sampling, 1, scores=scores, prompt=prompt) == [expected]


def test_penalties_count_what_was_drawn() -> None:
    sampler = Sampler(1, 4, CPU)
    sampling = Sampling(temperature=0, frequency_penalty=0.4)
    sampler.begin(0, sampling, [])
    row = torch.zeros(1, dtype=torch.long)
    tokens = [int(sampler.draw(SCORES[None], row, None, Features.of([sampling])).tokens) for _ in range(6)]
    assert tokens == [0, 0, 1, 0, 1, 0]
    again = Sampler(1, 4, CPU)
    again.begin(0, sampling, [], tokens[:3])
    assert [int(again.draw(SCORES[None], row, None, Features.of([sampling])).tokens) for _ in range(3)] == tokens[3:]


def test_rows_of_one_step_do_not_disturb_each_other() -> None:
    torch.manual_seed(0)
    samplings = [
        Sampling(temperature=0),
        Sampling(temperature=1),
        Sampling(temperature=0.7, top_p=0.9),
        Sampling(temperature=1, top_k=5, min_p=0.05),
        Sampling(temperature=1, repetition_penalty=1.3, presence_penalty=0.5),
        Sampling(temperature=2, logit_bias={3: 4.0}),
    ]
    scores = torch.randn(len(samplings), 2000) * 3
    numbers = torch.rand(len(samplings), dtype=torch.float64)
    together = Sampler(len(samplings), 2000, CPU)
    alone: list[int] = []
    for row, sampling in enumerate(samplings):
        together.begin(row, sampling, [1, 2, 3])
        own = Sampler(1, 2000, CPU)
        own.begin(0, sampling, [1, 2, 3])
        one = torch.zeros(1, dtype=torch.long)
        features = Features.of([sampling])
        alone.append(int(own.draw(scores[row : row + 1], one, numbers[row : row + 1], features).tokens))
    drawn = together.draw(scores, torch.arange(len(samplings)), numbers, Features.of(samplings))
    assert drawn.tokens.tolist() == alone


def test_a_filter_may_keep_more_than_the_candidates_looked_at_first() -> None:
    scores = torch.zeros(5000)
    wide = Sampling(temperature=1, top_p=0.5)
    assert len(set(draws(wide, 20_000, scores=scores))) == pytest.approx(2500, abs=20)


def test_the_random_numbers_end_below_one_and_never_draw_what_is_forbidden() -> None:
    sampler = Sampler(1, 4, CPU)
    sampling = Sampling(temperature=1)
    sampler.begin(0, sampling, [])
    sampler.allow(0, [1, 2])
    features = Features(draws=True, constraint=True)
    row = torch.zeros(2, dtype=torch.long)
    ends = torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64)
    assert sampler.draw(SCORES.expand(2, -1), row, ends, features).tokens.tolist() == [1, 2]
    sampler.allow(0, bytes([0b1000]))
    assert sampler.draw(SCORES.expand(2, -1), row, ends, features).tokens.tolist() == [3, 3]


def test_logprobs_are_the_models_own() -> None:
    sampler = Sampler(1, 4, CPU)
    sampling = Sampling(temperature=0, logit_bias={2: 9.0}, logprobs=2)
    sampler.begin(0, sampling, [])
    drawn = sampler.draw(SCORES[None] + 3, torch.zeros(1, dtype=torch.long), None, Features.of([sampling]))
    assert drawn.logprobs is not None
    assert drawn.likeliest is not None
    assert drawn.their_logprobs is not None
    assert drawn.logprobs.exp().tolist() == pytest.approx([0.15])
    assert drawn.likeliest[0, :2].tolist() == [0, 1]
    assert drawn.their_logprobs.exp()[0, :2].tolist() == pytest.approx([0.5, 0.3])


@pytest.mark.parametrize("temperature", [0, 1])
@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_scores_that_are_no_numbers_are_reported_for_their_row_only(temperature: float, broken: float) -> None:
    sampler = Sampler(2, 4, CPU)
    sampling = Sampling(temperature=temperature)
    for row in range(2):
        sampler.begin(row, sampling, [])
    scores = torch.stack([SCORES, SCORES])
    scores[0, 3] = broken
    numbers = torch.tensor([0.1, 0.1], dtype=torch.float64) if temperature else None
    drawn = sampler.draw(scores, torch.arange(2), numbers, Features.of([sampling]))
    assert drawn.tokens.tolist() == [BROKEN, 0]


def test_random_numbers_are_even_and_differ_by_seed_and_index() -> None:
    numbers = [uniform(seed, index) for seed in range(40) for index in range(250)]
    assert len(set(numbers)) == len(numbers)
    counts = collections.Counter(int(number * 10) for number in numbers)
    assert [counts[tenth] for tenth in range(10)] == pytest.approx([1000] * 10, rel=0.1)
