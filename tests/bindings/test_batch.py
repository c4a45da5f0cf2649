"""Batches: handed in, answered beside other calls, fetched later."""

from __future__ import annotations

from typing import Any

import anyio
import httpx2
import pytest

from cfai import AiError, Call, FakeBinding
from cfai.bindings.batch import BatchBinding
from cfai.clock import VirtualClock
from cfai.errors import BadInput, OutOfCapacity
from cfai.server.app import rest_app
from tests.serving import serving
from tests.waiting import until

MODEL = "@cf/meta/llama-3.3-70b-instruct-fp8-fast"
QUEUE = {"queueRequest": True}


async def queued(batches: BatchBinding, requests: Any, **options: Any) -> str:
    reply = await batches.send(Call(MODEL, {"requests": requests}, {**QUEUE, **options}))
    assert reply.error is None, reply.body
    assert list(reply.body) == ["status", "request_id", "model"]
    assert (reply.body["status"], reply.body["model"]) == ("queued", MODEL)
    return str(reply.body["request_id"])


async def state(batches: BatchBinding, request_id: str, model: str = MODEL) -> Any:
    return (await batches.send(Call(model, {"request_id": request_id}))).body


async def finished(batches: BatchBinding, request_id: str) -> Any:
    with anyio.fail_after(20):
        while "responses" not in (body := await state(batches, request_id)):  # noqa: ASYNC110  # as a client has to
            await anyio.sleep(0.01)
    return body


async def test_a_batch_is_answered_in_its_order() -> None:
    def answer(call: Call) -> Any:
        if call.inputs["prompt"] == "bad":
            return BadInput("no such thing")
        usage = {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}
        return {"response": call.inputs["prompt"].upper(), "usage": usage}

    fake = FakeBinding({MODEL: answer})
    batches = BatchBinding(fake)
    requests = [{"prompt": "a", "external_reference": "first"}, {"prompt": "bad"}, {"prompt": "c", "stream": True}]
    request_id = await queued(batches, requests, tags=["t"])
    body = await finished(batches, request_id)
    usage = {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}
    assert body == {
        "responses": [
            {"id": 0, "result": {"response": "A", "usage": usage}, "success": True, "external_reference": "first"},
            {
                "id": 1,
                "result": {},
                "success": False,
                "errors": [{"code": 5006, "message": "Error: no such thing"}],
            },
            {"id": 2, "result": {"response": "C", "usage": usage}, "success": True},
        ],
        "usage": {"prompt_tokens": 4, "completion_tokens": 6, "total_tokens": 10},
    }
    assert body == await state(batches, request_id), "it can be fetched again"
    assert [call.inputs for call in fake.calls] == [{"prompt": "a"}, {"prompt": "bad"}, {"prompt": "c"}]
    assert [call.options for call in fake.calls] == [{"tags": ["t"]}] * 3
    await batches.aclose()


async def test_a_batch_tells_how_far_it_is_and_others_pass_it() -> None:
    go = anyio.Event()
    running = 0

    async def answer(call: Call) -> dict[str, Any]:
        nonlocal running
        if call.inputs["prompt"] == "urgent":
            return {"response": "now"}
        running += 1
        await go.wait()
        return {"response": "done"}

    batches = BatchBinding(FakeBinding({MODEL: answer}))
    request_id = await queued(batches, [{"prompt": "x"}] * 20)
    await until(lambda: running > 0)
    assert await state(batches, request_id) in ({"status": "queued"}, {"status": "running"})
    assert (await batches.send(Call(MODEL, {"prompt": "urgent"}))).body == {"response": "now"}
    assert running < 10, "a batch does not take all the room"
    go.set()
    assert len((await finished(batches, request_id))["responses"]) == 20
    await batches.aclose()


async def test_a_batch_waits_while_the_model_is_busy() -> None:
    refusals = [OutOfCapacity(), OutOfCapacity()]

    def answer(call: Call) -> Any:
        return refusals.pop() if refusals else "hi"

    batches = BatchBinding(FakeBinding({MODEL: answer}, as_of="2023-11-14"))
    body = await finished(batches, await queued(batches, [{"prompt": "x"}], rejectIfBusy=True))
    assert body["responses"] == [{"id": 0, "result": {"response": "hi"}, "success": True}]
    assert not refusals
    await batches.aclose()


