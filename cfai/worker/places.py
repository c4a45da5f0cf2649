"""Which code is the project's own, and which line of it runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import FrameType

__all__ = ["is_the_projects", "running_line"]

_OURS = f"{Path(__file__).parents[1]}{os.sep}"


def is_the_projects(path: str, root: Path) -> bool:
    """Whether the file `path` is the project's own: inside `root`, and in no folder of installed packages.

    ```python
    is_the_projects("/app/src/.venv/lib/python3.13/site-packages/flask/app.py", Path("/app/src"))  # False
    ```
    """
    # Every module that there is gets asked, so this is about strings.
    if not (path == str(root) or path.startswith(f"{root}{os.sep}")):
        return False
    return f"{os.sep}site-packages{os.sep}" not in f"{path}{os.sep}"


def running_line(root: Path, folder: Path) -> str:
    """The innermost line of the project that this call comes from, its file told from `folder`; "" if none is.

    ```python
    running_line(config.root, config.folder)  # "src/entry.py:7"
    ```
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if not file.startswith(_OURS) and is_the_projects(file, root) and not _is_vendored(file, root):
            return f"{os.path.relpath(file, folder)}:{frame.f_lineno}"
        frame = frame.f_back
    return ""


def _is_vendored(file: str, root: Path) -> bool:
    return "python_modules" in Path(file).relative_to(root).parts
