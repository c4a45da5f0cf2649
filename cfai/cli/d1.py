"""`cfai d1`: SQL and migrations on the local databases of a project, with the words of `wrangler d1`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cfai.cli.endings import ExitCode, fail
from cfai.cli.options import ConfigFile, Environment, Json, PersistTo

if TYPE_CHECKING:
    from cfai.config import Config, D1Database
    from cfai.worker.bindings.d1_file import Answer, D1File
    from cfai.worker.bindings.d1_migrations import Migrations

__all__ = ["d1"]

d1 = typer.Typer(help="SQL and migrations on the local D1 databases of a project.", no_args_is_help=True)
migrations = typer.Typer(help="Create, list and apply migrations.", no_args_is_help=True)
d1.add_typer(migrations, name="migrations")

Database = Annotated[str, typer.Argument(metavar="DATABASE", help="The name or the binding of the database.")]
Local = Annotated[bool, typer.Option("--local", help="Accepted: the local database is the only one here.")]
Remote = Annotated[bool, typer.Option("--remote", help="Refused: databases on Cloudflare are wrangler's.", hidden=True)]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@d1.command()
def execute(
    database: Database,
    command: Annotated[str | None, typer.Option(metavar="SQL", help="One or more statements.")] = None,
    file: Annotated[Path | None, typer.Option(metavar="FILE", help="A file of statements.")] = None,
    json: Json = False,
    yes: Yes = False,
    local: Local = False,
    remote: Remote = False,
    persist_to: PersistTo = None,
    config: ConfigFile = None,
    env: Environment = None,
) -> None:
    """Run SQL on a local database, all of it or none.

    Exit codes: 0 done, 1 the SQL failed, 2 wrong options or a project that cannot be read.
    """
    from cfai.worker.bindings.d1_file import QueryError
    from cfai.worker.bindings.d1_migrations import execute as run

    if (command is None) == (file is None):
        problem = "can't provide both --command and --file." if command is not None else _NEITHER
        fail(problem, ExitCode.USAGE)
    sql = command if file is None else _read(file)
    assert sql is not None  # one of the two was given
    where = _Project(config, env, persist_to, remote=remote)
    declared = where.database(database)
    if not json:
        where.say(declared, database)
    try:
        with where.opened(declared) as opened:
            answers = run(opened, sql)
    except QueryError as error:
        if json:
            _print_json({"error": {"text": str(error)}})
            raise typer.Exit(ExitCode.FAILED) from None
        fail(str(error), ExitCode.FAILED)
    if not json:
        count = len(answers)
        typer.echo(f"🚣 {count} command{'' if count == 1 else 's'} executed successfully.")
    if json or not sys.stdout.isatty():
        _print_json([_as_wrangler_prints(answer) for answer in answers])
    else:
        for answer in answers:
            if answer.rows:
                _print_table(answer.columns, answer.rows)


@migrations.command()
def create(
    database: Database,
    message: Annotated[str, typer.Argument(metavar="MESSAGE", help="What it changes; part of the file's name.")],
    config: ConfigFile = None,
    env: Environment = None,
) -> None:
    """Create the file of a new migration."""
    if "/" in message or "\\" in message:
        fail(f'the migration name "{message}" contains a path separator ("/" or "\\")', ExitCode.USAGE)
    where = _Project(config, env, None)
    try:
        file = where.migrations(where.database(database)).create(message)
    except OSError as error:
        fail(str(error), ExitCode.FAILED)
    typer.echo(f"✅ Successfully created Migration '{file.name}'!\n")
    typer.echo("The migration is available for editing here")
    typer.echo(str(file))


@migrations.command(name="list")
def list_pending(
    database: Database,
    local: Local = False,
    remote: Remote = False,
    persist_to: PersistTo = None,
    config: ConfigFile = None,
    env: Environment = None,
) -> None:
    """List the migrations that were not applied."""
    where = _Project(config, env, persist_to, remote=remote)
    declared = where.database(database)
    with _failures(), where.opened(declared) as opened:
        pending = where.existing_migrations(declared).pending(opened)
    _print_pending(pending, "Name")


@migrations.command()
def apply(
    database: Database,
    yes: Yes = False,
    local: Local = False,
    remote: Remote = False,
    persist_to: PersistTo = None,
    config: ConfigFile = None,
    env: Environment = None,
) -> None:
    """Apply the migrations that were not applied, in order. One that fails changes nothing and ends the command."""
    from cfai.worker.bindings.d1_file import QueryError

    where = _Project(config, env, persist_to, remote=remote)
    declared = where.database(database)
    steps = where.existing_migrations(declared)
    with _failures(), where.opened(declared) as opened:
        pending = steps.pending(opened)
        _print_pending(pending, "name")
        if not pending or not _confirmed(len(pending), yes=yes):
            return
        where.say(declared, database)
        status = dict.fromkeys(pending, "🕒️")
        for name in pending:
            try:
                count = steps.apply(opened, name)
            except QueryError as error:
                status[name] = "❌"
                _print_table(["name", "status"], list(status.items()))
                fail(f"Migration {name} failed with the following errors:\n{error}", ExitCode.FAILED)
            status[name] = "✅"
            typer.echo(f"🚣 {count} command{'' if count == 1 else 's'} executed successfully.")
        _print_table(["name", "status"], list(status.items()))


_NEITHER = (
    "Missing required option --command or --file. "
    'Provide a SQL command inline with --command="<SQL>", or a path to a SQL file with --file=<path>.'
)


class _Project:
    def __init__(self, file: Path | None, environment: str | None, state: Path | None, *, remote: bool = False) -> None:
        from cfai.config import ConfigError, load_config

        if remote:
            fail("cfai knows local databases only; --remote is for `npx wrangler d1`, with an account", ExitCode.USAGE)
        try:
            self._config: Config = load_config(".", environment=environment, config_file=file)
        except ConfigError as error:
            fail(str(error), ExitCode.USAGE)
        # As wrangler has it: the folder of --persist-to has a v3 in it.
        self._state = self._config.state if state is None else state.absolute() / "v3"

    def database(self, name: str) -> D1Database:
        declared = self._config.d1_databases
        found = next((one for one in declared if name in (one.binding, one.name)), None)
        if found is None:
            file = "the config" if self._config.source is None else f"your {self._config.source.name} file"
            has = ", ".join(one.binding for one in declared) or "none"
            problem = f"Couldn't find a D1 DB with the name or binding '{name}' in {file}."
            fail(problem, ExitCode.USAGE, hint=f"a name of its d1_databases (it has: {has})")
        return found

    def say(self, declared: D1Database, name: str) -> None:
        folder = self._state / "d1"
        here = Path.cwd()
        shown = folder.relative_to(here) if folder.is_relative_to(here) else folder
        typer.echo(f"🌀 Executing on local database {name} ({declared.id}) from {shown}:")

    @contextmanager
    def opened(self, declared: D1Database) -> Iterator[D1File]:
        from cfai.worker.bindings.d1_file import D1File, file_of

        opened = D1File(file_of(self._state, declared.id))
        try:
            yield opened
        finally:
            opened.close()

    def migrations(self, declared: D1Database) -> Migrations:
        from cfai.worker.bindings.d1_migrations import Migrations

        return Migrations(self._config.folder / declared.migrations_dir, declared.migrations_table)

    def existing_migrations(self, declared: D1Database) -> Migrations:
        found = self.migrations(declared)
        if not found.folder.is_dir():
            hint = f"cfai d1 migrations create {declared.binding} MESSAGE, or migrations_dir in the config"
            fail(f"No migrations present at {found.folder}.", ExitCode.USAGE, hint=hint)
        return found


@contextmanager
def _failures() -> Iterator[None]:
    from cfai.worker.bindings.d1_file import QueryError

    try:
        yield
    except QueryError as error:
        fail(str(error), ExitCode.FAILED)


def _read(file: Path) -> str:
    try:
        data = file.read_bytes()
        if data.startswith(b"SQLite format 3"):
            fail(f"{file} is a binary SQLite database file instead of an SQL text file", ExitCode.USAGE)
        return data.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        fail(f'Unable to read SQL text file "{file}": {error}', ExitCode.USAGE)


def _confirmed(count: int, *, yes: bool) -> bool:
    if yes or not (sys.stdin.isatty() and sys.stdout.isatty()):
        return True
    return typer.confirm(
        f"About to apply {count} migration(s)\n"
        "Your database may not be available to serve requests during the migration, continue?",
        default=True,
    )


def _as_wrangler_prints(answer: Answer) -> dict[str, Any]:
    rows = [
        {name: f"[{', '.join(map(str, cell))}]" if isinstance(cell, list) else cell for name, cell in row.items()}
        for row in answer.objects()
    ]
    return {"results": rows, "success": True, "meta": {"duration": answer.meta["duration"]}}


def _print_json(value: Any) -> None:
    import json

    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def _print_pending(names: list[str], heading: str) -> None:
    if not names:
        typer.echo("✅ No migrations to apply!")
        return
    typer.echo("Migrations to be applied:")
    _print_table([heading], [(name,) for name in names])


def _print_table(columns: list[str], rows: list[Any]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(show_lines=True)
    for name in columns:
        table.add_column(Text(name), overflow="fold")
    for row in rows:
        table.add_row(*(Text("null" if cell is None else str(cell)) for cell in row))
    Console(width=None if sys.stdout.isatty() else 160).print(table)
