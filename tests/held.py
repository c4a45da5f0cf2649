"""Models that stop before a step, so that a test does several things in what is no time for them."""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Iterator
from typing import Any

from transformers import GenerationMixin

from cfai.engine.attention import Batch

__all__ = ["models_held"]


@contextlib.contextmanager
def models_held(*, after: int = 0) -> Iterator[threading.Event]:
    """Until the block is left, the models loaded in this process take `after` more steps and stop in the next one.

    Gives what is set when one of them stops. The steps with which an engine gets ready do not count.
    """
    left = [True] * after
    stopped, may_go_on = threading.Event(), threading.Event()

    def hold(module: object, args: object, inputs: dict[str, Any]) -> None:
        if not isinstance(inputs.get("batch"), Batch):
            return
        if left:
            left.pop()
        else:
            stopped.set()
            may_go_on.wait(60)

    models: list[Any] = [thing for thing in gc.get_objects() if issubclass(type(thing), GenerationMixin)]
    assert models, "no model is loaded"
    hooks = [model.register_forward_pre_hook(hold, with_kwargs=True) for model in models]
    try:
        yield stopped
    finally:
        may_go_on.set()
        for hook in hooks:
            hook.remove()
