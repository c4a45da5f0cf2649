"""A checkpoint's matrices into memory as int8, one after the other, without the whole of it ever being there as floats.

    plan       the model without numbers: which of the files' tensors become int8
    skeleton   the model as transformers loads it, with all other tensors, and marks where those will be
    rows       of one matrix after another, from the file that was kept of an earlier load (`kept.py`), or made from the
               weights' files and kept on the way

transformers may rename, join and transpose tensors of a file when it loads them. The marks say whether it did so with a
matrix; if it did, the model is loaded as a whole and quantised then.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from transformers import AutoModelForCausalLM, GenerationConfig, PreTrainedModel

from cfai.engine.int8 import keeps_embedding, matrices_of, name_of, quantise
from cfai.engine.int8_matrices import quantise_rows
from cfai.engine.kept import DamagedInt8, Keeper, KeptInt8, find_kept, keeper_for
from cfai.engine.loading import Progress, loading
from cfai.engine.matrices import rows_in
from cfai.engine.tensors import DTYPES, TensorFiles, half_of

__all__ = ["Int8Plan", "load_int8", "plan_int8"]

log = logging.getLogger(__name__)

MARKS = 251
"""Whole numbers that every dtype holds."""


class _Rearranged(Exception):
    """The model's matrices are not the files'."""


@dataclass(frozen=True, slots=True)
class Int8Plan:
    """What becomes of a checkpoint's tensors."""

    files: list[Path]
    tensors: TensorFiles
    model_class: type[PreTrainedModel]
    layers: Mapping[str, str]
    """The tensor that holds the weight of each layer that becomes int8, both by name."""
    matrices: Mapping[str, tuple[int, int]]
    """The shape of the rows, [outputs, inputs], by the name of the tensor."""
    embedding: str | None
    """The tensor of the input embedding, if it is kept."""

    @property
    def half(self) -> torch.dtype:
        """What the embedding is kept in."""
        return half_of(DTYPES[self.tensors.dtype(self.embedding)] if self.embedding else None)

    @property
    def rest(self) -> list[str]:
        """The tensors that stay floats."""
        return [name for name in self.tensors if name not in self.matrices]

    def memory(self, dtype: torch.dtype) -> int:
        """Bytes that the weights will take, where what stays floats is `dtype`."""
        int8 = sum(outputs * (inputs + 4) for outputs, inputs in self.matrices.values())
        return int8 + sum(
            torch.Size(self.tensors.shape(name)).numel() * (self.half if name == self.embedding else dtype).itemsize
            for name in self.rest
        )

    @property
    def is_worth_keeping(self) -> bool:
        """Experts that stay floats would be copied for nothing."""
        rest = sum(self.tensors.size(name) for name in self.rest)
        return rest <= sum(outputs * inputs for outputs, inputs in self.matrices.values())


def plan_int8(files: list[Path], config: Any) -> Int8Plan | None:
    """How to make the model int8 tensor by tensor; None if its files cannot be read like that."""
    if getattr(config, "quantization_config", None) is not None:
        return None
    tensors = TensorFiles(files)
    if any(tensors.dtype(name) not in DTYPES for name in tensors):
        return None
    with loading(), torch.device("meta"):
        model = AutoModelForCausalLM.from_config(copy.deepcopy(config), trust_remote_code=False)
    layers, matrices = {}, {}
    for name, layer in matrices_of(model).items():
        if (stored := _stored(name, layer, model, tensors)) is None:
            return None
        outputs, inputs = rows_in(layer).shape
        layers[name], matrices[stored] = stored, (outputs, inputs)
    if _is_stored_twice(model, tensors, matrices):
        return None
    embedding = None
    if keeps_embedding(model):
        layer = model.get_input_embeddings()
        if (embedding := _stored(name_of(layer, model), layer, model, tensors)) is None:
            return None
    return Int8Plan(files, tensors, type(model), layers, matrices, embedding)


def load_int8(
    folder: Path,
    plan: Int8Plan,
    config: Any,
    *,
    device: torch.device,
    dtype: torch.dtype,
    progress: Progress | None = None,
) -> tuple[PreTrainedModel, Mapping[str, Any]] | None:
    """The model in `folder` on `device`, its matrices int8 and the rest `dtype`, and what transformers reports of it.

    None if transformers rearranges the tensors of the files: the model must be loaded as a whole.
    """
    goal = _Goal(folder, plan, config, device, dtype, progress)
    try:
        if (kept := find_kept(folder, plan.files, plan.tensors, plan.matrices)) is not None:
            try:
                return goal.reached_with(_Kept(kept))
            except DamagedInt8 as error:
                log.warning("%s; it is made again", error)
        if not plan.is_worth_keeping:
            return goal.reached_with(_Floats(plan, device, None))
        with keeper_for(folder, plan.files, plan.tensors, plan.matrices) as keeper:
            return goal.reached_with(_Floats(plan, device, keeper))
    except _Rearranged:
        return None


