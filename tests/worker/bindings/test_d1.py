"""D1 as a script uses it. What is expected of SQL and its errors is what wrangler 4.86 answers locally."""

import asyncio
import datetime
import json
from typing import Any

import pytest

from cfai.config import D1Database
from tests.worker.asgi_client import Client
from tests.worker.conftest import Workers

FIRST = datetime.date(2025, 1, 1)
WITH_NULL = datetime.date(2025, 10, 1)
EXTERNAL = datetime.date(2026, 6, 1)

SCRIPT = """
import asyncio
import datetime
import json
import time
import js
from js import Object
from pyodide import ffi
from pyodide.ffi import JsException, to_js
jsnull = getattr(ffi, "jsnull", None)
from workers import Response

async def answer(DB):
{body}

async def said(call):
    try:
        value = await call()
        return None if value is jsnull else value
    except Exception as error:
        return f"{{type(error).__name__}} {{getattr(error, 'message', error)}}"
"""
HANDLER = """
from workers import WorkerEntrypoint

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        return Response(json.dumps(await answer(self.env.DB)))
"""
OLD_HANDLER = """
async def on_fetch(request, env):
    return Response(json.dumps(await answer(env.DB)))
"""


def d1_worker(worker: Workers, body: str, date: datetime.date = EXTERNAL) -> Client:
    indented = "\n".join(f"    {line}" for line in body.strip().splitlines())
    handler = HANDLER if date >= datetime.date(2025, 8, 14) else OLD_HANDLER
    database = D1Database("DB", "test-id", "test-db")
    return worker(SCRIPT.format(body=indented) + handler, compatibility_date=date, d1_databases=(database,))


async def ask(worker: Workers, body: str, date: datetime.date = EXTERNAL) -> Any:
    response = await d1_worker(worker, body, date).get("/")
    assert response.status == 200, response.text
    return json.loads(response.text)


SCHEMA = """
await DB.exec("CREATE TABLE t(id INTEGER PRIMARY KEY, a, b TEXT); INSERT INTO t(a, b) VALUES (1, 'x'), (1.5, 'y')")
await DB.exec("CREATE TABLE u(a UNIQUE NOT NULL CHECK(a <> 9)); INSERT INTO u VALUES (1)")
"""


