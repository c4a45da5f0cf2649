"""The command line. Each command has a file; what is slow to import is imported when the command runs."""

from __future__ import annotations

from typing import Annotated

import typer

from cfai.cli.dev import dev
from cfai.cli.models import models
from cfai.cli.run import run
from cfai.cli.serve import serve

__all__ = ["app", "main"]

app = typer.Typer(
    name="cfai",
    help="Workers AI on your own machine.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
for command in (run, models, serve, dev):
    app.command()(command)


def _version(asked: bool) -> None:
    if asked:
        from cfai import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Workers AI on your own machine."""


def main() -> None:
    app()
