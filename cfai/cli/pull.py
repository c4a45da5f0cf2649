"""`cfai pull`: weights from the hub."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from cfai.cli.options import ExitCode, fail, fail_with, need
from cfai.errors import AiError

__all__ = ["Offline", "pull"]

Offline = Annotated[bool, typer.Option("--offline", envvar="CFAI_OFFLINE", help="Open no connection.")]


def pull(
    models: Annotated[
        list[str], typer.Argument(metavar="MODEL...", help="A model id of the catalog, or a hub repository: org/name.")
    ],
    revision: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="A branch, a tag or a commit; what was fetched before, else main."),
    ] = None,
    local_dir: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", file_okay=False, help="Put the files here and not into the hub's cache."),
    ] = None,
    offline: Offline = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be fetched.")] = False,
) -> None:
    """Fetch the weights of models from the hub, checked, and on from where an earlier pull ended.

    Exit codes: 0 all are here, 2 bad options, 3 none that can be had or run here, 4 the hub does not answer (the same
    command goes on later), 130 Ctrl-C.
    """
    need(["huggingface_hub", "httpx2"])
    if local_dir is not None and len(models) > 1:
        fail("--local-dir takes the files of one model, and several are named", ExitCode.USAGE)
    from rich.filesize import decimal

    from cfai.cli.pulling import watching
    from cfai.weights.hub import HubUnreachable
    from cfai.weights.pull import pull as fetch

    for model in models:
        try:
            with watching() as watcher:
                got = fetch(
                    model,
                    revision=revision,
                    local_dir=local_dir,
                    offline=offline or None,
                    dry_run=dry_run,
                    watcher=watcher,
                )
        except HubUnreachable as error:
            fail(error.description, ExitCode.UNAVAILABLE, hint=error.hint)
        except AiError as error:
            fail_with(error)
        except KeyboardInterrupt:
            sys.stderr.write("interrupted; the same command goes on from here\n")
            raise typer.Exit(ExitCode.INTERRUPTED) from None
        record = got.record
        if dry_run and got.missing:
            sizes = f"{decimal(got.missing)} of {decimal(sum(file.size for file in record.files.values()))}"
            sys.stdout.write(f"{model}: {record.name} at {record.commit}, {sizes} would be fetched\n")
            continue
        state = "fetched and verified" if got.missing else f"here, pinned (--revision {record.revision} looks again)"
        sys.stdout.write(f"{model}: {record.name} at {record.commit}, {state}\n{got.folder}\n")
