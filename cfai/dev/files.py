"""The files of a project: which of them, when they change, make the Worker another one."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import AsyncIterator, Collection, Iterator
from pathlib import Path

import anyio
import watchfiles

from cfai.config import Config

__all__ = ["Files"]

STEP_MS = 15
"""How long nothing may change before a save is taken for complete."""

LOOK_UP_MS = 200
"""How long the watch, which runs in a thread, may take to notice that it should end."""

IGNORED_FOLDERS = frozenset(
    {*watchfiles.DefaultFilter.ignore_dirs, ".wrangler", "python_modules", ".venv-workers", "dist", ".ruff_cache"}
)
SUFFIXES = frozenset({".py", ".json", ".jsonc", ".toml", ".html", ".css", ".js", ".txt", ".md", ".jinja"})
SETTINGS = (".dev.vars", ".env")
RULES_OF_ASSETS = frozenset({"_headers", "_redirects", ".assetsignore"})


class Files:
    """What a Worker is made of: the script and what lies beside it, and what it was seen to import and read.

    Its own output, a log or a database in the same folder, must not reload it. Nor must assets, which are looked up at
    every request.
    """

    def __init__(self, config: Config, *, state: Path) -> None:
        self._usual = watchfiles.DefaultFilter(ignore_dirs=tuple(IGNORED_FOLDERS))
        self._state = state
        self._read: set[str] = set()
        self._written: set[str] = set()
        self._outside: set[str] = set()
        self._is_other = anyio.Event()
        self._before: dict[str, object] | None = None
        """The files as they were when it was last known that another watch is needed."""
        self.config = config

    def reads(self, path: str) -> None:
        self._read.add(path)

    def writes(self, path: str) -> None:
        self._written.add(path)

    def comes_from(self, paths: Collection[str]) -> None:
        """The script imported `paths`, which lie outside of the project."""
        if not self._outside.issuperset(paths):
            self._outside.update(paths)
            self._look_again()

    def _look_again(self) -> None:
        self._before = self._as_they_are()
        self._is_other.set()
        self._is_other = anyio.Event()

    async def saves(self) -> AsyncIterator[None]:
        """One item for each save, or for several at once."""
        while True:
            before, self._before = self._before, None
            folders = list(self._folders())
            async for changes in watchfiles.awatch(
                *folders,
                watch_filter=self._counts,
                recursive=False,
                step=STEP_MS,
                rust_timeout=LOOK_UP_MS,
                stop_event=self._is_other,
                yield_on_timeout=True,
            ):
                if not changes:
                    # This watch saw nothing so far, and between the last one and this one was none.
                    was_missed, before = before is not None and self._is_other_than(before), None
                    if was_missed:
                        yield
                    continue
                before = None
                if self._before is not None or any(self._is_new_folder(change, path) for change, path in changes):
                    # What is saved there from now on counts, and what was until now.
                    self._look_again()
                yield

    def _as_they_are(self) -> dict[str, object]:
        files: dict[str, object] = {}
        for folder in self._folders():
            with contextlib.suppress(OSError), os.scandir(folder) as there:
                for file in there:
                    with contextlib.suppress(OSError):  # it may be gone
                        about = file.stat()
                        files[file.path] = (about.st_mtime_ns, about.st_size, about.st_ino)
        return files

    def _is_other_than(self, before: dict[str, object]) -> bool:
        """Whether a file that counts is another one than before."""
        now = self._as_they_are()
        other = [path for path in now.keys() | before.keys() if now.get(path) != before.get(path)]
        return any(self._counts(watchfiles.Change.modified, path) for path in other)

    def _folders(self) -> Iterator[Path]:
        yield from {Path(file).parent for file in self._outside if Path(file).parent.is_dir()}
        roots = {self.config.folder, self.config.root}
        if self.config.source is None:  # a script may lie in a folder with anything below it: its neighbours count
            yield from roots
            return
        for root in roots:
            for folder, below, _ in os.walk(root):
                below[:] = [name for name in below if self._is_looked_into(Path(folder, name))]
                yield Path(folder)

    def _is_looked_into(self, folder: Path) -> bool:
        is_environment = (folder / "pyvenv.cfg").exists()
        is_data = folder == self._state or (self.config.assets is not None and folder == self.config.assets.directory)
        return folder.name not in IGNORED_FOLDERS and not is_environment and not is_data

    def _counts(self, change: watchfiles.Change, path: str) -> bool:
        if not self._usual(change, path) or path in self._written or _is_our_output(path):
            return False
        if self._is_new_folder(change, path):
            return self.config.source is not None and self._is_looked_into(Path(path))
        file = Path(path)
        if self.config.assets is not None and file.is_relative_to(self.config.assets.directory):
            return file.name in RULES_OF_ASSETS
        return path in self._read or file.suffix in SUFFIXES or file.name.startswith(SETTINGS)

    def _is_new_folder(self, change: watchfiles.Change, path: str) -> bool:
        if change != watchfiles.Change.added:
            return False
        try:
            return stat.S_ISDIR(Path(path).stat().st_mode)
        except OSError:
            return False


def _is_our_output(path: str) -> bool:
    """Whether what `cfai dev` prints goes into this file."""
    for output in (sys.stdout, sys.stderr):
        try:
            if os.path.samestat(Path(path).stat(), os.fstat(output.fileno())):
                return True
        except (OSError, ValueError):  # the file is gone, or the output has no file of its own
            continue
    return False
