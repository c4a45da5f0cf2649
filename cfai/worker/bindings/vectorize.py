"""`env.VECTORIZE`: an index as scripts see it, in the words and with the errors of workerd's `vectorize-api.ts`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from cfai.worker.bindings.javascript import BindingObject, as_json, as_result, as_text, with_keywords
from cfai.worker.bindings.lane import Lane
from cfai.worker.bindings.vectorize_rules import (
    Asked,
    Vector,
    VectorizeError,
    asked_of,
    checked_ids,
    numbers_of,
    vectors_of,
)
from cfai.worker.compat import current
from cfai.worker.web.conversion import members_of, options_of
from cfai.worker.web.promises import promised
from cfai.worker.web.values import JsArray, JsException, JsProxy

if TYPE_CHECKING:
    from cfai.worker.bindings.vectorize_file import Match, VectorizeFile

__all__ = ["VectorizeIndex"]

R = TypeVar("R")
_LEVELS = ("none", "indexed", "all")
_INDEXED_BYTES = 64


class VectorizeIndex(BindingObject):
    """A Vectorize index.

    ```python
    await env.VECTORIZE.upsert([{"id": "a", "values": [0.1, 0.2], "metadata": {"kind": "note"}}])
    await env.VECTORIZE.query([0.1, 0.2], {"topK": 3, "filter": {"kind": "note"}, "returnMetadata": "all"})
    ```
    """

    __slots__ = ("_file", "_name", "_noted")

    def __init__(self, state: Path, index: str) -> None:
        self._name = index
        self._noted: set[str] = set()
        # sqlite3 and NumPy are loaded when a script first asks.
        self._file = Lane(lambda: _open(state, index), f"vectorize {index}")

    def close(self) -> None:
        """Close the index's file."""
        self._file.close()

    @promised
    async def insert(self, vectors: Any) -> Any:
        """Add vectors; ids that are there already stay as they are."""
        return await self._put("VECTOR_INSERT", vectors)

    @promised
    async def upsert(self, vectors: Any) -> Any:
        """Add vectors, or take them in the place of those with their ids."""
        return await self._put("VECTOR_UPSERT", vectors)

    @promised
    async def deleteByIds(self, ids: Any) -> Any:  # noqa: N802  # JavaScript's spelling
        """Delete vectors."""
        named = _checked(lambda: checked_ids("VECTOR_DELETE", ids))
        return as_result({"mutationId": await self._do(lambda file: file.delete(named))})

    @promised
    async def getByIds(self, ids: Any) -> Any:  # noqa: N802
        """The vectors with these ids, as far as they are there."""
        named = _checked(lambda: checked_ids("VECTOR_GET", ids))
        found = await self._do(lambda file: file.get(named))
        return as_result([_shown(one, values=True, metadata=_parsed(one)) for one in found])

    @promised
    async def query(self, vector: Any, options: Any = None, **named: Any) -> Any:
        """The nearest vectors: `topK`, `returnValues`, `returnMetadata`, `namespace`, `filter`."""
        try:
            values = numbers_of(vector)
        except ValueError as error:
            problem = f"Failed to parse the request body as JSON: vector: {error}"
            raise _as_js(VectorizeError("VECTOR_QUERY", problem, 40026)) from None
        return await self._nearest(values, with_keywords(_given(options), named, 1)[0])

    @promised
    async def queryById(self, id: Any, options: Any = None, **named: Any) -> Any:  # noqa: A002, N802
        """The nearest to a vector that is in the index."""
        return await self._nearest(as_text(id), with_keywords(_given(options), named, 1)[0])

    @promised
    async def describe(self) -> Any:
        """How many vectors of how many dimensions there are, and the last mutation, which is always done here."""
        info = await self._do(lambda file: file.info())
        return as_result(
            {
                "vectorCount": info.count,
                "dimensions": info.dimensions or 0,
                "processedUpToDatetime": info.mutated,
                "processedUpToMutation": info.mutation,
            }
        )

    async def _put(self, operation: str, given: Any) -> Any:
        kind = operation.removeprefix("VECTOR_").lower()
        if not isinstance(given, list | tuple | JsArray):
            raise JsException("vectors.map is not a function", "TypeError")
        if len(given) and not isinstance(given, JsProxy) and not current().compat.has_external_sdk:
            # JavaScript sees no property of a Python dict.
            problem = f"failed to parse {kind} vectors request in json format"
            current().lenient(f"{kind} of a Python list", lambda: _as_js(VectorizeError(operation, problem, 40023)))
        vectors = _checked(lambda: vectors_of(operation, map(_as_vector, given)))
        return as_result({"mutationId": await self._do(lambda file: file.put(operation, vectors))})

    async def _nearest(self, asked_for: Any, options: Any) -> Any:
        given = options_of(options)
        level = _level(given.pop("returnMetadata", None))
        asked = _checked(lambda: asked_of({**as_json(given), "returnMetadata": level}))
        (matches, unindexed), properties = await self._do(
            lambda file: (file.query(asked_for, asked), file.info().properties)
        )
        for name in unindexed:
            self._note(
                f"filter on {name}",
                f"note: the filter on {name!r} works here; on Cloudflare it needs a metadata index that is older "
                f"than the vectors: npx wrangler vectorize create-metadata-index {self._name} --property-name={name}",
            )
        if asked.returns_metadata == "indexed" and not properties:
            self._note("indexed", f"note: {_NO_PROPERTIES.format(index=self._name)}")
        found = [_match(match, asked, properties) for match in matches]
        return as_result({"count": len(found), "matches": found})

    def _note(self, what: str, line: str) -> None:
        if what not in self._noted:
            self._noted.add(what)
            current().note(line)

    async def _do(self, work: Callable[[VectorizeFile], R]) -> R:
        try:
            return await self._file.run(work)
        except VectorizeError as error:
            raise _as_js(error) from None

    def __repr__(self) -> str:
        return "[object VectorizeIndexImpl]"


