"""A page, a Worker or a server that runs, asked with each fault that is to make no difference."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import anyio

from cfai.testing.fuzz.case import Level
from cfai.testing.sources import read_stream

if TYPE_CHECKING:
    import httpx2

__all__ = [
    "FAULTS",
    "HEADER",
    "Address",
    "Asked",
    "Asks",
    "HarmlessFault",
    "NotComparable",
    "Page",
    "addressed",
    "opened",
    "plain_answer",
]

HEADER = "x-cfai-faults"
NO_SUCH_FAULT = "cfai-fuzz-asks"
"""A fault that there is none of: a server that honours the header refuses it."""

SETTLED_SECONDS = 1.0
LONGEST_SECONDS = 60.0
LOOK_SECONDS = 0.1
MOST_SHOWN = 100

_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
"""A browser of the system, where there is one; Playwright's own otherwise."""


@dataclass(frozen=True, slots=True)
class HarmlessFault:
    """A fault that changes how an answer comes and nothing of what it says."""

    text: str
    about: str
    level: Level = "workers-ai"


FAULTS: Sequence[HarmlessFault] = (
    HarmlessFault("split-bytes", "every byte in a chunk of its own"),
    HarmlessFault("merge:2", "two events to a chunk"),
    HarmlessFault("merge:1000", "the whole answer in one chunk"),
    HarmlessFault("split-character", "characters cut in two"),
    HarmlessFault("number-response", "pieces of digits come as numbers"),
    HarmlessFault("null-finaliser", "a last tool call of nothing but nulls"),
    HarmlessFault("two-dones", "[DONE] twice", "standard"),
)


@dataclass(frozen=True, slots=True)
class Asked:
    """What an address answered."""

    status: int
    text: str
    """The text of the pieces, of an event stream; what is visible, of a page; else the body."""
    is_whole: bool = True
    """Whether an event stream ended with `[DONE]` and without an error."""

    def __str__(self) -> str:
        lines = [line for line in self.text.splitlines() if line.strip()]
        if self.status >= 400 and lines:  # of a traceback the last line says what was wrong
            return f"status {self.status}: {lines[-1].strip()[:MOST_SHOWN]}"
        text = repr(self.text) if len(self.text) <= MOST_SHOWN else f"{self.text[:MOST_SHOWN]!r}..."
        return f"{text}{'' if self.is_whole else ', which does not end with [DONE]'}"


class NotComparable(Exception):
    """The answers of an address say nothing about faults, and why."""


class Asks(Protocol):
    """A way to look at an address."""

    async def ask(self, faults: str | None) -> Asked: ...


class Address:
    """An address that is asked over HTTP."""

    def __init__(self, client: httpx2.AsyncClient, request: httpx2.Request) -> None:
        self._client = client
        self._request = request

    async def ask(self, faults: str | None) -> Asked:
        """What it answers with these faults."""
        import httpx2

        headers = httpx2.Headers(self._request.headers)
        if faults is not None:
            headers[HEADER] = faults
        request = self._client.build_request(
            self._request.method, self._request.url, headers=headers, content=self._request.content
        )
        try:
            response = await self._client.send(request, stream=True)
        except httpx2.HTTPError as error:
            raise NotComparable(f"{self._request.url} does not answer: {error}") from error
        report = await read_stream(response)
        is_stream = (report.content_type or "").startswith("text/event-stream")
        text = report.text if is_stream else report.bytes.decode("utf-8", "replace")
        is_whole = report.error is None and report.is_done if is_stream else report.raised is None
        return Asked(response.status_code, text, is_whole)


@asynccontextmanager
async def addressed(
    url: str, *, json: str | None = None, headers: Mapping[str, str] | None = None
) -> AsyncGenerator[Address]:
    """`url`, to be asked with a GET, or a POST of `json`."""
    import httpx2

    given = {**({"content-type": "application/json"} if json is not None else {}), **(headers or {})}
    # An address of this machine is not asked for through a proxy.
    async with httpx2.AsyncClient(timeout=LONGEST_SECONDS, trust_env=False) as client:
        request = client.build_request(
            "GET" if json is None else "POST", url, headers=given, content=None if json is None else json.encode()
        )
        await request.aread()
        yield Address(client, request)


class Page:
    """A page that is looked at in Chromium."""

    def __init__(self, browser: Any, timeout: type[Exception], url: str, headers: Mapping[str, str]) -> None:
        self._browser = browser
        self._timeout = timeout
        self._url = url
        self._headers = headers

    async def ask(self, faults: str | None) -> Asked:
        """The text that is visible when the page has come to rest."""
        headers = {**self._headers, **({} if faults is None else {HEADER: faults})}
        page = await self._browser.new_page(extra_http_headers=headers)
        try:
            response = await page.goto(self._url)
            with contextlib.suppress(self._timeout):  # of a page that asks again and again
                await page.wait_for_load_state("networkidle")
            return Asked(response.status if response else 200, await _settled(page))
        finally:
            await page.close()


async def _settled(page: Any) -> str:
    text, since = "", 0.0
    for look in range(int(LONGEST_SECONDS / LOOK_SECONDS)):
        seen = await page.inner_text("body")
        if seen != text:
            text, since = seen, look * LOOK_SECONDS
        elif look * LOOK_SECONDS - since >= SETTLED_SECONDS:
            return text
        await anyio.sleep(LOOK_SECONDS)
    raise NotComparable(f"the text of the page does not come to rest within {LONGEST_SECONDS:g} s")


@asynccontextmanager
async def opened(url: str, *, headers: Mapping[str, str] | None = None) -> AsyncGenerator[Page]:
    """`url` in Chromium. An ImportError says what to install."""
    try:
        from playwright.async_api import Error, TimeoutError, async_playwright  # noqa: A004  # its own
    except ImportError as error:
        raise ImportError("--page opens Chromium with Playwright: pip install playwright") from error
    async with async_playwright() as playwright:
        try:
            browser = await playwright.chromium.launch(
                executable_path=next(filter(None, map(shutil.which, _BROWSERS)), None)
            )
        except Error as error:
            raise ImportError("--page needs Chromium: playwright install chromium") from error
        try:
            yield Page(browser, TimeoutError, url, headers or {})
        finally:
            await browser.close()


async def plain_answer(address: Asks) -> Asked:
    """What an address answers without a fault. `NotComparable` where a comparison with that would say nothing."""
    plain = await address.ask(None)
    if not 200 <= plain.status < 300:
        raise NotComparable(f"it answers with {plain}")
    if (await address.ask(NO_SUCH_FAULT)).status != 400:
        raise NotComparable(f"it does not honour the header {HEADER}: start cfai dev or cfai serve with --faults none")
    if (again := await address.ask("none")) != plain:
        raise NotComparable(f"it gives two answers, {plain} and {again}: fix a seed, or start it with --fake")
    if await address.ask("capacity") == plain:
        raise NotComparable("no model is asked for its answer, which is the same where every call of env.AI fails")
    return plain
