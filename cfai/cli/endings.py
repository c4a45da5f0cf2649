"""How a command ends: its exit status, and what it says on stderr."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import NoReturn

import typer

from cfai.errors import AccessDenied, AiError, InvalidRequest, NoSuchModel, Unavailable, WeightsMissing
from cfai.packages import absent, install

__all__ = ["ExitCode", "fail", "fail_with", "need"]


class ExitCode(enum.IntEnum):
    """What a script can tell from the exit status."""

    OK = 0
    FAILED = 1
    USAGE = 2
    """Options or inputs that no retry mends."""
    MODEL_MISSING = 3
    """No such model, or its weights are not here."""
    UNAVAILABLE = 4
    """Busy, timed out or aborted: the same command may work later."""
    PORT_TAKEN = 5
    DEVICE_LOST = 70
    """A GPU failed, and this process cannot use it again: EX_SOFTWARE of sysexits."""
    INTERRUPTED = 130
    """Ctrl-C, as shells have it: 128 and the signal's number."""


def fail(message: str, code: ExitCode, *, hint: str = "") -> NoReturn:
    """End the command with a message on stderr."""
    from rich.console import Console

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print("[bold red]error:[/bold red]", end=" ")
    console.print(message, markup=False)
    if hint:
        console.print("[bold]try:[/bold]", end=" ")
        console.print(hint, markup=False)
    raise typer.Exit(code)


def need(modules: Iterable[str], *, instead: str = "") -> None:
    """End the command if a package is not installed; `instead` is what helps besides installing it."""
    if missing := absent(modules):
        ways = [install(missing), *([instead] if instead else [])]
        fail(
            f"this needs {missing[0].replace('_', '-')}, which is not installed",
            ExitCode.FAILED,
            hint=", or ".join(ways),
        )


def fail_with(error: AiError) -> NoReturn:
    fail(str(error), _exit_code(error), hint=error.hint)


_EXIT_CODES: list[tuple[type[AiError], ExitCode]] = [
    (NoSuchModel, ExitCode.MODEL_MISSING),
    (WeightsMissing, ExitCode.MODEL_MISSING),
    (InvalidRequest, ExitCode.USAGE),
    (AccessDenied, ExitCode.USAGE),
    (Unavailable, ExitCode.UNAVAILABLE),
]


def _exit_code(error: AiError) -> ExitCode:
    return next((code for kind, code in _EXIT_CODES if isinstance(error, kind)), ExitCode.FAILED)
