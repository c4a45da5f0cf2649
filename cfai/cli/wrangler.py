"""`cfai wrangler`: a JavaScript project's wrangler, vite and vitest with an `env.AI` that cfai answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import typer

from cfai.cli.endings import ExitCode, fail

__all__ = ["plugin_path", "with_local_ai", "wrangler"]

DEFAULT_FILE = Path("wrangler.cfai.jsonc")
DEFAULT_URL = "http://127.0.0.1:8788"
MADE_BY = "// Made by `cfai wrangler --init`"


def wrangler(
    file: Annotated[
        Path, typer.Argument(help="The config to write with --init.", show_default=str(DEFAULT_FILE))
    ] = DEFAULT_FILE,
    plugin: Annotated[bool, typer.Option("--plugin", help="Print the path of the plugin and nothing else.")] = False,
    init: Annotated[
        bool, typer.Option("--init", help="Write a config: the project's own, with an AI binding that cfai answers.")
    ] = False,
    base: Annotated[
        Path | None,
        typer.Option("--from", help="The project's config; wrangler.json, .jsonc or .toml in this folder by default."),
    ] = None,
    url: Annotated[str, typer.Option(help="Where `cfai serve` is.")] = DEFAULT_URL,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
) -> None:
    """Let wrangler dev, vite, vitest and getPlatformProxy ask cfai: print the lines for a config, or write one.

    A token of the server is not written down: the plugin reads it from CFAI_TOKEN.
    """
    if plugin:
        typer.echo(plugin_path())
    elif init:
        _init(file, base, url, force=force)
    else:
        _explain(url)


def plugin_path() -> Path:
    """The plugin for miniflare that ships with cfai."""
    return Path(str(resources.files("cfai") / "javascript" / "plugin.cjs"))


def with_local_ai(config: Mapping[str, Any], *, plugin: Path, url: str) -> dict[str, Any]:
    """A wrangler config in which cfai answers for the AI binding, under the name that it has there.

    Environments have bindings of their own: each that has an AI binding gets a local one.
    """
    from cfai.config import ConfigError

    ai = config.get("ai")
    if ai is not None and not isinstance(ai, Mapping):
        raise ConfigError('"ai" should be an object, {"binding": "AI"}')
    unsafe = config.get("unsafe") or {}
    name = str((ai or {}).get("binding") or "AI")
    others = [binding for binding in unsafe.get("bindings") or () if binding.get("name") != name]
    changed = {key: value for key, value in config.items() if key not in ("ai", "unsafe", "env")}
    changed["unsafe"] = {**unsafe, "bindings": [*others, _binding(name, plugin, url)]}
    if environments := config.get("env"):
        changed["env"] = {
            key: with_local_ai(one, plugin=plugin, url=url) if isinstance(one, Mapping) and "ai" in one else one
            for key, one in environments.items()
        }
    return changed


def _binding(name: str, plugin: Path, url: str) -> dict[str, Any]:
    dev = {"plugin": {"package": str(plugin), "name": "cfai"}, "options": {"url": url}}
    return {"name": name, "type": "ai", "dev": dev}


def _init(file: Path, base: Path | None, url: str, *, force: bool) -> None:
    from rich.console import Console

    from cfai.config import CONFIG_NAMES, ConfigError, read_document

    if file.suffix not in (".json", ".jsonc"):
        fail(f"{file} would be JSON", ExitCode.USAGE, hint="a name that ends in .jsonc")
    if file.exists() and not force:
        fail(f"{file} is there already", ExitCode.USAGE, hint="another name, or --force to write over it")
    if base is None:
        # A file by hand that is written over is its own base; one that this command made follows the project's config.
        places = [file.parent / name for name in CONFIG_NAMES]
        places.insert(len(places) if file.name not in CONFIG_NAMES and _is_made_here(file) else 0, file)
        base = next((place for place in places if place.is_file()), None)
    if base is not None and base.absolute().parent != file.absolute().parent:
        fail(
            f"{base} is in another folder, and its paths begin there", ExitCode.USAGE, hint=f"{base.parent / file.name}"
        )
    try:
        config = read_document(base) if base is not None else _new_config(file.absolute().parent)
        config = with_local_ai(config, plugin=plugin_path(), url=url)
    except ConfigError as error:
        fail(str(error), ExitCode.USAGE)
    origin = f", from {base.name}" if base else ""
    note = f"{MADE_BY}{origin}. It has a path of this machine in it: not for a repository.\n"
    text = json.dumps(config, indent=2, ensure_ascii=False, default=str)
    file.write_text((note if file.suffix == ".jsonc" else "") + text + "\n", "utf-8")

    console = Console(highlight=False, soft_wrap=True)
    console.print(f"[bold]{file}[/bold] is written{origin}. Start `cfai serve`, then one of:")
    console.print(f"  npx wrangler dev -c {file}", style="cyan", markup=False)
    console.print(f"  cloudflare({{ configPath: {json.dumps(file.name)} }})", style="cyan", markup=False, end="")
    console.print("                         in vite.config.js", style="dim")
    console.print(f"  cloudflareTest({{ wrangler: {{ configPath: {json.dumps(file.name)} }} }})", style="cyan", end="")
    console.print("       in vitest.config.js", style="dim")
    console.print(f"  getPlatformProxy({{ configPath: {json.dumps(file.name)} }})", style="cyan", markup=False)


def _is_made_here(file: Path) -> bool:
    """Whether a config is an earlier one of this command's; plain JSON has no note, but the plugin's path."""
    if not file.is_file():
        return False
    text = file.read_text("utf-8", "replace")
    end_of_path = json.dumps(str(Path(*plugin_path().parts[-3:])))[1:]
    return text.startswith(MADE_BY) or (file.suffix == ".json" and end_of_path in text)


def _new_config(folder: Path) -> dict[str, Any]:
    """The config of a project that has none: its script is where wrangler's own templates put it."""
    scripts = [f"{place}{name}" for name in ("index", "worker", "_worker") for place in ("src/", "")]
    found = [f"{script}.{kind}" for script in scripts for kind in ("ts", "js", "mjs")]
    main = next((script for script in found if (folder / script).is_file()), None)
    if main is None:
        from cfai.config import ConfigError

        raise ConfigError("no wrangler config here, and no script such as src/index.ts to write one for")
    return {"name": folder.name or "worker", "main": main, "compatibility_date": "2026-01-01"}


def _explain(url: str) -> None:
    from rich.console import Console
    from rich.syntax import Syntax

    console = Console(highlight=False)
    console.print('In place of [bold]"ai"[/bold], these lines in a wrangler config make cfai answer env.AI:\n')
    lines = json.dumps({"unsafe": {"bindings": [_binding("AI", plugin_path(), url)]}}, indent=2)
    body = "\n".join(line[2:] for line in lines.splitlines()[1:-1])
    # Not the Syntax itself: that cuts its lines off at the terminal's edge, and these are for copying.
    console.print(Syntax("", "json", background_color="default").highlight(body), soft_wrap=True, end="")
    console.print("\n`cfai wrangler --init` writes them into a copy of the project's config, wrangler.cfai.jsonc.")
