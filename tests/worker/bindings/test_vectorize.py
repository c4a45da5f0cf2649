"""Vectorize as a script uses it."""

import datetime
import json
from typing import Any

import pytest

from cfai.config import VectorizeIndex
from tests.worker.asgi_client import Client
from tests.worker.conftest import Workers

FIRST = datetime.date(2025, 1, 1)
WITH_NULL = datetime.date(2025, 10, 1)
EXTERNAL = datetime.date(2026, 6, 1)

SCRIPT = """
import json
import js
from array import array
from js import Object
from pyodide import ffi
from pyodide.ffi import JsException, to_js
jsnull = getattr(ffi, "jsnull", None)
from workers import Response

def obj(value):
    return to_js(value, dict_converter=Object.fromEntries)

async def said(call):
    try:
        return await call()
    except JsException as error:
        return error.message

def ids(result):
    return [match.id for match in result.matches]

async def answer(INDEX):
{body}
"""
HANDLER = """
from workers import WorkerEntrypoint

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        return Response(json.dumps(await answer(self.env.INDEX)))
"""
OLD_HANDLER = """
async def on_fetch(request, env):
    return Response(json.dumps(await answer(env.INDEX)))
"""


def vectorize_worker(worker: Workers, body: str, date: datetime.date = EXTERNAL) -> Client:
    indented = "\n".join(f"    {line}" for line in body.strip().splitlines())
    handler = HANDLER if date >= datetime.date(2025, 8, 14) else OLD_HANDLER
    index = VectorizeIndex("INDEX", "docs")
    return worker(SCRIPT.replace("{body}", indented) + handler, compatibility_date=date, vectorize=(index,))


async def ask(worker: Workers, body: str, date: datetime.date = EXTERNAL) -> Any:
    response = await vectorize_worker(worker, body, date).get("/")
    assert response.status == 200, response.text
    return json.loads(response.text)


THREE = """
await INDEX.upsert(obj([
    {"id": "a", "values": [1, 0, 0], "namespace": "one", "metadata": {"kind": "x", "year": 1990, "in": {"deep": True}}},
    {"id": "b", "values": [1, 1, 0], "namespace": "one", "metadata": {"kind": "y", "year": 2000}},
    {"id": "c", "values": [0, 0, 2], "metadata": {"kind": "x", "year": 2010.5}},
]))
"""


@pytest.mark.parametrize("date", [FIRST, WITH_NULL, EXTERNAL])
async def test_results_are_read_as_the_generation_reads_them(worker: Workers, date: datetime.date) -> None:
    found = await ask(
        worker,
        THREE
        + """
result = await INDEX.query([1, 0, 0], obj({"topK": 2, "returnMetadata": "all", "returnValues": True}))
assert result.count == 2 and result.matches[0].id == "a" and result.matches[0].metadata.year == 1990
mutation = (await INDEX.deleteByIds(to_js(["c"]))).mutationId
info = await INDEX.describe()
assert info.processedUpToMutation == mutation and info.processedUpToDatetime.endswith("Z")
result = result.to_py() if hasattr(result, "to_py") else result
[vector] = await INDEX.getByIds(["b"])
return [result["matches"], info.vectorCount, info.dimensions, list(vector["values"]), vector.namespace]
""",
        date,
    )
    assert found == [
        [
            {
                "id": "a",
                "score": 1.0,
                "values": [1, 0, 0],
                "namespace": "one",
                "metadata": {"kind": "x", "year": 1990, "in": {"deep": True}},
            },
            {
                "id": "b",
                "score": pytest.approx(2**-0.5),
                "values": [1, 1, 0],
                "namespace": "one",
                "metadata": {"kind": "y", "year": 2000},
            },
        ],
        2,
        3,
        [1, 1, 0],
        "one",
    ]


@pytest.mark.parametrize(
    "values",
    [
        "[0.5, 1, 2]",
        "(0.5, 1.0, 2.0)",
        "to_js([0.5, 1, 2])",
        "array('f', [0.5, 1, 2])",
        "memoryview(array('d', [0.5, 1, 2]))",
        "js.JSON.parse('[0.5, 1, 2]')",
    ],
)
async def test_the_ways_to_give_values(worker: Workers, values: str) -> None:
    body = f"""
await INDEX.insert([{{"id": "a", "values": {values}}}])
result = await INDEX.query({values}, topK=1, returnValues=True)
return result.matches[0]
"""
    assert await ask(worker, body) == {"id": "a", "score": 1.0, "values": [0.5, 1, 2]}


