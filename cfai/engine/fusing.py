"""A model's forward pass without the model's Python: recorded once, run as one flat function.

In a step of a small model, or of any model on a fast GPU, much of the time goes into what stands around the kernels:
modules that call modules, decorators, keyword arguments, views. `fuse` runs the model a few times on made-up tokens,
writes down every torch call, and makes a function of the calls alone:

    record   rows of three lengths; where a size differs between them it must be a multiple of the length, plus a number
    reduce   drop what nothing uses or what hands its input back; compute once what depends on nothing but weights; make
             once what is made several times; put fewer kernels in the place of known groups of them
    check    against the model itself, on other rows
    compile  one line of Python per call

A model whose Python looks at the numbers in its tensors cannot be recorded, and one whose attention does not go through
`AttentionInterface` cannot be recorded either. Both run as they are.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from transformers import PreTrainedModel

from cfai.engine.lora import AdapterBank, adapted
from cfai.engine.pieces import Piece, put_pieces
from cfai.engine.recording import (
    Call,
    Plain,
    Recording,
    Size,
    Unfit,
    Value,
    attend_recording,
    attention,
    attention_of,
    compiled,
    leaves,
    made_up_row,
    mapped,
    other_attention,
    record,
)
from cfai.engine.shortcuts import RULES, put_products

__all__ = ["Forward", "fuse"]

log = logging.getLogger(__name__)


class Forward(Protocol):
    """One step of a model."""

    @property
    def is_fused(self) -> bool:
        """False if the model runs as it is."""

    @property
    def copies(self) -> int:
        """Bytes that copies of weights take, or will."""

    @property
    def pieces(self) -> int:
        """How many pieces `compile` has to compile."""

    @property
    def compiled(self) -> int:
        """How many of them it has had a try at."""

    def compile(self, is_stopped: Callable[[], bool]) -> None:
        """Have torch compile the pieces, and run in them from then on; between two of them it may be stopped.

        For a thread of its own: steps go on meanwhile, as they are.
        """

    def __call__(
        self, input_ids: torch.Tensor, position_ids: torch.Tensor, logits_to_keep: torch.Tensor, **context: Any
    ) -> torch.Tensor:
        """The logits, [1, K, vocabulary], at the places `logits_to_keep`, [K], of the row `input_ids`, [1, N].

        `position_ids` is [1, N]. `context` reaches the attention function as keyword arguments.
        """


def fuse(
    model: PreTrainedModel, *, memory: int = 0, bank: AdapterBank | None = None, compiles: bool = False
) -> Forward:
    """The forward pass of `model`, faster where that is possible, with the same results but for rounding.

    memory  bytes that copies of float32 weights on the CPU may take; with them, 4 to 128 rows cost little more than
            one. They are made when such a row comes for the first time
    bank    where the model's LoRA adapters are; steps that have some run with them
    compiles  prepare for `compile`, which has torch compile it in pieces; steps with adapters run as they are

    The model must be on its device, in eval mode, with the weights that it will keep and with `attn_implementation` set
    to a function of `AttentionInterface`. That function must return a contiguous tensor. `fuse` runs the model nine
    times on short rows with another attention, so that no cache is touched, and leaves it as it was.

        forward = fuse(model)
        logits = forward(ids, positions, torch.tensor([2]), cache=cache)

    A function that says so by torch's own protocol (`has_torch_function`, `handle_torch_function`) is recorded as one
    call, and so may decide by the size of its arguments.
    """
    plain = Plain(model)
    try:
        attend = attention_of(model)
        with torch.inference_mode(), other_attention(model):
            with bank.marked() if bank is not None else contextlib.nullcontext():
                recording = record(model)
            _reduce(recording)
            _check(plain, compiled(recording), model)
        copies = put_products(recording, memory)
        own = _without_adapters(recording)
        fused = _Fused(model, compiled(own), compiled(recording), attend, bank, copies)
        if compiles:
            fused.put_pieces(own)
        return fused
    except Exception as error:  # whatever the model does with made-up rows, it may still answer real ones
        log.debug("%s runs as it is: %s", type(model).__name__, error)
        return plain


class _Fused:
    """A compiled recording."""

    is_fused = True

    def __init__(
        self,
        model: PreTrainedModel,
        run: Callable[..., torch.Tensor],
        run_adapted: Callable[..., torch.Tensor],
        attend: Callable[..., Any],
        bank: AdapterBank | None,
        copies: int,
    ) -> None:
        self.copies = copies
        self.pieces = self.compiled = 0
        self._model = model
        self._parts: list[Piece] = []
        self._run = run
        self._run_adapted = run_adapted
        self._attend = attend
        self._bank = bank

    def __call__(
        self, input_ids: torch.Tensor, position_ids: torch.Tensor, logits_to_keep: torch.Tensor, **context: Any
    ) -> torch.Tensor:
        run = self._run_adapted if self._bank is not None and self._bank.is_at_work else self._run
        return run(input_ids, position_ids, logits_to_keep, self._attend, context)

    def put_pieces(self, recording: Recording) -> None:
        """Prepare for `compile`; `recording` is the one that runs, and is changed."""
        self._parts = put_pieces(recording, self._model.device.type)
        self.pieces = len(self._parts)
        self._in_pieces = compiled(recording)

    def compile(self, is_stopped: Callable[[], bool]) -> None:
        rows = [made_up_row(self._model, *lengths) for lengths in _ROWS]
        expected = [self._run(*row, _attend_in_line, {}) for row in rows]

        def is_right() -> bool:
            found = [self._in_pieces(*row, _attend_in_line, {}) for row in rows]
            return all(_is_same(*pair, self._model) for pair in zip(found, expected, strict=True))

        for piece in self._parts:
            if is_stopped():
                return
            piece.compile(is_right)
            self.compiled += 1
        self._run = self._in_pieces


def _attend_in_line(*args: Any, **options: Any) -> Any:
    """Attention within the row, as contiguous as that of a step: compiled code is for tensors that lie in one way."""
    out, rest = attend_recording(*args, **options)
    return out.contiguous(), rest


# Reduce


def _reduce(recording: Recording) -> None:
    """Drop and join calls."""
    _drop_unused(recording)
    _fold(recording)
    _share(recording)
    for rule in RULES:
        recording.replace([fresh for call in recording.calls for fresh in rule(call, recording) or [call]])
        _drop_unused(recording)
    _share(recording)


def _without_adapters(recording: Recording) -> Recording:
    """The same, the layers' own results in the place of the adapted ones."""
    own: dict[Value, Value] = {}
    kept = []
    for call in recording.calls:
        args, kwargs = _with(own, call)
        if call.function is adapted:
            own[call.made[0]] = args[0]
        else:
            kept.append(Call(call.function, args, kwargs, call.results))
    return Recording(kept, own.get(recording.logits, recording.logits), recording.tensors)


