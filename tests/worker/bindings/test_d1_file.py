"""The files of D1: what was acknowledged is there after a kill, and processes share them."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from cfai.worker.bindings.d1_file import D1File, Query, QueryError, file_of
from cfai.worker.bindings.d1_sql import cut

WRITER = """
import sys
from pathlib import Path
from cfai.worker.bindings.d1_file import D1File, Query

file = D1File(Path(sys.argv[1]))
file.run([Query("CREATE TABLE IF NOT EXISTS t(writer, n, UNIQUE(writer, n))")])
for n in range(int(sys.argv[3]), 1_000_000):
    # Two rows or none.
    file.run([Query("INSERT INTO t VALUES (?, ?)", (sys.argv[2], float(n))),
              Query("INSERT INTO t VALUES (?, ?)", (sys.argv[2], -1.0 - n))])
    print(n, flush=True)
"""


def writer(file: Path, name: str, first: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(file), name, str(first)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def rows(file: Path, name: str) -> set[int]:
    database = D1File(file)
    try:
        [answer] = database.run([Query("SELECT n FROM t WHERE writer = ?", (name,))])
        return {row[0] for row in answer.rows}
    finally:
        database.close()


def test_what_was_acknowledged_outlives_a_kill(tmp_path: Path) -> None:
    file = tmp_path / "db.sqlite"
    acknowledged = 0
    for _ in range(6):
        process = writer(file, "w", acknowledged)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(random.uniform(0.02, 0.2))
        os.kill(process.pid, signal.SIGKILL)
        lines = process.stdout.read().split()
        process.stdout.close()
        process.wait()
        last = max(map(int, lines), default=acknowledged)
        there = rows(file, "w")
        assert {*range(last + 1)} <= there
        assert {-1 - n for n in there} == there  # no half of a batch
        acknowledged = max(there) + 1
    with sqlite3.connect(file) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


def test_two_processes_write_at_once(tmp_path: Path) -> None:
    file = tmp_path / "db.sqlite"
    processes = [writer(file, name, 0) for name in ("a", "b")]
    lines = []
    for process in processes:
        assert process.stdout is not None
        lines.append([process.stdout.readline() for _ in range(50)])
    for process in processes:
        process.kill()
        process.communicate()
    assert all(line[-1].strip() == "49" for line in lines)
    assert {*range(50)} <= rows(file, "a") and {*range(50)} <= rows(file, "b")


def test_a_reader_that_writes_waits_for_its_turn(tmp_path: Path) -> None:
    """`WITH ... SELECT` may be followed by a write; SQLite tells no reader to wait that wants to become a writer."""
    file = tmp_path / "db.sqlite"
    database, other = D1File(file), D1File(file)
    database.run([Query("CREATE TABLE t(a)")])

    def write() -> None:
        for n in range(200):
            other.run([Query("INSERT INTO t VALUES (?)", (float(n),))])

    thread = threading.Thread(target=write)
    thread.start()
    for _ in range(50):
        database.run([Query("SELECT count(*) FROM t"), Query("PRAGMA optimize")])
        database.run([Query("SELECT count(*) FROM t"), Query("INSERT INTO t VALUES ('x')")])
    thread.join()
    [answer] = database.run([Query("SELECT count(*) AS n FROM t")])
    assert answer.rows == [[250]]
    database.close()
    other.close()


def test_a_file_that_is_no_database_is_named_and_kept(tmp_path: Path) -> None:
    file = tmp_path / "db.sqlite"
    file.write_bytes(b"this is no database, but it is somebody's" * 100)
    with pytest.raises(QueryError, match=r"db\.sqlite: file is not a database"):
        D1File(file)
    assert file.read_bytes().startswith(b"this is no database")


def test_the_file_is_the_one_that_wrangler_uses() -> None:
    name = "da47eb255b1dedeeeb8b8ccf3c066af253596c37b21d8c84d2b0b6bb9ceb9839.sqlite"
    assert file_of(Path("state"), "truth") == Path("state/d1/miniflare-D1DatabaseObject") / name


@pytest.mark.parametrize(
    ("sql", "statements"),
    [
        ("SELECT 1", ["SELECT 1"]),
        (" SELECT 1 ; SELECT 2\n", ["SELECT 1 ;", "SELECT 2\n"]),
        ("SELECT ';', \"a;\", `;`, [;] -- ;\n, /* ; */ 1; SELECT 2", None),
        ("SELECT 'it''s;'; SELECT 2", ["SELECT 'it''s;';", "SELECT 2"]),
        ("SELECT CASE WHEN 1 THEN 2 END; SELECT 2", ["SELECT CASE WHEN 1 THEN 2 END;", "SELECT 2"]),
        (
            "CREATE TRIGGER x AFTER INSERT ON t BEGIN UPDATE t SET a = 1; SELECT 2; END; SELECT 3",
            ["CREATE TRIGGER x AFTER INSERT ON t BEGIN UPDATE t SET a = 1; SELECT 2; END;", "SELECT 3"],
        ),
        ("CREATE TABLE trigger_log(a); SELECT 2", ["CREATE TABLE trigger_log(a);", "SELECT 2"]),
        ("SELECT 'open; SELECT 2", ["SELECT 'open; SELECT 2"]),
    ],
)
def test_sql_is_cut_where_statements_end(sql: str, statements: list[str] | None) -> None:
    found = [statement.text for statement in cut(sql)]
    assert found == statements if statements else len(found) == 2
