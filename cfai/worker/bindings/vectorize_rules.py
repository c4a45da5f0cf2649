"""Vectors as scripts give them: what is checked, Cloudflare's limits, and its errors.

Facts: workerd's `vectorize-api.ts`, Cloudflare's pages on limits and metadata filtering, errors that users show.
An error whose number nobody shows has none here.
"""

from __future__ import annotations

import json
import math
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cfai.results import plain

__all__ = [
    "DEFAULT_TOP_K",
    "MAX_DIMENSIONS",
    "Asked",
    "Vector",
    "VectorizeError",
    "asked_of",
    "checked_ids",
    "numbers_of",
    "vectors_of",
]

MAX_DIMENSIONS = 1536
MAX_VECTORS = 1000
MAX_NAME_BYTES = 64
MAX_METADATA_BYTES = 10 * 1024
MAX_IDS = {"VECTOR_GET": 20, "VECTOR_DELETE": 100}
DEFAULT_TOP_K = 5
MAX_TOP_K = 100
MAX_TOP_K_WITH_ALL = 50


class VectorizeError(Exception):
    """What Vectorize refuses: `operation` is workerd's name for the call."""

    def __init__(self, operation: str, problem: str, code: int | None = None) -> None:
        super().__init__(f"{operation}_ERROR{'' if code is None else f' (code = {code})'}: {problem}")
        self.cause = problem


@dataclass(frozen=True, slots=True)
class Vector:
    """One vector of an index."""

    id: str
    values: array[float]
    namespace: str | None = None
    metadata: str | None = None
    """JSON."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The options of a query."""

    top_k: int = DEFAULT_TOP_K
    returns_values: bool = False
    returns_metadata: str = "none"
    """Or "indexed", "all"."""
    namespace: str | None = None
    filter: Mapping[str, Any] | None = None


def vectors_of(operation: str, given: Iterable[Any]) -> list[Vector]:
    """The vectors of an insert or upsert, all of them checked."""
    vectors = [_vector(operation, at, one) for at, one in enumerate(given)]
    if len(vectors) > MAX_VECTORS:
        problem = f"too many vectors in payload; max count is {MAX_VECTORS}, got {len(vectors)}"
        raise VectorizeError(operation, problem, 40006)
    return vectors


def _vector(operation: str, at: int, given: Any) -> Vector:
    def malformed(problem: str) -> VectorizeError:
        kind = operation.removeprefix("VECTOR_").lower()
        said = f"failed to parse {kind} vectors request in json format: vector {at}: {problem}"
        return VectorizeError(operation, said, 40023)

    if not isinstance(given, Mapping):
        raise malformed(f"expected an object with id and values, not {type(given).__name__}")
    name, namespace, metadata = given.get("id"), given.get("namespace"), given.get("metadata")
    if not isinstance(name, str):
        raise malformed(f"id should be a string, not {name!r}")
    if not isinstance(namespace, str | None):
        raise malformed(f"namespace should be a string, not {namespace!r}")
    if not isinstance(metadata, Mapping | None):
        raise malformed(f"metadata should be an object, not {type(metadata).__name__}")
    try:
        values = numbers_of(given.get("values"))
    except ValueError as error:
        raise malformed(str(error)) from None
    _check_name(operation, "id", name, 40008)
    _check_name(operation, "namespace", namespace or "", 40009)
    return Vector(name, values, namespace or None, _metadata(operation, metadata))


def _check_name(operation: str, what: str, name: str, code: int) -> None:
    length = len(name.encode("utf-8", "surrogatepass"))
    if length > MAX_NAME_BYTES:
        problem = f"{what} too long; max is {MAX_NAME_BYTES} bytes, got {length} bytes"
        raise VectorizeError(operation, problem, code)