async def test_insert_keeps_what_is_there_and_upsert_does_not(worker: Workers) -> None:
    body = """
await INDEX.insert([{"id": "a", "values": [1, 0]}, {"id": "a", "values": [2, 0]}])
await INDEX.insert([{"id": "a", "values": [3, 0]}, {"id": "b", "values": [4, 0]}])
inserted = [list(one["values"]) for one in await INDEX.getByIds(["a", "b", "nope"])]
await INDEX.upsert([{"id": "a", "values": [5, 0], "metadata": {"n": 1}}, {"id": "a", "values": [6, 0]}])
return [inserted, *await INDEX.getByIds(["a"])]
"""
    assert await ask(worker, body) == [[[1, 0], [4, 0]], {"id": "a", "values": [6, 0]}]


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"kind": "x"}, ["a", "c"]),
        ({"kind": {"$eq": "x"}}, ["a", "c"]),
        ({"kind": {"$ne": "x"}}, ["b"]),
        ({"kind": {"$in": ["y", "z"]}}, ["b"]),
        ({"kind": {"$nin": ["y", "z"]}}, ["a", "c"]),
        ({"year": {"$gte": 2000}}, ["b", "c"]),
        ({"year": {"$gt": 1990, "$lt": 2010}}, ["b"]),
        ({"year": {"$lte": 1990}, "kind": "x"}, ["a"]),
        ({"year": {"$gte": "2000"}}, []),
        ({"kind": {"$lt": "y"}}, ["a", "c"]),
        ({"in.deep": True}, ["a"]),
        ({"in.deep": 1}, []),
        ({"in.deep": None}, ["b", "c"]),
        ({"nope": "x"}, []),
    ],
    ids=str,
)
async def test_filters(worker: Workers, given: Any, found: list[str]) -> None:
    body = f"return sorted(ids(await INDEX.query([1, 0, 0], {{'filter': {given!r}}})))"
    assert await ask(worker, THREE + body) == found
    assert any("it needs a metadata index" in line for line in worker.logged)


async def test_a_namespace_is_a_world_of_its_own(worker: Workers) -> None:
    body = """
one = ids(await INDEX.query([0, 0, 1], {"namespace": "one"}))
return [one, ids(await INDEX.query([0, 0, 1], {"namespace": "nope"})), ids(await INDEX.queryById("c", {"topK": 1}))]
"""
    assert await ask(worker, THREE + body) == [["a", "b"], [], ["c"]]


async def test_values_and_metadata_come_only_when_asked_for(worker: Workers) -> None:
    body = """
ask = lambda level: INDEX.query([0, 0, 1], {"topK": 1, "returnMetadata": level})
return [(await ask(level)).matches[0] for level in ("none", "indexed", "all", True)]
"""
    all_of_it = {"id": "c", "score": 1.0, "metadata": {"kind": "x", "year": 2010.5}}
    assert await ask(worker, THREE + body) == [{"id": "c", "score": 1.0}, all_of_it, all_of_it, all_of_it]


