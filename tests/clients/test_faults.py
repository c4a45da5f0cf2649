"""What real clients report of each fault: packages of PyPI and npm against `cfai serve --faults`, and an EventSource in
Chromium against a Worker in `cfai dev --faults`.

The table below is the one in docs/testing.md.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from cloudflare import Cloudflare
from openai import OpenAI
from playwright.sync_api import Route, sync_playwright

from tests.clients.node import HERE, installed, needs_node, tell
from tests.processes import Process

MODEL = "@cf/meta/llama-2-7b-chat-int8"
PIECES = ["New", " York", " größer", " ", "42"]
PROMPT = "where is new york?"
MESSAGES = [{"role": "user", "content": PROMPT}]

CLIENTS = ("openai", "cloudflare", "workers-ai-provider", "fetch", "EventSource")
WHOLE = ("whole",) * 5
TABLE: dict[str, tuple[str, ...]] = {
    "capacity:2": ("whole, request 3", "whole, request 3", "whole, request 3", "HTTP 429", "closed"),
    "rate-limit:1": ("whole, request 2", "whole, request 2", "whole, request 2", "HTTP 429", "closed"),
    "daily-neurons": (
        "RateLimitError 429, request 3",
        "RateLimitError 429, request 3",
        "AI_RetryError 429, request 3",
        "HTTP 429",
        "closed",
    ),
    "timeout:1": ("whole, request 2", "whole, request 2", "whole, request 2", "HTTP 408", "closed"),
    "timeout-in-stream:2": ("`New`, APIError", "`New York`, 3007", "`New York`", "`New York`", "`New York`, 3007"),
    "stall:2": (
        "`New`, APITimeoutError",
        "`New York`, ReadTimeout",
        "`New York`, TimeoutError",
        "`New York`, TimeoutError",
        "`New York`, open",
    ),
    "drop:2": (
        "`New`, APIConnectionError",
        "`New York`, RemoteProtocolError",
        "`New York`, TypeError",
        "`New York`, TypeError",
        "`New York`, asks again: `New York`",
    ),
    "split-bytes": WHOLE,
    "merge:3": WHOLE,
    "split-character": WHOLE,
    "no-done": ("whole", "whole", "whole, finish `error`", "whole", "whole, asks again: whole"),
    "two-dones": WHOLE,
    "json-for-stream": ("nothing", "nothing", "whole, request 2", "nothing", "closed"),
    "number-response": ("whole", "whole, an int", "whole", "whole", "whole"),
    "null-finaliser": ("whole", "whole, None", "whole", "whole, undefined", "whole, undefined"),
    "content-type": ("whole", "whole", "whole", "whole", "closed"),
    "slow-reader:0.05": WHOLE,
}


@dataclass
class Outcome:
    """What a client's caller has in the end."""

    text: str = ""
    error: str = ""
    status: int | None = None
    requests: int = 1
    remark: str = ""

    def __str__(self) -> str:
        failed = " ".join(filter(None, (self.error, str(self.status or ""))))
        ended = [failed, self.remark, f"request {self.requests}" if self.requests > 1 else ""]
        text = _shown(self.text)
        begun = [] if text == "nothing" and any(ended) else [text]
        return ", ".join(filter(None, [*begun, *ended]))


def _shown(text: str) -> str:
    return {"": "nothing", "".join(PIECES): "whole"}.get(text, f"`{text}`")


# Python


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("faults") / "answers.json"
    file.write_text(json.dumps({MODEL: PIECES}))
    return file


def fake(answers: Path, faults: str) -> list[str]:
    at_once = ("--first-piece-after", "0", "--between-pieces", "0")
    return ["--fake", "--answers", str(answers), *at_once, "--faults", faults, "--port", "0"]


@pytest.fixture(scope="module")
def server(answers: Path) -> Iterator[str]:
    with Process("serve", *fake(answers, "none")) as process:
        yield process.read_until("cfai listens on").split()[-1]


class Counted(httpx.Client):
    """Counts its requests."""

    def __init__(self) -> None:
        super().__init__(event_hooks={"request": [self._count]})
        self.requests = 0

    def _count(self, request: httpx.Request) -> None:
        self.requests += 1


def met(read: Callable[[Counted, Outcome], None]) -> Outcome:
    """The outcome that `read` fills in with a client of its own."""
    outcome = Outcome()
    with Counted() as counted:
        try:
            read(counted, outcome)
        except Exception as error:
            outcome.error = type(error).__name__
            outcome.status = getattr(error, "status_code", None)
        outcome.requests = counted.requests
    return outcome


