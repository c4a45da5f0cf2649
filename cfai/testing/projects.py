"""Which Worker project a test is about, and its modules."""

from __future__ import annotations

import fnmatch
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from cfai.config import CONFIG_NAMES, Config, load_config
from cfai.worker.loader import import_path
from cfai.worker.places import is_the_projects

__all__ = ["NoProject", "fresh_import", "is_a_test", "project_of"]


class NoProject(Exception):
    """There is no Worker for a test, and what to do about it."""


def project_of(test: Path, named: str | None, setting: str, base: Path, variables: Mapping[str, Any]) -> Config:
    """The project of the file `test`.

    named    the path of a marker, told from the test's folder or from `base`
    setting  the path of the ini option `cfai_project`, told from `base`
    """
    if named is not None:
        config = load_config(_existing(named, test.parent, base))
    elif setting:
        config = load_config(base / setting)
    elif (file := nearest_config(test.parent)) is not None:
        config = load_config(file)
    else:
        raise NoProject(
            f"the fixtures worker and env want a Worker, and there is no {', '.join(CONFIG_NAMES[:-1])} or "
            f"{CONFIG_NAMES[-1]} in {test.parent} or above. Name one: @pytest.mark.worker('src/entry.py') on the test, "
            "or cfai_project = path/of/the/project in pytest's settings"
        )
    return replace(config, vars={**config.vars, **variables}) if variables else config


def _existing(named: str, *bases: Path) -> Path:
    tried = [base / named for base in bases]
    for path in tried:
        if path.exists():
            return path
    places = list(dict.fromkeys(map(str, tried)))
    none = f"there is no {places[0]}" if len(places) == 1 else f"there is neither {' nor '.join(places)}"
    raise NoProject(f"@pytest.mark.worker({named!r}): {none}")


def nearest_config(folder: Path) -> Path | None:
    """The config file of the project that `folder` is in."""
    for at in (folder, *folder.parents):
        for name in CONFIG_NAMES:
            if (at / name).is_file():
                return at / name
    return None


def is_a_test(tests: Path, root: Path, patterns: Sequence[str]) -> Callable[[Path], bool]:
    """Tells the files of tests from those of the Worker below `root`, where both may be.

    tests     the folder of the test that runs
    patterns  how files of tests are called
    """
    apart = tests.is_relative_to(root) and tests != root

    def tell(file: Path) -> bool:
        if file.name == "conftest.py" or any(fnmatch.fnmatch(file.name, pattern) for pattern in patterns):
            return True
        return apart and file.is_relative_to(tests)

    return tell


@contextmanager
def fresh_import(root: Path, keeps: Callable[[Path], bool]) -> Iterator[None]:
    """Have the project's modules imported anew, but for the files that `keeps` tells; afterwards all is as before."""
    hidden = {}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file is not None and is_the_projects(file, root) and not keeps(Path(file)):
            hidden[name] = sys.modules.pop(name)
    try:
        with import_path(root):
            yield
    finally:
        sys.modules.update(hidden)
