"""`env.DB`: D1 as scripts see it, in the words and with the errors of workerd's `d1-api.ts`."""

from __future__ import annotations

import datetime
import itertools
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cfai.worker import instead
from cfai.worker.bindings.javascript import BindingObject, as_result, as_text, as_well_formed, null
from cfai.worker.bindings.lane import Lane
from cfai.worker.compat import current
from cfai.worker.web.buffers import ArrayBuffer
from cfai.worker.web.conversion import members_of
from cfai.worker.web.promises import promised
from cfai.worker.web.typed_arrays import TypedArray
from cfai.worker.web.values import JsArray, JsException, JsObject, JsProxy, JsTypeError, jsnull

if TYPE_CHECKING:
    from cfai.worker.bindings.d1_file import Answer, D1File, Query

__all__ = ["D1Database", "D1PreparedStatement", "D1Session"]


class _Queries(BindingObject):
    """Statements that are run on one database, with a bookmark or without."""

    __slots__ = ()

    _file: Lane[D1File]

    def prepare(self, query: str) -> D1PreparedStatement:
        """A statement to bind values to and to run."""
        return D1PreparedStatement(self, as_text(query))

    @promised
    async def batch(self, statements: Any) -> Any:
        """Run several statements, in order, all of them or none."""
        if not isinstance(statements, list | tuple | JsArray):
            raise JsTypeError("statements.map is not a function")
        for one in statements:
            if not isinstance(one, D1PreparedStatement):
                raise _error("D1_ERROR", f"batch takes prepared statements, not {type(one).__name__}")
        answers = await self.run([one.query for one in statements])
        return as_result([_result(answer) for answer in answers])

    async def run(self, queries: Sequence[Query]) -> list[Answer]:
        from cfai.worker.bindings.d1_file import QueryError

        try:
            return await self._file.run(lambda file: file.run(queries))
        except QueryError as error:
            raise _error("D1_ERROR", str(error)) from None


class D1Database(_Queries):
    """A D1 database.

    ```python
    result = await env.DB.prepare("SELECT name FROM users WHERE id = ?").bind(7).all()
    result.results[0].name
    ```
    """

    __slots__ = ("_bookmarks", "_file")

    def __init__(self, state: Path, database: str, name: str) -> None:
        # sqlite3 is loaded when a script first asks.
        self._file = Lane(lambda: _open(state, database), f"d1 {name}")
        self._bookmarks = _bookmarks()

    def close(self) -> None:
        """Close the database's file."""
        self._file.close()

    @promised
    async def exec(self, query: str) -> Any:
        """Run SQL line by line, each line one or more whole statements."""
        from cfai.worker.bindings.d1_file import Query, QueryError

        lines = as_text(query).strip().split("\n")
        try:
            answers = await self._file.run(lambda file: file.run([Query(line) for line in lines]))
        except QueryError as error:
            problem = f"Error in line {error.at + 1}: {lines[error.at]}: {error}"
            raise _error("D1_EXEC_ERROR", problem) from None
        return as_result({"count": len(answers), "duration": sum(one.meta["duration"] for one in answers)})

    @promised
    async def dump(self) -> Any:
        """What is left of it on Cloudflare: an error, but for databases of the alpha."""
        raise _error("D1_DUMP_ERROR", "Status + 404", cause="Status 404")

    def withSession(self, constraint: Any = None) -> D1Session:  # noqa: N802  # JavaScript's spelling
        """The same database, with a bookmark. There is one copy of it here, so that every read is of the latest."""
        if constraint is None or constraint is jsnull:
            constraint = ""
        if not isinstance(constraint, str):
            raise JsTypeError("constraintOrBookmark?.trim is not a function")
        return D1Session(self._file, self._bookmarks, constraint)

    def __repr__(self) -> str:
        return "[object D1Database]"


class D1Session(_Queries):
    """What `withSession` returns: `prepare`, `batch`, `getBookmark`."""

    __slots__ = ("_bookmark", "_bookmarks", "_file")

    def __init__(self, file: Lane[D1File], bookmarks: Iterator[str], constraint: str) -> None:
        self._file = file
        self._bookmarks = bookmarks
        self._bookmark = "" if constraint.strip() in ("", "first-primary", "first-unconstrained") else constraint

    def getBookmark(self) -> Any:  # noqa: N802
        """The place in the database's history that this session has seen; null before its first query."""
        return self._bookmark or null()

    async def run(self, queries: Sequence[Query]) -> list[Answer]:
        answers = await super().run(queries)
        self._bookmark = max(self._bookmark, next(self._bookmarks))
        return answers

    def __repr__(self) -> str:
        return "[object D1DatabaseSession]"


