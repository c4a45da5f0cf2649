"""Makes the engines of `LocalBinding`: the door to the engine's room, which opens when a model is first wanted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from cfai.bindings.loaded import Claim, Weights
from cfai.errors import EngineFailure
from cfai.packages import problem_of

if TYPE_CHECKING:
    from cfai.engine import EngineSettings, LocalEngine

__all__ = ["EngineLoader", "import_engine"]


class EngineLoader:
    """A `Loader` of `LocalEngine`s.

    settings     of `EngineSettings`, all but device and dtype
    is_several   a model runs on several devices, and its engines are named by them
    on_progress  as that of `LocalBinding`
    on_lost      as well
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        *,
        is_several: bool = False,
        on_progress: Callable[[str, int, int], None] | None = None,
        on_lost: Callable[[str], None] | None = None,
    ) -> None:
        self._settings = settings
        self._is_several = is_several
        self._on_progress = on_progress
        self._on_lost = on_lost

    def budget(self, device: str | None) -> int | None:
        room = import_engine()
        free: int | None = room.memory_for_models(room.device_of(device))
        return free

    def claim(self, weights: Weights, device: str | None, budget: int | None) -> Claim:
        found = import_engine().footprint(weights.folder, self._settings_for(weights, device), budget=budget)
        return Claim(found.total, str(found))

    def start(self, weights: Weights, device: str | None, budget: int | None) -> LocalEngine:
        room, settings = import_engine(), self._settings_for(weights, device)
        engine: LocalEngine = room.LocalEngine(
            weights.folder,
            settings,
            partial(self._on_progress, weights.model_id) if self._on_progress else None,
            name=f"{weights.name} on {device}" if self._is_several else weights.name,
            note=weights.note,
            footprint=None if budget is None else room.footprint(weights.folder, settings, budget=budget),
            on_lost=self._on_lost,
        )
        return engine

    def _settings_for(self, weights: Weights, device: str | None) -> EngineSettings:
        settings: EngineSettings = import_engine().EngineSettings(device=device, dtype=weights.dtype, **self._settings)
        return settings


def import_engine() -> Any:
    """The engine's room. Imports torch and transformers, which takes seconds, the first time.

    Raises `EngineFailure` where they are not installed.
    """
    try:
        import cfai.engine
    except ModuleNotFoundError as error:
        if (found := problem_of(error)) is None:
            raise
        problem, command = found
        raise EngineFailure(f"a model cannot run here: {problem}", hint=command) from error

    return cfai.engine
