"""One load through transformers at a time, and how far it is."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

from transformers.utils import logging as transformers_logging

__all__ = ["Progress", "loading"]

_one_at_a_time = threading.Lock()
"""transformers keeps its progress hook, and torch its default dtype while a model is built, for the whole process."""

Progress = Callable[[int, int], None]
"""Called while weights load, with the tensors done and the tensors in all."""


@contextlib.contextmanager
def loading(progress: Progress | None = None) -> Iterator[None]:
    """Load through transformers here: by itself, and its progress bar goes to `progress`, or nowhere.

    with loading(print):
        model = AutoModelForCausalLM.from_pretrained(folder)
    """

    def bar(_factory: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Bar:
        return _Bar(args[0] if args else kwargs.get("iterable", ()), kwargs.get("total"), progress)

    with _one_at_a_time:
        before = transformers_logging.set_tqdm_hook(bar)
        try:
            yield
        finally:
            transformers_logging.set_tqdm_hook(before)


class _Bar:
    """The part of tqdm's interface that loading uses."""

    def __init__(self, items: Any, total: int | None, progress: Progress | None) -> None:
        self._items = items
        self._total = total or (len(items) if hasattr(items, "__len__") else 0)
        self._progress = progress
        self._done = 0

    def __iter__(self) -> Iterator[Any]:
        for item in self._items:
            yield item
            self.update()

    def update(self, n: int = 1) -> None:
        self._done += n
        if self._progress is not None:
            self._progress(self._done, self._total)

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None: ...

    def __getattr__(self, name: str) -> Any:
        # close, refresh, set_postfix, ...: what a bar shows beside its progress is of no use here.
        return lambda *_, **__: None
