"""One model and the thread that owns it.

Everything that touches torch happens in the engine thread: loading, prefill, decode, sampling. It repeats one step:

    drop what nobody reads -> plan (scheduler) -> set the device going (runner) -> hand out the tokens of the step
    before it -> wake the readers

On a GPU the device works on a step while the host turns the tokens of the one before into text. On a CPU there is
nobody to wait for, and a step's own tokens are handed out. Other threads only append to the queue, read counters and
set flags; `_wakeup` tells the thread that there is something to do.
"""

from __future__ import annotations

import atexit
import copy
import logging
import threading
import time
from collections.abc import Callable
from collections.abc import Sequence as Tokens
from pathlib import Path
from typing import Any

import torch

from cfai.adapters import Adapter
from cfai.engine.answer import Answer
from cfai.engine.checkpoint import Checkpoint, Progress
from cfai.engine.footprint import Footprint
from cfai.engine.lora import AdapterBank
from cfai.engine.memory import give_back, is_out_of_memory, let_go
from cfai.engine.opening import open_model
from cfai.engine.runner import Pending, Runner
from cfai.engine.sampling import BROKEN
from cfai.engine.scheduler import Scheduler, Step
from cfai.engine.sequence import Sampling, Sequence, Token
from cfai.engine.settings import EngineSettings
from cfai.engine.solo import Soloist
from cfai.engine.stepping import Stepper
from cfai.engine.stream import Crossing, TextStream
from cfai.errors import (
    AiError,
    BadInput,
    ContextExceeded,
    EngineFailure,
    OutOfCapacity,
    RequestAborted,
)
from cfai.metrics import ModelMetrics
from cfai.ready import Ready

__all__ = ["LocalEngine"]

log = logging.getLogger("cfai.engine")

SETTLE_SECONDS = 0.3
"""An idle moment must last this long before it is used for what makes later steps faster."""

BUSY_STEPS = 1000
"""After so many steps, and again, a part of that is done between them if there is no idle moment."""

UNHEALTHY = 2
"""After so many answers in a row whose scores were not numbers, it is not the prompts."""

CLOSE_SECONDS = 10.0
"""How long closing waits for a step or a load to end."""

EXIT_SECONDS = 2.0
"""How long the interpreter's exit waits. Python ends threads that are inside torch by force, and the process with
them, so the engine stops by itself first."""

LOOK_SECONDS = 0.5
"""How often an engine that waits for readers looks whether one of them is gone without a word."""


class _DeviceLost(EngineFailure):
    """The device has failed for good."""


