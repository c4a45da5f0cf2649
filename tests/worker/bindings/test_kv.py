"""KV namespaces as a script uses them."""

import datetime
import json
from pathlib import Path
from typing import Any

import pytest

from cfai.config import KvNamespace
from cfai.worker.bindings.kv_store import KvStore
from tests.worker.asgi_client import Client
from tests.worker.conftest import Workers

FIRST = datetime.date(2025, 1, 1)
WITH_NULL = datetime.date(2025, 10, 1)
EXTERNAL = datetime.date(2026, 6, 1)
DATES = [FIRST, WITH_NULL, EXTERNAL]

NAMESPACE = KvNamespace("KV", "test-kv")


def kv_worker(worker: Workers, body: str, date: datetime.date = EXTERNAL, **changes: Any) -> Client:
    lines = "\n".join(f"    {line}" for line in body.strip().splitlines())
    script = f"""
import json
import js
from js import Object
from pyodide.ffi import JsException, to_js
from workers import Response

async def answer(KV):
{lines}

async def said(call):
    try:
        return repr(await call)
    except JsException as error:
        return str(error)
"""
    handler = """
from workers import WorkerEntrypoint

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        return Response(str(await answer(self.env.KV)))

async def on_fetch(request, env):
    return Response(str(await answer(env.KV)))
"""
    if date < datetime.date(2025, 8, 14):
        handler = handler[handler.index("async def on_fetch") :]
    return worker(script + handler, compatibility_date=date, kv_namespaces=(NAMESPACE,), **changes)


async def answer(worker: Workers, body: str, date: datetime.date = EXTERNAL) -> str:
    response = await kv_worker(worker, body, date).get("/")
    assert response.status == 200, response.text
    return response.text


@pytest.mark.parametrize("date", DATES)
@pytest.mark.parametrize(
    ("value", "text"),
    [("'hällo'", "hällo"), ("''", ""), ("7", "7"), ("7.0", "7"), ("True", "true"), ("1e-05", "0.00001")],
)
async def test_what_is_put_is_there(worker: Workers, date: datetime.date, value: str, text: str) -> None:
    assert await answer(worker, f"await KV.put('a key/ü', {value})\nreturn await KV.get('a key/ü')", date) == text


@pytest.mark.parametrize(("date", "shown"), [(FIRST, "None"), (WITH_NULL, "jsnull"), (EXTERNAL, "None")])
async def test_what_is_not_there_is_null(worker: Workers, date: datetime.date, shown: str) -> None:
    body = "await KV.delete('nothing')\nmissing = await KV.getWithMetadata('nothing')\n"
    body += "return [await KV.get('nothing'), missing.value, missing.metadata]"
    assert await answer(worker, body, date) == f"[{shown}, {shown}, {shown}]"


@pytest.mark.parametrize("date", DATES)
async def test_the_forms_of_options(worker: Workers, date: datetime.date) -> None:
    body = """
await KV.put("k", '{"a": 1}', metadata=to_js({"n": 1}, dict_converter=Object.fromEntries), expirationTtl=60)
forms = [
    await KV.get("k", "json"),
    await KV.get("k", type="json"),
    await KV.get("k", to_js({"type": "json"}, dict_converter=Object.fromEntries)),
    await KV.get("k", {"type": "json", "cacheTtl": 60}),
]
found = await KV.getWithMetadata("k", "json")
return json.dumps([[one.a for one in forms], found.value.a, found.metadata.n])
"""
    assert json.loads(await answer(worker, body, date)) == [[1, 1, 1, 1], 1, 1]


async def test_the_types_of_a_value(worker: Workers) -> None:
    body = """
await KV.put("k", b"ab")
chunks = [bytes(chunk) async for chunk in await KV.get("k", "stream")]
return [await KV.get("k"), bytes(await KV.get("k", "arrayBuffer")), chunks]
"""
    assert await answer(worker, body) == "['ab', b'ab', [b'ab']]"


