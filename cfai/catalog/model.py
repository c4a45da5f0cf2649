"""One model of the catalog: what is known about it, and its limits on a day."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Literal

from cfai.cost import USD_PER_NEURON

__all__ = [
    "Alias",
    "Capability",
    "Era",
    "Evidence",
    "Family",
    "Limits",
    "Model",
    "Neurons",
    "Precision",
    "Price",
    "PromptEra",
    "Status",
    "Task",
    "Weights",
]

Precision = Literal["int8", "fp8", "fp16", "bf16", "awq", "gguf"]
Capability = Literal["streaming", "functions", "json", "lora", "vision", "batch", "reasoning", "realtime"]
Evidence = Literal["doc", "name", "inferred", "told"]
"""Why a repository is that of a model: Cloudflare says so, the two names are the same, it is the likely one, or a
user's settings name it."""
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
    """What fits into one call, in tokens; None where no bound is known.

    ```python
    Catalog.builtin().get("@cf/qwen/qwen3-30b-a3b-fp8").limits().default_max_tokens  # 2000
    ```
    """

    context_window: int | None = None
    """Prompt and answer together."""
    max_input_tokens: int | None = None
    max_output_tokens: int | None = None
    default_max_tokens: int | None = DEFAULT_MAX_TOKENS
    """Of a call that names none; None where its answer may go on to the end of the window."""
    default_max_tokens_streaming: int | None = DEFAULT_MAX_TOKENS


@dataclass(frozen=True, slots=True)
class Era:
    """Limits that held before the day `until`."""

    until: date
    limits: Limits
    source: str | None = None


@dataclass(frozen=True, slots=True)
class PromptEra:
    """How the text for a model was made of a conversation before the day `until`; the names are those of
    `prompts.json`."""

    until: date
    template: str
    system: str | None = None
    """The system message of a bare prompt."""
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Alias:
    """The model that answers in another one's place, from a day on."""

    id: str
    since: date


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
    evidence: Evidence = "inferred"
    revision: str | None = None
    """The commit, branch or tag, where it is not the repository's newest."""


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
    cached_input: float | None = None
    """Of input tokens that were read before; None where they cost what the others do."""


@dataclass(frozen=True, slots=True)
class Task:
    """What a model does, as the model list names it."""

    name: str
    uuid: str | None = None
    requests_per_minute: int | None = None
    description: str = ""
    streaming: bool = False
    """Whether its models can answer piece by piece."""