class LocalEngine:
    """Runs the model in `folder`. The thread starts with the object; `ready.wait()` returns when the model answers.

    progress  called while weights load, and while CUDA graphs are made or pieces compiled, with what is done and what
              there is
    note      what the user should know about the precision it runs in; it stands in the stats
    footprint  what the model may take of the device's memory; None takes shares of what is free
    on_lost   called when the device has failed in a way that only a new process mends; the engine has ended then
    """

    def __init__(
        self,
        folder: Path,
        settings: EngineSettings,
        progress: Progress | None = None,
        *,
        name: str = "",
        note: str = "",
        footprint: Footprint | None = None,
        on_lost: Callable[[str], None] | None = None,
    ) -> None:
        self.name = name or folder.name
        self.ready = Ready()
        self.tokens_made = 0
        self._submitted = 0
        self._folder = folder
        self._settings = settings
        self._footprint = footprint
        self._progress = progress
        self._note = note
        self._on_lost = on_lost
        self._checkpoint: Checkpoint | None = None
        self._scheduler: Scheduler | None = None
        self._runner: Runner | None = None
        self._stepper: Stepper | None = None
        self._soloist: Soloist | None = None
        self._weights_bytes = 0
        self._adapters: AdapterBank | None = None
        self._why_alone = ""
        self._under_way: Pending | None = None
        self._broken_in_a_row = 0
        self._answers: dict[Sequence, Answer] = {}
        self._crossing = Crossing()
        self._lock = threading.Lock()
        self._wakeup = threading.Event()
        self._metrics = ModelMetrics()
        self._closing = False
        self._failure: AiError | None = None
        # A daemon: a process that is told to end does not wait for a model.
        self._thread = threading.Thread(target=self._run, name=f"cfai-engine {self.name}", daemon=True)
        atexit.register(self.close, EXIT_SECONDS)
        self._thread.start()

    # other threads

    @property
    def checkpoint(self) -> Checkpoint:
        """What was loaded; wait for `ready` first. Raises `RequestAborted`, or what ended it, once it has ended."""
        if (loaded := self._checkpoint) is None:
            raise self._ending()
        return loaded

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive() and not self._closing

    @property
    def has_loaded(self) -> bool:
        """It answers, or has done so."""
        return self._scheduler is not None

    @property
    def has_ended(self) -> bool:
        """It runs no more, and its memory is given back."""
        return not self._thread.is_alive()

    @property
    def memory(self) -> int:
        """Bytes of weights, KV cache, the steps' own and copies of weights; before it has loaded what it may take."""
        footprint, runner, bank = self._footprint, self._runner, self._adapters
        if self._weights_bytes == 0:
            return footprint.total if footprint else 0
        work = footprint.work if footprint else 0
        adapters = bank.memory if bank else 0
        return self._weights_bytes + work + adapters + (runner.cache.bytes + runner.copies if runner else 0)

    @property
    def capacity(self) -> int:
        """Tokens of prompt and answer together that one sequence may have. Wait for `ready` first."""
        return self._loaded_scheduler.regions.capacity

    def submit(self, prompt: Tokens[int], sampling: Sampling, *, adapter: Adapter | None = None) -> TextStream:
        """Queue an answer to `prompt`, token ids, by the model or by it and `adapter`. Wait for `ready` first.

        Raises `OutOfCapacity` if the queue is full, `ContextExceeded` if prompt and `max_tokens` do not fit into the
        cache, and `BadInput` for an empty prompt or no token to make; of an engine that has ended, `RequestAborted` or
        what ended it. Call it in the event loop that reads the stream.
        """
        if not prompt or sampling.max_tokens < 1:
            raise BadInput("a prompt of one token and one token to make are the least there is")
        scheduler = self._loaded_scheduler
        stream = TextStream(self._wakeup.set)
        stream.prompt_tokens = len(prompt)
        sequence = Sequence(prompt, sampling, stream, adapter=adapter)
        if sequence.most_tokens > scheduler.regions.capacity:
            raise ContextExceeded(
                sequence.most_tokens,
                scheduler.regions.capacity,
                hint="that is what the KV cache has memory for; shorten the prompt or ask for fewer max_tokens",
            )
        with self._lock:
            if self._closing:
                raise self._ending()
            if scheduler.is_full:
                self._metrics.refused()
                raise OutOfCapacity(
                    f"{len(scheduler.running)} requests run and {len(scheduler.waiting)} wait; "
                    "slots and the queue's limit are settings"
                )
            self._submitted += 1
            sequence.number = self._submitted
            self._answers[sequence] = Answer(sequence, self.checkpoint, self._metrics.request(len(prompt)))
            scheduler.add(sequence)
        self._wakeup.set()
        return stream

    def _ending(self) -> AiError:
        """What to tell who asks now that it has ended."""
        # A copy has no frames, which would hold the model and whoever was told before.
        return RequestAborted() if self._failure is None else copy.copy(self._failure)

    @property
    def _loaded_scheduler(self) -> Scheduler:
        if (scheduler := self._scheduler) is None:
            raise RequestAborted()
        return scheduler

    @property
    def load(self) -> int:
        """Sequences that run or wait."""
        with self._lock:
            return len(scheduler.running) + len(scheduler.waiting) if (scheduler := self._scheduler) else 0

    @property
    def is_busy(self) -> bool:
        """One more request would have to wait for a slot."""
        return (scheduler := self._scheduler) is not None and self.load >= scheduler.slots

    def stats(self) -> dict[str, Any]:
        """What the engine is doing now: figures of one moment, between steps or within one."""
        with self._lock:
            return self._stats()

    def _stats(self) -> dict[str, Any]:
        loaded, scheduler, adapters = self._checkpoint, self._scheduler, self._adapters
        return {
            "running": len(scheduler.running) if scheduler else 0,
            "waiting": len(scheduler.waiting) if scheduler else 0,
            "slots": scheduler.slots if scheduler else 0,
            "queue_limit": self._settings.queue_limit,
            "tokens": self.tokens_made,
            "device": str(loaded.device) if loaded else None,
            "dtype": loaded.dtype if loaded else None,
            "precision": self._note,
            "memory": self._weights_bytes + (adapters.memory if adapters else 0),
            "memory_in_all": self.memory,
            "adapters": adapters.names if adapters else [],
            "healthy": self._broken_in_a_row < UNHEALTHY,
            "batching": f"one at a time: {self._why_alone}" if self._why_alone else "continuous",
            "compiled": self._runner.compiled if self._runner else None,
            "cache_tokens": scheduler.regions.used if scheduler else 0,
            "cache_capacity": scheduler.regions.capacity if scheduler else 0,
            "metrics": self._metrics.snapshot(),
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
            self._give_back()
            atexit.unregister(self.close)

    def _give_back(self) -> None:
        """Python's cycles, torch's blocks and malloc's: what none of them holds is the system's again."""
        if self._runner is not None:
            self._runner.close()
        self._checkpoint = self._runner = self._stepper = self._soloist = self._adapters = None
        give_back()

    def _load_and_step(self) -> None:
        try:
            self._open()
        except AiError as error:
            self.ready.set(error)
            return
        self.ready.set()
        failure: AiError = EngineFailure("the engine thread ended")
        try:
            with torch.inference_mode():
                self._step_until_closed()
            failure = RequestAborted()
        except _DeviceLost as lost:
            log.critical("%s: %s", self.name, str(lost))  # the error itself holds the step's tensors
            failure = lost
        finally:
            self._end_all(failure)
            if isinstance(failure, _DeviceLost) and self._on_lost is not None:
                self._on_lost(str(failure))

    def _open(self) -> None:
        started = time.monotonic()
        opened = open_model(self._folder, self._settings, self._footprint, name=self.name, progress=self._report)
        loaded, scheduler, adapters = opened.checkpoint, opened.scheduler, opened.adapters
        self._runner, self._soloist, self._why_alone = opened.runner, opened.soloist, opened.why_alone
        if self._runner is not None:
            self._stepper = Stepper(
                self._runner,
                scheduler,
                adapters,
                name=self.name,
                fail=self._fail,
                hand_out=self._hand_out,
                catch_up=self._hand_out_what_is_under_way,
            )
        self._checkpoint, self._scheduler, self._adapters = loaded, scheduler, adapters
        self._weights_bytes = loaded.memory
        self._metrics.load_seconds = time.monotonic() - started
        log.info("loaded %s in %.2f s (%s, %s)", self.name, self._metrics.load_seconds, loaded.device, loaded.dtype)

    def _report(self, done: int, total: int) -> None:
        if self._closing:  # a load that nobody waits for any more ends with the tensor that it is at
            raise RequestAborted()
        if self._progress is not None:
            self._progress(done, total)

    def _step_until_closed(self) -> None:
        settle, steps = SETTLE_SECONDS, 0
        while not self._closing:
            self._wakeup.clear()
            step = self._plan()
            if not step.works and self._under_way is None:
                # A moment first: whoever waited for the model to load is about to ask.
                if not self._wakeup.wait(settle) and self._warm_up(patience=LOOK_SECONDS / 10):
                    settle = 0.0
                elif not self._wakeup.is_set():
                    self._wait()
                continue
            settle = SETTLE_SECONDS
            steps += 1
            if steps % BUSY_STEPS == 0:  # it has had no idle moment for long
                self._warm_up()
            pending = self._set_going(step) if step.works else None
            self._hand_out_what_is_under_way()
            self._under_way = pending
            if not self._may_lag(step):
                self._hand_out_what_is_under_way()
            self._crossing.flush()

    def _wait(self) -> None:
        """Until there is something to do; look now and then for readers whose event loop is gone."""
        scheduler = self._loaded_scheduler
        unread = [*scheduler.running, *scheduler.waiting]
        if not self._wakeup.wait(LOOK_SECONDS if unread else None):
            for sequence in unread:
                self._crossing.touch(sequence.stream)
            self._crossing.flush()

    def _hand_out_what_is_under_way(self) -> None:
        if (pending := self._under_way) is not None:
            self._under_way = None
            self._hand_out(pending)

    def _warm_up(self, *, patience: float = 0.0) -> bool:
        """Do a part of what makes later steps faster; false if there is nothing left to do."""
        if self._runner is None:
            return False
        try:
            done = self._runner.warm_up(patience=patience)
        except torch.AcceleratorError as error:
            raise _DeviceLost(f"the device failed: {str(error).splitlines()[0]}") from error
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            log.warning("%s: no memory for what makes steps faster: %s", self.name, error)
            let_go(error)
            return True
        if done is None:
            return False
        if self._progress is not None and done[1] > 1:  # CUDA graphs and pieces, which take a while
            self._progress(*done)
        return True

    def _plan(self) -> Step:
        with self._lock:
            for sequence in self._loaded_scheduler.drop_abandoned():
                self._answers.pop(sequence).metrics.stopped()
                self._tell(sequence, "stopped, nobody reads on")
            step = self._loaded_scheduler.next_step()
        for work in step.works:
            if work.sequence.drawn == work.draws:  # it has nothing yet
                self._answers[work.sequence].metrics.admitted(cached_tokens=work.sequence.stream.cached_tokens)
        return step

    def _may_lag(self, step: Step) -> bool:
        """Whether the next step may be planned before this one's tokens are known."""
        runner = self._runner
        return (
            runner is not None
            and runner.is_async
            and not self._settings.draft_tokens  # a draft goes on from a token that is known
            and all(work.sequence.sampling.constraint is None for work in step.works)
        )

    def _set_going(self, step: Step) -> Pending | None:
        if self._stepper is not None:
            return self._stepper.set_going(step)
        self._perform_alone(step.works[0].sequence)
        return None

    def _hand_out(self, pending: Pending) -> None:
        """Give the tokens of a step to their readers."""
        try:
            drawn = pending.tokens()
        except Exception as error:  # the device failed after the step was set going
            for work in pending.works:
                self._fail(work.sequence, error)
            return
        for work, tokens in zip(pending.works, drawn, strict=True):
            if work.draft:
                tokens = tokens[: self._loaded_scheduler.settle(work, [token.id for token in tokens])]
            if tokens and not work.sequence.is_finished:
                try:
                    self._take(work.sequence, tokens)
                except Exception as error:  # its tokenizer or its constraint: nobody else's business
                    self._fail(work.sequence, error)

    def _take(self, sequence: Sequence, tokens: Tokens[Token]) -> None:
        """Give an answer its next tokens; with the last one it ends."""
        answer = self._answers[sequence]
        answer.metrics.tokens(count=len(tokens))
        for token in tokens:
            if token.id == BROKEN:
                problem = "the model's scores are not numbers (NaN or infinity)"
                self._broken_in_a_row += 1
                self._finish(sequence, EngineFailure(problem, hint="check the weights and the dtype"))
                return
            made = sequence.made
            is_last = answer.take(token)
            self.tokens_made += sequence.made - made
            if is_last:
                self._broken_in_a_row = 0
                self._finish(sequence, None)
                return
        self._crossing.touch(sequence.stream)

    def _perform_alone(self, sequence: Sequence) -> None:
        def take(token: Token) -> bool:
            self._take(sequence, [token])
            self._crossing.flush()
            return not (sequence.is_finished or sequence.is_abandoned or self._closing)

        try:
            assert self._soloist is not None
            self._soloist.perform(sequence, take)
        except Exception as error:
            self._fail(sequence, error)

    def _fail(self, sequence: Sequence, error: Exception) -> None:
        if isinstance(error, torch.AcceleratorError):
            # An assert in a kernel, an illegal address: whatever is asked of this GPU now fails as well.
            raise _DeviceLost(f"the device failed: {str(error).splitlines()[0]}") from error
        if sequence.is_finished:
            return
        if isinstance(error, AiError):
            failure: AiError = error
        elif is_out_of_memory(error):
            failure = OutOfCapacity("the device has no memory left for this request")
        else:
            log.error("the model failed", exc_info=error, extra={"request": sequence.request_id})
            failure = EngineFailure(f"the model failed: {error}")
        self._finish(sequence, failure)

    def _finish(self, sequence: Sequence, error: AiError | None) -> None:
        self._tell(sequence, "failed" if error else "finished")  # before its reader can be told
        with self._lock:
            self._loaded_scheduler.remove(sequence, keep=error is None and self._runner is not None)
            self._end(sequence, error)

    def _end(self, sequence: Sequence, error: AiError | None) -> None:
        metrics = self._answers.pop(sequence).metrics
        if error is None:
            metrics.finished()
        else:
            metrics.failed()
        sequence.stream.completion_tokens = sequence.made
        sequence.stream.end(error)
        self._crossing.touch(sequence.stream)

    def _tell(self, sequence: Sequence, how: str) -> None:
        phase = "" if sequence.made else " before its first token"
        request = {"request": sequence.request_id}
        log.info("%s: %s%s, %d tokens", self.name, how, phase, sequence.made, extra=request)

    def _end_all(self, error: AiError) -> None:
        with self._lock:
            self._closing, self._failure = True, copy.copy(error)
            for sequence in self._loaded_scheduler.clear():
                self._end(sequence, error)
        self._crossing.flush()
