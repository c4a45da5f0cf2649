"""`cfai vectorize`: what wrangler keeps on Cloudflare about an index, its dimensions, metric and metadata indexes."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cfai.cli.endings import ExitCode, fail
from cfai.cli.options import ConfigFile, Environment, Json, PersistTo

if TYPE_CHECKING:
    from cfai.worker.bindings.vectorize_file import Info, VectorizeFile

__all__ = ["vectorize"]

vectorize = typer.Typer(help="The local Vectorize indexes of a project.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The index_name of the config.")]


def _dimensions(count: int) -> int:
    from cfai.worker.bindings.vectorize_rules import MAX_DIMENSIONS

    if count > MAX_DIMENSIONS:
        raise typer.BadParameter(f"{count} is not in the range 1<=x<={MAX_DIMENSIONS}")
    return count


def _metric(text: str) -> str:
    from cfai.worker.bindings.vectorize_file import METRICS

    return _one_of(METRICS, text)


def _type(text: str) -> str:
    from cfai.worker.bindings.vectorize_file import PROPERTY_TYPES

    return _one_of(PROPERTY_TYPES, text)


def _one_of(known: Sequence[str], text: str) -> str:
    if text not in known:
        raise typer.BadParameter(f"{text!r} is none of {', '.join(known)}")
    return text


@vectorize.command()
def create(
    name: Name,
    dimensions: Annotated[int, typer.Option(min=1, callback=_dimensions, help="How many numbers a vector has.")],
    metric: Annotated[str, typer.Option(callback=_metric, help="cosine, euclidean or dot-product.")],
    persist_to: PersistTo = None,
    config: ConfigFile = None,
    env: Environment = None,
) -> None:
    """Fix the dimensions and the metric of an index, before its first vector.

    Without it the first vector fixes the dimensions, and the metric is cosine.
    """
    with _opened(name, persist_to, config, env) as index:
        index.create(dimensions, metric)
    typer.echo(f"✅ Successfully created the local index '{name}': {dimensions} dimensions, {metric}")


@vectorize.command()
def info(
    name: Name,
    json: Json = False,
    persist_to: PersistTo = None,
    config: ConfigFile = None,
    env: Environment = None,
) -> None:
    """Say how many vectors of how many dimensions there are."""
    with _opened(name, persist_to, config, env) as index:
        found = _shown(index.info())
    _print([found], json=json, one=True)


@vectorize.command(name="list")
def list_indexes(
    json: Json = False,
    persist_to: PersistTo = None,
    config: ConfigFile = None,
    env: Environment = None,
) -> None:
    """List the indexes of the project."""
    from cfai.worker.bindings.vectorize_file import index_file

    state, names = _project(persist_to, config, env)
    rows = []
    for name in names:
        if index_file(state, name).exists():
            with _opened(name, persist_to, config, env) as index:
                rows.append({"name": name, **_shown(index.info())})
        else:
            rows.append({"name": name, "dimensions": None, "metric": None, "vectorCount": 0})
    _print(rows, json=json)


@vectorize.command(name="create-metadata-index")
def create_metadata_index(
    name: Name,
    property_name: Annotated[str, typer.Option(metavar="NAME", help="The property; dots lead into objects.")],
    type: Annotated[str, typer.Option(callback=_type, help="string, number or boolean.")],  # noqa: A002  # the option's name
    persist_to: PersistTo = None,
    config: ConfigFile = None,
    env: Environment = None,
) -> None:
    """Name a property that Cloudflare can filter by. Here every one can be; this ends the note about it."""
    with _opened(name, persist_to, config, env) as index:
        index.add_property(property_name, type)
    typer.echo(f"✅ Successfully created the local metadata index '{property_name}' ({type}) of '{name}'")


@vectorize.command(name="list-metadata-index")
def list_metadata_index(
    name: Name,
    json: Json = False,
    persist_to: PersistTo = None,
    config: ConfigFile = None,
    env: Environment = None,
) -> None:
    """List the metadata indexes of an index."""
    with _opened(name, persist_to, config, env) as index:
        found = index.info().properties
    _print([{"propertyName": one, "indexType": kind} for one, kind in found.items()], json=json)


def _project(state: Path | None, file: Path | None, environment: str | None) -> tuple[Path, list[str]]:
    from cfai.config import ConfigError, load_config

    try:
        config = load_config(".", environment=environment, config_file=file)
    except ConfigError as error:
        fail(str(error), ExitCode.USAGE)
    names = list(dict.fromkeys(one.index_name for one in config.vectorize))
    return config.state if state is None else state.absolute() / "v3", names


@contextmanager
def _opened(name: str, state: Path | None, file: Path | None, environment: str | None) -> Iterator[VectorizeFile]:
    from cfai.worker.bindings.vectorize_file import VectorizeFile, index_file
    from cfai.worker.bindings.vectorize_rules import VectorizeError

    folder, names = _project(state, file, environment)
    if name not in names:
        has = ", ".join(names) or "none"
        fail(f"the config has no vectorize index {name!r}", ExitCode.USAGE, hint=f"an index_name of it (it has: {has})")
    try:
        index = VectorizeFile(index_file(folder, name))
        try:
            yield index
        finally:
            index.close()
    except VectorizeError as error:
        fail(error.cause, ExitCode.FAILED)


def _shown(found: Info) -> dict[str, Any]:
    return {
        "dimensions": found.dimensions,
        "metric": found.metric,
        "vectorCount": found.count,
        "processedUpToMutation": found.mutation,
        "processedUpToDatetime": found.mutated,
    }


def _print(rows: list[dict[str, Any]], *, json: bool, one: bool = False) -> None:
    if json:
        from json import dumps

        sys.stdout.write(dumps(rows[0] if one else rows, indent=2, ensure_ascii=False) + "\n")
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not rows:
        typer.echo("there are none")
        return
    table = Table(show_lines=True)
    for column in rows[0]:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text("" if row.get(column) is None else str(row[column])) for column in rows[0]))
    Console(width=None if sys.stdout.isatty() else 160).print(table)
