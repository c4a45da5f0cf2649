"""Cloudflare, by hand: the parts of it that the script uses, as we believe them to be."""

import json
import sys
import types
from pathlib import Path

import pytest


class MockHeaders(dict):
    def get(self, name, default=None):
        return super().get(name.lower(), default)


class MockResponse:
    def __init__(self, body=None, status=200, headers=None):
        self.body = body
        self.status = status
        self.headers = MockHeaders(headers or {})

    @classmethod
    def json(cls, data, status=200):
        return cls(json.dumps(data), status, {"content-type": "application/json"})

    async def text(self):
        if isinstance(self.body, MockStream):
            return b"".join(self.body.chunks).decode()
        return self.body

    async def read_json(self):
        return json.loads(await self.text())


class MockWorkerEntrypoint:
    def __init__(self, ctx, env):
        self.ctx = ctx
        self.env = env


class MockRequest:
    def __init__(self, path, method="GET", body=None):
        self.url = f"https://ask.example{path}"
        self.method = method
        self._body = body

    async def json(self):
        return self._body


class MockReader:
    def __init__(self, chunks):
        self._chunks = iter(chunks)

    async def read(self):
        for chunk in self._chunks:
            return types.SimpleNamespace(done=False, value=chunk)
        return types.SimpleNamespace(done=True, value=None)


class MockStream:
    def __init__(self, chunks):
        self.chunks = list(chunks)

    def tee(self):
        return MockStream(self.chunks), MockStream(self.chunks)

    def getReader(self):  # noqa: N802  # JavaScript's name
        return MockReader(self.chunks)


class MockAI:
    """A constant vector for embeddings, one event a word for chat."""

    def __init__(self):
        self.answer = "It is in the settings."
        self.calls = []
        self.failures = 0

    async def run(self, model, inputs):
        self.calls.append((model, inputs))
        if "bge" in model:
            return {"shape": [1, 768], "data": [[0.1] * 768]}
        if self.failures:
            self.failures -= 1
            raise Exception("429 Too Many Requests: Capacity temporarily exceeded")
        words = [word if index == 0 else f" {word}" for index, word in enumerate(self.answer.split(" "))]
        events = [f"data: {json.dumps({'response': word})}\n\n".encode() for word in words]
        return MockStream([*events, b"data: [DONE]\n\n"])


class MockKV:
    def __init__(self):
        self.values = {}

    async def get(self, key):
        return self.values.get(key)

    async def put(self, key, value):
        self.values[key] = value


class MockStatement:
    def __init__(self, database, sql, values=()):
        self._database = database
        self._sql = sql
        self._values = values

    def bind(self, *values):
        return MockStatement(self._database, self._sql, values)

    async def run(self):
        if self._sql.startswith("INSERT INTO asked"):
            self._database.rows.append(dict(zip(("question", "answer", "attempts"), self._values, strict=True)))
        return {"success": True}

    async def all(self):
        return {"success": True, "results": list(self._database.rows)}


class MockD1:
    def __init__(self):
        self.rows = []

    def prepare(self, sql):
        return MockStatement(self, sql)


class MockVectorize:
    """Finds the first notes, whatever is asked."""

    def __init__(self):
        self.notes = []

    async def query(self, vector, options):
        found = [{"id": str(index), "score": 0.9, "metadata": {"text": text}} for index, text in enumerate(self.notes)]
        return {"count": len(found), "matches": found[: options["topK"]]}


class MockCtx:
    def __init__(self):
        self.waiting = []

    def waitUntil(self, awaitable):  # noqa: N802  # JavaScript's name
        self.waiting.append(awaitable)


class MockEnv:
    def __init__(self):
        self.AI = MockAI()
        self.CACHE = MockKV()
        self.LOG = MockD1()
        self.DOCS = MockVectorize()


workers = types.ModuleType("workers")
workers.Response = MockResponse
workers.WorkerEntrypoint = MockWorkerEntrypoint
sys.modules["workers"] = workers
sys.path.insert(0, str(Path(__file__).parents[1] / "src"))


@pytest.fixture
def env():
    return MockEnv()


@pytest.fixture
def fetch(env):
    """A request to the Worker, and what it does after the response."""
    from entry import Default

    async def fetch(path, method="GET", body=None):
        ctx = MockCtx()
        response = await Default(ctx, env).fetch(MockRequest(path, method, body))
        for awaitable in ctx.waiting:
            await awaitable
        return response

    return fetch
