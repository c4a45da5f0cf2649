"""Which model takes and gives what, as a table: a kind for each task, and one for each model that differs from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cfai.catalog import Model
from cfai.tasks.answers import embeddings
from cfai.tasks.answers.answer import Answer, Asked

__all__ = ["Kind", "kind_of"]


def _nothing(inputs: Mapping[str, Any]) -> None:
    """The schema says it all."""


def _one_request(inputs: Any, answer: Answer) -> Mapping[str, float]:
    return {"inference request": 1}


@dataclass(frozen=True, slots=True)
class Kind:
    """What some models take and give."""

    schema: str
    """The file of `schemas/`."""
    variant: str
    """Its entries are `VARIANT-input` and `VARIANT-output`."""
    answer: Callable[[Asked], Answer]
    work: Callable[[Any, Answer], Mapping[str, float]] = _one_request
    """How much is paid for, by the units of the catalog's prices."""
    raw: str = ""
    """The key of the inputs that the body of a request is when it is no JSON."""
    look_again: Callable[[Mapping[str, Any]], None] = _nothing
    """Refuses what the schema lets through."""
    output: str = ""
    """Another variant's output that is this one's too."""

    @property
    def input_entry(self) -> str:
        return f"{self.variant}-input"

    @property
    def output_entry(self) -> str:
        return f"{self.output or self.variant}-output"


def kind_of(model: Model) -> Kind:
    """The kind of `model`, which generates no text."""
    try:
        return _OF_MODELS.get(model.id) or _OF_TASKS[model.task]
    except KeyError:
        raise ValueError(f"{model.id} has the task {model.task!r}; there are: {', '.join(sorted(_OF_TASKS))}") from None


_BGE = Kind("embeddings", "bge", embeddings.bge, embeddings.tokens_read)
_M3 = Kind("embeddings", "m3", embeddings.m3, embeddings.tokens_read)
_PLAIN = Kind("embeddings", "plain", embeddings.plain, embeddings.tokens_read)
_QWEN3 = Kind(
    "embeddings",
    "qwen3",
    embeddings.qwen3,
    embeddings.tokens_read,
    look_again=embeddings.has_something_to_embed,
    output="plain",
)

_OF_TASKS: Mapping[str, Kind] = {
    "Text Embeddings": _BGE,
}

_OF_MODELS: Mapping[str, Kind] = {
    "@cf/baai/bge-m3": _M3,
    "@cf/baai/omni-bge-m3": _M3,
    "@cf/google/embeddinggemma-300m": _PLAIN,
    "@cf/pfnet/plamo-embedding-1b": _PLAIN,
    "@cf/qwen/qwen3-embedding-0.6b": _QWEN3,
}
