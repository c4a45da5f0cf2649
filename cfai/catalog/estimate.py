"""What a day of requests to a model would cost on Cloudflare, and which of its limits they would reach."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cfai.catalog.catalog import Catalog
from cfai.catalog.model import Limits, Model
from cfai.cost import FREE_NEURONS, USD_PER_NEURON
from cfai.wording import meant

__all__ = ["DAYS_PER_MONTH", "Estimate", "Load"]

DAYS_PER_MONTH = 30
BUSIEST_HOUR = 0.1
"""The share of a day's requests that its busiest hour has, where nobody says."""


@dataclass(frozen=True, slots=True)
class Load:
    """A day of requests, all of one size.

    ```python
    Load(requests=10_000, input_tokens=500, output_tokens=200).busiest_minute  # 17
    ```
    """

    requests: int
    """Per day."""
    input_tokens: int = 0
    """Per request, prompt and template together."""
    output_tokens: int = 0
    cached: float = 0.0
    """The share of the input that was sent before, from 0 to 1."""
    units: Mapping[str, float] = field(default_factory=dict)
    """Work that is not counted in tokens, per request: `{"audio minute": 0.5}`."""
    peak: int | None = None
    """Requests in the busiest minute; None takes a tenth of the day's to come in one hour."""

    @property
    def busiest_minute(self) -> int:
        if self.peak is not None:
            return self.peak
        return -(-round(self.requests * BUSIEST_HOUR) // 60)


@dataclass(frozen=True, slots=True)
class Estimate:
    """What `load` costs with `model`; None for what depends on a price that is not known.

    ```python
    Estimate.of("@cf/meta/llama-3.2-1b-instruct", Load(1000, 500, 200)).usd_per_month
    ```
    """

    model: Model
    load: Load
    limits: Limits
    requests_per_minute: int | None
    """That the model takes."""
    neurons: float | None
    """Of one request."""

    @classmethod
    def of(cls, model_id: str, load: Load, *, catalog: Catalog | None = None) -> Estimate:
        """The estimate by the catalog's newest prices. Raises `NoSuchModel`, and a ValueError for units of another
        model."""
        catalog = catalog or Catalog.builtin()
        model = catalog.get(model_id)
        rate = model.requests_per_minute or catalog.task(model.task).requests_per_minute
        return cls(model, load, model.limits(), rate, _neurons(model, load))

    @property
    def neurons_per_day(self) -> float | None:
        return None if self.neurons is None else self.neurons * self.load.requests

    @property
    def free_share(self) -> float | None:
        """How often the day's free neurons are used up."""
        return None if self.neurons_per_day is None else self.neurons_per_day / FREE_NEURONS

    @property
    def free_requests(self) -> int | None:
        """Requests of a day that cost nothing."""
        return int(FREE_NEURONS / self.neurons) if self.neurons else None

    @property
    def usd(self) -> float | None:
        """Of one request beyond the free ones."""
        return None if self.neurons is None else self.neurons * USD_PER_NEURON

    @property
    def usd_per_day(self) -> float | None:
        """What is billed: the day's free neurons are taken off."""
        neurons = self.neurons_per_day
        return None if neurons is None else max(0.0, neurons - FREE_NEURONS) * USD_PER_NEURON

    @property
    def usd_per_month(self) -> float | None:
        return None if self.usd_per_day is None else self.usd_per_day * DAYS_PER_MONTH

    @property
    def first_limit(self) -> str | None:
        """The first limit that would stand in the way, with Cloudflare's code; None where none is known to."""
        load, limits = self.load, self.limits
        both = load.input_tokens + load.output_tokens
        for code, count, most, what in (
            (5021, load.input_tokens, limits.max_input_tokens, "tokens in"),
            (5021, load.output_tokens, limits.max_output_tokens, "tokens out"),
            (5021, both, limits.context_window, "tokens in the context window"),
            (3021, load.busiest_minute, self.requests_per_minute, "requests per minute at the peak"),
        ):
            if most is not None and count > most:
                return f"{code}: {count:,} {what}, {most:,} at most"
        return None

    @property
    def needs_max_tokens(self) -> bool:
        """Whether answers are cut where a call does not say how long they may be."""
        default = self.limits.default_max_tokens
        return self.model.generates_text and default is not None and self.load.output_tokens > default

    def to_json(self) -> dict[str, Any]:
        return {
            "model": self.model.id,
            "prices_of": self.model.last_seen and self.model.last_seen.isoformat(),
            "retired": self.model.is_retired(),
            "neurons_per_request": self.neurons,
            "neurons_per_day": self.neurons_per_day,
            "free_share": self.free_share,
            "free_requests_per_day": self.free_requests,
            "usd_per_request": self.usd,
            "usd_per_day": self.usd_per_day,
            "usd_per_month": self.usd_per_month,
            "requests_per_minute": self.requests_per_minute,
            "context_window": self.limits.context_window,
            "max_output_tokens": self.limits.max_output_tokens,
            "default_max_tokens": self.limits.default_max_tokens,
            "needs_max_tokens": self.needs_max_tokens,
            "first_limit": self.first_limit,
        }


def _neurons(model: Model, load: Load) -> float | None:
    if strange := sorted(load.units.keys() - set(model.units)):
        known = f"it is priced per {' and per '.join(model.units)}" if model.units else "its price is not known"
        raise ValueError(f"{model.id} has no price per {strange[0]}: {known}{meant(strange[0], model.units)}")
    if model.token_neurons is not None:
        return model.neurons_of(load.input_tokens, load.output_tokens, round(load.input_tokens * load.cached))
    work = {**_work_of_any_request(load), **load.units}
    if model.units and not work.keys() & set(model.units):
        raise ValueError(f"{model.id} is priced per {' and per '.join(model.units)}, and a request has none")
    return model.neurons_for(work)


def _work_of_any_request(load: Load) -> dict[str, float]:
    return {"input tokens": load.input_tokens, "output tokens": load.output_tokens, "inference request": 1}
