"""The log of a preview, as wrangler follows it: a WebSocket that is accepted and on which nothing ever comes.

wrangler 4.86 gives up when it is refused. It is the only WebSocket that there is here, so instead of a library it has
this: pings are answered, a close is returned, all else is read and dropped. https://www.rfc-editor.org/rfc/rfc6455
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from typing import Any

from cfai import sse
from cfai.errors import BadInput
from cfai.server.preview import TAIL_PATH

__all__ = ["TailSocket"]

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CLOSE, _PING, _PONG = 0x8, 0x9, 0xA
MOST_PENDING = 64 * 1024


class TailSocket(asyncio.Protocol):
    """What takes over a connection that asks to become a WebSocket: uvicorn's `ws`.

    Any other path than the log's is refused, in the words of the binding protocol, and so is a page of the web.
    """

    def __init__(self, config: Any, server_state: Any, app_state: Any) -> None:
        self._connections: set[Any] = server_state.connections
        self._transport: Any = None
        self._pending = bytearray()
        self._is_open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._connections.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._connections.discard(self)

    def shutdown(self) -> None:
        """Called by uvicorn at the end."""
        if self._is_open:
            self._send(_CLOSE, (1001).to_bytes(2))
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._pending += data
        if not self._is_open:
            self._greet()
        while self._is_open and (frame := self._next_frame()) is not None:
            self._answer(*frame)
        if len(self._pending) > MOST_PENDING:
            self._transport.close()

    def _greet(self) -> None:
        """Answer the request, which uvicorn hands over as a whole."""
        head, end, rest = bytes(self._pending).partition(b"\r\n\r\n")
        if not end:
            return
        self._pending[:] = rest
        request, *lines = head.split(b"\r\n")
        headers = {name.lower().strip(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
        target = request.split(b" ")[1]
        key = headers.get(b"sec-websocket-key")
        # A page in a browser says its origin; wrangler has none.
        if not target.startswith(TAIL_PATH.encode()) or key is None or b"origin" in headers:
            self._refuse()
            return
        accept = base64.b64encode(hashlib.sha1(key + _GUID).digest())
        answer = [b"HTTP/1.1 101 Switching Protocols", b"Connection: Upgrade", b"Upgrade: websocket"]
        answer.append(b"Sec-WebSocket-Accept: " + accept)
        if b"trace-v1" in headers.get(b"sec-websocket-protocol", b""):
            answer.append(b"Sec-WebSocket-Protocol: trace-v1")
        self._transport.write(b"\r\n".join([*answer, b"", b""]))
        self._is_open = True

    def _refuse(self) -> None:
        error = BadInput("no model answers over a WebSocket here", hint="leave the option websocket out")
        body = sse.dumps(error.to_body()).encode()
        head = f"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        self._transport.write(head.encode() + b"Connection: close\r\n\r\n" + body)
        self._transport.close()

    def _next_frame(self) -> tuple[int, bytes] | None:
        """The opcode and payload of the next frame; a client's frames are masked."""
        data = self._pending
        if len(data) < 2:
            return None
        length, at = data[1] & 0x7F, 2
        if length > 125:
            size = 2 if length == 126 else 8
            length, at = int.from_bytes(data[2 : 2 + size]), 2 + size
        if len(data) < at + 4 + length:
            return None
        mask, payload = data[at : at + 4], data[at + 4 : at + 4 + length]
        opcode = data[0] & 0x0F
        del data[: at + 4 + length]
        return opcode, bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))

    def _answer(self, opcode: int, payload: bytes) -> None:
        if opcode == _PING:
            self._send(_PONG, payload[:125])
        elif opcode == _CLOSE:
            self._send(_CLOSE, payload[:125])
            self._transport.close()
            self._is_open = False

    def _send(self, opcode: int, payload: bytes) -> None:
        self._transport.write(bytes([0x80 | opcode, len(payload)]) + payload)
