"""What a day of requests would cost: sums by hand, and the limit that stands first in the way."""

from __future__ import annotations

import pytest

from cfai.catalog import Catalog
from cfai.catalog.estimate import Estimate, Load

LLAMA = "@cf/meta/llama-3.3-70b-instruct-fp8-fast"


def test_the_sums_are_those_of_a_calculator() -> None:
    one = Estimate.of(LLAMA, Load(10_000, 500, 200))
    row = Catalog.builtin().get(LLAMA).neurons
    assert row is not None
    neurons = (500 * row.input + 200 * (row.output or 0)) / 1e6
    assert one.neurons == pytest.approx(neurons)
    assert one.neurons_per_day == pytest.approx(10_000 * neurons)
    assert one.free_share == pytest.approx(neurons)
    assert one.free_requests == int(10_000 / neurons)
    assert one.usd_per_day == pytest.approx((10_000 * neurons - 10_000) * 0.000011)
    assert one.usd_per_month == pytest.approx(30 * (10_000 * neurons - 10_000) * 0.000011)


def test_a_day_within_the_free_neurons_costs_nothing() -> None:
    one = Estimate.of("@cf/meta/llama-3.2-1b-instruct", Load(10, 500, 200))
    assert (one.usd_per_day, one.usd_per_month) == (0.0, 0.0)
    assert one.usd is not None
    assert one.usd > 0


def test_what_was_sent_before_is_cheaper_where_it_is_priced() -> None:
    kimi = "@cf/moonshotai/kimi-k2.6"
    whole, half = (Estimate.of(kimi, Load(1000, 500, 200, cached)).neurons for cached in (0.0, 0.5))
    assert whole is not None
    assert half is not None
    assert half < whole
    assert Estimate.of(LLAMA, Load(1000, 500, 200, 0.5)).neurons == Estimate.of(LLAMA, Load(1000, 500, 200)).neurons


@pytest.mark.parametrize(
    ("model", "load", "limit"),
    [
        (LLAMA, Load(1000, 23_900, 200), "5021: 24,100 tokens in the context window, 24,000 at most"),
        ("@cf/openai/gpt-oss-20b", Load(1000, 500, 20_000), "5021: 20,000 tokens out, 16,384 at most"),
        ("@cf/baai/bge-large-en-v1.5", Load(1000, 600), "5021: 600 tokens in, 512 at most"),
        (LLAMA, Load(1000, 500, 200, peak=301), "3021: 301 requests per minute at the peak, 300 at most"),
        (LLAMA, Load(1_000_000, 500, 200), "3021: 1,667 requests per minute at the peak, 300 at most"),
        (LLAMA, Load(1000, 500, 200), None),
    ],
)
def test_the_first_limit_is_named_with_its_code_and_numbers(model: str, load: Load, limit: str | None) -> None:
    assert Estimate.of(model, load).first_limit == limit


def test_an_answer_longer_than_the_default_needs_max_tokens() -> None:
    assert Estimate.of(LLAMA, Load(1, 10, 257)).needs_max_tokens
    assert not Estimate.of(LLAMA, Load(1, 10, 256)).needs_max_tokens
    assert not Estimate.of("@cf/moonshotai/kimi-k2.6", Load(1, 10, 5000)).needs_max_tokens


def test_a_price_that_is_not_known_is_not_nothing() -> None:
    one = Estimate.of("@cf/meta/llama-2-7b-chat-int8", Load(1000, 500, 200))
    assert (one.neurons, one.neurons_per_day, one.free_requests, one.usd_per_day, one.usd_per_month) == (None,) * 5


def test_other_work_is_counted_in_the_models_own_units() -> None:
    one = Estimate.of("@cf/openai/whisper", Load(100, units={"audio minute": 2}))
    assert one.neurons == pytest.approx(2 * 0.00045 / 0.000011, rel=0.02)
    assert Estimate.of("@cf/microsoft/resnet-50", Load(100)).neurons is not None
    with pytest.raises(ValueError, match="priced per audio minute, and a request has none"):
        Estimate.of("@cf/openai/whisper", Load(100, 500))
    with pytest.raises(ValueError, match="no price per step"):
        Estimate.of("@cf/openai/whisper", Load(100, units={"step": 2}))
