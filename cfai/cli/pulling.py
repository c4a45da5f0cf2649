"""How weights come, shown: bars on a terminal, lines elsewhere. On stderr."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from cfai.weights.watcher import Watcher

__all__ = ["watching"]

SHOWN = 8 * 1024 * 1024
"""Bytes of a file that gets a bar of its own."""

STEP = 10
"""Per cent from line to line where there is no terminal."""


class _Bars:
    """A bar for all files, and one below for each large one that comes."""

    def __init__(self, console: Console) -> None:
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(compact=True),
            console=console,
            transient=True,
        )
        self._all: TaskID | None = None
        self._each: dict[str, TaskID] = {}
        self._lock = threading.Lock()

    def begins(self, files: int, size: int, here: int) -> None:
        self._all = self.progress.add_task(f"{files} files" if files > 1 else "1 file", total=size)

    def moved(self, file: str, count: int, size: int) -> None:
        if self._all is None:
            return
        self.progress.advance(self._all, count)
        if size >= SHOWN:
            with self._lock:
                if file not in self._each:
                    self._each[file] = self.progress.add_task(f"[dim]{file}[/dim]", total=size)
            self.progress.advance(self._each[file], count)

    def done(self, file: str) -> None:
        with self._lock:
            if (task := self._each.pop(file, None)) is not None:
                self.progress.remove_task(task)

    def says(self, line: str) -> None:
        self.progress.console.print(line, markup=False, highlight=False, soft_wrap=True)


class _Lines:
    """A line now and then."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._size = self._come = self._told = 0
        self._lock = threading.Lock()

    def begins(self, files: int, size: int, here: int) -> None:
        self._size = size
        self.says(f"{files} files, {decimal(size)}, of which {decimal(here)} are here")

    def moved(self, file: str, count: int, size: int) -> None:
        with self._lock:
            self._come += count
            share = 100 * self._come // self._size if self._size else 0
            if share < self._told + STEP:
                return
            self._told = share - share % STEP
        self.says(f"{self._told:3}%  {decimal(self._come)} of {decimal(self._size)}")

    def done(self, file: str) -> None: ...

    def says(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


@contextlib.contextmanager
def watching() -> Iterator[Watcher]:
    """Show on stderr what comes, while the block runs."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(console)
        return
    bars = _Bars(console)
    with bars.progress:
        yield bars


@contextlib.contextmanager
def reading(what: str) -> Iterator[Callable[[str, int], None]]:
    """Show on a terminal how many bytes of `what` are read, while the block runs."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=None)
        yield lambda file, count: progress.update(task, advance=count, description=f"{what} {file}")
