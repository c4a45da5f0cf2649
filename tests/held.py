"""Engines that stop before a step, so that a test does several things in what is no time for them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import pytest

from cfai.engine.runner import Pending, Runner
from cfai.engine.scheduler import Step

__all__ = ["engines_held"]


@contextlib.contextmanager
def engines_held(*, after: int = 0) -> Iterator[threading.Event]:
    """Until the block is left, the engines of this process take `after` more steps and stop before the next one.

    Gives what is set when one of them stops.
    """
    run, left = Runner.run, [True] * after
    stopped, may_go_on = threading.Event(), threading.Event()

    def held(runner: Runner, step: Step) -> Pending:
        if left:
            left.pop()
        else:
            stopped.set()
            may_go_on.wait(60)
        return run(runner, step)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Runner, "run", held)
        try:
            yield stopped
        finally:
            may_go_on.set()
