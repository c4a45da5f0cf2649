"""Random LoRA adapters for tests, in the files that PEFT writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

__all__ = ["ALL_LAYERS", "make_adapter", "make_files"]

ALL_LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def make_adapter(
    folder: Path,
    base: Path,
    *,
    rank: int = 4,
    alpha: float = 8,
    targets: tuple[str, ...] = ALL_LAYERS,
    seed: int = 0,
    **config: Any,
) -> Path:
    """Write an adapter for the checkpoint `base` into `folder`; its weights change what the model says."""
    random = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, layer in AutoModelForCausalLM.from_pretrained(base).named_modules():
        if name.endswith(targets) and isinstance(layer, torch.nn.Linear):
            outputs, inputs = layer.weight.shape
            key = f"base_model.model.{name}"
            tensors[f"{key}.lora_A.weight"] = torch.randn(rank, inputs, generator=random) / inputs**0.5
            tensors[f"{key}.lora_B.weight"] = torch.randn(outputs, rank, generator=random) * 0.3
    return make_files(folder, tensors, r=rank, lora_alpha=alpha, target_modules=[*targets], **config)


def make_files(folder: Path, tensors: dict[str, torch.Tensor], **config: Any) -> Path:
    """Write an adapter of these tensors, with this config."""
    folder.mkdir(parents=True, exist_ok=True)
    told = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "bias": "none", "model_type": "llama", **config}
    (folder / "adapter_config.json").write_text(json.dumps(told))
    save_file(tensors, folder / "adapter_model.safetensors")
    return folder
