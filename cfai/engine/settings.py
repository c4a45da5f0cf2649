"""How a model runs: what was asked for, and what the device suggests where nothing was."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from cfai.engine.memory import free_memory
from cfai.errors import NotEnoughMemory

__all__ = ["PACKED_SHARE", "EngineSettings", "step_tokens_on"]

STEP_TOKENS = {"cpu": 128}
"""Tokens in a step, by device."""
DEFAULT_STEP_TOKENS = 512

SLOTS = {"cpu": 16, "mps": 16}
"""Sequences that run at once, by device."""
DEFAULT_SLOTS = 64

CACHE_SHARE = {"cpu": 0.4, "mps": 0.4}
"""How much of the memory that is free once the weights are loaded the KV cache may take, by device. Memory of the
system is taken as it is written, so on a CPU the cache costs what it holds."""
DEFAULT_CACHE_SHARE = 0.85

BUDGET_SHARE = 0.25
"""How much of the memory that models may take together the KV cache of one takes at most, where its size is not set. A
share of the whole and not of what is free just then: a model takes the same whatever is loaded beside it."""

LEAST_TOKENS = 2048
"""A model whose cache would have room for fewer tokens than this, or than its context, is not loaded."""

PACKED_SHARE = 0.3
"""How much of a CPU's memory that is left, or that half of a budget leaves, the second forms of weights may take, which
are faster: for batches, or of an output layer that is the input embedding too."""

STEP_MEMORY = 2 << 30
"""Bytes that steps, CUDA graphs and libraries may need beside weights and cache."""

WEIGHTS_PER_THREAD = 3_000_000
"""With fewer for each, handing work from core to core costs more than the work."""


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How a model runs.

    device        "cuda", "mps", "cpu"; None takes the best that is there
    dtype         "float32", "bfloat16", "float16", "int8" (weights only); None takes float32 on the CPU, the
                  checkpoint's own on a GPU
    threads       CPU threads for one step; None takes one per physical core, fewer for a very small model
    slots         sequences that run at once; None takes 16 on a CPU and 64 on a GPU
    queue_limit   sequences that may wait for a slot; one more is refused with 3040
    cache_tokens  tokens of prompts and answers that the KV cache holds; None takes what all slots can use, if there is
                  memory for it
    draft_tokens  while few sequences run, tokens that are guessed from the text before and computed with the next one;
                  answers stay the same. 0 guesses none
    torch_compile  have torch.compile make kernels of the model, beside its answers; for GPUs, slower on a CPU
    """

    device: str | None = None
    dtype: str | None = None
    threads: int | None = None
    slots: int | None = None
    queue_limit: int = 32
    cache_tokens: int | None = None
    draft_tokens: int = 0
    torch_compile: bool = False

    def slots_on(self, device: torch.device) -> int:
        return self.slots or SLOTS.get(device.type, DEFAULT_SLOTS)

    def threads_for(self, weights: int) -> int:
        """CPU threads for a model of so many weights."""
        return self.threads or min(_physical_cores(), -(-weights // WEIGHTS_PER_THREAD))

    def cache_capacity(self, useful: int, bytes_per_token: int, device: torch.device) -> int:
        """How many tokens the KV cache holds: what was asked for, or what is `useful` if there is memory for it.

        Raises `NotEnoughMemory` if there is no memory for what was asked for.
        """
        free = free_memory(device)
        if free is None:
            return self.cache_tokens or useful
        if self.cache_tokens is not None:
            if (size := self.cache_tokens * bytes_per_token) > free:
                needed, there = size / 1e9, free / 1e9
                raise NotEnoughMemory(
                    f"a KV cache of {self.cache_tokens} tokens needs {needed:.1f} GB, "
                    f"{device.type} has {there:.1f} GB free",
                    hint="ask for fewer cache_tokens",
                )
            return self.cache_tokens
        share = int(free * CACHE_SHARE.get(device.type, DEFAULT_CACHE_SHARE))
        if device.type == "cuda":  # the steps themselves need some, on a small GPU too
            share = min(share, max(free // 2, free - STEP_MEMORY))
        return max(1, min(useful, share // bytes_per_token))

    def cache_within(self, budget: int, *, taken: int, context: int, token: int, device: torch.device) -> int:
        """How many tokens the KV cache holds where models may take `budget` bytes and this one has `taken` some of it.

        It may be more than fits beside them: so many are the least.
        """
        if self.cache_tokens is not None:
            return self.cache_tokens
        useful = self.slots_on(device) * context
        most = min(int(budget * BUDGET_SHARE), budget - taken) // max(1, token)
        return max(min(useful, most), min(context, LEAST_TOKENS))


def step_tokens_on(device: torch.device) -> int:
    """Tokens in a step. Between steps a reader who left is noticed and other sequences get a token."""
    return STEP_TOKENS.get(device.type, DEFAULT_STEP_TOKENS)


def _physical_cores() -> int:
    """The cores this process may use, hyper-threads counted once where the system tells."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    siblings = Path("/sys/devices/system/cpu")
    try:
        return len({(siblings / f"cpu{cpu}/topology/thread_siblings_list").read_text() for cpu in allowed})
    except OSError:
        return max(1, len(allowed))