async def test_a_stream_is_a_value(worker: Workers) -> None:
    body = "await KV.put('k', js.Response.new('streamed').body)\nreturn await KV.get('k')"
    assert await answer(worker, body) == "streamed"


async def test_python_bytes_are_a_value_with_a_note_where_the_date_refuses_them(worker: Workers) -> None:
    body = "await KV.put('k', b'ab')\nawait KV.put('k', to_js(b'abc'))\nreturn await KV.get('k')"
    assert await answer(worker, body, WITH_NULL) == "abc"
    [note] = [line for line in worker.logged if line.startswith("note:")]
    assert "KV put() accepts only strings, ArrayBuffers, ArrayBufferViews, and ReadableStreams as values." in note


async def test_many_keys_are_a_map(worker: Workers) -> None:
    body = """
await KV.put("a", "1")
await KV.put("b", "2", metadata={"n": 2})
one = await KV.get(["a", "b", "c"])
two = await KV.getWithMetadata(["b", "c"], "json")
return json.dumps([one, two])
"""
    expected = [{"a": "1", "b": "2", "c": None}, {"b": {"value": 2, "metadata": {"n": 2}}, "c": None}]
    assert json.loads(await answer(worker, body)) == expected


async def test_keys_are_listed_in_the_order_of_their_utf8_page_by_page(worker: Workers) -> None:
    body = """
for key in ("b", "ä", "a:2", "a:10", "\\U0001f600", "\\uffff"):
    await KV.put(key, "x")
pages, cursor = [], None
while True:
    page = await KV.list(limit=2, cursor=cursor)
    pages.append([one["name"] for one in page["keys"]])
    if page["list_complete"]:
        break
    cursor = page["cursor"]
prefixed = await KV.list({"prefix": "a:"})
return json.dumps([pages, prefixed, (await KV.list(prefix="\\uffff"))["keys"]])
"""
    prefixed = {"keys": [{"name": "a:10"}, {"name": "a:2"}], "list_complete": True, "cacheStatus": None}
    pages = [["a:10", "a:2"], ["b", "ä"], ["\uffff", "\U0001f600"]]
    assert json.loads(await answer(worker, body)) == [pages, prefixed, [{"name": "\uffff"}]]


@pytest.mark.parametrize("date", [FIRST, WITH_NULL])
async def test_the_keys_of_a_list_are_an_attribute_of_a_proxy(worker: Workers, date: datetime.date) -> None:
    body = """
await KV.put("a", "1", to_js({"metadata": None}, dict_converter=Object.fromEntries))
listed = await KV.list()
return [[key.name for key in listed.keys], len(listed.keys), listed.list_complete, hasattr(listed, "cursor")]
"""
    assert await answer(worker, body, date) == "[['a'], 1, True, False]"


async def test_a_call_begins_before_it_is_awaited(worker: Workers) -> None:
    body = "written = KV.put('k', 'x')\nawait written.then(lambda _: None)\nreturn await KV.get('k')"
    assert await answer(worker, body, WITH_NULL) == "x"