@dataclass(frozen=True, slots=True)
class Model:
    """One model id and what is known about it. The limits are those of today; `limits` gives those of a day.

    ```python
    model = Catalog.builtin().get("@cf/meta/llama-2-7b-chat-int8")
    model.limits(date(2023, 11, 14)).max_output_tokens  # 1800
    ```
    """

    id: str
    task: str = "Text Generation"
    status: Status = "active"
    family: Family = "classic"
    about: str = ""
    """What it is for, in a sentence."""
    uuid: str | None = None
    tags: tuple[str, ...] = ()
    flags: frozenset[str] = frozenset()
    """The properties that are set in the model list: beta, lora, function_calling, vision, reasoning, ..."""
    json_mode: bool = False
    """Whether Cloudflare says that the model answers in JSON on request."""
    streaming: bool | None = None
    """Whether it can answer piece by piece, where that is not as with the others of its task."""
    listed: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Further properties of the model list, as it has them: `info` and `terms`, which are pages, ..."""
    created_at: datetime | None = None
    announced: date | None = None
    """The first day on which a recorded model list says when the model goes."""
    deprecated: date | None = None
    """The day from which Cloudflare refuses calls."""
    first_seen: date | None = None
    """The first day on which a recorded model list has the id."""
    last_seen: date | None = None
    successor: str | None = None
    """The id that Cloudflare names in this one's place."""
    answered_by: Alias | None = None
    """The model that answers calls of this id at Cloudflare."""
    context_window: int | None = None
    max_input_tokens: int | None = None
    max_output_tokens: int | None = None
    default_max_tokens: int | None = None
    """Where it is not the family's: 256 tokens, or for the others than classic no bound."""
    default_max_tokens_streaming: int | None = None
    earlier: tuple[Era, ...] = ()
    """Limits of earlier days, the first ones first."""
    prompts: tuple[PromptEra, ...] = ()
    """Templates of earlier days, the first ones first; now it is that of the weights."""
    dimensions: int | None = None
    """Length of one vector, for embeddings."""
    requests_per_minute: int | None = None
    """Where it is not that of the task."""
    prices: tuple[Price, ...] = ()
    neurons: Neurons | None = None
    weights: Weights | None = None
    bundled: str | None = None
    """The folder inside the `cfai` package that holds the weights, for a model that ships with it."""
    sources: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Where a figure is from, where that is not where the others of its kind are from: keys of `sources.json`, by the
    names of the row's fields."""

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
    def created(self) -> date | None:
        """The day on which it was added."""
        return self.created_at and self.created_at.date()

    @property
    def removed(self) -> date | None:
        """The first day on which it may not have been in the model list any more."""
        return self.last_seen + timedelta(days=1) if self.status == "gone" and self.last_seen is not None else None

    @property
    def description(self) -> str:
        """What is known about the model, in a sentence."""
        if self.about:
            return self.about
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
        held = next((era.limits for era in self.earlier if as_of is not None and as_of < era.until), None)
        limits = held or Limits(
            self.context_window,
            self.max_input_tokens,
            self.max_output_tokens,
            self.default_max_tokens,
            self.default_max_tokens_streaming,
        )
        default = limits.default_max_tokens or (DEFAULT_MAX_TOKENS if self.family == "classic" else None)
        streaming = limits.default_max_tokens_streaming or default
        return replace(limits, default_max_tokens=default, default_max_tokens_streaming=streaming)

    def neurons_of(self, prompt_tokens: int, completion_tokens: int, cached_tokens: int = 0) -> float | None:
        """What these tokens cost, to the six digits of Cloudflare's own figures; None where no price is known.

        ```python
        Catalog.builtin().get("@cf/google/gemma-4-26b-a4b-it").neurons_of(147, 0)  # 1.33636
        ```

        cached_tokens  those of the prompt that were read before, which cost less where the model list says so
        """
        if (each := self.token_neurons) is None:
            return None
        cached = 0 if each.cached_input is None else min(cached_tokens, prompt_tokens)
        cost = (prompt_tokens - cached) * each.input + completion_tokens * (each.output or 0)
        cost += cached * (each.cached_input or 0)
        return float(f"{cost / 1e6:.6g}")

    @property
    def token_neurons(self) -> Neurons | None:
        """Cloudflare's own figures, or else what its prices per token come to; None where neither is known."""
        if self.neurons is not None:
            return self.neurons
        million = {unit: neurons * 1e6 for unit, neurons in map(_neurons_per_unit, self.prices)}
        if not million.keys() & {"input tokens", "output tokens"}:
            return None
        return Neurons(
            million.get("input tokens", 0.0), million.get("output tokens"), million.get("cached input tokens")
        )

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

    def prompt_era(self, as_of: date | None = None) -> PromptEra | None:
        """How a prompt was made on the day `as_of`; None where the weights' own chat template does that."""
        return next((era for era in self.prompts if as_of is not None and as_of < era.until), None)

    @property
    def units(self) -> tuple[str, ...]:
        """What it is priced by: `input tokens`, `audio minute`, `step`, ..."""
        return tuple(_neurons_per_unit(price)[0] for price in self.prices)

    @property
    def generates_text(self) -> bool:
        """Whether it writes text, which is the task that runs on this machine."""
        return self.task == "Text Generation"

    @property
    def is_dated(self) -> bool:
        """Whether a day is known on which Cloudflare had it."""
        return self.created is not None or self.first_seen is not None

    def is_listed(self, as_of: date | None = None, *, with_retired: bool = False) -> bool:
        """Whether the model list of the day `as_of`, or today's, has it; of days that nobody knows, none has.

        with_retired  also where it was retired by then
        """
        if self.status == "unlisted":
            return False
        if as_of is None or self.bundled is not None:
            return with_retired or self.status == "active"
        return self.is_dated and self.existed(as_of) and (with_retired or not self.is_retired(as_of))

    def existed(self, as_of: date) -> bool:
        """Whether Cloudflare had the model by the day `as_of`; models of which no day is known always did."""
        since = min(filter(None, (self.created, self.first_seen)), default=None)
        return since is None or since <= as_of

    def is_retired(self, as_of: date | None = None) -> bool:
        """Whether Cloudflare no longer serves the model on the day `as_of`, or today."""
        if as_of is None:
            return self.status == "gone"
        if self.deprecated is not None:
            return as_of >= self.deprecated
        return self.removed is not None and as_of >= self.removed


_PRECISIONS: Mapping[str, Precision] = {
    "int8": "int8",
    "fp8": "fp8",
    "fp16": "fp16",
    "bf16": "bf16",
    "awq": "awq",
    "gguf": "gguf",
}


_MULTIPLES = {"M ": 1e6, "1k ": 1e3}


def _neurons_per_unit(price: Price) -> tuple[str, float]:
    """The unit of a price without its `per` and its multiple, and what one costs: `input tokens` of `per M input
    tokens`."""
    unit = price.unit.removeprefix("per ")
    multiple = next((name for name in _MULTIPLES if unit.startswith(name)), "")
    return unit.removeprefix(multiple), price.usd / _MULTIPLES.get(multiple, 1) / USD_PER_NEURON
