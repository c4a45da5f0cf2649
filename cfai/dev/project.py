"""Which Worker it is that runs: a project's files, and what was said on the command line over them."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cfai.config import Config, ConfigError, Remark, load_config, parse_variable, problems_of_flags

__all__ = ["Project"]


@dataclass(frozen=True, slots=True)
class Project:
    """What `cfai dev` was told to run. It is read anew at every reload.

    ```python
    Project(Path("examples/streaming"), variables=("GREETING:hey",)).read().vars  # {"GREETING": "hey"}
    ```
    """

    path: Path
    config_file: Path | None = None
    environment: str | None = None
    variables: tuple[str, ...] = ()
    """`NAME:VALUE`, over those of the files."""
    state: Path | None = None
    """Where bindings keep their data, if not in the project."""
    date: str | None = None
    flags: tuple[str, ...] = ()
    is_strict: bool = False
    """Whether to refuse what Cloudflare refuses at its date."""

    def read(self) -> Config:
        """Raises `ConfigError`."""
        config = load_config(
            self.path,
            environment=self.environment,
            config_file=self.config_file,
            variables=dict(map(_variable, self.variables)),
            strict=self.is_strict,
        )
        return replace(
            config,
            secret_names=config.secret_names - {_variable(text)[0] for text in self.variables},
            compatibility_date=_date(self.date) if self.date else config.compatibility_date,
            compatibility_flags=(*config.compatibility_flags, *self.flags),
            warnings=(*config.warnings, *map(Remark, problems_of_flags(self.flags))),
        )

    def state_of(self, config: Config) -> Path:
        # As wrangler's `--persist-to` has it.
        return config.state if self.state is None else self.state.absolute() / "v3"

    def options(self) -> list[str]:
        """For the command line of a worker process."""
        named: Sequence[tuple[str, object]] = [
            ("path", self.path),
            ("config", self.config_file),
            ("env", self.environment),
            ("persist-to", self.state),
            ("compatibility-date", self.date),
            *(("var", one) for one in self.variables),
            *(("compatibility-flag", one) for one in self.flags),
        ]
        options = [f"--{name}={value}" for name, value in named if value is not None]
        return [*options, "--strict-compat"] if self.is_strict else options


def _variable(text: str) -> tuple[str, str]:
    try:
        return parse_variable(text)
    except ValueError as error:
        raise ConfigError(f"--var {error}") from None


def _date(text: str) -> datetime.date:
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"--compatibility-date {text}: a date is YEAR-MONTH-DAY, such as 2026-06-01") from None
