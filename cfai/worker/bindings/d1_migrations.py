"""Migrations of a D1 database: numbered SQL files, each applied once, as wrangler does it. Synchronous."""

from __future__ import annotations

import datetime
import re
from pathlib import Path
from typing import Any

from cfai.worker.bindings.d1_file import Answer, D1File, Query, QueryError
from cfai.worker.bindings.d1_sql import cut

__all__ = ["Migrations", "execute"]


def execute(database: D1File, sql: str) -> list[Answer]:
    """Run every statement of `sql` in one transaction: a file, or an SQL dump with its own BEGIN and COMMIT."""
    return database.run(_queries(sql))


def _queries(sql: str) -> list[Query]:
    if "BEGIN TRANSACTION" in sql:
        sql = sql.replace("BEGIN TRANSACTION;", "", 1).replace("COMMIT;", "", 1)
        if "BEGIN TRANSACTION" in sql:
            raise QueryError("the SQL has several transactions, and D1 runs it in one of its own: leave them out")
    # Without its semicolon, as wrangler sends it: what an error says of a statement that breaks off depends on that.
    return [Query(one.text.rstrip().removesuffix(";")) for one in cut(sql) if one.keyword] or [Query("")]


class Migrations:
    """The files of `folder`, and the table of those that were applied.

    ```python
    migrations = Migrations(folder, "d1_migrations")
    for name in migrations.pending(database):
        migrations.apply(database, name)
    ```
    """

    def __init__(self, folder: Path, table: str) -> None:
        self.folder = folder
        self._table = '"' + table.replace('"', '""') + '"'

    def names(self) -> list[str]:
        """The files, by their number; those without one come last."""
        files = (file.name for file in self.folder.glob("*.sql") if file.is_file() and not file.name.startswith("."))
        return sorted(files, key=_order)

    def pending(self, database: D1File) -> list[str]:
        """Those that were not applied yet."""
        [_, applied] = database.run(
            [
                Query(
                    f"CREATE TABLE IF NOT EXISTS {self._table}(\n"
                    "\t\tid         INTEGER PRIMARY KEY AUTOINCREMENT,\n"
                    "\t\tname       TEXT UNIQUE,\n"
                    "\t\tapplied_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL\n)"
                ),
                Query(f"SELECT name FROM {self._table} ORDER BY id"),
            ]
        )
        done = {row[0] for row in applied.rows}
        return [name for name in self.names() if name not in done]

    def apply(self, database: D1File, name: str) -> int:
        """Run one file and note it, both or neither. How many statements it were."""
        try:
            sql = (self.folder / name).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise QueryError(f"{self.folder / name} cannot be read: {error}") from error
        noted = Query(f"INSERT INTO {self._table} (name) VALUES (?)", (name,))
        return len(database.run([*(query for query in _queries(sql) if query.sql), noted]))

    def create(self, message: str) -> Path:
        """A new file with the next number."""
        number = max((int(name.split("_")[0]) for name in self.names() if _order(name)[0] == 0), default=0) + 1
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / f"{number:04d}_{message.replace(' ', '_')}.sql"
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        with file.open("x", encoding="utf-8") as opened:
            opened.write(f"-- Migration number: {number:04d} \t {now}\n")
        return file


def _order(name: str) -> tuple[Any, ...]:
    number = re.match(r"\d+(?=_|\.sql$|$)", name)
    return (0, int(number[0]), name) if number else (1, name)