@pytest.mark.parametrize("date", [FIRST, WITH_NULL, EXTERNAL])
async def test_results_are_read_as_the_generation_reads_them(worker: Workers, date: datetime.date) -> None:
    found = await ask(
        worker,
        SCHEMA
        + """
select = DB.prepare("SELECT * FROM t WHERE id = ?")
result = await select.bind(2).all()
assert result.success is True and result.meta.changes == 0 and result.results[0].b == "y"
assert (await select.bind(3).first()) in (None, jsnull) and not await select.bind(3).first()
if not hasattr(result, "to_py"):
    result = {**result}
else:
    result = result.to_py()
return [result["results"], await select.bind(1).first("b"), list(map(list, await select.bind(1).raw()))]
""",
        date,
    )
    assert found == [[{"id": 2, "a": 1.5, "b": "y"}], "x", [[1, 1, "x"]]]


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("DB.prepare('SELECT * FROM t').raw({'columnNames': True})", [["id", "a", "b"], [1, 1, "x"], [2, 1.5, "y"]]),
        ("DB.prepare('SELECT * FROM t').raw(columnNames=True)", [["id", "a", "b"], [1, 1, "x"], [2, 1.5, "y"]]),
        ("DB.prepare('SELECT * FROM t').raw(None)", [[1, 1, "x"], [2, 1.5, "y"]]),
        ("DB.prepare('SELECT 1 AS a, 2 AS a').first()", {"a": 2}),
        ("DB.prepare('SELECT 1 AS a, 2 AS a').raw()", [[1, 2]]),
        ("DB.prepare('SELECT NULL AS n').first('n')", None),
        ("DB.prepare('SELECT 1 WHERE 0').first('n')", None),
        ("DB.prepare('SELECT * FROM t').first('nope')", "JsException D1_COLUMN_NOTFOUND: Column not found (nope)"),
        ("DB.prepare('SELECT ?2 AS x, ?1 AS y').bind(1, 2).first()", {"x": 2, "y": 1}),
        ("DB.prepare('SELECT ?3 AS x').bind(1, 2, 3).first('x')", 3),
        ("DB.prepare('SELECT :a AS x, @b AS y, :a AS z').bind(1, 2).raw()", [[1, 2, 1]]),
        ("DB.prepare('SELECT 1; SELECT ? AS x').bind(2).first()", {"x": 2}),
        ("DB.prepare('SELECT ?/2 AS x, ? || \"s\" AS y').bind(5, 5).first()", {"x": 2.5, "y": "5.0s"}),
        ("DB.prepare('SELECT 1 AS x LIMIT ?').bind(1).first('x')", 1),
        ("DB.prepare('SELECT 9223372036854775807 AS x, 1000.0 AS y').raw()", [[9.223372036854776e18, 1000]]),
        ("DB.prepare('SELECT 1e400 AS x').first('x')", None),
        ("DB.prepare(\"SELECT x'0102' AS x\").first('x')", [1, 2]),
        ("DB.prepare(\"SELECT cast(x'ff41' AS TEXT) AS x\").first('x')", "\ufffdA"),
        ("DB.prepare('SELECT json_extract(?, \"$.a\") AS x').bind('{\"a\": 1}').first('x')", 1),
        ("DB.prepare('PRAGMA foreign_keys').first('foreign_keys')", 1),
        ("DB.prepare('PRAGMA foreign_keys = OFF; PRAGMA foreign_keys').first('foreign_keys')", 1),
        ("DB.prepare('SELECT name FROM pragma_table_info(\"t\")').raw()", [["id"], ["a"], ["b"]]),
        ("DB.exec('SELECT 1')", {"count": 1, "duration": 0}),
        ("DB.exec('INSERT INTO t(a) VALUES (5);\\n\\n  \\nINSERT INTO t(a) VALUES (6)')", {"count": 2, "duration": 0}),
    ],
)
async def test_what_queries_answer(worker: Workers, call: str, expected: Any) -> None:
    found = await ask(worker, SCHEMA + f"return await said(lambda: {call})")
    if isinstance(found, dict) and "duration" in found:
        assert found.pop("duration") >= 0
        expected = {"count": expected["count"]}
    assert found == expected


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT * FROM x", "no such table: x: SQLITE_ERROR"),
        ("INVALID SQL", 'near "INVALID": syntax error at offset 0: SQLITE_ERROR'),
        ("SELECT 1 FROM t WHRE a = 1", 'near "a": syntax error at offset 21: SQLITE_ERROR'),
        ("SELECT a a a FROM t", 'near "a": syntax error at offset 11: SQLITE_ERROR'),
        ("SELECT a, nope FROM t", "no such column: nope at offset 10: SQLITE_ERROR"),
        ("SELECT t.nope FROM t", "no such column: t.nope at offset 7: SQLITE_ERROR"),
        ("SELECT 'éé', nope FROM t", "no such column: nope at offset 15: SQLITE_ERROR"),
        ("SELECT 1; SELECT nope FROM t", "no such column: nope at offset 7: SQLITE_ERROR"),
        ("SELECT 1, nofunc(1)", "no such function: nofunc at offset 10: SQLITE_ERROR"),
        ("SELECT abs(1, 2)", "wrong number of arguments to function abs() at offset 7: SQLITE_ERROR"),
        ("CREATE TABLE t(a)", "table t already exists at offset 13: SQLITE_ERROR"),
        ("SELECT 1 FROM", "incomplete input: SQLITE_ERROR"),
        ("SELECT 'abc", 'unrecognized token: "\'abc" at offset 7: SQLITE_ERROR'),
        ("SELECT ?101", "variable number must be between ?1 and ?100 at offset 7: SQLITE_ERROR"),
        (
            "INSERT INTO u VALUES (1)",
            "UNIQUE constraint failed: u.a: SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_UNIQUE)",
        ),
        (
            "INSERT INTO u VALUES (NULL)",
            "NOT NULL constraint failed: u.a: SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_NOTNULL)",
        ),
        (
            "INSERT INTO u VALUES (9)",
            "CHECK constraint failed: a <> 9: SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_CHECK)",
        ),
        ("INSERT INTO t(id) VALUES ('x')", "datatype mismatch: SQLITE_MISMATCH"),
        ("SELECT ?", "Wrong number of parameter bindings for SQL query."),
        (
            "SELECT ?; SELECT 1",
            "When executing multiple SQL statements in a single call, only the last statement can have parameters.",
        ),
        ("", "No SQL statements detected."),
        ("  -- only this", "No SQL statements detected."),
        ("-- hi", "SQL code did not contain a statement."),
        ("SELECT 1;;", "SQL code did not contain a statement."),
        ("SELECT 1; -- bye", "SQL code did not contain a statement."),
        ("ATTACH 'x.db' AS x", "not authorized: SQLITE_AUTH"),
        ("CREATE TEMP TABLE x(a)", "not authorized: SQLITE_AUTH"),
        ("CREATE TABLE _cf_x(a)", "not authorized: SQLITE_AUTH"),
        ("CREATE VIRTUAL TABLE r USING rtree(id, a, b)", "not authorized: SQLITE_AUTH"),
        ("PRAGMA journal_mode = DELETE", "not authorized: SQLITE_AUTH"),
        ("PRAGMA user_version", "not authorized: SQLITE_AUTH"),
        ("SELECT * FROM pragma_database_list", "not authorized: SQLITE_AUTH"),
        ("SELECT load_extension('x')", "not authorized: SQLITE_ERROR"),
        ("SELECT sqlite_version()", "not authorized to use function: sqlite_version at offset 7: SQLITE_ERROR"),
        ("VACUUM", "cannot VACUUM from within a transaction: SQLITE_ERROR"),
        ("SELECT 'a' LIKE '" + "%" * 51 + "'", "LIKE or GLOB pattern too complex: SQLITE_ERROR"),
        ("SELECT " + "+".join("1" * 101), "Expression tree is too large (maximum depth 100): SQLITE_ERROR"),
        ("SELECT " + " UNION ALL SELECT ".join("1" * 6), "too many terms in compound SELECT: SQLITE_ERROR"),
        ("SELECT length('" + "x" * 100_000 + "')", "statement too long: SQLITE_TOOBIG"),
        ("SELECT zeroblob(3000000)", "string or blob too big: SQLITE_TOOBIG"),
    ],
    ids=lambda value: value[:40],
)
async def test_what_d1_says_of_a_bad_query(worker: Workers, sql: str, message: str) -> None:
    found = await ask(worker, SCHEMA + f"return await said(lambda: DB.prepare({sql!r}).run())")
    assert found == f"JsException D1_ERROR: {message}"


