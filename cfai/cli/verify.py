"""`cfai verify`: whether weights are what they were when they came."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from cfai.cli.endings import ExitCode, fail_with
from cfai.cli.options import Json, SettingsFile
from cfai.errors import AiError

__all__ = ["verify"]


def verify(
    context: typer.Context,
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[MODEL...]", help="Model ids or hub repositories; all that are here by default."),
    ] = None,
    json: Json = False,
    settings_file: SettingsFile = None,
) -> None:
    """Read the weights on this machine and compare their checksums with those they came with.

    Exit codes: 0 all are good, 1 some are damaged, 3 none of that name, 130 Ctrl-C.
    """
    from cfai import sse
    from cfai.cli.pulling import reading
    from cfai.cli.settled import settled
    from cfai.weights.verify import here
    from cfai.weights.verify import verify as look

    settings = settled(context)
    catalog = settings.catalog
    rows: list[dict[str, Any]] = []
    try:
        for name in dict.fromkeys(names or here(catalog)):
            with reading(name) as progress:
                verdict = look(name, catalog=catalog, source=settings.source_of(name), progress=progress)
            rows.append(
                {
                    "name": name,
                    "folder": str(verdict.folder),
                    "commit": verdict.commit,
                    "files": verdict.files,
                    "bytes": verdict.size,
                    "problems": verdict.problems,
                    "damaged": verdict.is_damaged,
                }
            )
    except AiError as error:
        fail_with(error)
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    if json:
        sys.stdout.write(sse.dumps(rows) + "\n")
    else:
        _print_table(rows)
    if any(row["problems"] for row in rows):
        raise typer.Exit(ExitCode.FAILED)


def _print_table(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.filesize import decimal
    from rich.table import Table
    from rich.text import Text

    if not rows:
        sys.stdout.write("no weights are here; `cfai pull MODEL` fetches some\n")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("model", "commit", "files", "size", ""):
        table.add_column(name, justify="right" if name in ("files", "size") else "left", overflow="fold")
    for row in rows:
        is_good = not row["problems"]
        # Of a folder without checksums only the form was looked at.
        state = ("good" if row["files"] else "sound, without checksums") if is_good else "DAMAGED"
        cells = [row["name"], (row["commit"] or "")[:12], str(row["files"]), decimal(row["bytes"]), state]
        table.add_row(*map(Text, cells), style=None if is_good else "red")
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(table)
    for row in rows:
        for problem in row["problems"]:
            console.print(Text(f"{row['name']}: {problem}", style="red"), soft_wrap=True)
        if row["problems"] and not row["damaged"]:
            console.print(Text("the next load makes that again", style="red"), soft_wrap=True)
        if row["damaged"]:
            again = f"cfai import {row['name']} PATH" if row["name"].startswith("@") else f"cfai pull {row['name']}"
            console.print(Text(f"try: `{again}`, which replaces what is damaged"), soft_wrap=True)
