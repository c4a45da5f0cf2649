"""Static assets: what miniflare has no say in, and what must never be served. The rest is in tests/clients."""

import datetime
import os
from pathlib import Path
from typing import Any

import pytest

from cfai.config import AssetsConfig
from cfai.worker.bindings.asset_files import Folder
from cfai.worker.bindings.asset_headers import parse_headers
from cfai.worker.bindings.asset_redirects import parse_redirects
from cfai.worker.bindings.ignore_rules import IgnoreRules
from tests.worker.asgi_client import Client
from tests.worker.conftest import Workers

SCRIPT = """
    from workers import Response, WorkerEntrypoint

    class Default(WorkerEntrypoint):
        async def fetch(self, request):
            if "/kind" in request.url:
                response = await self.env.ASSETS.fetch("https://any.host/a.txt")
                return Response(f"{type(response).__module__} {await response.text()}")
            return Response("script")
    """


@pytest.fixture
def public(worker: Workers) -> Path:
    folder = worker.folder / "public"
    folder.mkdir()
    (folder / "a.txt").write_text("0123456789")
    return folder


def served(worker: Workers, public: Path, **changes: Any) -> Client:
    return worker(SCRIPT, assets=AssetsConfig(public, "ASSETS"), **changes)


@pytest.mark.parametrize(
    ("asked", "status", "content_range", "body"),
    [
        ("bytes=0-3", 206, "bytes 0-3/10", "0123"),
        ("bytes=8-", 206, "bytes 8-9/10", "89"),
        ("bytes=8-99", 206, "bytes 8-9/10", "89"),
        ("bytes=-3", 206, "bytes 7-9/10", "789"),
        ("bytes=-99", 206, "bytes 0-9/10", "0123456789"),
        ("bytes=10-", 416, "bytes */10", ""),
        ("bytes=-0", 416, "bytes */10", ""),
        ("bytes=3-1", 200, None, "0123456789"),
        ("bytes=0-1,4-5", 200, None, "0123456789"),
        ("bytes=x", 200, None, "0123456789"),
        ("lines=0-1", 200, None, "0123456789"),
    ],
)
async def test_a_range(
    worker: Workers, public: Path, asked: str, status: int, content_range: str | None, body: str
) -> None:
    answer = await served(worker, public)("GET", "/a.txt", headers=[("range", asked)])
    assert (answer.status, answer.headers.get("content-range"), answer.text) == (status, content_range, body)
    assert answer.headers["content-length"] == str(len(body))


async def test_a_range_of_a_file_that_has_changed_is_the_whole_file(worker: Workers, public: Path) -> None:
    client = served(worker, public)
    tag = (await client.get("/a.txt")).headers["etag"]
    headers = [("range", "bytes=0-0"), ("if-range", tag)]
    assert (await client("GET", "/a.txt", headers=headers)).text == "0"
    (public / "a.txt").write_text("changed")
    answer = await client("GET", "/a.txt", headers=headers)
    assert (answer.status, answer.text) == (200, "changed")


async def test_a_tag_is_of_what_is_in_the_file(worker: Workers, public: Path) -> None:
    client = served(worker, public)
    tag = (await client.get("/a.txt")).headers["etag"]
    os.utime(public / "a.txt", (1, 1))
    for known in (tag, f"W/{tag}"):
        answer = await client("GET", "/a.txt", headers=[("if-none-match", known)])
        assert (answer.status, answer.text, answer.headers["etag"]) == (304, "", tag)
    (public / "a.txt").write_text("9876543210")
    answer = await client("GET", "/a.txt", headers=[("if-none-match", tag)])
    assert (answer.status, answer.text) == (200, "9876543210")
    assert answer.headers["etag"] != tag


async def test_head_tells_the_length(worker: Workers, public: Path) -> None:
    answer = await served(worker, public)("HEAD", "/a.txt")
    assert (answer.status, answer.text, answer.headers["content-length"]) == (200, "", "10")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"


async def test_a_large_file_comes_in_pieces(worker: Workers, public: Path) -> None:
    content = os.urandom(3_000_000)
    (public / "large.bin").write_bytes(content)
    client = served(worker, public)
    answer = await client.get("/large.bin")
    assert len(answer.chunks) > 10
    assert b"".join(answer.chunks) == content
    assert answer.headers["content-length"] == "3000000"
    part = await client("GET", "/large.bin", headers=[("range", "bytes=1000000-2500000")])
    assert b"".join(part.chunks) == content[1_000_000:2_500_001]


async def test_a_large_file_that_is_left_early_is_closed(worker: Workers, public: Path) -> None:
    (public / "large.bin").write_bytes(bytes(5_000_000))
    async with served(worker, public).request("GET", "/large.bin") as exchange:
        await exchange.chunk()
        exchange.leave()
    assert worker.reported == []


async def test_what_is_never_served(worker: Workers, public: Path) -> None:
    (worker.folder / "outside.txt").write_text("secret")
    (public / "link.txt").symlink_to(worker.folder / "outside.txt")
    (public / "folder").symlink_to(worker.folder)
    (public / "inside.txt").symlink_to(public / "a.txt")
    (public / "loop.txt").symlink_to(public / "loop.txt")
    for name in (".dev.vars", ".env.local", ".git/config", ".wrangler/state/x", "sub/.dev.vars"):
        (public / name).parent.mkdir(parents=True, exist_ok=True)
        (public / name).write_text("secret")
    os.mkfifo(public / "pipe.txt")
    client = served(worker, public)
    for path in (
        *("/link.txt", "/folder/outside.txt", "/loop.txt", "/pipe.txt", "/a.txt%00", "/a.txt%00.html"),
        *("/.dev.vars", "/.env.local", "/.git/config", "/.wrangler/state/x", "/sub/.dev.vars", "/%2edev.vars"),
        *("/../outside.txt", "/%2e%2e/outside.txt", "/..%2foutside.txt", "/..%252foutside.txt", "/..%5coutside.txt"),
        *("/..\\outside.txt", "/sub/..%2f..%2foutside.txt", "/%2e%2e%2f%2e%2e%2fetc%2fpasswd", "/etc/passwd"),
    ):  # fmt: skip
        answer = await client.get(path)
        assert "secret" not in answer.text
        assert answer.status in (200, 307), path
        assert answer.status == 307 or answer.text == "script"
    assert (await client.get("/inside.txt")).text == "0123456789"


