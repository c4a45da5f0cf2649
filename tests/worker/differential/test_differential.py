"""The same scripts on Pyodide with Cloudflare's SDK and on cfai."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest

from cfai import FakeBinding
from cfai.binding import Call
from cfai.errors import NoSuchModel
from tests.clients.node import needs_node
from tests.worker.asgi_client import Client
from tests.worker.conftest import Workers
from tests.worker.differential.case import ANSWERS, VARS, Case, compared
from tests.worker.differential.cases import CASES
from tests.worker.differential.generations import GENERATIONS, Generation, on_cloudflare
from tests.worker.differential.known import known

OnCloudflare = Callable[[Generation, Case], dict[str, str]]


@pytest.fixture(scope="session")
def cloudflare(tmp_path_factory: pytest.TempPathFactory) -> OnCloudflare:
    """What a case answers on Cloudflare. Each generation is started once, for all of its cases."""
    ran: dict[Generation, dict[str, Any]] = {}

    def answer(generation: Generation, case: Case) -> dict[str, str]:
        if generation not in ran:
            cases = [one for one in CASES if one.when(generation)]
            ran[generation] = on_cloudflare(generation, cases, tmp_path_factory.mktemp("cloudflare"))
        return compared(case, ran[generation][case.name])

    return answer


@pytest.fixture
def fake() -> FakeBinding:
    def echo(call: Call) -> dict[str, Any]:
        return {"inputs": call.inputs}

    answers: dict[str, Any] = {}
    for model, answer in ANSWERS.items():
        answers[model] = answer.get("json") or echo
    answers |= {"@cf/stream": ["New", " York"], "@cf/none": NoSuchModel("@cf/none")}
    return FakeBinding(answers, as_of="2023-11-14")


PAIRS = [
    pytest.param(generation, case, id=f"{generation}-{case.name}")
    for generation in GENERATIONS
    for case in CASES
    if case.when(generation)
]


@needs_node
@pytest.mark.timeout(400)
# Scripts here leave work undone, as scripts do.
@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(("generation", "case"), PAIRS)
async def test_a_script_answers_as_on_cloudflare(
    worker: Workers, cloudflare: OnCloudflare, fake: FakeBinding, generation: Generation, case: Case
) -> None:
    theirs = cloudflare(generation, case)
    differing: dict[str, str] = {}
    for strict in (True, False):
        app = worker.app(
            case.script,
            ai=fake,
            strict=strict,
            ai_binding="AI",
            vars=VARS,
            compatibility_date=generation.date,
            compatibility_flags=("python_workers", *generation.flags),
        )
        ours = compared(case, await _answer(Client(app), case))
        for what in theirs.keys() | ours.keys():
            # Without --strict-compat, what is refused there may work here.
            if theirs.get(what) != ours.get(what) and (strict or not _is_refused(theirs, what)):
                differing[what] = f"{what}\n  Cloudflare: {theirs.get(what)}\n  here:       {ours.get(what)}"
    expected = known(generation, case.name)
    news = [differing[what] for what in differing if what not in expected]
    assert not news, "\n".join(["", *news])
    mended = [what for what in expected if what not in differing]
    assert not mended, f"no longer different, so no longer to be listed in known.py: {mended}"


def _is_refused(answers: dict[str, str], what: str) -> bool:
    return "error" in answers or answers.get(what, "").startswith("raises ")


async def _answer(client: Client, case: Case) -> dict[str, Any]:
    body = [] if case.body is None else [case.body]
    async with client.request(case.method, case.path, headers=case.lines, body=body) as exchange:
        whole = b"".join(await exchange.rest())
    if exchange.status == 500 and whole.startswith(b"PythonError: "):
        return {"error": whole.decode().removeprefix("PythonError: ")}
    return {
        "status": exchange.status,
        "headers": exchange.lines,
        "body": base64.b64encode(whole).decode(),
    }
