"""`asgi.websocket`: a WebSocket, answered by an application."""

from __future__ import annotations

import asyncio
from typing import Any

from cfai.worker import compat
from cfai.worker.asgi.scope import App, Message, request_to_scope
from cfai.worker.asgi.tasks import begin, logger
from cfai.worker.web import messages

__all__ = ["websocket"]

# In bytes; FastAPI has more to say of what a client sent.
LONGEST_REASON = 123


async def websocket(app: App, req: Any, env: Any = None) -> messages.Response:
    """Let `app` talk over the WebSocket that `req` asks for.

    ```python
    return await asgi.websocket(app, request, self.env)
    ```
    """
    from cfai.worker.web.websockets import WebSocketPair

    if env is not None and not compat.current().compat.has_external_sdk:
        refusal = "websocket() takes 2 positional arguments but 3 were given"
        compat.current().lenient("env for asgi.websocket", lambda: TypeError(refusal))
    client, server = WebSocketPair.new().object_values()
    server.accept()
    server.binaryType = "arraybuffer"  # a Blob could not be read where messages arrive
    line = _Line(server)
    scope = request_to_scope(req, {} if env is None else env, ws=True)
    begin(line.run(app, scope))
    return messages.Response.new(None, {"status": 101, "webSocket": client})


class _Line:
    """Events of a WebSocket as messages of ASGI, and back."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self._received: asyncio.Queue[Message] = asyncio.Queue()
        self._is_closed = False
        # Cloudflare's end is open from the start, so this comes at once.
        self._received.put_nowait({"type": "websocket.connect"})
        socket.addEventListener("message", self._on_message)
        socket.addEventListener("close", self._on_close)

    async def run(self, app: App, scope: dict[str, Any]) -> None:
        code = 1011
        try:
            await app(scope, self._received.get, self._send)
            code = 1000
        except Exception:
            logger.exception("Unhandled exception in background task")
        finally:
            if not self._is_closed:
                self._socket.close(code, "")

    def _on_message(self, event: Any) -> None:
        data = event.data
        kind, value = ("text", data) if isinstance(data, str) else ("bytes", data.to_bytes())
        self._received.put_nowait({"type": "websocket.receive", kind: value})

    def _on_close(self, event: Any) -> None:
        self._is_closed = True
        self._received.put_nowait({"type": "websocket.disconnect", "code": event.code, "reason": event.reason})

    async def _send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "websocket.send":
            for value in (message.get("bytes"), message.get("text")):
                if value is not None:
                    self._socket.send(value)
        elif kind == "websocket.close":
            self._is_closed = True
            reason = str(message.get("reason") or "").encode()[:LONGEST_REASON].decode(errors="ignore")
            self._socket.close(message.get("code", 1000), reason)
        elif kind != "websocket.accept":  # the socket is accepted already
            logger.warning("asgi.websocket has no %s", kind)
