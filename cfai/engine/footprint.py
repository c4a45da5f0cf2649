"""What a model will take of a device's memory, from its files alone: nothing is loaded.

It depends on the model, the settings and the memory that models may take together, and on nothing else: not on what is
loaded beside it. So a model takes the same each time, and what fits together today does so tomorrow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig

from cfai.engine.devices import device_of
from cfai.engine.int8_checkpoint import plan_int8
from cfai.engine.settings import PACKED_SHARE, EngineSettings, step_tokens_on
from cfai.engine.tensors import half_of
from cfai.errors import EngineFailure
from cfai.quantities import shown_size
from cfai.weights.layout import read_header, weight_files

__all__ = ["Footprint", "footprint"]

LONGEST_CONTEXT = 32768
"""Tokens of prompt and answer for a model whose config does not say."""

_WORK_BASE = {"cuda": 512 << 20}
"""Bytes that CUDA graphs and what CUDA's libraries keep for a thread take, by device."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes of the weights in `dtype`, of the KV cache, of what a step works with, and of faster forms of weights."""

    dtype: str
    weights: int
    cache: int
    work: int
    spare: int = 0

    @property
    def total(self) -> int:
        return self.weights + self.cache + self.work + self.spare

    def __str__(self) -> str:
        spare = f", faster forms of weights {shown_size(self.spare)}" if self.spare else ""
        return (
            f"weights {shown_size(self.weights)} as {self.dtype}, KV cache {shown_size(self.cache)}, "
            f"work {shown_size(self.work)}{spare}"
        )


def footprint(folder: Path, settings: EngineSettings, *, budget: int | None = None) -> Footprint:
    """What the model in `folder` will take with `settings`, where models may take `budget` bytes of its device.

    footprint(folder, EngineSettings(device="cpu"), budget=8 * 10**9).total

    If that is more than the budget it is what the model needs at least. Raises `WeightsMissing` and `EngineFailure` for
    what cannot be loaded.
    """
    files = weight_files(folder)
    shapes = [_shape(entry) for file in files for entry in _tensors(read_header(file))]
    device = device_of(settings.device)
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise EngineFailure(f"{folder} does not load: {error}") from error
    found = [
        _in(dtype, _weights(dtype, files, shapes, config, device), config, settings, device, budget)
        for dtype in _dtypes(settings.dtype, device, config)
    ]
    return next((one for one in found if budget is None or one.total <= budget), found[-1])


def _in(
    dtype: str,
    weights: int,
    config: Any,
    settings: EngineSettings,
    device: torch.device,
    budget: int | None,
) -> Footprint:
    """The footprint in one dtype."""
    rest = _of_activations(dtype, device, config)
    text = config.get_text_config()
    work = _work(text, settings, device)
    token = _cache_bytes(text) * rest.itemsize
    context = getattr(text, "max_position_embeddings", None) or LONGEST_CONTEXT
    if budget is None:
        return Footprint(dtype, weights, token * (settings.cache_tokens or context), work)
    capacity = settings.cache_within(budget, taken=weights + work, context=context, token=token, device=device)
    left = max(0, budget // 2 - weights - work - capacity * token)  # what is only faster leaves room for another model
    spare = (
        min(_copies(text, weights, rest), int(left * PACKED_SHARE)) if device.type == "cpu" and dtype != "int8" else 0
    )
    return Footprint(dtype, weights, capacity * token, work, spare)


def _dtypes(asked: str | None, device: torch.device, config: Any) -> list[str]:
    """The dtypes to try, best first."""
    if asked is not None:
        return [asked]
    half = str(half_of(config.dtype)).removeprefix("torch.")
    return ["float32", half] if device.type == "cpu" else [half]


def _of_activations(dtype: str, device: torch.device, config: Any) -> torch.dtype:
    """The dtype of what is not a matrix, and of the KV cache."""
    if dtype != "int8":
        named = getattr(torch, dtype, torch.float32)
        return named if isinstance(named, torch.dtype) else torch.float32
    if device.type == "cpu":
        return torch.float32
    return half_of(config.dtype)


def _weights(
    dtype: str, files: list[Path], shapes: Sequence[tuple[int, ...]], config: Any, device: torch.device
) -> int:
    rest = _of_activations(dtype, device, config)
    if dtype == "int8" and (plan := plan_int8(files, config)) is not None:
        return plan.memory(rest)
    return sum(map(math.prod, shapes)) * rest.itemsize


def _tensors(header: Any) -> list[Any]:
    return [entry for name, entry in header.items() if name != "__metadata__"]


def _shape(entry: Any) -> tuple[int, ...]:
    return tuple(map(int, entry["shape"]))


def _cache_bytes(text: Any) -> int:
    """Numbers that a token puts into the cache, for all layers."""
    layers = int(_one_of(text, "num_hidden_layers", "n_layer", default=1))
    heads = int(_one_of(text, "num_attention_heads", "n_head", default=1))
    if rank := getattr(text, "kv_lora_rank", None):  # keys and values that are made of something smaller
        sizes = [getattr(text, name, 0) or 0 for name in ("qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")]
        return layers * heads * (sum(sizes) or 2 * int(rank))
    size = getattr(text, "head_dim", None) or int(_one_of(text, "hidden_size", "n_embd", default=1)) // heads
    return layers * 2 * int(getattr(text, "num_key_value_heads", None) or heads) * int(size)


def _copies(text: Any, weights: int, dtype: torch.dtype) -> int:
    """Bytes that copies of weights in a faster form can take at most, on a CPU."""
    if dtype == torch.float32:
        return weights
    if not getattr(text, "tie_word_embeddings", False):  # others are packed where they are
        return 0
    return int(getattr(text, "vocab_size", 0) or 0) * int(_one_of(text, "hidden_size", "n_embd", default=0)) * 2


def _work(text: Any, settings: EngineSettings, device: torch.device) -> int:
    """Bytes of a step's activations, scores and draws, and of the sampler's tables."""
    vocabulary = int(getattr(text, "vocab_size", 0) or 0)
    hidden = int(_one_of(text, "hidden_size", "n_embd", default=0))
    inner = int(getattr(text, "intermediate_size", 0) or 4 * hidden)
    slots = settings.slots_on(device)
    return _WORK_BASE.get(device.type, 0) + 4 * (
        8 * slots * vocabulary  # scores, sorted, summed, and two rows of tables for each slot
        + 4 * step_tokens_on(device) * (inner + hidden)
    )


def _one_of(config: Any, *names: str, default: int) -> Any:
    return next((value for name in names if (value := getattr(config, name, None)) is not None), default)
