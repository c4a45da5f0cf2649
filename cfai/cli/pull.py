"""`cfai pull`: weights from the hub."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from cfai.cli.endings import ExitCode, fail, fail_with, need
from cfai.cli.options import Offline, SettingsFile
from cfai.errors import AiError

if TYPE_CHECKING:
    from cfai.config.settings import Settings

__all__ = ["fetch", "pull"]


def pull(
    context: typer.Context,
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...", help="A model id of the catalog or of cfai.toml, or a hub repository: org/name."
        ),
    ],
    revision: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="A branch, a tag or a commit; what was fetched before, else main."),
    ] = None,
    local_dir: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", file_okay=False, help="Put the files here and not into the hub's cache."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be fetched.")] = False,
    offline: Offline = None,
    settings_file: SettingsFile = None,
) -> None:
    """Fetch the weights of models from the hub, checked, and on from where an earlier pull ended.

    Exit codes: 0 all are here, 2 bad options, 3 none that can be had or run
    here, 4 the hub does not answer (the same command goes on later), 130 Ctrl-C.
    """
    from cfai.cli.settled import settled

    need(["filelock", "huggingface_hub", "httpx2"])
    if local_dir is not None and len(names) > 1:
        fail("--local-dir takes the files of one model, and several are named", ExitCode.USAGE)
    settings = settled(context)
    for name in names:
        fetch(name, settings, revision=revision, local_dir=local_dir, dry_run=dry_run, to=sys.stdout)


def fetch(
    name: str,
    settings: Settings,
    *,
    revision: str | None = None,
    local_dir: Path | None = None,
    dry_run: bool = False,
    to: TextIO,
) -> None:
    """Pull one model, and tell `to` what came; a failure ends the command."""
    from rich.filesize import decimal

    from cfai.cli.pulling import watching
    from cfai.weights.hub import HubUnreachable
    from cfai.weights.pull import pull as take

    repo, revision = _named(name, settings, revision)
    try:
        with watching() as watcher:
            got = take(
                repo,
                revision=revision,
                local_dir=local_dir,
                offline=settings.offline,
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
        to.write(f"{name}: {record.name} at {record.commit}, {sizes} would be fetched\n")
        return
    state = "fetched and verified" if got.missing else f"here, pinned (--revision {record.revision} looks again)"
    to.write(f"{name}: {record.name} at {record.commit}, {state}\n{got.folder}\n")


def _named(name: str, settings: Settings, revision: str | None) -> tuple[str, str | None]:
    """The repository and the revision that cfai.toml has for an id; a name of its own is what it is."""
    from cfai.config.model_settings import is_repository

    said = settings.models.get(name)
    if said is None or said.weights is None:
        return name, revision
    if not is_repository(said.weights):
        fail(f"the weights of {name} are {said.weights} ({said.where}): nothing has to be fetched", ExitCode.USAGE)
    return said.weights, revision or said.revision
