"""`cfai types`: stubs for editors, so that `self.env` of a Worker has the names that its config gives it."""

from __future__ import annotations

import json
import keyword
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cfai.cli.endings import ExitCode, fail
from cfai.cli.options import ConfigFile, Environment

if TYPE_CHECKING:
    from cfai.config import Config

__all__ = ["types"]

FOLDER = Path("typings")
"""Where Pyright, and with it Pylance, looks for stubs when it is not told otherwise."""

MADE_BY = "# Written by `cfai types`"


def types(
    path: Annotated[Path, typer.Argument(help="A project folder, a wrangler config, or a single script.")] = Path(),
    environment: Environment = None,
    config_file: ConfigFile = None,
    into: Annotated[Path, typer.Option(help="The folder to write to, from that of the project.")] = FOLDER,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit 1 if something would be written.")
    ] = False,
) -> None:
    """Write stubs that tell editors and type checkers what self.env, workers, js and pyodide have.

    Without --env, env has what the top of the config and any of its environments give it.

    Exit codes: 0 written, or up to date; 1 out of date, with --check; 2 the project cannot be read.
    """
    from cfai.config import ConfigError

    try:
        configs = _configs(path, environment, config_file)
    except ConfigError as error:
        fail(str(error), ExitCode.USAGE)
    project = configs[0].folder
    texts = {project / into / name: text for name, text in _texts(configs).items()}
    stale = [file for file, text in texts.items() if not file.is_file() or file.read_text("utf-8", "replace") != text]
    if check:
        _report(stale, into)
        return
    if theirs := next((file for file in stale if _is_theirs(file)), None):
        fail(f"{theirs} is not from cfai types", ExitCode.USAGE, hint="--into another folder")
    try:
        for file in stale:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(texts[file], "utf-8")
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}", ExitCode.FAILED)
    _tell(configs, project, into, changed=bool(stale))


def _configs(path: Path, environment: str | None, config_file: Path | None) -> list[Config]:
    from cfai.config import find_config, load_config, read_document

    if environment is not None:
        return [load_config(path, environment=environment, config_file=config_file)]
    source = find_config(path, config_file)
    named = read_document(source).get("env") if source is not None else None
    names = named if isinstance(named, Mapping) else ()
    return [load_config(path, environment=name, config_file=config_file) for name in ("", *names)]


def _report(stale: list[Path], into: Path) -> None:
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    if stale:
        console.print(
            f"{into} is out of date: {', '.join(file.name for file in stale)}; run `cfai types`", markup=False
        )
        raise typer.Exit(ExitCode.FAILED)
    console.print(f"{into} is up to date", markup=False)


def _is_theirs(file: Path) -> bool:
    return file.is_file() and not file.read_text("utf-8", "replace").startswith(MADE_BY)


def _tell(configs: list[Config], project: Path, into: Path, *, changed: bool) -> None:
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    console.print(f"[bold]{into}[/bold] {'is written' if changed else 'is up to date'}; self.env has:")
    rows = _members(configs)
    width = max((len(name) for name in rows), default=0)
    for name, kind in rows.items():
        console.print(f"  {name:<{width}}  {kind}", style="cyan", markup=False)
    if not rows:
        console.print("  nothing", style="dim")
    missing = _missing_settings(project, into)
    there = "in this folder once pyproject.toml has:" if missing else "in this folder."
    console.print(f"Pyright, VS Code and mypy find them {there}", style="dim")
    for tool, settings in missing.items():
        lines = [f"[tool.{tool}]", *(f"{key} = {json.dumps(value)}" for key, value in settings.items())]
        console.print("\n".join(f"  {line}" for line in lines), style="cyan", markup=False)


def _missing_settings(project: Path, into: Path) -> dict[str, dict[str, Any]]:
    """What pyproject.toml is to say, without what it says already."""
    wanted: dict[str, dict[str, Any]] = {
        # They are stubs of modules that are nowhere to be installed.
        "pyright": {"stubPath": into.as_posix(), "reportMissingModuleSource": False},
        "mypy": {"mypy_path": into.as_posix(), "check_untyped_defs": True},
    }
    try:
        tools: Any = tomllib.loads((project / "pyproject.toml").read_text("utf-8")).get("tool", {})
    except (OSError, ValueError):
        tools = {}
    missing = {
        tool: {key: value for key, value in settings.items() if tools.get(tool, {}).get(key) != value}
        for tool, settings in wanted.items()
    }
    if into == FOLDER:
        missing["pyright"].pop("stubPath", None)
    return {tool: settings for tool, settings in missing.items() if settings}


def _texts(configs: Iterable[Config]) -> dict[str, str]:
    from cfai.catalog import Catalog

    configs = list(configs)
    head = f"{MADE_BY}; it writes over changes.\n"
    texts = {name: head + text for name, text in _stubs(resources.files("cfai") / "stubs")}
    known = [model for model in Catalog.builtin().models() if not model.is_retired()]
    ids = "".join(f'    "{model.id}",\n' for model in known if model.generates_text)
    texts["workers/_models.pyi"] = f"{head}from typing import Literal\n\nTextModel = Literal[\n{ids}]\n"
    texts["workers/_env.pyi"] = head + _env(_members(configs))
    return texts


def _stubs(folder: Traversable, within: str = "") -> Iterator[tuple[str, str]]:
    for one in sorted(folder.iterdir(), key=lambda one: one.name):
        if one.is_dir():
            yield from _stubs(one, f"{within}{one.name}/")
        elif one.name.endswith(".pyi.txt"):
            yield within + one.name.removesuffix(".txt"), one.read_text("utf-8")


def _env(members: Mapping[str, str]) -> str:
    lines = "".join(f"    {name}: {kind}\n" for name, kind in members.items())
    return (
        "from typing import Any\n\n"
        "from pyodide.ffi import JsArray, JsObject\n\n"
        "from workers._bindings import Ai, D1Database, Fetcher, KVNamespace, VectorizeIndex, VersionMetadata\n\n"
        "class Env:\n"
        f"{lines}    _env: Env\n"
    )


def _members(configs: Iterable[Config]) -> dict[str, str]:
    """The attributes of env with their types; one that differs between environments has them all."""
    found: dict[str, list[str]] = {}
    for config in configs:
        for name, kind in _declared(config):
            # A name that is no attribute is reached by getattr, of which no checker knows.
            if name.isidentifier() and not keyword.iskeyword(name):
                found.setdefault(name, []).append(kind)
    return {name: " | ".join(dict.fromkeys(kinds)) for name, kinds in found.items()}


def _declared(config: Config) -> Iterator[tuple[str, str]]:
    if config.ai_binding is not None:
        yield config.ai_binding, "Ai"
    if config.assets is not None and config.assets.binding is not None:
        yield config.assets.binding, "Fetcher"
    if config.version_metadata is not None:
        yield config.version_metadata, "VersionMetadata"
    yield from ((one.binding, "KVNamespace") for one in config.kv_namespaces)
    yield from ((one.binding, "D1Database") for one in config.d1_databases)
    yield from ((one.binding, "VectorizeIndex") for one in config.vectorize)
    yield from ((name, _type_of(value)) for name, value in config.vars.items())
    typed = {"KV Namespace", "D1 Database", "Vectorize Index"}
    yield from ((name, "Any") for name, kind in config.not_simulated if name and kind not in typed)


def _type_of(value: object) -> str:
    if isinstance(value, bool | int | float | str):
        return type(value).__name__
    return "JsArray" if isinstance(value, list) else "JsObject"
