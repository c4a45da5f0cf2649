"""The keys and values of one KV namespace on disk, in the form in which wrangler's local mode keeps them.

A row of `_mf_entries` holds a key, when it expires (ms), its metadata (JSON), and the name of the file that holds the
value. The file is complete before a row names it, and it is deleted after no row does: whenever the process ends, each
row has its whole value. What is left behind then is a file that nobody reads.

Everything here blocks; `KvNamespace` calls it from a thread of its own. Processes may share the files.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cfai.worker.bindings.objects import database_file, file_name

if TYPE_CHECKING:
    import sqlite3

__all__ = ["Entry", "KvStore", "Page"]

_BUSY_SECONDS = 10.0
"""How long to wait for another process that writes."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS _mf_entries (
  key TEXT PRIMARY KEY,
  blob_id TEXT NOT NULL,
  expiration INTEGER,
  metadata TEXT
);
CREATE INDEX IF NOT EXISTS _mf_entries_expiration_idx ON _mf_entries(expiration);
"""

_PUT = "INSERT OR REPLACE INTO _mf_entries (key, blob_id, expiration, metadata) VALUES (?, ?, ?, ?)"


@dataclass(frozen=True, slots=True)
class Entry:
    """A key, without its value."""

    key: str
    expiration: int | None
    """Seconds since 1970."""
    metadata: str | None
    """JSON."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the keys, in the order of their UTF-8."""

    entries: list[Entry]
    is_last: bool


class KvStore:
    """One namespace.

    ```python
    store = KvStore(config.state, "my-id")
    store.put("greeting", b"hello")
    ```
    """

    def __init__(self, state: Path, namespace: str) -> None:
        self.file = database_file(state, "kv", "KVNamespaceObject", namespace)
        self._blobs = state / "kv" / file_name(namespace) / "blobs"
        self._opened: sqlite3.Connection | None = None

    def get(self, key: str) -> tuple[Entry, bytes] | None:
        """The entry and its value, unless it has expired."""
        gone = None
        while (row := self._row(key)) is not None:
            blob, expiration, metadata = row
            if expiration is not None and expiration <= _now():
                self._delete(key, blob)
                return None
            try:
                return Entry(key, _seconds(expiration), metadata), (self._blobs / blob).read_bytes()
            except FileNotFoundError:
                # Another process has put a new value since the row was read; the row that names it is read next.
                if blob == gone:
                    return None
                gone = blob
        return None

    def put(self, key: str, value: bytes, *, expiration: int | None = None, metadata: str | None = None) -> None:
        """Keep `value` under `key`, until `expiration` (seconds since 1970)."""
        blob = secrets.token_hex(32) + _now().to_bytes(8).hex()
        self._blobs.mkdir(parents=True, exist_ok=True)
        file = self._blobs / blob
        try:
            file.write_bytes(value)
            with self._writing() as database:
                old = database.execute("SELECT blob_id FROM _mf_entries WHERE key = ?", (key,)).fetchone()
                row = (key, blob, None if expiration is None else expiration * 1000, metadata)
                database.execute(_PUT, row)
        except BaseException:
            file.unlink(missing_ok=True)
            raise
        if old is not None:
            self._discard(old[0])

    def delete(self, key: str) -> None:
        """Forget `key`, if it is there."""
        if (row := self._row(key)) is not None:
            self._delete(key, row[0])

    def list(self, prefix: str, after: str, limit: int) -> Page:
        """At most `limit` keys that begin with `prefix` and come behind `after`."""
        now = _now()
        end = _behind(prefix)
        query = "SELECT key, expiration, metadata FROM _mf_entries WHERE key >= ? AND key > ?"
        values: list[str | int] = [prefix, after]
        if end is not None:
            query += " AND key < ?"
            values.append(end)
        query += " AND (expiration IS NULL OR expiration > ?) ORDER BY key LIMIT ?"
        rows = self._database.execute(query, (*values, now, limit + 1)).fetchall()
        self._delete_expired(now)
        entries = [Entry(key, _seconds(expiration), metadata) for key, expiration, metadata in rows[:limit]]
        return Page(entries, is_last=len(rows) <= limit)

    def close(self) -> None:
        """Close the file; the next call opens it again."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    @property
    def _database(self) -> sqlite3.Connection:
        if self._opened is None:
            self._opened = self._open()
        return self._opened

    def _open(self) -> sqlite3.Connection:
        import sqlite3

        self.file.parent.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(self.file, timeout=_BUSY_SECONDS, isolation_level=None)
        try:
            deadline = time.monotonic() + _BUSY_SECONDS
            while True:
                try:
                    database.execute("PRAGMA journal_mode = WAL")
                    database.executescript(_SCHEMA)
                    break
                except sqlite3.OperationalError:
                    # Of two processes that turn WAL on at once, one is told at once that the file is locked.
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.01)
            # A commit then outlives the process, not a power cut; without it each put would wait for the disk.
            database.execute("PRAGMA synchronous = NORMAL")
        except BaseException:
            database.close()
            raise
        return database

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        database = self._database
        database.execute("BEGIN IMMEDIATE")
        try:
            yield database
            database.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(Exception):  # the first error is the one to show
                database.execute("ROLLBACK")
            raise

    def _row(self, key: str) -> tuple[str, int | None, str | None] | None:
        query = "SELECT blob_id, expiration, metadata FROM _mf_entries WHERE key = ?"
        row: tuple[str, int | None, str | None] | None = self._database.execute(query, (key,)).fetchone()
        return row

    def _delete(self, key: str, blob: str) -> None:
        # By its value's name too: what another process has put meanwhile stays.
        with self._writing() as database:
            database.execute("DELETE FROM _mf_entries WHERE key = ? AND blob_id = ?", (key, blob))
        self._discard(blob)

    def _delete_expired(self, now: int) -> None:
        expired = self._database.execute("SELECT key, blob_id FROM _mf_entries WHERE expiration <= ?", (now,))
        for key, blob in expired.fetchall():
            self._delete(key, blob)

    def _discard(self, blob: str) -> None:
        with contextlib.suppress(OSError):  # a file that cannot be deleted takes space and does no harm
            (self._blobs / blob).unlink(missing_ok=True)


def _now() -> int:
    return time.time_ns() // 1_000_000


def _seconds(milliseconds: int | None) -> int | None:
    return None if milliseconds is None else milliseconds // 1000


def _behind(prefix: str) -> str | None:
    """The first text behind all that begin with `prefix`, in the order of their UTF-8; None if there is none."""
    for at in range(len(prefix) - 1, -1, -1):
        code = ord(prefix[at])
        if code < 0x10FFFF:
            # No text has half a surrogate pair in it.
            return prefix[:at] + chr(0xE000 if code == 0xD7FF else code + 1)
    return None
