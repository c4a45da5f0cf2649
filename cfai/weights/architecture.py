"""Whether a checkpoint's config is one that the engine loads, found out before its weights are fetched or copied."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cfai.errors import WeightsMissing

__all__ = ["check_architecture"]


def check_architecture(config: Mapping[str, Any], called: str, *, thoroughly: bool = True) -> None:
    """Raise `WeightsMissing` if the checkpoint `called` so wants code of its own, or is none that generates text.

    ```python
    check_architecture({"model_type": "whisper"}, "openai/whisper-tiny.en")  # WeightsMissing: ... generates no text
    ```

    thoroughly  ask transformers, whose import takes seconds; without it only a config that names code is looked up
    """
    if not thoroughly and not config.get("auto_map"):
        return
    try:
        from cfai.engine.architecture import problem_of
    except ModuleNotFoundError:  # a light install, in which nothing runs
        return
    if (problem := problem_of(config)) is not None:
        raise WeightsMissing(f"{called} does not run here: {problem}")
