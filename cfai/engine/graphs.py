"""Decode steps as CUDA graphs: what the host would launch a thousand kernels for is replayed at once.

A graph belongs to a number of sequences (a step takes the next larger one and leaves the rest idle) and to what the
sampler has to do. It reads its inputs from buffers of its own. Graphs are made when the engine has nothing else to do;
a step whose graph is not there yet runs without, so no answer waits for one.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from collections.abc import Sequence as Tokens
from dataclasses import dataclass
from typing import Any

import torch

from cfai.engine.sampling import Draws, Features

__all__ = ["CudaCapture", "DecodeGraphs", "DecodeInputs"]

log = logging.getLogger("cfai.engine")

_one_at_a_time = threading.Lock()
"""torch makes one graph at a time in a process."""

SIZES = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
FIRST = (Features(), Features(draws=True))
"""What nearly every step asks of the sampler; the graphs for more are made when they were wanted once."""


@dataclass(frozen=True, slots=True)
class DecodeInputs:
    """What differs from one decode step to the next.

    numbers   for each sequence its row, its token's position and place, its region's first place and how many places
              it sees with this token: `[5, sequences]`, int64
    uniforms  its random number: `[sequences]`, float64
    """

    numbers: torch.Tensor
    uniforms: torch.Tensor


class DecodeGraphs:
    """Graphs of `decode` for up to `most` sequences.

    decode   runs a step with these inputs; the tensors that it returns are overwritten by the next replay
    idle     the five numbers of a sequence that does not matter
    capture  makes a graph of a call: what replays it, and the tensors that hold its results then
    """

    def __init__(
        self,
        decode: Callable[[DecodeInputs, Features], Draws],
        *,
        most: int,
        idle: Tokens[int],
        device: torch.device,
        capture: Callable[[Callable[[], Draws]], tuple[Callable[[], None], Draws]],
    ) -> None:
        self._decode = decode
        self._capture = capture
        self._device = device
        self._idle = torch.tensor(idle)[:, None]
        self._sizes = [size for size in SIZES if size < most] + [most]
        self._wanted = [(size, features) for size in self._sizes for features in FIRST]
        self.in_all = len(self._wanted)
        self._inputs: dict[int, DecodeInputs] = {}
        self._graphs: dict[tuple[int, Features], tuple[Callable[[], None], Draws]] = {}
        self._failed: set[tuple[int, Features]] = set()

    @property
    def done(self) -> int:
        """How many of the `in_all` graphs that are wanted there are."""
        return self.in_all - len(self._wanted)

    def run(self, numbers: Tokens[Tokens[int]], uniforms: Tokens[float], features: Features) -> Draws | None:
        """Replay the graph for these inputs; None if there is none yet."""
        count = len(uniforms)
        size = next((size for size in self._sizes if size >= count), None)
        if size is None:
            return None
        if (made := self._graphs.get((size, features))) is None:
            self._want(size, features)
            return None
        replay, draws = made
        inputs = self._inputs[size]
        packed = self._on_host(self._idle.repeat(1, size))
        packed[:, :count] = torch.tensor(numbers)
        inputs.numbers.copy_(packed, non_blocking=True)
        if features.draws:
            drawn_by = self._on_host(torch.zeros(size, dtype=torch.float64))
            drawn_by[:count] = torch.tensor(uniforms, dtype=torch.float64)
            inputs.uniforms.copy_(drawn_by, non_blocking=True)
        replay()
        return draws.first(count)

    def make_next(self) -> bool:
        """Make one graph that is missing; false if none was."""
        if not self._wanted:
            return False
        size, features = self._wanted.pop(0)
        try:
            self._make(size, features)
        except Exception as error:
            # Some models ask the host in the middle of a step, which a graph cannot hold.
            log.warning("steps of %d sequences run without a CUDA graph: %s", size, str(error).partition("\n")[0])
            self._failed.add((size, features))
            if features in FIRST and not self._graphs:  # none will do better
                self._wanted.clear()
                self._sizes.clear()
        return True

    def _want(self, size: int, features: Features) -> None:
        """Make this one next: a step has just gone without it."""
        key = size, features
        if key in self._failed:
            return
        if key in self._wanted:
            self._wanted.remove(key)
        else:
            self.in_all += 1
        self._wanted.insert(0, key)

    def _make(self, size: int, features: Features) -> None:
        inputs = self._inputs.get(size)
        if inputs is None:
            numbers = self._idle.repeat(1, size).to(self._device)
            inputs = DecodeInputs(numbers, torch.zeros(size, dtype=torch.float64, device=self._device))
            self._inputs[size] = inputs
        else:  # what the last step left here must not be computed once more
            inputs.numbers.copy_(self._idle.repeat(1, size))
        self._graphs[size, features] = self._capture(lambda: self._decode(inputs, features))

    def _on_host(self, tensor: torch.Tensor) -> torch.Tensor:
        # Pinned, so that the copy does not hold the host up; the allocator keeps the memory until it is done.
        return tensor.pin_memory() if self._device.type == "cuda" else tensor


class CudaCapture:
    """Calls recorded as CUDA graphs on `device`, which share their memory."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool: Any = None
        # One for all graphs: cuBLAS keeps a workspace for every stream that it has seen.
        self._aside: Any = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def __call__(self, call: Callable[[], Draws]) -> tuple[Callable[[], None], Draws]:
        """What replays `call`, and the tensors that hold its results then."""
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        own = torch.cuda.current_stream(self._device)
        self._aside.wait_stream(own)
        graph: Any = torch.cuda.CUDAGraph()
        try:
            with _one_at_a_time, torch.cuda.stream(self._aside):
                # Twice as it is: libraries set themselves up and kernels are compiled.
                for _ in range(2):
                    call()
                # What other threads do meanwhile, as engines on other GPUs, is no business of this graph.
                options: Any = {"pool": self._pool, "stream": self._aside, "capture_error_mode": "thread_local"}
                with torch.cuda.graph(graph, **options):
                    draws = call()
        except Exception:
            torch.cuda.synchronize(self._device)
            self._pool = None  # a capture that broke off may hold it for ever
            raise
        finally:
            own.wait_stream(self._aside)
        return graph.replay, draws
