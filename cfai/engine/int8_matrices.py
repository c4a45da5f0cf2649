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
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812  # everybody's name for it

from cfai.engine.matrices import Matrix

__all__ = [
    "FloatMatrix",
    "Int8Matrix",
    "TokenMatrix",
    "VnniMatrix",
    "has_vnni",
    "matrix_for",
    "quantise_rows",
]

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


class Int8Matrix(Matrix):
    """A matrix of int8 `rows`, [outputs, inputs], their float32 `scales`, [outputs], and a `bias`, [outputs]."""

    scales: torch.Tensor

    def __init__(self, rows: torch.Tensor, scales: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        super().__init__(*rows.shape)
        # Parameters, so that the model's weights are counted.
        self.rows = nn.Parameter(rows, requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias.detach().to(scales), requires_grad=False)
        self.register_buffer("scales", scales)

    @property
    def weight(self) -> torch.Tensor:
        """Of its shape and on its device; the numbers are others, since the processor's order of them is not known."""
        return self.scales[:, None].expand(-1, self.inputs)


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
