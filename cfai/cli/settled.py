"""The settings that hold for a command: its own options, environment variables, `cfai.toml`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cfai.cli.options import ExitCode, fail, parse_models

if TYPE_CHECKING:
    from cfai.config.settings import Settings

__all__ = ["settled"]


def settled(
    start: Path | None = None,
    *,
    models: Sequence[str] = (),
    pins: Sequence[str] = (),
    memory: str | None = None,
    keep_alive: str | None = None,
    as_of: str | None = None,
    fidelity: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    threads: int | None = None,
    slots: int | None = None,
    queue_limit: int | None = None,
    cache_tokens: int | None = None,
    draft_tokens: int | None = None,
    demo: bool | None = None,
    limits: bool | None = None,
    strict_retired: bool | None = None,
    offline: bool | None = None,
) -> Settings:
    """What the command was given, over the environment and the file. A mistake in those two ends the command.

    ```python
    settled(models=["@cf/mine/llama=./llama"], device="cpu").models["@cf/mine/llama"].weights  # "./llama"
    ```

    start  the file, or a folder to look in and above; default what CFAI_SETTINGS names, or the current folder
    """
    from cfai.catalog import parse_as_of
    from cfai.config import ConfigError
    from cfai.config.settings import load_settings
    from cfai.quantities import parse_duration, parse_size

    try:
        settings = load_settings(start).over(
            memory=None if memory is None else parse_size(memory),
            keep_alive=None if keep_alive is None else parse_duration(keep_alive),
            as_of=None if as_of is None else parse_as_of(as_of),
            fidelity=fidelity,
            device=device,
            dtype=dtype,
            threads=threads,
            slots=slots,
            queue_limit=queue_limit,
            cache_tokens=cache_tokens,
            draft_tokens=draft_tokens,
            demo=demo,
            limits=limits,
            strict_retired=strict_retired,
            offline=offline,
        )
        return settings.with_weights(parse_models([*models])).with_pins(pins)
    except ConfigError as error:
        fail(str(error), ExitCode.USAGE)
