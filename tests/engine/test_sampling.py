"""One token from a row of scores."""

from __future__ import annotations

import collections

import pytest
import torch

from cfai.engine.sampling import Sampler
from cfai.engine.sequence import Sampling
from cfai.errors import EngineFailure

SCORES = torch.log(torch.tensor([0.5, 0.3, 0.15, 0.05]))


def sampler(sampling: Sampling, prompt: tuple[int, ...] = ()) -> Sampler:
    return Sampler(sampling, torch.tensor(prompt, dtype=torch.long), len(SCORES))


def shares(sampling: Sampling, draws: int = 4000) -> dict[int, float]:
    drawer = sampler(sampling)
    counts = collections.Counter(drawer.draw(SCORES) for _ in range(draws))
    return {token: count / draws for token, count in sorted(counts.items())}


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        (Sampling(temperature=1, seed=1), {0: 0.5, 1: 0.3, 2: 0.15, 3: 0.05}),
        (Sampling(temperature=0.5, seed=1), {0: 0.685, 1: 0.247, 2: 0.062, 3: 0.007}),
        (Sampling(temperature=1, top_k=2, seed=1), {0: 0.625, 1: 0.375}),
        (Sampling(temperature=1, top_k=50, seed=1), {0: 0.5, 1: 0.3, 2: 0.15, 3: 0.05}),
        (Sampling(temperature=1, top_p=0.79, seed=1), {0: 0.625, 1: 0.375}),
        (Sampling(temperature=1, top_p=0.81, seed=1), {0: 0.526, 1: 0.316, 2: 0.158}),
        (Sampling(temperature=1, top_p=0.001, seed=1), {0: 1.0}),
        (Sampling(temperature=1, top_k=3, top_p=0.5, seed=1), {0: 1.0}),
        (Sampling(temperature=1, top_p=1, seed=1), {0: 0.5, 1: 0.3, 2: 0.15, 3: 0.05}),
        (Sampling(temperature=0), {0: 1.0}),
        (Sampling(temperature=1e-300), {0: 1.0}),
    ],
)
def test_tokens_are_drawn_with_these_shares(sampling: Sampling, expected: dict[int, float]) -> None:
    drawn = shares(sampling)
    assert drawn.keys() == expected.keys()
    for token, share in expected.items():
        assert drawn[token] == pytest.approx(share, abs=0.03)


@pytest.mark.parametrize(
    ("sampling", "prompt", "tokens"),
    [
        (Sampling(temperature=0), (), [0, 0, 0, 0]),
        (Sampling(temperature=0, frequency_penalty=0.4), (), [0, 0, 1, 0]),
        (Sampling(temperature=0, presence_penalty=2), (), [0, 1, 2, 0]),
        (Sampling(temperature=0, presence_penalty=2), (0,), [0, 1, 2, 0]),
        (Sampling(temperature=0, repetition_penalty=2), (0,), [1, 0, 0, 0]),
        (Sampling(temperature=0, repetition_penalty=1), (0,), [0, 0, 0, 0]),
        (Sampling(temperature=0, repetition_penalty=0), (0,), [0, 0, 0, 0]),
    ],
)
def test_penalties_count_what_they_say(sampling: Sampling, prompt: tuple[int, ...], tokens: list[int]) -> None:
    drawer = sampler(sampling, prompt)
    assert [drawer.draw(SCORES) for _ in tokens] == tokens


def test_a_repetition_penalty_lowers_positive_and_negative_scores() -> None:
    drawer = Sampler(Sampling(temperature=0, repetition_penalty=2), torch.tensor([0, 2]), 3)
    assert drawer.draw(torch.tensor([3.0, 2.0, -1.0])) == 1


def test_a_seed_makes_the_same_tokens_and_touches_nobody_else() -> None:
    def drawn(seed: int) -> list[int]:
        drawer = sampler(Sampling(temperature=2, seed=seed))
        return [drawer.draw(SCORES) for _ in range(50)]

    torch.manual_seed(0)
    before = torch.rand(3)
    torch.manual_seed(0)
    alone = drawn(7)
    assert torch.equal(torch.rand(3), before), "torch's own generator is left alone"
    one, other = sampler(Sampling(temperature=2, seed=7)), sampler(Sampling(temperature=2, seed=8))
    mixed = [(one.draw(SCORES), other.draw(SCORES))[0] for _ in range(50)]
    assert mixed == alone == drawn(7) != drawn(8)


def test_the_scores_are_left_as_they_were() -> None:
    scores = SCORES.clone()
    drawer = sampler(Sampling(temperature=0.7, top_p=0.5, repetition_penalty=2, presence_penalty=1, seed=1), (1,))
    drawer.draw(scores)
    assert torch.equal(scores, SCORES)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("temperature", [0.0, 0.6])
@pytest.mark.parametrize("place", [0, 3])
def test_scores_that_are_no_numbers_are_refused(bad: float, temperature: float, place: int) -> None:
    scores = SCORES.clone()
    scores[place] = bad
    with pytest.raises(EngineFailure, match="not numbers"):
        sampler(Sampling(temperature=temperature, top_p=0.9)).draw(scores)
