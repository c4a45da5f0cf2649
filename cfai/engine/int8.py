"""Models with int8 weights: their linear layers and the input embedding, see `int8_matrices.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from cfai.engine.int8_matrices import Int8Matrix, matrix_for, multiply, quantise_rows

__all__ = ["Int8Embedding", "Int8Linear", "Rows", "matrices_of", "quantise", "rows_in"]

IS_TRANSPOSED = {"Linear": False, "FalconLinear": False, "Conv1D": True}
"""The classes of layers that become int8, and whether their weight is [inputs, outputs]."""

STAYS_FLOAT = {"dt_proj"}
"""Layers whose weight their model multiplies itself: Mamba's."""

SIBLINGS = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
"""Layers of one module that are given the same tensor: one product is faster than two or three."""


Rows = Callable[[str, Any], tuple[torch.Tensor, torch.Tensor]]
"""What gives the rows of a layer and their scales (see `quantise_rows`), by its name in the model and itself."""


def quantise(model: PreTrainedModel, device: torch.device, dtype: torch.dtype, *, rows_of: Rows | None = None) -> None:
    """Make the linear layers and the input embedding of `model` int8 and the rest `dtype`, all on `device`.

    The layers become `Int8Linear`, the embedding `Int8Embedding`. It goes from module to module and lets go of one's
    weights before the next. What is no module of its own, as the experts of Mixture-of-Experts models, stays float.

    rows_of  where the rows come from; None takes the layers' own weights

        quantise(model, torch.device("cpu"), torch.float32)
    """
    loaded = model.dtype
    make = matrix_for(device)
    rows_of = rows_of or (lambda _, layer: quantise_rows(rows_in(layer), device))
    embedding: Any = model.get_input_embeddings()
    small = _small_embedding(embedding, _name_of(embedding, model), rows_of, device, dtype)
    for prefix, parent in list(model.named_modules()):
        for layers in _layers_below(parent):
            if small is not None and layers[0][1].weight is embedding.weight:  # output and input are one matrix
                halves = [(small.rows.data, small.scales)]
            else:
                halves = [_on(device, rows_of(_joined(prefix, name), layer)) for name, layer in layers]
            _replace(parent, layers, halves, make)
            del layers
        for name, child in parent.named_children():
            if child is embedding and small is not None:
                setattr(parent, name, small)
    for module in model.modules():
        if not isinstance(module, Int8Matrix | Int8Embedding):
            for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
                # A copy: what stays as it was read would hold the whole file in memory.
                tensor.data = tensor.data.to(device, dtype if tensor.dtype == loaded else tensor.dtype, copy=True)


def matrices_of(model: PreTrainedModel) -> dict[str, Any]:
    """The layers of `model` that `quantise` makes int8, by name; of those that share a matrix, the first one.

    matrices_of(model)["model.layers.0.self_attn.q_proj"].weight.shape
    """
    embedding: Any = model.get_input_embeddings()
    found = {} if _factor_of(embedding) is None else {_name_of(embedding, model): embedding}
    for prefix, parent in model.named_modules():
        found |= {_joined(prefix, name): layer for layers in _layers_below(parent) for name, layer in layers}
    first: dict[int, str] = {}
    for name, layer in found.items():
        first.setdefault(id(layer.weight), name)
    return {name: found[name] for name in first.values()}


def rows_in(layer: Any, weight: torch.Tensor | None = None) -> torch.Tensor:
    """The `weight` of a layer, by default its own, as [outputs, inputs]."""
    weight = layer.weight if weight is None else weight
    return weight.T if IS_TRANSPOSED.get(type(layer).__name__, False) else weight


