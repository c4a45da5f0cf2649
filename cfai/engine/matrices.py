"""Linear layers whose weights are in a form of ours: int8, packed for the processor, or those of several layers in one.

A `Matrix` multiplies; `MatrixLinear` stands in a model where a linear layer was. Layers of one module that are given
the same tensor, as query, key and value, are rows of one matrix: one product is faster than three.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.overrides import handle_torch_function, has_torch_function_unary
from transformers import PreTrainedModel

__all__ = [
    "JoinedMatrix",
    "Matrix",
    "MatrixLinear",
    "float_groups",
    "join",
    "joined",
    "layers_below",
    "multiply",
    "parents_in",
    "replace",
    "rows_in",
    "together",
]

IS_TRANSPOSED = {"Linear": False, "FalconLinear": False, "Conv1D": True}
"""The classes of layers that a matrix can stand for, and whether their weight is [inputs, outputs]."""

STAYS = {"classifier", "dt_proj"}
"""Layers whose weight their model multiplies itself: LongCat-Flash's and Mamba's."""

SIBLINGS = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
"""Layers of one module that are given the same tensor."""


class Matrix(nn.Module):
    """A matrix of `outputs` rows and `inputs` columns, and a bias for each output."""

    def __init__(self, outputs: int, inputs: int) -> None:
        super().__init__()
        self.outputs, self.inputs = outputs, inputs

    @property
    def weight(self) -> torch.Tensor:
        """[outputs, inputs], for the few models that look at a layer's weight; made anew each time."""
        raise NotImplementedError

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return multiply(x, self)

    def product(self, x: torch.Tensor) -> torch.Tensor:
        """`x`, [tokens, inputs], times the transposed matrix, plus the bias: [tokens, outputs] in the dtype of `x`."""
        function, args = self.call(x)
        product: torch.Tensor = function(*args)
        return product

    def call(self, x: Any) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """The call of torch's that makes the product, and its arguments; `x` is [..., inputs], or what stands for it.

        Raises `NotImplementedError` where there is no such call.
        """
        raise NotImplementedError


class JoinedMatrix(Matrix):
    """`rows`, [outputs, inputs], as they are, and a `bias`, [outputs]."""

    def __init__(self, rows: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        super().__init__(*rows.shape)
        self.rows = nn.Parameter(rows.detach(), requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias.detach(), requires_grad=False)

    @property
    def weight(self) -> torch.Tensor:
        return self.rows

    def call(self, x: Any) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return functional.linear, (x, self.rows, self.bias)


def multiply(x: torch.Tensor, matrix: Matrix) -> torch.Tensor:
    """`x`, [..., inputs], times the transposed `matrix`, plus its bias: [..., outputs] in the dtype of `x`.

    One call to whoever records torch calls with a `TorchFunctionMode`, however it is computed.
    """
    if has_torch_function_unary(x):
        recorded: torch.Tensor = handle_torch_function(multiply, (x,), x, matrix)
        return recorded
    product = matrix.product(x.reshape(-1, matrix.inputs))
    return product.view(*x.shape[:-1], matrix.outputs)


class MatrixLinear(nn.Module):
    """In the place of a linear layer: a matrix of its own, or the rows `start` to `stop` of one for several layers."""

    def __init__(self, matrix: Matrix, shared: _Shared | None = None, start: int = 0, stop: int = 0) -> None:
        super().__init__()
        self.matrix = matrix
        self.in_features = matrix.inputs
        self.out_features = (stop - start) if shared else matrix.outputs
        self._shared = shared
        self._start = start

    @property
    def weight(self) -> torch.Tensor:
        """The layer's part of the matrix, for whoever looks at it: its shape, its device, rarely its numbers."""
        return self.matrix.weight[self._start : self._start + self.out_features]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self._shared is None:
            return multiply(x, self.matrix)
        return self._shared.product(x, self._start)[..., self._start : self._start + self.out_features]

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}"


