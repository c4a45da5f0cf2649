"""A model's torch calls, written down while it runs on made-up rows of tokens, and made into one function again."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from transformers import AttentionInterface, PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

__all__ = [
    "Call",
    "Plain",
    "Recording",
    "Size",
    "Unfit",
    "Value",
    "attend_recording",
    "attention",
    "attention_of",
    "compiled",
    "leaves",
    "line_of",
    "made_up_row",
    "mapped",
    "other_attention",
    "record",
]


class Unfit(Exception):
    """The model cannot be recorded, or the recording does not compute what the model does."""


class Plain:
    """The model as it is."""

    is_fused = False
    copies = 0
    pieces = compiled = 0

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

    def compile(self, is_stopped: Callable[[], bool]) -> None:
        """There are no pieces."""


# What is recorded


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor that an input or a call brings into being. The inputs are the first ones."""

    index: int

    def __repr__(self) -> str:
        return f"v{self.index}"


@dataclass(frozen=True, slots=True)
class Size:
    """A number that grows with the length of the row."""

    per_token: int
    more: int

    def __repr__(self) -> str:
        return "n" if (self.per_token, self.more) == (1, 0) else f"({self.per_token} * n + {self.more})"


@dataclass(slots=True, eq=False)
class Call:
    function: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    results: Value | tuple[Value | None, ...] | None
    """A value, or one for each tensor of a tuple; None if the call is made for what it does to its arguments."""

    @property
    def made(self) -> list[Value]:
        results = self.results if isinstance(self.results, tuple) else (self.results,)
        return [value for value in results if value is not None]

    @property
    def used(self) -> list[Value]:
        return [leaf for leaf in leaves((self.args, self.kwargs)) if isinstance(leaf, Value)]


