"""`/metrics`: what a binding's models do, as Prometheus reads it.

Names of the OpenTelemetry GenAI conventions are used where they say the same, in Prometheus's spelling: dots are
underscores, the unit comes last, attributes are labels. Everything else begins with `cfai_`.
https://github.com/open-telemetry/semantic-conventions-genai/blob/main/docs/gen-ai/gen-ai-metrics.md
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client import ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.utils import floatToGoString
from starlette.types import Receive, Scope, Send

from cfai import __version__
from cfai.binding import Binding, Reply, Stats
from cfai.server.exchange import send_reply

__all__ = ["CONTENT_TYPE", "Metrics"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """The metrics of `binding`, an ASGI endpoint. A binding without `stats` has those of the process only.

    What is asked of a model, and when, is not for all: a server with a token asks for it here too.
    """

    def __init__(self, binding: Binding) -> None:
        self._binding = binding
        self._process = ProcessCollector(registry=None)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        stats = self._binding.stats() if isinstance(self._binding, Stats) else {}
        body = generate_latest(_Figures(stats.get("models") or {}, stats.get("neurons") or {}, self._process))
        await send_reply(Reply(body, headers={"content-type": CONTENT_TYPE}), send)


_GAUGES: dict[str, tuple[str, str]] = {
    "running": ("cfai_requests_running", "Answers that are being made."),
    "waiting": ("cfai_requests_waiting", "Requests in the queue."),
    "slots": ("cfai_slots", "Answers that can be made at once."),
    "queue_limit": ("cfai_queue_limit", "Requests that may wait; one more is refused."),
    "memory": ("cfai_weights_bytes", "Memory that the weights take."),
    "memory_in_all": ("cfai_model_memory_bytes", "Memory of weights, KV cache and steps, or what it will be."),
    "pinned": ("cfai_model_pinned", "1 for a model that stays in memory."),
    "idle_seconds": ("cfai_model_idle_seconds", "Time since the last answer ended; none while there is one."),
    "leaves_in_seconds": ("cfai_model_leaves_in_seconds", "Time until it leaves memory if nobody asks for it again."),
    "cache_tokens": ("cfai_cache_tokens", "Tokens that the KV cache holds."),
    "cache_capacity": ("cfai_cache_capacity_tokens", "Tokens that the KV cache has room for."),
}
"""By key in a model's stats."""

_ALLOWANCE: dict[str, tuple[str, str]] = {
    "today": ("cfai_neurons_today", "Neurons used since 00:00 UTC."),
    "free": ("cfai_free_neurons", "Neurons of a day that cost nothing on Cloudflare."),
    "resets_in": ("cfai_neurons_reset_seconds", "Seconds until the next day begins."),
}
"""By key in the stats' neurons."""

_COUNTERS: dict[str, tuple[str, str]] = {
    "prompt_tokens": ("cfai_prompt_tokens", "Tokens of the prompts that got a slot."),
    "cached_tokens": ("cfai_cached_prompt_tokens", "Prompt tokens that were in the KV cache already."),
    "prefix_hits": ("cfai_prefix_hits", "Requests of whose prompt a part was in the KV cache already."),
    "output_tokens": ("cfai_output_tokens", "Tokens made, those of running answers too."),
}
"""By key in a model's metrics."""

_HISTOGRAMS: list[tuple[str, str, dict[str, dict[str, str]]]] = [
    (
        "gen_ai_server_time_to_first_token_seconds",
        "From a request's arrival to its first token.",
        {"time_to_first_token": {}},
    ),
    (
        "gen_ai_server_time_per_output_token_seconds",
        "The mean over one finished answer of the time per token after the first.",
        {"time_per_output_token": {}},
    ),
    (
        "gen_ai_server_request_duration_seconds",
        "From a request's arrival to the end of its finished answer.",
        {"request_duration": {}},
    ),
    (
        "gen_ai_client_token_usage",
        "Tokens of one finished request.",
        {"input_tokens": {"gen_ai_token_type": "input"}, "output_tokens": {"gen_ai_token_type": "output"}},
    ),
    ("cfai_inter_token_latency_seconds", "From one token of an answer to the next.", {"inter_token_latency": {}}),
    ("cfai_queue_time_seconds", "From a request's arrival to its slot.", {"queue_time": {}}),
    ("cfai_prefill_time_seconds", "From the slot to the first token.", {"prefill_time": {}}),
]
"""Names and what they say, then labels by key in the histograms of a model's metrics."""


