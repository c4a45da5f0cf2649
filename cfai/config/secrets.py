"""The values that a project keeps beside its config: `.dev.vars`, or `.env` files.

Which files, and what wins, is as in wrangler's `getVarsForDev`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cfai.config.document import read_text
from cfai.config.dotenv import expand, parse_dotenv
from cfai.config.problems import Remark

__all__ = ["Secrets", "read_secrets"]

DEV_VARS = ".dev.vars"


@dataclass(frozen=True, slots=True)
class Secrets:
    """What was read, and from where."""

    values: Mapping[str, str] = field(default_factory=dict)
    files: tuple[Path, ...] = ()
    remarks: tuple[Remark, ...] = ()

    def limited_to(self, names: frozenset[str]) -> Secrets:
        return Secrets({name: value for name, value in self.values.items() if name in names}, self.files, self.remarks)


def read_secrets(
    folder: Path, environment: str | None, environ: Mapping[str, str], *, with_environ: bool = False
) -> Secrets:
    """`.dev.vars.<environment>`, otherwise `.dev.vars`, otherwise all the `.env` files, each over the one before.

    with_environ  let the variables of this process in, too, where there is no `.dev.vars`
    """
    own = [f"{DEV_VARS}.{environment}"] if environment else []
    for name in (*own, DEV_VARS):
        if (file := folder / name).is_file():
            return _read((file,))
    if environ.get("CLOUDFLARE_LOAD_DEV_VARS_FROM_DOT_ENV", "").lower() == "false":
        return Secrets()
    read = _read(file for name in _dotenv_names(environment) if (file := folder / name).is_file())
    is_asked = environ.get("CLOUDFLARE_INCLUDE_PROCESS_ENV", "").lower() == "true"
    given = environ if with_environ or is_asked else {}
    return Secrets({**given, **expand(read.values, given)}, read.files, read.remarks)


def _dotenv_names(environment: str | None) -> list[str]:
    names = [".env", f".env.{environment}"] if environment else [".env"]
    return [whole for name in names for whole in (name, f"{name}.local")]


def _read(files: Iterator[Path] | tuple[Path, ...]) -> Secrets:
    values: dict[str, str] = {}
    done: list[Path] = []
    remarks: list[Remark] = []
    for file in files:
        read = parse_dotenv(read_text(file))
        values |= read.values
        done.append(file)
        remarks += (Remark("expected NAME=value; the line counts for nothing", file, line) for line in read.wrong_lines)
    return Secrets(values, tuple(done), tuple(remarks))
