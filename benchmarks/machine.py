"""What this machine is, and how fast it reads memory."""

from __future__ import annotations

import datetime
import os
import platform
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("cfai", "torch", "transformers", "llama_cpp_python")


def description() -> dict[str, Any]:
    """Date, processor, cores and versions, for the record."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "processor": _processor(),
        "cores": cores(),
        "python": platform.python_version(),
        "versions": versions,
    }


def cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def idle_seconds(device: str) -> float:
    """How long an engine gets, once it has answered, for what it does in idle moments: CUDA graphs take their time."""
    return 3.0 if device == "cpu" else 40.0


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def bandwidth(device: str) -> float:
    """Bytes per second: of a sum over one GB with all cores on the CPU, read and written by a copy on a GPU."""
    import torch

    numbers = torch.ones(2**28, device=device)
    if device == "cpu":
        torch.set_num_threads(cores())
        return numbers.nbytes / min(_seconds(numbers.sum) for _ in range(10))
    copy = torch.empty_like(numbers)

    def copied() -> None:
        for _ in range(10):
            copy.copy_(numbers)
        torch.cuda.synchronize()

    return 20 * numbers.nbytes / min(_seconds(copied) for _ in range(10))


def _seconds(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


class Loading:
    """What it takes to get a model ready, and the CPU time from then on. Begin it when the imports are done."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._held = _memory(device)
        self._begun = time.perf_counter()
        self._seconds = self._memory = self._cpu = 0.0

    def end(self) -> None:
        """The first answers are there."""
        self._seconds = time.perf_counter() - self._begun
        self._memory = _memory(self._device) - self._held
        self._cpu = time.process_time()

    def settled(self) -> None:
        """What was done in an idle moment does not count."""
        self._cpu = time.process_time()

    def figures(self, tokens: int) -> dict[str, float]:
        """Seconds until it was ready, bytes by which the process grew, and CPU per token made since then."""
        cpu = time.process_time() - self._cpu
        return {"ready s": self._seconds, "memory": self._memory, "cpu ms": 1000 * cpu / tokens}


def _memory(device: str) -> int:
    if device == "cuda":
        import torch

        return int(torch.cuda.memory_allocated())
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.is_file() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS")), 0)
