"""Anything that gives the bytes of a stream, read to its end with the times of its chunks."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, runtime_checkable

import anyio

from cfai.binding import JSON, Reply
from cfai.clock import Clock, RealClock
from cfai.sse import dumps
from cfai.testing.report import Chunk, StreamReport

__all__ = ["AsyncResponse", "Response", "StreamSource", "read_stream"]


@runtime_checkable
class AsyncResponse(Protocol):
    """An answer over HTTP as httpx2, httpx and the OpenAI client's raw responses have it."""

    def aiter_bytes(self) -> AsyncIterator[bytes]: ...


@runtime_checkable
class Response(Protocol):
    """The same of a client that blocks."""

    def iter_bytes(self) -> Iterable[bytes]: ...


StreamSource = (
    AsyncIterable[bytes]
    | AsyncIterable[str]
    | Iterable[bytes]
    | Iterable[str]
    | AsyncResponse
    | Response
    | Reply
    | Mapping[str, Any]
)
"""A `ByteStream`, an async or plain iterable of chunks, an HTTP response, a binding's `Reply`, bytes; also the result
that a model may give in place of a stream."""


async def read_stream(stream: StreamSource, *, since: float | None = None) -> StreamReport:
    """Read a stream to its end, whatever it is like, and tell what was in it.

    ```python
    answer = await read_stream(response)
    print(answer.text, answer.usage, answer.error)
    ```

    It asserts nothing: a broken stream gives a report of what came, and what it raised is the report's `error`. Times
    are those of `stream.clock`, the machine's where it has none, and count from `since`, the start of reading if left
    out. The stream is closed in the end.
    """
    clock: Clock = getattr(stream, "clock", None) or RealClock()
    start = clock.now() if since is None else since
    status, content_type = _head(stream)
    chunks: list[Chunk] = []
    raised: Exception | None = None
    source = _chunks(stream)
    try:
        async for data in source:
            chunks.append(Chunk(clock.now() - start, _bytes_of(data)))
    except Exception as error:  # it is what the report tells
        raised = error
    finally:
        await _close(source)
        await _close(stream)
    return StreamReport(
        tuple(chunks), seconds=clock.now() - start, raised=raised, status=status, content_type=content_type
    )


def _bytes_of(chunk: object) -> bytes:
    if isinstance(chunk, str):
        return chunk.encode()
    if isinstance(chunk, bytes | bytearray | memoryview):
        return bytes(chunk)
    raise TypeError(f"a chunk of a stream is bytes or a text, not {chunk!r:.80}")


def _head(stream: object) -> tuple[int | None, str | None]:
    if isinstance(stream, Mapping):
        return None, JSON
    status = getattr(stream, "status_code", None) or getattr(stream, "status", None)
    headers = getattr(stream, "headers", None)
    content_type = headers.get("content-type") if headers is not None and hasattr(headers, "get") else None
    return status if isinstance(status, int) else None, content_type if isinstance(content_type, str) else None


def _chunks(stream: object) -> AsyncIterator[bytes | str]:
    if isinstance(stream, Mapping):
        return _each([_json(stream)])
    if isinstance(stream, Reply):
        stream = stream.body if isinstance(stream.body, AsyncIterable) else [_json(stream.body)]
    if isinstance(stream, AsyncResponse):
        return stream.aiter_bytes()
    if isinstance(stream, AsyncIterable):
        return aiter(stream)
    if isinstance(stream, Response):
        return _each(stream.iter_bytes())
    if isinstance(stream, bytes | bytearray | str):
        return _each([stream])
    if isinstance(stream, Iterable):
        return _each(stream)
    raise TypeError(
        f"a stream is an iterable of bytes, async or not, or a response with aiter_bytes(); {type(stream).__name__} is "
        f"neither{_why(stream)}"
    )


def _why(stream: object) -> str:
    if hasattr(stream, "__await__"):
        return ": it is to be awaited first"
    if isinstance(stream, AbstractAsyncContextManager):
        return ": it is to be entered with `async with` first"
    return ""


async def _each(chunks: Iterable[Any]) -> AsyncIterator[bytes | str]:
    for chunk in chunks:
        yield chunk


def _json(body: object) -> bytes:
    return body if isinstance(body, bytes) else dumps(body).encode()


async def _close(stream: object) -> None:
    with anyio.CancelScope(shield=True):
        if callable(aclose := getattr(stream, "aclose", None)):
            await aclose()
        elif callable(close := getattr(stream, "close", None)):
            close()
