"""Import a Worker's script, with `workers`, `js` and `pyodide` as it sees them."""

from __future__ import annotations

import importlib
import importlib.util
import platform
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.machinery import EXTENSION_SUFFIXES, SOURCE_SUFFIXES, ExtensionFileLoader, FileFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import TypeGuard

from cfai.config import Config
from cfai.errors import AiError
from cfai.worker.distributions import distribution_of
from cfai.worker.env import Env, as_the_module_has_it
from cfai.worker.json_of_proxies import json_of_proxies
from cfai.worker.places import is_the_projects
from cfai.worker.stack_switching import as_in_pyodide

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
    hook = _hook(root)
    # An installed workers-runtime-sdk or pyodide-py may be loaded already; it comes back afterwards.
    hidden = {name: sys.modules.pop(name) for name in list(sys.modules) if _top(name) in SHIM_NAMES}
    before = set(sys.modules)
    sys.path[:0] = added
    sys.path_hooks.insert(0, hook)
    _forget_finders(root)
    try:
        with as_in_pyodide(), json_of_proxies():
            yield
    finally:
        for path in added:
            sys.path.remove(path)
        sys.path_hooks.remove(hook)
        _forget_finders(root)
        for name in sys.modules.keys() - before:
            file: str | None = getattr(sys.modules[name], "__file__", None)
            if _top(name) in SHIM_NAMES or (_top(name) != "cfai" and file is not None and is_the_projects(file, root)):
                del sys.modules[name]
        sys.modules.update(hidden)


def _top(name: str) -> str:
    return name.partition(".")[0]


class _FromSource(SourceFileLoader):
    # Bytecode is told from its source by size and whole seconds: of two quick saves, the first would run.
    def get_code(self, fullname: str) -> CodeType | None:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


def _hook(root: Path) -> Callable[[str], FileFinder]:
    def finder(path: str) -> FileFinder:
        if not is_the_projects(path, root):
            raise ImportError(path)  # the way to leave a folder to the next hook
        return FileFinder(path, (_FromSource, SOURCE_SUFFIXES), (ExtensionFileLoader, EXTENSION_SUFFIXES))

    return finder


def _forget_finders(root: Path) -> None:
    for path in list(sys.path_importer_cache):
        if is_the_projects(path, root):
            del sys.path_importer_cache[path]


def load(config: Config, env: Env) -> ModuleType:
    """Import the script of `config` inside `import_path`. `from workers import env` finds `env`."""
    main = config.main
    if main is None or not main.is_file():
        raise ScriptError(f"{main} does not exist", f"The script {main} does not exist.\n")
    importlib.import_module("workers").__dict__["env"] = as_the_module_has_it(env)
    name = main.stem
    spec = importlib.util.spec_from_file_location(name, main, loader=_FromSource(name, str(main)))
    assert spec is not None and spec.loader is not None  # a loader was given
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


def _is_missing(name: str | None) -> TypeGuard[str]:
    """Whether all of a package is missing, not one of its modules."""
    return bool(name) and _top(name or "") not in sys.modules


def _missing(name: str) -> str:
    how = "" if _top(name) in sys.stdlib_module_names else f": `pip install {distribution_of(name)}`"
    return f"it is not installed in {sys.prefix}{how}; `cfai dev --python` takes the packages of another Python"


# The newest Python that Cloudflare has for a date.
_NEWEST = (3, 13)
_OURS = (str(Path(__file__).parents[1]), str(Path(importlib.__file__).parent), "<frozen importlib")


def trace_of(error: BaseException) -> str:
    """The traceback of `error` as its script sees it: without the frames of cfai and of the import system.

    An error that has none of the script's frames is shown whole, unless it says all there is to say.
    """
    if isinstance(error, ImportError) and _top(error.name or "") in SHIM_NAMES and not hasattr(error, "__notes__"):
        error.add_note(f"cfai may not have this part of `{error.name}` yet; docs/python-workers-api.md lists names")
    elif isinstance(error, SyntaxError) and sys.version_info < _NEWEST:
        here = f"read by Python {platform.python_version()}, and Cloudflare's is 3.12 or 3.13"
        error.add_note(f"{here}; `cfai dev --python` takes a newer one")
    elif isinstance(error, ModuleNotFoundError) and not hasattr(error, "__notes__") and _is_missing(error.name):
        error.add_note(_missing(error.name))
    whole = traceback.TracebackException.from_exception(error)
    errors = [whole]
    while (cause := errors[-1].__cause__ or errors[-1].__context__) is not None:
        errors.append(cause)
    theirs = [[frame for frame in one.stack if not frame.filename.startswith(_OURS)] for one in errors]
    if any(theirs) or isinstance(error, AiError | TypeError | SyntaxError):
        for one, frames in zip(errors, theirs, strict=True):
            one.stack[:] = frames
    return "".join(whole.format())
