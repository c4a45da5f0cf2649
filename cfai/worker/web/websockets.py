"""`WebSocketPair` and `WebSocket`.

A pair is two ends of one link: what one sends, the other receives. An end is either accepted, and the script gets its
messages as events, or given away with a response, and the runtime moves its messages to and from the network. An end
that `WebSocket.new(url)` made has the network for its other end.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cfai.worker import compat
from cfai.worker.web.blobs import Blob
from cfai.worker.web.callbacks import begin, report
from cfai.worker.web.connecting import checked_url, connect, subprotocols_of
from cfai.worker.web.events import CloseEvent, ErrorEvent, Event, EventTarget, MessageEvent
from cfai.worker.web.exceptions import dom_exception
from cfai.worker.web.values import JsObject, JsTypeError, Uint8Array, options_of

__all__ = ["MAX_WAITING_BYTES", "NO_CLOSE_FRAME", "Close", "Failure", "Line", "WebSocket", "WebSocketPair"]

# What is waiting at an end before the network is asked for more.
WAITING = 16

MAX_WAITING_BYTES = 128 << 20
"""What may wait to be sent: the memory of a Worker (developers.cloudflare.com/workers/platform/limits)."""


@dataclass(frozen=True, slots=True)
class Close:
    """The last message in one direction. 1005 stands for no code on the wire, 1006 for a connection that broke."""

    code: int = 1005
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """A connection that never came about, or broke."""

    error: BaseException


NO_CLOSE_FRAME = Close(1006, "WebSocket disconnected without sending Close frame.")

Message = str | bytes | Close | Failure


class Line:
    """One direction of a link: messages on their way to one end."""

    def __init__(self) -> None:
        self._messages: deque[Message] = deque()
        self._changed = asyncio.Event()
        self._size = 0
        self._is_full = False
        self._when_full: Callable[[], None] | None = None

    def put(self, message: Message) -> None:
        if self._is_full:
            return
        self._messages.append(message)
        self._size += _size_of(message)
        if self._when_full is not None:
            self._check()
        self._changed.set()

    def when_full(self, call: Callable[[], None]) -> None:
        """Call `call` when more than a Worker's memory is waiting, which is let go then. Nothing more is taken."""
        self._when_full = call
        self._check()

    def _check(self) -> None:
        if self._size > MAX_WAITING_BYTES and self._when_full is not None:
            self._is_full = True
            self._messages.clear()
            self._size = 0
            self._when_full()

    async def take(self) -> Message:
        while not self._messages:
            self._changed.clear()
            await self._changed.wait()
        self._changed.set()
        message = self._messages.popleft()
        self._size -= _size_of(message)
        return message

    async def is_read(self) -> None:
        """Return when nothing is left to read."""
        while self._messages:
            self._changed.clear()
            await self._changed.wait()

    async def has_room(self) -> None:
        """Return when the end has not too much to read."""
        while len(self._messages) >= WAITING:
            self._changed.clear()
            await self._changed.wait()


def _size_of(message: Message) -> int:
    if isinstance(message, str):
        return len(message) if message.isascii() else len(message.encode("utf-8", "surrogatepass"))
    return len(message) if isinstance(message, bytes) else 0


