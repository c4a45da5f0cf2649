"""One model and the thread that owns it.

Everything that touches torch happens in the engine thread: loading, prefill, decode, sampling. It repeats one step:

    drop what nobody reads -> admit what fits -> advance each running sequence -> wake the readers

A sequence advances by one prefill chunk or one token. Other threads only append to the queue, read counters and set
flags; `_wakeup` tells the thread that there is something to do.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections.abc import Sequence as Tokens
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cfai.engine.cache import new_cache
from cfai.engine.checkpoint import Checkpoint, Progress, load_checkpoint
from cfai.engine.sampling import Sampler
from cfai.engine.scheduler import Scheduler
from cfai.engine.sequence import Sampling, Sequence
from cfai.engine.stream import Crossing, Ready, TextStream
from cfai.engine.streamer import PieceStreamer
from cfai.errors import AiError, EngineFailure, OutOfCapacity, RequestAborted

__all__ = ["EngineSettings", "LocalEngine"]

log = logging.getLogger("cfai.engine")

PREFILL_CHUNK = {"cpu": 128}
"""Prompt tokens per step, by device. Between chunks a reader who left is noticed and other sequences go on."""
DEFAULT_PREFILL_CHUNK = 512

SMALL_MODEL = 100_000_000
"""Below this many weights, handing work from core to core costs more than the work."""


CLOSE_SECONDS = 10.0
"""How long closing waits for a step or a load to end."""

EXIT_SECONDS = 2.0
"""How long the interpreter's exit waits. Python ends threads that are inside torch by force, and the process with
them, so the engine stops by itself first."""

LOOK_SECONDS = 0.5
"""How often an engine that waits for readers looks whether one of them is gone without a word."""


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How a model runs.

    device       "cuda", "mps", "cpu"; None takes the best that is there
    dtype        "float32", "bfloat16", "float16"; None takes float32 on the CPU, the checkpoint's own on a GPU
    threads      CPU threads for one step; None takes one for a small model, else one per physical core
    slots        sequences that run at once
    queue_limit  sequences that may wait for a slot; one more is refused with 3040
    """

    device: str | None = None
    dtype: str | None = None
    threads: int | None = None
    slots: int = 4
    queue_limit: int = 32


class LocalEngine:
    """Runs the model in `folder`. The thread starts with the object; `ready.wait()` returns when the model answers."""

    def __init__(
        self, folder: Path, settings: EngineSettings, progress: Progress | None = None, *, name: str = ""
    ) -> None:
        self.name = name or folder.name
        self.ready = Ready()
        self.tokens_made = 0
        self._folder = folder
        self._settings = settings
        self._progress = progress
        self._scheduler = Scheduler(slots=settings.slots, queue_limit=settings.queue_limit)
        self._checkpoint: Checkpoint | None = None
        self._states: dict[Sequence, _State] = {}
        self._crossing = Crossing()
        self._lock = threading.Lock()
        self._wakeup = threading.Event()
        self._closing = False
        # A daemon: a process that is told to end does not wait for a model.
        self._thread = threading.Thread(target=self._run, name=f"cfai-engine {self.name}", daemon=True)
        atexit.register(self.close, EXIT_SECONDS)
        self._thread.start()

    # other threads

    @property
    def checkpoint(self) -> Checkpoint:
        """What was loaded; wait for `ready` first. Raises `RequestAborted` once the engine is closed."""
        if (loaded := self._checkpoint) is None:
            raise RequestAborted()
        return loaded

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive() and not self._closing

    def submit(self, prompt: Tokens[int], sampling: Sampling) -> TextStream:
        """Queue an answer to `prompt`, token ids. Raises `OutOfCapacity` if the queue is full.

        Call it in the event loop that reads the stream.
        """
        stream = TextStream(self._wakeup.set)
        stream.prompt_tokens = len(prompt)
        with self._lock:
            if self._closing:
                raise RequestAborted()
            if self._scheduler.is_full:
                raise OutOfCapacity(
                    f"{len(self._scheduler.waiting)} requests wait already; the queue's limit is a setting"
                )
            self._scheduler.add(Sequence(prompt, sampling, stream))
        self._wakeup.set()
        return stream

    def stats(self) -> dict[str, Any]:
        """What the engine is doing now."""
        loaded = self._checkpoint
        return {
            "running": len(self._scheduler.running),
            "waiting": len(self._scheduler.waiting),
            "tokens": self.tokens_made,
            "device": str(loaded.device) if loaded else None,
            "dtype": str(loaded.model.dtype).removeprefix("torch.") if loaded else None,
            "memory": loaded.memory if loaded else 0,
        }

    def close(self, timeout: float = CLOSE_SECONDS) -> None:
        """End the running answers with 3008 and give the memory back.

        Blocks until the step or the load is over, for `timeout` seconds at most.
        """
        self._closing = True
        self._wakeup.set()
        self._thread.join(timeout)

    # the engine thread

    def _run(self) -> None:
        try:
            self._load_and_step()
        finally:
            atexit.unregister(self.close)

    def _load_and_step(self) -> None:
        try:
            self._load()
        except AiError as error:
            self.ready.set(error)
            return
        except BaseException as error:
            log.exception("loading %s failed", self._folder)
            self.ready.set(EngineFailure(f"{self._folder} does not load: {error}"))
            return
        self.ready.set()
        try:
            with torch.inference_mode():
                while not self._closing:
                    self._step()
        finally:
            self._end_all(RequestAborted() if self._closing else EngineFailure("the engine thread ended"))
            self._checkpoint = None

    def _load(self) -> None:
        started = time.monotonic()
        settings = self._settings
        loaded = load_checkpoint(self._folder, device=settings.device, dtype=settings.dtype, progress=self._progress)
        if loaded.device.type == "cpu":
            torch.set_num_threads(settings.threads or _best_threads(loaded))
        self._checkpoint = loaded
        log.info("loaded %s on %s in %.2f s", self.name, loaded.device, time.monotonic() - started)

    def _step(self) -> None:
        self._wakeup.clear()
        with self._lock:
            for sequence in self._scheduler.drop_abandoned():
                self._forget(sequence, "stopped, nobody reads on")
            ready = self._scheduler.next_step()
        if not ready:
            self._wakeup.wait(LOOK_SECONDS if self._scheduler.running else None)
            return
        for sequence in ready:
            self._advance(sequence)
        self._crossing.flush()

    def _advance(self, sequence: Sequence) -> None:
        try:
            state = self._states.get(sequence)
            if state is None:
                state = self._states[sequence] = _State(sequence, self.checkpoint)
            is_finished = state.prefill() if sequence.needs_prefill else state.decode()
        except Exception as error:
            # One sequence's failure is its own: the others go on.
            if isinstance(error, AiError):
                failure: AiError = error
            elif isinstance(error, torch.cuda.OutOfMemoryError):
                failure = OutOfCapacity("the GPU has no memory left for this request")
            else:
                log.exception("the model failed")
                failure = EngineFailure(f"the model failed: {error}")
            self._finish(sequence, failure)
            return
        self.tokens_made += state.take_count()
        if is_finished:
            self._finish(sequence, None)
        else:
            self._crossing.touch(sequence.stream)

    def _finish(self, sequence: Sequence, error: AiError | None) -> None:
        with self._lock:
            self._scheduler.remove(sequence)
        sequence.stream.completion_tokens = len(sequence.output)
        sequence.stream.end(error)
        self._crossing.touch(sequence.stream)
        self._forget(sequence, "failed" if error else "finished")

    def _forget(self, sequence: Sequence, how: str) -> None:
        self._states.pop(sequence, None)
        phase = " during prefill" if sequence.needs_prefill else ""
        log.info("%s: %s%s, %d tokens", self.name, how, phase, len(sequence.output))

    def _end_all(self, error: AiError) -> None:
        with self._lock:
            self._closing = True
            left = [*self._scheduler.running, *self._scheduler.waiting]
            self._scheduler.running.clear()
            self._scheduler.waiting.clear()
        for sequence in left:
            sequence.stream.completion_tokens = len(sequence.output)
            sequence.stream.end(error)
            self._crossing.touch(sequence.stream)
        self._states.clear()
        self._crossing.flush()


