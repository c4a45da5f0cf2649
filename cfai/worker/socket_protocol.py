"""uvicorn's side of a WebSocket, with Cloudflare's limits."""

from __future__ import annotations

from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from cfai.worker.web.connecting import MAX_MESSAGE

__all__ = ["SocketProtocol"]

INTERNAL_ERROR = 1011
"""https://www.iana.org/assignments/websocket/"""


class SocketProtocol(WebSocketsSansIOProtocol):
    """Takes messages of workerd's size, and closes also where the client does not read.

    ```python
    uvicorn.Config(app, ws=SocketProtocol)
    ```
    """

    def __init__(self, config: Config, **given: Any) -> None:
        config.ws_max_size = MAX_MESSAGE
        super().__init__(config, **given)

    async def send(self, message: Any) -> None:
        if not (message["type"] == "websocket.close" and message.get("code") == INTERNAL_ERROR):
            await super().send(message)
            return
        self.writable.set()  # this does not wait until there is room
        await super().send(message)
        if self.close_timer is not None:  # and what the client has not read by then is let go
            self.close_timer.cancel()
            self.close_timer = self.loop.call_later(self.close_timeout, self.transport.abort)
