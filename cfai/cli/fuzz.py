"""`cfai fuzz`: a client, a page or a Worker, tried on streams that are cut and written in every way."""

from __future__ import annotations

import json as jsonlib
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, cast

import typer

from cfai.cli.endings import ExitCode, fail
from cfai.cli.options import check_server_url

if TYPE_CHECKING:
    from cfai.testing.fuzz.case import CaseForm, End, Level
    from cfai.testing.fuzz.difference import Difference

__all__ = ["fuzz"]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the summary."""

    name: str
    about: str
    runs: int
    wrong: str = ""


def _url(text: str | None) -> str | None:
    if text is not None:
        try:
            check_server_url(text)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error
    return text


def _json(text: str | None) -> str | None:
    if text is not None:
        try:
            jsonlib.loads(text)
        except ValueError as error:
            raise typer.BadParameter(f"it is not JSON: {error}") from error
    return text


def fuzz(
    url: Annotated[
        str | None, typer.Argument(callback=_url, help="A page, a Worker or a model's address that runs already.")
    ] = None,
    run: Annotated[
        str | None,
        typer.Option(
            "--run", metavar="COMMAND", help="A client, run for each stream; it prints the text that it reads."
        ),
    ] = None,
    page: Annotated[
        bool, typer.Option("--page", help="Open the URL in Chromium and compare the visible text.")
    ] = False,
    level: Annotated[
        str,
        typer.Option(
            metavar="workers-ai|standard",
            help="What Workers AI is known to send, or all that server-sent events may be.",
        ),
    ] = "workers-ai",
    streams: Annotated[
        list[str],
        typer.Option("--stream", metavar="NAME", help="With --run, this stream of the corpus only. May be repeated."),
    ] = [],  # noqa: B006  # Typer copies it
    run_form: Annotated[
        str,
        typer.Option("--form", metavar="classic|native-chat", help="With --run, what .../ai/run/MODEL answers."),
    ] = "classic",
    must_tell: Annotated[
        list[str],
        typer.Option(metavar="cut|error", help="With --run, such a stream is to fail the command. May be repeated."),
    ] = [],  # noqa: B006  # as above
    json: Annotated[
        str | None, typer.Option(metavar="JSON", callback=_json, help="POST this to the URL instead of a GET.")
    ] = None,
    headers: Annotated[
        list[str], typer.Option("--header", metavar="NAME:VALUE", help="A header for the URL. May be repeated.")
    ] = [],  # noqa: B006  # as above
    limit: Annotated[int | None, typer.Option(min=1, help="Try this often at most.")] = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="With --run, seconds that the command may take.")] = 30.0,
    jobs: Annotated[int, typer.Option(min=1, help="With --run, how many commands run at once.")] = 2,
    seed: Annotated[int, typer.Option(help="Of the cuts that are made at random.")] = 0,
) -> None:
    """Find what a client of streams stumbles over: cuts within a line or a character, odd events, early ends.

    With --run, the command is run once for each stream, with its address in CFAI_FUZZ_URL, OPENAI_BASE_URL and
    CLOUDFLARE_BASE_URL, and prints what it read. With a URL, what runs there under `--faults none` is asked once
    plainly and once with each fault that is to make no difference.

    Exit codes: 0 no difference, 1 a difference, 2 nothing to compare.
    """
    import anyio

    from cfai.testing.fuzz.corpus import LEVELS, check_names
    from cfai.testing.fuzz.fuzzing import TELLABLE

    if (url is None) == (run is None):
        fail("either a URL or --run COMMAND is to be fuzzed", ExitCode.USAGE, hint="cfai fuzz --help")
    try:
        check_names("level", [level], LEVELS)
        check_names("form of .../ai/run/MODEL", [run_form], ("classic", "native-chat"))
        check_names("end that a command could tell", must_tell, TELLABLE)
        if run is not None:
            anyio.run(
                _fuzz_command,
                run,
                cast("Level", level),
                streams,
                cast("CaseForm", run_form),
                cast("list[End]", must_tell),
                seed,
                limit,
                timeout,
                jobs,
            )
        else:
            anyio.run(_fuzz_address, url, page, cast("Level", level), json, _headers(headers), limit)
    except ValueError as error:
        fail(str(error), ExitCode.USAGE)
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from None


async def _fuzz_command(
    line: str,
    level: Level,
    streams: Sequence[str],
    run_form: CaseForm,
    must_tell: Sequence[End],
    seed: int,
    limit: int | None,
    seconds: float,
    jobs: int,
) -> None:
    from cfai.testing.fuzz.commands import Command, NoStreamAsked, findings
    from cfai.testing.fuzz.corpus import corpus
    from cfai.testing.fuzz.player import playing

    if not (arguments := shlex.split(line)):
        raise ValueError("--run has no command")
    form: CaseForm = "classic"
    rows: list[Row] = []
    first: Difference | None = None
    problem: tuple[str, str] | None = None
    async with playing() as player:
        command = Command(arguments, player, run_form=run_form, seconds=seconds, must_tell=must_tell)
        try:
            form = await command.form()
            cases = corpus(level, forms=[form], names=streams or None)
            with _bar(len(cases)) as advance:
                async with aclosing(findings(command, cases, seed=seed, limit=limit, jobs=jobs)) as found:
                    async for finding in found:
                        first = first or finding.difference
                        wrong = finding.difference.summary if finding.difference else ""
                        rows.append(Row(finding.case.name, finding.case.about, finding.runs, wrong))
                        advance()
        except NoStreamAsked as error:
            hint = "let it read the address in CFAI_FUZZ_URL, OPENAI_BASE_URL or CLOUDFLARE_BASE_URL"
            problem = f"the command asks for no stream: {error}", hint
        except ValueError as error:
            problem = str(error), ""
        except OSError as error:
            problem = f"{arguments[0]} cannot be run: {error.strerror}", ""
    if problem is not None:
        fail(problem[0], ExitCode.USAGE, hint=problem[1])
    _show(f"streams of the {form} form", rows)
    if first is not None:
        typer.echo(f"\n{first}")
        raise typer.Exit(ExitCode.FAILED)


async def _fuzz_address(
    url: str | None, is_page: bool, level: Level, json: str | None, headers: Mapping[str, str], limit: int | None
) -> None:
    from cfai.testing.fuzz.addresses import FAULTS, NotComparable, addressed, opened, plain_answer

    assert url is not None
    try:
        async with opened(url, headers=headers) if is_page else addressed(url, json=json, headers=headers) as address:
            plain = await plain_answer(address)
            faults = [fault for fault in FAULTS if level == "standard" or fault.level == level][:limit]
            rows: list[Row] = []
            with _bar(len(faults)) as advance:
                for fault in faults:
                    asked = await address.ask(fault.text)
                    rows.append(Row(fault.text, fault.about, 1, "" if asked == plain else str(asked)))
                    advance()
    except (NotComparable, ImportError) as error:
        fail(str(error), ExitCode.USAGE)
    _show(f"faults at {url}; without one: {plain}", rows)
    if any(row.wrong for row in rows):
        raise typer.Exit(ExitCode.FAILED)


def _headers(texts: Sequence[str]) -> dict[str, str]:
    headers = {}
    for text in texts:
        name, colon, value = text.partition(":")
        if not colon or not name.strip():
            raise ValueError(f"{text!r} is no header, such as 'authorization: Bearer t0ken'")
        headers[name.strip()] = value.strip()
    return headers


@contextmanager
def _bar(total: int) -> Iterator[Callable[[], None]]:
    """A bar on a terminal, nothing elsewhere."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("fuzzing", total=total)
        yield lambda: progress.advance(task)


def _show(title: str, rows: Sequence[Row]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, title=Text(title), title_justify="left")
    for name in ("what", "about", "runs", ""):
        table.add_column(name, justify="right" if name == "runs" else "left", overflow="fold")
    for row in rows:
        verdict = Text(row.wrong, style="red") if row.wrong else Text("as it should", style="green")
        table.add_row(Text(row.name), Text(row.about), str(row.runs), verdict)
    console = Console()
    console.print(table)
    wrong = sum(1 for row in rows if row.wrong)
    runs = sum(row.runs for row in rows)
    console.print(f"{len(rows)} tried in {runs} runs, {wrong or 'none'} read wrongly", highlight=False)
