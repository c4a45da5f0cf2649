"""How much memory a device has left."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import sys
import traceback
from pathlib import Path

import torch

__all__ = ["free_memory", "give_back", "is_out_of_memory", "let_go", "memory_for_models", "trim"]

SHARE_LEFT = 8
"""One part in so many of the memory that is free is left to others: the process itself, what is loaded beside models,
and programs that grow later."""

LEAST_LEFT = {"cpu": 512 << 20, "mps": 512 << 20}
"""Bytes that are left at least, by device, if half of what is free is more."""
DEFAULT_LEAST_LEFT = 1 << 30
"""CUDA's own context and libraries, and gaps between the blocks that torch hands out."""

_CGROUP = Path("/sys/fs/cgroup")


def free_memory(device: torch.device) -> int | None:
    """Bytes that can be taken on `device`; None if the system does not say."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type == "cpu" and hasattr(os, "sysconf") and "SC_AVPHYS_PAGES" in os.sysconf_names:
        there = _available()
        limit = _left_of_container()
        return there if limit is None else min(there, limit)
    if device.type == "mps":
        return max(0, torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    return None


def memory_for_models(device: torch.device) -> int | None:
    """Bytes that models may take on `device` where nobody says: what is free, less a margin. None if nobody knows."""
    if (free := free_memory(device)) is None:
        return None
    least = LEAST_LEFT.get(device.type, DEFAULT_LEAST_LEFT)
    return free - max(free // SHARE_LEFT, min(least, free // 2))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether what failed did so for want of memory. Torch has an exception of its own for GPUs only."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    # c10/core/impl/alloc_cpu.cpp, and what MPS says (aten/src/ATen/mps/MPSAllocator.mm).
    return isinstance(error, RuntimeError) and any(
        words in str(error) for words in ("can't allocate memory", "not enough memory", "MPS backend out of memory")
    )


def give_back() -> None:
    """Hand what was let go of back to the system: a model's modules refer to each other."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    trim()


def trim() -> None:
    """Hand the pages back to the system that malloc keeps for later; takes milliseconds.

    Loading and recording a model leave some hundred megabytes of them at a billion weights.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another libc than glibc's
            ctypes.CDLL(None).malloc_trim(0)


def let_go(error: BaseException) -> None:
    """Have the frames of a failure give up their tensors, and the device what nobody holds any more."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        traceback.clear_frames(cause.__traceback__)
        cause = cause.__cause__ or cause.__context__
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _available() -> int:
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():  # MemAvailable counts the page cache that the system would give back
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _left_of_container() -> int | None:
    """What a container may still take: https://docs.kernel.org/admin-guide/cgroup-v2.html#memory-interface-files."""
    try:
        limit, used = ((_CGROUP / name).read_text().strip() for name in ("memory.max", "memory.current"))
        files = next(
            int(line.split()[1])
            for line in (_CGROUP / "memory.stat").read_text().splitlines()
            if line.startswith("inactive_file ")
        )
        return None if limit == "max" else max(0, int(limit) - int(used) + files)
    except (OSError, ValueError, StopIteration):
        return None
