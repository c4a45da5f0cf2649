"""`cfai models`: what the catalog knows and what is on this machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cfai.cli.options import AsOf, Models, SettingsFile

if TYPE_CHECKING:
    from cfai.catalog import Catalog, Model
    from cfai.config.settings import ModelSettings
    from cfai.weights import Source

__all__ = ["models"]

WIDE = 110
"""Columns of a terminal in which an id and what belongs to it stand side by side."""
PIPED = 160
"""Columns of a table that is no terminal's, where COLUMNS does not say otherwise."""

Row = dict[str, Any]


def models(
    context: typer.Context,
    json: Annotated[bool, typer.Option("--json", help="Print a JSON array.")] = False,
    here: Annotated[
        bool, typer.Option("--here", help="Only models whose weights are on this machine, or that a server answers.")
    ] = False,
    retired: Annotated[
        bool, typer.Option("--retired", help="Only what Cloudflare has retired, with the day and what is used now.")
    ] = False,
    task: Annotated[
        str | None, typer.Option(metavar="TASK", help="Only models of this task, such as 'Text Generation'.")
    ] = None,
    search: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Only models with this in the id or the description.")
    ] = None,
    author: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only models of this author, such as meta.")
    ] = None,
    as_of: AsOf = None,
    models: Models = [],  # noqa: B006  # Typer copies it
    settings_file: SettingsFile = None,
) -> None:
    """List the models of the catalog, those of cfai.toml, and the weights on this machine.

    With --as-of it is the catalog of that day.
    """
    from cfai import sse
    from cfai.catalog import Search
    from cfai.cli.settled import settled
    from cfai.config.settings import ModelSettings

    settings = settled(context)
    day, catalog = settings.as_of, settings.catalog
    named = {catalog.get(name).id: model for name, model in settings.models.items()}
    wanted = Search(text=search, task=task, author=author)
    if task is not None:
        _check_task(task, catalog)
    found = [model for model in catalog.models() if wanted.finds(model, catalog)]
    listed = [model for model in found if _is_listed(model, day, retired=retired, is_named=model.id in named)]
    rows = [_row(model, catalog, day, named.get(model.id, ModelSettings())) for model in listed]
    if here:
        rows = [row for row in rows if _can_answer(row)]
    if json:
        sys.stdout.write(sse.dumps(rows) + "\n")
        return
    _print_table(rows, _RETIRED if retired else _COLUMNS)
    unknown = sum(not model.is_dated and model.bundled is None for model in found)
    if day is not None and not retired and unknown:
        typer.echo(f"{unknown} more have no known days: cfai models lists them", err=True)


def _check_task(task: str, catalog: Catalog) -> None:
    from cfai.catalog import Search
    from cfai.cli.endings import ExitCode, fail
    from cfai.wording import nearest

    if not any(Search(task=task).finds(model, catalog) for model in catalog.models()):
        names = sorted({model.task for model in catalog.models()})
        near = nearest(task, names)
        meant = f"did you mean {near!r}? " if near else ""
        fail(f"no model has the task {task!r}", ExitCode.USAGE, hint=f"{meant}there are {', '.join(names)}")


def _is_listed(model: Model, day: date | None, *, retired: bool, is_named: bool) -> bool:
    if retired:
        return model.is_retired(day)
    if day is None or is_named or model.bundled is not None:
        return True
    return model.is_dated and model.existed(day) and not model.is_retired(day)


def _row(model: Model, catalog: Catalog, day: date | None, said: ModelSettings) -> Row:
    limits = model.limits(day)
    folder = None if said.upstream else _folder(model, said.source)
    is_retired = model.is_retired(day)
    successor = catalog.successor_of(model) if is_retired else None
    since = model.deprecated or model.removed
    return {
        "id": model.id,
        "task": model.task,
        "description": model.description,
        "created": str(model.created) if model.created else None,
        "context_window": limits.context_window,
        "max_input_tokens": limits.max_input_tokens,
        "max_output_tokens": limits.max_output_tokens,
        "default_max_tokens": limits.default_max_tokens,
        "default_max_tokens_streaming": limits.default_max_tokens_streaming,
        "retired": is_retired,
        "retired_since": str(since) if is_retired and since else None,
        "successor": successor.id if successor else None,
        "weights": said.weights or (model.weights.repo if model.weights else None),
        "folder": str(folder) if folder else None,
        "bytes": _size(folder),
        "upstream": said.upstream.url if said.upstream else None,
        "settings": said.where or None,
    }


def _folder(model: Model, source: Source | None) -> Path | None:
    from cfai import weights
    from cfai.errors import WeightsMissing

    if source is not None and source.gguf is not None:
        return source.gguf  # it becomes a folder when it is first run
    try:
        return weights.find(model, source, offline=True)  # nothing is fetched for a list
    except WeightsMissing:
        return None


def _size(folder: Path | None) -> int | None:
    from cfai import weights

    if folder is None:
        return None
    return folder.stat().st_size if folder.is_file() else weights.size_on_disk(folder)


def _can_answer(row: Row) -> bool:
    return row["folder"] is not None or row["upstream"] is not None


def _here(row: Row) -> str:
    from rich.filesize import decimal

    return decimal(row["bytes"]) if row["folder"] else "upstream" if row["upstream"] else ""


def _context(row: Row) -> str:
    """The window, or before there was one, what a prompt and what an answer may have."""
    if row["context_window"]:
        return f"{row['context_window']:,}"
    parts = (row["max_input_tokens"], row["max_output_tokens"])
    return " + ".join(f"{tokens:,}" for tokens in parts if tokens)


Columns = Mapping[str, Callable[[Row], str]]

_COLUMNS: Columns = {
    "context": _context,
    "here": _here,
    "": lambda row: "retired" if row["retired"] else "",
    "task": lambda row: row["task"],
}
_RETIRED: Columns = {
    "since": lambda row: row["retired_since"] or "",
    "here": _here,
    "what to use there": lambda row: row["successor"] or "",
}
_RIGHT = frozenset({"context", "here"})
_BELOW = frozenset({"what to use there"})
"""Columns that stand below the id where the terminal is narrow."""
_LAST = frozenset({"task"})
"""Columns that a narrow terminal goes without."""


def _print_table(rows: Sequence[Row], columns: Columns) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else PIPED)
    is_wide = console.width >= WIDE
    beside = {name: cell for name, cell in columns.items() if is_wide or name not in _BELOW | _LAST}
    below = [] if is_wide else [cell for name, cell in columns.items() if name in _BELOW]
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("model", no_wrap=True, min_width=0)
    for name in beside:
        table.add_column(name, justify="right" if name in _RIGHT else "left", no_wrap=True)
    for row in sorted(rows, key=lambda row: (not _can_answer(row), row["id"])):
        name = "\n  ".join([row["id"], *(f"now {text}" for cell in below if (text := cell(row)))])
        table.add_row(name, *(cell(row) for cell in beside.values()), style=None if _can_answer(row) else "dim")
    console.print(table)
    console.print(f"{sum(map(_can_answer, rows))} of {len(rows)} here", style="bold", highlight=False)
