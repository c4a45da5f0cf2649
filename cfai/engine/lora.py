"""LoRA adapters: two narrow matrices beside a layer's own, chosen by each sequence (https://arxiv.org/abs/2106.09685).

    y = W x + scale * B (A x)

Sequences with different adapters, and with none, go through the model together, and the base model's weights stay as
they are. For that the adapters of a step lie side by side, so many columns each as its largest rank:

    x A    [tokens, columns]   for every token and every adapter
    mask   [tokens, columns]   all but the columns of the token's own adapter become 0
    (x A) B                    added to what the layer made; the scale is in B

Two small products for each layer, however many adapters there are; a token without one gets zeros added, which changes
nothing. A step without adapters does none of it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import nn
from torch.overrides import handle_torch_function, has_torch_function_unary
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from cfai.adapters import WEIGHTS_FILE, Adapter, AdapterConfig, AdapterProblem, place_of, read_header
from cfai.engine.memory import free_memory
from cfai.errors import LoraIncompatible, OutOfCapacity
from cfai.wording import meant

__all__ = ["AdapterBank", "adapted"]

KEPT_BYTES = 1 << 30
"""A hundred adapters of a small model, a dozen of a large one."""

_LAYERS = ("Linear", "FalconLinear", "Conv1D", "MatrixLinear")
"""The classes of layers that can have adapters."""


def adapted(out: torch.Tensor, x: torch.Tensor, bank: AdapterBank, layer: int) -> torch.Tensor:
    """`out`, what a layer made of `x`, plus what the adapters of the step add to it.

    One call to whoever records torch calls with a `TorchFunctionMode`.
    """
    if has_torch_function_unary(x):
        recorded: torch.Tensor = handle_torch_function(adapted, (x,), out, x, bank, layer)
        return recorded
    if (pair := bank.pairs[layer]) is not None:
        ranks = x.flatten(0, -2) @ pair[0]
        if bank.mask is not None:
            # Not a product with zeros: what is not a number in one adapter's columns must not reach other sequences.
            ranks.masked_fill_(bank.mask, 0)
        out.view(-1, out.shape[-1]).addmm_(ranks, pair[1])
    return out.view(out.shape)  # a recording tells values apart by their tensors


Pair = tuple[torch.Tensor, torch.Tensor]
"""A, [inputs, columns], and B, [columns, outputs]."""


@dataclass(frozen=True, slots=True)
class _Layer:
    index: int
    module: Any
    inputs: int
    outputs: int


@dataclass(frozen=True, slots=True, eq=False)
class _Loaded:
    """An adapter in memory: its matrices by the index of their layer."""

    columns: int
    pairs: Mapping[int, Pair]

    @property
    def bytes(self) -> int:
        return sum(a.nbytes + b.nbytes for a, b in self.pairs.values())


class AdapterBank:
    """The adapters of one model that are in memory, and those of the step that runs. For the engine's thread only.

    ```python
    bank = AdapterBank(model)
    bank.bring(adapter, busy=())
    with bank.step([(adapter, 7), (None, 3)]):  # seven tokens with it, three without
        model(...)
    ```

    kept_bytes  adapters that no running answer needs leave, the least recently used first, once all take more
    """

    def __init__(self, model: PreTrainedModel, *, kept_bytes: int = KEPT_BYTES) -> None:
        self._kept_bytes = kept_bytes
        self._device: torch.device = model.device
        self._dtype: torch.dtype = model.dtype
        self._layers = _layers_of(model)
        self._loaded: dict[Adapter, _Loaded] = {}  # the least recently used first
        self._together: tuple[Adapter, ...] = ()
        self._owners = torch.zeros(0, dtype=torch.long)
        self._side_by_side: list[Pair | None] = []
        self._nothing: list[Pair | None] = [None] * len(self._layers)
        self._hooks: dict[int, RemovableHandle] = {}
        self.pairs = self._nothing
        """For each layer the matrices of the step's adapters."""
        self.mask: torch.Tensor | None = None
        """Which columns are not a token's own, `[tokens, columns]`; None if all tokens have the same adapter."""

    @property
    def is_at_work(self) -> bool:
        """Within `step`."""
        return self.pairs is not self._nothing

    @property
    def names(self) -> list[str]:
        """The adapters that are loaded."""
        return [adapter.name for adapter in list(self._loaded)]

    @property
    def memory(self) -> int:
        """Bytes that all adapters take."""
        together = self._side_by_side if len(self._together) > 1 else ()
        copies = sum(pair[0].nbytes + pair[1].nbytes for pair in list(together) if pair is not None)
        return copies + sum(loaded.bytes for loaded in list(self._loaded.values()))

    def bring(self, adapter: Adapter, *, busy: Collection[Adapter]) -> None:
        """Have `adapter` in memory. Those in `busy` stay; of the others the least recently used make room.

        Raises `LoraIncompatible` (3030) for one that is not for this model, `OutOfCapacity` if there is no memory.
        """
        if (loaded := self._loaded.pop(adapter, None)) is None:
            try:
                loaded = self._load(adapter)
            except AdapterProblem as problem:
                raise LoraIncompatible(f"{adapter.name}: {problem}") from problem
        self._loaded[adapter] = loaded
        self._make_room(keep={adapter, *busy})
        for layer in self._layers.values():
            if layer.index in loaded.pairs:
                self._hook(layer)

    @contextlib.contextmanager
    def step(self, tokens: Sequence[tuple[Adapter | None, int]]) -> Iterator[None]:
        """For the time of one step: so many tokens of the row with this adapter, so many with the next one, ..."""
        wanted = {adapter for adapter, _ in tokens if adapter is not None}
        if not wanted <= set(self._together):
            self._lay_side_by_side(tuple(sorted(wanted, key=lambda adapter: (adapter.name, adapter.folder))))
        if len(self._together) > 1 or any(adapter is None for adapter, _ in tokens):
            own = [self._together.index(adapter) if adapter else -1 for adapter, count in tokens for _ in range(count)]
            self.mask = torch.tensor(own).to(self._device)[:, None] != self._owners
        self.pairs = self._side_by_side
        try:
            yield
        finally:
            self.pairs, self.mask = self._nothing, None

    @contextlib.contextmanager
    def marked(self) -> Iterator[None]:
        """Have every layer that could have an adapter call `adapted`, for a recording."""
        there = set(self._hooks)
        try:
            for layer in self._layers.values():
                self._hook(layer)
            yield
        finally:
            for index in set(self._hooks) - there:
                self._hooks.pop(index).remove()

    def _hook(self, layer: _Layer) -> None:
        if layer.index not in self._hooks:

            def hook(module: Any, args: tuple[torch.Tensor, ...], out: torch.Tensor) -> torch.Tensor:
                return adapted(out, args[0], self, layer.index)

            self._hooks[layer.index] = layer.module.register_forward_hook(hook)

    def _make_room(self, keep: Collection[Adapter]) -> None:
        for adapter in [each for each in self._loaded if each not in keep]:
            if self.memory <= self._kept_bytes:
                return
            del self._loaded[adapter]
            if adapter in self._together:
                self._together, self._side_by_side = (), []

    def _lay_side_by_side(self, adapters: tuple[Adapter, ...]) -> None:
        self._together, self._side_by_side = (), []  # their memory first
        loaded = [self._loaded[adapter] for adapter in adapters]
        columns = sum(each.columns for each in loaded)
        side_by_side: list[Pair | None] = []
        for layer in self._layers.values():
            if len(loaded) == 1:
                side_by_side.append(loaded[0].pairs.get(layer.index))
                continue
            if not any(layer.index in each.pairs for each in loaded):
                side_by_side.append(None)
                continue
            a, b = self._zeros(layer.inputs, columns), self._zeros(columns, layer.outputs)
            start = 0
            for each in loaded:
                if (pair := each.pairs.get(layer.index)) is not None:
                    a[:, start : start + each.columns] = pair[0]
                    b[start : start + each.columns] = pair[1]
                start += each.columns
            side_by_side.append((a, b))
        owners = [index for index, each in enumerate(loaded) for _ in range(each.columns)]
        self._owners = torch.tensor(owners, device=self._device)
        self._together, self._side_by_side = adapters, side_by_side

    def _zeros(self, *shape: int) -> torch.Tensor:
        return torch.zeros(shape, dtype=self._dtype, device=self._device)

    def _load(self, adapter: Adapter) -> _Loaded:
        config = AdapterConfig.read(adapter.folder)
        file = adapter.folder / WEIGHTS_FILE
        halves = self._halves(config, {name: shape for name, (_, shape) in read_header(file).items()})
        columns = max(config.rank_of(name) for name in halves)
        needed = sum((self._layers[name].inputs + self._layers[name].outputs) * columns for name in halves)
        free = free_memory(self._device)
        if free is not None and needed * self._dtype.itemsize > free:
            raise OutOfCapacity(f"there is no memory for the adapter {adapter.name}")
        try:
            # Not mapped: a file that somebody cuts short meanwhile would end the process.
            tensors = load(file.read_bytes())
        except (OSError, SafetensorError) as error:
            raise AdapterProblem(f"{WEIGHTS_FILE} cannot be read: {error}") from error
        pairs = {}
        for name, (key_a, key_b) in halves.items():
            layer = self._layers[name]
            rank = config.rank_of(name)
            a, b = self._zeros(layer.inputs, columns), self._zeros(columns, layer.outputs)
            a[:, :rank] = tensors.pop(key_a).T
            b[:rank] = tensors.pop(key_b).T.float() * config.scale_of(name)
            if not (a.isfinite().all() and b.isfinite().all()):
                raise AdapterProblem(f"the weights for {name} are not numbers (NaN or infinity) in {self._dtype}")
            pairs[layer.index] = a, b
        return _Loaded(columns, pairs)

    def _halves(self, config: AdapterConfig, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[str, str]]:
        """The names of the two matrices of each layer, once all are known to fit."""
        found: dict[str, dict[str, str]] = {}
        for key in shapes:
            name, half = self._place_of(key)
            if half in found.setdefault(name, {}):
                raise AdapterProblem(f"{name} has two matrices lora_{half}")
            found[name][half] = key
            if not config.is_target(name):
                raise AdapterProblem(f"it has weights for {name}, which its target_modules do not name")
        if not found:
            raise AdapterProblem("it has no weights")
        for name, keys in found.items():
            layer, rank = self._layers[name], config.rank_of(name)
            for half, expected in (("A", (rank, layer.inputs)), ("B", (layer.outputs, rank))):
                if half not in keys:
                    raise AdapterProblem(f"{name} has no matrix lora_{half}")
                if (shape := shapes[keys[half]]) != expected:
                    raise AdapterProblem(
                        f"lora_{half} of {name} is {[*shape]}, and the model and the config want {[*expected]}"
                    )
        return {name: (keys["A"], keys["B"]) for name, keys in found.items()}

    def _place_of(self, key: str) -> tuple[str, str]:
        """The layer and the half, A or B, that a tensor's name means."""
        name, half = place_of(key)
        if name not in self._layers:
            raise AdapterProblem(f"the model has no layer {name} that takes adapters{meant(name, self._layers)}")
        return name, half


def _layers_of(model: PreTrainedModel) -> dict[str, _Layer]:
    """The layers that can have adapters, by their names.

    Not the output layer, which sees only the tokens that something is drawn at, and not experts, which see those sent
    to them.
    """
    output: Any = model.get_output_embeddings()
    layers: dict[str, _Layer] = {}
    for name, module in model.named_modules():
        if type(module).__name__ in _LAYERS and module is not output and "experts" not in name.split("."):
            layers[name] = _Layer(len(layers), module, *_sizes(module))
    return layers


def _sizes(module: nn.Module) -> tuple[int, int]:
    if type(module).__name__ == "Conv1D":
        weight: Any = module.weight
        return int(weight.shape[0]), int(weight.shape[1])
    layer: Any = module
    return layer.in_features, layer.out_features