@pytest.mark.parametrize(
    "word", ["BEGIN", "begin transaction", "COMMIT", "END", "ROLLBACK", "SAVEPOINT a", "RELEASE a"]
)
async def test_transactions_are_d1s_own(worker: Workers, word: str) -> None:
    found = await ask(worker, f"return await said(lambda: DB.prepare({word!r}).run())")
    assert found.startswith(
        "JsException D1_ERROR: To execute a transaction, please use the state.storage.transaction() or "
    )


@pytest.mark.parametrize(
    ("value", "bound"),
    [
        ("'text'", ["text", "text"]),
        ("1", [1, "real"]),
        ("1.5", [1.5, "real"]),
        ("True", [1, "real"]),
        ("None", [None, "null"]),
        ("jsnull", [None, "null"]),
        ("float('nan')", [None, "null"]),
        ("float('inf')", [None, "null"]),
        ("b'\\x01\\xff'", [[1, 255], "blob"]),
        ("js.Uint8Array.new([1, 2])", [[1, 2], "blob"]),
        ("[1, 2.5, 255]", [[1, 2, 255], "blob"]),
        ("[]", [[], "blob"]),
        ("to_js([1, 2])", [[1, 2], "blob"]),
        ("js.Float32Array.new(to_js([1.5, 258]))", [[1, 2], "blob"]),
        ("js.Uint8Array.new(to_js([1, 2])).buffer", [[1, 2], "blob"]),
        ("'a\\ud800b'", ["a\ufffdb", "text"]),
    ],
)
@pytest.mark.parametrize("date", [WITH_NULL, EXTERNAL])
async def test_values_to_bind(worker: Workers, value: str, bound: Any, date: datetime.date) -> None:
    found = await ask(
        worker,
        f"""
row = await DB.prepare("SELECT ?1 AS x, typeof(?1) AS y").bind({value}).first()
return [row.x.to_py() if hasattr(row.x, "to_py") else row.x, row.y]
""",
        date,
    )
    assert found == bound


