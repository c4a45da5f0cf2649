"""A request that asks to become a WebSocket, and the connection that comes of it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from cfai.worker import ctx as contexts
from cfai.worker.ctx import Context
from cfai.worker.web.messages import Request, Response, status_text
from cfai.worker.web.values import JsTypeError
from cfai.worker.web.websockets import MAX_WAITING_BYTES, NO_CLOSE_FRAME, Close, Failure, Line, WebSocket

__all__ = ["SocketExchange", "socket_protocol"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

# Service Restart: https://www.iana.org/assignments/websocket/
RESTART = 1012

TOO_SLOW = f"more than {MAX_WAITING_BYTES >> 20} MiB wait for a client that does not read"

# What the handshake itself sets.
_OF_THE_HANDSHAKE = {"connection", "upgrade", "sec-websocket-accept", "sec-websocket-protocol", "content-length"}


def socket_protocol(**given: Any) -> asyncio.Protocol:
    """What takes over a connection that asks to become a WebSocket; loaded when the first one does."""
    from cfai.worker.socket_protocol import SocketProtocol

    return SocketProtocol(**given)


class SocketExchange:
    """Ask the script; then move messages between its WebSocket and the client until one of them closes."""

    def __init__(
        self, request: Request, path: str, receive: Receive, send: Send, ctx: Context, log: Callable[[str], None]
    ) -> None:
        self._request = request
        self._ctx = ctx
        self._path = path
        self._receive = receive
        self._send = send
        self._log = log
        self._work: asyncio.Task[Any] | None = None
        self._is_stopped = self._is_full = False
        self._started_at = time.perf_counter()

    def stop(self) -> None:
        """Close because the process ends."""
        self._is_stopped = True
        if self._work is not None:
            self._work.cancel()

    def _give_up(self) -> None:
        self._is_full = True
        self._log(f"▲ [WARNING] GET {self._path}: the WebSocket is closed with 1011: {TOO_SLOW}")
        if self._work is not None:
            self._work.cancel()

    async def run(self, respond: Callable[[Request, str], Awaitable[Response]]) -> None:
        await self._receive()  # websocket.connect
        leaving = asyncio.ensure_future(self._receive())
        with contexts.of(self._ctx):
            answering = self._work = asyncio.ensure_future(respond(self._request, self._path))
        try:
            await asyncio.wait([answering, leaving], return_when=asyncio.FIRST_COMPLETED)
            if not answering.done():
                answering.cancel()
                self._ctx.leave_threads()
                await asyncio.wait([answering])
            if answering.cancelled():
                self._log(f"[wrangler:info] GET {self._path} canceled ({self._elapsed}ms)")
                if self._is_stopped:
                    await self._send({"type": "websocket.close", "code": RESTART})
                return
            response = answering.result()
            self._log(f"[wrangler:info] GET {self._path} {_status_line(response)} ({self._elapsed}ms)")
            await self._converse(response, leaving)
        finally:
            for task in (answering, leaving):
                task.cancel()

    @property
    def _elapsed(self) -> int:
        return round((time.perf_counter() - self._started_at) * 1000)

    async def _refuse(self, response: Response) -> None:
        """The script answers without a WebSocket: what it says is the response to the handshake."""
        body = await response.read()
        headers = [pair for pair in response.headers.raw if pair[0] not in ("content-length", "transfer-encoding")]
        headers.append(("content-length", str(len(body))))
        start = {"type": "websocket.http.response.start", "status": response.status, "headers": _encoded(headers)}
        with contextlib.suppress(OSError):
            await self._send(start)
            await self._send({"type": "websocket.http.response.body", "body": body})

    async def _converse(self, response: Response, first: asyncio.Task[Message]) -> None:
        socket: WebSocket | None = response.webSocket
        try:
            lines = None if socket is None else socket.give_away()
        except JsTypeError as error:
            self._ctx.report(error)
            response, lines = Response.new(f"PythonError: {error}\n", {"status": 500}), None
        if lines is None:
            await self._refuse(response)
            return
        to_client, to_script = lines
        headers = [pair for pair in response.headers.raw if pair[0] not in _OF_THE_HANDSHAKE]
        protocol = response.headers.find("sec-websocket-protocol")
        accept = {"type": "websocket.accept", "headers": _encoded(headers), "subprotocol": protocol}
        try:
            await self._send(accept)
        except OSError:
            to_script.put(NO_CLOSE_FRAME)
            return
        sending = self._work = asyncio.create_task(self._send_all(to_client))
        try:
            await self._receive_all(first, to_script)
        finally:
            sending.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await sending

    async def _receive_all(self, first: asyncio.Task[Message], to_script: Line) -> None:
        message = await first
        while message["type"] == "websocket.receive":
            text = message.get("text")
            to_script.put(message["bytes"] if text is None else text)
            await to_script.has_room()
            message = await self._receive()
        # uvicorn gives a reason, if an empty one, where there was a close frame.
        broke = "reason" not in message and message.get("code") in (None, 1005, 1006)
        close = Close(message.get("code") or 1005, message.get("reason") or "")
        to_script.put(NO_CLOSE_FRAME if broke else close)
        await to_script.is_read()

    async def _send_all(self, to_client: Line) -> None:
        with contextlib.suppress(OSError):
            try:
                to_client.when_full(self._give_up)
                while not isinstance(message := await to_client.take(), Close | Failure):
                    kind = "text" if isinstance(message, str) else "bytes"
                    await self._send({"type": "websocket.send", kind: message})
            except asyncio.CancelledError:
                if not self._is_stopped and not self._is_full:
                    raise
                message = Close(RESTART) if self._is_stopped else Close(1011, TOO_SLOW)
            code = message.code if isinstance(message, Close) else 1011
            reason = message.reason if isinstance(message, Close) else ""
            # No code at all is how ASGI servers are told to send a close frame without one.
            await self._send({"type": "websocket.close", "code": None if code == 1005 else code, "reason": reason})


def _status_line(response: Response) -> str:
    return f"{response.status} {status_text(response)}".strip()


def _encoded(headers: list[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode()) for name, value in headers]
