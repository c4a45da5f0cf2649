"""One D1 database: its SQLite file, where wrangler keeps it, and how queries run on it. Synchronous."""

from __future__ import annotations

import math
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from cfai.worker.bindings.d1_sql import LIMITS, Statement, allowed, cut, is_blank, offset_of
from cfai.worker.bindings.databases import is_busy, open_database
from cfai.worker.bindings.objects import database_file

__all__ = ["Answer", "D1File", "Query", "QueryError", "file_of"]

_OURS = " /* cfai */"
# Beyond it an integer is not itself in JavaScript.
_SAFE = 2**53


def file_of(state: Path, database: str) -> Path:
    """Where the database with the id `database` is kept under `state`."""
    return database_file(state, "d1", "D1DatabaseObject", database)


@dataclass(frozen=True, slots=True)
class Query:
    """SQL, and the values of its parameters: text, numbers, bytes and None."""

    sql: str
    values: tuple[str | float | bytes | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What a query gave: rows as JSON has them, bytes as lists of numbers."""

    columns: list[str]
    rows: list[list[Any]]
    meta: dict[str, Any] = field(default_factory=dict)

    def objects(self) -> list[dict[str, Any]]:
        """The rows by the names of their columns; of two columns with one name, the last."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


class QueryError(Exception):
    """What D1 says of a query that fails. `at` is which of a batch it was."""

    def __init__(self, message: str, at: int = 0) -> None:
        super().__init__(message)
        self.at = at


class D1File:
    """An open database. Of one thread at a time, but for `interrupt`.

    ```python
    database = D1File(file_of(config.state, "my-id"))
    [answer] = database.run([Query("SELECT ? AS n", (1.0,))])
    answer.objects()  # [{"n": 1}]
    ```
    """

    def __init__(self, file: Path) -> None:
        self._cut = lru_cache(256)(cut)
        self._ours = False
        try:
            self._connection = open_database(file)
        except (OSError, sqlite3.Error) as error:
            raise QueryError(str(error) if isinstance(error, OSError) else f"{file}: {error}") from error
        self._connection.execute("PRAGMA foreign_keys = ON")
        self._connection.text_factory = lambda text: text.decode("utf-8", "replace")
        for limit, value in LIMITS.items():
            self._connection.setlimit(limit, value)
        self._connection.set_authorizer(self._authorize)

    def _authorize(self, action: int, first: str | None, second: str | None, *_: str | None) -> int:
        return sqlite3.SQLITE_OK if self._ours or allowed(action, first, second) else sqlite3.SQLITE_DENY

    def interrupt(self) -> None:
        self._connection.interrupt()

    def close(self) -> None:
        self._connection.close()

    def run(self, queries: Sequence[Query]) -> list[Answer]:
        """Run all of them in one transaction, or none: the answer of each, those that are blank left out."""
        numbered = [(at, query) for at, query in enumerate(queries) if not is_blank(query.sql)]
        if not numbered:
            raise QueryError("No SQL statements detected.")
        reads_only = all(statement.reads_only for _, query in numbered for statement in self._cut(query.sql))
        try:
            return self._run(numbered, "DEFERRED" if reads_only else "IMMEDIATE")
        except _Busy:
            # A reader that turns out to write cannot wait for its turn: it has to begin with it.
            return self._run(numbered, "IMMEDIATE")

    def _run(self, numbered: list[tuple[int, Query]], kind: str) -> list[Answer]:
        answers = []
        last = 0
        with self._errors(0):
            self._own(f"BEGIN {kind}")
        try:
            for last, query in numbered:
                answers.append(self._query(last, query))
            with self._errors(last):
                self._own("COMMIT")
        except _Busy as busy:
            if kind == "DEFERRED":
                raise
            raise busy.error from None
        finally:
            if self._connection.in_transaction:
                self._own("ROLLBACK")
        return answers

    def _own(self, sql: str) -> list[Any]:
        # The mark keeps it apart from the same words of a script, which are refused, in sqlite3's cache of statements.
        self._ours = True
        try:
            return self._connection.execute(sql + _OURS).fetchall()
        finally:
            self._ours = False

    def _query(self, at: int, query: Query) -> Answer:
        began = time.perf_counter()
        before, last_before, size_before = self._state()
        columns: list[str] = []
        rows: list[list[Any]] = []
        statements = self._cut(query.sql)
        for statement in statements:
            is_last = statement is statements[-1]
            if not statement.keyword:
                raise QueryError("SQL code did not contain a statement.", at)
            if statement.is_transaction:
                raise QueryError(_NO_TRANSACTIONS, at)
            if statement.has_parameters and not is_last:
                raise QueryError(_ONLY_THE_LAST, at)
            with self._errors(at, statement):
                cursor = self._connection.execute(statement.text, query.values if is_last else ())
                columns = [column[0] for column in cursor.description or ()]
                rows = [_as_json(row) for row in cursor.fetchall()]
        after, last, size = self._state()
        return Answer(
            columns,
            rows,
            {
                "served_by": "miniflare.db",
                "duration": round((time.perf_counter() - began) * 1000, 3),
                "changes": after - before,
                "last_row_id": last,
                "changed_db": after != before or last != last_before or size != size_before,
                "size_after": size,
                # What SQLite looks at on the way is not told to Python: these are the rows that came out and changed.
                "rows_read": len(rows),
                "rows_written": after - before,
            },
        )

    def _state(self) -> tuple[int, int, int]:
        [(last, pages, page)] = self._own(
            "SELECT last_insert_rowid(), (SELECT page_count FROM pragma_page_count), "
            "(SELECT page_size FROM pragma_page_size)"
        )
        return self._connection.total_changes, last, pages * page

    @contextmanager
    def _errors(self, at: int, statement: Statement | None = None) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            text = "" if statement is None else statement.text
            told = QueryError(self._message(error, text), at)
            if is_busy(error):
                raise _Busy(told) from error
            raise told from error

    def _message(self, error: sqlite3.Error, text: str) -> str:
        message = str(error)
        code: str | None = getattr(error, "sqlite_errorname", None)
        if isinstance(error, sqlite3.DataError) and code is None:
            return "statement too long: SQLITE_TOOBIG"
        if isinstance(error, sqlite3.ProgrammingError):
            wrong_count = message.startswith("Incorrect number of bindings")
            return "Wrong number of parameter bindings for SQL query." if wrong_count else message
        if code is None:
            return message
        primary = "_".join(code.split("_")[:2])
        offset = offset_of(message, text, self._connection)
        where = "" if offset is None else f" at offset {offset}"
        return f"{message}{where}: {primary}" + (f" (extended: {code})" if code != primary else "")


class _Busy(Exception):
    def __init__(self, error: QueryError) -> None:
        super().__init__(str(error))
        self.error = error


_NO_TRANSACTIONS = (
    "To execute a transaction, please use the state.storage.transaction() or state.storage.transactionSync() APIs "
    "instead of the SQL BEGIN TRANSACTION or SAVEPOINT statements. The JavaScript API is safer because it will "
    "automatically roll back on exceptions, and because it interacts correctly with Durable Objects' automatic atomic "
    "write coalescing."
)
_ONLY_THE_LAST = "When executing multiple SQL statements in a single call, only the last statement can have parameters."
_AS_THEY_ARE = {str, type(None)}


def _as_json(row: tuple[Any, ...]) -> list[Any]:
    return [cell if type(cell) in _AS_THEY_ARE else _cell(cell) for cell in row]


def _cell(cell: float | bytes) -> int | float | list[int] | None:
    """A value as it is after a way through JavaScript: numbers are doubles, bytes a list."""
    if isinstance(cell, bytes):
        return list(cell)
    if isinstance(cell, int):
        return cell if -_SAFE < cell < _SAFE else float(cell)
    if not math.isfinite(cell):
        return None
    return int(cell) if cell.is_integer() and -_SAFE < cell < _SAFE else cell
