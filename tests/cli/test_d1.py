"""`cfai d1`: SQL and migrations, and that wrangler finds the same databases."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cfai.cli import app

CONFIG = {
    "name": "p",
    "main": "entry.py",
    "compatibility_date": "2026-04-21",
    "compatibility_flags": ["python_workers"],
    "d1_databases": [{"binding": "DB", "database_name": "my-db", "database_id": "abc-123"}],
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "wrangler.json").write_text(json.dumps(CONFIG))
    (tmp_path / "entry.py").write_text("")
    (tmp_path / "migrations").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CLOUDFLARE_ENV", raising=False)
    return tmp_path


def d1(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["d1", *arguments])


def rows(sql: str, *options: str) -> list[list[dict[str, object]]]:
    result = d1("execute", "DB", "--json", "--command", sql, *options)
    assert result.exit_code == 0, result.output
    return [one["results"] for one in json.loads(result.stdout)]


def test_execute_runs_statements_and_prints_json_where_there_is_no_terminal(project: Path) -> None:
    sql = "CREATE TABLE t(a, b); INSERT INTO t VALUES (1, x'0102'), (2, ';') RETURNING a; SELECT * FROM t -- all"
    result = d1("execute", "my-db", "--local", "--command", sql)
    assert result.exit_code == 0
    first, second, answers = result.stdout.split("\n", 2)
    assert first == "🌀 Executing on local database my-db (abc-123) from .wrangler/state/v3/d1:"
    assert second == "🚣 3 commands executed successfully."
    assert [one["results"] for one in json.loads(answers)] == [
        [],
        [{"a": 1}, {"a": 2}],
        [{"a": 1, "b": "[1, 2]"}, {"a": 2, "b": ";"}],
    ]
    assert {*json.loads(answers)[0]} == {"results", "success", "meta"}


def test_a_file_is_all_or_nothing(project: Path) -> None:
    (project / "good.sql").write_text("BEGIN TRANSACTION;\nCREATE TABLE t(a);\nINSERT INTO t VALUES (1);\nCOMMIT;\n")
    (project / "bad.sql").write_text("INSERT INTO t VALUES (2);\nINSERT INTO nope VALUES (1);\n")
    assert d1("execute", "DB", "--file", "good.sql").exit_code == 0
    result = d1("execute", "DB", "--file", "bad.sql", "--json")
    assert (result.exit_code, json.loads(result.stdout)) == (
        1,
        {"error": {"text": "no such table: nope: SQLITE_ERROR"}},
    )
    assert rows("SELECT a FROM t") == [[{"a": 1}]]


def test_persist_to_is_another_place(project: Path) -> None:
    rows("CREATE TABLE t(a)", "--persist-to", "elsewhere")
    assert rows("SELECT name FROM sqlite_master") == [[]]
    assert rows("SELECT name FROM sqlite_master", "--persist-to", "elsewhere") == [[{"name": "t"}]]
    assert len([*project.glob("elsewhere/v3/d1/miniflare-D1DatabaseObject/*.sqlite")]) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["execute", "NOPE", "--command", "SELECT 1"], "Couldn't find a D1 DB with the name or binding 'NOPE'"),
        (["execute", "DB"], "Missing required option --command or --file."),
        (["execute", "DB", "--command", "SELECT 1", "--file", "x"], "can't provide both --command and --file."),
        (["execute", "DB", "--file", "nope.sql"], 'Unable to read SQL text file "nope.sql"'),
        (["execute", "DB", "--command", "SELECT 1", "--remote"], "cfai knows local databases only"),
        (["migrations", "create", "DB", "a/b"], "contains a path separator"),
        (["migrations", "list", "DB", "--config", "nope.json"], "nope.json"),
    ],
)
def test_what_is_refused(project: Path, arguments: list[str], message: str) -> None:
    result = d1(*arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())


def test_a_project_without_migrations_says_where_they_would_be(project: Path) -> None:
    (project / "migrations").rmdir()
    result = d1("migrations", "apply", "DB")
    assert result.exit_code == 2
    assert f"No migrations present at {project / 'migrations'}." in result.output


def test_migrations_are_applied_once_and_in_the_order_of_their_numbers(project: Path) -> None:
    files = {
        "10_third.sql": "INSERT INTO t VALUES (3);",
        "0002_second.sql": "INSERT INTO t VALUES (2);\n-- nothing more\n",
        "0001_first.sql": "CREATE TABLE t(a);\nINSERT INTO t VALUES (1);",
        "unnumbered.sql": "INSERT INTO t VALUES (4);",
        ".hidden.sql": "SELECT nonsense",
    }
    for name, sql in files.items():
        (project / "migrations" / name).write_text(sql)
    listed = d1("migrations", "list", "DB").stdout
    order = ["0001_first.sql", "0002_second.sql", "10_third.sql", "unnumbered.sql"]
    assert [line.split()[1] for line in listed.splitlines() if ".sql" in line] == order
    assert d1("migrations", "apply", "DB", "--yes").exit_code == 0
    assert d1("migrations", "apply", "DB").stdout == "✅ No migrations to apply!\n"
    assert rows("SELECT a FROM t; SELECT name FROM d1_migrations") == [
        [{"a": 1}, {"a": 2}, {"a": 3}, {"a": 4}],
        [{"name": name} for name in order],
    ]


def test_a_migration_that_fails_is_named_and_changes_nothing(project: Path) -> None:
    (project / "migrations/0001_good.sql").write_text("CREATE TABLE t(a);")
    (project / "migrations/0002_bad.sql").write_text("INSERT INTO t VALUES (1);\nCREATE TABLE bad(;")
    (project / "migrations/0003_later.sql").write_text("INSERT INTO t VALUES (3);")
    result = d1("migrations", "apply", "DB")
    assert result.exit_code == 1
    assert "Migration 0002_bad.sql failed with the following errors:\nincomplete input: SQLITE_ERROR" in result.output
    assert rows("SELECT * FROM t; SELECT name FROM d1_migrations") == [[], [{"name": "0001_good.sql"}]]
    (project / "migrations/0002_bad.sql").write_text("INSERT INTO t VALUES (2);")
    assert d1("migrations", "apply", "DB").exit_code == 0
    assert rows("SELECT a FROM t") == [[{"a": 2}, {"a": 3}]]


def test_a_new_migration_has_the_next_number(project: Path) -> None:
    (project / "migrations/0009_old.sql").write_text("")
    result = d1("migrations", "create", "DB", "add users")
    assert result.exit_code == 0
    assert "Successfully created Migration '0010_add_users.sql'" in result.stdout
    assert (project / "migrations/0010_add_users.sql").read_text().startswith("-- Migration number: 0010 \t 20")


@pytest.mark.skipif(
    "CFAI_WRANGLER" not in os.environ, reason="CFAI_WRANGLER=node_modules/.bin/wrangler names the real one"
)
def test_wrangler_reads_what_cfai_wrote_and_the_other_way_round(project: Path) -> None:
    (project / "migrations/0001_first.sql").write_text("CREATE TABLE t(a, b TEXT);\nINSERT INTO t VALUES (1, 'one');")

    def wrangler(*arguments: str) -> str:
        command = [os.environ["CFAI_WRANGLER"], "d1", *arguments, "--local"]
        env = {**os.environ, "WRANGLER_SEND_METRICS": "false", "CI": "1", "NO_COLOR": "1"}
        done = subprocess.run(command, cwd=project, env=env, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert d1("migrations", "apply", "DB").exit_code == 0
    assert "No migrations to apply!" in wrangler("migrations", "list", "DB")
    wrangler("execute", "DB", "--command", "INSERT INTO t VALUES (2, 'two'), (x'0102', NULL)")
    (project / "migrations/0002_second.sql").write_text("ALTER TABLE t ADD COLUMN c;")
    wrangler("migrations", "apply", "DB")
    assert d1("migrations", "list", "DB").stdout == "✅ No migrations to apply!\n"
    query = "SELECT * FROM t; SELECT id, name FROM d1_migrations"
    theirs = [one["results"] for one in json.loads(wrangler("execute", "DB", "--json", "--command", query))]
    assert (
        rows(query)
        == theirs
        == [
            [
                {"a": 1, "b": "one", "c": None},
                {"a": 2, "b": "two", "c": None},
                {"a": "[1, 2]", "b": None, "c": None},
            ],
            [{"id": 1, "name": "0001_first.sql"}, {"id": 2, "name": "0002_second.sql"}],
        ]
    )
