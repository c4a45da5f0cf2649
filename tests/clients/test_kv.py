"""KV beside miniflare: the same calls have the same results, and both use the same files, at the same time."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from cfai.config import KvNamespace
from tests.clients.node import HERE, installed, needs_node
from tests.worker.asgi_client import Client
from tests.worker.conftest import Workers

pytestmark = [needs_node, pytest.mark.timeout(400)]

SCRIPT = """
import js
from pyodide.ffi import JsException
from workers import Response, WorkerEntrypoint

def value(given):
    if isinstance(given, dict) and "bytes" in given:
        return bytes(given["bytes"])
    if isinstance(given, dict) and "stream" in given:
        return js.Response.new(given["stream"]).body
    return given

async def shown(given, method, arguments):
    if isinstance(given, memoryview):
        return {"bytes": list(given)}
    if hasattr(given, "getReader"):
        return {"stream": await js.Response.new(given).text()}
    is_map = method.startswith("get") and isinstance(arguments[0], list)
    return {"map": given} if is_map else given

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        method, *arguments = await request.json()
        try:
            result = await getattr(self.env.KV, method)(*map(value, arguments))
            return Response.json(await shown(result, method, arguments))
        except JsException as error:
            return Response.json({"error": str(error)})
"""

LONG = "x" * 513
CALLS: list[list[Any]] = [
    *([["put", "n", given] for given in (7, 7.5, 1e21, 1e-7, 0.00001, True, None, "ü", "", {"bytes": [1, 2, 255]})]),
    ["get", "n", "arrayBuffer"],
    ["get", "n"],
    ["put", "n", {"a": 1}],
    ["put", "n", [1]],
    ["put", "n"],
    ["put", 5, "x"],
    ["get", "5"],
    ["get"],
    *([[method, key] for method in ("get", "getWithMetadata", "delete") for key in ("", ".", "..", LONG, "é" * 257)]),
    *([["put", key, "x"] for key in ("", ".", "..", LONG, "é" * 257, "a/b//c?d#e%41+ ", "é")]),
    ["get", "a/b//c?d#e%41+ "],
    *([["put", "n", "x", {"expirationTtl": given}] for given in (0, None, 59, -1, "abc", "60", 60.9, 1e12)]),
    *([["put", "n", "x", {"expiration": given}] for given in (0, 5, None, "abc", 99999999999)]),
    *([["put", "n", "x", given] for given in ("text", None, {}, {"unknown": 1})]),
    *([["put", "n", "x", {"metadata": given}] for given in ("a" * 1022, "a" * 1023, {"a": "ü€"}, 0, False, [1, None])]),
    ["getWithMetadata", "n"],
    ["put", "n", "x", {"metadata": None}],
    ["getWithMetadata", "n"],
    ["put", "big", "x" * (25 * 1024 * 1024 + 1)],
    ["put", "big", {"stream": "x" * (25 * 1024 * 1024 + 1)}],
    ["put", "s", {"stream": "streamed"}],
    ["get", "s", "stream"],
    *([["get", "n", given] for given in ("text", "xml", {"type": "text"}, {"type": "xml"}, {"type": None}, None)]),
    *([["get", "n", {"cacheTtl": given}] for given in (0, 29, 30, 60)]),
    ["get", "nothing", "xml"],
    ["put", "j", "[1, null, {\"a\": 2}]"],
    ["get", "j", "json"],
    ["getWithMetadata", "j", {"type": "json"}],
    ["getWithMetadata", "nothing"],
    ["get", ["n", "nothing", "j", "n"]],
    ["get", ["j"], "json"],
    ["get", ["n"], "json"],
    ["get", ["j"], "arrayBuffer"],
    ["get", []],
    ["get", [f"k{n}" for n in range(101)]],
    *([["get", [key]] for key in ("", ".", LONG)]),
    ["get", ["n"], {"cacheTtl": 3}],
    ["getWithMetadata", ["n", "nothing"]],
    ["getWithMetadata", ["j"], "json"],
    *([["put", f"list:{key}", "x", {"metadata": {"k": key}}] for key in ("b", "ä", "a:2", "a:10", "\U0001f600")]),
    *([["list", given] for given in (None, {}, {"limit": 2}, {"limit": "3"})]),
    *([["list", {"limit": given}] for given in (0, -1, 1000, 1001)]),
    *([["list", {"prefix": given}] for given in ("list:", "list:a", "list:\U0001f600", "nothing", None, LONG)]),
    ["list", {"limit": 2, "cursor": "Mg=="}],
    *([["list", {"cursor": given}] for given in ("", "!!", None, "bGlzdDo")]),
    ["list", "text"],
    ["delete", "list:b"],
    ["delete", "list:b"],
    ["list", {"prefix": "list:"}],
]  # fmt: skip


@pytest.fixture(scope="session", autouse=True)
def packages() -> Path:
    return installed(HERE)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Miniflare:
    """A namespace of miniflare with its data under `folder`."""

    def __init__(self, folder: Path) -> None:
        program = HERE / "javascript" / "kv.mjs"
        self._process = subprocess.Popen(
            ["node", str(program), str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._read() == "ready"

    def call(self, *call: Any) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{json.dumps(call)}\n")
        self._process.stdin.flush()
        return self._read()

    def close(self) -> None:
        self._process.communicate(timeout=30)

    def _read(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())


@pytest.fixture
def ours(tmp_path: Path) -> Iterator[Client]:
    with ExitStack() as stack:
        yield Workers(tmp_path, stack)(SCRIPT, kv_namespaces=(KvNamespace("KV", "test-kv"),))


async def call(client: Client, *given: Any) -> Any:
    answer = await client("POST", "/", body=[json.dumps(given).encode()])
    assert answer.status == 200, answer.text
    return json.loads(answer.text)


def without_times(result: Any) -> Any:
    if isinstance(result, dict):
        return {key: "in time" if key == "expiration" else without_times(one) for key, one in result.items()}
    return [without_times(one) for one in result] if isinstance(result, list) else result


@pytest.mark.anyio
async def test_each_call_has_the_result_that_it_has_in_miniflare(ours: Client, tmp_path: Path) -> None:
    theirs = Miniflare(tmp_path / "theirs")
    differing = []
    for given in CALLS:
        one, other = without_times(await call(ours, *given)), without_times(theirs.call(*given))
        if one != other:
            differing.append(f"{str(given)[:200]}\n  {str(one)[:400]}\n  {str(other)[:400]}")
    theirs.close()
    assert not differing, "\n".join(differing)


@pytest.mark.anyio
async def test_both_use_the_same_files_at_the_same_time(ours: Client, tmp_path: Path) -> None:
    theirs = Miniflare(tmp_path / ".wrangler/state/v3/kv")
    for number in range(20):
        options = {"metadata": {"n": number}, "expirationTtl": 3600}
        theirs.call("put", f"theirs {number}", "ü" * number, options)
        await call(ours, "put", f"ours {number}", "ü" * number, options)
        for key in (f"theirs {number}", f"ours {number}"):
            expected = {"value": "ü" * number, "metadata": {"n": number}, "cacheStatus": None}
            assert await call(ours, "getWithMetadata", key) == theirs.call("getWithMetadata", key) == expected
    await call(ours, "put", "bytes", {"bytes": list(range(256))})
    assert theirs.call("get", "bytes", "arrayBuffer") == {"bytes": list(range(256))}
    theirs.call("delete", "ours 3")
    await call(ours, "delete", "theirs 3")
    listed = await call(ours, "list")
    assert listed == theirs.call("list")
    assert len(listed["keys"]) == 39
    assert all(one["expiration"] > 1_700_000_000 for one in listed["keys"] if one["name"] != "bytes")
    theirs.close()
    files = (tmp_path / ".wrangler/state/v3/kv/miniflare-KVNamespaceObject").glob("*.sqlite")
    assert sum(len(file.stem) == 64 for file in files) == 1
