"""What an answer costs on Cloudflare: tokens, neurons, dollars."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

__all__ = ["FREE_NEURONS", "USD_PER_NEURON", "Cost", "cost_headers", "shown_neurons", "shown_usd"]

USD_PER_NEURON = 0.011 / 1000
FREE_NEURONS = 10_000
"""Neurons of a day that cost nothing; the day begins at 00:00 UTC.
https://developers.cloudflare.com/workers-ai/platform/pricing/"""


@dataclass(frozen=True, slots=True)
class Cost:
    """What an answer has cost, in tokens and in neurons.

    ```python
    Cost(input_tokens=39, output_tokens=1, neurons=1.2448).usd  # 1.36928e-05
    ```
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    """Those of the input that needed no computing."""
    neurons: float | None = None
    """None where the model's price is not known, which is not the same as 0."""

    @property
    def usd(self) -> float | None:
        """US dollars, what is free of a day left aside; None where the price is not known."""
        return None if self.neurons is None else self.neurons * USD_PER_NEURON

    def __str__(self) -> str:
        cached = f" ({self.cached_tokens:,} cached)" if self.cached_tokens else ""
        tokens = f"{self.input_tokens:,} tokens in{cached}, {self.output_tokens:,} out"
        if self.neurons is None or self.usd is None:
            return f"{tokens}, no price known"
        return f"{tokens}, {shown_neurons(self.neurons)} neurons, {shown_usd(self.usd)}"


def cost_headers(neurons: float | None) -> Mapping[str, str]:
    """The headers that tell a cost: Cloudflare's own and cfai's; none where the price is not known.

    ```python
    cost_headers(1.24481)  # {"cf-ai-neurons": "1.24", "x-cfai-usd": "0.0000136929"}
    ```
    """
    if neurons is None:
        return {}
    return {"cf-ai-neurons": f"{neurons:.2f}", "x-cfai-usd": _plain(neurons * USD_PER_NEURON, digits=6)}


def shown_neurons(neurons: float) -> str:
    """Neurons as people read them: `1.24`, `12,345`."""
    return f"{neurons:,.0f}" if neurons >= 1000 else _plain(neurons, digits=3)


def shown_usd(usd: float) -> str:
    """Dollars as people read them: `$0.0000137`, `$12.40`."""
    return f"${usd:,.2f}" if usd >= 1 else f"${_plain(usd, digits=3)}"


def _plain(number: float, *, digits: int) -> str:
    """`number` to so many digits that say something, never as `1e-05`."""
    rounded = Decimal(f"{number:.{digits}g}")
    return f"{rounded:f}"
