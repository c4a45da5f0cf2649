"""What transformers makes of a checkpoint's config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import transformers
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

__all__ = ["problem_of"]

_GENERATING = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
"""How the classes are called whose answers are text."""


def problem_of(config: Mapping[str, Any]) -> str | None:
    """Why no engine can load a checkpoint with this config; None if it can.

    ```python
    problem_of({"model_type": "llama"})  # None
    problem_of({"model_type": "whisper", "is_encoder_decoder": True})  # 'a whisper model generates no text'
    ```

    A config that names code of its repository is no problem where transformers has that architecture itself: then the
    code is not run.
    """
    kind = config.get("model_type")
    if not isinstance(kind, str):
        return "its config.json names no model_type"
    if kind in CONFIG_MAPPING_NAMES:
        # Models that read or translate have a class that only generates, which their weights do not fit.
        classes = list(map(str, config.get("architectures") or ()))
        is_one = kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and not config.get("is_encoder_decoder")
        is_meant = not classes or any(name.endswith(_GENERATING) for name in classes)
        return None if is_one and is_meant else f"a {kind} model generates no text"
    version = f"transformers {transformers.__version__} has no architecture {kind!r}"
    code = config.get("auto_map")
    if isinstance(code, Mapping) and code:
        return f"{version}, and the code that its config names ({next(map(str, code.values()))}) is not run"
    return f"{version}; a newer one may"