ERRORS = {
    "KV.get('')": "TypeError: Key name cannot be empty.",
    "KV.put('.', 'x')": 'TypeError: "." is not allowed as a key name.',
    "KV.delete('..')": 'TypeError: ".." is not allowed as a key name.',
    "KV.get('é' * 257)": "Error: KV GET failed: 414 UTF-8 encoded length of 514 exceeds key length limit of 512.",
    "KV.list(prefix='x' * 513)": (
        "Error: KV GET failed: 414 UTF-8 encoded length of 513 exceeds key length limit of 512."
    ),
    "KV.list(limit=1001)": (
        "Error: KV GET failed: 400 Invalid key_count_limit of 1001. Please specify an integer less than 1000."
    ),
    "KV.put('k', 'x', expirationTtl=59)": (
        "Error: KV PUT failed: 400 Invalid expiration_ttl of 59. Expiration TTL must be at least 60."
    ),
    "KV.put('k', 'x', expiration=5)": (
        "Error: KV PUT failed: 400 Invalid expiration of 5. "
        "Please specify integer greater than the current number of seconds since the UNIX epoch."
    ),
    "KV.put('k', 'x', expiration=1800000000000)": (
        "TypeError: Value out of range. Must be between -2147483648 and 2147483647 (inclusive)."
    ),
    "KV.put('k', {'a': 1})": (
        "TypeError: KV put() accepts only strings, ArrayBuffers, ArrayBufferViews, and ReadableStreams as values."
    ),
    "KV.put('k', 'x', metadata='a' * 1023)": "Error: KV PUT failed: 413 Metadata length of 1025 exceeds limit of 1024.",
    "KV.put('k', 'x' * 26214401)": (
        "Error: KV PUT failed: 413 Value length of 26214401 exceeds limit of 26214400."
    ),
    "KV.put('k', js.Response.new('x' * 26214401).body)": (
        "Error: KV PUT failed: 413 Value length of 26214401 exceeds limit of 26214400."
    ),
    "KV.get('there', 'xml')": (
        'TypeError: Unknown response type. Possible types are "text", "arrayBuffer", "json", and "stream".'
    ),
    "KV.get('there', cacheTtl=10)": (
        "Error: KV GET failed: 400 Invalid cache_ttl of 10. Cache TTL must be at least 30."
    ),
    "KV.get([])": "Error: KV GET_BULK failed: 400 You must request a minimum of 1 key",
    "KV.get([str(n) for n in range(101)])": (
        "Error: KV GET_BULK failed: 400 You can request a maximum of 100 keys"
    ),
    "KV.put('k')": (
        "TypeError: Failed to execute 'put' on 'KvNamespace': parameter 2 is not of type 'string or JsObject'."
    ),
}  # fmt: skip


@pytest.mark.parametrize("call", ERRORS)
async def test_errors_are_cloudflares(worker: Workers, call: str) -> None:
    body = f"await KV.put('there', 'x')\nreturn [await said({call}), await KV.get('k')]"
    assert await answer(worker, body) == str([ERRORS[call], None])


async def test_a_value_expires(worker: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    client = kv_worker(worker, "listed = await KV.list()\nreturn [await KV.get('k'), len(listed['keys'])]")
    store = KvStore(worker.folder / ".wrangler/state/v3", "test-kv")
    store.put("k", b"x", expiration=1)
    store.close()
    assert (await client.get("/")).text == "[None, 0]"
    assert list((worker.folder / ".wrangler/state/v3/kv/test-kv/blobs").iterdir()) == []


async def test_data_outlives_the_worker(worker: Workers) -> None:
    await answer(worker, "await KV.put('k', 'x', metadata=[1])")
    assert await answer(worker, "return (await KV.getWithMetadata('k')).metadata") == "[1]"


async def test_a_damaged_file_is_an_error_that_names_what_is_wrong(worker: Workers) -> None:
    await answer(worker, "await KV.put('k', 'x')")
    [file] = (worker.folder / ".wrangler/state/v3/kv/miniflare-KVNamespaceObject").glob("*.sqlite")
    file.with_name(f"{file.name}-wal").unlink(missing_ok=True)
    file.write_bytes(b"this is no database" * 100)
    text = await answer(worker, "return await said(KV.get('k'))")
    assert text == f"Error: KV GET failed: 500 {file}: file is not a database"


async def test_a_namespace_is_no_container(worker: Workers) -> None:
    body = """
def tried(function):
    try:
        return function(KV)
    except TypeError as error:
        return str(error)

return [tried(iter), tried(len), bool(KV)]
"""
    expected = ["'KvNamespace' object is not iterable", "object of type 'KvNamespace' has no len()", True]
    assert await answer(worker, body) == str(expected)


def test_nothing_is_written_before_the_first_use(worker: Workers, tmp_path: Path) -> None:
    kv_worker(worker, "return 1")
    assert not (tmp_path / ".wrangler").exists()
