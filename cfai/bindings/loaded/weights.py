"""What may be loaded, and what it is once it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

__all__ = ["Awaited", "Engine", "Weights"]


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


class Awaited(Protocol):
    """What a thread finishes and tasks of any event loop wait for."""

    async def wait(self) -> None: ...


class Engine(Protocol):
    """A model that loads or is loaded, as far as its life concerns others."""

    @property
    def name(self) -> str: ...

    @property
    def ready(self) -> Awaited: ...

    @property
    def is_alive(self) -> bool: ...

    @property
    def load(self) -> int:
        """Answers that it makes, and that wait in its queue."""

    def stats(self) -> dict[str, Any]: ...

    def close(self) -> None:
        """End its answers and give its memory back; blocks until that is done."""
