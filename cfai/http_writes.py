"""uvicorn's HTTP/1.1 with less work for a piece of a stream.

uvicorn writes the head of an answer and the first of its body one after the other, and a client that waits is woken by
the first of them, for nothing. So a head is held back until the end of this turn of the event loop, with all that is
written meanwhile; what follows goes out at once. And a piece that goes out as a chunk is put into its frame without
h11's events and states, which stay as they are: a sixth of all that a token costs the event loop.
"""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["Protocol"]

HEAD = b"HTTP/"

AT_ONCE = 16 * 1024
"""How much is held back at most."""


class Protocol(H11Protocol):
    """uvicorn's HTTP/1.1, a head together with what is written right behind it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.conn = _Connection(h11.SERVER, self.config.h11_max_incomplete_event_size or AT_ONCE)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn's own choice
        super().connection_made(_Gathering(transport, self.loop))  # type: ignore[arg-type]  # it has the methods


class _Connection(h11.Connection):
    """h11's connection; the chunks of a body pass it by, but for the first."""

    _is_chunked = False

    def send(self, event: h11.Event) -> bytes | None:  # type: ignore[override]  # h11 tells when it is None
        if not isinstance(event, h11.Data):
            self._is_chunked = False
            return super().send(event)
        if self._is_chunked and event.data:
            return b"%x\r\n%b\r\n" % (len(event.data), event.data)
        written = super().send(event)
        # Its frame tells, not the head: an answer to HEAD has no body, whatever its head says, nor has a 204 or a 304.
        self._is_chunked = bool(written) and len(written) > len(event.data)
        return written


class _Gathering:
    """A transport that holds a head back, and what is written with it, until the end of the turn."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held = bytearray()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self._held and not data.startswith(HEAD):
            self._transport.write(data)
            return
        if not self._held:
            self._loop.call_soon(self._flush)
        self._held += data
        if len(self._held) >= AT_ONCE:  # an application that never waits is to meet the transport's own limit
            self._flush()

    def _flush(self) -> None:
        if self._held:
            held, self._held = self._held, bytearray()
            self._transport.write(held)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._flush()
        self._transport.set_protocol(protocol)
