"""`cfai dev --python`: whether another interpreter can run a Worker, and what it lacks if not."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence

from cfai.packages import WORKER, install

__all__ = ["NoInterpreter", "check_interpreter"]

OLDEST = (3, 11)
PROBE = """
import importlib.util, json, sys
missing = [name for name in sys.argv[1:] if importlib.util.find_spec(name) is None]
print(json.dumps([sys.version_info[:2], missing]))
"""


class NoInterpreter(Exception):
    """An interpreter that cannot run a Worker; `hint` is what helps."""

    def __init__(self, problem: str, *, hint: str) -> None:
        super().__init__(problem)
        self.hint = hint


def check_interpreter(python: str, *, also: Sequence[str] = ()) -> None:
    """Raise `NoInterpreter` if `python` cannot run a Worker.

    ```python
    check_interpreter("/usr/bin/python3.13")  # NoInterpreter: /usr/bin/python3.13 lacks uvicorn and websockets
    ```

    also  what it needs for this project besides, such as debugpy
    """
    try:
        ran = subprocess.run(
            [python, "-c", PROBE, *WORKER, *also], capture_output=True, text=True, check=True, timeout=30
        )
        version, missing = json.loads(ran.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        said = str(error.strerror) if isinstance(error, OSError) else "it runs no Python program"
        raise NoInterpreter(
            f"{python} is no Python interpreter: {said}", hint="--python .venv/bin/python, for example"
        ) from error
    if tuple(version) < OLDEST:
        raise NoInterpreter(
            f"{python} is Python {version[0]}.{version[1]}; a Worker needs {OLDEST[0]}.{OLDEST[1]} or later",
            hint="another --python",
        )
    if missing:
        raise NoInterpreter(f"{python} lacks {_and(missing)}", hint=f"{python} -m {install(missing)}")


def _and(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names)