class WebSocket(EventTarget):
    """One end of a WebSocket.

    ```python
    client, server = WebSocketPair.new().object_values()
    server.accept()
    server.addEventListener("message", create_proxy(lambda event: server.send(event.data)))
    return Response(None, status=101, web_socket=client)
    ```

    `WebSocket.new("wss://example.com/")` connects to a server; its "open" event says that it has.
    """

    READY_STATE_CONNECTING = CONNECTING = 0
    READY_STATE_OPEN = OPEN = 1
    READY_STATE_CLOSING = CLOSING = 2
    READY_STATE_CLOSED = CLOSED = 3

    def __init__(self, url: Any, protocols: Any = None) -> None:
        super().__init__()
        self._init(Line(), Line())
        self.url: str | None = checked_url(str(url))
        self._is_connecting = True
        self._is_outbound = True
        begin(connect(self, self.url, subprotocols_of(protocols)))

    def _init(self, incoming: Line, outgoing: Line) -> None:
        self._incoming, self._outgoing = incoming, outgoing
        self._is_accepted = self._is_given_away = self._is_connecting = self._is_outbound = False
        self._closed_incoming = self._closed_outgoing = self._is_broken = False
        self._is_half_open_allowed = False
        self.url = None
        self.protocol: str | None = None
        self.extensions: str | None = None
        has_blobs = compat.current().compat.has_blobs_of_websockets
        self.binaryType = "blob" if has_blobs else "arraybuffer"

    @classmethod
    def of(cls, incoming: Line, outgoing: Line) -> WebSocket:
        """An end that takes its messages from one line and puts them on another."""
        socket = cls.__new__(cls)
        EventTarget.__init__(socket)
        socket._init(incoming, outgoing)
        return socket

    @property
    def readyState(self) -> int:  # noqa: N802  # JavaScript's spelling
        if self._is_broken or (self._closed_incoming and self._closed_outgoing):
            return self.CLOSED
        if self._closed_incoming or self._closed_outgoing:
            return self.CLOSING
        return self.CONNECTING if self._is_connecting else self.OPEN

    def accept(self, options: Any = None, **named: Any) -> None:
        """Receive here: from now on messages are events."""
        if self._is_outbound:
            raise JsTypeError("Websockets obtained from the 'new WebSocket()' constructor cannot call accept")
        if self._is_given_away:
            raise JsTypeError("Can't accept() WebSocket that was already used in a response.")
        if not self._is_accepted:
            self._is_half_open_allowed = bool({**options_of(options), **named}.get("allowHalfOpen"))
            self._is_accepted = True
            begin(self._deliver())

    def send(self, message: Any) -> None:
        if self._closed_outgoing:
            raise JsTypeError("Can't call WebSocket send() after close().")
        if self._is_broken or self._is_given_away:
            return
        self._require_accepted()
        self._outgoing.put(message if isinstance(message, str) else _bytes_of(message))

    def close(self, code: int | None = None, reason: str | None = None) -> None:
        if code is not None and (not 1000 <= code < 5000 or code in (1004, 1005, 1006, 1015)):
            raise dom_exception("InvalidAccessError", f"Invalid WebSocket close code: {code}.")
        if reason is not None and code is None:
            problem = "If you specify a WebSocket close reason, you must also specify a code."
            raise dom_exception("InvalidAccessError", problem)
        if reason is not None and len(reason.encode()) > 123:
            problem = "WebSocket close reason must not be longer than 123 bytes when UTF-8 encoded."
            raise dom_exception("SyntaxError", problem)
        if self._is_connecting:
            self._closed_incoming = self._closed_outgoing = True
            self._outgoing.put(Close())
            return
        if self._closed_outgoing or self._is_broken or self._is_given_away:
            return
        self._require_accepted()
        self._end(Close(1005 if code is None else code, reason or ""))

    def give_away(self) -> tuple[Line, Line]:
        """What a response sends to the client, and where the client's messages go."""
        if self._is_outbound:
            raise JsTypeError("Can't return WebSocket in a Response if it was created with `new WebSocket()`")
        if self._is_given_away:
            raise JsTypeError("Can't return WebSocket that was already used in a response.")
        if self._is_accepted:
            raise JsTypeError("Can't return WebSocket in a Response after calling accept().")
        self._is_given_away = True
        return self._incoming, self._outgoing

    @property
    def lines(self) -> tuple[Line, Line]:
        """Where this end reads, and where it writes."""
        return self._incoming, self._outgoing

    def opened(self, protocol: str | None, extensions: str | None) -> None:
        """The server has agreed; called by who connects."""
        self._is_connecting, self._is_accepted = False, True
        self.protocol, self.extensions = protocol or "", extensions or ""
        self._dispatch_safely(Event.new("open"))
        begin(self._deliver())

    def failed(self, error: BaseException, event: CloseEvent) -> None:
        """The server could not be reached, or did not agree; called by who connects."""
        self._is_connecting, self._is_broken = False, True
        self._dispatch_safely(ErrorEvent.new("error", {"message": str(error), "error": error}))
        self._dispatch_safely(event)

    def _require_accepted(self) -> None:
        if not self._is_accepted:
            raise JsTypeError(
                "You must call one of accept() or state.acceptWebSocket() on this WebSocket before sending messages."
            )

    def _end(self, close: Close) -> None:
        self._closed_outgoing = True
        self._outgoing.put(close)

    async def _deliver(self) -> None:
        while True:
            message = await self._incoming.take()
            if isinstance(message, Close):
                self._hear(message)
                return
            if isinstance(message, Failure):
                self._is_broken = True
                self._dispatch_safely(ErrorEvent.new("error", {"message": str(message.error), "error": message.error}))
                return
            data = message if isinstance(message, str) else self._binary(message)
            self._dispatch_safely(MessageEvent.new("message", {"data": data}))
            await asyncio.sleep(0)  # what an async listener does at once, it does before the next message

    def _hear(self, close: Close) -> None:
        self._closed_incoming = True
        was_clean = close.code != NO_CLOSE_FRAME.code
        if not was_clean:
            self._is_broken = True
        elif self._replies_to_close:
            self._end(close)
        event = CloseEvent.new("close", {"code": close.code, "reason": close.reason, "wasClean": was_clean})
        self._dispatch_safely(event)

    @property
    def _replies_to_close(self) -> bool:
        is_due = not self._closed_outgoing and not self._is_half_open_allowed
        return is_due and compat.current().compat.replies_to_close

    def _binary(self, data: bytes) -> Any:
        array = Uint8Array(data)
        return Blob.new([array]) if self.binaryType == "blob" else array.buffer

    def _dispatch_safely(self, event: Event) -> None:
        try:
            self.dispatchEvent(event)
        except (Exception, SystemExit) as error:
            report(error)

    def serializeAttachment(self, value: Any) -> None:  # noqa: N802
        self._attachment = value

    def deserializeAttachment(self) -> Any:  # noqa: N802
        return getattr(self, "_attachment", None)


def _bytes_of(message: Any) -> bytes | str:
    if isinstance(message, bytes | bytearray | memoryview):
        return bytes(message)
    if hasattr(message, "to_bytes") and not isinstance(message, int):
        return bytes(message.to_bytes())
    # JavaScript makes a string of anything else.
    return str(message)


class WebSocketPair(JsObject):
    """`client, server = WebSocketPair.new().object_values()`; its ends are also `pair[0]` and `pair[1]`."""

    js_name = "WebSocketPair"

    @classmethod
    def new(cls) -> WebSocketPair:
        return cls()

    def __init__(self) -> None:
        there, back = Line(), Line()
        super().__init__({"0": WebSocket.of(there, back), "1": WebSocket.of(back, there)})

    def __getitem__(self, at: Any) -> Any:
        return super().__getitem__(str(at))
