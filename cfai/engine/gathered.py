"""Batches for models whose attention is their own: through the cache and the mask that they take.

`attend` cannot stand in their attention's place, but they put keys and values into a cache and attend to what it gives
back, under a mask. So the cache gives back what all sequences of the step may see, side by side, and the mask says who
sees what. That copies keys and values at every step, which the models of `attention` do without.
"""

from __future__ import annotations

import logging
from typing import Any

import torch
from transformers import Cache

from cfai.engine.attention import Batch, KVCache, LayerShape, Run, Span, Unbatchable

__all__ = ["forward_gathered", "gathered_shapes"]

log = logging.getLogger("cfai.engine")


class _Gathering(Cache):  # type: ignore[misc]  # transformers is not typed
    """A step's view of the cache."""

    def __init__(self, batch: Batch) -> None:
        super().__init__(layers=[])
        self._batch = batch
        spans = [span for run in batch.runs for span in run.spans]
        self._one = slice(spans[0].place, spans[0].place + spans[0].length) if len(spans) == 1 else None
        self._seen = torch.cat([torch.arange(span.place, span.place + span.length) for span in spans])
        self._seen = self._seen.to(batch.places.device)

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        cache = self._batch.cache
        cache.write(layer_idx, self._batch.places, key_states[0].transpose(0, 1), value_states[0].transpose(0, 1))
        seen = self._one or self._seen
        keys, values = cache.keys[layer_idx][seen], cache.values[layer_idx][seen]
        return keys.transpose(0, 1)[None], values.transpose(0, 1)[None]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return 0


class _Recording(Cache):  # type: ignore[misc]
    """Notes what each layer puts into the cache."""

    def __init__(self) -> None:
        super().__init__(layers=[])
        self.shapes: dict[int, LayerShape] = {}

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if key_states.dim() != 4 or layer_idx in self.shapes:
            raise Unbatchable("its cache is its own")
        self.shapes[layer_idx] = LayerShape(
            key_states.shape[1], key_states.shape[3], value_states.shape[3], key_states.dtype, key_states.device
        )
        return key_states, value_states

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return 0


def forward_gathered(
    model: Any, tokens: torch.Tensor, positions: torch.Tensor, drawn_at: torch.Tensor, batch: Batch
) -> torch.Tensor:
    """Scores for the tokens at `drawn_at`, `[len(drawn_at), vocabulary]`."""
    out = model(
        input_ids=tokens[None],
        position_ids=positions[None],
        attention_mask=_mask(batch, model.dtype),
        past_key_values=_Gathering(batch),
        use_cache=True,
        logits_to_keep=drawn_at,
    )
    logits: torch.Tensor = out.logits[0]
    return logits


def gathered_shapes(model: Any) -> list[LayerShape]:
    """What each layer puts into the cache; `Unbatchable` says why the model cannot take several sequences at once.

    Two short made-up sequences go through it, together and each alone, and must give the same.
    """
    config = model.config.get_text_config()
    if getattr(config, "sliding_window", None) is not None:
        raise Unbatchable("its attention is its own, and has a window")
    ids = torch.arange(1, 8, device=model.device) % config.vocab_size
    recording = _Recording()
    try:
        alone = [_last_scores(model, part) for part in (ids[:4], ids[4:])]
        _last_scores(
            model, ids[:1], past_key_values=recording, attention_mask=ids.new_zeros(1, 1, 1, 1, dtype=model.dtype)
        )
        shapes = [recording.shapes[layer] for layer in sorted(recording.shapes)]
        if len(shapes) != config.num_hidden_layers:
            raise Unbatchable("not all of its layers keep keys and values")
        spans = [Span(0, 4, 2, 4), Span(4, 3, 10, 3)]
        places = torch.tensor([2, 3, 4, 5, 10, 11, 12], device=model.device)
        batch = Batch(KVCache(shapes, 16), places, [Run([span], 0, span.length) for span in spans])
        positions = torch.tensor([0, 1, 2, 3, 0, 1, 2], device=model.device)
        together = forward_gathered(model, ids, positions, torch.tensor([3, 6], device=model.device), batch)
    except Unbatchable:
        raise
    except Exception as error:
        log.debug("%s takes no cache or mask from outside", type(model).__name__, exc_info=error)
        raise Unbatchable("its attention is its own, and takes no mask for several sequences") from error
    expected = torch.stack(alone)
    if not torch.allclose(together, expected, rtol=0, atol=_TOLERANCE * float(expected.abs().max())):
        raise Unbatchable("its attention is its own, and mixes sequences")
    return shapes


_TOLERANCE = 0.02
"""How far scores may be off, in terms of the largest: half precision rounds, another sequence's tokens change all."""


def _last_scores(model: Any, ids: torch.Tensor, **given: Any) -> torch.Tensor:
    positions = torch.arange(len(ids), device=ids.device)[None]
    out = model(input_ids=ids[None], position_ids=positions, use_cache="past_key_values" in given, **given)
    logits: torch.Tensor = out.logits[0, -1]
    return logits


def _mask(batch: Batch, dtype: torch.dtype) -> torch.Tensor:
    """0 where a token of the row sees a place, else the least number there is, `[1, 1, tokens, places]`."""
    spans = [span for run in batch.runs for span in run.spans]
    mask = torch.full((len(batch.places), sum(span.length for span in spans)), torch.finfo(dtype).min, dtype=dtype)
    before = 0
    for span in spans:
        own = torch.arange(span.length - span.count, span.length)[:, None]
        sees = torch.arange(span.length)[None] <= own
        part = mask[span.begin : span.begin + span.count, before : before + span.length]
        part.masked_fill_(sees, 0)
        before += span.length
    return mask[None, None].to(batch.places.device)
