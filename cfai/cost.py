"""What an answer costs on Cloudflare, tokens, neurons, dollars, and which limits an account has."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, get_args

from cfai.wording import choose

__all__ = [
    "FREE_NEURONS",
    "LIMITS",
    "USD_PER_NEURON",
    "Cost",
    "Limit",
    "cost_headers",
    "parse_limits",
    "shown_neurons",
    "shown_usd",
    "shown_wait",
]

USD_PER_NEURON = 0.011 / 1000
FREE_NEURONS = 10_000
"""Neurons of a day that cost nothing; the day begins at 00:00 UTC.
https://developers.cloudflare.com/workers-ai/platform/pricing/"""


Limit = Literal["rpm", "free"]
"""`rpm` are a model's requests per minute, `free` the day's free neurons."""

LIMITS: tuple[Limit, ...] = get_args(Limit)


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

    @classmethod
    def total(cls, costs: Iterable[Cost]) -> Cost:
        """All of them together; the neurons are those of the answers whose price is known."""
        each = list(costs)
        known = [cost.neurons for cost in each if cost.neurons is not None]
        return cls(
            sum(cost.input_tokens for cost in each),
            sum(cost.output_tokens for cost in each),
            sum(cost.cached_tokens for cost in each),
            sum(known) if known else None,
        )

    def __str__(self) -> str:
        cached = f" ({self.cached_tokens:,} cached)" if self.cached_tokens else ""
        tokens = f"{self.input_tokens:,} tokens in{cached}, {self.output_tokens:,} out"
        if self.neurons is None or self.usd is None:
            return f"{tokens}, no price known"
        return f"{tokens}, {shown_neurons(self.neurons)} neurons, {shown_usd(self.usd)}"


def parse_limits(text: str) -> tuple[Limit, ...]:
    """The limits that `text` names, with commas between them; `all` are all there are, `none` is none.

    ```python
    parse_limits("rpm")  # ("rpm",)
    parse_limits("all")  # ("rpm", "free")
    ```

    Raises a ValueError for what is none of them.
    """
    named = [name.strip() for name in text.split(",")]
    if named == ["none"]:
        return ()
    if named == ["all"]:
        return LIMITS
    for name in named:
        choose("limits", name, [*LIMITS, "all", "none"])
        if name not in LIMITS:
            raise ValueError(f"limits must be {name} alone, or {', '.join(LIMITS)}; it is {text!r}")
    return tuple(limit for limit in LIMITS if limit in named)


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


def shown_wait(seconds: float) -> str:
    """How long it is until the next day, as people read it: `5 h 12 min`."""
    hours, minutes = divmod(math.ceil(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _plain(number: float, *, digits: int) -> str:
    """`number` to so many digits that say something, never as `1e-05`."""
    rounded = Decimal(f"{number:.{digits}g}")
    return f"{rounded:f}"
