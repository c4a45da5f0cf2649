"""The KV cache of one sequence."""

from __future__ import annotations

from typing import Any

import torch
from transformers import DynamicCache, PreTrainedConfig
from transformers.cache_utils import DynamicLayer

__all__ = ["new_cache"]


class GrowingLayer(DynamicLayer):  # type: ignore[misc]  # transformers is not typed
    """A `DynamicLayer` that doubles its memory when it is full.

    Its parent copies the whole cache for every token; here a token costs the same however long the answer is.
    """

    def update(self, key_states: Any, value_states: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self._keys = key_states.new_empty((*key_states.shape[:2], 0, key_states.shape[3]))
            self._values = value_states.new_empty((*value_states.shape[:2], 0, value_states.shape[3]))
        start = self.get_seq_length()
        end = start + key_states.shape[-2]
        if end > self._keys.shape[-2]:
            self._keys = _grown(self._keys, start, max(64, 2 * end))
            self._values = _grown(self._values, start, max(64, 2 * end))
        self._keys[:, :, start:end] = key_states
        self._values[:, :, start:end] = value_states
        self.keys, self.values = self._keys[:, :, :end], self._values[:, :, :end]
        return self.keys, self.values


def _grown(states: torch.Tensor, length: int, capacity: int) -> torch.Tensor:
    grown = states.new_empty((*states.shape[:2], capacity, states.shape[3]))
    grown[:, :, :length] = states[:, :, :length]
    return grown


def new_cache(config: PreTrainedConfig) -> DynamicCache:
    """An empty cache with the layers that the model's attention wants."""
    cache = DynamicCache(config=config)
    cache.layers = [GrowingLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache
