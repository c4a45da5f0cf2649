"""Weights in the order in which the processor reads them: oneDNN's packed form, in the place of the layers' own.

torch multiplies float32 on a CPU with MKL, which takes a slow way on processors that are not Intel's: one token through
a layer reads its weights at a third of what memory allows. oneDNN, which comes with torch too, is the faster one there,
and faster again with weights that lie as its kernels want them. On an Intel processor MKL may win. So it is measured,
with the model's own layers, when the model is loaded; what is packed takes the place of what was there.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import PreTrainedModel

from cfai.engine.matrices import Matrix, layers_below, parents_in, replace, rows_in
from cfai.engine.memory import give_back

__all__ = ["PackedMatrix", "pack", "packing_pays"]

SMALL = 1 << 10
"""Layers with fewer weights stay: a call costs more than they do."""

TOKENS = (1, 16, 128)
"""A decode step alone, one of many answers, and a prompt."""

SLICE = 8 << 20
"""Bytes of a layer that are measured."""

SLICES = 4
"""Layers that are measured one after the other, so that none waits in the processor's cache."""

ROUNDS = 3

LEAST_GAIN = 0.9
"""How many times as fast packed layers must be for each number of tokens: as fast, but for the noise."""

WORTH_IT = 1.2
"""How many times as fast for one of them."""

ROWS_AT_ONCE = 16
"""What oneDNN is told when it packs; the form is good for any number of tokens."""


class PackedMatrix(Matrix):
    """`rows`, [outputs, inputs], in oneDNN's order, and a `bias`, [outputs]; of the dtype of `rows`.

    is_copy  False leaves the rows as they lie, if they must stay anyway: slower, but oneDNN's still
    """

    def __init__(self, rows: torch.Tensor, bias: torch.Tensor | None = None, *, is_copy: bool = True) -> None:
        super().__init__(*rows.shape)
        if is_copy:
            ordered = torch.ops.mkldnn._reorder_linear_weight(rows.detach().contiguous(), ROWS_AT_ONCE)
            rows = nn.Parameter(ordered, requires_grad=False)
        self.rows = rows  # a parameter, so that the model's weights are counted
        self.bias = None if bias is None else nn.Parameter(bias.detach(), requires_grad=False)
        self._like = torch.full(
            (self.outputs,), torch.nan, dtype=rows.dtype
        )  # whoever takes it for the weight shall see

    @property
    def like(self) -> torch.Tensor:
        return self._like

    def product(self, x: torch.Tensor) -> torch.Tensor:
        product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, self.rows, self.bias, "none", [], "")
        return product


def packing_pays(model: PreTrainedModel) -> bool:
    """Whether packed layers of `model` are faster than its own, and not slower for one token, for some, or for many.

    Takes some 10 to 100 ms. False on any device but a CPU, and for weights that are not floats.
    """
    if model.device.type != "cpu" or not torch._C._has_mkldnn:
        return False
    shapes: dict[tuple[torch.Size, torch.dtype], list[torch.Tensor]] = {}
    for _, layers in _groups(model):
        for _, layer in layers:
            rows = rows_in(layer)
            shapes.setdefault((rows.shape, rows.dtype), []).append(rows)
    if not shapes:
        return False
    most = max(shapes.values(), key=lambda same: sum(rows.numel() for rows in same))
    few = max(1, SLICE // (most[0].shape[1] * most[0].itemsize))
    own = [rows[:few].contiguous() for rows in most[:SLICES]]
    try:
        with torch.inference_mode():
            packed = [PackedMatrix(rows) for rows in own]
            gains = [_gain(packed, own, tokens) for tokens in TOKENS]
    except RuntimeError:  # the processor has nothing for this dtype
        return False
    return min(gains) > LEAST_GAIN and max(gains) > WORTH_IT


def pack(model: PreTrainedModel, *, spare: int) -> int:
    """Pack the linear layers of `model`, which is on a CPU; its results stay the same but for rounding.

    spare  bytes that a copy may take, of an output layer that is the input embedding too: rows are read of that one,
           which stays. Without room for it, the layer multiplies the rows as they lie

    Returns the bytes of that copy, else 0. Goes from module to module and lets go of one's weights before the next.

        if packing_pays(model):
            pack(model, spare=1 << 30)
    """
    embedding: Any = model.get_input_embeddings()
    copied = 0
    for parent, layers in _groups(model):
        is_embedding = layers[0][1].weight is embedding.weight
        is_copy = not is_embedding or embedding.weight.nbytes <= spare
        copied += embedding.weight.nbytes if is_embedding and is_copy else 0
        replace(parent, layers, _matrix_of([layer for _, layer in layers], is_copy=is_copy))
        del layers
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.layout == torch.strided:
            tensor.data = tensor.data.clone()  # what stays as it was read would hold the whole file in memory
    give_back()
    return copied


def _groups(model: PreTrainedModel) -> Iterator[tuple[nn.Module, list[tuple[str, Any]]]]:
    """The layers that can be packed, those that will share a matrix together, and the module they are in."""
    users = Counter(id(weight) for module in model.modules() if (weight := getattr(module, "weight", None)) is not None)
    embedding: Any = model.get_input_embeddings()
    for _, parent in parents_in(model):
        for layers in layers_below(parent):
            weights = [layer.weight for _, layer in layers]
            is_own = all(users[id(weight)] == 1 or weight is embedding.weight for weight in weights)
            is_float = all(weight.is_floating_point() for weight in weights)
            if is_own and is_float and len({w.dtype for w in weights}) == 1 and sum(map(torch.numel, weights)) >= SMALL:
                yield parent, layers


def _matrix_of(layers: list[Any], *, is_copy: bool) -> PackedMatrix:
    rows = [rows_in(layer) for layer in layers]
    biases = [layer.bias for layer in layers if layer.bias is not None]
    together = torch.cat(rows) if len(rows) > 1 else rows[0]
    return PackedMatrix(together, torch.cat(biases) if biases else None, is_copy=is_copy)


def _gain(packed: list[PackedMatrix], own: list[torch.Tensor], tokens: int) -> float:
    """How many times as fast the packed form is."""
    if tokens > ROWS_AT_ONCE:  # no longer a matter of memory
        packed, own = packed[:1], own[:1]
    x = torch.ones(tokens, packed[0].inputs, dtype=own[0].dtype)
    ours = _fastest(lambda: [matrix.product(x) for matrix in packed])
    return _fastest(lambda: [functional.linear(x, rows) for rows in own]) / ours


def _fastest(work: Callable[[], Any]) -> float:
    """Seconds of the fastest of some rounds, behind one that does not count."""
    took = []
    for _ in range(ROUNDS + 1):
        began = time.perf_counter()
        work()
        took.append(time.perf_counter() - began)
    return min(took[1:])
