"""`env.AI` as scripts use it: promises, options, streams, the binding's other methods."""

import asyncio
import datetime
import json
from typing import Any

import pytest

from cfai.binding import Call
from cfai.testing import virtual_time_backend
from tests.worker.conftest import Workers

MODEL = "@cf/meta/llama"


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Time passes where nothing is left to do: however slow the machine, what was begun is done after a sleep."""
    return virtual_time_backend()


async def answer(worker: Workers, body: str, date: datetime.date = datetime.date(2025, 11, 2)) -> Any:
    indented = "\n".join(f"        {line}" for line in body.strip().splitlines())
    client = worker(
        f"""
import asyncio, json
import js
from js import Object
from pyodide.ffi import JsException, create_proxy, to_js
from workers import Response, WorkerEntrypoint

def obj(value):
    return to_js(value, dict_converter=Object.fromEntries)

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        env = self.env
{indented}
        return Response(json.dumps(out))
""",
        compatibility_date=date,
    )
    response = await client.get("/")
    assert response.status == 200, response.text
    return json.loads(response.text)


async def test_run_is_a_promise(worker: Workers) -> None:
    worker.fake.answers[MODEL] = "hello"
    got = await answer(
        worker,
        f"""
first = env.AI.run({MODEL!r}, obj({{"prompt": "1"}}))
second = env.AI.run({MODEL!r}, obj({{"prompt": "2"}})).then(lambda r: r.response + "!")
third = await env.AI.run("@cf/none").catch(lambda error: "caught")
both = await asyncio.gather(first, second)
again = await first
out = [both[0].response, both[1], third, again.response]
""",
    )
    assert got == ["hello", "hello!", "caught", "hello"]


async def test_run_begins_at_once(worker: Workers) -> None:
    order: list[str] = []

    async def slowly(call: Call) -> dict[str, Any]:
        order.append(call.inputs["prompt"])
        await asyncio.sleep(0.01)
        return {"response": "x"}

    worker.fake.answers[MODEL] = slowly
    await answer(
        worker,
        f"""
a, b = (env.AI.run({MODEL!r}, obj({{"prompt": name}})) for name in "ab")
await asyncio.sleep(0)
await b
await a
out = None
""",
    )
    assert order == ["a", "b"]


async def test_a_run_that_nobody_awaits_ends_with_the_request(worker: Workers) -> None:
    ended: list[str] = []

    async def long(call: Call) -> dict[str, Any]:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise
        return {"response": "x"}

    worker.fake.answers[MODEL] = long
    await answer(worker, f'env.AI.run({MODEL!r}, obj({{"prompt": "x"}}))\nawait asyncio.sleep(0.01)\nout = None')
    assert ended == ["cancelled"]
    assert worker.reported == []


async def test_the_signal_of_a_run(worker: Workers) -> None:
    async def long(call: Call) -> dict[str, Any]:
        await asyncio.sleep(60)
        return {"response": "x"}

    worker.fake.answers[MODEL] = long
    got = await answer(
        worker,
        f"""
controller = js.AbortController.new()
run = env.AI.run({MODEL!r}, obj({{"prompt": "x"}}), signal=controller.signal)
await asyncio.sleep(0.01)
controller.abort()
try:
    await run
except JsException as error:
    out = error.name
""",
    )
    assert got == "AbortError"


@pytest.mark.parametrize("date", [datetime.date(2025, 11, 2), datetime.date(2026, 6, 1)])
async def test_options(worker: Workers, date: datetime.date) -> None:
    worker.fake.answers[MODEL] = "hello"
    got = await answer(
        worker,
        f"""
raw = await env.AI.run({MODEL!r}, obj({{"prompt": "x"}}), obj({{"returnRawResponse": True}}))
options = {{"extraHeaders": obj({{"x-a": "b"}}), "gateway": obj({{"id": "g"}})}}
named = await env.AI.run({MODEL!r}, obj({{"prompt": "x"}}), **options)
out = [raw.status, await raw.text(), named.response]
""",
        date,
    )
    assert got == [200, '{"response":"hello"}', "hello"]
    assert worker.fake.calls[1].headers == {"x-a": "b"}
    assert worker.fake.calls[1].options == {"gateway": {"id": "g"}}


async def test_an_undefined_input_is_left_out_and_null_is_kept_by_the_external_sdk(worker: Workers) -> None:
    worker.fake.answers[MODEL] = "hello"
    call = f'await env.AI.run({MODEL!r}, {{"prompt": "x", "lora": None}})\nout = None'
    await answer(worker, call)
    await answer(worker, call, datetime.date(2026, 6, 1))
    assert [one.inputs for one in worker.fake.calls] == [{"prompt": "x"}, {"prompt": "x", "lora": None}]


async def test_numbers_and_nulls_of_a_result(worker: Workers) -> None:
    worker.fake.answers[MODEL] = {"whole": 2.0, "part": 0.5, "large": 2**53 + 2, "none": None}
    read = "out = [repr(value) for value in (r.whole, r.part, r.large, r.none)]"
    body = f"r = await env.AI.run({MODEL!r})\n{read}"
    assert await answer(worker, body) == ["2", "0.5", "9007199254740994.0", "jsnull"]
    assert await answer(worker, body, datetime.date(2025, 9, 1)) == ["2", "0.5", "9007199254740994.0", "None"]


async def test_what_is_not_simulated(worker: Workers) -> None:
    got = await answer(
        worker,
        """
out = []
for ask in (lambda: env.AI.gateway("g"), lambda: env.AI.toMarkdown(to_js([])), lambda: env.AI.autorag("a"),
            lambda: env.AI.aiSearch(), lambda: env.AI.run("@cf/x", websocket=True, prompt="x")):
    try:
        ask()
    except NotImplementedError as error:
        out.append(str(error).partition(":")[0])
""",
    )
    assert got == ["gateway('g')", "toMarkdown", "autorag('a')", "aiSearch('')"]


async def test_the_models_of_the_binding(worker: Workers) -> None:
    worker.fake.answers[MODEL] = "hello"
    assert await answer(worker, "out = [m.name for m in await env.AI.models()]") == [MODEL]


async def test_asking_while_the_script_is_imported(worker: Workers) -> None:
    worker.app("from workers import env\nenv.AI.run('@cf/x', prompt='hi')\ndef on_fetch(request): ...")
    assert "Disallowed operation called within global scope" in worker.reported[0]
