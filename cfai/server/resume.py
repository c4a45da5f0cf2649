"""Streams that outlive a lost connection.

    Reply's stream -> pump (a task) -> kept events -> reader -> the client's connection
                                            \\------> newer reader, after a loss

A client that wants this says so, since Workers AI's own streams have no `id:` lines: it sends `Last-Event-ID: 0`, or
`?resumable=true`. Each event then begins with `id: <stream>-<number>`. When the connection is lost, the same POST with
`Last-Event-ID: <the last id it saw>` goes on right behind that event, and what the client has read in all is byte for
byte the uninterrupted stream.

While nobody reads, the model goes on for a bounded time, and into a bounded memory: when that is full, its sequence
waits. While somebody reads, the oldest events that were sent make room. A stream that nobody comes back for is stopped.
Comments that keep a connection alive have no id; they are for the connection on which they are sent.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import parse_qs

import anyio
from starlette.types import Receive, Scope, Send

from cfai import sse
from cfai.binding import EVENT_STREAM, Reply
from cfai.errors import AiError, ConnectionDropped, EngineFailure, RequestAborted, StreamGone
from cfai.request_id import of_request
from cfai.results import ByteStream
from cfai.server.envelope import edge_error, success
from cfai.server.exchange import send_reply
from cfai.tasks.shapes.failures import native_failure

__all__ = ["KEEP_SECONDS", "STREAM_BYTES", "STREAM_ID", "TOTAL_BYTES", "StreamEnd", "Streams"]

log = logging.getLogger("cfai.server")

KEEP_SECONDS = 60.0
"""How long a stream that nobody reads is kept."""

STREAM_BYTES = 8 * 1024 * 1024
"""What is kept of one stream."""

TOTAL_BYTES = 64 * 1024 * 1024
"""What is kept of all streams together."""

STREAM_ID = "cfai-stream-id"
"""The header of a reply that can be continued: what `DELETE .../ai/streams/{id}` takes."""

_OVERHEAD = 1024
"""Bytes that a stream is taken to need besides its events."""

_FORM = re.compile(r"([0-9a-f]{32})-([0-9]{1,12})")

Failure = Callable[[AiError], list[bytes]]


class Streams:
    """The streams of one server that can be continued; for asyncio, as the server is.

    keep_seconds  how long a stream is kept that nobody reads
    stream_bytes  what is kept of one stream, `total_bytes` of all together
    """

    def __init__(
        self, *, keep_seconds: float = KEEP_SECONDS, stream_bytes: int = STREAM_BYTES, total_bytes: int = TOTAL_BYTES
    ) -> None:
        self.keep_seconds = keep_seconds
        self.stream_bytes = stream_bytes
        self.total_bytes = total_bytes
        self.size = 0
        self._streams: dict[str, _Stream] = {}
        self._pumps: set[asyncio.Task[None]] = set()

    def over(
        self, scope: Scope, produce: Callable[[], Awaitable[Reply]], *, failure: Failure = native_failure
    ) -> Callable[[], Awaitable[Reply]]:
        """What answers the request of `scope`: `produce`, its stream kept if the client asks for that, or what is left
        of an earlier stream that the client names. What cannot be continued is never begun anew.

        failure  the last events of a stream that cannot go on
        """
        asked = _asked(scope)
        if asked is None:
            return produce

        async def answer() -> Reply:
            if asked:
                try:
                    return self._continued(asked)
                except StreamGone as error:
                    return Reply.from_error(error, {"cf-ai-req-id": of_request()})
            reply = await produce()
            is_stream = isinstance(reply.body, ByteStream) and _is_event_stream(reply)
            return self._kept(reply, failure) if is_stream else reply

        return answer

    def stop(self, name: str) -> bool:
        """End the stream of that id, or of an event's id, at once; False if there is none."""
        stream = self._streams.get(name.partition("-")[0])
        if stream is None:
            return False
        stream.abort(RequestAborted())
        self._forget(stream)
        return True

    def end_unread(self) -> None:
        """End the streams that nobody reads: their readers cannot come back to a server that ends."""
        for stream in list(self._streams.values()):
            if stream.reader is None:
                self._forget(stream)

    async def aclose(self) -> None:
        """End all streams."""
        for stream in list(self._streams.values()):
            self._forget(stream)
        if pumps := list(self._pumps):
            with anyio.CancelScope(shield=True):
                await asyncio.wait(pumps)

    def _kept(self, reply: Reply, failure: Failure) -> Reply:
        stream = _Stream(self, reply, failure)
        self._streams[stream.id] = stream
        self.size += stream.size
        pump = asyncio.create_task(stream.pump())
        stream.task = pump
        self._pumps.add(pump)
        pump.add_done_callback(self._pumps.discard)
        return stream.read(0)

    def _continued(self, event_id: str) -> Reply:
        parts = _FORM.fullmatch(event_id)
        stream = self._streams.get(parts[1]) if parts else None
        if parts is None or stream is None:
            raise StreamGone(
                f"This stream cannot be continued: nothing is kept under {event_id[:60]!r}",
                hint=f"a stream is kept for {self.keep_seconds:g} seconds after its connection is lost; "
                "begin a new one with Last-Event-ID: 0",
            )
        return stream.read(int(parts[2]))

    def expire(self, stream: _Stream) -> None:
        if stream.reader is None:
            self._forget(stream)

    def _forget(self, stream: _Stream) -> None:
        if self._streams.pop(stream.id, None) is not None:
            stream.close()
            self.free(stream.size)

    def free(self, size: int) -> None:
        """Give room back, and tell all who wait for some."""
        self.size -= size
        for stream in self._streams.values():
            stream.wake()

    def drop_finished(self) -> bool:
        """Make room by forgetting the oldest stream that is complete and unread; False if there is none."""
        for stream in self._streams.values():
            if stream.is_complete and stream.reader is None:
                self._forget(stream)
                return True
        return False


