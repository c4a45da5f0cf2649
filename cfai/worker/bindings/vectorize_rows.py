"""The vectors of one index in memory, and the exact search among them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cfai.worker.bindings.vectorize_filter import Condition, value_at
from cfai.worker.bindings.vectorize_rules import Vector

__all__ = ["Rows"]


class Rows:
    """Vectors in a matrix of 32-bit floats that grows by half, and what belongs to each.

    ```python
    rows = Rows(768)
    rows.put([vector])
    rows.nearest(values, 5, "cosine")  # [(row, score), ...], the best first
    ```
    """

    def __init__(self, dimensions: int, room: int = 0) -> None:
        self._matrix: NDArray[np.float32] = np.empty((room, dimensions), np.float32)
        self._norms: NDArray[np.float32] = np.empty(room, np.float32)
        self._row_of: dict[str, int] = {}
        self._ids: list[str] = []
        self._namespaces: list[str | None] = []
        self._metadata: list[str | None] = []
        self._columns: dict[tuple[str, ...], list[Any]] = {}

    def __len__(self) -> int:
        return len(self._ids)

    def extend(self, records: Sequence[tuple[str, str | None, str | None, bytes]]) -> None:
        """Add many that are not there: id, namespace, metadata and the bytes of the numbers."""
        first, end = len(self), len(self) + len(records)
        self._make_room(end)
        added = np.frombuffer(b"".join(record[3] for record in records), np.float32)
        self._matrix[first:end] = added.reshape(len(records), -1)
        self._norms[first:end] = np.sqrt(np.einsum("ij,ij->i", self._matrix[first:end], self._matrix[first:end]))
        self._ids += [record[0] for record in records]
        self._namespaces += [record[1] for record in records]
        self._metadata += [record[2] for record in records]
        self._row_of.update(zip(self._ids[first:], range(first, end), strict=True))

    def put(self, vectors: Iterable[Vector]) -> None:
        """Add them, or take them in the place of those with their ids."""
        self._columns.clear()
        for vector in vectors:
            row = self._row_of.get(vector.id)
            if row is None:
                row = len(self._ids)
                self._row_of[vector.id] = row
                self._ids.append(vector.id)
                self._namespaces.append(None)
                self._metadata.append(None)
                self._make_room(row + 1)
            self._matrix[row] = np.frombuffer(vector.values, np.float32)
            self._norms[row] = np.linalg.norm(self._matrix[row])
            self._namespaces[row] = vector.namespace
            self._metadata[row] = vector.metadata

    def remove(self, ids: Iterable[str]) -> None:
        """Forget them: the last row moves to where one was."""
        self._columns.clear()
        for name in ids:
            row = self._row_of.pop(name, None)
            if row is None:
                continue
            last = len(self._ids) - 1
            if row != last:
                self._matrix[row] = self._matrix[last]
                self._norms[row] = self._norms[last]
                self._ids[row], self._namespaces[row] = self._ids[last], self._namespaces[last]
                self._metadata[row] = self._metadata[last]
                self._row_of[self._ids[row]] = row
            del self._ids[last], self._namespaces[last], self._metadata[last]

    def vector(self, row: int) -> Vector:
        values: Any = self._matrix[row]
        return Vector(self._ids[row], values, self._namespaces[row], self._metadata[row])

    def row_of(self, name: str) -> int | None:
        return self._row_of.get(name)

    def nearest(
        self,
        values: Sequence[float],
        count: int,
        metric: str,
        *,
        namespace: str | None = None,
        conditions: Sequence[Condition] = (),
    ) -> list[tuple[int, float]]:
        """At most `count` rows and their scores, the best first; of equals, the one that came first."""
        among = self._among(namespace, conditions)
        matrix, norms = self._matrix[: len(self)], self._norms[: len(self)]
        if among is not None:
            matrix, norms = matrix[among], norms[among]
        if not len(matrix):
            return []
        query = np.asarray(values, np.float32)
        distances = _DISTANCES[metric](matrix, norms, query)
        # A fast product of many rows rounds as it likes: it names candidates, and these are measured in 64 bits.
        best = np.arange(len(distances))
        if (candidates := count + _SPARE) < len(best):
            limit = np.partition(distances, candidates - 1)[candidates - 1]
            best = np.flatnonzero(distances <= limit)
            best = best[np.argsort(distances[best], kind="stable")][:candidates]
        scores = _SCORES[metric](matrix[best].astype(np.float64), query.astype(np.float64))
        rows = best if among is None else among[best]
        order = np.lexsort((rows, -scores if metric == "cosine" else scores))[:count]
        return [(int(rows[at]), float(scores[at])) for at in order]

    def _among(self, namespace: str | None, conditions: Sequence[Condition]) -> NDArray[np.intp] | None:
        """The rows that are asked for at all; None for every one."""
        chosen: Iterable[int] = range(len(self))
        if namespace is None and not conditions:
            return None
        if namespace is not None:
            chosen = [row for row in chosen if self._namespaces[row] == namespace]
        for condition in conditions:
            column = self._column(condition.path)
            chosen = [row for row in chosen if all(test(column[row]) for test in condition.tests)]
        return np.fromiter(chosen, np.intp)

    def _column(self, path: tuple[str, ...]) -> list[Any]:
        if path not in self._columns:
            self._columns[path] = [
                None if text is None else value_at(json.loads(text), path) for text in self._metadata
            ]
        return self._columns[path]

    def _make_room(self, rows: int) -> None:
        room, dimensions = self._matrix.shape
        if rows > room:
            room = max(rows, room + room // 2, 64)
            matrix, norms = np.empty((room, dimensions), np.float32), np.empty(room, np.float32)
            matrix[: len(self._matrix)], norms[: len(self._norms)] = self._matrix, self._norms
            self._matrix, self._norms = matrix, norms


Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
_SPARE = 50


def _cosine(matrix: Floats, norms: Floats, query: Floats) -> Floats:
    lengths = norms * np.float32(np.linalg.norm(query))
    likeness: Floats = np.divide(matrix @ query, lengths, out=np.zeros_like(norms), where=lengths > 0)
    return -likeness


def _euclidean(matrix: Floats, norms: Floats, query: Floats) -> Floats:
    # |a - b|², less |b|² which is the same for all, without a matrix of differences.
    return norms * norms - 2 * (matrix @ query)


def _dot(matrix: Floats, norms: Floats, query: Floats) -> Floats:
    return -(matrix @ query)


def _cosine_scores(rows: Doubles, query: Doubles) -> Doubles:
    # The root of the product: a vector is then as like itself as can be, 1.
    lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows) * float(query @ query))
    likeness = np.divide(rows @ query, lengths, out=np.zeros(len(rows)), where=lengths > 0)
    return np.asarray(np.clip(likeness, -1, 1), np.float64)


def _euclidean_scores(rows: Doubles, query: Doubles) -> Doubles:
    return np.asarray(np.linalg.norm(rows - query, axis=1))


def _dot_scores(rows: Doubles, query: Doubles) -> Doubles:
    return -(rows @ query)


_DISTANCES = {"cosine": _cosine, "euclidean": _euclidean, "dot-product": _dot}
# As Cloudflare gives them: likeness for cosine, distances for the others, that of the dot product being its negative
# (https://developers.cloudflare.com/vectorize/best-practices/create-indexes/#distance-metrics).
_SCORES = {"cosine": _cosine_scores, "euclidean": _euclidean_scores, "dot-product": _dot_scores}
