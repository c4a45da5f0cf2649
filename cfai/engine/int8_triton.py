"""Products with int8 matrices on CUDA, at the speed at which the int8 is read. Needs Triton, which torch's CUDA has.

One token is a product of a matrix and a vector: a program takes a few whole rows, each thread reads 16 weights at a
time, and the sums meet at the end. Some more tokens go through the tensor cores: a program takes a block of rows and a
part of their length, so that even 4096 rows are work for every processor, and a second kernel adds the parts up. The
weights become the activations' dtype in registers (exact: 8 bits fit), sums are float32, and the scales come last.

Nobody can know the best sizes of blocks for every GPU: a product of a new shape tries a few and keeps the fastest. That
takes seconds, since each is compiled, and clocks and memory, which a CUDA graph under capture does not have. So it only
happens on streams other than the device's own, where nobody waits: run a step there before it is captured. Elsewhere a
shape that is not known yet gets the first sizes of the list.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import triton
import triton.language as tl

from cfai.engine.int8_matrices import FloatMatrix

__all__ = ["MANY_TOKENS", "Blocks", "TritonMatrix"]

MANY_TOKENS = 64
"""More than this many tokens are multiplied as floats: then reading the weights is not what takes the time."""

PROGRAMS_PER_PROCESSOR = 2
"""A GPU whose processors have fewer programs of the second kernel than this does not read at full speed."""

SHORTEST_PART = 4
"""Blocks in a part of a row, at least: the first ones only fill the pipeline."""


class Blocks(NamedTuple):
    """How a product is cut: `rows` and `columns` of the matrix, warps of a program, and loads that are under way."""

    rows: int
    columns: int
    warps: int
    stages: int


ONE_TOKEN = (
    Blocks(4, 1024, 4, 1),
    Blocks(2, 2048, 4, 1),
    Blocks(4, 2048, 4, 1),
    Blocks(8, 1024, 4, 1),
    Blocks(1, 4096, 4, 1),
    Blocks(4, 2048, 8, 1),
    Blocks(16, 512, 4, 3),
    Blocks(8, 1024, 4, 3),
)
FEW_TOKENS = (
    Blocks(64, 128, 4, 3),
    Blocks(64, 128, 4, 5),
    Blocks(64, 256, 4, 3),
    Blocks(128, 128, 4, 4),
    Blocks(128, 128, 8, 4),
    Blocks(32, 256, 4, 4),
)


class TritonMatrix(FloatMatrix):
    """For activations in half precision; float32 ones are multiplied as floats.

    Matrices that are given the same dictionary try the blocks for their shape only once.
    """

    def __init__(
        self,
        rows: torch.Tensor,
        scales: torch.Tensor,
        bias: torch.Tensor | None = None,
        chosen: dict[tuple[int, ...], Blocks] | None = None,
    ) -> None:
        super().__init__(rows, scales, bias)
        self._chosen = {} if chosen is None else chosen
        self._processors = 1
        if rows.is_cuda:
            self._processors = torch.cuda.get_device_properties(rows.device).multi_processor_count

    def product(self, x: torch.Tensor) -> torch.Tensor:
        tokens = len(x)
        if tokens > MANY_TOKENS or x.dtype not in (torch.float16, torch.bfloat16):
            return super().product(x)
        x = x.contiguous()
        with torch.cuda.device_of(x):  # type: ignore[no-untyped-call]
            if tokens == 1:
                return self._multiply(x, ONE_TOKEN, 1, self.one_token)
            return self._multiply(x, FEW_TOKENS, max(16, triton.next_power_of_2(tokens)), self.few_tokens)

    def _multiply(
        self,
        x: torch.Tensor,
        choices: tuple[Blocks, ...],
        padded: int,
        multiply: Callable[[torch.Tensor, Blocks], torch.Tensor],
    ) -> torch.Tensor:
        shape = (self.outputs, self.inputs, padded)
        blocks = self._chosen.get(shape)
        if blocks is None:
            if not x.is_cuda or torch.cuda.is_current_stream_capturing() or _is_waited_for(x.device):
                return multiply(x, choices[0])
            blocks = self._chosen[shape] = min(choices, key=lambda blocks: _time(multiply, x, blocks))
        return multiply(x, blocks)

    def one_token(self, x: torch.Tensor, blocks: Blocks) -> torch.Tensor:
        """The product of `x`, [1, inputs]."""
        product = torch.empty((1, self.outputs), dtype=x.dtype, device=x.device)
        _multiply_vector[(triton.cdiv(self.outputs, blocks.rows),)](
            x,
            self.rows,
            self.scales,
            self.scales if self.bias is None else self.bias,
            product,
            self.outputs,
            self.inputs,
            HAS_BIAS=self.bias is not None,
            ROWS=blocks.rows,
            COLUMNS=blocks.columns,
            STAGES=blocks.stages,
            num_warps=blocks.warps,
        )
        return product

    def few_tokens(self, x: torch.Tensor, blocks: Blocks) -> torch.Tensor:
        """The product of `x`, [tokens, inputs]."""
        tokens = len(x)
        programs = triton.cdiv(self.outputs, blocks.rows)
        steps = triton.cdiv(self.inputs, blocks.columns)
        wanted = triton.cdiv(PROGRAMS_PER_PROCESSOR * self._processors, programs)
        steps = triton.cdiv(steps, max(1, min(wanted, steps // SHORTEST_PART)))
        parts = triton.cdiv(self.inputs, steps * blocks.columns)
        product = torch.empty((tokens, self.outputs), dtype=x.dtype, device=x.device)
        sums = product
        if parts > 1:
            sums = torch.empty((parts, tokens, self.outputs), dtype=torch.float32, device=x.device)
        bias = self.scales if self.bias is None else self.bias
        _multiply_block[(programs, parts)](
            x,
            self.rows,
            self.scales,
            bias,
            sums,
            tokens,
            self.outputs,
            self.inputs,
            steps,
            HAS_BIAS=self.bias is not None,
            IS_WHOLE=parts == 1,
            TOKENS=max(16, triton.next_power_of_2(tokens)),
            ROWS=blocks.rows,
            COLUMNS=blocks.columns,
            STAGES=blocks.stages,
            num_warps=blocks.warps,
        )
        if parts > 1:
            _add_parts[(triton.cdiv(self.outputs, 256), tokens)](
                sums,
                self.scales,
                bias,
                product,
                tokens,
                self.outputs,
                parts,
                HAS_BIAS=self.bias is not None,
                ROWS=256,
                num_warps=4,
            )
        return product


def _is_waited_for(device: torch.device) -> bool:
    return torch.cuda.current_stream(device) == torch.cuda.default_stream(device)


def _time(multiply: Callable[[torch.Tensor, Blocks], torch.Tensor], x: torch.Tensor, blocks: Blocks) -> float:
    """Milliseconds, with the weights out of the caches; endless if this GPU has no room for such blocks."""
    try:
        took: float = triton.testing.do_bench(lambda: multiply(x, blocks), warmup=3, rep=15, return_mode="median")
    except triton.runtime.errors.OutOfResources:
        return math.inf
    return took


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _multiply_vector(  # type: ignore[no-untyped-def]
    x,
    matrix,
    scales,
    bias,
    product,
    outputs,
    inputs,
    HAS_BIAS: tl.constexpr,  # noqa: N803  # Triton's custom for what is known when it compiles
    ROWS: tl.constexpr,  # noqa: N803
    COLUMNS: tl.constexpr,  # noqa: N803
    STAGES: tl.constexpr,  # noqa: N803
):
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    is_row = rows < outputs
    begins = matrix + rows.to(tl.int64)[:, None] * inputs
    sums = tl.zeros((ROWS, COLUMNS), tl.float32)
    for start in tl.range(0, inputs, COLUMNS, num_stages=STAGES):
        columns = start + tl.arange(0, COLUMNS)
        is_column = columns < inputs
        weights = tl.load(begins + columns[None, :], mask=is_row[:, None] & is_column[None, :], other=0)
        activations = tl.load(x + columns, mask=is_column, other=0.0).to(tl.float32)
        sums = tl.fma(weights.to(tl.float32), activations[None, :], sums)
    total = tl.sum(sums, 1) * tl.load(scales + rows, mask=is_row, other=0.0)
    if HAS_BIAS:
        total += tl.load(bias + rows, mask=is_row, other=0.0)
    tl.store(product + rows, total.to(product.dtype.element_ty), mask=is_row)


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _multiply_block(  # type: ignore[no-untyped-def]
    x,
    matrix,
    scales,
    bias,
    sums,
    tokens,
    outputs,
    inputs,
    steps,
    HAS_BIAS: tl.constexpr,  # noqa: N803
    IS_WHOLE: tl.constexpr,  # noqa: N803
    TOKENS: tl.constexpr,  # noqa: N803
    ROWS: tl.constexpr,  # noqa: N803
    COLUMNS: tl.constexpr,  # noqa: N803
    STAGES: tl.constexpr,  # noqa: N803
):
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    part = tl.program_id(1)
    token = tl.arange(0, TOKENS)
    is_row = rows < outputs
    is_token = token < tokens
    row_begins = matrix + rows.to(tl.int64)[:, None] * inputs
    token_begins = x + token[:, None] * inputs
    total = tl.zeros((ROWS, TOKENS), tl.float32)
    for step in tl.range(0, steps, num_stages=STAGES):
        columns = (part * steps + step) * COLUMNS + tl.arange(0, COLUMNS)
        is_column = columns < inputs
        weights = tl.load(row_begins + columns[None, :], mask=is_row[:, None] & is_column[None, :], other=0)
        activations = tl.load(token_begins + columns[None, :], mask=is_token[:, None] & is_column[None, :], other=0.0)
        # The matrix comes first: the tensor cores want 64 rows there, and are content with 16 tokens behind.
        total = tl.dot(weights.to(x.dtype.element_ty), tl.trans(activations), total)
    if IS_WHOLE:
        total *= tl.load(scales + rows, mask=is_row, other=0.0)[:, None]
        if HAS_BIAS:
            total += tl.load(bias + rows, mask=is_row, other=0.0)[:, None]
    place = sums + (part * tokens + token[None, :]) * outputs + rows[:, None]
    tl.store(place, total.to(sums.dtype.element_ty), mask=is_row[:, None] & is_token[None, :])


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _add_parts(  # type: ignore[no-untyped-def]
    sums,
    scales,
    bias,
    product,
    tokens,
    outputs,
    parts,
    HAS_BIAS: tl.constexpr,  # noqa: N803
    ROWS: tl.constexpr,  # noqa: N803
):
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    token = tl.program_id(1)
    is_row = rows < outputs
    total = tl.zeros((ROWS,), tl.float32)
    for part in range(parts):
        total += tl.load(sums + (part * tokens + token) * outputs + rows, mask=is_row, other=0.0)
    total *= tl.load(scales + rows, mask=is_row, other=0.0)
    if HAS_BIAS:
        total += tl.load(bias + rows, mask=is_row, other=0.0)
    tl.store(product + token * outputs + rows, total.to(product.dtype.element_ty), mask=is_row)
