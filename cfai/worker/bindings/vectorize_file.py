"""One Vectorize index: its SQLite file, and its vectors in memory while no other process writes. Synchronous."""

from __future__ import annotations

import datetime
import json
import sqlite3
import uuid
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cfai.worker.bindings.databases import open_database
from cfai.worker.bindings.objects import file_name
from cfai.worker.bindings.vectorize_filter import conditions_of
from cfai.worker.bindings.vectorize_rows import Rows
from cfai.worker.bindings.vectorize_rules import MAX_DIMENSIONS, Asked, Vector, VectorizeError

__all__ = ["METRICS", "PROPERTY_TYPES", "Info", "Match", "VectorizeFile", "index_file"]

METRICS = ("cosine", "euclidean", "dot-product")
PROPERTY_TYPES = ("string", "number", "boolean")
MAX_PROPERTIES = 10

_SCHEMA = """
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS properties (name TEXT PRIMARY KEY, type TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS vectors (
  number INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  namespace TEXT,
  metadata TEXT,
  numbers BLOB NOT NULL
);
"""
_PUT = """
INSERT INTO vectors (id, namespace, metadata, numbers) VALUES (?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET namespace = excluded.namespace, metadata = excluded.metadata, numbers = excluded.numbers
"""


def index_file(state: Path, index: str) -> Path:
    """Where the index `index` is kept under `state`."""
    return state / "vectorize" / f"{file_name(index)}.sqlite"


@dataclass(frozen=True, slots=True)
class Info:
    """What is known of an index. No dimensions: nothing was inserted yet."""

    dimensions: int | None
    metric: str
    count: int
    mutation: str | None
    mutated: str | None
    properties: Mapping[str, str]
    """Metadata indexes: the type of each property."""


@dataclass(frozen=True, slots=True)
class Match:
    """A vector that was found, and how near it is."""

    vector: Vector
    score: float