@pytest.mark.parametrize(
    ("value", "kind", "shown"),
    [
        ("[1, 256]", "object", "1,256"),
        ("['a']", "object", "a"),
        ("{'a': 1}", "object", "[object Object]"),
        ("2 ** 53", "bigint", "9007199254740992"),
        (
            "datetime.datetime.fromtimestamp(0, datetime.UTC)",
            "object",
            "Thu Jan 01 1970 00:00:00 GMT+0000 (Coordinated Universal Time)",
        ),
    ],
)
async def test_values_that_cannot_be_bound(worker: Workers, value: str, kind: str, shown: str) -> None:
    body = f"""
try:
    DB.prepare("SELECT ?").bind({value})
except JsException as error:
    return [error.name, error.message]
"""
    assert await ask(worker, body) == ["Error", f"D1_TYPE_ERROR: Type '{kind}' not supported for value '{shown}'"]


async def test_none_is_undefined_before_the_external_sdk(worker: Workers) -> None:
    found = await ask(worker, 'return await said(lambda: DB.prepare("SELECT ? AS x").bind(None).first("x"))', WITH_NULL)
    assert found is None
    assert any("D1_TYPE_ERROR: Type 'undefined' not supported for value 'undefined'" in line for line in worker.logged)


async def test_a_bound_statement_is_a_new_one(worker: Workers) -> None:
    body = """
one = DB.prepare("SELECT ? AS x")
two = one.bind(2)
three = one.bind(3)
return [await two.first("x"), await three.first("x"), await two.first("x"), one.statement, list(three.params)]
"""
    assert await ask(worker, body) == [2, 3, 2, "SELECT ? AS x", [3.0]]


async def test_a_batch_is_one_transaction(worker: Workers) -> None:
    found = await ask(
        worker,
        SCHEMA
        + """
insert = DB.prepare("INSERT INTO u VALUES (?)")
good = await DB.batch([insert.bind(2), insert.bind(3), DB.prepare("SELECT count(*) AS n FROM u")])
bad = await said(lambda: DB.batch([insert.bind(4), insert.bind(2)]))
lines = await said(lambda: DB.exec("INSERT INTO u VALUES (5);\\nINSERT INTO u VALUES (2);"))
left = await DB.prepare("SELECT a FROM u").raw()
return [[one["meta"]["changes"] for one in good], good[2]["results"], bad, lines, left]
""",
    )
    unique = "UNIQUE constraint failed: u.a: SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_UNIQUE)"
    assert found == [
        [1, 1, 0],
        [{"n": 3}],
        f"JsException D1_ERROR: {unique}",
        f"JsException D1_EXEC_ERROR: Error in line 2: INSERT INTO u VALUES (2);: {unique}",
        [[1], [2], [3]],
    ]


async def test_foreign_keys_can_be_deferred_and_are_then_checked(worker: Workers) -> None:
    found = await ask(
        worker,
        """
await DB.exec("CREATE TABLE p(id INTEGER PRIMARY KEY); CREATE TABLE c(p REFERENCES p(id));")
defer = DB.prepare("PRAGMA defer_foreign_keys = ON")
child, parent = DB.prepare("INSERT INTO c VALUES (?)"), DB.prepare("INSERT INTO p VALUES (?)")
await DB.batch([defer, child.bind(7), parent.bind(7)])
bad = await said(lambda: DB.batch([defer, child.bind(8)]))
return [bad, await said(lambda: child.bind(8).run()), await DB.prepare("SELECT p FROM c").raw()]
""",
    )
    refused = (
        "JsException D1_ERROR: FOREIGN KEY constraint failed: SQLITE_CONSTRAINT "
        "(extended: SQLITE_CONSTRAINT_FOREIGNKEY)"
    )
    assert found == [refused, refused, [[7]]]


