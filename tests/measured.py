"""A binding that says of itself what a test wants."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cfai import FakeBinding
from cfai.metrics import ModelMetrics

__all__ = ["MODEL", "Measured", "busy_model"]

MODEL = "@cf/test/llama"


class Measured(FakeBinding):
    def __init__(self, models: Mapping[str, dict[str, Any]]) -> None:
        super().__init__()
        self.models = models

    def stats(self) -> dict[str, Any]:
        return {"running": 0, "waiting": 0, "tokens": 0, "models": self.models}


def busy_model(**changed: Any) -> dict[str, Any]:
    """The stats of a model that finished one answer, is at another, and had to send somebody away."""
    metrics = ModelMetrics()
    metrics.load_seconds = 2.5
    answer = metrics.request(prompt_tokens=12, now=0.0)
    answer.admitted(0.25, cached_tokens=8)
    for now in (0.5, 0.75, 1.0):
        answer.tokens(now)
    answer.finished(1.0)
    running = metrics.request(prompt_tokens=3, now=1.0)
    running.admitted(1.0)
    running.tokens(4.0)
    metrics.refused()
    return {
        "running": 1,
        "waiting": 2,
        "slots": 4,
        "queue_limit": 32,
        "memory": 1_000_000,
        "device": "cpu",
        "dtype": "float32",
        "precision": "",
        "batching": "continuous",
        "cache_tokens": 1024,
        "cache_capacity": 4096,
        "metrics": metrics.snapshot(),
        **changed,
    }
