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
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch.nn import functional as F  # noqa: N812  # everybody's name for it
from torch.overrides import TorchFunctionMode
from transformers import AttentionInterface, PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

__all__ = ["Forward", "fuse"]

log = logging.getLogger(__name__)


class Forward(Protocol):
    """One step of a model."""

    @property
    def is_fused(self) -> bool:
        """False if the model runs as it is."""

    def __call__(
        self, input_ids: torch.Tensor, position_ids: torch.Tensor, logits_to_keep: torch.Tensor, **context: Any
    ) -> torch.Tensor:
        """The logits, [1, K, vocabulary], at the places `logits_to_keep`, [K], of the row `input_ids`, [1, N].

        `position_ids` is [1, N]. `context` reaches the attention function as keyword arguments.
        """


def fuse(model: PreTrainedModel, *, memory: int = 0) -> Forward:
    """The forward pass of `model`, faster where that is possible, with the same results but for rounding.

    memory  bytes that copies of float32 weights on the CPU may take; with them, 4 to 128 rows cost little more than
            one. They are made when such a row comes for the first time

    The model must be on its device, in eval mode, with the weights that it will keep and with `attn_implementation` set
    to a function of `AttentionInterface`. That function must return a contiguous tensor. `fuse` runs the model nine
    times on short rows with another attention, so that no cache is touched, and leaves it as it was.

        forward = fuse(model)
        logits = forward(ids, positions, torch.tensor([2]), cache=cache)

    A function that says so by torch's own protocol (`has_torch_function`, `handle_torch_function`) is recorded as one
    call, and so may decide by the size of its arguments.
    """
    plain = _Plain(model)
    try:
        attend = _attention_of(model)
        with torch.inference_mode(), _other_attention(model):
            recording = _record(model)
            _reduce(recording)
            _check(plain, _compile(recording), model)
        _put_products(recording, memory)
        return _Fused(_compile(recording), attend)
    except Exception as error:  # whatever the model does with made-up rows, it may still answer real ones
        log.debug("%s runs as it is: %s", type(model).__name__, error)
        return plain


class _Unfit(Exception):
    """The model cannot be recorded, or the recording does not compute what the model does."""


class _Plain:
    """The model as it is."""

    is_fused = False

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model

    def __call__(
        self, input_ids: torch.Tensor, position_ids: torch.Tensor, logits_to_keep: torch.Tensor, **context: Any
    ) -> torch.Tensor:
        logits: torch.Tensor = self._model(
            input_ids=input_ids,
            position_ids=position_ids,
            logits_to_keep=logits_to_keep,
            use_cache=False,
            **context,
        ).logits
        return logits


class _Fused:
    """A compiled recording."""

    is_fused = True

    def __init__(self, run: Callable[..., torch.Tensor], attend: Callable[..., Any]) -> None:
        self._run = run
        self._attend = attend

    def __call__(
        self, input_ids: torch.Tensor, position_ids: torch.Tensor, logits_to_keep: torch.Tensor, **context: Any
    ) -> torch.Tensor:
        return self._run(input_ids, position_ids, logits_to_keep, self._attend, context)


# What is recorded


@dataclass(frozen=True, slots=True)
class _Value:
    """A tensor that an input or a call brings into being. The inputs are the first ones."""

    index: int

    def __repr__(self) -> str:
        return f"v{self.index}"


@dataclass(frozen=True, slots=True)
class _Size:
    """A number that grows with the length of the row."""

    per_token: int
    more: int

    def __repr__(self) -> str:
        return "n" if (self.per_token, self.more) == (1, 0) else f"({self.per_token} * n + {self.more})"


@dataclass(slots=True, eq=False)
class _Call:
    function: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    results: _Value | tuple[_Value | None, ...] | None
    """A value, or one for each tensor of a tuple; None if the call is made for what it does to its arguments."""

    @property
    def made(self) -> list[_Value]:
        results = self.results if isinstance(self.results, tuple) else (self.results,)
        return [value for value in results if value is not None]

    @property
    def used(self) -> list[_Value]:
        return [leaf for leaf in _leaves((self.args, self.kwargs)) if isinstance(leaf, _Value)]


