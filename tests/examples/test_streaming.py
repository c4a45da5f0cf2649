"""The first example, whole: `cfai dev` runs it, a browser reads it."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from playwright.sync_api import Page, sync_playwright

from tests.processes import Process

EXAMPLE = Path(__file__).parents[2] / "examples" / "streaming"
PIECES = ["New", " York", " is", " located", " in", " the"]

# Keeps every text that the answer had, from before the page's own script runs.
WATCH = """
window.seen = [];
new MutationObserver(() => {
    const text = document.getElementById("answer")?.textContent ?? "";
    if (text && text !== window.seen.at(-1)?.text) window.seen.push({ text, at: performance.now() });
}).observe(document, { childList: true, subtree: true, characterData: true });
"""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with Process("dev", str(EXAMPLE), "--port", "0", "--demo") as process:
        yield process.read_until("[wrangler:info] Ready on").split()[-1]


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    browser_path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser_path is None and "CI" not in os.environ:
        pytest.skip("no Chromium on this machine")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox", "--disable-gpu"])
        yield browser.new_page()
        browser.close()


def test_the_words_appear_one_after_the_other(address: str, page: Page) -> None:
    page.add_init_script(WATCH)
    page.goto(address)
    # The button comes back when the answer is complete.
    page.wait_for_function("document.querySelector('#again')?.disabled === false", timeout=60_000)
    seen = page.evaluate("window.seen")
    texts = [step["text"] for step in seen]
    assert texts[-1].startswith("New York is located in the")
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(texts))
    assert len(texts) > 10
    assert seen[-1]["at"] > seen[0]["at"]


def test_the_page_asks_once_and_again_on_demand(address: str, page: Page) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    page.wait_for_function("document.querySelector('#again')?.disabled === false", timeout=60_000)
    page.wait_for_timeout(500)  # an EventSource that was not closed would ask again now
    assert [url.rpartition("/")[2] for url in asked].count("worker-endpoint") == 1
    page.click("#again")
    page.wait_for_function("document.querySelector('#again')?.disabled === false", timeout=60_000)
    assert [url.rpartition("/")[2] for url in asked].count("worker-endpoint") == 2
    assert {httpx2.URL(url).host for url in asked} == {"localhost"}


def test_the_curl_line_of_the_example(address: str) -> None:
    with httpx2.stream("GET", f"{address}/worker-endpoint", timeout=60) as response:
        assert response.headers["content-type"] == "text/event-stream"
        body = b"".join(response.iter_raw())
    assert body.startswith(b"".join(b'data: {"response":"%s"}\n\n' % piece.encode() for piece in PIECES))
    assert body.endswith(b"data: [DONE]\n\n")


def test_the_curl_request_of_november_2023_byte_for_byte() -> None:
    """The first published request: pieces, then [DONE], and nothing else."""
    with Process("serve", "--port", "0", "--demo", "--token", "t", "--as-of", "2023-11-14") as process:
        address = process.read_until("cfai listens on").split()[-1]
        answer = httpx2.post(
            f"{address}/client/v4/accounts/acc/ai/run/@cf/meta/llama-2-7b-chat-int8",
            headers={"Authorization": "Bearer t", "Content-Type": "application/json"},
            content=b'{ "prompt": "where is new york?", "stream": true }',
            timeout=60,
        )
    events = answer.text.split("\n\n")
    assert events[:6] == [f'data: {{"response":"{piece}"}}' for piece in PIECES]
    assert events[-2:] == ["data: [DONE]", ""]
    assert all(event.startswith('data: {"response":"') and event.endswith('"}') for event in events[:-2])