class Int8Linear(nn.Module):
    """`nn.Linear` with int8 weights: a matrix of its own, or the rows `start` to `stop` of one for several layers."""

    def __init__(self, matrix: Int8Matrix, shared: _Shared | None = None, start: int = 0, stop: int = 0) -> None:
        super().__init__()
        self.matrix = matrix
        self.in_features = matrix.inputs
        self.out_features = (stop - start) if shared else matrix.outputs
        self._shared = shared
        self._start = start

    @property
    def weight(self) -> torch.Tensor:
        """A tensor with the weight's shape and device, for whoever asks about those; the numbers are others."""
        return self.matrix.scales[self._start :][: self.out_features, None].expand(-1, self.in_features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self._shared is None:
            return multiply(x, self.matrix)
        return self._shared.product(x, self._start)[..., self._start : self._start + self.out_features]

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}"


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


class _Shared:
    """The product of layers that are asked one after the other with the same tensor: the first one computes it."""

    def __init__(self, matrix: Int8Matrix, starts: set[int]) -> None:
        self._matrix = matrix
        self._starts = starts
        self._waiting: set[int] = set()
        self._input: torch.Tensor | None = None
        self._product: torch.Tensor | None = None

    def product(self, x: torch.Tensor, start: int) -> torch.Tensor:
        product = self._product
        if product is None or x is not self._input or start not in self._waiting:
            product = multiply(x, self._matrix)
            self._input, self._product, self._waiting = x, product, set(self._starts)
        self._waiting.discard(start)
        if not self._waiting:
            self._input = self._product = None
        return product


def _small_embedding(
    embedding: Any, name: str, rows_of: Rows, device: torch.device, dtype: torch.dtype
) -> Int8Embedding | None:
    factor = _factor_of(embedding)
    return None if factor is None else Int8Embedding(*_on(device, rows_of(name, embedding)), dtype, factor)


def _factor_of(embedding: Any) -> float | None:
    """What the rows of an embedding are multiplied by; None if that is not known."""
    # Gemma multiplies its embeddings by the root of their width; what other subclasses do is not known.
    factor = getattr(embedding, "scalar_embed_scale", 1.0 if type(embedding) is nn.Embedding else None)
    return None if factor is None else float(factor)


def _name_of(child: nn.Module, model: nn.Module) -> str:
    names: dict[nn.Module, str] = {module: name for name, module in model.named_modules()}
    return names[child]


def _joined(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def _on(device: torch.device, halves: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    rows, scales = halves
    return rows.to(device), scales.to(device)


def _layers_below(parent: nn.Module) -> Iterator[list[tuple[str, Any]]]:
    """The layers right below `parent` and their names, those that will share a matrix together."""
    layers: dict[str, Any] = {
        name: child
        for name, child in parent.named_children()
        if type(child).__name__ in IS_TRANSPOSED and name not in STAYS_FLOAT
    }
    for names in SIBLINGS:
        kinds = {(layers[n].weight.shape[1], layers[n].bias is None) if n in layers else None for n in names}
        if len(kinds) == 1 and None not in kinds:
            yield [(name, layers.pop(name)) for name in names]
    while layers:
        yield [layers.popitem()]


def _replace(
    parent: nn.Module,
    layers: list[tuple[str, Any]],
    halves: list[tuple[torch.Tensor, torch.Tensor]],
    make: Callable[..., Int8Matrix],
) -> None:
    biases = [layer.bias for _, layer in layers if layer.bias is not None]
    if len(layers) == 1:
        [(rows, scales)] = halves
    else:
        rows, scales = (torch.cat(parts) for parts in zip(*halves, strict=True))
    matrix = make(rows, scales, torch.cat(biases) if biases else None)
    if len(layers) == 1:
        setattr(parent, layers[0][0], Int8Linear(matrix))
        return
    starts = [0]
    for part, _ in halves:
        starts.append(starts[-1] + len(part))
    shared = _Shared(matrix, set(starts[:-1]))
    for (name, _), start, stop in zip(layers, starts, starts[1:], strict=False):
        setattr(parent, name, Int8Linear(matrix, shared, start, stop))