class _Weights(Protocol):
    def rows(self, stored: str, layer: Any) -> tuple[torch.Tensor, torch.Tensor]: ...

    def tensor(self, stored: str) -> torch.Tensor: ...


class _Kept:
    """Made before."""

    def __init__(self, kept: KeptInt8) -> None:
        self._kept = kept

    def rows(self, stored: str, layer: Any) -> tuple[torch.Tensor, torch.Tensor]:
        return self._kept.rows(stored)

    def tensor(self, stored: str) -> torch.Tensor:
        return self._kept.tensor(stored)


class _Floats:
    """Made now."""

    def __init__(self, plan: Int8Plan, device: torch.device, keeper: Keeper | None) -> None:
        self._tensors = plan.tensors
        self._device = device
        self._keeper = keeper

    def rows(self, stored: str, layer: Any) -> tuple[torch.Tensor, torch.Tensor]:
        rows, scales = quantise_rows(rows_in(layer, self._tensors.tensor(stored)), self._device)
        if self._keeper is not None:
            self._keeper.put_rows(stored, rows, scales)
        return rows, scales

    def tensor(self, stored: str) -> torch.Tensor:
        tensor = self._tensors.tensor(stored)
        if self._keeper is not None:
            self._keeper.put(stored, tensor)
        return tensor


@dataclass(frozen=True, slots=True)
class _Goal:
    folder: Path
    plan: Int8Plan
    config: Any
    device: torch.device
    dtype: torch.dtype
    progress: Progress | None

    def reached_with(self, weights: _Weights) -> tuple[PreTrainedModel, Mapping[str, Any]]:
        model, report = self._skeleton(weights)
        done = 0

        def rows_of(name: str, layer: Any) -> tuple[torch.Tensor, torch.Tensor]:
            nonlocal done
            if name not in self.plan.layers:  # an output that shares the weights of an embedding that stays floats
                return quantise_rows(rows_in(layer), self.device)
            done += 1
            if self.progress is not None:
                self.progress(done, len(self.plan.layers))
            return weights.rows(self.plan.layers[name], layer)

        quantise(model, self.device, self.dtype, rows_of=rows_of, half=self.plan.half)
        return model, report

    def _skeleton(self, weights: _Weights) -> tuple[PreTrainedModel, Mapping[str, Any]]:
        tensors = self.plan.tensors
        marks = {stored: _marks(at, tensors.shape(stored), self.dtype) for at, stored in enumerate(self.plan.matrices)}
        state = {**marks, **{stored: weights.tensor(stored) for stored in self.plan.rest}}
        with loading():
            model, report = self.plan.model_class.from_pretrained(
                None, config=self.config, state_dict=state, dtype=self.dtype, output_loading_info=True
            )
        if (self.folder / "generation_config.json").is_file():
            model.generation_config = GenerationConfig.from_pretrained(self.folder, local_files_only=True)
        for name, stored in self.plan.layers.items():
            weight = model.get_submodule(name).weight
            if weight.shape != marks[stored].shape or not torch.equal(weight[:, 0].to(self.dtype), marks[stored][:, 0]):
                raise _Rearranged
        return model, report


def _marks(at: int, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """In place of the matrix with the number `at`: one number for each row, which takes no memory for the columns."""
    return ((torch.arange(shape[0]) + 17 * at) % MARKS).to(dtype)[:, None].expand(shape)


def _stored(name: str, layer: Any, model: PreTrainedModel, tensors: TensorFiles) -> str | None:
    """The tensor that holds the weight of the layer `name` of `model`; None if there is none that fits."""
    stored = f"{name}.weight"
    if stored not in tensors:  # some checkpoints are of the model below the one that makes text
        stored = stored.removeprefix(f"{model.base_model_prefix}.")
    if stored not in tensors or tensors.shape(stored) != tuple(layer.weight.shape):
        return None
    return stored if DTYPES[tensors.dtype(stored)].is_floating_point else None


def _is_stored_twice(model: PreTrainedModel, tensors: TensorFiles, matrices: Mapping[str, Any]) -> bool:
    """Whether the output has a tensor of its own although it is said to be that of the embedding."""
    output = model.get_output_embeddings()
    names = [f"{name}.weight" for name, module in model.named_modules() if module is output]
    return any(name in tensors and name not in matrices for name in names)
