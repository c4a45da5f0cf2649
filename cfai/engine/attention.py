"""Attention of several sequences in one row of tokens, over the KV cache.

A step's tokens go through the model as one row, `[1, tokens]`, whichever sequences they belong to: every layer but
attention treats tokens apart anyway. transformers' models call `attend` in place of their own attention, through its
`AttentionInterface`; it writes the new keys and values into the cache and has each sequence look at its own region.
"""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Sequence as Tokens
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

from cfai.engine.regions import Copy

__all__ = ["NAME", "Batch", "KVCache", "LayerShape", "Recorder", "Span", "Unbatchable", "attend", "register", "runs_of"]

NAME = "cfai"
"""What this attention is called in a model's `attn_implementation`."""


class Unbatchable(Exception):
    """The model's attention does something that `attend` does not."""


@dataclass(frozen=True, slots=True)
class LayerShape:
    """What one layer puts into the cache for a token: `heads` keys and values of these sizes."""

    heads: int
    key: int
    value: int
    dtype: torch.dtype
    device: torch.device

    @property
    def bytes(self) -> int:
        return self.heads * (self.key + self.value) * self.dtype.itemsize


@dataclass(frozen=True, slots=True)
class Span:
    """One sequence's part of the row: tokens `begin` to `begin + count - 1`, which see the cache's places from
    `place` on, `length` of them with their own."""

    begin: int
    count: int
    place: int
    length: int


@dataclass(slots=True)
class Run:
    """Sequences that give one token each and whose regions begin `spacing` places apart: one call for all of them.

    `length` places of each are looked at, as many as the longest has; what a shorter one does not have is masked.
    """

    spans: list[Span]
    spacing: int
    length: int
    _masks: dict[int | None, torch.Tensor] = field(default_factory=dict)

    def mask(self, window: int | None, like: torch.Tensor) -> torch.Tensor:
        """0 where a sequence sees a place, else minus infinity, `[sequences, 1, 1, length]`."""
        if window not in self._masks:
            lengths = torch.tensor([span.length for span in self.spans], device=like.device)[:, None]
            place = torch.arange(self.length, device=like.device)
            sees = place < lengths
            if window is not None:
                sees &= place >= lengths - window
            mask = torch.zeros(sees.shape, dtype=like.dtype, device=like.device).masked_fill(~sees, -torch.inf)
            self._masks[window] = mask[:, None, None]
        return self._masks[window]


def runs_of(spans: Tokens[Span], places: int) -> list[Run]:
    """The spans in runs as long as possible, in their order; `places` is how many there are in the cache."""
    runs: list[Run] = []
    for span in spans:
        if not (runs and _join(runs[-1], span, places)):
            runs.append(Run([span], 0, span.length))
    return runs


def _join(run: Run, span: Span, places: int) -> bool:
    last = run.spans[-1]
    spacing, length = span.place - last.place, max(run.length, span.length)
    fits = (
        last.count == span.count == 1
        and spacing > 0
        and spacing == (run.spacing or spacing)
        and span.place + length <= places
        # Reading what is masked must not cost more than the calls that it saves.
        and length <= 2 * min(span.length, *(each.length for each in run.spans)) + SHORT
    )
    if fits:
        run.spans.append(span)
        run.spacing, run.length = spacing, length
    return fits


SHORT = 64
"""Places that may be read in vain whatever the lengths are."""


