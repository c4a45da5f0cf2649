"""What a script is made of, as the process that runs it sees: the modules it imported, the files it read and wrote."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cfai.worker.loader import SHIM_NAMES

__all__ = ["Modules", "preload", "tell_files"]

MOST_FILES = 2000


class Modules:
    """The modules that have been imported since, in reserve or by the script."""

    def __init__(self) -> None:
        self._others = set(sys.modules)

    @contextmanager
    def uncounted(self) -> Iterator[None]:
        """What is imported meanwhile is no wish of the script's."""
        before = set(sys.modules)
        try:
            yield
        finally:
            self._others |= sys.modules.keys() - before

    def installed(self) -> list[str]:
        """Those of installed packages and of the standard library, in the order of their imports."""
        return [name for name, file in self._new() if _is_installed(file)]

    def outside(self, folders: Collection[Path]) -> list[str]:
        """The files of those that are neither installed nor in one of `folders`."""
        return [
            str(file)
            for _, file in self._new()
            if not _is_installed(file) and not any(file.is_relative_to(folder) for folder in folders)
        ]

    def _new(self) -> list[tuple[str, Path]]:
        new = [(name, module) for name, module in sys.modules.items() if name not in self._others]
        files = [(name, getattr(module, "__file__", None)) for name, module in new]
        return [
            (name, Path(file))
            for name, file in files
            if isinstance(file, str) and name.partition(".")[0] not in ("cfai", *SHIM_NAMES)
        ]


def _is_installed(file: Path) -> bool:
    return bool({"site-packages", "dist-packages"} & set(file.parts)) or file.is_relative_to(_STANDARD)


_STANDARD = sysconfig.get_path("stdlib")


def preload(names: Sequence[str]) -> None:
    """Import `names`, and let be what cannot be imported: the script will say it if it matters."""
    for name in names:
        if name not in sys.modules:
            try:
                __import__(name)
            except (Exception, SystemExit):
                continue


def tell_files(folder: Path, tell: Callable[[str, str], None]) -> None:
    """From now on `tell("reads", path)` and `tell("writes", path)`, once each, of the files below `folder`."""
    below = f"{folder}/"
    told: set[tuple[str, str]] = set()

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event != "open" or not isinstance(arguments[0], str):
            return
        path, mode, flags = arguments
        if not path.startswith(below):
            if path.startswith("/"):
                return
            path = str(Path.cwd() / path)
            if not path.startswith(below):
                return
        is_written = set("wax+") & set(mode) if isinstance(mode, str) else isinstance(flags, int) and flags & 3
        what = "writes" if is_written else "reads"
        if (what, path) not in told and len(told) < MOST_FILES:
            told.add((what, path))
            tell(what, path)

    sys.addaudithook(hook)