MANY = "[{'id': str(n), 'values': [1, n, 0]} for n in range(%d)]"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            'INDEX.upsert([{"id": "d", "values": [1, 0, 0]}, {"id": "e", "values": [1, 0]}])',
            'VECTOR_UPSERT_ERROR (code = 40012): invalid vector for id="e", expected 3 dimensions, '
            "and got 2 dimensions",
        ),
        (
            'INDEX.insert([{"id": "d", "values": [1, float("nan"), 0]}])',
            "VECTOR_INSERT_ERROR (code = 40023): failed to parse insert vectors request in json format: vector 0: "
            "value 1 is nan, which is no 32-bit float",
        ),
        (
            'INDEX.insert([{"id": "d", "values": [1, 1e39, 0]}])',
            "VECTOR_INSERT_ERROR (code = 40023): failed to parse insert vectors request in json format: vector 0: "
            "value 1 is 1e+39, which is no 32-bit float",
        ),
        (
            'INDEX.insert([{"id": "d", "values": [1, "2", 0]}])',
            "VECTOR_INSERT_ERROR (code = 40023): failed to parse insert vectors request in json format: vector 0: "
            "value 1 should be a number, not '2'",
        ),
        (
            'INDEX.insert([{"values": [1, 2, 0]}])',
            "VECTOR_INSERT_ERROR (code = 40023): failed to parse insert vectors request in json format: vector 0: "
            "id should be a string, not None",
        ),
        (
            'INDEX.upsert([{"id": "é" * 33, "values": [1, 2, 0]}])',
            "VECTOR_UPSERT_ERROR (code = 40008): id too long; max is 64 bytes, got 66 bytes",
        ),
        (
            f"INDEX.upsert({MANY % 1001})",
            "VECTOR_UPSERT_ERROR (code = 40006): too many vectors in payload; max count is 1000, got 1001",
        ),
        (
            'INDEX.upsert([{"id": "d", "values": [1, 2, 0], "metadata": {"text": "x" * 10240}}])',
            "VECTOR_UPSERT_ERROR: metadata too large; max is 10240 bytes, got 10251 bytes",
        ),
        (
            'INDEX.upsert([{"id": "d", "values": [1, 2, 0], "metadata": {"a.b": 1}}])',
            "VECTOR_UPSERT_ERROR (code = 40018): invalid metadata key 'a.b': no key is empty, begins with $ or has a "
            "dot or a quote in it",
        ),
        (
            "INDEX.query([1, 0])",
            "VECTOR_QUERY_ERROR (code = 40006): invalid query vector, expected 3 dimensions, and got 2 dimensions",
        ),
        (
            "INDEX.query([])",
            "VECTOR_QUERY_ERROR (code = 40006): invalid query vector, expected 3 dimensions, and got 0 dimensions",
        ),
        (
            "INDEX.query([1, 0, 0], topK=101)",
            "VECTOR_QUERY_ERROR (code = 40025): max top K is 100, but got 101",
        ),
        (
            "INDEX.query([1, 0, 0], topK=51, returnValues=True)",
            "VECTOR_QUERY_ERROR (code = 40025): with returnValues=true or returnMetadata=all, max top K is 50, but "
            "got 51; for a top K up to 100, retry with returnValues=false and returnMetadata=indexed",
        ),
        (
            "INDEX.query([1, 0, 0], returnMetadata='some')",
            'Invalid returnMetadata option. Expected: true, false, "none", "indexed" or "all"; got: some',
        ),
        (
            "INDEX.query([1, 0, 0], filter={'a': {'$like': 1}})",
            "VECTOR_QUERY_ERROR: invalid filter: 'a' has the operator '$like'; "
            "there are $eq, $ne, $in, $nin, $lt, $lte, $gt, $gte",
        ),
        (
            "INDEX.queryById('nope')",
            "VECTOR_QUERY_ERROR: there is no vector with the id 'nope'",
        ),
        (
            "INDEX.getByIds([str(n) for n in range(21)])",
            "VECTOR_GET_ERROR (code = 40007): too many ids in payload; max id count is 20, got 21",
        ),
        (
            "INDEX.deleteByIds([str(n) for n in range(101)])",
            "VECTOR_DELETE_ERROR (code = 40007): too many ids in payload; max id count is 100, got 101",
        ),
    ],
    ids=lambda value: value[:40],
)
async def test_what_is_refused_changes_nothing(worker: Workers, call: str, message: str) -> None:
    body = f"""
before = await INDEX.describe()
problem = await said(lambda: {call})
assert await INDEX.describe() == before
return problem
"""
    assert await ask(worker, THREE + body) == message


async def test_the_first_vectors_fix_the_dimensions(worker: Workers) -> None:
    body = """
assert (await INDEX.describe()).vectorCount == 0 and ids(await INDEX.query([1, 2])) == []
too_many = await said(lambda: INDEX.insert([{"id": "a", "values": [0.5] * 1537}]))
mixed = await said(lambda: INDEX.insert([{"id": "a", "values": [1]}, {"id": "b", "values": [1, 2]}]))
assert (await INDEX.describe()).dimensions == 0
await INDEX.insert([{"id": "a", "values": [0.5] * 1536}])
return [too_many, mixed, (await INDEX.describe()).dimensions]
"""
    assert await ask(worker, body) == [
        'VECTOR_INSERT_ERROR (code = 40012): invalid vector for id="a", expected 1 to 1536 dimensions, '
        "and got 1537 dimensions",
        'VECTOR_INSERT_ERROR (code = 40012): invalid vector for id="b", expected 1 dimensions, and got 2 dimensions',
        1536,
    ]


async def test_a_python_list_is_nothing_to_javascript_before_the_external_sdk(worker: Workers) -> None:
    await ask(worker, 'await INDEX.insert([{"id": "a", "values": [1]}])', WITH_NULL)
    assert any("VECTOR_INSERT_ERROR (code = 40023)" in line for line in worker.logged)
