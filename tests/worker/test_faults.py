"""Faults behind a Worker: each call of env.AI made while a request is answered meets them, down to the bytes."""

from __future__ import annotations

import pytest

from cfai import FakeBinding, sse
from cfai.worker.faults import WorkerFaults
from tests.worker.asgi_client import Client, Whole
from tests.worker.conftest import Workers

MODEL = "@cf/meta/llama-2-7b-chat-int8"
PIECES = ["New", " York"]
EVENTS = [*(sse.encode({"response": piece}) for piece in PIECES), sse.DONE]
SCRIPT = f"""
    import asyncio, json
    from workers import Response, WorkerEntrypoint

    MODEL = "{MODEL}"

    class Default(WorkerEntrypoint):
        async def fetch(self, request):
            path = request.url.rpartition("/")[2]
            return await getattr(self, path)()

        async def stream(self):
            stream = await self.env.AI.run(MODEL, {{"prompt": "hi", "stream": True}})
            return Response(stream, headers={{"content-type": "text/event-stream"}})

        async def three(self):
            calls = [asyncio.create_task(self.told()) for _ in range(3)]
            return Response(json.dumps(await asyncio.gather(*calls)))

        async def told(self):
            try:
                return (await self.env.AI.run(MODEL, {{"prompt": "hi"}})).response
            except Exception as error:
                return str(error)

        async def own(self):
            headers = {{"X-Cfai-Faults": "timeout"}}
            answer = await self.env.AI.run(MODEL, {{"prompt": "hi"}}, {{"extraHeaders": headers}})
            return Response(answer.response)

        async def kind(self):
            answer = await self.env.AI.run(MODEL, {{"prompt": "hi"}})
            return Response(type(answer).__name__ + " " + await Response(answer).text())
    """


class Faulty:
    """A Worker with faults."""

    def __init__(self, worker: Workers, text: str) -> None:
        self.fake = FakeBinding({MODEL: PIECES}, as_of="2023-11-14")  # nothing but the pieces
        self.told: list[str] = []
        faults = WorkerFaults(text, tell=self.told.append)
        self._client = Client(faults.asked_of(worker.app(SCRIPT, ai=faults.ai(self.fake))))

    async def __call__(self, path: str, **headers: str) -> Whole:
        return await self._client(
            "GET", path, headers=[(name.replace("_", "-"), value) for name, value in headers.items()]
        )


async def test_a_request_asks_for_what_its_calls_meet(worker: Workers) -> None:
    faulty = Faulty(worker, "none")
    assert (await faulty("/three")).text == '["New York", "New York", "New York"]'
    refused = (await faulty("/three", x_cfai_faults="capacity:2")).text
    assert refused.count("Capacity temporarily exceeded") == 2
    assert refused.count("New York") == 1
    assert faulty.told[0] == f"▲ [FAULT] GET /three, call 1, {MODEL}: capacity:2: refused with 3040"


async def test_the_workers_own_faults_count_on_from_request_to_request(worker: Workers) -> None:
    faulty = Faulty(worker, "capacity:4")
    assert (await faulty("/three")).text.count("Capacity") == 3
    assert (await faulty("/three", x_cfai_faults="none")).text.count("Capacity") == 0
    assert (await faulty("/three")).text.count("Capacity") == 1


@pytest.mark.parametrize(
    ("fault", "chunks"),
    [
        ("split-bytes", [bytes([byte]) for byte in b"".join(EVENTS)]),
        ("merge:3", [b"".join(EVENTS)]),
        ("two-dones", [*EVENTS, sse.DONE]),
        ("no-done", EVENTS[:-1]),
    ],
)
async def test_chunks_and_ends_are_those_of_the_fault(worker: Workers, fault: str, chunks: list[bytes]) -> None:
    response = await Faulty(worker, "none")("/stream", x_cfai_faults=fault)
    assert response.chunks == chunks
    assert response.ended


async def test_a_drop_cuts_the_workers_own_response(worker: Workers) -> None:
    response = await Faulty(worker, "drop:1")("/stream")
    assert response.chunks == EVENTS[:1]
    assert not response.ended


async def test_a_run_may_ask_for_itself(worker: Workers) -> None:
    faulty = Faulty(worker, "none")
    response = await faulty("/own")
    assert response.status == 500
    assert "3007: Request timeout" in response.text
    assert faulty.fake.calls == []


async def test_json_of_another_content_type_is_a_stream_as_env_ai_has_it(worker: Workers) -> None:
    response = await Faulty(worker, "content-type")("/kind")
    assert response.text == 'ReadableStream {"response":"New York"}'


async def test_what_no_fault_is_called_is_refused_in_front_of_the_script(worker: Workers) -> None:
    faulty = Faulty(worker, "none")
    response = await faulty("/stream", x_cfai_faults="dropp")
    assert response.status == 400
    assert "no fault is called 'dropp'; did you mean 'drop'" in response.text
    assert faulty.fake.calls == []
