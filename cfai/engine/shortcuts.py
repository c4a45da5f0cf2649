"""Fewer kernels in the place of known groups of calls, and faster ones for products of many rows."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch.nn import functional

from cfai.engine.matrices import multiply
from cfai.engine.recording import Call, Recording

__all__ = ["RULES", "put_products"]

Rule = Callable[[Call, Recording], list[Call]]
"""Fewer calls that make what the given one makes; none if it is not the last of a known group."""

_NORMED = ("mul", "x", ("rsqrt", ("add", ("mean", ("pow", "x", 2), -1, True), "eps")))
_NORM = ("mul", "weight", _NORMED)
_CAST_NORM = ("mul", "weight", ("to", _NORMED, "dtype"))
_CAST = ("to", "x", torch.float32)
_FIRST, _SECOND = (Ellipsis, slice(None, "half")), (Ellipsis, slice("half", None))
_TURNED = ("cat", [("neg", ("__getitem__", "x", [*_SECOND])), ("__getitem__", "x", [*_FIRST])], -1)
_ROTATION = ("add", ("mul", "x", "cos"), ("mul", _TURNED, "sin"))
"""(name of a function, what its arguments are), [what its items are], a name for whatever is there, or the thing."""


def _join_norm(call: Call, recording: Recording) -> list[Call]:
    """RMSNorm, with or without casts to float32 and back."""
    found = recording.match(_NORM, call.results)
    if found is None and (found := recording.match(_CAST_NORM, call.results)) is not None:
        found |= recording.match(_CAST, found["x"]) or {}
    if found is None:
        return []
    x, weight, eps = found["x"], found["weight"], found["eps"]
    like = recording.tensors[x]
    if not isinstance(weight, torch.Tensor) or weight.shape != like.shape[-1:] or weight.dtype != like.dtype:
        return []
    size = weight.shape[0]
    if like.device.type != "cpu":
        return [Call(functional.rms_norm, (x, (size,), weight, eps), {}, call.results)]
    if like.dtype == torch.float32:
        return [Call(_norm, (x, weight * math.sqrt(size), torch.tensor(math.sqrt(size * eps))), {}, call.results)]
    return []


def _norm(x: torch.Tensor, weight: torch.Tensor, floor: torch.Tensor) -> torch.Tensor:
    """RMSNorm on a CPU, which has one kernel for the length of a vector, but several for its mean square.

    weight  the norm's, times the root of the size
    floor   the root of the size times eps
    """
    return (x / torch.hypot(torch.linalg.vector_norm(x, dim=-1, keepdim=True), floor)).mul_(weight)


def _join_rotation(call: Call, recording: Recording) -> list[Call]:
    """Rotary positions: a half turn in the place of two slices, a sign and a concatenation."""
    found = recording.match(_ROTATION, call.results)
    if found is None:
        return []
    x, cos, sin, half = found["x"], found["cos"], found["sin"], found["half"]
    like = recording.tensors[x]
    if like.shape[-1] != 2 * half or any(recording.tensors[table].dtype != like.dtype for table in (cos, sin)):
        return []
    signed = recording.new_value(recording.tensors[sin])
    return [
        Call(_signed, (sin, half), {}, signed),  # the same for all layers, which then share it
        Call(_rotated, (x, cos, signed, half), {}, call.results),
    ]


def _signed(sin: torch.Tensor, half: int) -> torch.Tensor:
    return torch.cat((-sin[..., :half], sin[..., half:]), dim=-1)


def _rotated(x: torch.Tensor, cos: torch.Tensor, signed_sin: torch.Tensor, half: int) -> torch.Tensor:
    return (x * cos).addcmul_(torch.roll(x, half, -1), signed_sin)


def _multiply_at_once(call: Call, recording: Recording) -> list[Call]:
    """torch's own call in the place of ours, for a matrix whose product is one."""
    if call.function is not multiply:
        return []
    x, matrix = call.args
    try:
        function, args = matrix.call(x)
    except NotImplementedError:
        return []
    return [Call(function, args, {}, call.results)]


RULES: tuple[Rule, ...] = (_join_norm, _join_rotation, _multiply_at_once)


# Products of many rows


class _Product:
    """A linear layer on the CPU, whose weight has a second form in which 4 to 128 rows cost little more than one.

    In the first form, 16 rows of a large layer cost four times as much as one. For fewer rows, and for more, the first
    form is as fast or faster.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        self._weight = weight
        self._bias = bias
        self._packed: torch.Tensor | None = None

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        if not 4 <= x.shape[-2] <= 128:
            return functional.linear(x, self._weight, self._bias)
        if self._packed is None:
            self._packed = torch.ops.mkldnn._reorder_linear_weight(self._weight, 16)
        out: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, self._packed, self._bias, "none", [], "")
        return out


def put_products(recording: Recording, memory: int) -> int:
    """Let large linear layers have their second form, first come, first served, while `memory` bytes last.

    Returns how many they will take.
    """
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return 0
    left = memory
    for call in recording.calls:
        match call:
            case Call(function=functional.linear, args=(x, torch.Tensor() as weight, *bias), kwargs={}):
                is_large = weight.numel() >= _LARGE and weight.dtype == torch.float32 and weight.device.type == "cpu"
                if is_large and weight.nbytes <= left:
                    left -= weight.nbytes
                    call.function, call.args = _Product(weight, *(bias or [None])), (x,)
    return memory - left


_LARGE = 1 << 19
"""Weights of a layer from which on the second form pays."""
