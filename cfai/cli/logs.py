"""Log lines on stderr, for commands that run until they are told to end."""

from __future__ import annotations

import logging

from rich.console import Console

from cfai.request_id import request_id

__all__ = ["show_logs"]


def show_logs(level: str = "INFO") -> Console:
    """Send cfai's log to stderr, a line at a time, and return a console that writes there too.

    A line that belongs to a request begins with the request's id, the one in its reply's headers.
    """
    logging.basicConfig(level="WARNING", format="%(asctime)s %(request_shown)s%(message)s", datefmt="%H:%M:%S")
    for handler in logging.getLogger().handlers:
        handler.addFilter(_add_request)
    logging.getLogger("cfai").setLevel(level)
    return Console(stderr=True)


def _add_request(record: logging.LogRecord) -> bool:
    # A model's thread works for many requests; its lines say for which.
    name = getattr(record, "request", request_id.get())
    record.request_shown = f"{name} " if name else ""
    return True
