"""The playground in a browser, over a demo model and over scripts."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
import uvicorn
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cfai import Call, FakeBinding, Reply, sse
from cfai.bindings.call_log import LoggedCall
from cfai.errors import BadInput, OutOfCapacity
from cfai.results import ByteStream
from cfai.server.app import rest_app
from cfai.serving import listen
from tests.processes import Process

MODEL = "@cf/meta/llama-2-7b-chat-int8"
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    browser_path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser_path is None and "CI" not in os.environ:
        pytest.skip("no Chromium on this machine")
    with sync_playwright() as playwright:
        expect.set_options(timeout=30_000)  # a busy machine is slow, not wrong
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def demo() -> Iterator[str]:
    """The address of a server whose models are all answered by the demo model."""
    with Process("serve", "--port", "0", "--demo") as process:
        yield process.read_until("cfai listens on").split()[-1]


@contextlib.contextmanager
def serving(app: ASGIApp) -> Iterator[str]:
    """Serve `app` from a thread of its own: the browser's driver needs this one."""
    listener = listen("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", ws="none", timeout_graceful_shutdown=2))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


class Opened:
    """A page, and what happened behind it."""

    def __init__(self, context: BrowserContext, address: str) -> None:
        self.page = context.new_page()
        self.requested: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requested.append(request.url))
        self.page.on("console", lambda message: self._complain(message.type, message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(address)

    def _complain(self, kind: str, text: str) -> None:
        # The browser reports each refused request by itself; what the page makes of it is tested below.
        if kind in ("error", "warning") and not text.startswith("Failed to load resource"):
            self.complaints.append(text)


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    with contextlib.ExitStack() as stack:
        opened: list[tuple[Opened, str]] = []

        def open_it(address: str, **options: Any) -> Page:
            context = browser.new_context(**options)
            context.set_default_timeout(60_000)
            stack.callback(context.close)
            opened.append((Opened(context, address), address))
            return opened[-1][0].page

        yield open_it
        for one, address in opened:
            assert one.complaints == [], "neither an error nor a violation of the content security policy"
            host = httpx2.URL(address).netloc.decode()
            assert {httpx2.URL(url).netloc.decode() for url in one.requested if not url.startswith("data:")} == {host}


def ask(page: Page, text: str) -> None:
    page.get_by_label("Message", exact=True).fill(text)
    page.get_by_role("button", name="Send", exact=True).click()


def answer_of(page: Page, text: str | re.Pattern[str]) -> None:
    """Wait for the last answer to be complete and to have this text."""
    last = page.locator(".message.assistant").last
    expect(last.locator(".body")).to_contain_text(text, timeout=60_000)
    expect(page.locator(".streaming")).to_have_count(0, timeout=60_000)


def test_an_answer_streams_with_its_figures_and_its_events(demo: str, open_page: Callable[..., Page]) -> None:
    page = open_page(demo)
    ask(page, "Where is New York?")
    answer_of(page, "New York is located in")
    expect(page.locator(".message .cost").last).to_contain_text(
        re.compile(r"first token .* tokens/s · \d+ tokens in, \d+")
    )
    expect(page.locator("#figure-first")).to_contain_text(re.compile(r"\d (ms|s)"))
    expect(page.locator("#figure-speed")).to_contain_text("tokens/s")
    assert page.locator("#rhythm path").get_attribute("d")
    page.get_by_role("tab", name="Events").click()
    events = page.locator("#events li code").all_text_contents()
    assert len(events) > 10
    assert [event.rpartition("data: ")[2].rstrip() for event in events[:2]] == [
        '{"response":"New"}',
        '{"response":" York"}',
    ]
    assert events[-1].rstrip().endswith("data: [DONE]")


def test_a_conversation_goes_on_and_can_be_changed(open_page: Callable[..., Page]) -> None:
    fake = FakeBinding({MODEL: lambda call: f"You said {call.inputs['messages'][-1]['content']}."})
    with serving(rest_app(fake)) as address:
        page = open_page(address)
        page.get_by_label("System prompt").fill("Be brief.")
        ask(page, "one")
        answer_of(page, "You said one.")
        ask(page, "two")
        answer_of(page, "You said two.")
        assert fake.calls[-1].inputs["messages"] == [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": "You said one."},
            {"role": "user", "content": "two"},
        ]
        page.get_by_role("button", name="Edit: You, message 1").click()
        page.get_by_label("The message's text").fill("three")
        page.get_by_role("button", name="Save and ask again").click()
        answer_of(page, "You said three.")
        expect(page.locator(".message")).to_have_count(2)
        page.get_by_role("button", name="Again: Model, message 2").click()
        answer_of(page, "You said three.")
        assert [call.inputs["messages"][-1]["content"] for call in fake.calls] == ["one", "two", "three", "three"]
        page.get_by_role("button", name="Delete: Model, message 2").click()
        expect(page.locator(".message")).to_have_count(1)
        page.reload()
        expect(page.locator(".message.user .body")).to_have_text("three")


def test_settings_become_inputs_and_what_is_not_set_is_not_sent(open_page: Callable[..., Page]) -> None:
    fake = FakeBinding({MODEL: {"response": {"city": "Tokyo"}, "usage": {"prompt_tokens": 3, "completion_tokens": 5}}})
    with serving(rest_app(fake)) as address:
        page = open_page(address)
        page.get_by_label("Temperature", exact=True).fill("0.2")
        page.get_by_label("Top k").fill("40")
        page.get_by_label("Seed").fill("7")
        page.get_by_label("Stream it, piece by piece").uncheck()
        page.get_by_label("Form", exact=True).select_option("JSON that fits a schema")
        page.get_by_label("JSON schema").fill('{"type": "object"')
        ask(page, "Which city?")
        expect(page.locator("#schema-problem")).to_contain_text("The schema is not JSON")
        expect(page.get_by_label("JSON schema")).to_be_focused()
        page.get_by_label("JSON schema").fill('{"type": "object"}')
        page.get_by_role("button", name="Send", exact=True).click()
        answer_of(page, '"city": "Tokyo"')
        expect(page.locator("#figure-tokens")).to_contain_text("3 + 5")
    assert fake.calls[-1].inputs == {
        "messages": [{"role": "user", "content": "Which city?"}],
        "temperature": 0.2,
        "top_k": 40,
        "seed": 7,
        "response_format": {"type": "json_schema", "json_schema": {"type": "object"}},
    }


@pytest.mark.parametrize(
    ("switch", "editor"),
    [
        (lambda page: page.get_by_label("Form", exact=True).select_option("json_schema"), "schema"),
        (lambda page: page.get_by_label("The model may call tools").check(), "tools"),
    ],
    ids=["schema", "tools"],
)
def test_a_question_waits_until_its_fields_are_right(
    switch: Callable[[Page], object], editor: str, open_page: Callable[..., Page]
) -> None:
    fake = FakeBinding({MODEL: lambda call: f"You said {call.inputs['messages'][-1]['content']}."})
    with serving(rest_app(fake)) as address:
        page = open_page(address)
        ask(page, "one")
        answer_of(page, "You said one.")
        switch(page)
        field = page.locator(f"#{editor}")
        right = field.input_value()
        field.fill(right[:-1])
        draft = page.get_by_label("Message", exact=True)
        draft.fill("two")
        draft.press("Enter")
        expect(field).to_be_focused()
        expect(page.locator(f"#{editor}-problem")).to_contain_text("is not JSON")
        expect(page.locator(f"#{editor}-problem")).to_be_in_viewport()
        expect(draft).to_have_value("two")
        page.get_by_role("button", name="Edit: You, message 1").click()
        page.get_by_label("The message's text").fill("three")
        page.get_by_role("button", name="Save and ask again").click()
        expect(page.get_by_label("The message's text")).to_have_value("three")
        page.get_by_role("button", name="Cancel").click()
        expect(page.locator(".message .body")).to_have_text(["one", "You said one."])
        field.fill(right)
        expect(page.locator(f"#{editor}-problem")).to_be_hidden()
        draft.press("Enter")
        answer_of(page, "You said two.")
        expect(draft).to_have_value("")
    assert [message["content"] for message in fake.calls[-1].inputs["messages"]] == ["one", "You said one.", "two"]
    assert len(fake.calls) == 2


def test_a_tool_call_is_shown_and_its_result_goes_back(open_page: Callable[..., Page]) -> None:
    calls = [{"name": "get_weather", "arguments": {"city": "Paris"}}]

    def weather(call: Call) -> Any:
        last = call.inputs["messages"][-1]
        return f"It is {last['content']}." if last["role"] == "tool" else {"response": "", "tool_calls": calls}

    fake = FakeBinding({MODEL: weather})
    with serving(rest_app(fake)) as address:
        page = open_page(address)
        page.get_by_role("button", name="What is the weather in Paris?").click()
        expect(page.get_by_role("region", name="Tool call: get_weather")).to_contain_text('"city": "Paris"')
        expect(page.get_by_label("what does get_weather give back")).to_be_focused()
        page.keyboard.type("18")
        page.keyboard.press("Shift+Enter")
        page.keyboard.type("degrees")
        page.keyboard.press("Enter")
        answer_of(page, re.compile(r"It is 18\s+degrees\."))
    assert fake.calls[0].inputs["tools"][0]["name"] == "get_weather"
    asked, called, told = fake.calls[1].inputs["messages"]
    assert asked == {"role": "user", "content": "What is the weather in Paris?"}
    (made,) = called["tool_calls"]
    assert made["function"] == {"name": "get_weather", "arguments": '{"city":"Paris"}'}
    assert told == {"role": "tool", "tool_call_id": made["id"], "name": "get_weather", "content": "18\ndegrees"}


def test_a_real_model_calls_a_tool_and_keeps_to_a_schema(demo: str, open_page: Callable[..., Page]) -> None:
    page = open_page(demo)
    page.get_by_label("Temperature", exact=True).fill("0")
    page.get_by_role("button", name="What is the weather in Paris?").click()
    field = page.get_by_label("what does get_weather give back")
    expect(page.get_by_role("region", name="Tool call: get_weather")).to_contain_text('"city": "Paris"')
    expect(field).to_be_focused()
    field.fill("18 degrees and sunny")
    page.locator(".results").get_by_role("button", name="Send").click()
    answer_of(page, "18 degrees and sunny in Paris")
    page.get_by_role("button", name="New chat").click()
    page.get_by_role("button", name="What is the capital of Japan?").click()
    answer_of(page, "Tokyo")
    answer = json.loads(page.locator(".message.assistant .body").text_content() or "")
    assert list(answer) == ["answer"]
    expect(page.get_by_label("System prompt")).to_have_value("Answer in JSON.")
    page.get_by_role("button", name="New chat").click()
    page.get_by_role("button", name="Where is New York?").click()
    answer_of(page, "New York")
    expect(page.get_by_label("System prompt")).to_have_value("")


def test_two_results_are_given_one_after_the_other(open_page: Callable[..., Page]) -> None:
    calls = [{"name": "get_weather", "arguments": {"city": city}} for city in ("Paris", "Rome")]

    def weather(call: Call) -> Any:
        told = [message["content"] for message in call.inputs["messages"] if message["role"] == "tool"]
        return f"It is {' and '.join(told)}." if told else {"response": "", "tool_calls": calls}

    with serving(rest_app(FakeBinding({MODEL: weather}))) as address:
        page = open_page(address)
        page.get_by_role("button", name="What is the weather in Paris?").click()
        fields = page.get_by_label("what does get_weather give back")
        expect(fields.first).to_be_focused()
        page.keyboard.press("Enter")  # says nothing, so nothing is sent
        page.keyboard.type("warm")
        page.keyboard.press("Enter")
        expect(fields.last).to_be_focused()
        page.keyboard.type("hot")
        page.keyboard.press("Enter")
        answer_of(page, "It is warm and hot.")


class Slow(FakeBinding):
    """Says numbers for as long as somebody listens, up to `last`; at `waits_at` not before it `may_go_on`."""

    def __init__(self, last: int = 100_000, *, waits_at: int | None = None) -> None:
        super().__init__()
        self.last = last
        self.waits_at = waits_at
        self.may_go_on = threading.Event()
        self.made = 0
        self.closed = 0

    async def send(self, call: Call) -> Reply:
        self.calls.append(LoggedCall(call))
        return Reply(ByteStream(self._events()), headers={"content-type": "text/event-stream"})

    async def _events(self) -> AsyncGenerator[bytes]:
        try:
            for number in range(1, self.last + 1):
                self.made = number
                yield sse.encode({"response": f"{number} "})
                await anyio.sleep(0.01)
                while number == self.waits_at and not self.may_go_on.is_set():  # noqa: ASYNC110  # in another thread
                    await anyio.sleep(0.01)
            yield sse.DONE
        finally:
            self.closed += 1


def wait_until(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_an_answer_that_is_stopped_goes_on_where_it_was(open_page: Callable[..., Page]) -> None:
    slow = Slow(last=120, waits_at=60)
    with serving(rest_app(slow)) as address:
        page = open_page(address)
        ask(page, "count")
        body = page.locator(".message.assistant .body")
        expect(body).to_contain_text("5 ")
        page.get_by_role("button", name="Stop").click()
        page.get_by_role("button", name="Resume").click()
        expect(page.get_by_role("button", name="Stop")).to_be_visible()
        slow.may_go_on.set()
        answer_of(page, " 120 ")
        assert body.text_content() == "".join(f"{number} " for number in range(1, 121))
        assert len(slow.calls) == 1, "nothing was generated twice"


def test_a_stopped_answer_that_is_left_behind_is_ended(open_page: Callable[..., Page]) -> None:
    slow = Slow()
    with serving(rest_app(slow)) as address:
        page = open_page(address)
        ask(page, "count")
        expect(page.locator(".message.assistant .body")).to_contain_text("5 ")
        page.keyboard.press("Escape")
        expect(page.get_by_role("button", name="Resume")).to_be_visible()
        assert slow.closed == 0
        page.get_by_role("button", name="New chat").click()
        wait_until(lambda: slow.closed == 1)


def test_an_answer_ends_with_the_page_that_asked_for_it(open_page: Callable[..., Page]) -> None:
    slow = Slow()
    with serving(rest_app(slow)) as address:
        page = open_page(address)
        ask(page, "count")
        expect(page.locator(".message.assistant .body")).to_contain_text("5 ")
        page.goto(f"{address}/health")
        wait_until(lambda: slow.closed == 1)


class Losing:
    """Loses the connection of the first `times` answers of a model, each in the middle of an event."""

    def __init__(self, app: ASGIApp, times: int) -> None:
        self.app = app
        self.times = times
        self.resumed_at: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or "/ai/run/" not in scope["path"]:
            await self.app(scope, receive, send)
            return
        self.resumed_at.append(dict(scope["headers"])[b"last-event-id"].decode())
        is_lost = len(self.resumed_at) <= self.times
        sent = 0

        async def send_some(message: Message) -> None:
            nonlocal sent
            sent += 1
            if is_lost and sent > 5:
                await send({**message, "body": message["body"][:9]})
                raise OSError("the connection is lost")
            await send(message)

        # uvicorn closes the connection of an answer that is left incomplete.
        with contextlib.suppress(OSError):
            await self.app(scope, receive, send_some)


def test_a_connection_that_breaks_is_made_anew(open_page: Callable[..., Page]) -> None:
    slow = Slow(last=120)
    losing = Losing(rest_app(slow), times=2)
    with serving(losing) as address:
        page = open_page(address)
        ask(page, "count")
        answer_of(page, " 120 ")
        body = page.locator(".message.assistant .body")
        assert body.text_content() == "".join(f"{number} " for number in range(1, 121))
        expect(page.locator(".failure")).to_have_count(0)
    first, second, third = losing.resumed_at
    assert first == "0"
    assert 0 < int(second.rpartition("-")[2]) < int(third.rpartition("-")[2]), "it goes on behind the last whole event"
    assert len(slow.calls) == 1, "nothing was generated twice"


def test_a_connection_that_stays_broken_leaves_what_came(open_page: Callable[..., Page]) -> None:
    slow = Slow(last=120)
    losing = Losing(rest_app(slow), times=4)
    with serving(losing) as address:
        page = open_page(address)
        ask(page, "count")
        expect(page.locator(".failure")).to_contain_text("The connection was lost before the answer was complete.")
        assert len(losing.resumed_at) == 4
        page.get_by_role("button", name="Resume").click()
        answer_of(page, " 120 ")
        body = page.locator(".message.assistant .body")
        assert body.text_content() == "".join(f"{number} " for number in range(1, 121))
        expect(page.locator(".failure")).to_have_count(0)


def test_a_token_is_asked_for_and_kept_in_the_tab(open_page: Callable[..., Page]) -> None:
    fake = FakeBinding({MODEL: ["Hello"]})
    with serving(rest_app(fake, token="s3cret")) as address:
        page = open_page(address)
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Token", exact=True).fill("wrong")
        page.keyboard.press("Enter")
        expect(dialog).to_contain_text("That token was not the one")
        dialog.get_by_label("Token", exact=True).fill("s3cret")
        page.keyboard.press("Enter")
        expect(dialog).to_be_hidden()
        ask(page, "hi")
        answer_of(page, "Hello")
        page.get_by_role("tab", name="Code").click()
        page.get_by_label("Language").select_option("curl")
        expect(page.locator("#snippet")).to_contain_text("Bearer $CFAI_TOKEN")
        assert "s3cret" not in page.content()
        assert page.evaluate("() => JSON.stringify(localStorage)") == "{}"


def test_a_token_may_be_given_in_the_middle_of_a_question(open_page: Callable[..., Page]) -> None:
    fake = FakeBinding({MODEL: ["Hello"]})
    with serving(rest_app(fake, token="s3cret")) as address:
        page = open_page(address)
        page.get_by_role("button", name="Not now").click()
        ask(page, "hi")
        page.get_by_role("dialog").get_by_label("Token", exact=True).fill("s3cret")
        page.keyboard.press("Enter")
        answer_of(page, "Hello")


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (BadInput("'/temperature' must be <= 5"), ["5006, HTTP 400", "'/temperature' must be <= 5"]),
        (OutOfCapacity(), ["3040, HTTP 429", "Capacity temporarily exceeded"]),
        (BadInput("no", hint="say please"), ["5006", "say please"]),
    ],
)
def test_a_refusal_says_what_is_wrong(error: Exception, shown: list[str], open_page: Callable[..., Page]) -> None:
    with serving(rest_app(FakeBinding({MODEL: error}))) as address:
        page = open_page(address)
        ask(page, "hi")
        for text in shown:
            expect(page.locator(".failure")).to_contain_text(text)
        expect(page.get_by_role("button", name="Send", exact=True)).to_be_visible()


def test_a_model_cannot_write_markup(open_page: Callable[..., Page]) -> None:
    text = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
    with serving(rest_app(FakeBinding({MODEL: [text]}))) as address:
        page = open_page(address)
        ask(page, text)
        answer_of(page, text)
        assert page.locator("#messages img, #messages script").count() == 0
        assert page.title() == "cfai playground"


def test_everything_can_be_done_with_the_keyboard(demo: str, open_page: Callable[..., Page]) -> None:
    page = open_page(demo)
    expect(page.get_by_label("Message", exact=True)).to_be_focused()
    page.keyboard.type("Where is New York?")
    page.keyboard.press("Enter")
    answer_of(page, "New York is located in")
    expect(page.get_by_label("Message", exact=True)).to_be_focused()
    for _ in range(4):  # back over Delete, Edit, Again
        page.keyboard.press("Shift+Tab")
    expect(page.get_by_role("button", name="Copy: Model, message 2")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    answer_of(page, "New York is located in")
    page.get_by_role("tab", name="Request").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Events")).to_be_focused()
    expect(page.locator("#panel-events")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_on_a_phone(scheme: str, open_page: Callable[..., Page]) -> None:
    with serving(rest_app(FakeBinding({MODEL: ["W" * 300, "W" * 300]}))) as address:
        page = open_page(address, color_scheme=scheme, reduced_motion="reduce", **PHONE)
        ask(page, "W" * 200)
        expect(page.locator(".message .cost").last).to_contain_text("first token")
        for pane in ("Settings", "Chat", "Inspector"):
            page.get_by_role("button", name=pane, exact=True).click()
            assert page.evaluate("() => document.documentElement.scrollWidth") == 390
        expect(page.locator("#request")).to_be_visible()
        background = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
        is_dark = sum(int(part) for part in re.findall(r"\d+", background)[:3]) < 380
        assert is_dark == (scheme == "dark")


def test_colours_can_be_chosen_and_are_remembered(demo: str, open_page: Callable[..., Page]) -> None:
    page = open_page(demo, color_scheme="light")
    page.get_by_role("button", name="Colours: system").click()
    page.get_by_role("button", name="Colours: light").click()
    page.reload()
    expect(page.get_by_role("button", name="Colours: dark")).to_be_visible()
    assert page.evaluate("() => getComputedStyle(document.documentElement).colorScheme") == "dark"


def test_a_link_holds_the_whole_state_and_no_server_sees_it(open_page: Callable[..., Page]) -> None:
    fake = FakeBinding({MODEL: ["Zürich 🙂"]})
    with serving(rest_app(fake)) as address:
        page = open_page(address)
        page.get_by_label("System prompt").fill("Sei höflich.")
        page.get_by_label("Seed").fill("7")
        ask(page, "wo?")
        answer_of(page, "Zürich 🙂")
        page.get_by_role("button", name="Share").click()
        page.wait_for_url(re.compile("#"))
        link = page.url
        other = open_page(link)
        expect(other.get_by_label("System prompt")).to_have_value("Sei höflich.")
        expect(other.get_by_label("Seed")).to_have_value("7")
        expect(other.locator(".message .body")).to_have_text(["wo?", "Zürich 🙂"])
        assert len(fake.calls) == 1, "a link asks nothing by itself"


def test_a_broken_link_opens_the_page(demo: str, open_page: Callable[..., Page]) -> None:
    page = open_page(f"{demo}/#%%%")
    expect(page.get_by_role("heading", name="What shall it say?")).to_be_visible()
    hostile = "eyJtZXNzYWdlcyI6W3sicm9sZSI6MX0sbnVsbF0sInN5c3RlbSI6NX0"  # {"messages":[{"role":1},null],"system":5}
    page = open_page(f"{demo}/#{hostile}")
    expect(page.get_by_role("heading", name="What shall it say?")).to_be_visible()


# The bytes of a stream may be cut anywhere; the page is given every cut in two of these.
STREAM = (
    b'\xef\xbb\xbfid: a-1\ndata: {"response":"Z\xc3\xbcrich \xf0\x9f\x99\x82"}\n\n: keep-alive\n\r\n'
    b'data: {"response":"two",\r\ndata: "x":1}\r\n\r\ndata:[DONE]\n\n'
)


def test_events_are_whole_wherever_their_bytes_are_cut(demo: str, open_page: Callable[..., Page]) -> None:
    page = open_page(demo)
    script = """async (bytes) => {
        const { EventReader } = await import("/playground/events.js");
        const seen = new Set();
        for (let cut = 0; cut <= bytes.length; cut += 1) {
            const reader = new EventReader();
            const whole = Uint8Array.from(bytes);
            seen.add(JSON.stringify([...reader.push(whole.slice(0, cut)), ...reader.push(whole.slice(cut))]));
        }
        return [...seen];
    }"""
    (only,) = page.evaluate(script, list(STREAM))
    events = json.loads(only)
    assert [event.get("data") for event in events] == [
        '{"response":"Zürich 🙂"}',
        None,
        '{"response":"two",\n"x":1}',
        "[DONE]",
    ]
    assert events[0]["id"] == "a-1"
    assert events[1]["comment"] == "keep-alive"


CHUNK = {"object": "chat.completion.chunk"}
FORMS: list[tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]] = [
    (
        [{"response": "New", "p": "abc"}, {"response": 7}, {"response": "", "usage": {"prompt_tokens": 1}}],
        [{"text": "New"}, {"text": "7"}, {"usage": {"prompt": 1, "completion": 0, "cached": 0, "neurons": None}}],
    ),
    (
        [{"tool_calls": [{"id": None, "type": None, "index": 0, "function": {"name": None, "arguments": ""}}]}],
        [],
    ),
    (
        [{**CHUNK, "choices": [{"delta": {"reasoning_content": "Hm", "content": "Yes"}, "finish_reason": "stop"}]}],
        [{"reasoning": "Hm"}, {"text": "Yes"}, {"finish": "stop"}],
    ),
    (
        [{"type": "response.output_text.delta", "delta": "New"}, {"type": "response.created"}],
        [{"text": "New"}],
    ),
    (
        [{"response": "", "errors": [{"code": 3008, "message": "Request was aborted"}]}],
        [{"error": {"code": 3008, "message": "Request was aborted"}}],
    ),
]


@pytest.mark.parametrize(("events", "said"), FORMS)
def test_all_forms_of_workers_ai_are_read(
    events: list[Mapping[str, Any]], said: list[Mapping[str, Any]], demo: str, open_page: Callable[..., Page]
) -> None:
    script = """async (events) => {
        const { read } = await import("/playground/events.js");
        return events.flatMap((event) => read(event));
    }"""
    assert open_page(demo).evaluate(script, events) == said


QUESTION = "where is \"new\" york?\nIt's a 'city' \\ $HOME `x` 🙂"


@pytest.fixture
def snippets(demo: str, open_page: Callable[..., Page]) -> Callable[[str, bool], str]:
    """The page's code, by language, for an awkward question, streamed or not."""

    def write(language: str, streamed: bool) -> str:
        page = open_page(demo)
        page.get_by_label("Max tokens").fill("20")
        page.get_by_label("Seed").fill("2")  # by chance, the answer to this may be empty
        page.get_by_label("Stream it, piece by piece").set_checked(streamed)
        page.get_by_label("Message", exact=True).fill(QUESTION)
        page.get_by_role("tab", name="Code").click()
        page.get_by_label("Language").select_option(language)
        expect(page.locator("#snippet")).to_contain_text(re.compile("@cf/|@cfai/"))  # the server has said which it has
        return page.locator("#snippet").text_content() or ""

    return write


Snippets = Callable[[str, bool], str]


def check_answer(text: str, streamed: bool) -> None:
    assert ("data: [DONE]" in text or text.rstrip().endswith("[DONE]")) if streamed else '"response"' in text


@pytest.mark.parametrize("streamed", [True, False])
def test_the_curl_line_runs(snippets: Snippets, streamed: bool, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("no curl on this machine")
    script = tmp_path / "ask.sh"
    script.write_text(snippets("curl", streamed))
    done = subprocess.run(["sh", str(script)], capture_output=True, text=True, timeout=60, check=True)
    check_answer(done.stdout, streamed)


@pytest.mark.parametrize("streamed", [True, False])
def test_the_python_script_runs(snippets: Snippets, streamed: bool, tmp_path: Path) -> None:
    script = tmp_path / "ask.py"
    script.write_text(snippets("python", streamed), encoding="utf-8")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=True)
    check_answer(done.stdout, streamed)


@pytest.mark.parametrize("language", ["python-worker", "javascript-worker"])
def test_the_code_is_said_to_run_where_its_model_is(language: str, open_page: Callable[..., Page]) -> None:
    demo_model = "@cfai/demo/tiny-chat"
    with serving(rest_app(FakeBinding({MODEL: ["Hello"], demo_model: ["Hello"]}))) as address:
        page = open_page(address)
        page.get_by_role("tab", name="Code").click()
        page.get_by_label("Language").select_option(language)
        note = page.locator("#snippet-note")
        page.get_by_label("Model", exact=True).select_option(demo_model)
        expect(note).to_contain_text("Workers does not have this model")
        page.get_by_label("Model", exact=True).select_option(MODEL)
        expect(note).not_to_contain_text("Workers does not have this model")


@pytest.mark.parametrize("streamed", [True, False])
def test_the_python_worker_runs(snippets: Snippets, streamed: bool, tmp_path: Path) -> None:
    script = tmp_path / "entry.py"
    script.write_text(snippets("python-worker", streamed), encoding="utf-8")
    with Process("dev", str(script), "--port", "0", "--demo") as process:
        address = process.read_until("[wrangler:info] Ready on").split()[-1]
        response = httpx2.get(address, timeout=60)
    assert response.status_code == 200
    check_answer(response.text, streamed)


# What workerd does around a Worker, as far as these need it.
AROUND = """
import worker from "./worker.mjs";
const address = process.argv[2];
const run = async (model, inputs) => {
    const response = await fetch(`${address}/client/v4/accounts/a/ai/run/${model}`, {
        method: "POST", body: JSON.stringify(inputs),
    });
    return inputs.stream ? response.body : (await response.json()).result;
};
const response = await worker.fetch(new Request("http://worker/"), { AI: { run } });
process.stdout.write(await response.text());
"""


@pytest.mark.parametrize("streamed", [True, False])
def test_the_javascript_worker_runs(snippets: Snippets, streamed: bool, demo: str, tmp_path: Path) -> None:
    if shutil.which("node") is None:
        pytest.skip("no Node on this machine")
    (tmp_path / "worker.mjs").write_text(snippets("javascript-worker", streamed), encoding="utf-8")
    (tmp_path / "around.mjs").write_text(AROUND)
    done = subprocess.run(
        ["node", str(tmp_path / "around.mjs"), demo], capture_output=True, text=True, timeout=60, check=True
    )
    check_answer(done.stdout, streamed)


@pytest.mark.parametrize("streamed", [True, False])
def test_the_openai_script_runs(snippets: Snippets, streamed: bool, tmp_path: Path) -> None:
    source = snippets("openai", streamed)
    compile(source, "ask.py", "exec")
    pytest.importorskip("openai")
    script = tmp_path / "ask.py"
    script.write_text(source, encoding="utf-8")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip()


def test_the_page_may_load_and_call_nothing_but_its_server() -> None:
    with serving(rest_app(FakeBinding(), token="s3cret")) as address, httpx2.Client(base_url=address) as client:
        page = client.get("/")
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        policy = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))
        assert policy["default-src"] == "'none'"
        assert {policy["script-src"], policy["style-src"], policy["connect-src"]} == {"'self'"}
        files = re.findall(r'(?:src|href)="(playground/[^"]+)"', page.text)
        assert len(files) == 2
        assert [client.get(f"/{name}").status_code for name in files] == [200, 200]
        assert client.get("/playground/__init__.py").status_code == 404
        assert client.get("/playground/%2e%2e/app.py").status_code == 404