@pytest.mark.parametrize(
    ("inputs", "problem"),
    [
        ({"prompt": "hi"}, "Error: required properties at '/' are 'requests'"),
        ({"requests": []}, "Error: Length of '/requests' must be >= 1 not met"),
        ({"requests": [{"prompt": "a"}, "b"]}, "Error: Type mismatch of '/requests/1', 'object' not in 'string'"),
        ([], "Error: required properties at '/' are 'requests'"),
        ({"request_id": "nothing"}, f"Error: '/request_id' 'nothing' is no batch of {MODEL}"),
    ],
)
async def test_what_is_no_batch_is_refused(inputs: Any, problem: str) -> None:
    reply = await BatchBinding(FakeBinding()).send(Call(MODEL, inputs, QUEUE))
    assert isinstance(reply.error, AiError)
    assert (reply.error.code, reply.error.description) == (5006, problem)


async def test_a_batch_belongs_to_its_model() -> None:
    batches = BatchBinding(FakeBinding({MODEL: "hi"}))
    request_id = await queued(batches, [{"prompt": "x"}])
    assert (await batches.send(Call("@cf/x/y", {"request_id": request_id}))).status == 400
    await finished(batches, request_id)
    await batches.aclose()


async def test_batches_have_bounds_in_time_and_memory() -> None:
    clock = VirtualClock()
    batches = BatchBinding(FakeBinding({MODEL: "x" * 1000}), keep_seconds=600, most_bytes=5000, clock=clock)
    request_id = await queued(batches, [{"prompt": "x"}])
    await finished(batches, request_id)
    await clock.sleep(601)
    assert (await batches.send(Call(MODEL, {"request_id": request_id}))).status == 400
    await batches.aclose()

    go = anyio.Event()

    async def slow(call: Call) -> str:
        await go.wait()
        return "x" * 4000

    batches = BatchBinding(FakeBinding({MODEL: slow}), most_bytes=5000)
    first = await queued(batches, [{"prompt": "y" * 3000}])
    full = await batches.send(Call(MODEL, {"requests": [{"prompt": "z" * 3000}]}, QUEUE))
    assert (full.status, full.error and full.error.code) == (429, 3040)
    go.set()
    (row,) = (await finished(batches, first))["responses"]
    assert row["errors"][0]["code"] == 8500, "an answer too large for the memory there is"
    await queued(batches, [{"prompt": "z" * 3000}])
    assert (await batches.send(Call(MODEL, {"request_id": first}))).status == 400, "the oldest finished one made room"
    await batches.aclose()


async def test_the_end_ends_what_runs() -> None:
    ended = 0

    async def endless(call: Call) -> str:
        nonlocal ended
        try:
            await anyio.sleep_forever()
        finally:
            ended += 1
        return ""

    fake = FakeBinding({MODEL: endless})
    batches = BatchBinding(fake)
    await queued(batches, [{"prompt": "x"}] * 9)
    await until(lambda: len(fake.calls) > 0)
    await batches.aclose()
    assert ended == len(fake.calls)


async def test_over_rest() -> None:
    run = f"/client/v4/accounts/acc/ai/run/{MODEL}"
    fake = FakeBinding({MODEL: "hi"}, as_of="2023-11-14")
    async with serving(rest_app(fake)) as address, httpx2.AsyncClient(base_url=address) as client:
        queued = (await client.post(f"{run}?queueRequest=true", json={"requests": [{"prompt": "a"}]})).json()
        assert (queued["success"], queued["result"]["status"]) == (True, "queued")
        ask = {"request_id": queued["result"]["request_id"]}
        body: dict[str, Any] = {}
        with anyio.fail_after(20):
            while "responses" not in body:
                body = (await client.post(f"{run}?queueRequest=true", json=ask)).json()["result"]
        assert body["responses"] == [{"id": 0, "result": {"response": "hi"}, "success": True}]
        assert (await client.post(run, json=ask)).json()["result"] == body, "also without the query"
