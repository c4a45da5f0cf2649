"""KV namespaces: `env.KV.get`, `put`, `list`, `delete`, with the checks, limits and messages of Cloudflare's."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from cfai.results import plain
from cfai.worker import instead
from cfai.worker.bindings import kv_rules as rules
from cfai.worker.bindings.javascript import BindingObject, as_result, as_text, null, with_keywords
from cfai.worker.bindings.kv_store import Entry, KvStore
from cfai.worker.compat import current
from cfai.worker.web.promises import promised
from cfai.worker.web.streams import ReadableStream
from cfai.worker.web.values import (
    JSON,
    JsArray,
    JsException,
    JsMap,
    JsProxy,
    JsTypeError,
    Uint8Array,
    jsnull,
    members_of,
)

__all__ = ["KvNamespace"]

T = TypeVar("T")

_STREAM_CHUNK = 64 << 10


class KvNamespace(BindingObject):
    """One namespace as a script sees it, its data under `state`.

    ```python
    await env.KV.put("greeting", "hello", expirationTtl=3600, metadata={"by": "me"})
    await env.KV.get("greeting")          # "hello"
    (await env.KV.list(prefix="g")).keys
    ```

    Arguments and results are those of the SDK that the compatibility date selects.
    """

    def __init__(self, state: Path, namespace: str) -> None:
        self._store = KvStore(state, namespace)
        # SQLite connections belong to a thread, and a file that is busy must not hold up the event loop.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="kv")

    @promised
    async def get(self, *args: Any, **keywords: Any) -> Any:
        """The value of a key, or of a list of keys: `get(key, type)`, `get(key, {"type": ..., "cacheTtl": ...})`."""
        keys, options = self._arguments("get", args, keywords)
        if isinstance(keys, list):
            return await self._bulk(keys, options, with_metadata=False)
        found, _ = await self._single(keys, options)
        return found

    @promised
    async def getWithMetadata(self, *args: Any, **keywords: Any) -> Any:  # noqa: N802  # JavaScript's spelling
        """The value of a key and its metadata, or both of a list of keys."""
        keys, options = self._arguments("getWithMetadata", args, keywords)
        if isinstance(keys, list):
            return await self._bulk(keys, options, with_metadata=True)
        value, entry = await self._single(keys, options)
        metadata = None if entry is None or entry.metadata is None else json.loads(entry.metadata)
        result = as_result({"value": None, "metadata": metadata, "cacheStatus": None})
        result["value"] = value
        return result

    @promised
    async def put(self, *args: Any, **keywords: Any) -> None:
        """Keep a value: `put(key, value, {"expiration": ..., "expirationTtl": ..., "metadata": ...})`."""
        if len(args) + bool(keywords) < 2:
            raise _wrong_type("put", len(args) + 1, "string" if not args else "string or JsObject")
        key, value, options = with_keywords(args, keywords, 3)
        key = rules.checked_name("PUT", as_text(key))
        given = _options("put", 3, options, "PutOptions")
        if not isinstance(value, ReadableStream):
            value = _as_bytes(value)
        expiration = rules.expiration_of(given)
        metadata = rules.metadata_of(given)
        if isinstance(value, ReadableStream):
            value = await _read(value)
        if len(value) > rules.MAX_VALUE_BYTES:
            raise rules.too_large(len(value))
        await self._do("PUT", lambda: self._store.put(key, value, expiration=expiration, metadata=metadata))

    @promised
    async def delete(self, *args: Any, **keywords: Any) -> None:
        """Forget a key, whether or not it is there."""
        if not args and not keywords:
            raise _wrong_type("delete", 1, "string")
        key = rules.checked_name("DELETE", as_text(with_keywords(args, keywords, 1)[0]))
        await self._do("DELETE", lambda: self._store.delete(key))

    @promised
    async def list(self, *args: Any, **keywords: Any) -> Any:
        """Keys in the order of their UTF-8: `list({"prefix": ..., "limit": ..., "cursor": ...})`."""
        options = _options("list", 1, with_keywords(args, keywords, 1)[0], "ListOptions")
        limit = rules.MAX_LISTED
        if "limit" in options and (asked := rules.as_integer(options["limit"])) > 0:
            limit = asked
        prefix = "" if rules.is_nothing(options.get("prefix")) else as_text(options["prefix"])
        cursor = "" if rules.is_nothing(options.get("cursor")) else as_text(options["cursor"])
        if limit > rules.MAX_LISTED:
            problem = f"Invalid key_count_limit of {limit}. Please specify an integer less than {rules.MAX_LISTED}."
            raise rules.failed("GET", 400, problem)
        rules.check_length("GET", prefix)
        page = await self._do("GET", lambda: self._store.list(prefix, _after(cursor), limit))
        listed = {"keys": [_shown(entry) for entry in page.entries], "list_complete": page.is_last}
        if not page.is_last:
            listed["cursor"] = base64.b64encode(page.entries[-1].key.encode()).decode()
        return as_result({**listed, "cacheStatus": None})

    def close(self) -> None:
        """Close the namespace's file."""
        self._thread.submit(self._store.close)
        self._thread.shutdown()

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return "[object KvNamespace]"

    def _arguments(self, method: str, args: tuple[Any, ...], keywords: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        if not args and not keywords:
            raise _wrong_type(method, 1, "string or Array")
        keys, options = with_keywords(args, keywords, 2)
        keys = [as_text(key) for key in keys] if isinstance(keys, list | tuple | JsArray) else as_text(keys)
        if isinstance(options, str):
            return keys, {"type": options}
        return keys, _options(method, 2, options, "string or GetOptions")

    async def _single(self, key: str, options: Mapping[str, Any]) -> tuple[Any, Entry | None]:
        rules.checked_name("GET", key)
        rules.check_cache_ttl("GET", options)
        found = await self._do("GET", lambda: self._store.get(key))
        if found is None:
            return null(), None
        entry, value = found
        kind = as_text(options["type"]) if "type" in options else "text"
        if kind not in _READERS:
            problem = 'Unknown response type. Possible types are "text", "arrayBuffer", "json", and "stream".'
            raise JsTypeError(problem)
        return _READERS[kind](value), entry

    async def _bulk(self, keys: Sequence[str], options: Mapping[str, Any], *, with_metadata: bool) -> Any:
        kind = as_text(options["type"]) if options.get("type") else "text"
        if kind not in ("text", "json"):
            raise rules.failed("GET_BULK", 400, f'"{kind}" is not a valid type. Use "json" or "text"')
        if len(keys) > rules.MAX_KEYS_AT_ONCE:
            raise rules.failed("GET_BULK", 400, f"You can request a maximum of {rules.MAX_KEYS_AT_ONCE} keys")
        if not keys:
            raise rules.failed("GET_BULK", 400, "You must request a minimum of 1 key")
        for key in keys:
            rules.check_listed_name(key)
            rules.check_cache_ttl("GET_BULK", options)
        found = await self._do("GET_BULK", lambda: {key: self._store.get(key) for key in keys})
        if sum(len(one[1]) for one in found.values() if one is not None) > rules.MAX_VALUE_BYTES:
            problem = f"Total size of request exceeds the limit of {rules.MAX_VALUE_BYTES >> 20}MB"
            raise rules.failed("GET_BULK", 413, problem)
        values = {key: _listed_value(one, kind, with_metadata=with_metadata) for key, one in found.items()}
        result = as_result(values)
        return result if current().compat.has_external_sdk else JsMap(result)

    async def _do(self, method: str, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except Exception as error:  # of SQLite or of the file system: a full disk, a damaged file, a busy one
            says_all = isinstance(error, OSError)
            problem = error if says_all else f"{self._store.file}: {error}"
            raise JsException(f"KV {method} failed: 500 {problem}") from (None if says_all else error)


def _wrong_type(method: str, position: int, expected: str) -> JsTypeError:
    return JsTypeError(
        f"Failed to execute '{method}' on 'KvNamespace': parameter {position} is not of type '{expected}'."
    )


def _options(method: str, position: int, options: Any, expected: str) -> dict[str, Any]:
    if rules.is_nothing(options):
        return {}
    if (given := members_of(options)) is None:
        raise _wrong_type(method, position, expected)
    given = dict(given)
    if current().compat.has_external_sdk:
        return given
    # Pyodide makes undefined of None, which is as good as nothing; the external SDK makes null of it.
    return {name: value for name, value in given.items() if value is not None}


def _as_bytes(value: Any) -> bytes:
    if isinstance(value, bytes | bytearray | memoryview):
        if not isinstance(value, JsProxy) and not current().compat.has_external_sdk:
            current().lenient(f"KV.put of Python's {type(value).__name__}", _unsupported, instead=instead.TO_JS)
        return bytes(value)
    if value is None or value is jsnull or isinstance(value, str | int | float):
        return as_text(value).encode()
    raise _unsupported()


def _unsupported() -> JsTypeError:
    kinds = "strings, ArrayBuffers, ArrayBufferViews, and ReadableStreams"
    return JsTypeError(f"KV put() accepts only {kinds} as values.")


async def _read(stream: ReadableStream) -> bytes:
    """All of `stream`. What is too long is counted to its end, as its length is in the message, and not kept."""
    chunks = bytearray()
    length = 0
    async with stream:
        async for chunk in stream:
            data = chunk.encode() if isinstance(chunk, str) else bytes(chunk)
            length += len(data)
            if length <= rules.MAX_VALUE_BYTES:
                chunks += data
    if length > rules.MAX_VALUE_BYTES:
        raise rules.too_large(length)
    return bytes(chunks)


def _after(cursor: str) -> str:
    # As lenient as Node's Buffer: what is not base64 is skipped.
    text = "".join(one for one in cursor.replace("-", "+").replace("_", "/") if one.isalnum() or one in "+/")
    text = text.encode("ascii", "ignore").decode()
    text = text[: len(text) - (len(text) % 4 == 1)]
    return base64.b64decode(text + "=" * (-len(text) % 4)).decode("utf-8", "replace")


def _shown(entry: Entry) -> dict[str, Any]:
    shown: dict[str, Any] = {"name": entry.key}
    if entry.expiration is not None:
        shown["expiration"] = entry.expiration
    if entry.metadata is not None:
        shown["metadata"] = json.loads(entry.metadata)
    return shown


def _listed_value(found: tuple[Entry, bytes] | None, kind: str, *, with_metadata: bool) -> Any:
    if found is None:
        return None
    entry, data = found
    text = data.decode("utf-8", "replace")
    try:
        value = json.loads(text) if kind == "json" else text
    except ValueError:
        problem = f"At least one of the requested keys corresponds to a non-{kind} value"
        raise rules.failed("GET_BULK", 400, problem) from None
    if with_metadata and value is not None:
        return {"value": value, "metadata": None if entry.metadata is None else json.loads(entry.metadata)}
    return value


def _buffer(data: bytes) -> Any:
    return memoryview(data) if current().compat.has_external_sdk else Uint8Array(data)


def _json(data: bytes) -> Any:
    return as_result(plain(JSON.parse(data.decode("utf-8", "replace"))))


def _stream(data: bytes) -> ReadableStream:
    return ReadableStream.of(_chunks(data))


async def _chunks(data: bytes) -> Any:
    for at in range(0, len(data), _STREAM_CHUNK):
        yield data[at : at + _STREAM_CHUNK]


_READERS: dict[str, Callable[[bytes], Any]] = {
    "text": lambda data: data.decode("utf-8", "replace"),
    "json": _json,
    "arrayBuffer": _buffer,
    "stream": _stream,
}