class KVCache:
    """Keys and values of `capacity` tokens for every layer, each `[capacity + 1, heads, size]`, allocated once.

    The last place belongs to nobody: steps of a fixed size write there what does not matter.
    """

    def __init__(self, shapes: Tokens[LayerShape], capacity: int) -> None:
        self.capacity = capacity
        self.keys = [_zeros((capacity + 1, s.heads, s.key), s.dtype, s.device) for s in shapes]
        self.values = [_zeros((capacity + 1, s.heads, s.value), s.dtype, s.device) for s in shapes]

    @property
    def bytes(self) -> int:
        return sum(states.nbytes for states in (*self.keys, *self.values))

    def write(self, layer: int, places: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Put `[tokens, heads, size]` at `places`, one for each token."""
        self.keys[layer].index_copy_(0, places, keys)
        self.values[layer].index_copy_(0, places, values)

    def copy(self, copy: Copy) -> None:
        source = slice(copy.source, copy.source + copy.count)
        target = slice(copy.target, copy.target + copy.count)
        for states in (*self.keys, *self.values):
            states[target] = states[source]


def _zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    if device.type != "cpu":
        return torch.zeros(shape, dtype=dtype, device=device)
    # Memory that the system hands out as zeros when it is first touched: a large cache costs what is used of it.
    count = math.prod(shape)
    size = max(1, count * dtype.itemsize)
    if os.name != "posix":
        memory = mmap.mmap(-1, size)
    else:
        memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        if hasattr(mmap, "MADV_HUGEPAGE"):  # each token of each layer lies in a page of its own otherwise
            memory.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(memory, dtype=dtype, count=count).view(shape)


@dataclass(slots=True)
class Batch:
    """What `attend` needs to know of a step.

    places  the cache's place of every token, `[tokens]`
    runs    the sequences' parts of the row; not needed with `flash`
    flash   the same as tensors, for the kernel that takes all sequences at once
    """

    cache: KVCache
    places: torch.Tensor
    runs: Tokens[Run] = ()
    flash: FlashSpans | None = None
    _masks: dict[tuple[int, int, int | None], torch.Tensor] = field(default_factory=dict)

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, rules: Rules
    ) -> torch.Tensor:
        """`query`, `key`, `value` are `[1, heads, tokens, size]`; returns `[1, tokens, heads, size]`."""
        self.cache.write(layer, self.places, key[0].transpose(0, 1), value[0].transpose(0, 1))
        keys, values = self.cache.keys[layer], self.cache.values[layer]
        if self.flash is not None and rules.is_plain:
            return self.flash.attend(query[0].transpose(0, 1), keys, values, rules)[None]
        parts: list[torch.Tensor] = []
        for run in self.runs:
            if len(run.spans) > 1:
                together = self._attend_run(run, query, keys, values, rules)
                # What is masked was read all the same, and may be what a broken sequence left: NaN is not masked away.
                if together.isfinite().all():
                    parts.append(together)
                    continue
            parts += [self._attend_one(span, query, keys, values, rules) for span in run.spans]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def _attend_run(
        self, run: Run, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, rules: Rules
    ) -> torch.Tensor:
        begin, place, count = run.spans[0].begin, run.spans[0].place, len(run.spans)
        # [sequences, heads, places, size] each; views, nothing is copied
        k, v = (_seen(states, place, run.length, count, run.spacing) for states in (keys, values))
        q = query[0, :, begin : begin + count].transpose(0, 1)
        mask = run.mask(rules.window, q)
        if not rules.is_plain:
            return _attend_plainly(q[:, :, None], k, v, mask, rules).reshape(1, count, q.shape[1], -1)
        # The queries that share a key see the same places: to the kernel they are tokens of one head.
        q = q.reshape(count, k.shape[1], -1, q.shape[-1])
        out = scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=rules.scale)
        return out.reshape(1, count, query.shape[1], -1)

    def _attend_one(
        self, span: Span, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, rules: Rules
    ) -> torch.Tensor:
        first = 0
        if rules.window is not None:  # what even the first of the tokens does not see
            first = max(0, span.length - span.count + 1 - rules.window)
        # [1, heads, places, size] each, as the kernels want them; views, nothing is copied
        k, v = (_seen(states, span.place + first, span.length - first) for states in (keys, values))
        q = query[:, :, span.begin : span.begin + span.count]
        groups = q.shape[1] // k.shape[1]
        mask = None if span.count == 1 else self._mask(span.count, span.length - first, rules.window, q)
        if not rules.is_plain:
            return _attend_plainly(q, k, v, mask, rules)
        if groups > 1 and span.count == 1:
            # The queries that share a key see the same places: to the kernel they are tokens of one head.
            out = scaled_dot_product_attention(q.reshape(1, k.shape[1], groups, -1), k, v, scale=rules.scale)
            return out.reshape(1, 1, q.shape[1], -1)
        out = scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=rules.scale, enable_gqa=groups > 1)
        return out.transpose(1, 2)

    def _mask(self, count: int, length: int, window: int | None, like: torch.Tensor) -> torch.Tensor:
        """0 where one of the last `count` of `length` tokens sees another, else minus infinity, `[count, length]`."""
        if (known := self._masks.get((count, length, window))) is not None:
            return known
        own = torch.arange(length - count, length, device=like.device)[:, None]
        other = torch.arange(length, device=like.device)[None]
        sees = other <= own
        if window is not None:
            sees &= other > own - window
        mask = torch.zeros(sees.shape, dtype=like.dtype, device=like.device).masked_fill(~sees, -torch.inf)
        self._masks[count, length, window] = mask
        return mask


@dataclass(frozen=True, slots=True)
class Rules:
    """What a layer asks of attention beside being causal."""

    scale: float | None = None
    window: int | None = None
    softcap: float | None = None
    sinks: torch.Tensor | None = None

    @property
    def is_plain(self) -> bool:
        return self.softcap is None and self.sinks is None


@dataclass(slots=True)
class FlashSpans:
    """Spans for torch's flash attention, all of them at once. CUDA, half precision.

    begins   where each sequence's tokens begin in the row, and their number: `[sequences + 1]`, int32
    places   where its region begins in the cache; the last entry is not read: `[sequences + 1]`, int32
    lengths  how many places it sees: `[sequences]`, int32
    """

    begins: torch.Tensor
    places: torch.Tensor
    lengths: torch.Tensor
    most_tokens: int
    most_places: int

    def attend(self, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, rules: Rules) -> torch.Tensor:
        # Nothing is hidden from a single token. The kernel must be told so: with a window, even one that hides nothing,
        # it neither takes the queries that share a key together nor cuts long regions into parts.
        is_open = rules.window is None and self.most_tokens == 1
        # What torch.nn.attention.varlen.varlen_attn calls; its own signature changes from one torch to the next.
        out: torch.Tensor = torch.ops.aten._flash_attention_forward(
            query,
            keys,
            values,
            self.begins,
            self.places,
            self.most_tokens,
            self.most_places,
            0.0,
            not is_open,
            False,
            scale=rules.scale,
            window_size_left=-1 if rules.window is None else rules.window - 1,
            window_size_right=-1 if is_open else 0,
            seqused_k=self.lengths,
        )[0]
        return out

    @staticmethod
    def fits(shapes: Tokens[LayerShape]) -> bool:
        return all(
            shape.device.type == "cuda"
            and shape.dtype in (torch.float16, torch.bfloat16)
            and shape.key == shape.value
            and shape.key % 8 == 0
            and shape.key <= 256
            for shape in shapes
        ) and all(torch.cuda.get_device_capability(shape.device) >= (8, 0) for shape in shapes)


def _seen(states: torch.Tensor, place: int, length: int, count: int = 1, spacing: int = 0) -> torch.Tensor:
    """`[count, heads, length, size]` of the cache: `length` places from `place` on, again every `spacing` places."""
    _, heads, size = states.shape
    width = heads * size
    return states.as_strided(
        (count, heads, length, size), (spacing * width, size, width, 1), storage_offset=place * width
    )


def _attend_plainly(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None, rules: Rules
) -> torch.Tensor:
    """Attention written out, for the rules that no kernel has."""
    groups = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
    scores = q @ k.transpose(2, 3) * (q.shape[-1] ** -0.5 if rules.scale is None else rules.scale)
    if rules.softcap is not None:
        scores = torch.tanh(scores / rules.softcap) * rules.softcap
    if mask is not None:
        scores = scores + mask
    if rules.sinks is not None:  # a score that every head may give to nothing at all
        sinks = rules.sinks.reshape(1, -1, 1, 1).expand(q.shape[0], -1, q.shape[2], 1).to(scores.dtype)
        scores = torch.cat([scores, sinks], dim=-1)
    shares = scores.softmax(dim=-1, dtype=torch.float32).to(q.dtype)
    return (shares[..., : k.shape[2]] @ v).transpose(1, 2)


class Recorder:
    """In place of a batch: notes what every layer's attention asks for, and answers with zeros.

    Raises `Unbatchable` for a layer that asks for what `attend` cannot do.
    """

    def __init__(self) -> None:
        self.shapes: dict[int, LayerShape] = {}

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, rules: Rules
    ) -> torch.Tensor:
        if layer in self.shapes:
            raise Unbatchable("its layers share attention")
        if key.shape[:1] != (1,) or key.shape[2] != query.shape[2]:
            raise Unbatchable("its attention sees more than its own tokens")
        self.shapes[layer] = LayerShape(key.shape[1], key.shape[3], value.shape[3], key.dtype, key.device)
        return query.new_zeros(1, query.shape[2], query.shape[1], value.shape[3])


HARMLESS = {"position_ids", "cache_position", "position_embeddings", "cu_seq_lens_q", "cu_seq_lens_k"}


def attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    batch: Batch | Recorder,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    is_causal: bool | None = None,
    **more: Any,
) -> tuple[torch.Tensor, None]:
    """What transformers' `AttentionInterface` calls. `batch` comes as the model's keyword argument."""
    if isinstance(batch, Recorder):
        unknown = [name for name, given in more.items() if isinstance(given, torch.Tensor) and name not in HARMLESS]
        causal = is_causal if is_causal is not None else getattr(module, "is_causal", True)
        if unknown or not causal or not hasattr(module, "layer_idx"):
            raise Unbatchable(f"its attention wants {', '.join(unknown)}" if unknown else "its attention is not causal")
    return batch.attend(module.layer_idx, query, key, value, Rules(scaling, sliding_window, softcap, s_aux)), None


def register() -> None:
    """Make `attend` known to transformers."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, attend)