def patience(fault: str) -> float:
    return 5.0 if fault.startswith("stall") else 30.0


def with_openai(server: str, fault: str) -> Outcome:
    def read(counted: Counted, outcome: Outcome) -> None:
        client = OpenAI(
            api_key="any",
            base_url=f"{server}/v1",
            timeout=patience(fault),
            default_headers={"x-cfai-faults": fault},
            http_client=counted,
        )
        for chunk in client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True):
            for choice in chunk.choices:
                outcome.text += choice.delta.content or ""

    return met(read)


def with_cloudflare(server: str, fault: str) -> Outcome:
    def read(counted: Counted, outcome: Outcome) -> None:
        client = Cloudflare(
            api_token="any",
            base_url=f"{server}/client/v4",
            timeout=patience(fault),
            default_headers={"x-cfai-faults": fault},
            http_client=counted,
        )
        streamed = client.ai.with_streaming_response
        with streamed.run(MODEL, account_id="acc", prompt=PROMPT, extra_body={"stream": True}) as response:
            for line in response.iter_lines():
                if line.startswith("data: {"):
                    take(json.loads(line.removeprefix("data: ")), outcome)

    def take(event: dict[str, Any], outcome: Outcome) -> None:
        piece = event.get("response")
        if "errors" in event:
            outcome.remark = str(event["errors"][0]["code"])
        elif isinstance(piece, str):
            outcome.text += piece
        else:
            outcome.text += "" if piece is None else str(piece)
            outcome.remark = "None" if piece is None else f"an {type(piece).__name__}"

    return met(read)


@pytest.mark.parametrize("fault", TABLE)
@pytest.mark.parametrize(("client", "read"), [("openai", with_openai), ("cloudflare", with_cloudflare)])
def test_python(server: str, client: str, read: Callable[[str, str], Outcome], fault: str) -> None:
    assert str(read(server, fault)) == TABLE[fault][CLIENTS.index(client)]


@pytest.mark.parametrize("fault", ["drop:times=1", "stall:times=1"])
def test_an_answer_in_one_piece_that_is_lost_is_asked_for_again(server: str, fault: str) -> None:
    def of_openai(counted: Counted, outcome: Outcome) -> None:
        client = OpenAI(
            api_key="any",
            base_url=f"{server}/v1",
            timeout=5,
            default_headers={"x-cfai-faults": fault},
            http_client=counted,
        )
        answer = client.chat.completions.create(model=MODEL, messages=MESSAGES)
        outcome.text = str(answer.choices[0].message.content)

    def of_cloudflare(counted: Counted, outcome: Outcome) -> None:
        client = Cloudflare(
            api_token="any",
            base_url=f"{server}/client/v4",
            timeout=5,
            default_headers={"x-cfai-faults": fault},
            http_client=counted,
        )
        answer = client.ai.run(MODEL, account_id="acc", prompt=PROMPT)
        assert isinstance(answer, dict)
        outcome.text = answer["response"]

    assert str(met(of_openai)) == str(met(of_cloudflare)) == "whole, request 2"


def test_the_third_try_of_a_client_that_knows_nothing_of_faults_succeeds(answers: Path) -> None:
    with Process("serve", *fake(answers, "capacity:2")) as process:
        begun = process.lines_until("cfai listens on")
        assert "warning: faults are on: calls meet capacity:2, or what their request's header" in begun
        with OpenAI(api_key="any", base_url=f"{begun.split()[-1]}/v1") as client:
            answer = client.chat.completions.create(model=MODEL, messages=MESSAGES)
        assert answer.choices[0].message.content == "".join(PIECES)
        process.end(signal.SIGINT)
    told = [line.partition("fault in ")[2] for line in process.rest.splitlines() if "fault in" in line]
    asked = f"POST /v1/chat/completions, call %d, {MODEL}: capacity:2: refused with 3040"
    assert told == [asked % 1, asked % 2]
    assert process.rest.count("POST /v1/chat/completions 200") == 1


# Node


@pytest.fixture(scope="module")
def in_node(server: str) -> dict[str, dict[str, Outcome]]:
    installed(HERE)
    return {who: {one["fault"]: _of_node(one) for one in _told(server, who)} for who in ("provider", "fetch")}


def _told(server: str, who: str) -> Iterable[dict[str, Any]]:
    return tell(HERE / "javascript" / "faults.mjs", server, "any", who, *TABLE)