@dataclass(slots=True)
class _Recording:
    calls: list[_Call]
    logits: _Value
    tensors: dict[_Value, torch.Tensor]
    """What the values were in the first run."""

    makers: dict[_Value, _Call] = field(default_factory=dict)

    def new_value(self, like: torch.Tensor) -> _Value:
        value = _Value(len(self.tensors))
        self.tensors[value] = like
        return value

    def replace(self, calls: list[_Call]) -> None:
        self.calls = calls
        self.makers = {value: call for call in calls for value in call.made}

    def match(self, pattern: Any, thing: Any) -> dict[str, Any] | None:
        """What the names in `pattern` stand for, if `thing` came about that way."""
        return next(self._matches(pattern, thing, {}), None)

    def _matches(self, pattern: Any, thing: Any, found: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if isinstance(pattern, str):
            if pattern not in found:
                yield {**found, pattern: thing}
            elif found[pattern] is thing or (isinstance(thing, _Value | int) and found[pattern] == thing):
                yield found
        elif isinstance(pattern, tuple):
            call = self.makers.get(thing) if isinstance(thing, _Value) else None
            if call is not None and _name(call.function) == pattern[0]:
                arguments = [*call.args, *call.kwargs.values()]
                yield from self._match_all(pattern[1:], arguments, found)
                if pattern[0] in ("add", "mul"):
                    yield from self._match_all(pattern[1:], arguments[::-1], found)
        elif isinstance(pattern, list):
            if isinstance(thing, tuple | list):
                yield from self._match_all(pattern, thing, found)
        elif isinstance(pattern, slice):
            if isinstance(thing, slice):
                yield from self._match_all(_ends(pattern), _ends(thing), found)
        elif type(pattern) is type(thing) and pattern == thing:
            yield found

    def _match_all(self, patterns: Any, things: Any, found: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if len(patterns) == len(things) == 0:
            yield found
        elif len(patterns) == len(things):
            for more in self._matches(patterns[0], things[0], found):
                yield from self._match_all(patterns[1:], things[1:], more)


_NAME = "cfai_recording"
_SHAPE = {"__len__", "dim", "element_size", "is_contiguous", "ndim", "numel", "shape", "size", "stride"}
_KIND = {"device", "dtype", "is_cpu", "is_cuda", "is_floating_point", "is_mps", "layout", "requires_grad"}
_QUESTIONS = _SHAPE | _KIND
"""What one may ask a tensor without looking at its numbers."""

_UNSIZED = {"argwhere", "bincount", "masked_select", "nonzero", "unique", "unique_consecutive"}
"""What makes a tensor whose size depends on numbers."""

_AUGMENTED = {"__iadd__", "__iand__", "__idiv__", "__imul__", "__ior__", "__ipow__", "__isub__", "__itruediv__"}


class _Recorder(TorchFunctionMode):
    """Writes down the torch calls made while it is entered."""

    def __init__(self, inputs: Iterable[torch.Tensor]) -> None:
        super().__init__()
        self.calls: list[_Call] = []
        self.tensors: list[torch.Tensor] = []
        self._indices: dict[int, int] = {}
        self._is_resting = False
        for tensor in inputs:
            self.value(tensor)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if not self._is_resting:
            self._note(func, args, kwargs, out)
        return out

    def attend(
        self, module: Any, states: tuple[torch.Tensor, torch.Tensor, torch.Tensor], mask: Any, **options: Any
    ) -> Any:
        self._is_resting = True
        out = _attend_causally(*states, **options)
        self._is_resting = False
        self._add(_attention, (module, *states, mask), options, (self.value(out), None))
        return out, None

    def value(self, tensor: torch.Tensor) -> _Value:
        """The value of a tensor, a new one if it was never seen."""
        if id(tensor) not in self._indices:
            self._indices[id(tensor)] = len(self.tensors)
            self.tensors.append(tensor)  # also keeps its id from being used again
        return _Value(self._indices[id(tensor)])

    def _note(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
        name = _name(func)
        if _is_unsized(name, args, kwargs):
            raise _Unfit(f"the size of what {name} makes depends on numbers")
        if _is_mutation(name, kwargs):
            if id(args[0]) not in self._indices or (isinstance(out, torch.Tensor) and id(out) not in self._indices):
                raise _Unfit(f"{name} changes the model")
            self._add(func, args, kwargs, None)
        elif isinstance(out, torch.Tensor):
            if not any(out is leaf for leaf in _leaves((args, kwargs))):
                self._add(func, args, kwargs, self.value(out))
        elif isinstance(out, tuple | list) and any(isinstance(item, torch.Tensor) for item in out):
            values = tuple(self.value(item) if isinstance(item, torch.Tensor) else None for item in out)
            self._add(func, args, kwargs, values)
        elif name not in _QUESTIONS and any(isinstance(leaf, torch.Tensor) for leaf in _leaves((args, kwargs))):
            raise _Unfit(f"{name} looks at the numbers")

    def _add(self, func: Any, args: Any, kwargs: Any, results: Any) -> None:
        def known(leaf: Any) -> Any:
            is_known = isinstance(leaf, torch.Tensor) and id(leaf) in self._indices
            return _Value(self._indices[id(leaf)]) if is_known else leaf

        made = results if isinstance(results, tuple) else (results,)
        args, kwargs = _mapped(known, (args, kwargs))
        if any(leaf in made for leaf in _leaves((args, kwargs)) if isinstance(leaf, _Value)):
            raise _Unfit("a call hands one of several tensors back")
        self.calls.append(_Call(func, args, kwargs, results))


def _name(function: Any) -> str:
    name: str = getattr(function, "__name__", "")
    return function.__self__.__name__ if name == "__get__" else name


def _ends(part: slice) -> tuple[Any, Any, Any]:
    return part.start, part.stop, part.step


def _is_mutation(name: str, kwargs: Mapping[str, Any]) -> bool:
    in_place = (name.endswith("_") and not name.endswith("__")) or name == "__setitem__" or name in _AUGMENTED
    return in_place or kwargs.get("out") is not None or bool(kwargs.get("inplace"))


def _is_unsized(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    tensors = [leaf for leaf in _leaves(args[1:]) if isinstance(leaf, torch.Tensor)]
    if name == "__getitem__":
        return any(index.dtype == torch.bool for index in tensors)
    if name == "repeat_interleave":
        return bool(tensors) and "output_size" not in kwargs
    return name in _UNSIZED or (name == "where" and not tensors)


def _attention(*_: Any, **__: Any) -> Any:
    """Stands in a recording for the model's attention function."""


def _attend_recording(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: Any,
    recorder: _Recorder | None = None,
    **options: Any,
) -> Any:
    if recorder is not None:
        return recorder.attend(module, (query, key, value), mask, **options)
    return _attend_causally(query, key, value, **options), None


def _attend_causally(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float | None = None, **_: Any
) -> torch.Tensor:
    grouped = key.shape[1] != query.shape[1]
    out = F.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scaling, enable_gqa=grouped)
    return out.transpose(1, 2)


@contextlib.contextmanager
def _other_attention(model: PreTrainedModel) -> Iterator[None]:
    AttentionInterface.register(_NAME, _attend_recording)
    before = model.config._attn_implementation
    model.set_attn_implementation(_NAME)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def _attention_of(model: PreTrainedModel) -> Callable[..., Any]:
    name = model.config._attn_implementation
    if not getattr(model, "_supports_attention_backend", False) or name not in ALL_ATTENTION_FUNCTIONS:
        raise _Unfit("its attention is its own")
    function: Callable[..., Any] = ALL_ATTENTION_FUNCTIONS[name]
    return function


# Record


def _row(model: PreTrainedModel, length: int, kept: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Made-up inputs, the same ones every time."""
    generator = torch.Generator().manual_seed(length)
    config = model.config.get_text_config()
    ids = torch.randint(config.vocab_size, (1, length), generator=generator)
    positions = torch.randint(min(64, config.max_position_embeddings), (1, length), generator=generator)
    keep = torch.randperm(length, generator=generator)[:kept]
    device = model.device
    return ids.to(device), positions.to(device), keep.to(device)


def _record(model: PreTrainedModel) -> _Recording:
    runs = [_run(model, _row(model, length, kept)) for length, kept in _LENGTHS]
    first = runs[0][0]
    if len({len(recorder.calls) for recorder, _ in runs}) != 1 or len({logits for _, logits in runs}) != 1:
        raise _Unfit("what it does depends on the length")
    calls = [_agreed(same) for same in zip(*(recorder.calls for recorder, _ in runs), strict=True)]
    layers = model.config.get_text_config().num_hidden_layers
    if sum(call.function is _attention for call in calls) != layers:
        raise _Unfit("its attention is its own")
    tensors = {_Value(index): tensor for index, tensor in enumerate(first.tensors)}
    return _Recording(calls, runs[0][1], tensors)


_LENGTHS = ((3, 2), (5, 2), (8, 5))
"""Lengths of a row, and of its kept positions: a number that follows the latter is on no line through the former."""


def _run(model: PreTrainedModel, inputs: tuple[torch.Tensor, ...]) -> tuple[_Recorder, _Value]:
    recorder = _Recorder(inputs)
    with recorder:
        logits = _Plain(model)(*inputs, recorder=recorder)
    return recorder, recorder.value(logits)


def _agreed(same: tuple[_Call, ...]) -> _Call:
    if len({call.function for call in same}) != 1 or any(call.results != same[0].results for call in same):
        raise _Unfit("what it does depends on the length")
    args, kwargs = _merged([(call.args, call.kwargs) for call in same])
    return _Call(same[0].function, args, kwargs, same[0].results)


def _merged(same: Sequence[Any]) -> Any:
    """One thing for what was there in each recording."""
    one = same[0]
    if any(type(other) is not type(one) for other in same):
        raise _Unfit("what it does depends on the length")
    if type(one) in (tuple, list, torch.Size):
        if len({len(other) for other in same}) != 1:
            raise _Unfit("what it does depends on the length")
        items = [_merged(list(items)) for items in zip(*same, strict=True)]
        return items if type(one) is list else tuple(items)
    if type(one) is dict:
        if any(other.keys() != one.keys() for other in same):
            raise _Unfit("what it does depends on the length")
        return {key: _merged([other[key] for other in same]) for key in one}
    if type(one) is slice:
        return slice(*_merged([_ends(other) for other in same]))
    if type(one) is int:
        return _line(same)
    if any(other is not one for other in same) and (
        isinstance(one, torch.Tensor) or any(other != one for other in same)
    ):
        raise _Unfit("what it does depends on the length")
    return one


def _line(sizes: Sequence[int]) -> int | _Size:
    if len(set(sizes)) == 1:
        return sizes[0]
    (a, _), (b, _) = _LENGTHS[:2]
    per_token = (sizes[1] - sizes[0]) // (b - a)
    size = _Size(per_token, sizes[0] - per_token * a)
    if any(per_token * length + size.more != found for (length, _), found in zip(_LENGTHS, sizes, strict=True)):
        raise _Unfit("what it does depends on the length")
    return size


# Reduce


def _reduce(recording: _Recording) -> None:
    """Drop and join calls."""
    _drop_unused(recording)
    _fold(recording)
    _share(recording)
    for rule in _RULES:
        recording.replace([fresh for call in recording.calls for fresh in rule(call, recording) or [call]])
        _drop_unused(recording)
    _share(recording)


def _drop_unused(recording: _Recording) -> None:
    used, kept = {recording.logits}, []
    for call in reversed(recording.calls):
        if call.function is _attention or call.results is None or used.intersection(call.made):
            used.update(call.used)
            kept.append(call)
    recording.replace(kept[::-1])


def _fold(recording: _Recording) -> None:
    """Compute once what depends on nothing but weights, while it is small."""
    known: dict[_Value, torch.Tensor] = {}
    changed = _changed(recording)
    kept = []
    for call in recording.calls:
        call.args, call.kwargs = _with(known, call)
        result = call.results
        varies = any(isinstance(leaf, _Value | _Size) for leaf in _leaves((call.args, call.kwargs)))
        if (
            isinstance(result, _Value)
            and result not in changed
            and not varies
            and recording.tensors[result].numel() <= _SMALL
        ):
            known[result] = recording.tensors[result]
        else:
            kept.append(call)
    recording.replace(kept)


_SMALL = 1 << 16


def _share(recording: _Recording) -> None:
    """Make a call once that is there several times."""
    seen: dict[Any, _Call] = {}
    same: dict[_Value, _Value] = {}
    changed = _changed(recording)
    kept = []
    for call in recording.calls:
        call.args, call.kwargs = _with(same, call)
        is_own = call.function is _attention or call.results is None or not changed.isdisjoint(call.made)
        first = call if is_own else seen.setdefault(_spelled(call), call)
        if first is call:
            kept.append(call)
        else:
            same.update(zip(call.made, first.made, strict=True))
    recording.replace(kept)


def _changed(recording: _Recording) -> set[_Value]:
    """What some call changes in place. A change through a view is left to the check."""
    return {value for call in recording.calls if call.results is None for value in call.used}


def _with(others: Mapping[_Value, Any], call: _Call) -> Any:
    """The arguments of `call`, some values replaced."""
    return _mapped(lambda leaf: others.get(leaf, leaf) if isinstance(leaf, _Value) else leaf, (call.args, call.kwargs))


def _spelled(call: _Call) -> tuple[Any, str]:
    def spelled(leaf: Any) -> Any:
        return f"#{id(leaf)}" if isinstance(leaf, torch.Tensor) else leaf

    return call.function, repr(_mapped(spelled, (call.args, call.kwargs)))


# Check


def _check(plain: Forward, run: Callable[..., torch.Tensor], model: PreTrainedModel) -> None:
    is_quantised = any(not weight.is_floating_point() for weight in model.parameters())
    for length, kept in ((1, 1), (2, 1), (9, 4)):
        inputs = _row(model, length, kept)
        expected, found = plain(*inputs), run(*inputs, _attend_recording, {})
        tolerance = max(_TOLERANCE[expected.dtype], _QUANTISED if is_quantised else 0)
        allowed = tolerance * expected.abs().max().item()
        if found.dtype != expected.dtype or not torch.allclose(found, expected, rtol=0, atol=allowed):
            raise _Unfit("the recording computes something else")


_TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 5e-2, torch.float16: 5e-3, torch.float64: 1e-5}
"""How far a logit may be off, in terms of the largest one."""

_QUANTISED = 1e-3
"""The same where products cut activations into whole numbers, of which the last bit may then be another."""


# Compile


def _compile(recording: _Recording) -> Callable[..., torch.Tensor]:
    names: dict[str, Any] = {}

    def named(thing: Any) -> str:
        names[f"c{len(names)}"] = thing
        return f"c{len(names) - 1}"

    functions: dict[Any, str] = {}
    last = {value: position for position, call in enumerate(recording.calls) for value in (*call.used, *call.made)}
    last.pop(recording.logits)
    gone: dict[int, list[_Value]] = {}
    for value, position in last.items():
        gone.setdefault(position, []).append(value)
    lines = ["def forward(v0, v1, v2, attend, context):", "    n = v0.shape[1]"]
    for position, call in enumerate(recording.calls):
        arguments = [_text(arg, named) for arg in call.args]
        arguments += [f"{key}={_text(value, named)}" for key, value in call.kwargs.items()]
        if call.function is _attention:
            function, arguments = "attend", [*arguments, "**context"]
        else:
            if call.function not in functions:
                functions[call.function] = named(call.function)
            function = functions[call.function]
        line = f"{function}({', '.join(arguments)})"
        if isinstance(call.results, tuple):
            line = f"{', '.join('_' if value is None else repr(value) for value in call.results)}, = {line}"
        elif call.results is not None:
            line = f"{call.results} = {line}"
        lines.append(f"    {line}")
        if position in gone:
            lines.append(f"    del {', '.join(map(repr, gone[position]))}")
    lines.append(f"    return {recording.logits}")
    exec(compile("\n".join(lines), "<fused>", "exec"), names)
    forward: Callable[..., torch.Tensor] = names.pop("forward")  # else it would hold itself, and so the weights
    return forward


def _text(thing: Any, named: Callable[[Any], str]) -> str:
    """Python for an argument: what varies is spelled out, what does not is `named`."""
    if isinstance(thing, _Value | _Size) or thing is None or type(thing) in (int, bool):
        return repr(thing)
    if not any(isinstance(leaf, _Value | _Size) for leaf in _leaves(thing)):
        return named(thing)
    if isinstance(thing, slice):
        return f"slice({_text(_ends(thing), named)[1:-2]})"
    if isinstance(thing, dict):
        return "{" + ", ".join(f"{key!r}: {_text(value, named)}" for key, value in thing.items()) + "}"
    text = ", ".join(_text(item, named) for item in thing)
    return f"[{text}]" if isinstance(thing, list) else f"({text},)"


def _mapped(function: Callable[[Any], Any], thing: Any) -> Any:
    """`thing` with `function` of each leaf in its place."""
    if isinstance(thing, slice):
        return slice(*_mapped(function, _ends(thing)))
    if isinstance(thing, dict):
        return {key: _mapped(function, value) for key, value in thing.items()}
    if isinstance(thing, tuple | list):
        items = [_mapped(function, item) for item in thing]
        return items if isinstance(thing, list) else tuple(items)
    return function(thing)


def _leaves(thing: Any) -> Iterator[Any]:
    if isinstance(thing, slice):
        thing = _ends(thing)
    if isinstance(thing, dict):
        thing = thing.values()
    elif not isinstance(thing, tuple | list):
        yield thing
        return
    for item in thing:
        yield from _leaves(item)


# What is put in the place of several calls

_Rule = Callable[[_Call, _Recording], list[_Call]]
"""Fewer calls that make what the given one makes; none if it is not the last of a known group."""

_NORMED = ("mul", "x", ("rsqrt", ("add", ("mean", ("pow", "x", 2), -1, True), "eps")))
_NORM = ("mul", "weight", _NORMED)
_CAST_NORM = ("mul", "weight", ("to", _NORMED, "dtype"))
_CAST = ("to", "x", torch.float32)
_FIRST, _SECOND = (Ellipsis, slice(None, "half")), (Ellipsis, slice("half", None))
_TURNED = ("cat", [("neg", ("__getitem__", "x", [*_SECOND])), ("__getitem__", "x", [*_FIRST])], -1)
_ROTATION = ("add", ("mul", "x", "cos"), ("mul", _TURNED, "sin"))
"""(name of a function, what its arguments are), [what its items are], a name for whatever is there, or the thing."""


def _join_norm(call: _Call, recording: _Recording) -> list[_Call]:
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
        return [_Call(F.rms_norm, (x, (size,), weight, eps), {}, call.results)]
    if like.dtype == torch.float32:
        return [_Call(_norm, (x, weight * math.sqrt(size), torch.tensor(math.sqrt(size * eps))), {}, call.results)]
    return []


def _norm(x: torch.Tensor, weight: torch.Tensor, floor: torch.Tensor) -> torch.Tensor:
    """RMSNorm on a CPU, which has one kernel for the length of a vector, but several for its mean square.

    weight  the norm's, times the root of the size
    floor   the root of the size times eps
    """
    return (x / torch.hypot(torch.linalg.vector_norm(x, dim=-1, keepdim=True), floor)).mul_(weight)


def _join_rotation(call: _Call, recording: _Recording) -> list[_Call]:
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
        _Call(_signed, (sin, half), {}, signed),  # the same for all layers, which then share it
        _Call(_rotated, (x, cos, signed, half), {}, call.results),
    ]


def _signed(sin: torch.Tensor, half: int) -> torch.Tensor:
    return torch.cat((-sin[..., :half], sin[..., half:]), dim=-1)


def _rotated(x: torch.Tensor, cos: torch.Tensor, signed_sin: torch.Tensor, half: int) -> torch.Tensor:
    return (x * cos).addcmul_(torch.roll(x, half, -1), signed_sin)


_RULES: tuple[_Rule, ...] = (_join_norm, _join_rotation)


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
            return F.linear(x, self._weight, self._bias)
        if self._packed is None:
            self._packed = torch.ops.mkldnn._reorder_linear_weight(self._weight, 16)
        out: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, self._packed, self._bias, "none", [], "")
        return out


def _put_products(recording: _Recording, memory: int) -> None:
    """Let large linear layers have their second form, first come, first served, while `memory` bytes last."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return
    for call in recording.calls:
        match call:
            case _Call(function=F.linear, args=(x, torch.Tensor() as weight, *bias), kwargs={}):
                is_large = weight.numel() >= _LARGE and weight.dtype == torch.float32 and weight.device.type == "cpu"
                if is_large and weight.nbytes <= memory:
                    memory -= weight.nbytes
                    call.function, call.args = _Product(weight, *(bias or [None])), (x,)


_LARGE = 1 << 19
"""Weights of a layer from which on the second form pays."""
