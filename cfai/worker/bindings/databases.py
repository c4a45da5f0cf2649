"""SQLite files that several processes may have open, and that outlive any of them."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

__all__ = ["BUSY_SECONDS", "is_busy", "open_database"]

BUSY_SECONDS = 10.0
"""How long a query waits for another process that writes."""


def open_database(file: Path) -> sqlite3.Connection:
    """Open `file`, which need not exist, with a write-ahead log. It begins no transaction of its own accord.

    ```python
    connection = open_database(state / "vectorize" / "docs.sqlite")
    ```
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    # One thread at a time is the caller's to keep; interrupt comes from another one.
    connection = sqlite3.connect(file, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        _turn_wal_on(connection)
        # A commit outlives the process, not a power cut; what is on disk is consistent either way.
        connection.execute("PRAGMA synchronous = NORMAL")
    except BaseException:
        connection.close()
        raise
    return connection


def _turn_wal_on(connection: sqlite3.Connection) -> None:
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").close()
            return
        except sqlite3.OperationalError as error:
            # Of two processes that turn it on at once, one is told so and not made to wait.
            if not is_busy(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another process has the file."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    return (code & 0xFF) == sqlite3.SQLITE_BUSY
