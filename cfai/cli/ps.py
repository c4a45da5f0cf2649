"""`cfai ps`: the models that running servers have loaded."""

from __future__ import annotations

import sys
import time
from typing import Annotated, Any

import typer

from cfai.cli.figures import Figures, ModelFigures, NoFigures, Server, Socket, Token, Url, servers

__all__ = ["ps"]

RATE_SECONDS = 0.5
"""How long it looks on where something runs, to tell how fast."""

WIDE = 100
"""Columns of a terminal that has room for the way of batching; the reason why there is none stands below anyway."""


def ps(
    url: Url = None,
    socket: Socket = None,
    token: Token = None,
    json: Annotated[bool, typer.Option("--json", help="Print a JSON array.")] = False,
) -> None:
    """List the models that running servers have loaded, and what they do.

    Exit codes: 0 a server answers, 2 it wants a token or is no address, 4 no server answers.
    """
    from cfai import sse

    try:
        with servers(url, socket, token) as there:
            seen = {server.name: _looked_at(server) for server in there}
    except NoFigures as error:
        error.end()
    if json:
        sys.stdout.write(sse.dumps([row for rows, _ in seen.values() for row in rows]) + "\n")
        return
    for name, (rows, neurons) in seen.items():
        if len(seen) > 1:
            sys.stdout.write(f"{name}\n")
        if rows:
            _print_table(rows)
        else:
            sys.stdout.write("no model is loaded; one is when it is first asked for\n")
        if neurons is not None:
            sys.stdout.write(f"{neurons}\n")


def _looked_at(server: Server) -> tuple[list[dict[str, Any]], str | None]:
    """A server's models, and the day's free neurons in words."""
    before = figures = server.figures()
    if any(model.values.get("requests_running") for model in before.models.values()):
        time.sleep(RATE_SECONDS)
        figures = server.figures()
    rows = [_row(server, name, model, figures, before) for name, model in sorted(figures.models.items())]
    return rows, figures.neurons


def _row(server: Server, name: str, model: ModelFigures, figures: Figures, before: Figures) -> dict[str, Any]:
    counts = {
        key: int(model.values[value]) if value in model.values else None
        for key, value in {
            "memory": "weights_bytes",
            "memory_in_all": "model_memory_bytes",
            "slots": "slots",
            "running": "requests_running",
            "queue_limit": "queue_limit",
            "waiting": "requests_waiting",
        }.items()
    }
    seconds = figures.at - before.at
    made = model.since("output_tokens", before.models.get(name))
    return {
        "server": server.name,
        "model": name,
        **{key: model.info.get(key) or None for key in ("device", "dtype", "precision", "batching", "state")},
        **counts,
        "pinned": bool(model.values.get("model_pinned")),
        **{key: model.values.get(f"model_{key}") for key in ("idle_seconds", "leaves_in_seconds")},
        "tokens_per_second": round(made / seconds, 1) if seconds and "output_tokens" in model.values else None,
    }


def _print_table(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.filesize import decimal
    from rich.table import Table
    from rich.text import Text

    console = Console(width=None if sys.stdout.isatty() else 160)
    is_wide = console.width >= WIDE
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2 if is_wide else 1, 0, 0))
    table.add_column("model", overflow="fold")
    table.add_column("runs on", no_wrap=True)
    for name in ("memory", "running", "waiting", "tokens/s", "leaves"):
        table.add_column(name, justify="right", no_wrap=True)
    if is_wide:
        table.add_column("batching", no_wrap=True)
    for row in rows:
        cells = [
            row["model"],
            " ".join(filter(None, (row["device"], row["dtype"]))) or _NOT_YET.get(row["state"], "loading"),
            decimal(memory) if (memory := row["memory_in_all"] or row["memory"]) else "",
            _of(row["running"], row["slots"]),
            _of(row["waiting"], row["queue_limit"]),
            "" if row["tokens_per_second"] is None else f"{row['tokens_per_second']:,.1f}",
            _leaves(row),
            *([(row["batching"] or "").partition(":")[0]] if is_wide else []),
        ]
        table.add_row(*map(Text, cells))
    console.print(table)
    for row in rows:
        if row["precision"]:
            console.print(Text(f"{row['model']} runs as {row['precision']}", style="yellow"), soft_wrap=True)
        if ":" in (row["batching"] or ""):
            console.print(Text(f"{row['model']} runs {row['batching']}", style="yellow"), soft_wrap=True)


_NOT_YET = {"waiting": "waits for room", "leaving": "leaves"}
"""What a model does that runs on no device, by its state."""


def _leaves(row: dict[str, Any]) -> str:
    """When a model leaves memory: in minutes and seconds once it is idle."""
    if row["pinned"]:
        return "pinned"
    if row["leaves_in_seconds"] is not None:
        minutes, seconds = divmod(round(row["leaves_in_seconds"]), 60)
        return f"in {minutes}:{seconds:02}"
    return "" if row["idle_seconds"] is None else "never"


def _of(count: int | None, most: int | None) -> str:
    return "" if count is None else str(count) if most is None else f"{count}/{most}"