def _metadata(operation: str, metadata: Mapping[str, Any] | None) -> str | None:
    if metadata is None:
        return None
    for key in metadata:
        if not isinstance(key, str) or not key or key.startswith("$") or "." in key or '"' in key:
            problem = f"invalid metadata key {key!r}: no key is empty, begins with $ or has a dot or a quote in it"
            raise VectorizeError(operation, problem, 40018)
    try:
        text = json.dumps(metadata, ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=_refuse)
        length = len(text.encode())
    except (TypeError, ValueError) as error:
        raise VectorizeError(operation, f"metadata is not JSON: {error}") from None
    if length > MAX_METADATA_BYTES:
        problem = f"metadata too large; max is {MAX_METADATA_BYTES} bytes, got {length} bytes"
        raise VectorizeError(operation, problem)
    return text


def _refuse(value: Any) -> Any:
    raise TypeError(f"{value!r} is a {type(value).__name__}")


def numbers_of(given: Any) -> array[float]:
    """A list, a typed array or anything else of numbers as 32-bit floats; ValueError says what is wrong."""
    given = plain(given)
    if given is None or isinstance(given, str | Mapping):
        raise ValueError(f"values should be a list of numbers, not {given!r}"[:200])
    try:
        numbers = list(given)
    except TypeError:
        raise ValueError(f"values should be a list of numbers, not {given!r}"[:200]) from None
    if not {*map(type, numbers)} <= {int, float}:
        numbers = [_number(at, one) for at, one in enumerate(numbers)]
    try:
        values = array("f", numbers)
    except OverflowError:
        raise ValueError("a value is too large for a 32-bit float") from None
    if not all(map(math.isfinite, values)):
        at = next(at for at, value in enumerate(values) if not math.isfinite(value))
        raise ValueError(f"value {at} is {numbers[at]}, which is no 32-bit float")
    return values


def _number(at: int, value: Any) -> float:
    # NumPy's numbers are welcome; a bool or a text is a mistake.
    if isinstance(value, bool | str | bytes) or not hasattr(value, "__float__"):
        raise ValueError(f"value {at} should be a number, not {value!r}")
    return float(value)


def checked_ids(operation: str, given: Any) -> list[str]:
    """The ids of a get or delete."""
    ids = plain(given)
    if not isinstance(ids, list | tuple) or not all(isinstance(one, str) for one in ids):
        raise VectorizeError(operation, f"ids should be a list of strings, not {ids!r}"[:200])
    if len(ids) > (most := MAX_IDS[operation]):
        problem = f"too many ids in payload; max id count is {most}, got {len(ids)}"
        raise VectorizeError(operation, problem, 40007)
    return list(ids)


def asked_of(options: Mapping[str, Any]) -> Asked:
    """The options of a query, checked. `returnMetadata` is one of the three words by now."""
    operation = "VECTOR_QUERY"
    # A null in JSON is as good as nothing.
    given = {name: value for name, value in options.items() if value is not None}
    top_k = given.get("topK", DEFAULT_TOP_K)
    if isinstance(top_k, bool) or not isinstance(top_k, int | float) or top_k != int(top_k) or top_k < 1:
        raise VectorizeError(operation, f"topK should be a positive integer, not {top_k!r}", 40026)
    metadata, values = given.get("returnMetadata", "none"), bool(given.get("returnValues", False))
    if (values or metadata == "all") and top_k > MAX_TOP_K_WITH_ALL:
        problem = (
            f"with returnValues=true or returnMetadata=all, max top K is {MAX_TOP_K_WITH_ALL}, but got {int(top_k)}"
            "; for a top K up to 100, retry with returnValues=false and returnMetadata=indexed"
        )
        raise VectorizeError(operation, problem, 40025)
    if top_k > MAX_TOP_K:
        raise VectorizeError(operation, f"max top K is {MAX_TOP_K}, but got {int(top_k)}", 40025)
    namespace = given.get("namespace")
    if not isinstance(namespace, str | None):
        raise VectorizeError(operation, f"namespace should be a string, not {namespace!r}", 40026)
    return Asked(int(top_k), values, metadata, namespace, given.get("filter"))