class _Shared:
    """The product of layers that are asked one after the other with the same tensor: the first one computes it."""

    def __init__(self, matrix: Matrix, starts: set[int]) -> None:
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


def joined(prefix: str, name: str) -> str:
    """The name in the model of the module `name` below the one called `prefix`."""
    return f"{prefix}.{name}" if prefix else name


def rows_in(layer: Any, weight: torch.Tensor | None = None) -> torch.Tensor:
    """The `weight` of a layer, by default its own, as [outputs, inputs]."""
    weight = layer.weight if weight is None else weight
    return weight.T if IS_TRANSPOSED.get(type(layer).__name__, False) else weight


def parents_in(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """The modules that have linear layers right below them, and their names. The layers themselves are not held."""
    return [
        (name, module)
        for name, module in model.named_modules()
        if any(type(child).__name__ in IS_TRANSPOSED for child in module.children())
    ]


def layers_below(parent: nn.Module) -> Iterator[list[tuple[str, Any]]]:
    """The linear layers right below `parent` and their names, those that will share a matrix together."""
    layers: dict[str, Any] = {
        name: child
        for name, child in parent.named_children()
        if type(child).__name__ in IS_TRANSPOSED and name not in STAYS
    }
    for names in SIBLINGS:
        kinds = {(layers[n].weight.shape[1], layers[n].bias is None) if n in layers else None for n in names}
        if len(kinds) == 1 and None not in kinds:
            yield [(name, layers.pop(name)) for name in names]
    while layers:
        yield [layers.popitem()]


def float_groups(model: PreTrainedModel) -> Iterator[tuple[nn.Module, list[tuple[str, Any]]]]:
    """The linear layers of `model` that have float weights of their own, and the module that they are right below.

    Those that will share a matrix come together. The output layer may be the input embedding too.
    """
    users = Counter(id(weight) for module in model.modules() if (weight := getattr(module, "weight", None)) is not None)
    embedding: Any = model.get_input_embeddings()
    for _, parent in parents_in(model):
        for layers in layers_below(parent):
            weights = [layer.weight for _, layer in layers]
            is_own = all(users[id(weight)] == 1 or weight is embedding.weight for weight in weights)
            is_float = all(weight.is_floating_point() for weight in weights)
            if is_own and is_float and len({weight.dtype for weight in weights}) == 1:
                yield parent, layers


def together(layers: list[tuple[str, Any]]) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The weights of `layers` as one matrix, [outputs of all, inputs], and their biases, [outputs of all]."""
    rows = [rows_in(layer) for _, layer in layers]
    biases = [layer.bias for _, layer in layers if layer.bias is not None]
    return torch.cat(rows) if len(rows) > 1 else rows[0], torch.cat(biases) if biases else None


def join(model: PreTrainedModel) -> None:
    """Give layers of `model` that share an input one matrix in their place: fewer and larger products.

    It goes from module to module and lets go of one's weights before the next. For devices on which weights stay as
    they lie; `quantise` and `pack` join too.
    """
    for parent, layers in float_groups(model):
        if len(layers) > 1:
            replace(parent, layers, JoinedMatrix(*together(layers)))
        is_on_gpu = layers[0][1].weight.device.type == "cuda"
        del layers
        if is_on_gpu:  # blocks of single layers are too small for what comes of the next ones
            torch.cuda.empty_cache()


def replace(parent: nn.Module, layers: list[tuple[str, Any]], matrix: Matrix) -> None:
    """Put `matrix` where `layers`, a group of `layers_below`, are; its rows are theirs, in their order."""
    if len(layers) == 1:
        setattr(parent, layers[0][0], MatrixLinear(matrix))
        return
    ends = list(itertools.accumulate((len(rows_in(layer)) for _, layer in layers), initial=0))
    shared = _Shared(matrix, set(ends[:-1]))
    for (name, _), (start, stop) in zip(layers, itertools.pairwise(ends), strict=True):
        setattr(parent, name, MatrixLinear(matrix, shared, start, stop))