async def test_meta_says_what_a_query_did(worker: Workers) -> None:
    found = await ask(
        worker,
        SCHEMA
        + """
async def meta(sql):
    meta = dict((await DB.prepare(sql).run())["meta"])
    assert meta.pop("duration") >= 0 and meta.pop("size_after") % 4096 == 0
    return meta
return [await meta(sql) for sql in (
    "INSERT INTO t(a) VALUES (3), (4)", "UPDATE t SET a = 1", "SELECT * FROM t", "DELETE FROM t"
)]
""",
    )
    of_all = {"served_by": "miniflare.db", "last_row_id": 4}
    assert found == [
        {**of_all, "changes": 2, "changed_db": True, "rows_read": 0, "rows_written": 2},
        {**of_all, "changes": 4, "changed_db": True, "rows_read": 0, "rows_written": 4},
        {**of_all, "changes": 0, "changed_db": False, "rows_read": 4, "rows_written": 0},
        {**of_all, "changes": 4, "changed_db": True, "rows_read": 0, "rows_written": 4},
    ]


async def test_sessions_have_bookmarks_that_grow(worker: Workers) -> None:
    body = """
session = DB.withSession("first-primary")
marks = [session.getBookmark()]
for _ in range(2):
    await session.prepare("SELECT 1").all()
    marks.append(session.getBookmark())
later = DB.withSession(marks[-1])
await later.batch([later.prepare("SELECT 1")])
return [*marks, later.getBookmark()]
"""
    first, *marks = await ask(worker, body)
    assert first is None
    assert marks == sorted(set(marks)) and all(len(mark) == 59 for mark in marks)


async def test_a_full_text_search_and_a_generated_column(worker: Workers) -> None:
    body = """
await DB.exec("CREATE VIRTUAL TABLE f USING fts5(a); INSERT INTO f VALUES ('hello world'), ('bye')")
await DB.exec("CREATE TABLE g(a, b AS (a * 2) STORED); INSERT INTO g(a) VALUES (4)")
return [await DB.prepare("SELECT a FROM f WHERE f MATCH ?").bind("hello").first("a"),
        await DB.prepare("SELECT b FROM g").first("b")]
"""
    assert await ask(worker, body) == ["hello world", 8]


LONG = "WITH RECURSIVE c(x) AS (VALUES(1) UNION ALL SELECT x + 1 FROM c LIMIT 1000000000) SELECT count(*) FROM c"


async def test_a_long_query_blocks_nothing_and_ends_with_its_request(
    worker: Workers, capsys: pytest.CaptureFixture[str]
) -> None:
    body = f"""
if await DB.prepare("SELECT count(*) AS n FROM sqlite_master").first("n"):
    return "answered"
await DB.exec("CREATE TABLE t(a)")
print("begun")
return await DB.prepare("{LONG}").first()
"""
    client = d1_worker(worker, body)
    async with client.request("GET", "/") as exchange:
        async with asyncio.timeout(20):
            while "begun" not in capsys.readouterr().out:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.3)  # the event loop goes on
        exchange.leave()
    async with asyncio.timeout(20):
        assert (await client.get("/")).text == '"answered"'


async def test_a_cancelled_query_gives_way_to_the_next(worker: Workers) -> None:
    body = f"""
task = asyncio.ensure_future(asyncio.wait_for(DB.prepare("{LONG}").first(), 0.2))
await asyncio.sleep(0.1)
waiting = asyncio.ensure_future(DB.prepare("SELECT 2 AS x").first("x"))
try:
    await task
except TimeoutError:
    return await waiting
"""
    assert await ask(worker, body) == 2


async def test_a_statement_runs_although_nobody_awaits_it(worker: Workers) -> None:
    body = """
DB.prepare("CREATE TABLE t(a)").run()
return await DB.prepare("SELECT count(*) AS n FROM t").first("n")
"""
    assert await ask(worker, body) == 0
