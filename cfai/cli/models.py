"""`cfai models`: what the catalog knows and what is on this machine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from cfai.cli.options import AsOf, Models, parse_models

__all__ = ["models"]


def models(
    json: Annotated[bool, typer.Option("--json", help="Print a JSON array.")] = False,
    here: Annotated[bool, typer.Option("--here", help="Only models whose weights are on this machine.")] = False,
    as_of: AsOf = None,
    sources: Models = [],  # noqa: B006  # Typer copies it
) -> None:
    """List the models of the catalog and the weights on this machine."""
    from cfai import sse
    from cfai.catalog import Catalog, Model, parse_as_of

    day = parse_as_of(as_of) if as_of else None
    named = parse_models(sources)
    builtin = Catalog.builtin()
    known = {model.id for model in builtin.models()}
    catalog = builtin.with_models(*(Model(id=name) for name in named if name not in known))
    rows = []
    for model in catalog.models():
        source = named.get(model.id)
        folder = _folder(model, source)
        if here and folder is None:
            continue
        limits = model.limits(day)
        rows.append(
            {
                "id": model.id,
                "task": model.task,
                "context_window": limits.context_window,
                "max_output_tokens": limits.max_output_tokens,
                "retired": model.is_retired(day),
                "weights": source.place if source else model.weights.repo if model.weights else None,
                "folder": str(folder) if folder else None,
                "bytes": _size(folder),
            }
        )
    if json:
        sys.stdout.write(sse.dumps(rows) + "\n")
    else:
        _print_table(rows)


def _folder(model: Any, source: Any) -> Path | None:
    from cfai import weights
    from cfai.errors import WeightsMissing

    if source is not None and source.folder is None:
        return None  # a repository is fetched when it is first run, not when it is listed
    try:
        return weights.find(model, source)
    except WeightsMissing:
        return None


def _size(folder: Path | None) -> int | None:
    from cfai import weights

    return weights.size_on_disk(folder) if folder else None


def _print_table(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.filesize import decimal
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("model", "context", "here", "", "task"):
        table.add_column(name, justify="right" if name in ("context", "here") else "left", no_wrap=True)
    for row in sorted(rows, key=lambda row: (row["folder"] is None, row["id"])):
        table.add_row(
            row["id"],
            f"{row['context_window']:,}" if row["context_window"] else "",
            decimal(row["bytes"]) if row["folder"] else "",
            "retired" if row["retired"] else "",
            row["task"],
            style=None if row["folder"] else "dim",
        )
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(table)
    console.print(
        f"{sum(row['folder'] is not None for row in rows)} of {len(rows)} here", style="bold", highlight=False
    )
