"""The bar that shows a model loading, on stderr and only on a terminal."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

__all__ = ["LoadingBar", "loading_bar"]


class LoadingBar:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("starting", total=None)
        self._held: list[str] | None = None
        """What is said while an answer is printed."""

    def start(self) -> None:
        self._progress.start()

    def progress(self, model: str, done: int, total: int) -> None:
        """One more tensor of `model` is loaded. May be called from any thread."""
        self._progress.update(self._task, description=f"loading {model}", completed=done, total=total)

    def say(self, line: str) -> None:
        """A line of its own above the bar, or below the answer that is being printed."""
        if self._held is not None:
            self._held.append(line)
            return
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    @contextlib.contextmanager
    def answering(self) -> Iterator[None]:
        """While an answer is printed there is no bar, and nothing is said into the middle of its lines."""
        self.stop()
        self._held = []
        try:
            yield
        finally:
            held, self._held = self._held, None
            for line in held:
                self.say(line)

    def stop(self) -> None:
        self._progress.stop()


@contextlib.contextmanager
def loading_bar() -> Iterator[LoadingBar]:
    bar = LoadingBar(Console(stderr=True))
    bar.start()
    try:
        yield bar
    finally:
        bar.stop()
