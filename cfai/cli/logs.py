"""Log lines on stderr, for commands that run until they are told to end."""

from __future__ import annotations

import logging

from rich.console import Console

__all__ = ["show_logs"]


def show_logs(level: str = "INFO") -> Console:
    """Send cfai's log to stderr, a line at a time, and return a console that writes there too."""
    logging.basicConfig(level="WARNING", format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("cfai").setLevel(level)
    return Console(stderr=True)