@dataclass(slots=True)
class Recording:
    calls: list[Call]
    logits: Value
    tensors: dict[Value, torch.Tensor]
    """What the values were in the first run."""

    makers: dict[Value, Call] = field(default_factory=dict)

    def new_value(self, like: torch.Tensor) -> Value:
        value = Value(len(self.tensors))
        self.tensors[value] = like
        return value

    def replace(self, calls: list[Call]) -> None:
        self.calls = calls
        self.makers = {value: call for call in calls for value in call.made}

    def match(self, pattern: Any, thing: Any) -> dict[str, Any] | None:
        """What the names in `pattern` stand for, if `thing` came about that way."""
        return next(self._matches(pattern, thing, {}), None)

    def _matches(self, pattern: Any, thing: Any, found: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if isinstance(pattern, str):
            if pattern not in found:
                yield {**found, pattern: thing}
            elif found[pattern] is thing or (isinstance(thing, Value | int) and found[pattern] == thing):
                yield found
        elif isinstance(pattern, tuple):
            call = self.makers.get(thing) if isinstance(thing, Value) else None
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
        self.calls: list[Call] = []
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
        self._add(attention, (module, *states, mask), options, (self.value(out), None))
        return out, None

    def value(self, tensor: torch.Tensor) -> Value:
        """The value of a tensor, a new one if it was never seen."""
        if id(tensor) not in self._indices:
            self._indices[id(tensor)] = len(self.tensors)
            self.tensors.append(tensor)  # also keeps its id from being used again
        return Value(self._indices[id(tensor)])

    def _note(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
        name = _name(func)
        if _is_unsized(name, args, kwargs):
            raise Unfit(f"the size of what {name} makes depends on numbers")
        if _is_mutation(name, kwargs):
            if id(args[0]) not in self._indices or (isinstance(out, torch.Tensor) and id(out) not in self._indices):
                raise Unfit(f"{name} changes the model")
            self._add(func, args, kwargs, None)
        elif isinstance(out, torch.Tensor):
            if not any(out is leaf for leaf in leaves((args, kwargs))):
                self._add(func, args, kwargs, self.value(out))
        elif isinstance(out, tuple | list) and any(isinstance(item, torch.Tensor) for item in out):
            values = tuple(self.value(item) if isinstance(item, torch.Tensor) else None for item in out)
            self._add(func, args, kwargs, values)
        elif name not in _QUESTIONS and any(isinstance(leaf, torch.Tensor) for leaf in leaves((args, kwargs))):
            raise Unfit(f"{name} looks at the numbers")

    def _add(self, func: Any, args: Any, kwargs: Any, results: Any) -> None:
        def known(leaf: Any) -> Any:
            is_known = isinstance(leaf, torch.Tensor) and id(leaf) in self._indices
            return Value(self._indices[id(leaf)]) if is_known else leaf

        made = results if isinstance(results, tuple) else (results,)
        args, kwargs = mapped(known, (args, kwargs))
        if any(leaf in made for leaf in leaves((args, kwargs)) if isinstance(leaf, Value)):
            raise Unfit("a call hands one of several tensors back")
        self.calls.append(Call(func, args, kwargs, results))


def _name(function: Any) -> str:
    name: str = getattr(function, "__name__", "")
    return function.__self__.__name__ if name == "__get__" else name


def _ends(part: slice) -> tuple[Any, Any, Any]:
    return part.start, part.stop, part.step


def _is_mutation(name: str, kwargs: Mapping[str, Any]) -> bool:
    in_place = (name.endswith("_") and not name.endswith("__")) or name == "__setitem__" or name in _AUGMENTED
    return in_place or kwargs.get("out") is not None or bool(kwargs.get("inplace"))


def _is_unsized(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    tensors = [leaf for leaf in leaves(args[1:]) if isinstance(leaf, torch.Tensor)]
    if name == "__getitem__":
        return any(index.dtype == torch.bool for index in tensors)
    if name == "repeat_interleave":
        return bool(tensors) and "output_size" not in kwargs
    return name in _UNSIZED or (name == "where" and not tensors)


def attention(*_: Any, **__: Any) -> Any:
    """Stands in a recording for the model's attention function."""


def attend_recording(
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
    out = functional.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scaling, enable_gqa=grouped)
    return out.transpose(1, 2)


@contextlib.contextmanager
def other_attention(model: PreTrainedModel) -> Iterator[None]:
    AttentionInterface.register(_NAME, attend_recording)
    before = model.config._attn_implementation
    model.set_attn_implementation(_NAME)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def attention_of(model: PreTrainedModel) -> Callable[..., Any]:
    name = model.config._attn_implementation
    if not getattr(model, "_supports_attention_backend", False) or name not in ALL_ATTENTION_FUNCTIONS:
        raise Unfit("its attention is its own")
    function: Callable[..., Any] = ALL_ATTENTION_FUNCTIONS[name]
    return function


# Record


def made_up_row(model: PreTrainedModel, length: int, kept: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Made-up inputs, the same ones every time."""
    generator = torch.Generator().manual_seed(length)
    config = model.config.get_text_config()
    ids = torch.randint(config.vocab_size, (1, length), generator=generator)
    positions = torch.randint(min(64, config.max_position_embeddings), (1, length), generator=generator)
    keep = torch.randperm(length, generator=generator)[:kept]
    device = model.device
    return ids.to(device), positions.to(device), keep.to(device)


def record(model: PreTrainedModel) -> Recording:
    runs = [_run(model, made_up_row(model, length, kept)) for length, kept in _LENGTHS]
    first = runs[0][0]
    if len({len(recorder.calls) for recorder, _ in runs}) != 1 or len({logits for _, logits in runs}) != 1:
        raise Unfit("what it does depends on the length")
    calls = [_agreed(same) for same in zip(*(recorder.calls for recorder, _ in runs), strict=True)]
    layers = model.config.get_text_config().num_hidden_layers
    if sum(call.function is attention for call in calls) != layers:
        raise Unfit("its attention is its own")
    tensors = {Value(index): tensor for index, tensor in enumerate(first.tensors)}
    return Recording(calls, runs[0][1], tensors)


_LENGTHS = ((3, 2), (5, 2), (8, 5))
"""Lengths of a row, and of its kept positions: a number that follows the latter is on no line through the former."""


def _run(model: PreTrainedModel, inputs: tuple[torch.Tensor, ...]) -> tuple[_Recorder, Value]:
    recorder = _Recorder(inputs)
    with recorder:
        logits = Plain(model)(*inputs, recorder=recorder)
    return recorder, recorder.value(logits)


def _agreed(same: tuple[Call, ...]) -> Call:
    if len({call.function for call in same}) != 1 or any(call.results != same[0].results for call in same):
        raise Unfit("what it does depends on the length")
    args, kwargs = _merged([(call.args, call.kwargs) for call in same])
    return Call(same[0].function, args, kwargs, same[0].results)


def _merged(same: Sequence[Any]) -> Any:
    """One thing for what was there in each recording."""
    one = same[0]
    if any(type(other) is not type(one) for other in same):
        raise Unfit("what it does depends on the length")
    if type(one) in (tuple, list, torch.Size):
        if len({len(other) for other in same}) != 1:
            raise Unfit("what it does depends on the length")
        items = [_merged(list(items)) for items in zip(*same, strict=True)]
        return items if type(one) is list else tuple(items)
    if type(one) is dict:
        if any(other.keys() != one.keys() for other in same):
            raise Unfit("what it does depends on the length")
        return {key: _merged([other[key] for other in same]) for key in one}
    if type(one) is slice:
        return slice(*_merged([_ends(other) for other in same]))
    if type(one) is int:
        return _line(same)
    if any(other is not one for other in same) and (
        isinstance(one, torch.Tensor) or any(other != one for other in same)
    ):
        raise Unfit("what it does depends on the length")
    return one


def _line(sizes: Sequence[int]) -> int | Size:
    if len(set(sizes)) == 1:
        return sizes[0]
    (a, _), (b, _) = _LENGTHS[:2]
    per_token = (sizes[1] - sizes[0]) // (b - a)
    size = Size(per_token, sizes[0] - per_token * a)
    if any(per_token * length + size.more != found for (length, _), found in zip(_LENGTHS, sizes, strict=True)):
        raise Unfit("what it does depends on the length")
    return size


# Compile


def compiled(recording: Recording) -> Callable[..., torch.Tensor]:
    names: dict[str, Any] = {}
    known: dict[int, str] = {}

    def named(thing: Any) -> str:
        if id(thing) not in known:
            known[id(thing)] = f"c{len(names)}"
            names[known[id(thing)]] = thing
        return known[id(thing)]

    last = {value: position for position, call in enumerate(recording.calls) for value in (*call.used, *call.made)}
    last.pop(recording.logits)
    gone: dict[int, list[Value]] = {}
    for value, position in last.items():
        gone.setdefault(position, []).append(value)
    lines = ["def forward(v0, v1, v2, attend, context):", "    n = v0.shape[1]"]
    for position, call in enumerate(recording.calls):
        lines.append(f"    {line_of(call, named)}")
        if position in gone:
            lines.append(f"    del {', '.join(map(repr, gone[position]))}")
    lines.append(f"    return {recording.logits}")
    exec(compile("\n".join(lines), "<fused>", "exec"), names)
    forward: Callable[..., torch.Tensor] = names.pop("forward")  # else it would hold itself, and so the weights
    return forward


def line_of(call: Call, named: Callable[[Any], str]) -> str:
    """A line of Python that makes `call`; `named` gives names to functions, tensors and what else does not vary."""
    arguments = [_text(arg, named) for arg in call.args]
    arguments += [f"{key}={_text(value, named)}" for key, value in call.kwargs.items()]
    if call.function is attention:
        line = f"attend({', '.join([*arguments, '**context'])})"
    else:
        line = f"{named(call.function)}({', '.join(arguments)})"
    if isinstance(call.results, tuple):
        return f"{', '.join('_' if value is None else repr(value) for value in call.results)}, = {line}"
    return line if call.results is None else f"{call.results} = {line}"


def _text(thing: Any, named: Callable[[Any], str]) -> str:
    """Python for an argument: what varies is spelled out, what does not is `named`."""
    if isinstance(thing, Value | Size) or thing is None or type(thing) in (int, bool):
        return repr(thing)
    if not any(isinstance(leaf, Value | Size) for leaf in leaves(thing)):
        return named(thing)
    if isinstance(thing, slice):
        return f"slice({_text(_ends(thing), named)[1:-2]})"
    if isinstance(thing, dict):
        return "{" + ", ".join(f"{key!r}: {_text(value, named)}" for key, value in thing.items()) + "}"
    text = ", ".join(_text(item, named) for item in thing)
    return f"[{text}]" if isinstance(thing, list) else f"({text},)"


def mapped(function: Callable[[Any], Any], thing: Any) -> Any:
    """`thing` with `function` of each leaf in its place."""
    if isinstance(thing, slice):
        return slice(*mapped(function, _ends(thing)))
    if isinstance(thing, dict):
        return {key: mapped(function, value) for key, value in thing.items()}
    if isinstance(thing, tuple | list):
        items = [mapped(function, item) for item in thing]
        return items if isinstance(thing, list) else tuple(items)
    return function(thing)


def leaves(thing: Any) -> Iterator[Any]:
    if isinstance(thing, slice):
        thing = _ends(thing)
    if isinstance(thing, dict):
        thing = thing.values()
    elif not isinstance(thing, tuple | list):
        yield thing
        return
    for item in thing:
        yield from leaves(item)
