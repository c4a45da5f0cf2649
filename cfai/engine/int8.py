"""Models with int8 weights: which of theirs become int8, and what stands in their place, see `int8_matrices.py`.

Linear layers do. The input embedding stays in half precision where it is a matrix of its own and the whole is within
`MOST` all the same. Where the output layer is the same matrix, both are made of the same int8 rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from cfai.engine.int8_matrices import Int8Matrix, matrix_for, quantise_rows
from cfai.engine.matrices import joined, layers_below, parents_in, replace, rows_in
from cfai.engine.tensors import half_of

__all__ = ["HalfEmbedding", "Int8Embedding", "Rows", "keeps_embedding", "matrices_of", "name_of", "quantise"]

MOST = 0.56
"""What a model takes in int8, at the most, of what it takes in half precision."""

Rows = Callable[[str, Any], tuple[torch.Tensor, torch.Tensor]]
"""What gives the rows of a layer and their scales (see `quantise_rows`), by its name in the model and itself."""


def quantise(
    model: PreTrainedModel,
    device: torch.device,
    dtype: torch.dtype,
    *,
    rows_of: Rows | None = None,
    half: torch.dtype | None = None,
) -> None:
    """Make the matrices of `model` int8 and the rest `dtype`, all on `device`; see `matrices_of` for which they are.

    The layers become `MatrixLinear`, the embedding `Int8Embedding` or `HalfEmbedding`. It goes from module to module
    and lets go of one's weights before the next. What is no module of its own, as the experts of Mixture-of-Experts
    models, stays float.

    rows_of  where the rows come from; None takes the layers' own weights
    half     the dtype of an embedding that is kept; None takes `half_of` the model's

        quantise(model, torch.device("cpu"), torch.float32)
    """
    loaded = model.dtype
    make = matrix_for(device)
    rows_of = rows_of or (lambda _, layer: quantise_rows(rows_in(layer), device))
    if keeps_embedding(model):
        _replace_embedding(model, _half(model.get_input_embeddings(), device, dtype, half))
    embedding: Any = model.get_input_embeddings()
    small = _small_embedding(embedding, name_of(embedding, model), rows_of, device, dtype)
    for prefix, parent in parents_in(model):
        for layers in layers_below(parent):
            if small is not None and layers[0][1].weight is embedding.weight:  # output and input are one matrix
                halves = [(small.rows.data, small.scales)]
            else:
                halves = [_on(device, rows_of(joined(prefix, name), layer)) for name, layer in layers]
            replace(parent, layers, _matrix_of(layers, halves, make))
            del layers
    if small is not None:
        _replace_embedding(model, small)
    for module in model.modules():
        if not isinstance(module, Int8Matrix | Int8Embedding | HalfEmbedding):
            for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
                # A copy: what stays as it was read would hold the whole file in memory.
                tensor.data = tensor.data.to(device, dtype if tensor.dtype == loaded else tensor.dtype, copy=True)
    for module in model.modules():
        if isinstance(module, PreTrainedModel):
            # transformers says that the model's dtype is its first float parameter's: else a bias in float32, or none.
            module.register_parameter("empty", nn.Parameter(torch.empty(0, dtype=dtype, device=device), False))


def matrices_of(model: PreTrainedModel) -> dict[str, Any]:
    """The layers of `model` that `quantise` makes int8, by name; of those that share a matrix, the first one.

    matrices_of(model)["model.layers.0.self_attn.q_proj"].weight.shape
    """
    embedding: Any = model.get_input_embeddings()
    stays = _factor_of(embedding) is None or keeps_embedding(model)
    first: dict[int, str] = {}
    found = ({} if stays else {name_of(embedding, model): embedding}) | _layers_of(model)
    for name, layer in found.items():
        first.setdefault(id(layer.weight), name)
    return {name: found[name] for name in first.values()}


def keeps_embedding(model: PreTrainedModel) -> bool:
    """Whether the input embedding of `model` stays in half precision. Only shapes are looked at."""
    embedding: Any = model.get_input_embeddings()
    matrices = {id(layer.weight): rows_in(layer).shape for layer in _layers_of(model).values()}
    if _factor_of(embedding) is None or id(embedding.weight) in matrices:
        return False
    weights: int = model.num_parameters()
    in_matrices = sum(outputs * inputs for outputs, inputs in matrices.values())
    scales = 4 * sum(outputs for outputs, _ in matrices.values())
    kept: int = embedding.weight.numel()
    others = weights - in_matrices - kept  # float32 on CPUs, and a GPU decides alike: the kept file is for both
    return in_matrices + scales + 2 * kept + 4 * others <= MOST * 2 * weights


class HalfEmbedding(nn.Module):
    """`nn.Embedding` that keeps half precision beside `dtype`, in which it hands its rows out, times `factor`."""

    weight: torch.Tensor

    def __init__(self, weight: torch.Tensor, dtype: torch.dtype, factor: float) -> None:
        super().__init__()
        self.num_embeddings, self.embedding_dim = weight.shape
        self.register_buffer("weight", weight)  # as a parameter it would say what the dtype of the model is
        self._dtype = dtype
        self._factor = factor

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.weight[ids].to(self._dtype) * self._factor


class Int8Embedding(nn.Module):
    """`nn.Embedding` with int8 `rows`, [tokens, width]; what it hands out is `dtype`, and multiplied by `factor`."""

    scales: torch.Tensor

    def __init__(self, rows: torch.Tensor, scales: torch.Tensor, dtype: torch.dtype, factor: float = 1.0) -> None:
        super().__init__()
        self.num_embeddings, self.embedding_dim = rows.shape
        self.rows = nn.Parameter(rows, requires_grad=False)
        self.register_buffer("scales", scales)
        self._dtype = dtype
        self._factor = factor

    @property
    def weight(self) -> torch.Tensor:
        """A tensor with the weight's shape and device, for whoever asks about those; the numbers are others."""
        return self.scales[:, None].expand(-1, self.embedding_dim)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return (self.rows[ids] * (self.scales[ids] * self._factor)[..., None]).to(self._dtype)


