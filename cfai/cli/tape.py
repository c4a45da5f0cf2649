"""`--tape` of the commands, and `cfai tape show`: what is on a tape."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cfai.cli.endings import ExitCode, fail
from cfai.wording import shortened

if TYPE_CHECKING:
    from cfai.binding import Binding
    from cfai.bindings.tape.entries import Entry
    from cfai.bindings.tape.served import ServedTape
    from cfai.config.settings import Settings

__all__ = ["asks_tape_alone", "check_tape_options", "served_tape", "tape", "upstream"]


def check_tape_options(file: Path | None, *, record: str | None, its_own: Mapping[str, object]) -> None:
    """End the command if the tape cannot be used as it is asked, or its options were given without one."""
    given = [name for name, value in its_own.items() if value is not None]
    if file is None and given:
        fail(f"{given[0]} is for a tape", ExitCode.USAGE, hint=f"add --tape FILE, or leave out {given[0]}")
    if file is None:
        return
    from cfai.bindings.tape import BadTape, TapeBinding

    if record in (None, "none") and not file.exists():
        fail(f"there is no tape {file}", ExitCode.USAGE, hint="--record once records one")
    try:
        TapeBinding(file, record=record or "none")  # type: ignore[arg-type]  # the option's callback has checked it
    except BadTape as error:
        fail(str(error), ExitCode.USAGE)


def asks_tape_alone(file: Path | None, record: str | None) -> bool:
    """Whether everything is answered by the tape, so that nothing else has to be there."""
    return file is not None and (record in (None, "none") or (record == "once" and file.exists()))


def upstream(url: str, account: str | None) -> Binding:
    """Another server, its chunks as they come: a tape of it has the true boundaries."""
    from cfai.bindings.http import HttpBinding

    token = os.environ.get("CFAI_AI_TOKEN") or os.environ.get("CLOUDFLARE_API_TOKEN" if account else "CFAI_TOKEN")
    return HttpBinding(url, account=account or "local", token=token, chunks="network")


def served_tape(
    file: Path,
    inner: Binding | None,
    *,
    record: str | None,
    speed: float | None,
    settings: Settings,
    on_notice: Callable[[str], None],
) -> ServedTape:
    """The tape for a server, which plays equal calls again and again."""
    from cfai.bindings.tape import TapeBinding
    from cfai.bindings.tape.served import ServedTape

    played = TapeBinding(
        file,
        inner,
        record=record or "none",  # type: ignore[arg-type]  # the option's callback has checked it
        speed=speed,
        repeat=True,
        as_of=settings.as_of.isoformat() if settings.as_of else None,
        fidelity=settings.fidelity or "clean",
    )
    return ServedTape(played, on_notice=on_notice)


tape = typer.Typer(help="Recorded answers.", no_args_is_help=True)


@tape.callback()
def _only_commands() -> None:
    """Recorded answers."""


@tape.command()
def show(file: Annotated[Path, typer.Argument(metavar="FILE", help="The file of a tape.")]) -> None:
    """List what is on a tape: calls, chunks, times, and how each answer ended.

    Exit codes: 0 shown, 2 there is no such file or it is no tape.
    """
    from rich.console import Console
    from rich.table import Table

    from cfai.bindings.tape import BadTape
    from cfai.bindings.tape.file import load

    try:
        found = load(file)
    except BadTape as error:
        fail(str(error), ExitCode.USAGE)
    if found is None:
        fail(f"there is no tape {file}", ExitCode.USAGE)
    table = Table("", "model", "asked", "answer", "first", "last", "end", box=None, pad_edge=False)
    for number, entry in enumerate(found.entries, 1):
        table.add_row(str(number), *_cells(entry))
    Console(highlight=False).print(table)


def _cells(entry: Entry) -> list[str]:
    from rich.markup import escape

    call = entry.call
    forms: list[str] = [] if call.form == "native" else [call.form]
    forms += [str(value) for value in call.options.values()]
    model = f"{call.model} ({', '.join(forms)})" if forms else call.model
    asked = str(call.inputs)
    if isinstance(call.inputs, Mapping):
        texts = (call.inputs.get(name) for name in ("prompt", "messages", "input", "text"))
        asked = str(next((text for text in texts if text), call.inputs))
    cells = [model, shortened(asked, 60), *_answer(entry)]
    return [escape(cell) for cell in cells]


def _answer(entry: Entry) -> tuple[str, str, str, str]:
    if entry.broken is not None:
        return "", "", f"{entry.at:.3f} s", entry.broken.name
    if entry.end is None:
        return f"{entry.status}, whole", "", f"{entry.at:.3f} s", "done"
    size = sum(len(chunk.data) for chunk in entry.chunks)
    first = f"{entry.chunks[0].at:.3f} s" if entry.chunks else ""
    end = entry.end.failure.name if entry.end.failure else entry.end.kind
    return f"{entry.status}, {len(entry.chunks)} chunks, {size:,} bytes", first, f"{entry.end.at:.3f} s", end
