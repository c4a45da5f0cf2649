"""`--fake` of the commands: answers that are made up, in place of a model's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from cfai.cli.endings import ExitCode, fail

if TYPE_CHECKING:
    from cfai.bindings.file_fake import FileFake
    from cfai.config.settings import Settings

__all__ = ["check_answers", "check_fake_options", "fake_binding"]

FIRST_PIECE_AFTER = 0.02
BETWEEN_PIECES = 0.005
"""Seconds: long enough for a page to be seen streaming, short enough for a suite of tests."""


def check_fake_options(*, fake: bool, its_own: Mapping[str, object], a_models: Mapping[str, object]) -> None:
    """End the command if options were given, by name, that mean nothing with `--fake`, or nothing without it."""
    given = [name for name, value in (a_models if fake else its_own).items() if value not in (None, [], ())]
    if given and fake:
        fail(f"--fake runs no model, and {given[0]} wants one", ExitCode.USAGE, hint=f"leave out {given[0]}")
    if given:
        fail(f"{given[0]} is for the answers of --fake", ExitCode.USAGE, hint=f"add --fake, or leave out {given[0]}")


def check_answers(file: Path) -> None:
    """End the command if the file cannot be used."""
    from cfai.bindings.answers_file import AnswersError, read_answers

    try:
        read_answers(file)
    except AnswersError as error:
        fail(str(error), ExitCode.USAGE)


def fake_binding(
    answers: Path | None,
    *,
    first_piece_after: float | None,
    between_pieces: float | None,
    settings: Settings,
    on_notice: Callable[[str], None],
) -> FileFake:
    """The binding that answers. A file of answers that cannot be used ends the command."""
    from cfai.bindings.answers_file import AnswersError
    from cfai.bindings.fake import FakeBinding
    from cfai.bindings.file_fake import FileFake
    from cfai.clock import RealClock

    clock = RealClock()

    def make() -> FakeBinding:
        return FakeBinding.plausible(
            first_piece_after=FIRST_PIECE_AFTER if first_piece_after is None else first_piece_after,
            between_pieces=BETWEEN_PIECES if between_pieces is None else between_pieces,
            clock=clock,
            as_of=settings.as_of,
            fidelity=settings.fidelity or "clean",
            strict_retired=bool(settings.strict_retired),
            catalog=settings.catalog,
            most_calls=0,
            on_notice=on_notice,
        )

    try:
        return FileFake(answers, make=make, on_notice=on_notice)
    except AnswersError as error:
        fail(str(error), ExitCode.USAGE)
