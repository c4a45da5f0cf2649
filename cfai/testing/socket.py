"""A WebSocket to a Worker in this process."""

from __future__ import annotations

import asyncio
from typing import Self

from cfai.testing.exchange import App, Message, Scope, begin

__all__ = ["SocketClosed", "SocketRefused", "WorkerSocket"]

NORMAL, NO_STATUS = 1000, 1005
"""Status codes of a close frame: https://www.rfc-editor.org/rfc/rfc6455#section-7.4.1"""


class SocketRefused(ConnectionError):
    """The Worker answered a handshake with a response and no WebSocket; its `status` and `body`."""

    def __init__(self, status: int, body: bytes) -> None:
        said = body[:200].decode(errors="replace")
        super().__init__(f"the Worker answers with status {status} and no WebSocket: {said}")
        self.status = status
        self.body = body


class SocketClosed(ConnectionError):
    """The Worker has closed the WebSocket, with this `code` and `reason`."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"the Worker has closed the WebSocket with {code}{f': {reason}' if reason else ''}")
        self.code = code
        self.reason = reason


class WorkerSocket:
    """The test's end of a WebSocket.

    ```python
    async with worker.websocket("/chat") as socket:
        await socket.send("hi")
        assert await socket.receive() == "hello"
    ```

    Iterating gives messages until the Worker closes; `receive` raises `SocketClosed` then.
    """

    def __init__(self, app: App, scope: Scope) -> None:
        self._app = app
        self._scope = scope
        self._task: asyncio.Task[None] | None = None
        self._to_worker: asyncio.Queue[Message] = asyncio.Queue()
        self._to_test: asyncio.Queue[Message] = asyncio.Queue()
        self._end: SocketClosed | None = None

    async def __aenter__(self) -> Self:
        self._to_worker.put_nowait({"type": "websocket.connect"})
        self._task = begin(self._app, self._scope, self._to_worker.get, self._to_test.put)
        self._task.add_done_callback(lambda task: self._to_test.put_nowait({"type": "gone"}))
        message = await self._to_test.get()
        if message["type"] == "websocket.http.response.start":
            raise SocketRefused(message["status"], (await self._to_test.get()).get("body", b""))
        if message["type"] != "websocket.accept":
            raise self._ended(message)
        return self

    async def send(self, message: str | bytes) -> None:
        """Send one message, as text or as bytes."""
        if self._end is not None:
            raise self._end
        kind = "text" if isinstance(message, str) else "bytes"
        self._to_worker.put_nowait({"type": "websocket.receive", kind: message})

    async def receive(self) -> str | bytes:
        """The next message of the Worker."""
        if self._end is not None:
            raise self._end
        message = await self._to_test.get()
        if message["type"] != "websocket.send":
            raise self._ended(message)
        text: str | None = message.get("text")
        data: bytes = message.get("bytes") or b""
        return data if text is None else text

    def _ended(self, message: Message) -> SocketClosed:
        end = SocketClosed(message.get("code") or NO_STATUS, message.get("reason") or "")
        self._leave(end)
        return end

    def _leave(self, end: SocketClosed) -> None:
        if self._end is None:
            self._end = end
            self._to_worker.put_nowait({"type": "websocket.disconnect", "code": end.code, "reason": end.reason})

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str | bytes:
        try:
            return await self.receive()
        except SocketClosed:
            raise StopAsyncIteration from None

    async def close(self, code: int = NORMAL, reason: str = "") -> None:
        """Close the WebSocket. Closing twice does nothing."""
        self._leave(SocketClosed(code, reason))
        if self._task is not None:
            await asyncio.wait([self._task])

    async def __aexit__(self, *reason: object) -> None:
        await self.close()
