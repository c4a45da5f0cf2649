"""`cfai doctor`: what would break in a project, on Cloudflare or here, without running it."""

from __future__ import annotations

import dataclasses
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cfai.cli.endings import ExitCode
from cfai.cli.options import ConfigFile, Environment

if TYPE_CHECKING:
    from rich.console import Console

    from cfai.doctor import Finding
    from cfai.doctor.findings import Level
    from cfai.doctor.machine import Check

__all__ = ["doctor"]

STYLES: dict[Level, str] = {"error": "bold red", "warning": "yellow", "note": "cyan"}


def doctor(
    path: Annotated[Path, typer.Argument(help="A project folder, a wrangler config, or a single script.")] = Path(),
    environment: Environment = None,
    config_file: ConfigFile = None,
    json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> None:
    """Read a Worker project and list what would break on Cloudflare or here.

    Exit codes: 0 no errors, 1 errors.
    """
    from cfai import sse
    from cfai.doctor import examine
    from cfai.doctor.machine import check_machine

    findings = examine(path, environment=environment, config_file=config_file)
    machine = list(check_machine())
    if json:
        rows = [{**dataclasses.asdict(one), "file": None if one.file is None else _shown(one.file)} for one in findings]
        sys.stdout.write(sse.dumps({"findings": rows, "machine": [dataclasses.asdict(one) for one in machine]}) + "\n")
    else:
        _print(findings, machine)
    if any(one.level == "error" for one in findings):
        raise typer.Exit(ExitCode.FAILED)


def _print(findings: list[Finding], machine: list[Check]) -> None:
    from rich.console import Console

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    for one in findings:
        _print_finding(console, one)
    counts = Counter(one.level for one in findings)
    parts = [f"{counts[level]} {level}{'s' if counts[level] != 1 else ''}" for level in STYLES if counts[level]]
    console.print(", ".join(parts) if parts else "nothing to mend", style="bold")
    console.print()
    width = max(len(one.name) for one in machine)
    for check in machine:
        style = None if check.is_fine is None else "green" if check.is_fine else "bold red"
        console.print(f"{check.name:<{width}}  ", end="", style="dim")
        console.print(check.found, style=style, markup=False)


def _print_finding(console: Console, one: Finding) -> None:
    from rich.padding import Padding
    from rich.text import Text

    where = "" if one.file is None else _shown(one.file) if one.line is None else f"{_shown(one.file)}:{one.line}"
    console.print(Text.assemble((where, "bold"), "  " if where else "", (one.level, STYLES[one.level])))
    lines = [Text(one.what), Text(one.why, "dim"), Text.assemble(("try: ", "bold"), one.fix) if one.fix else Text()]
    for line in filter(None, lines):
        console.print(Padding(line, (0, 0, 0, 2), expand=False))
    console.print()


def _shown(file: Path) -> str:
    """A path as one would type it here."""
    return str(file.relative_to(Path.cwd())) if file.is_relative_to(Path.cwd()) else str(file)
