"""Texts become vectors, and contexts are ranked by how near they are to a query."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cfai.catalog import Model
from cfai.tasks import fields
from cfai.tasks.answers.answer import Answer, Asked
from cfai.tasks.vectors import likeness, vector
from cfai.tasks.words import tokens_in

__all__ = [
    "bge",
    "dimensions_of",
    "has_something_to_embed",
    "m3",
    "plain",
    "ranked",
    "similarities",
    "texts_of",
    "tokens_ranked",
    "tokens_read",
]

# From the models' cards on Hugging Face, where the catalog has no figure of Cloudflare's.
_DIMENSIONS = {
    "@cf/baai/bge-m3": 1024,
    "@cf/baai/omni-bge-m3": 1024,
    "@cf/google/embeddinggemma-300m": 768,
    "@cf/pfnet/plamo-embedding-1b": 2048,
    "@cf/qwen/qwen3-embedding-0.6b": 1024,
}
_USUAL_DIMENSIONS = 768


def dimensions_of(model: Model) -> int:
    """How many numbers a vector of `model` has."""
    return model.dimensions or _DIMENSIONS.get(model.id, _USUAL_DIMENSIONS)


def bge(asked: Asked) -> Answer:
    pooling = asked.inputs.get("pooling", "mean")
    data = _vectors(asked, pooling)
    return Answer({"shape": _shape(asked.model, data), "data": data, "pooling": pooling})


def m3(asked: Asked) -> Answer:
    if "contexts" in asked.inputs and "query" in asked.inputs:
        return ranked(asked)
    data = _vectors(asked, "cls")
    name = "response" if "contexts" in asked.inputs else "data"
    return Answer({name: data, "shape": _shape(asked.model, data), "pooling": "cls"})


def plain(asked: Asked) -> Answer:
    data = _vectors(asked)
    return Answer({"data": data, "shape": _shape(asked.model, data)})


_TEXTS = ("queries", "documents", "text")
"""Where the inputs have texts, in the order of the vectors; all but qwen3's have one of them."""


def texts_of(inputs: Mapping[str, Any]) -> list[str]:
    """The texts to embed, in the order of their vectors, in inputs that were checked.

    ```python
    texts_of({"text": "New York"})  # ['New York']
    ```
    """
    return [*_contexts(inputs), *(text for name in _TEXTS for text in _texts(inputs.get(name, ())))]


def has_something_to_embed(inputs: Mapping[str, Any]) -> None:
    # The schema requires nothing, and nothing has no vector.
    if not any(name in inputs for name in _TEXTS):
        fields.missing("/", "text")


def ranked(asked: Asked) -> Answer:
    """The contexts from the likest to the query down, by their places, with scores between 0 and 1."""
    query = asked.inputs["query"]
    scores = [_score(likeness(query, context)) for context in _contexts(asked.inputs)]
    order = sorted(range(len(scores)), key=lambda at: -scores[at])
    rows = [{"id": at, "score": scores[at]} for at in order]
    return Answer({"response": rows[: int(asked.inputs.get("top_k", len(rows)))]})


def _score(nearness: float) -> float:
    # Rerankers put a logit through a sigmoid: what has nothing to do with the query is near 0, not at a half.
    return round(1 / (1 + math.exp(-12 * (nearness - 0.5))), 9)


def similarities(asked: Asked) -> Answer:
    source = asked.inputs["source"]
    return Answer([round(likeness(source, text), 9) for text in asked.inputs["sentences"]])


def tokens_read(inputs: Any, answer: Answer) -> dict[str, float]:
    texts = [text for name in _TEXTS for text in _texts(inputs.get(name, ()))]
    return {"input tokens": tokens_in(*texts) + tokens_ranked(inputs, answer)["input tokens"]}


def tokens_ranked(inputs: Any, answer: Answer) -> dict[str, float]:
    """A reranker reads the query again with each context."""
    contexts = _contexts(inputs)
    return {"input tokens": tokens_in(*contexts) + len(contexts) * tokens_in(inputs.get("query", ""))}


def _texts(value: str | Iterable[str]) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def _contexts(inputs: Mapping[str, Any]) -> list[str]:
    return [context["text"] for context in inputs.get("contexts", ())]


def _vectors(asked: Asked, pooling: str = "") -> Sequence[Sequence[float]]:
    """Those that a model has made, or else made up."""
    if asked.vectors is not None:
        return asked.vectors
    dimensions = dimensions_of(asked.model)
    return [vector(text, dimensions, f"{asked.model.id} {pooling}") for text in texts_of(asked.inputs)]


def _shape(model: Model, data: Sequence[Sequence[float]]) -> list[int]:
    return [len(data), len(data[0]) if data else dimensions_of(model)]
