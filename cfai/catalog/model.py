"""One model of the catalog: what is known about it, and its limits on a day."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

__all__ = ["Era", "Family", "Limits", "Model", "Neurons", "Precision", "Price", "Status", "Task", "Weights"]

Precision = Literal["int8", "fp8", "fp16", "bf16", "awq", "gguf"]
Family = Literal["classic", "chat", "responses"]
"""How a text generation model answers through `run`: with Workers AI's own `response`, with OpenAI's completions, or
with those and OpenAI's Responses where the inputs are of that form.

The chat family are the models whose page or type has no default for `max_tokens`, a mark of OpenAI's form (glm-4.7 and
later, kimi-k2.5 and later, nemotron-3, gemma-4, deepseek-v4, qwen3.8, sea-lion, granite-4), and qwen3-30b, whose
inputs are classic but whose type answers with completions. Recorded answers of gemma-4 agree. Of gpt-oss, the Responses
form came first (2025-08-05), the two others on 2026-02-17."""
Status = Literal["active", "gone", "unlisted"]
"""`active` and `gone` say whether the newest known model list has the id; no list ever had an `unlisted` one, only
the documentation or an SDK."""

DEFAULT_MAX_TOKENS = 256


@dataclass(frozen=True, slots=True)
class Limits:
    """What fits into one call, in tokens; None where no bound is known."""

    context_window: int | None = None
    """Prompt and answer together."""
    max_input_tokens: int | None = None
    max_output_tokens: int | None = None
    default_max_tokens: int = DEFAULT_MAX_TOKENS
    default_max_tokens_streaming: int = DEFAULT_MAX_TOKENS


@dataclass(frozen=True, slots=True)
class Era:
    """Limits that hold from a day on; `start` is None for those that held from the beginning."""

    start: date | None
    limits: Limits


@dataclass(frozen=True, slots=True)
class Weights:
    """The public checkpoint that a model id corresponds to."""

    repo: str
    """The name of a Hugging Face repository."""
    gated: bool | None = None
    """Whether its owner asks for a licence click or a login first; None when that is not known."""
    params_b: float | None = None
    """Parameters, in billions."""
    ungated_repo: str | None = None
    """A copy of the same weights that asks for nothing."""
    evidence: Literal["doc", "name", "inferred"] = "inferred"
    """Why this repository: Cloudflare says so, the two names are the same, or it is the likely one."""


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per unit; the unit in Cloudflare's words, such as `per M input tokens`."""

    unit: str
    usd: float


@dataclass(frozen=True, slots=True)
class Neurons:
    """Cloudflare's measure of work, per million tokens."""

    input: float
    output: float | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """What a model does, as the model list names it."""

    name: str
    uuid: str | None = None
    requests_per_minute: int | None = None
    description: str = ""


