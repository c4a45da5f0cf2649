"""What tokens cost: the figures that Cloudflare's own answers had, and the lower price of what was read before."""

from __future__ import annotations

import pytest

from cfai.catalog import Catalog, Model

CATALOG = Catalog.builtin()


@pytest.mark.parametrize(
    ("model", "tokens", "neurons"),
    [
        ("@cf/google/gemma-4-26b-a4b-it", (147, 0), 1.33636),
        ("@cf/google/gemma-4-26b-a4b-it", (0, 1), 0.0272727),
        ("@cf/meta/llama-3.3-70b-instruct-fp8-fast", (39, 0), 1.04),
        ("@cf/meta/llama-3.3-70b-instruct-fp8-fast", (0, 1), 0.204805),
    ],
)
def test_tokens_cost_what_recorded_answers_say(model: str, tokens: tuple[int, int], neurons: float) -> None:
    assert CATALOG.get(model).neurons_of(*tokens) == pytest.approx(neurons, rel=1e-3)


def test_input_that_was_read_before_is_cheaper_where_the_list_has_a_price_for_it() -> None:
    kimi = CATALOG.get("@cf/moonshotai/kimi-k2.6")
    usd = kimi.neurons_of(1_000_000, 0, 1_000_000)
    assert usd is not None
    assert usd * 0.011 / 1000 == pytest.approx(0.16, rel=1e-3)
    half = kimi.neurons_of(1_000_000, 0, 500_000)
    assert half is not None
    assert half * 0.011 / 1000 == pytest.approx((0.95 + 0.16) / 2, rel=1e-3)
    llama = CATALOG.get("@cf/meta/llama-3.3-70b-instruct-fp8-fast")
    assert llama.neurons_of(1000, 10, 900) == llama.neurons_of(1000, 10)


def test_a_price_of_ones_own_is_what_an_answer_costs() -> None:
    prices = [["per M input tokens", 0.1], ["per M cached input tokens", 0.05], ["per M output tokens", 0.3]]
    catalog = CATALOG.with_rows({name: {"prices": prices} for name in ("@cf/mine/chat", "@cf/moonshotai/kimi-k2.6")})
    for name in ("@cf/mine/chat", "@cf/moonshotai/kimi-k2.6"):
        neurons = catalog.get(name).neurons_of(2_000_000, 1_000_000, 1_000_000)
        assert neurons is not None
        assert neurons * 0.011 / 1000 == pytest.approx(0.45, rel=1e-5)


@pytest.mark.parametrize("model", [model for model in CATALOG.models() if model.generates_text], ids=lambda m: m.id)
def test_a_price_and_its_neurons_are_one_figure(model: Model) -> None:
    prices = {price.unit: price.usd for price in model.prices}
    one = model.neurons_of(1_000_000, 0)
    if "per M input tokens" not in prices:
        assert one is None
        return
    assert one is not None
    assert one * 0.011 / 1000 == pytest.approx(prices["per M input tokens"], rel=0.02)
    out = model.neurons_of(0, 1_000_000)
    assert out is not None
    assert out * 0.011 / 1000 == pytest.approx(prices["per M output tokens"], rel=0.02)
