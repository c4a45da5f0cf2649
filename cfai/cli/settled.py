"""The settings that hold for a command: its own options, environment variables, `cfai.toml`.

An option of a command that has the name of a key of the settings is that key; so none can be forgotten on the way.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cfai.cli.endings import ExitCode, fail
from cfai.cli.options import parse_models, parse_upstreams

if TYPE_CHECKING:
    from cfai.config.settings import Settings

__all__ = ["passed_on", "settled"]


def settled(context: typer.Context, start: Path | None = None) -> Settings:
    """What the command was given, over the environment and the file. A mistake in those two ends the command.

    ```python
    settled(context).memory  # 8000000000, of --memory 8GB, CFAI_MEMORY or cfai.toml
    ```

    start  where to look if not at --settings; default what CFAI_SETTINGS names, or the current folder
    """
    from cfai.config import ConfigError
    from cfai.config.settings import KINDS, UpstreamSettings, load_settings

    given = context.params
    said = {
        key: kind.spell(given[key]) if isinstance(given[key], str) else kind.read(given[key])
        for key, kind in KINDS.items()
        if given.get(key) is not None
    }
    try:
        settings = load_settings(given.get("settings_file") or start).over(**said)
        models = given.get("models") or []
        upstreams = {name: UpstreamSettings(url) for name, url in parse_upstreams(models).items()}
        return settings.with_weights(parse_models(models)).with_upstreams(upstreams).with_pins(given.get("pin") or ())
    except ConfigError as error:
        fail(str(error), ExitCode.USAGE)


def passed_on(context: typer.Context) -> list[str]:
    """The options of the command that say how models run, for the `cfai serve` of another process.

    ```python
    passed_on(context)  # ["--memory=8GB", "--no-demo", "--model=@cf/mine/llama=./llama"]
    ```
    """
    from cfai.config.settings import KINDS

    passed = []
    for option in context.command.params:
        given = context.params.get(option.name or "")
        if given is None or option.name not in (*KINDS, "models", "pin"):
            continue
        if isinstance(given, bool):
            passed.append((option.opts if given else option.secondary_opts)[0])
        else:
            passed += [f"{option.opts[0]}={one}" for one in (given if isinstance(given, list | tuple) else [given])]
    return passed