@dataclass(frozen=True, slots=True)
class Model:
    """One model id and what is known about it.

    ```python
    model = Catalog.builtin().get("@cf/meta/llama-2-7b-chat-int8")
    model.limits(date(2023, 11, 14)).max_output_tokens  # 1800
    ```
    """

    id: str
    task: str = "Text Generation"
    status: Status = "active"
    uuid: str | None = None
    created: date | None = None
    removed: date | None = None
    first_seen: date | None = None
    """The first day on which a recorded model list has the id."""
    last_seen: date | None = None
    successor: str | None = None
    """The id that Cloudflare names, or lets answer, in this one's place."""
    context_window: int | None = None
    """The figure of the model list; `limits` has what a call must fit into."""
    eras: tuple[Era, ...] = ()
    """Limits over time, oldest first; empty when the context window is all that is known."""
    dimensions: int | None = None
    """Length of one vector, for embeddings."""
    requests_per_minute: int | None = None
    """Where it is not that of the task."""
    flags: frozenset[str] = frozenset()
    """Capabilities and labels of the model list: beta, lora, function_calling, vision, reasoning, ..."""
    prices: tuple[Price, ...] = ()
    neurons: Neurons | None = None
    family: Family = "classic"
    weights: Weights | None = None
    bundled: str | None = None
    """The folder inside the `cfai` package that holds the weights, for a model that ships with it."""

    @property
    def author(self) -> str:
        """Who made the model: what stands behind the first slash of the id."""
        parts = self.id.split("/")
        return parts[1] if len(parts) > 2 else parts[0].removeprefix("@")

    @property
    def source(self) -> Literal[1, 2]:
        """Where the model list says a model is from: 2 for the `@hf/` ids, 1 for all others."""
        return 2 if self.id.startswith("@hf/") else 1

    @property
    def description(self) -> str:
        """What is known about the model, in a sentence."""
        words = [self.task]
        if self.weights is not None:
            size = f", {self.weights.params_b:g} billion parameters" if self.weights.params_b else ""
            words.append(f"with the weights of {self.weights.repo}{size}")
        if self.context_window is not None:
            words.append(f"in a context of {self.context_window} tokens")
        return " ".join(words)

    @property
    def precision(self) -> Precision | None:
        """The precision that the id names, if it names one."""
        for word in re.split(r"[-/]", self.id.lower()):
            if precision := _PRECISIONS.get(word):
                return precision
        return None

    def limits(self, as_of: date | None = None) -> Limits:
        """The limits on the day `as_of`, or today's."""
        if not self.eras:
            return Limits(context_window=self.context_window)
        held = [era for era in self.eras if as_of is None or era.start is None or era.start <= as_of]
        # A day before the first known limits gets the first known ones.
        return (held[-1] if held else self.eras[0]).limits

    def neurons_of(self, prompt_tokens: int, completion_tokens: int) -> float | None:
        """What these tokens cost, to the six digits of Cloudflare's own figures; None where no price is known.

        ```python
        Catalog.builtin().get("@cf/google/gemma-4-26b-a4b-it").neurons_of(147, 0)  # 1.33636
        ```
        """
        if self.neurons is None:
            return None
        cost = prompt_tokens * self.neurons.input + completion_tokens * (self.neurons.output or 0)
        return float(f"{cost / 1e6:.6g}")

    def neurons_for(self, work: Mapping[str, float]) -> float | None:
        """What `work` costs, by the units of the model's prices; None where no price is known.

        ```python
        Catalog.builtin().get("@cf/openai/whisper").neurons_for({"audio minute": 0.5})  # 0.0205909
        ```
        """
        costs = dict(map(_neurons_per_unit, self.prices))
        if self.neurons is not None:  # Cloudflare's own figures, where there are some, are the exact ones
            costs |= {"input tokens": self.neurons.input / 1e6, "output tokens": (self.neurons.output or 0) / 1e6}
        if not costs:
            return None
        return float(f"{sum(amount * costs.get(unit, 0) for unit, amount in work.items()):.6g}")

    @property
    def generates_text(self) -> bool:
        """Whether it writes text, which is the task that runs on this machine."""
        return self.task == "Text Generation"

    def is_retired(self, as_of: date | None = None) -> bool:
        """Whether Cloudflare no longer serves the model on the day `as_of`, or today."""
        if as_of is None:
            return self.status == "gone"
        if self.removed is not None:
            return as_of >= self.removed
        return self.status == "gone" and self.last_seen is not None and as_of > self.last_seen

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Model:
        """The model that one row of the data file describes."""
        seen = row.get("seen", (None, None))
        neurons = row.get("neurons")
        return cls(
            id=row["id"],
            task=row["task"],
            status=row["status"],
            uuid=row.get("uuid"),
            created=_day(row.get("created")),
            removed=_day(row.get("removed")),
            first_seen=_day(seen[0]),
            last_seen=_day(seen[1]),
            successor=row.get("successor"),
            context_window=row.get("context_window"),
            eras=tuple(_era(era) for era in row.get("limits", ())),
            dimensions=row.get("dimensions"),
            requests_per_minute=row.get("requests_per_minute"),
            flags=frozenset(row.get("flags", ())),
            prices=tuple(Price(unit, usd) for unit, usd in row.get("prices", ())),
            neurons=Neurons(neurons["in"], neurons.get("out")) if neurons else None,
            family=row.get("family", "classic"),
            weights=Weights(**row["weights"]) if "weights" in row else None,
            bundled=row.get("bundled"),
        )


_PRECISIONS: Mapping[str, Precision] = {
    "int8": "int8",
    "fp8": "fp8",
    "fp16": "fp16",
    "bf16": "bf16",
    "awq": "awq",
    "gguf": "gguf",
}


_USD_PER_NEURON = 0.011 / 1000
"""https://developers.cloudflare.com/workers-ai/platform/pricing/"""

_MULTIPLES = {"M ": 1e6, "1k ": 1e3}


def _neurons_per_unit(price: Price) -> tuple[str, float]:
    """The unit of a price without its `per` and its multiple, and what one costs: `input tokens` of `per M input
    tokens`."""
    unit = price.unit.removeprefix("per ")
    multiple = next((name for name in _MULTIPLES if unit.startswith(name)), "")
    return unit.removeprefix(multiple), price.usd / _MULTIPLES.get(multiple, 1) / _USD_PER_NEURON


def _day(text: str | None) -> date | None:
    return None if text is None else date.fromisoformat(text)


def _era(row: Mapping[str, Any]) -> Era:
    return Era(_day(row["from"]), Limits(**{name: value for name, value in row.items() if name != "from"}))
