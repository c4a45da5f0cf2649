"""The command line. Each command has a file; what is slow to import is imported when the command runs."""

from __future__ import annotations

import os
import sys
import threading
from typing import Annotated

import typer

from cfai.cli.cost import cost
from cfai.cli.d1 import d1
from cfai.cli.dev import dev
from cfai.cli.doctor import doctor
from cfai.cli.fuzz import fuzz
from cfai.cli.import_weights import import_weights
from cfai.cli.init import init
from cfai.cli.models import models
from cfai.cli.ps import ps
from cfai.cli.pull import pull
from cfai.cli.rm import rm
from cfai.cli.run import run
from cfai.cli.serve import serve
from cfai.cli.tape import tape
from cfai.cli.top import top
from cfai.cli.types import types
from cfai.cli.vectorize import vectorize
from cfai.cli.verify import verify
from cfai.cli.workerd import workerd
from cfai.cli.wrangler import wrangler

__all__ = ["app", "main"]

app = typer.Typer(
    name="cfai",
    help="Workers AI on your own machine.",
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
for command in (run, models, pull, verify, rm, serve, init, dev, types, doctor, fuzz, ps, top, cost, wrangler, workerd):
    app.command()(command)
app.command("import")(import_weights)
app.add_typer(d1, name="d1")
app.add_typer(vectorize, name="vectorize")
app.add_typer(tape, name="tape")


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
    try:
        app()
    except SystemExit as ended:
        _leave_threads_behind(ended)
        raise


def _leave_threads_behind(ended: SystemExit) -> None:
    """End at once although a thread is still importing torch; Python would wait seconds for it."""
    if any(not thread.daemon for thread in threading.enumerate() if thread is not threading.main_thread()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(ended.code if isinstance(ended.code, int) else 0)