def _of_node(told: dict[str, Any]) -> Outcome:
    finish = told.get("finish", "stop")
    outcome = Outcome(told["text"], told.get("error", ""), told.get("status"), told["requests"])
    if finish != "stop":
        outcome.remark = f"finish `{finish}`"
    return _without_undefined(outcome)


def _without_undefined(outcome: Outcome) -> Outcome:
    if outcome.text.endswith("undefined"):
        outcome.text, outcome.remark = outcome.text.removesuffix("undefined"), "undefined"
    return outcome


@needs_node
@pytest.mark.timeout(400)
@pytest.mark.parametrize("fault", TABLE)
@pytest.mark.parametrize(("client", "who"), [("workers-ai-provider", "provider"), ("fetch", "fetch")])
def test_node(in_node: dict[str, dict[str, Outcome]], client: str, who: str, fault: str) -> None:
    assert str(in_node[who][fault]) == TABLE[fault][CLIENTS.index(client)]


@needs_node
@pytest.mark.timeout(400)
def test_a_javascript_worker_sends_the_header_along(server: str) -> None:
    installed(HERE)
    [error] = tell(HERE / "javascript" / "miniflare.mjs", server, "any", "fault", "proxy")
    assert error == {"name": "AiError", "message": "3040: Capacity temporarily exceeded, please try again."}


# Chromium

SCRIPT = f"""
from workers import Response, WorkerEntrypoint

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        if "/chat" not in request.url:
            return Response("<!doctype html>", headers={{"content-type": "text/html"}})
        inputs = {{"prompt": "{PROMPT}", "stream": True}}
        return await self.env.AI.run("{MODEL}", inputs, {{"returnRawResponse": True}})
"""

# Chromium waits for three seconds before an EventSource asks again.
READ = """
(faults) => Promise.all(faults.map((fault) => new Promise((resolve) => {
  const seen = { texts: [], error: null };
  const source = new EventSource(`/chat?fault=${fault}`);
  const end = (how) => { source.close(); resolve([fault, { ...seen, how }]) };
  source.onopen = () => { seen.texts.push(""); setTimeout(end, 20000, "open") };
  source.onmessage = ({ data }) => {
    if (data === "[DONE]") return end("done");
    const { response, errors } = JSON.parse(data);
    if (errors) seen.error = errors[0].code;
    seen.texts[seen.texts.length - 1] += response;
  };
  source.onerror = () => {
    if (source.readyState === EventSource.CLOSED) end("closed");
    else if (seen.texts.length === 2) end("asks again");
  };
})))
"""


@pytest.fixture(scope="module")
def in_chromium(answers: Path) -> dict[str, str]:
    browser_path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser_path is None and "CI" not in os.environ:
        pytest.skip("no Chromium on this machine")
    project = answers.parent / "chat"
    project.mkdir()
    (project / "entry.py").write_text(SCRIPT)
    config = {"main": "entry.py", "compatibility_date": "2026-01-01", "compatibility_flags": ["python_workers"]}
    (project / "wrangler.json").write_text(json.dumps({**config, "name": "chat", "ai": {"binding": "AI"}}))

    def ask_for_the_fault(route: Route) -> None:
        [fault] = parse_qs(urlsplit(route.request.url).query)["fault"]
        route.continue_(headers={**route.request.headers, "x-cfai-faults": fault})

    with Process("dev", str(project), *fake(answers, "none")) as process, sync_playwright() as playwright:
        address = process.read_until("[wrangler:info] Ready on").split()[-1]
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.route("**/chat?*", ask_for_the_fault)
        page.goto(address)
        seen = dict(page.evaluate(READ, [*TABLE]))
        browser.close()
    return {fault: _of_page(**told) for fault, told in seen.items()}


def _of_page(texts: list[str], error: int | None, how: str) -> str:
    if how == "asks again":
        first, second = map(_shown, texts)
        return f"{first}, asks again: {second}"
    remark = str(error) if error else "" if how == "done" else how
    return str(_without_undefined(Outcome("".join(texts), remark=remark)))


@pytest.mark.timeout(400)
@pytest.mark.parametrize("fault", TABLE)
def test_chromium(in_chromium: dict[str, str], fault: str) -> None:
    assert in_chromium[fault] == TABLE[fault][CLIENTS.index("EventSource")]


# The documentation


def test_the_table_of_the_documentation_is_this_one() -> None:
    page = (Path(__file__).parents[2] / "docs" / "testing.md").read_text("utf-8")
    for fault, outcomes in TABLE.items():
        row = " | ".join([f"`{fault}`", *outcomes])
        assert f"| {row} |\n" in page, f"docs/testing.md has no row\n| {row} |"
