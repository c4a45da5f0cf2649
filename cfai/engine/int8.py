"""Weights of eight bits: a quarter of float32's memory, and of what a decode step has to read.

Each row of a matrix, the weights of one output, is int8 with a float32 scale of its own: its largest weight is 127
scales. Activations are not rounded to eight bits. Whoever multiplies reads int8 from memory and nothing else:

    CPUs with VNNI   an activation is cut into two bytes, as a number of 16 bits with a scale for each token. Both
                     halves meet the weights in whole numbers, four to an instruction. Whole numbers do not round: a
                     token's result does not depend on the tokens beside it.
    other CPUs       torch's kernel for bfloat16 activations, while there are few tokens
    CUDA             the kernels in `int8_triton.py`, while there are few tokens
    else             the matrix becomes floats for the time of one product
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812  # everybody's name for it
from torch.overrides import handle_torch_function, has_torch_function_unary
from transformers import PreTrainedModel

__all__ = [
    "FloatMatrix",
    "Int8Embedding",
    "Int8Linear",
    "Int8Matrix",
    "TokenMatrix",
    "VnniMatrix",
    "matrix_for",
    "multiply",
    "quantise",
    "quantise_rows",
]

IS_TRANSPOSED = {"Linear": False, "FalconLinear": False, "Conv1D": True}
"""The classes of layers that become int8, and whether their weight is [inputs, outputs]."""

SIBLINGS = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
"""Layers of one module that are given the same tensor: one product is faster than two or three."""

ROWS_AT_A_TIME = 1024
"""Rows of a matrix that are float32 at the same time while it is quantised."""

FEW_TOKENS = 16
"""From here on a CPU without VNNI is faster with floats than with torch's int8 kernel."""

WHOLE_INPUTS = 32
"""torch's kernel reads beyond the end of rows that are no multiple of its step."""

BLOCK = 128
"""Rows that such a CPU turns into floats at a time."""

TINY = 1e-30
"""A scale that one can divide by."""


def quantise(model: PreTrainedModel, device: torch.device, dtype: torch.dtype) -> None:
    """Make the linear layers and the input embedding of `model` int8 and the rest `dtype`, all on `device`.

    The layers become `Int8Linear`, the embedding `Int8Embedding`. It goes from module to module and lets go of one's
    weights before the next. What is no module of its own, as the experts of Mixture-of-Experts models, stays float.

        quantise(model, torch.device("cpu"), torch.float32)
    """
    loaded = model.dtype
    make = matrix_for(device)
    embedding: Any = model.get_input_embeddings()
    small = _small_embedding(embedding, device, dtype)
    for parent in list(model.modules()):
        for layers in _layers_below(parent):
            if small is not None and layers[0][1].weight is embedding.weight:  # output and input are one matrix
                halves = [(small.rows.data, small.scales)]
            else:
                halves = [quantise_rows(_rows_of(layer), device) for _, layer in layers]
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


