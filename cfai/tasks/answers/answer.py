"""What an answer is made of, and what comes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, NamedTuple

from cfai.binding import JSON
from cfai.catalog import Model

__all__ = ["Answer", "Asked"]


class Answer(NamedTuple):
    """The body of a reply, a JSON value or bytes, and its content type."""

    body: Any
    content_type: str = JSON


@dataclass(frozen=True, slots=True)
class Asked:
    """One call: the model, its inputs as they were checked, and what chance there is."""

    model: Model
    inputs: Any
    rng: Random
    vectors: Sequence[Sequence[float]] | None = None
    """Of the texts in the inputs, where a model has made them."""
