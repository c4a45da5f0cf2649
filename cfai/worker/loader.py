"""Import a Worker's script, with `workers`, `js` and `pyodide` as it sees them."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, TracebackType

from cfai.config import Config
from cfai.worker.env import Env

__all__ = ["ScriptError", "import_path", "load", "trace_of"]

SHIM = Path(__file__).parent / "shim"
SHIM_NAMES = ("asgi", "js", "pyodide", "workers")


class ScriptError(Exception):
    """The script could not be imported. `trace` is the traceback, from the script's own first line on."""

    def __init__(self, problem: str, trace: str) -> None:
        super().__init__(problem)
        self.trace = trace


@contextmanager
def import_path(root: Path) -> Iterator[None]:
    """Make the shim and then the script's folder the first places where imports look.

    Whatever was imported from either is forgotten on the way out, so that another script starts afresh.
    """
    added = [str(SHIM), str(root)]
    # An installed workers-runtime-sdk or pyodide-py may be loaded already; it comes back afterwards.
    hidden = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] in SHIM_NAMES}
    sys.path[:0] = added
    importlib.invalidate_caches()
    try:
        yield
    finally:
        for path in added:
            sys.path.remove(path)
        for name, module in list(sys.modules.items()):
            if name.partition(".")[0] in SHIM_NAMES or _is_under(module, root):
                del sys.modules[name]
        sys.modules.update(hidden)


def _is_under(module: ModuleType, root: Path) -> bool:
    file: str | None = getattr(module, "__file__", None)
    return file is not None and Path(file).is_relative_to(root) and "site-packages" not in Path(file).parts


def load(config: Config, env: Env) -> ModuleType:
    """Import the script of `config` inside `import_path`. `from workers import env` finds `env`."""
    main = config.main
    if main is None or not main.is_file():
        raise ScriptError(f"{main} does not exist", f"The script {main} does not exist.\n")
    importlib.import_module("workers").__dict__["env"] = env
    name = main.stem
    spec = importlib.util.spec_from_file_location(name, main)
    assert spec is not None and spec.loader is not None  # there is a loader for every .py file
    module = importlib.util.module_from_spec(spec)
    taken = name in sys.modules
    if not taken:  # a script called types.py must not become everybody's `types`
        sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        if not taken:
            del sys.modules[name]
        if isinstance(error, ModuleNotFoundError) and error.name == "src":
            error.add_note(f"imports begin in {config.root}: write `from helpers import x`, not `from src.helpers`")
        raise ScriptError(f"{main} failed while it was imported: {error!r}", trace_of(error)) from error
    return module


_OURS = (str(Path(__file__).parent), "<frozen importlib")


def trace_of(error: BaseException) -> str:
    """The traceback of `error` without the frames through which cfai called the script."""
    return "".join(traceback.format_exception(type(error), error, _theirs(error.__traceback__)))


def _theirs(trace: TracebackType | None) -> TracebackType | None:
    first = trace
    while first is not None and first.tb_frame.f_code.co_filename.startswith(_OURS):
        first = first.tb_next
    # An error that cfai itself raised on the way has no frame of the script's: it is shown whole.
    return first or (None if trace is None else _last(trace))


def _last(trace: TracebackType) -> TracebackType:
    while trace.tb_next is not None:
        trace = trace.tb_next
    return trace
