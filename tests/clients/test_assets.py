"""Static assets beside miniflare: the same folder, the same requests, the same answers."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from cfai.config import AssetsConfig
from tests.clients.node import HERE, installed, needs_node, tell
from tests.worker.asgi_client import Client
from tests.worker.conftest import Workers

pytestmark = [needs_node, pytest.mark.timeout(400)]

SCRIPT = """
from js import Request, URL
from workers import Response, WorkerEntrypoint

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        url = URL.new(request.url)
        if not url.pathname.startswith("/via/"):
            return Response(f"worker {request.method} {url.pathname}")
        asked = Request.new(f"http://localhost{url.pathname[4:]}{url.search}", request.js_object)
        return await self.env.ASSETS.fetch(asked)
"""

FILES = {
    "index.html": "root",
    "page.html": "page",
    "dir/index.html": "dir",
    "dir/404.html": "not in dir",
    "dir/index": "no page",
    "both.html": "file",
    "both/index.html": "folder",
    "only/deep/page.html": "deep",
    "404.html": "nowhere",
    "t.txt": "text",
    ".hidden/x.txt": "hidden",
    ".dot": "dot",
    "ü.txt": "ü",
    "[a].txt": "brackets",
    "sp ace/a b.txt": "spaces",
    "a%20b.txt": "percent",
    "a+b&c.txt": "plus",
    "no-ending": "?",
    "x.JS": "js",
    "x.svg": "<svg/>",
    "left/out.txt": "out",
    "left/in.txt": "in",
    "logs/a.log": "log",
    "deep/logs/b.txt": "log",
    ".assetsignore": "left/*\n!left/in.txt\n# a comment\nlogs/\n",
    "_headers": (
        "/t.txt\n  X-One: 1\n  X-Two: two\n/*\n  X-One: 2\n  ! CF-Cache-Status\n/r/*\n  X-Splat: :splat\n"
        "https://:host/*\n  X-Host: :host\n/bad line\n  X: y\nno path\n"
    ),
    "_redirects": (
        "/old /page 301\n/o2 /page\n/s/* /dir/:splat 302\n/p/:id/x https://example.org/:id?q=1#h 308\n"
        "/rw /page.html 200\n"
        "/rn /nothing 200\n/b/:y/* /t.txt?y=:y 303 # a comment\n/bad\n/late /page\n/* /index.html 200\n/old /twice\n"
    ),
}

PATHS = [
    *("/", "/index.html", "/index", "/page", "/page.html", "/page/", "/page/index.html", "/page/index"),
    *("/dir", "/dir/", "/dir.html", "/dir/index", "/dir/index.html", "/dir/nothing", "/dir//index.html"),
    *("/both", "/both/", "/both.html", "/both/index", "/both/index.html", "/only", "/only/deep/page"),
    *("/t.txt", "/T.TXT", "/t.txt?x=1", "/page.html?x=1", "/t.txt/", "//t.txt", "/t", "/404", "/404.html"),
    *("/.hidden/x.txt", "/.dot", "/%C3%BC.txt", "/%c3%bc.txt", "/[a].txt", "/%5Ba%5D.txt", "/sp%20ace/a%20b.txt"),
    *("/a%2520b.txt", "/a%20b.txt", "/a+b&c.txt", "/a%2Bb%26c.txt", "/no-ending", "/x.JS", "/x.svg", "/x.js"),
    *("/left/out.txt", "/left/in.txt", "/logs/a.log", "/deep/logs/b.txt", "/_headers", "/_redirects", "/.assetsignore"),
    *("/old", "/old?q=2", "/o2", "/s/a/b", "/p/7/x", "/p/7/y", "/rw", "/rn", "/b/2024/may", "/late", "/r/some/path"),
    *("/..%2ft.txt", "/dir%2f..%2ft.txt", "/dir/%2e%2e/t.txt", "/dir/../t.txt", "/dir/./index", "/%00", "/t.txt%00"),
    *("/dir%5c..%5ct.txt", "/%2e%2e/%2e%2e/etc/passwd", "/..%252ft.txt", "/%ff", "/%", "/%zz", "/nothing", "/[x]"),
]  # fmt: skip
REQUESTS: list[tuple[str, str, dict[str, str]]] = [
    *(("GET", path, {}) for path in PATHS),
    *(("GET", f"/via{path}", {}) for path in PATHS),
    *((method, path, {}) for method in ("POST", "OPTIONS", "DELETE") for path in ("/t.txt", "/nothing", "/page.html")),
    *((method, f"/via{path}", {}) for method in ("PUT",) for path in ("/t.txt", "/nothing", "/page.html")),
    ("GET", "/t.txt", {"if-none-match": "*"}),
    ("GET", "/t.txt", {"authorization": "x"}),
    ("GET", "/nothing", {"sec-fetch-mode": "navigate"}),
    ("GET", "/nothing", {"sec-fetch-mode": "cors"}),
    ("GET", "/dir/nothing", {"sec-fetch-mode": "navigate"}),
    ("POST", "/nothing", {"sec-fetch-mode": "navigate"}),
]

NEW, OLD = "2026-01-01", "2025-03-31"
SETTINGS = [
    ("auto-trailing-slash", "none", False, NEW),
    ("force-trailing-slash", "404-page", False, NEW),
    ("drop-trailing-slash", "single-page-application", False, NEW),
    ("none", "404-page", True, NEW),
    ("auto-trailing-slash", "single-page-application", ["/api/*", "/dir/*", "!/dir/index*", "/page"], NEW),
    ("auto-trailing-slash", "single-page-application", False, OLD),
]
# Where a connection is the subject, or how the file was hashed.
NOT_COMPARED = {"date", "connection", "keep-alive", "transfer-encoding", "content-length", "etag"}


@pytest.fixture(scope="session", autouse=True)
def packages() -> Path:
    return installed(HERE)


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Workers]:
    with ExitStack() as stack:
        yield Workers(tmp_path, stack)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def seen(status: int, headers: dict[str, str], body: str) -> dict[str, Any]:
    kept = {name: value.lower() for name, value in headers.items() if name not in NOT_COMPARED}
    return {"status": status, "has etag": "etag" in headers, **kept, "body": body}


def joined(lines: list[tuple[str, str]]) -> dict[str, str]:
    """Headers of one name as one value, as Node has them."""
    return {name: ", ".join(value for key, value in lines if key == name) for name, _ in lines}


@pytest.mark.anyio
@pytest.mark.parametrize(("html_handling", "not_found_handling", "first", "date"), SETTINGS)
@pytest.mark.parametrize("rules", [True, False], ids=["rules", "no rules"])
async def test_assets_are_answered_as_miniflare_answers_them(
    workers: Workers, html_handling: str, not_found_handling: str, first: bool | list[str], date: str, rules: bool
) -> None:
    public = workers.folder / "public"
    for name, text in FILES.items():
        if rules or not name.startswith(("_", ".assets")):
            (public / name).parent.mkdir(parents=True, exist_ok=True)
            (public / name).write_text(text)
    options = {"html_handling": html_handling, "not_found_handling": not_found_handling}
    told = tell(
        HERE / "javascript" / "assets.mjs",
        str(public),
        json.dumps({**options, "run_worker_first": first, "date": date}),
        json.dumps(REQUESTS),
    )
    theirs = [seen(*one) for one in told]
    run_first = tuple(first) if isinstance(first, list) else first
    config = AssetsConfig(public, "ASSETS", run_first, **options)
    client: Client = workers(SCRIPT, assets=config, compatibility_date=datetime.date.fromisoformat(date))
    ours = []
    for method, path, headers in REQUESTS:
        async with client.request(method, path, headers=list(headers.items())) as exchange:
            body = b"".join(await exchange.rest()).decode()
        ours.append(seen(exchange.status, joined(exchange.lines), body))
    differing = [
        f"{' '.join(map(str, request))}\n  {one}\n  {other}"
        for request, one, other in zip(REQUESTS, ours, theirs, strict=True)
        if one != other
    ]
    assert not differing, "\n".join(differing)