class _State:
    """What one running sequence has on the device."""

    def __init__(self, sequence: Sequence, checkpoint: Checkpoint) -> None:
        self._sequence = sequence
        self._checkpoint = checkpoint
        device = checkpoint.device
        self._chunk = PREFILL_CHUNK.get(device.type, DEFAULT_PREFILL_CHUNK)
        self._prompt = torch.tensor(sequence.prompt, device=device)
        self._cache = new_cache(checkpoint.model.config)
        vocabulary = checkpoint.model.get_output_embeddings().weight.shape[0]
        self._sampler = Sampler(sequence.sampling, self._prompt, vocabulary)
        self._streamer = PieceStreamer(checkpoint.tokenizer, sequence.stream.put, stop=sequence.sampling.stop)
        self._counted = 0

    def prefill(self) -> bool:
        """Put the next chunk of the prompt into the cache; after the last one, draw the first token."""
        sequence = self._sequence
        end = min(sequence.prefilled + self._chunk, len(sequence.prompt))
        logits = self._forward(self._prompt[sequence.prefilled : end])
        sequence.prefilled = end
        return False if sequence.needs_prefill else self._take(self._sampler.draw(logits))

    def decode(self) -> bool:
        last = torch.tensor([self._sequence.output[-1]], device=self._prompt.device)
        return self._take(self._sampler.draw(self._forward(last)))

    def take_count(self) -> int:
        """The tokens made since the last look."""
        made = len(self._sequence.output)
        fresh, self._counted = made - self._counted, made
        return fresh

    def _forward(self, ids: torch.Tensor) -> torch.Tensor:
        out = self._checkpoint.model(input_ids=ids[None], past_key_values=self._cache, use_cache=True, logits_to_keep=1)
        logits: torch.Tensor = out.logits[0, -1]
        return logits

    def _take(self, token: int) -> bool:
        """Hand a token over; true if it was the last one."""
        self._sequence.output.append(token)
        is_last = token in self._checkpoint.end_tokens
        if not is_last:
            self._streamer.put(token)
        is_last = is_last or self._sequence.is_out_of_tokens or self._streamer.is_stopped
        if is_last:
            self._streamer.end()
        return is_last


def _best_threads(loaded: Checkpoint) -> int:
    if loaded.model.num_parameters() < SMALL_MODEL:
        return 1
    return _physical_cores()


def _physical_cores() -> int:
    """The cores this process may use, hyper-threads counted once where the system tells."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    siblings = Path("/sys/devices/system/cpu")
    try:
        return len({(siblings / f"cpu{cpu}/topology/thread_siblings_list").read_text() for cpu in allowed})
    except OSError:
        return max(1, len(allowed))