def _drop_unused(recording: Recording) -> None:
    used, kept = {recording.logits}, []
    for call in reversed(recording.calls):
        if call.function is attention or call.results is None or used.intersection(call.made):
            used.update(call.used)
            kept.append(call)
    recording.replace(kept[::-1])


def _fold(recording: Recording) -> None:
    """Compute once what depends on nothing but weights, while it is small."""
    known: dict[Value, torch.Tensor] = {}
    changed = _changed(recording)
    kept = []
    for call in recording.calls:
        call.args, call.kwargs = _with(known, call)
        result = call.results
        varies = any(isinstance(leaf, Value | Size) for leaf in leaves((call.args, call.kwargs)))
        if (
            isinstance(result, Value)
            and result not in changed
            and not varies
            and recording.tensors[result].numel() <= _SMALL
        ):
            known[result] = recording.tensors[result]
        else:
            kept.append(call)
    recording.replace(kept)


_SMALL = 1 << 16


def _share(recording: Recording) -> None:
    """Make a call once that is there several times."""
    seen: dict[Any, Call] = {}
    same: dict[Value, Value] = {}
    changed = _changed(recording)
    kept = []
    for call in recording.calls:
        call.args, call.kwargs = _with(same, call)
        is_own = call.function is attention or call.results is None or not changed.isdisjoint(call.made)
        first = call if is_own else seen.setdefault(_spelled(call), call)
        if first is call:
            kept.append(call)
        else:
            same.update(zip(call.made, first.made, strict=True))
    recording.replace(kept)


def _changed(recording: Recording) -> set[Value]:
    """What some call changes in place. A change through a view is left to the check."""
    return {value for call in recording.calls if call.results is None for value in call.used}


def _with(others: Mapping[Value, Any], call: Call) -> Any:
    """The arguments of `call`, some values replaced."""
    return mapped(lambda leaf: others.get(leaf, leaf) if isinstance(leaf, Value) else leaf, (call.args, call.kwargs))


def _spelled(call: Call) -> tuple[Any, str]:
    def spelled(leaf: Any) -> Any:
        return f"#{id(leaf)}" if isinstance(leaf, torch.Tensor | torch.nn.Module) else leaf

    return call.function, repr(mapped(spelled, (call.args, call.kwargs)))


# Check


def _check(plain: Forward, run: Callable[..., torch.Tensor], model: PreTrainedModel) -> None:
    for lengths in _ROWS:
        inputs = made_up_row(model, *lengths)
        if not _is_same(run(*inputs, attend_recording, {}), plain(*inputs), model):
            raise Unfit("the recording computes something else")


_ROWS = ((1, 1), (2, 1), (9, 4))
"""Lengths of the rows that are compared, and of their kept positions: one, several, and others than were recorded."""


def _is_same(found: torch.Tensor, expected: torch.Tensor, model: PreTrainedModel) -> bool:
    is_quantised = any(not weight.is_floating_point() for weight in model.parameters())
    tolerance = max(_TOLERANCE[expected.dtype], _QUANTISED if is_quantised else 0)
    allowed = tolerance * expected.abs().max().item()
    return found.dtype == expected.dtype and torch.allclose(found, expected, rtol=0, atol=allowed)


_TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 5e-2, torch.float16: 5e-3, torch.float64: 1e-5}
"""How far a logit may be off, in terms of the largest one."""

_QUANTISED = 1e-3
"""The same where products cut activations into whole numbers, of which the last bit may then be another."""
