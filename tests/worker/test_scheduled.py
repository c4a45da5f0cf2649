"""The scheduled handler of a script: how it is called, by hand, and what its end means."""

import datetime
import json
from typing import Any

import pytest

from tests.worker.asgi_client import Client
from tests.worker.conftest import Workers

FIRST = datetime.date(2025, 1, 1)
CLASSES = datetime.date(2025, 8, 14)
EXTERNAL = datetime.date(2026, 6, 1)

BY_HAND = "/cdn-cgi/handler/scheduled"


def scheduled(worker: Workers, body: str, *, date: datetime.date = EXTERNAL, **changes: Any) -> Client:
    lines = "\n".join(f"        {line}" for line in body.strip().splitlines())
    script = f"""
import asyncio
from workers import Response, WorkerEntrypoint

seen = []

class Default(WorkerEntrypoint):
    async def scheduled(self, controller, env, ctx):
{lines}

    async def fetch(self, request):
        return Response(repr(seen))
"""
    return worker(script, compatibility_date=date, **changes)


@pytest.mark.parametrize("path", [BY_HAND, "/cdn-cgi/local/scheduled"])
@pytest.mark.parametrize("date", [CLASSES, EXTERNAL])
async def test_the_handler_runs_by_hand(worker: Workers, path: str, date: datetime.date) -> None:
    body = "seen.append((controller.cron, controller.scheduledTime, env, ctx, self.env.GREETING))"
    client = scheduled(worker, body, date=date, vars={"GREETING": "hey"})
    done = await client.get(f"{path}?cron=*%2F5+*+*+*+*&time=1790000100000")
    assert (done.status, done.text, done.headers["content-type"]) == (200, "ok", "text/plain;charset=UTF-8")
    assert (await client.get("/")).text == "[('*/5 * * * *', 1790000100000, None, None, 'hey')]"


async def test_without_a_time_it_is_now_and_without_a_cron_none(worker: Workers) -> None:
    client = scheduled(worker, "seen.append((controller.cron, controller.scheduledTime > 1_790_000_000_000))")
    assert (await client("POST", BY_HAND)).text == "ok"
    assert (await client.get("/")).text == "[('', True)]"


async def test_the_answer_may_be_json(worker: Workers) -> None:
    client = scheduled(worker, "controller.noRetry()")
    done = await client.get(f"{BY_HAND}?format=json")
    assert done.headers["content-type"] == "application/json"
    assert json.loads(done.text) == {"outcome": "ok", "noRetry": True}


async def test_a_time_that_is_none_is_refused(worker: Workers) -> None:
    client = scheduled(worker, "seen.append(1)")
    done = await client.get(f"{BY_HAND}?time=noon")
    assert done.status == 500
    assert done.text.startswith("TypeError: The value cannot be converted because it is not a valid Date.")
    assert (await client.get("/")).text == "[]"


@pytest.mark.parametrize(
    "body",
    ["raise ValueError('boom')", "raise SystemExit(3)", "raise asyncio.CancelledError", "await self.env.NOTHING"],
)
async def test_what_it_raises_is_an_outcome_and_a_traceback(worker: Workers, body: str) -> None:
    client = scheduled(worker, body)
    done = await client.get(f"{BY_HAND}?format=json")
    assert (done.status, json.loads(done.text)["outcome"]) == (500, "exception")
    [trace] = worker.reported
    assert "entry.py" in trace
    assert (await client.get("/")).status == 200


async def test_waituntil_is_a_part_of_the_run(worker: Workers) -> None:
    body = """
async def later(fails):
    await asyncio.sleep(0.01)
    seen.append("later")
    if fails:
        raise ValueError("late")

self.ctx.waitUntil(later(controller.cron == "fail"))
"""
    client = scheduled(worker, body)
    assert (await client.get(f"{BY_HAND}?cron=x")).text == "ok"
    assert (await client.get("/")).text == "['later']"
    assert (await client.get(f"{BY_HAND}?cron=fail")).text == "exception"
    assert "ValueError: late" in worker.reported[0]


async def test_a_handler_with_fewer_arguments_runs_with_a_note(worker: Workers) -> None:
    script = """
        from workers import Response, WorkerEntrypoint

        class Default(WorkerEntrypoint):
            async def scheduled(self, controller):
                print("ran", controller.cron)

            async def fetch(self, request):
                return Response("fetch")
        """
    assert (await worker(script).get(BY_HAND)).text == "ok"
    problem = "TypeError: Default.scheduled() takes 2 positional arguments but 4 were given"
    assert any(problem in line for line in worker.logged)


@pytest.mark.parametrize("signature", ["event", "event, env", "event, env, ctx"])
async def test_a_function_of_the_module_is_the_first_generations_handler(worker: Workers, signature: str) -> None:
    script = f"""
        from js import Response

        seen = []

        async def on_scheduled({signature}):
            seen.append((event.cron, {"env.GREETING" if "env" in signature else "'hey'"}))

        async def on_fetch(request):
            return Response.new(repr(seen))
        """
    client = worker(script, compatibility_date=FIRST, vars={"GREETING": "hey"})
    assert (await client.get(f"{BY_HAND}?cron=now")).text == "ok"
    assert (await client.get("/")).text == "[('now', 'hey')]"


async def test_a_script_without_a_handler_says_so(worker: Workers) -> None:
    script = """
        from workers import Response, WorkerEntrypoint

        class Default(WorkerEntrypoint):
            async def fetch(self, request):
                return Response("fetch")
        """
    client = worker(script, crons=("* * * * *",))
    assert worker.logged == [
        "▲ [WARNING] triggers.crons is set, and the script has no scheduled handler: "
        "Handler does not export a scheduled() function."
    ]
    assert (await client.get(BY_HAND)).text == "exception"
    assert "Handler does not export a scheduled() function." in worker.reported[0]


async def test_a_script_may_have_nothing_but_the_handler(worker: Workers) -> None:
    script = """
        from workers import WorkerEntrypoint

        class Default(WorkerEntrypoint):
            def scheduled(self, controller, env, ctx):
                print("ran")
        """
    client = worker(script)
    assert (await client.get(BY_HAND)).text == "ok"
    answer = await client.get("/")
    assert (answer.status, "Method fetch does not exist" in answer.text) == (500, True)


async def test_a_script_that_cannot_be_imported_has_the_outcome_exception(worker: Workers) -> None:
    assert (await worker("import nothing_of_that_name").get(BY_HAND)).text == "exception"


async def test_other_handlers_are_named(worker: Workers) -> None:
    answer = await scheduled(worker, "pass").get("/cdn-cgi/handler/schedule")
    assert answer.status == 404
    assert answer.text == (
        '"/cdn-cgi/handler/schedule" is not a valid handler. '
        'Did you mean to use "/cdn-cgi/handler/scheduled" or "/cdn-cgi/handler/email"?'
    )
    assert (await scheduled(worker, "pass").get("/cdn-cgi/handler/email")).status == 501


async def test_the_path_of_test_scheduled(worker: Workers) -> None:
    client = scheduled(worker, "seen.append(controller.cron)\nif controller.cron == 'x': raise ValueError('boom')")
    assert (await client.get("/__scheduled?cron=a")).text == "[]"
    client = Client(worker.app((worker.folder / "entry.py").read_text(), test_scheduled=True))
    done = await client.get("/__scheduled?cron=a")
    assert (done.status, done.text) == (200, "Ran scheduled event")
    failed = await client.get("/__scheduled?cron=x")
    assert (failed.status, "ValueError: boom" in failed.text) == (500, True)
    assert (await client.get("/")).text == "['a', 'x']"