async def test_a_folder_that_is_not_there_has_no_files(worker: Workers, public: Path) -> None:
    (public / "a.txt").unlink()
    client = served(worker, public)
    public.rmdir()
    assert (await client.get("/a.txt")).text == "script"


@pytest.mark.parametrize(
    ("date", "module"), [("2025-10-01", "cfai.worker.sdk.responses"), ("2026-06-01", "cfai.worker.sdk.responses")]
)
async def test_the_binding_answers_with_the_response_of_the_sdk(
    worker: Workers, public: Path, date: str, module: str
) -> None:
    client = served(worker, public, compatibility_date=datetime.date.fromisoformat(date))
    assert (await client.get("/kind")).text == f"{module} 0123456789"


async def test_a_script_that_cannot_be_imported_does_not_hide_the_assets(worker: Workers, public: Path) -> None:
    client = worker("import nothing_of_that_name", assets=AssetsConfig(public))
    assert (await client.get("/a.txt")).text == "0123456789"
    assert (await client.get("/nothing")).status == 500


async def test_wrong_rules_are_named_with_their_line(worker: Workers, public: Path) -> None:
    (public / "_headers").write_text("/a.txt\n  no colon\n  X-Good: yes\n")
    (public / "_redirects").write_text("/only-one\n/good /a.txt\n/bad /a.txt 404\n")
    client = served(worker, public)
    warnings = [line for line in worker.logged if "WARNING" in line]
    assert warnings == [
        f"▲ [WARNING] {public}/_headers:2: Expected a colon-separated header pair (e.g. name: value) | no colon",
        f"▲ [WARNING] {public}/_redirects:1: Expected exactly 2 or 3 whitespace-separated tokens. Got 1. | /only-one",
        f"▲ [WARNING] {public}/_redirects:3: "
        "Valid status codes are 200, 301, 302 (default), 303, 307, or 308. Got 404. | /bad /a.txt 404",
    ]
    assert (await client.get("/a.txt")).headers["x-good"] == "yes"
    assert (await client.get("/good")).headers["location"] == "/a.txt"


def test_no_more_rules_are_read_than_cloudflare_takes() -> None:
    rules, problems = parse_headers("".join(f"/{n}\n  X: {n}\n" for n in range(120)))
    assert len(rules) == 100
    assert str(problems[0]).startswith("Maximum number of rules supported is 100.")
    redirects, wrong = parse_redirects("".join(f"/{n}/* /x\n" for n in range(120)), "none")
    assert len(redirects) == 100
    assert str(wrong[0]).startswith("Maximum number of dynamic rules supported is 100.")


@pytest.mark.parametrize(
    ("rules", "left_out", "kept"),
    [
        ("*.map", ["/a.map", "/js/a.map"], ["/a.js"]),
        ("/only-here.txt", ["/only-here.txt"], ["/sub/only-here.txt"]),
        ("build/", ["/build/x", "/sub/build/y"], ["/build"]),
        ("a/*/c.txt", ["/a/b/c.txt"], ["/a/b/d/c.txt"]),
        ("a/**/c.txt", ["/a/c.txt", "/a/b/d/c.txt"], ["/c.txt"]),
        ("**/c.txt", ["/c.txt", "/a/b/c.txt"], ["/d.txt"]),
        ("logs/**", ["/logs/a/b"], ["/logs", "/a/logs/b"]),
        ("file[0-9].txt", ["/file1.txt"], ["/filex.txt"]),
        ("file[!0-9].txt", ["/filex.txt"], ["/file1.txt"]),
        ("?.txt", ["/a.txt"], ["/ab.txt"]),
        ("*\n!keep.txt", ["/other.txt"], ["/keep.txt"]),
        ("dir/\n!dir/keep.txt", ["/dir/keep.txt"], []),
        ("# a comment\n\\#hash\ntrailing   ", ["/#hash", "/trailing"], ["/# a comment"]),
        ("[", [], ["/x"]),
    ],
)
def test_the_rules_of_an_ignore_file(rules: str, left_out: list[str], kept: list[str]) -> None:
    ignored = IgnoreRules(rules)
    assert [path for path in [*left_out, *kept] if ignored.ignores(path)] == left_out


def test_a_file_that_is_gone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Folder(tmp_path).file("/nothing")


async def test_the_binding_follows_a_redirect_of_its_own_and_passes_on_that_of_the_client(
    worker: Workers, public: Path
) -> None:
    (public / "index.html").write_text("home")
    script = """
        from workers import Response, WorkerEntrypoint

        class Default(WorkerEntrypoint):
            async def fetch(self, request):
                if request.url.endswith("index.html"):
                    return await self.env.ASSETS.fetch(request)
                response = await self.env.ASSETS.fetch("https://any.host/index.html")
                return Response(f"{response.status} {response.redirected} {response.url} {await response.text()}")
        """
    client = worker(script, assets=AssetsConfig(public, "ASSETS", run_worker_first=True))
    assert (await client.get("/")).text == "200 True https://any.host/ home"
    passed_on = await client.get("/index.html")
    assert (passed_on.status, passed_on.headers["location"]) == (307, "/")
