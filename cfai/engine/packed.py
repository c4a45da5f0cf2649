"""Weights in the order in which the processor reads them: oneDNN's packed form, in the place of the layers' own.

torch multiplies float32 on a CPU with MKL, which takes a slow way on processors that are not Intel's: one token through
a layer reads its weights at a third of what memory allows. oneDNN, which comes with torch too, is the faster one there,
and faster again with weights that lie as its kernels want them. On an Intel processor MKL may win. So it is measured,
with the model's own layers, when the model is loaded; what is packed takes the place of what was there.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import PreTrainedModel

from cfai.engine.matrices import Matrix, float_groups, replace, rows_in, together
from cfai.engine.memory import give_back

__all__ = ["PackedMatrix", "pack", "packing_pays"]

log = logging.getLogger(__name__)

SMALL = 1 << 10
"""Layers with fewer weights stay: a call costs more than they do."""

TOKENS = (1, 16, 128)
"""A decode step alone, one of many answers, and a prompt."""

SLICE = 8 << 20
"""Bytes of a layer that are measured."""

SLICES = 4
"""Layers that are measured one after the other, so that none waits in the processor's cache."""

ROUNDS = 4
"""Of which the fastest counts."""

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

    @property
    def weight(self) -> torch.Tensor:
        return self.rows if self.rows.layout == torch.strided else self.rows.to_dense()

    def call(self, x: Any) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return torch.ops.mkldnn._linear_pointwise.default, (x, self.rows, self.bias, "none", [], "")


def packing_pays(model: PreTrainedModel) -> bool:
    """Whether packed layers of `model` are faster than its own, and not slower for one token, for some, or for many.

    Takes some 10 to 150 ms, and is remembered for models of the same shapes. False on any device but a CPU, and for
    weights that are not floats.
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
    (shape, dtype), most = max(shapes.items(), key=lambda same: sum(rows.numel() for rows in same[1]))
    if (shape, dtype) not in _PAYS:
        few = max(1, SLICE // (shape[1] * dtype.itemsize))
        _PAYS[shape, dtype] = _pays([rows[:few].contiguous() for rows in most[:SLICES]])
    return _PAYS[shape, dtype]


_PAYS: dict[tuple[torch.Size, torch.dtype], bool] = {}
"""What was found, so that a model that is loaded again multiplies as before."""


def _pays(own: list[torch.Tensor]) -> bool:
    # By one thread, and in time that it spends on a processor: other programs then make no difference.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            packed = [PackedMatrix(rows) for rows in own]
            gains = [_gain(packed, own, tokens) for tokens in TOKENS]
    except RuntimeError:  # the processor has nothing for this dtype
        return False
    finally:
        torch.set_num_threads(threads)
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
        try:
            matrix = PackedMatrix(*together(layers), is_copy=is_copy)
        except RuntimeError as error:  # no memory for it, or it is of another dtype: it stays as it is
            log.debug("a layer is not packed: %s", error)
            continue
        copied += embedding.weight.nbytes if is_embedding and is_copy else 0
        replace(parent, layers, matrix)
        del layers
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.layout == torch.strided and not tensor.untyped_storage().resizable():
            tensor.data = tensor.data.clone()  # a part of the mapped file, which would stay in memory as a whole
    give_back()
    return copied


def _groups(model: PreTrainedModel) -> Iterator[tuple[nn.Module, list[tuple[str, Any]]]]:
    """The layers that are packed, those that will share a matrix together, and the module they are in."""
    for parent, layers in float_groups(model):
        if sum(layer.weight.numel() for _, layer in layers) >= SMALL:
            yield parent, layers


def _gain(packed: list[PackedMatrix], own: list[torch.Tensor], tokens: int) -> float:
    """How many times as fast the packed form is."""
    if tokens > ROWS_AT_ONCE:  # no longer a matter of memory
        packed, own = packed[:1], own[:1]
    x = torch.ones(tokens, packed[0].inputs, dtype=own[0].dtype)
    ours, theirs = [], []
    for _ in range(ROUNDS):  # in turns, so that both meet the same neighbours
        ours.append(_seconds(lambda: [matrix.product(x) for matrix in packed]))
        theirs.append(_seconds(lambda: [functional.linear(x, rows) for rows in own]))
    return min(theirs) / min(ours)


def _seconds(work: Callable[[], Any]) -> float:
    began = time.thread_time()
    work()
    return time.thread_time() - began