class _Figures:
    """The families of metrics of some models, by the protocol that prometheus_client renders.

    A figure that a model does not have is left out.
    """

    def __init__(
        self, models: Mapping[str, Mapping[str, Any]], neurons: Mapping[str, Any], process: ProcessCollector
    ) -> None:
        self._models = models
        self._neurons = neurons
        self._metrics = {name: stats.get("metrics") or {} for name, stats in models.items()}
        self._process = process

    def collect(self) -> Iterator[Metric]:
        yield InfoMetricFamily("cfai", "The running cfai.", {"version": __version__})
        yield self._info()
        yield self._states()
        for key, (name, text) in _GAUGES.items():
            yield self._gauge(name, text, {model: stats.get(key) for model, stats in self._models.items()})
        load_seconds = {model: metrics.get("load_seconds") for model, metrics in self._metrics.items()}
        yield self._gauge("cfai_load_seconds", "How long the weights took to load.", load_seconds)
        yield self._requests()
        for key, (name, text) in _COUNTERS.items():
            yield self._counter(name, text, key)
        for name, text, parts in _HISTOGRAMS:
            yield self._histogram(name, text, parts)
        yield from self._costs()
        yield from self._process.collect()

    def _info(self) -> Metric:
        family = InfoMetricFamily("cfai_model", "Where and how a model runs.", labels=["model"])
        for model, stats in self._models.items():
            shown = {key: str(stats.get(key) or "") for key in ("device", "dtype", "precision", "batching")}
            family.add_metric([model], shown)
        return family

    def _states(self) -> Metric:
        family = GaugeMetricFamily("cfai_model_state", "1 for how the model stands.", labels=["model", "state"])
        for model, stats in self._models.items():
            if state := stats.get("state"):
                family.add_metric([model, state], 1)
        return family

    def _gauge(self, name: str, text: str, values: Mapping[str, float | None]) -> Metric:
        family = GaugeMetricFamily(name, text, labels=["model"])
        for model, value in values.items():
            if value is not None:
                family.add_metric([model], value)
        return family

    def _counter(self, name: str, text: str, key: str) -> Metric:
        family = CounterMetricFamily(name, text, labels=["model"])
        for model, metrics in self._metrics.items():
            if key in metrics:
                family.add_metric([model], metrics[key])
        return family

    def _costs(self) -> Iterator[Metric]:
        for key, (name, text) in _ALLOWANCE.items():
            if key in self._neurons:
                yield GaugeMetricFamily(name, text, value=self._neurons[key])
        if "models" in self._neurons:
            text = "Neurons of the answers so far, of models whose price is known."
            family = CounterMetricFamily("cfai_neurons", text, labels=["model"])
            for model, neurons in self._neurons["models"].items():
                family.add_metric([model], neurons)
            yield family

    def _requests(self) -> Metric:
        text = "Requests by outcome: finished; stopped, their readers left; failed; refused, the queue was full."
        family = CounterMetricFamily("cfai_requests", text, labels=["model", "outcome"])
        for model, metrics in self._metrics.items():
            for outcome, count in metrics.get("requests", {}).items():
                family.add_metric([model, outcome], count)
        return family

    def _histogram(self, name: str, text: str, parts: Mapping[str, Mapping[str, str]]) -> Metric:
        is_gen_ai = name.startswith("gen_ai_")
        extra = next(iter(parts.values()))
        family = HistogramMetricFamily(name, text, labels=["model", *(_GEN_AI if is_gen_ai else ()), *extra])
        for model, metrics in self._metrics.items():
            for key, labels in parts.items():
                if histogram := metrics.get("histograms", {}).get(key):
                    given = [model, *(_gen_ai(model) if is_gen_ai else ()), *labels.values()]
                    family.add_metric(given, _buckets(histogram), histogram["sum"])
        return family


_GEN_AI = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model")
"""The attributes that the conventions require."""


def _gen_ai(model: str) -> tuple[str, str, str]:
    return "chat", "cfai", model


def _buckets(histogram: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Upper bounds and how many values are not above them; the last bound is infinity."""
    bounds = [*histogram["bounds"], float("inf")]
    return [*zip(map(floatToGoString, bounds), itertools.accumulate(histogram["counts"]), strict=True)]