class StreamEnd:
    """End a stream before its time; an ASGI endpoint whose route's parameter is `stream`."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        name = scope["path_params"]["stream"]
        if self._streams.stop(name):
            await send_reply(success({"id": name.partition("-")[0], "status": "ended"}), send)
        else:
            await send_reply(edge_error(StreamGone("There is no such stream, or no longer")), send)


def _asked(scope: Scope) -> str | None:
    """The id of the event behind which to go on; empty to keep the stream from its beginning, None for neither."""
    given = dict(scope["headers"]).get(b"last-event-id")
    if given is not None:
        text = str(given.decode("latin-1")).strip()
        return "" if text == "0" else text
    query = parse_qs(scope["query_string"].decode("latin-1"))
    return "" if query.get("resumable", ["false"])[-1] == "true" else None


def _is_event_stream(reply: Reply) -> bool:
    return reply.headers.get("content-type", "").startswith(EVENT_STREAM)


class _Stream:
    """One stream: what it has made so far, and who reads it. Events count from 1, as their ids do."""

    def __init__(self, streams: Streams, reply: Reply, failure: Failure) -> None:
        self.id = secrets.token_hex(16)
        self.size = _OVERHEAD
        self.is_complete = False
        self.break_off: ConnectionDropped | None = None
        """Why there is nothing behind the last event, not even an end."""
        self.reader: _Reader | None = None
        self.task: asyncio.Task[None] | None = None
        self._streams = streams
        self._source: ByteStream = reply.body
        self._headers: Mapping[str, str] = {**reply.headers, STREAM_ID: self.id}
        self._failure = failure
        self._events: deque[bytes] = deque()
        self._dropped = 0
        self._changed = anyio.Event()
        self._expiry: asyncio.TimerHandle | None = None

    @property
    def last(self) -> int:
        """The number of the newest event."""
        return self._dropped + len(self._events)

    def read(self, behind: int) -> Reply:
        """A reply with what comes behind the event of that number. Who reads the stream already reads no further."""
        if behind > self.last:
            raise StreamGone(f"This stream cannot be continued: it has no event {self.id}-{behind}")
        if behind < self._dropped:
            raise StreamGone(
                f"This stream cannot be continued: what follows {self.id}-{behind} is no longer kept",
                hint="a slow client or a very long answer; continue sooner, or from a later event",
            )
        if self._expiry is not None:
            self._expiry.cancel()
        self.reader = _Reader(self, behind)
        self.wake()
        return Reply(ByteStream(self.reader), headers=self._headers)

    def event(self, number: int) -> bytes:
        return self._events[number - self._dropped - 1]

    def left(self, reader: _Reader) -> None:
        if self.reader is reader:
            self.reader = None
            loop = asyncio.get_running_loop()
            self._expiry = loop.call_later(self._streams.keep_seconds, self._streams.expire, self)
            self._streams.free(0)  # others may wait for the room that an unread stream takes

    def wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    async def change(self) -> None:
        await self._changed.wait()

    async def pump(self) -> None:
        """Take the events from the binding as they are made, while there is room for them."""
        splitter = sse.Splitter()
        try:
            async with self._source:
                async for chunk in self._source:
                    for event in splitter.feed(chunk):
                        await self._take(event)
            if splitter.rest:
                await self._take(splitter.rest)
        except ConnectionDropped as error:
            self.break_off = error
        except Exception as error:
            log.exception("the stream failed")
            self._append_last(error if isinstance(error, AiError) else EngineFailure(f"the stream failed: {error}"))
        finally:
            self.is_complete = True
            self.wake()
            self._streams.free(0)

    async def _take(self, event: bytes) -> None:
        if event.startswith(b":"):
            if self.reader is not None:
                self.reader.comment = event
                self.wake()
            return
        while not self._has_room(len(event)):
            await self.change()
        self._append(event)

    def _has_room(self, size: int) -> bool:
        streams = self._streams
        while self._events and self.size + size > streams.stream_bytes:
            if not self._drop_sent():
                return False
        while streams.size + size > streams.total_bytes:
            if not streams.drop_finished() and not self._drop_sent():
                return False
        return True

    def _drop_sent(self) -> bool:
        if self.reader is None or not self._events or self._dropped >= self.reader.position:
            return False
        self._dropped += 1
        size = len(self._events.popleft())
        self.size -= size
        self._streams.size -= size
        return True

    def _append(self, event: bytes) -> None:
        numbered = f"id: {self.id}-{self.last + 1}\n".encode() + event
        self._events.append(numbered)
        self.size += len(numbered)
        self._streams.size += len(numbered)
        self.wake()

    def _append_last(self, error: AiError) -> None:
        for event in self._failure(error):
            self._append(event)

    def abort(self, error: AiError) -> None:
        """End the stream with its last events, for the one who reads it."""
        if not self.is_complete:
            self._append_last(error)

    def close(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
        if self.task is not None:
            self.task.cancel()
        self.is_complete = True
        self.wake()


class _Reader:
    """One connection's view of a stream."""

    def __init__(self, stream: _Stream, behind: int) -> None:
        self.position = behind
        self.comment = b""
        self._stream = stream

    async def __anext__(self) -> bytes:
        stream = self._stream
        while stream.reader is self:
            if self.comment:
                comment, self.comment = self.comment, b""
                return comment
            if self.position < stream.last:
                self.position += 1
                event = stream.event(self.position)
                stream.wake()
                return event
            if stream.break_off is not None:
                raise stream.break_off
            if stream.is_complete:
                break
            await stream.change()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self._stream.left(self)
