"""Steps that go wrong: what fails in one is kept to the sequences that it concerns."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import torch

from cfai.engine.lora import AdapterBank
from cfai.engine.memory import is_out_of_memory, let_go
from cfai.engine.runner import Pending, Runner
from cfai.engine.scheduler import Scheduler, Step
from cfai.engine.sequence import Sequence

__all__ = ["Stepper"]

log = logging.getLogger("cfai.engine")

OUT_OF_MEMORY_SECONDS = 60.0
"""A second failure for want of memory within this time halves the slots."""


class Stepper:
    """Sets the steps of a model going.

    stepper = Stepper(runner, scheduler, adapters, name="llama", fail=fail, hand_out=hand_out, catch_up=catch_up)
    pending = stepper.set_going(scheduler.next_step())

    fail      ends a sequence with an error
    hand_out  gives the tokens of a step to their readers
    catch_up  does so for the step before, whose tokens come first whatever becomes of this one
    """

    def __init__(
        self,
        runner: Runner,
        scheduler: Scheduler,
        adapters: AdapterBank,
        *,
        name: str,
        fail: Callable[[Sequence, Exception], None],
        hand_out: Callable[[Pending], None],
        catch_up: Callable[[], None],
    ) -> None:
        self._runner = runner
        self._scheduler = scheduler
        self._adapters = adapters
        self._name = name
        self._fail = fail
        self._hand_out = hand_out
        self._catch_up = catch_up
        self._out_of_memory_at = -OUT_OF_MEMORY_SECONDS

    def set_going(self, step: Step) -> Pending | None:
        """What will have the step's tokens; None if they are handed out, or if there are none."""
        if any(work.sequence.adapter is not None for work in step.works):
            step = self._with_adapters(step)
            if not step.works:
                return None
        try:
            return self._runner.run(step)
        except Exception as error:
            self._catch_up()
            if is_out_of_memory(error):
                self._note_out_of_memory()
                let_go(error)
                return self._run_without_the_newest(step, error)
            if len(step.works) == 1 or isinstance(error, torch.AcceleratorError):
                self._fail(step.works[0].sequence, error)
                return None
        # One sequence's failure is its own: whoever gets through alone goes on.
        log.warning("%s: a step of %d sequences failed; each is tried alone", self._name, len(step.works))
        for work in step.works:
            if work.sequence.is_finished:
                continue
            try:
                pending = self._runner.run(Step([work]))
            except Exception as error:
                self._fail(work.sequence, error)
            else:
                self._hand_out(pending)
        return None

    def _with_adapters(self, step: Step) -> Step:
        """The step without the sequences whose adapters cannot be had; these have ended."""
        busy = {each.adapter for each in self._scheduler.running if each.adapter is not None}
        for sequence in [work.sequence for work in step.works]:
            if sequence.adapter is not None and not sequence.is_finished:
                try:
                    self._adapters.bring(sequence.adapter, busy=busy)
                except Exception as error:
                    self._catch_up()  # its own last tokens may be among them
                    self._fail(sequence, error)
        return Step([work for work in step.works if not work.sequence.is_finished], step.copies)

    def _run_without_the_newest(self, step: Step, error: Exception) -> Pending | None:
        """There is no memory for all of them: whoever came last gives way, until there is."""
        works = [work for work in step.works if not work.sequence.is_finished]
        while works:
            newest = max(works, key=lambda work: work.sequence.number)
            self._fail(newest.sequence, error)
            works.remove(newest)
            if not works:
                break
            try:
                # The copies are made, by the step that failed.
                return self._runner.run(Step(works))
            except Exception as another:
                if not is_out_of_memory(another):
                    for work in works:
                        self._fail(work.sequence, another)
                    break
                let_go(another)
        return None

    def _note_out_of_memory(self) -> None:
        """Once may be bad luck. Twice in a minute, and there are too many at once."""
        now = time.monotonic()
        if now - self._out_of_memory_at < OUT_OF_MEMORY_SECONDS and self._scheduler.slots > 1:
            self._scheduler.slots //= 2
            log.warning("%s: out of memory again; %d sequences at once from now on", self._name, self._scheduler.slots)
        self._out_of_memory_at = now
