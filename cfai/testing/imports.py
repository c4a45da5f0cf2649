"""What a Worker's script imports, found for tests that import the script at their top."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cfai.config import Config

__all__ = ["ScriptImports"]


class ScriptImports:
    """Finds `workers`, `js` and the like, and a project's modules, where a file of the project imports them.

    setting  the project that pytest's settings name, for all files
    """

    def __init__(self, setting: Path | None) -> None:
        self._setting = setting
        self._projects: dict[str, Config | None] = {}
        self._problems: dict[str, str] = {}
        self._served: dict[str, Path] = {}
        self.env: Any = None
        """The `env` of the test that runs, which `from workers import env` gives."""

    def find(self, name: str, importer: str) -> ModuleSpec | None:
        """Where `name` is, if `importer` is a file of a Worker project that means this module."""
        config = self._project(importer)
        if config is None:
            return None
        from cfai.worker.loader import SHIM, SHIM_NAMES
        from cfai.worker.places import is_the_projects

        if not is_the_projects(importer, config.folder):
            return None
        if name not in SHIM_NAMES:
            spec = PathFinder.find_spec(name, [str(config.root)])
            if spec is not None:
                self._served[name] = config.root
            return spec
        if _is_a_double("workers", config) or _is_a_double(name, config):
            return None  # a suite that plays the runtime itself means the branch without `js`, if there is one
        spec = PathFinder.find_spec(name, [str(SHIM)])
        if name == "workers" and spec is not None and spec.origin is not None:
            spec.loader = _WithEnv(spec.origin, self)
        return spec

    def _project(self, importer: str) -> Config | None:
        folder = Path(importer).parent
        if str(folder) not in self._projects:
            self._projects[str(folder)] = self._read(folder)
        return self._projects[str(folder)]

    def _read(self, folder: Path) -> Config | None:
        # Every pytest run of the environment may come to this point, and few of them in a Worker project.
        if self._setting is None and not any(map(_may_be_a_project, (folder, *folder.parents))):
            return None
        from cfai.config import ConfigError, load_config
        from cfai.testing.projects import nearest_config

        file = self._setting or nearest_config(folder)
        try:
            config = None if file is None else load_config(file)
        except ConfigError as error:  # a Worker in JavaScript, for one; who asks for a fixture is told
            self._problems[str(folder)] = str(error)
            return None
        return None if config is None or config.main is None else config

    def problem_at(self, file: Path) -> str | None:
        """What is wrong with the config of the project that `file` is in, if a module was looked for there."""
        return self._problems.get(str(file.parent))

    def leave(self, file: Path) -> None:
        """Forget the modules of other projects than that of `file`, whose own may have the same names."""
        config = self._project(str(file))
        root = None if config is None else config.root
        for name in [name for name, of in self._served.items() if of != root]:
            del self._served[name]
            for each in [each for each in sys.modules if each == name or each.startswith(f"{name}.")]:
                del sys.modules[each]


def _is_a_double(name: str, config: Config) -> bool:
    """Whether the suite has a module of its own in the place of `name`: in `sys.modules`, or as a file."""
    from cfai.worker.loader import SHIM
    from cfai.worker.places import is_the_projects

    if (module := sys.modules.get(name)) is not None:
        file: str | None = getattr(module, "__file__", None)
        return file is None or (is_the_projects(file, config.folder) and not Path(file).is_relative_to(SHIM))
    own = PathFinder.find_spec(name)
    return own is not None and own.origin is not None and is_the_projects(own.origin, config.folder)


def _may_be_a_project(folder: Path) -> bool:
    return any((folder / f"wrangler.{kind}").is_file() for kind in ("json", "jsonc", "toml"))


class _WithEnv(SourceFileLoader):
    def __init__(self, path: str, imports: ScriptImports) -> None:
        super().__init__("workers", path)
        self._imports = imports

    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        module.__dict__["env"] = _EnvOfTheTest(self._imports)


class _EnvOfTheTest:
    """`workers.env` of a script that a test file has imported: it outlives the test, and its values do not."""

    def __init__(self, imports: ScriptImports) -> None:
        self.__dict__["_imports"] = imports

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if (env := self.__dict__["_imports"].env) is None:
            raise RuntimeError(
                f"env.{name}: `from workers import env` has values in a test that asks for the fixture env"
            )
        return getattr(env, name)

    def __repr__(self) -> str:
        return f"<the env of the test that runs: {self.__dict__['_imports'].env!r}>"