class VectorizeFile:
    """An open index. Of one thread at a time, but for `interrupt`.

    ```python
    index = VectorizeFile(index_file(config.state, "my-index"))
    index.put("VECTOR_UPSERT", vectors)
    index.query(values, Asked(top_k=3))
    ```
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._rows: Rows | None = None
        self._version: int | None = None
        try:
            self._connection = open_database(file)
        except (OSError, sqlite3.Error) as error:
            problem = str(error) if isinstance(error, OSError) else f"{file}: {error}"
            raise VectorizeError("INDEX_GET", problem) from error
        try:
            with self._writing("INDEX_GET"):
                for statement in _SCHEMA.strip().removesuffix(";").split(";\n"):
                    self._connection.execute(statement)
        except VectorizeError:
            self._connection.close()
            raise

    def interrupt(self) -> None:
        self._connection.interrupt()

    def close(self) -> None:
        self._connection.close()

    def create(self, dimensions: int, metric: str) -> None:
        """Fix the dimensions and the metric, before the first vector."""
        if not 1 <= dimensions <= MAX_DIMENSIONS:
            raise VectorizeError("INDEX_CREATE", f"dimensions should be 1 to {MAX_DIMENSIONS}, not {dimensions}")
        if metric not in METRICS:
            raise VectorizeError("INDEX_CREATE", f"metric should be one of {', '.join(METRICS)}, not {metric!r}")
        with self._writing("INDEX_CREATE"):
            if self._setting("dimensions") is not None:
                raise VectorizeError("INDEX_CREATE", "the index has dimensions already, which cannot be changed")
            self._set("dimensions", dimensions)
            self._set("metric", metric)

    def add_property(self, name: str, kind: str) -> None:
        """Make a metadata index: what `returnMetadata: "indexed"` returns, and what Cloudflare can filter by."""
        if kind not in PROPERTY_TYPES:
            problem = f"type should be one of {', '.join(PROPERTY_TYPES)}, not {kind!r}"
            raise VectorizeError("INDEX_CREATE", problem)
        with self._writing("INDEX_CREATE"):
            if len({*self._properties(), name}) > MAX_PROPERTIES:
                problem = f"an index has at most {MAX_PROPERTIES} metadata indexes"
                raise VectorizeError("INDEX_CREATE", problem)
            self._connection.execute("INSERT OR REPLACE INTO properties VALUES (?, ?)", (name, kind))

    def info(self) -> Info:
        with self._errors("INDEX_GET"):
            settings = dict(self._connection.execute("SELECT name, value FROM settings"))
            [(count,)] = self._connection.execute("SELECT count(*) FROM vectors")
            return Info(
                settings.get("dimensions"),
                settings.get("metric", METRICS[0]),
                count,
                settings.get("mutation"),
                settings.get("mutated"),
                self._properties(),
            )

    def put(self, operation: str, vectors: Sequence[Vector]) -> str:
        """Insert, which leaves ids that are there alone, or upsert, which does not; all of them or none."""
        keeps = operation == "VECTOR_INSERT"
        # Of one id twice in a batch, an insert takes the first and an upsert the last.
        unique: dict[str, Vector] = {}
        for one in vectors:
            if not (keeps and one.id in unique):
                unique[one.id] = one
        rows = self._current(operation)
        with self._writing(operation):
            self._check_dimensions(operation, vectors)
            if keeps:
                unique = {name: one for name, one in unique.items() if not self._has(name)}
            self._connection.executemany(
                _PUT, ((one.id, one.namespace, one.metadata, one.values.tobytes()) for one in unique.values())
            )
            mutation = self._mutated()
        if rows is not None and self._version == self._data_version():
            rows.put(unique.values())
        return mutation

    def delete(self, ids: Sequence[str]) -> str:
        """Delete those that are there."""
        rows = self._current("VECTOR_DELETE")
        with self._writing("VECTOR_DELETE"):
            self._connection.executemany("DELETE FROM vectors WHERE id = ?", ((name,) for name in ids))
            mutation = self._mutated()
        if rows is not None and self._version == self._data_version():
            rows.remove(ids)
        return mutation

    def get(self, ids: Sequence[str]) -> list[Vector]:
        """Those that are there, in the order that was asked for."""
        with self._errors("VECTOR_GET"):
            found = []
            for name in dict.fromkeys(ids):
                query = "SELECT id, namespace, metadata, numbers FROM vectors WHERE id = ?"
                found += [_vector(*row) for row in self._connection.execute(query, (name,))]
            return found

    def query(self, asked_for: Sequence[float] | str, asked: Asked) -> tuple[list[Match], list[str]]:
        """The nearest to values, or to the vector of an id; and the properties of the filter without an index."""
        operation = "VECTOR_QUERY"
        conditions = () if asked.filter is None else conditions_of(asked.filter)
        with self._errors(operation):
            rows = self._loaded()
            properties = self._properties()
            metric = self._setting("metric") or METRICS[0]
            if isinstance(asked_for, str):
                row = None if rows is None else rows.row_of(asked_for)
                if rows is None or row is None:
                    raise VectorizeError(operation, f"there is no vector with the id {asked_for!r}")
                asked_for = rows.vector(row).values
            dimensions = self._setting("dimensions")
            if dimensions is not None and len(asked_for) != dimensions:
                problem = f"invalid query vector, expected {dimensions} dimensions, and got {len(asked_for)} dimensions"
                raise VectorizeError(operation, problem, 40006)
            if rows is None:
                return [], []
            found = rows.nearest(asked_for, asked.top_k, metric, namespace=asked.namespace, conditions=conditions)
        matches = [Match(rows.vector(row), score) for row, score in found]
        return matches, [one.name for one in conditions if one.name not in properties]

    def _check_dimensions(self, operation: str, vectors: Sequence[Vector]) -> None:
        if not vectors:
            return
        dimensions = self._setting("dimensions")
        if dimensions is None:
            dimensions = len(vectors[0].values)
            if not 1 <= dimensions <= MAX_DIMENSIONS:
                problem = f"invalid vector for id={_quoted(vectors[0].id)}, expected 1 to {MAX_DIMENSIONS} dimensions"
                raise VectorizeError(operation, f"{problem}, and got {dimensions} dimensions", 40012)
            self._set("dimensions", dimensions)
        for one in vectors:
            if len(one.values) != dimensions:
                problem = (
                    f"invalid vector for id={_quoted(one.id)}, expected {dimensions} dimensions, "
                    f"and got {len(one.values)} dimensions"
                )
                raise VectorizeError(operation, problem, 40012)

    def _has(self, name: str) -> bool:
        return self._connection.execute("SELECT 1 FROM vectors WHERE id = ?", (name,)).fetchone() is not None

    def _properties(self) -> dict[str, str]:
        return dict(self._connection.execute("SELECT name, type FROM properties ORDER BY name"))

    def _setting(self, name: str) -> Any:
        found = self._connection.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()
        return None if found is None else found[0]

    def _set(self, name: str, value: Any) -> None:
        self._connection.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, value))

    def _mutated(self) -> str:
        mutation = str(uuid.uuid4())
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        self._set("mutation", mutation)
        self._set("mutated", now.replace("+00:00", "Z"))
        return mutation

    def _data_version(self) -> int:
        [(version,)] = self._connection.execute("PRAGMA data_version")
        return int(version)

    def _current(self, operation: str) -> Rows | None:
        """What is in memory, if no other process has written since."""
        with self._errors(operation):
            return self._rows if self._rows is not None and self._version == self._data_version() else None

    def _loaded(self) -> Rows | None:
        version = self._data_version()
        if self._rows is None or version != self._version:
            dimensions = self._setting("dimensions")
            if dimensions is None:
                return None
            [(count,)] = self._connection.execute("SELECT count(*) FROM vectors")
            rows = Rows(dimensions, count + count // 16 + 64)
            cursor = self._connection.execute("SELECT id, namespace, metadata, numbers FROM vectors ORDER BY number")
            while records := cursor.fetchmany(4096):
                rows.extend(records)
            self._rows, self._version = rows, version
        return self._rows

    @contextmanager
    def _writing(self, operation: str) -> Iterator[None]:
        with self._errors(operation):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    @contextmanager
    def _errors(self, operation: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise VectorizeError(operation, f"{self._file}: {error}") from error


def _vector(name: str, namespace: str | None, metadata: str | None, numbers: bytes) -> Vector:
    return Vector(name, array("f", numbers), namespace, metadata)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
