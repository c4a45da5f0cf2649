"""`cfai rm`: weights off this machine."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from cfai.cli.endings import ExitCode, fail, fail_with
from cfai.cli.options import SettingsFile
from cfai.errors import AiError

__all__ = ["rm"]


def rm(
    context: typer.Context,
    names: Annotated[list[str], typer.Argument(metavar="MODEL...", help="Model ids or hub repositories.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    settings_file: SettingsFile = None,
) -> None:
    """Remove weights, with what cfai made of them and what is half fetched, and say how much that frees.

    Exit codes: 0 removed, 1 not removed, 2 nobody is there to be asked, 3 nothing of that name, 130 Ctrl-C.
    """
    from rich.filesize import decimal

    from cfai.cli.settled import settled
    from cfai.weights.remove import removal_of

    catalog = settled(context).catalog
    freed = 0
    for model in names:
        try:
            removal = removal_of(model, catalog=catalog)
        except AiError as error:
            fail_with(error)
        if users := _loaded() & {model, *removal.models}:
            fail(
                f"{', '.join(sorted(users))} is loaded by a server that runs on this machine",
                ExitCode.FAILED,
                hint="end the server, or wait until the model leaves its memory (`cfai ps`)",
            )
        others = [other for other in removal.models if other not in (model, removal.name)]
        shared = f", which {', '.join(others)} {'have' if len(others) > 1 else 'has'} too" if others else ""
        _ask(f"remove {removal.name}, {decimal(removal.size)}{shared}?", yes=yes)
        try:
            removal.execute()
        except AiError as error:
            fail_with(error)
        except OSError as error:
            fail(f"{error.filename or removal.name} cannot be removed: {error.strerror}", ExitCode.FAILED)
        freed += removal.size
        sys.stdout.write(f"removed {removal.name}\n")
    sys.stdout.write(f"{decimal(freed)} freed\n")


def _ask(question: str, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        fail(f"{question} Nobody is there to be asked", ExitCode.USAGE, hint="--yes removes without asking")
    try:
        if typer.confirm(question):
            return
    except (KeyboardInterrupt, typer.Abort):
        sys.stderr.write("\n")
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    raise typer.Exit(ExitCode.FAILED)


def _loaded() -> set[str]:
    """The models in the memory of servers that can be asked."""
    from cfai.cli.figures import NoFigures, servers

    try:
        with servers(None, None, None) as there:
            return {name.partition(" ")[0] for server in there for name in server.figures().models}
    except NoFigures:
        return set()
