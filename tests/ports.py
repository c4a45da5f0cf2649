"""Ports of tests that another process is told of, and takes a while later."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["kept_port"]


@contextmanager
def kept_port(port: int = 0) -> Iterator[int]:
    """A port where nobody listens but who is told of it: it is bound, so that the system gives it to nobody else.

    Raises an OSError if `port` is taken.
    """
    with socket.socket() as held:
        # Of two sockets that allow it both, as servers do, one may listen.
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", port))
        number: int = held.getsockname()[1]
        if sys.platform != "linux":  # where the first one keeps the second from it
            held.close()
        yield number