_NO_PROPERTIES = (
    "{index} has no metadata index here, and so returnMetadata 'indexed' returns every string, number and boolean; "
    "`cfai vectorize create-metadata-index {index} --property-name=NAME --type=string` says which"
)


def _open(state: Path, index: str) -> VectorizeFile:
    try:
        from cfai.worker.bindings.vectorize_file import VectorizeFile, index_file
    except ModuleNotFoundError as error:  # the interpreter of --python need not have what cfai's has
        problem = f"Vectorize needs NumPy in the Worker's interpreter, {sys.executable}: pip install numpy"
        raise VectorizeError("INDEX_GET", problem) from error

    return VectorizeFile(index_file(state, index))


def _given(options: Any) -> tuple[Any, ...]:
    return () if options is None else (options,)


def _as_vector(given: Any) -> Any:
    """What JSON would have of it; the values stay what they are, a typed array for one."""
    members = members_of(given)
    if members is None:
        return given
    return {name: value if name == "values" else as_json(value) for name, value in members.items()}


def _checked(check: Callable[[], R]) -> R:
    try:
        return check()
    except VectorizeError as error:
        raise _as_js(error) from None


def _as_js(error: VectorizeError) -> JsException:
    told = JsException(str(error))
    told.__dict__["cause"] = JsException(error.cause)
    return told


def _level(given: Any) -> str:
    value = as_json(given)
    if value is None:
        return "none"
    if value is False:
        refusal = VectorizeError(
            "VECTOR_QUERY", "Failed to parse the request body as JSON: returnMetadata: expected value", 40026
        )
        current().lenient("returnMetadata: false", lambda: _as_js(refusal))
        return "none"
    if value is True:
        return "all"
    if value not in _LEVELS:
        expected = 'Expected: true, false, "none", "indexed" or "all"'
        raise JsException(f"Invalid returnMetadata option. {expected}; got: {as_text(value)}")
    return str(value)


def _match(match: Match, asked: Asked, properties: Mapping[str, str]) -> dict[str, Any]:
    metadata = None
    if asked.returns_metadata == "all":
        metadata = _parsed(match.vector)
    elif asked.returns_metadata == "indexed":
        metadata = _indexed(_parsed(match.vector), properties)
    shown = _shown(match.vector, values=asked.returns_values, metadata=metadata)
    return {"id": shown.pop("id"), "score": match.score, **shown}


def _parsed(vector: Vector) -> dict[str, Any] | None:
    return None if vector.metadata is None else dict(json.loads(vector.metadata))


def _shown(vector: Vector, *, values: bool, metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    shown: dict[str, Any] = {"id": vector.id}
    if values:
        shown["values"] = [float(value) for value in vector.values]
    if vector.namespace is not None:
        shown["namespace"] = vector.namespace
    if metadata is not None:
        shown["metadata"] = metadata
    return shown


def _indexed(metadata: Mapping[str, Any] | None, properties: Mapping[str, str]) -> dict[str, Any] | None:
    from cfai.worker.bindings.vectorize_filter import value_at

    if metadata is None:
        return None
    if not properties:
        return {name: _cut(value) for name, value in metadata.items() if isinstance(value, str | int | float)}
    indexed: dict[str, Any] = {}
    for name in properties:
        *within, last = name.split(".")
        value = value_at(metadata, (*within, last))
        if value is not None:
            at = indexed
            for part in within:
                at = at.setdefault(part, {})
            at[last] = _cut(value)
    return indexed


def _cut(value: Any) -> Any:
    """An index keeps the first 64 bytes of a string, up to a whole character."""
    return value.encode()[:_INDEXED_BYTES].decode("utf-8", "ignore") if isinstance(value, str) else value
