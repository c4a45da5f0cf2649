"""Who may use a server of ours, and on which socket."""

from __future__ import annotations

import socket
import stat
from pathlib import Path

import httpx2
import pytest
from starlette.responses import PlainTextResponse

from cfai.serving import BINDING_HOSTS, Guard, PortTaken, listen, listen_unix

WRONG_HOST = "the Host header '{}' does not name this machine; start it with --allow-host NAME"
WRONG_ORIGIN = "the Origin '{}' is another site; start it with --allow-host NAME"


@pytest.mark.parametrize(
    ("headers", "problem"),
    [
        ({"host": "localhost:8787"}, None),
        ({"host": "[::1]:8787"}, None),
        ({"host": "my-box", "origin": "http://my-box:8787"}, None),
        ({"host": "evil.example"}, WRONG_HOST.format("evil.example")),
        ({"host": "192.168.1.5:8787"}, WRONG_HOST.format("192.168.1.5:8787")),
        ({"host": "localhost", "origin": "http://127.0.0.1:3000"}, None),
        ({"host": "localhost", "origin": "https://evil.example"}, WRONG_ORIGIN.format("https://evil.example")),
        ({"host": "localhost", "origin": "null"}, WRONG_ORIGIN.format("null")),
        ({"host": "localhost", "origin": "http://[broken"}, WRONG_ORIGIN.format("http://[broken")),
        ({"host": "localhost", "sec-fetch-site": "cross-site"}, "a page of another site may not use this server"),
        ({"host": "localhost", "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, None),
    ],
)
async def test_who_gets_in(headers: dict[str, str], problem: str | None) -> None:
    await check(Guard(PlainTextResponse("in"), ["my-box"]), headers, problem)


@pytest.mark.parametrize(
    ("headers", "problem"),
    [
        ({"host": "192.168.1.5:8787", "origin": "http://192.168.1.5:8787"}, None),
        ({"host": "[fe80::1]"}, None),
        ({"host": "evil.example"}, WRONG_HOST.format("evil.example")),
        ({"host": "192.168.1.5", "origin": "http://evil.example"}, WRONG_ORIGIN.format("http://evil.example")),
    ],
)
async def test_who_gets_in_where_other_machines_are_served(headers: dict[str, str], problem: str | None) -> None:
    await check(Guard(PlainTextResponse("in"), any_address=True), headers, problem)


@pytest.mark.parametrize(
    ("path", "gets_in"),
    [
        ("/run", True),
        ("/run?version=3", True),
        ("/ai-gateway/run", True),
        ("/ai-api/models/search", True),
        ("/to-everything/markdown/supported", True),
        ("/", False),
        ("/runs", False),
        ("/run/", False),
        ("/run%2f..%2fhealth", False),
        ("/ai-gateway", False),
        ("/client/v4/accounts/a/ai/run/m", False),
        ("/v1/models", False),
    ],
)
async def test_the_host_that_a_worker_names_is_ours_on_the_paths_of_its_protocol(path: str, gets_in: bool) -> None:
    guard = Guard(PlainTextResponse("in"), paths_of=BINDING_HOSTS)
    problem = None if gets_in else WRONG_HOST.format("workers-binding.ai")
    await check(guard, {"host": "workers-binding.ai"}, problem, path)
    await check(Guard(PlainTextResponse("in")), {"host": "workers-binding.ai"}, WRONG_HOST.format("workers-binding.ai"))


@pytest.mark.parametrize(
    ("headers", "problem"),
    [
        ({"origin": "https://app.example"}, None),
        ({"origin": "https://APP.example", "sec-fetch-site": "cross-site", "sec-fetch-mode": "cors"}, None),
        ({"origin": "http://app.example"}, WRONG_ORIGIN.format("http://app.example")),
        ({"origin": "https://app.example:8443"}, WRONG_ORIGIN.format("https://app.example:8443")),
        ({"origin": "https://app.example.evil"}, WRONG_ORIGIN.format("https://app.example.evil")),
        ({"origin": "null"}, WRONG_ORIGIN.format("null")),
        ({"host": "evil.example", "origin": "https://app.example"}, WRONG_HOST.format("evil.example")),
        ({"sec-fetch-site": "cross-site"}, "a page of another site may not use this server"),
    ],
)
async def test_pages_of_an_allowed_origin_get_in(headers: dict[str, str], problem: str | None) -> None:
    await check(Guard(PlainTextResponse("in"), origins=["https://app.example/"]), headers, problem)


async def test_a_star_lets_every_page_in_but_no_other_host() -> None:
    guard = Guard(PlainTextResponse("in"), origins=["*"])
    await check(guard, {"origin": "https://any.example", "sec-fetch-site": "cross-site"}, None)
    await check(guard, {"host": "any.example", "origin": "https://any.example"}, WRONG_HOST.format("any.example"))


async def test_two_hosts_are_none() -> None:
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(Guard(PlainTextResponse("in"))), base_url="http://localhost"
    ) as client:
        response = await client.get("/", headers=[("host", "localhost"), ("host", "evil.example")])
    assert response.status_code == 403


@pytest.mark.parametrize(
    "headers", [{f"x-{number}": "" for number in range(200)}, {"x": "x" * 40_000}, {"x" * 40_000: "x"}]
)
async def test_headers_have_bounds(headers: dict[str, str]) -> None:
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(Guard(PlainTextResponse("in"))), base_url="http://localhost"
    ) as client:
        response = await client.get("/", headers=headers)
    assert (response.status_code, response.text) == (431, "Request Header Fields Too Large\n")


async def check(app: Guard, headers: dict[str, str], problem: str | None, path: str = "/") -> None:
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://localhost") as client:
        response = await client.get(path, headers=headers)
    expected = (200, "in") if problem is None else (403, f"Forbidden: {problem}\n")
    assert (response.status_code, response.text) == expected


def test_a_taken_port_is_named_once() -> None:
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(PortTaken) as caught:
            listen("127.0.0.1", port)
    assert caught.value.strerror == f"cannot listen on 127.0.0.1:{port}: Address already in use"
    with pytest.raises(PortTaken) as caught:
        listen("no-such-host.invalid", 0)
    assert str(caught.value.strerror).startswith("cannot listen on no-such-host.invalid:0: ")
    assert str(caught.value.strerror).count("no-such-host") == 1


def test_a_unix_socket_is_its_users_alone(tmp_path: Path) -> None:
    path = tmp_path / "ai.sock"
    with listen_unix(path):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0
        with pytest.raises(PortTaken, match="Address already in use"):
            listen_unix(path)
    # What a process that was killed has left behind is replaced.
    with listen_unix(path), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    path.unlink()
    path.write_text("not a socket")
    with pytest.raises(PortTaken):
        listen_unix(path)
    assert path.read_text() == "not a socket"