def quantise_rows(weight: torch.Tensor, device: torch.device | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """`weight`, [rows, columns], as int8, and the scales of its rows, float32; on `device` or where it is.

    A row with a number that is none (NaN, infinity) gets a scale that is none.
    """
    device = device or weight.device
    rows = torch.empty(weight.shape, dtype=torch.int8, device=device)
    scales = torch.empty(len(weight), device=device)
    for start in range(0, len(weight), ROWS_AT_A_TIME):
        few = slice(start, start + ROWS_AT_A_TIME)
        part = weight[few].detach().to(device, torch.float32)
        scales[few] = part.abs().amax(1).div_(127).clamp_(min=TINY)
        rows[few] = (part / scales[few, None]).round_().to(torch.int8)
    return rows, scales


def matrix_for(device: torch.device) -> Callable[..., Int8Matrix]:
    """What makes an `Int8Matrix` of the class that is fastest on `device`, from rows, scales and bias."""
    if device.type == "cuda" and importlib.util.find_spec("triton") is not None:
        from cfai.engine.int8_triton import TritonMatrix

        return functools.partial(TritonMatrix, chosen={})
    if device.type == "cpu":
        return VnniMatrix if has_vnni() else TokenMatrix
    return FloatMatrix


def has_vnni() -> bool:
    """Whether the processor has instructions for products of bytes, and torch uses them."""
    if not (torch._C._has_mkldnn and torch.cpu._is_vnni_supported()):
        return False
    # The instructions before them hold sums in 16 bits, too few for these.
    matrix = VnniMatrix(torch.full((16, 64), 127, dtype=torch.int8), torch.ones(16))
    return torch.allclose(matrix(torch.ones(2, 64)), torch.tensor(64 * 127.0), rtol=1e-4)


def multiply(x: torch.Tensor, matrix: Int8Matrix) -> torch.Tensor:
    """`x`, [..., inputs], times the transposed `matrix`, plus its bias: [..., outputs] in the dtype of `x`.

    One call to whoever records torch calls with a `TorchFunctionMode`, however it is computed.
    """
    if has_torch_function_unary(x):
        recorded: torch.Tensor = handle_torch_function(multiply, (x,), x, matrix)
        return recorded
    product = matrix.product(x.reshape(-1, matrix.inputs))
    return product.view(*x.shape[:-1], matrix.outputs)


class Int8Matrix(nn.Module):
    """A matrix of int8 `rows`, [outputs, inputs], their float32 `scales`, [outputs], and a `bias`, [outputs]."""

    scales: torch.Tensor

    def __init__(self, rows: torch.Tensor, scales: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        super().__init__()
        self.outputs, self.inputs = rows.shape
        # Parameters, so that the model's weights are counted.
        self.rows = nn.Parameter(rows, requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias.detach().to(scales), requires_grad=False)
        self.register_buffer("scales", scales)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return multiply(x, self)

    def product(self, x: torch.Tensor) -> torch.Tensor:
        """`x`, [tokens, inputs], times the matrix, plus the bias: [tokens, outputs] in the dtype of `x`."""
        raise NotImplementedError


class FloatMatrix(Int8Matrix):
    """Becomes floats for the time of one product."""

    def product(self, x: torch.Tensor) -> torch.Tensor:
        floats = torch.empty(self.rows.shape, dtype=x.dtype, device=x.device)
        torch.mul(self.rows, self.scales[:, None], out=floats)
        return F.linear(x, floats, None if self.bias is None else self.bias.to(x.dtype))


class TokenMatrix(Int8Matrix):
    """torch's int8 kernel on the CPU, for a few tokens in bfloat16."""

    def product(self, x: torch.Tensor) -> torch.Tensor:
        if len(x) >= FEW_TOKENS or self.inputs % WHOLE_INPUTS:
            return self._in_blocks(x)
        # The scales stay out of the kernel, which would round them to bfloat16.
        ones = torch.ones(self.outputs, dtype=torch.bfloat16)
        product = torch._weight_int8pack_mm(x.bfloat16(), self.rows, ones).float().mul_(self.scales)
        return (product if self.bias is None else product.add_(self.bias)).to(x.dtype)

    def _in_blocks(self, x: torch.Tensor) -> torch.Tensor:
        """A block's floats do not leave the processor's cache."""
        product = x.new_empty(len(x), self.outputs)
        floats = x.new_empty(min(BLOCK, self.outputs), self.inputs)
        for start in range(0, self.outputs, BLOCK):
            block = self.rows[start : start + BLOCK]
            product[:, start : start + BLOCK] = F.linear(x, floats[: len(block)].copy_(block))
        product.mul_(self.scales)
        return product if self.bias is None else product.add_(self.bias)


class VnniMatrix(Int8Matrix):
    """Bytes times bytes, in whole numbers, for any number of tokens."""

    # x = step * (256 * (high - 128) + (low - 128)) with a step for each token, and bytes from 0 to 255: the kernel
    # takes 128 off each of them. One row of bytes for each half of each token.
    _LARGEST = 32639
    _OFFSET = 256 * 128 + 128

    def __init__(self, rows: torch.Tensor, scales: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        super().__init__(rows, scales, bias)
        self.rows = nn.Parameter(torch.ops.onednn.qlinear_prepack(rows, None), requires_grad=False)
        self._zeros = torch.zeros(self.outputs, dtype=torch.int64)

    def product(self, x: torch.Tensor) -> torch.Tensor:
        step = x.abs().amax(1, keepdim=True).float().clamp_(min=TINY).div_(self._LARGEST)
        whole = (x / step).add_(self._OFFSET + 0.5).to(torch.int32)
        halves = torch.cat((whole.to(torch.uint8), (whole >> 8).to(torch.uint8)))
        products = torch.ops.onednn.qlinear_pointwise(
            halves, 1.0, 128, self.rows, self.scales, self._zeros, None, 1.0, 0, torch.float32, "none", [], ""
        )
        low, high = products.chunk(2)
        product: torch.Tensor = low.add_(high, alpha=256).mul_(step)
        return (product if self.bias is None else product.add_(self.bias)).to(x.dtype)


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


def _small_embedding(embedding: Any, device: torch.device, dtype: torch.dtype) -> Int8Embedding | None:
    # Gemma multiplies its embeddings by the root of their width; what other subclasses do is not known.
    factor = getattr(embedding, "scalar_embed_scale", 1.0 if type(embedding) is nn.Embedding else None)
    if factor is None:
        return None
    return Int8Embedding(*quantise_rows(embedding.weight, device), dtype, float(factor))


def _layers_below(parent: nn.Module) -> Iterator[list[tuple[str, Any]]]:
    """The layers right below `parent` and their names, those that will share a matrix together."""
    layers: dict[str, Any] = {
        name: child for name, child in parent.named_children() if type(child).__name__ in IS_TRANSPOSED
    }
    for names in SIBLINGS:
        kinds = {(layers[n].weight.shape[1], layers[n].bias is None) if n in layers else None for n in names}
        if len(kinds) == 1 and None not in kinds:
            yield [(name, layers.pop(name)) for name in names]
    while layers:
        yield [layers.popitem()]


def _rows_of(layer: Any) -> torch.Tensor:
    weight: torch.Tensor = layer.weight
    return weight.T if IS_TRANSPOSED[type(layer).__name__] else weight


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
