"""What may be loaded, what loads it, and what it is once it is loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from cfai.errors import AiError

__all__ = ["Claim", "Engine", "Finished", "Loader", "Weights"]

E_co = TypeVar("E_co", bound="Engine", covariant=True)


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights in a dtype: those that are equal share an engine.

    folder    where they are
    dtype     what they run in; None for what suits the device
    note      what the user should know of the dtype
    name      by which the engine goes
    model_id  the model that was asked for first, which another one's weights may stand in for
    """

    folder: Path
    dtype: str | None = None
    name: str = field(default="", compare=False)
    model_id: str = field(default="", compare=False)
    note: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Claim:
    """What a model will take of a device's memory.

    bytes  all of it: weights, KV cache, and what a step works with
    parts  the same in words, for who reads why it does not fit
    """

    bytes: int
    parts: str = ""


class Finished(Protocol):
    """What a thread finishes once; `cfai.ready.Ready` is one."""

    def then(self, call: Callable[[AiError | None], object]) -> None: ...


class Engine(Protocol):
    """A model that loads or is loaded, as far as its life concerns others."""

    @property
    def name(self) -> str: ...

    @property
    def ready(self) -> Finished: ...

    @property
    def is_alive(self) -> bool:
        """It loads or answers."""

    @property
    def has_loaded(self) -> bool:
        """It answers, or has done so."""

    @property
    def has_ended(self) -> bool:
        """It is closed, and its memory is given back."""

    @property
    def memory(self) -> int:
        """Bytes that it takes, once it is loaded."""

    def stats(self) -> dict[str, Any]: ...

    def close(self, timeout: float = ...) -> None:
        """End its answers and give its memory back; blocks until that is done, or for `timeout` seconds."""


class Loader(Protocol[E_co]):
    """Makes engines. Only one thread calls it, which may be kept waiting."""

    def budget(self, device: str | None) -> int | None:
        """Bytes of `device` that models may take together; None if nobody knows."""

    def claim(self, weights: Weights, device: str | None, budget: int | None) -> Claim:
        """What `weights` will take there, where models have so much. Raises an `AiError` for what cannot be loaded."""

    def start(self, weights: Weights, device: str | None, budget: int | None) -> E_co:
        """Begin to load."""
