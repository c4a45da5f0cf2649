"""Log lines on stderr, for commands that run until they are told to end."""

from __future__ import annotations

import logging

from rich.console import Console
from rich.logging import RichHandler

__all__ = ["show_logs"]


def show_logs(level: str = "INFO") -> Console:
    """Send cfai's log to stderr and return the console that writes there."""
    console = Console(stderr=True)
    handler = RichHandler(console=console, show_path=False, markup=False, log_time_format="%H:%M:%S")
    logging.basicConfig(level="WARNING", format="%(message)s", handlers=[handler])
    logging.getLogger("cfai").setLevel(level)
    return console
