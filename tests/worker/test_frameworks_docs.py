"""The scripts of docs/frameworks.md, of docs/workers.md and of examples/fastapi, run as they are written."""

import datetime
import json
import re
from pathlib import Path

import pytest
from websockets.asyncio.client import connect

from cfai import FakeBinding
from cfai.config import load_config
from cfai.worker import import_path, worker_app
from tests.worker.asgi_client import Client
from tests.worker.conftest import Workers
from tests.worker.served import served

ROOT = Path(__file__).parents[2]
MODEL = "@cf/meta/llama-3.2-1b-instruct"
EVENTS = 'data: {"response":"New"}\n\ndata: {"response":" York"}\n\ndata: [DONE]\n\n'
JSON = [("content-type", "application/json")]


def script_of(section: str, page: str = "frameworks") -> str:
    text = (ROOT / "docs" / f"{page}.md").read_text("utf-8").partition(f"\n## {section}\n")[2]
    match = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert match is not None
    return match[1]


@pytest.mark.usefixtures("django_afresh")
@pytest.mark.parametrize(
    ("section", "request_line", "answer"),
    [
        ("FastAPI", "POST /ask", EVENTS),
        ("Starlette", "GET /ask?q=where", '{"answer":"New York"}'),
        ("Django", "GET /ask?q=where", '{"answer": "New York"}'),
        ("Flask", "GET /ask?q=where", EVENTS),
        ("LangChain", "GET /", '{"result": "New York"}'),
    ],
)
async def test_the_script_of_a_framework(worker: Workers, section: str, request_line: str, answer: str) -> None:
    worker.fake.answers[MODEL] = ["New", " York"]
    method, _, path = request_line.partition(" ")
    body = [b'{"prompt": "where"}'] if method == "POST" else []
    response = await worker(script_of(section))(method, path, headers=JSON, body=body)
    assert (response.status, response.text) == (200, answer)
    assert worker.reported == []


TODAY = datetime.date.today()


async def test_the_script_of_a_websocket(worker: Workers) -> None:
    app = worker.app(script_of("A WebSocket", "workers"), strict=True, compatibility_date=TODAY)
    async with served(app) as at, connect(f"ws://{at}/") as socket:
        for said in ("hello", "again"):
            await socket.send(said)
            assert await socket.recv() == said
    assert worker.reported == []


async def test_the_script_of_a_stream_on_its_way(worker: Workers) -> None:
    worker.fake.answers[MODEL] = ["New", " York"]
    app = worker.app(script_of("A stream on its way", "workers"), strict=True, compatibility_date=TODAY)
    response = await Client(app).get("/")
    assert (response.status, response.headers["content-type"]) == (200, "text/plain")
    assert response.chunks == [b"NEW", b" YORK"]
    assert worker.reported == []


async def test_the_example_of_fastapi() -> None:
    config = load_config(ROOT / "examples" / "fastapi")
    fake = FakeBinding({MODEL: ["New", " York"]}, as_of="2023-11-14")
    with import_path(config.root):
        client = Client(worker_app(config, fake))
        body = [b'{"prompt": "where is new york?"}']
        whole = await client("POST", "/ask", headers=JSON, body=body)
        assert json.loads(whole.text) == {"response": "New York"}
        assert (await client("POST", "/stream", headers=JSON, body=body)).text == EVENTS
        assert (await client("POST", "/ask", headers=JSON, body=[b'{"prompt": ""}'])).status == 422
    assert fake.calls[0].inputs == {"prompt": "where is new york?", "max_tokens": 256}