class D1PreparedStatement(BindingObject):
    """A statement; `bind` returns a new one."""

    __slots__ = ("_database", "params", "statement")

    def __init__(self, database: _Queries, statement: str, params: tuple[Any, ...] = ()) -> None:
        self._database = database
        self.statement = statement
        self.params = params

    @property
    def query(self) -> Query:
        from cfai.worker.bindings.d1_file import Query

        return Query(self.statement, self.params)

    def bind(self, *values: Any, **named: Any) -> D1PreparedStatement:
        """The statement with values in the places of `?`, or `?1`, `?2`, ..."""
        if named:
            values = (*values, JsObject(named))
        return D1PreparedStatement(self._database, self.statement, tuple(_bound(value) for value in values))

    @promised
    async def run(self) -> Any:
        """The rows as objects, and what the query did."""
        return as_result(_result(await self._answer()))

    @promised
    async def first(self, column: Any = None) -> Any:
        """The first row, or one value of it; null if there is no row."""
        rows = (await self._answer()).objects()
        if not rows:
            return null()
        if column is None:
            return as_result(rows[0])
        name = as_text(column)
        if name not in rows[0]:
            raise _error("D1_COLUMN_NOTFOUND", f"Column not found ({name})", cause="Column not found")
        return as_result(rows[0][name])

    @promised
    async def raw(self, options: Any = None, **named: Any) -> Any:
        """The rows as lists; with `{"columnNames": True}` the names of the columns first."""
        answer = await self._answer()
        asked = {**(members_of(options) or {}), **named}
        return as_result([answer.columns, *answer.rows] if asked.get("columnNames") else answer.rows)

    all = run

    async def _answer(self) -> Answer:
        [answer] = await self._database.run([self.query])
        return answer

    def __repr__(self) -> str:
        return "[object D1PreparedStatement]"


def _open(state: Path, database: str) -> D1File:
    from cfai.worker.bindings.d1_file import D1File, file_of

    return D1File(file_of(state, database))


def _bookmarks() -> Iterator[str]:
    """Places in a history, in the form of Cloudflare's: each is behind the one before, over restarts too."""
    start = int(time.time())
    return (f"{start:08x}-{number:08x}-{0:08x}-{0:032x}" for number in itertools.count(1))


def _result(answer: Answer) -> dict[str, Any]:
    return {"success": True, "meta": answer.meta, "results": answer.objects()}


def _error(kind: str, problem: str, *, cause: str | None = None) -> JsException:
    error = JsException(f"{kind}: {problem}")
    error.__dict__["cause"] = JsException(cause or problem)
    return error


_SAFE = 2**53


def _bound(value: Any) -> str | float | bytes | None:
    """`value` as D1 binds it. Numbers are JavaScript's, so that SQLite gets doubles: typeof(?) of 1 is real."""
    if isinstance(value, bool):
        return float(value)
    if isinstance(value, str):
        return as_well_formed(value)
    if isinstance(value, int):
        if not -_SAFE < value < _SAFE:
            raise _not_bound("bigint", str(value))
        return float(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is jsnull:
        return None
    external = current().compat.has_external_sdk
    if value is None:
        if not external:
            current().lenient("bind(None)", lambda: _not_bound("undefined", "undefined"))
        return None
    if isinstance(value, ArrayBuffer):
        return bytes(value.to_py())
    if isinstance(value, TypedArray):
        return bytes(int(one) & 0xFF for one in value)
    if isinstance(value, bytes | bytearray | memoryview):
        # The external SDK makes a Uint8Array of it, the earlier ones give JavaScript a proxy.
        if not external:
            current().lenient("bind of Python's bytes", lambda: _not_bound("object", str(value)), instead=instead.TO_JS)
        return bytes(value)
    if isinstance(value, list | JsArray):
        numbers = list(value)
        if not all(isinstance(one, int | float) and 0 <= one < 256 for one in numbers):
            raise _not_bound("object", ",".join(map(as_text, numbers)))
        if not external and not isinstance(value, JsProxy):
            current().lenient("bind of a Python list", lambda: _not_bound("object", str(value)), instead=instead.TO_JS)
        return bytes(int(one) for one in numbers)
    raise _not_bound("function" if callable(value) else "object", _shown(value, external=external))


def _not_bound(kind: str, shown: str) -> JsException:
    return _error("D1_TYPE_ERROR", f"Type '{kind}' not supported for value '{shown}'")


def _shown(value: Any, *, external: bool) -> str:
    """JavaScript's `String(value)`."""
    if isinstance(value, datetime.datetime) and external:
        moment = value.astimezone(datetime.UTC)
        return f"{moment:%a %b %d %Y %H:%M:%S} GMT+0000 (Coordinated Universal Time)"
    if (isinstance(value, Mapping) and external) or isinstance(value, JsObject):
        return "[object Object]"
    return str(value)