def _layers_of(model: PreTrainedModel) -> dict[str, Any]:
    return {
        joined(prefix, name): layer
        for prefix, parent in parents_in(model)
        for layers in layers_below(parent)
        for name, layer in layers
    }


def _half(embedding: Any, device: torch.device, dtype: torch.dtype, half: torch.dtype | None) -> HalfEmbedding:
    weight = embedding.weight.detach()
    kept = weight.to(device, half or half_of(weight.dtype), copy=True)
    if not kept.isfinite().all():  # float16 ends at 65504
        kept = weight.to(device, torch.bfloat16)
    return HalfEmbedding(kept, dtype, _factor_of(embedding) or 1.0)


def _small_embedding(
    embedding: Any, name: str, rows_of: Rows, device: torch.device, dtype: torch.dtype
) -> Int8Embedding | None:
    factor = _factor_of(embedding)
    return None if factor is None else Int8Embedding(*_on(device, rows_of(name, embedding)), dtype, factor)


def _replace_embedding(model: PreTrainedModel, other: nn.Module) -> None:
    embedding = model.get_input_embeddings()
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if child is embedding:
                setattr(parent, name, other)


def _factor_of(embedding: Any) -> float | None:
    """What the rows of an embedding are multiplied by; None if that is not known."""
    # Gemma multiplies its embeddings by the root of their width; what other subclasses do is not known.
    factor = getattr(embedding, "scalar_embed_scale", 1.0 if type(embedding) is nn.Embedding else None)
    return None if factor is None else float(factor)


def name_of(child: nn.Module, model: nn.Module) -> str:
    """What `child` is called in `model`."""
    names: dict[nn.Module, str] = {module: name for name, module in model.named_modules()}
    return names[child]


def _on(device: torch.device, halves: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    rows, scales = halves
    return rows.to(device), scales.to(device)


def _matrix_of(
    layers: list[tuple[str, Any]],
    halves: list[tuple[torch.Tensor, torch.Tensor]],
    make: Callable[..., Int8Matrix],
) -> Int8Matrix:
    """One matrix of the rows and scales of one or several layers."""
    biases = [layer.bias for _, layer in layers if layer.bias is not None]
    if len(layers) == 1:
        [(rows, scales)] = halves
    else:
        rows, scales = (torch.cat(parts) for parts in zip(*halves, strict=True))
    return make(rows, scales, torch.cat(biases) if biases else None)
