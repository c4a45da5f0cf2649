"""The network behind a `WebSocket`: connecting to a server, and moving messages to and from it."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cfai.worker.web.callbacks import begin
from cfai.worker.web.events import CloseEvent
from cfai.worker.web.exceptions import dom_exception
from cfai.worker.web.values import JsException, JsTypeError

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection
    from websockets.http11 import Response

    from cfai.worker.web.websockets import Line, WebSocket

__all__ = ["Refused", "checked_url", "connect", "dial", "pump", "subprotocols_of"]

# What workerd takes: src/workerd/api/web-socket.c++
MAX_MESSAGE = 32 << 20

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


def checked_url(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        raise _syntax_error("The url is invalid.") from None
    if not parts.scheme or (parts.scheme in ("ws", "wss") and not parts.hostname):
        raise _syntax_error("The url is invalid.")
    if parts.scheme not in ("ws", "wss"):
        raise _syntax_error("The url scheme must be ws or wss.")
    if "#" in url:
        raise _syntax_error("The url fragment must be empty.")
    return url


def subprotocols_of(given: Any) -> list[str]:
    protocols = [given] if isinstance(given, str) else [str(one) for one in given or ()]
    if not all(map(_TOKEN.fullmatch, protocols)):
        which = "The protocol header token" if isinstance(given, str) else "One of the protocol header tokens"
        raise _syntax_error(f"{which} is invalid.")
    if len(set(protocols)) < len(protocols):
        raise _syntax_error("The protocols header cannot have repeating values.")
    return protocols


def _syntax_error(problem: str) -> JsException:
    return dom_exception("SyntaxError", f"WebSocket Constructor: {problem}")


async def connect(socket: WebSocket, url: str, protocols: list[str]) -> None:
    """Connect `socket`, and stay with it until the connection ends."""
    try:
        connection = await dial(url, protocols=protocols)
    except JsException as error:
        close = {"code": 1006, "reason": "Failed to establish websocket connection", "wasClean": False}
        socket.failed(error, CloseEvent.new("close", close))
        return
    extensions = connection.response.headers.get("Sec-WebSocket-Extensions") if connection.response else None
    socket.opened(connection.subprotocol, extensions)
    await pump(connection, *socket.lines)


async def dial(url: str, *, protocols: Sequence[str] = (), headers: Sequence[tuple[str, str]] = ()) -> ClientConnection:
    """An open connection to a WebSocket server. Raises `JsException`; a server that refuses leaves its response."""
    from websockets.asyncio.client import connect as open_connection
    from websockets.exceptions import InvalidHandshake, InvalidStatus

    try:
        return await open_connection(
            url,
            subprotocols=list(protocols) or None,  # type: ignore[arg-type]  # a NewType of str
            additional_headers=headers,
            user_agent_header=None,
            max_size=MAX_MESSAGE,
            open_timeout=None,
            ping_interval=None,
            proxy=None,
        )
    except InvalidStatus as error:
        raise Refused(error.response) from error
    except (OSError, InvalidHandshake) as error:
        lost = JsException("Network connection lost.")
        lost.add_note(f"{type(error).__name__}: {error}")
        raise lost from error


class Refused(JsTypeError):
    """The server answered, but not with a WebSocket."""

    def __init__(self, response: Response) -> None:
        self.status = response.status_code
        self.headers = list(response.headers.raw_items())
        self.body = bytes(response.body or b"")
        super().__init__(
            "Failed to establish the WebSocket connection: expected server to reply with HTTP status code 101 "
            f"(switching protocols), but received {self.status} instead."
        )


async def pump(connection: ClientConnection, incoming: Line, outgoing: Line) -> None:
    """Move messages both ways until the connection is closed."""
    receiving = begin(_receive(connection, incoming))
    sending = begin(_send(connection, outgoing))
    try:
        await receiving
    finally:
        sending.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await connection.close()


async def _receive(connection: ClientConnection, incoming: Line) -> None:
    from websockets.exceptions import ConnectionClosed

    from cfai.worker.web.websockets import NO_CLOSE_FRAME, Close

    try:
        while True:
            incoming.put(await connection.recv())
            await incoming.has_room()
    except ConnectionClosed as error:
        last = error.rcvd
        incoming.put(NO_CLOSE_FRAME if last is None else Close(last.code, last.reason))


async def _send(connection: ClientConnection, outgoing: Line) -> None:
    from websockets.exceptions import ConnectionClosed

    from cfai.worker.web.websockets import Close, Failure

    with contextlib.suppress(ConnectionClosed):
        while True:
            message = await outgoing.take()
            if isinstance(message, Close):
                await connection.close(1000 if message.code == 1005 else message.code, message.reason)
                return
            if not isinstance(message, Failure):
                await connection.send(message)
