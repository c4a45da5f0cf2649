"""Who may use a server of ours, and on which socket."""

from __future__ import annotations

import socket
import stat
from pathlib import Path

import httpx2
import pytest
from starlette.responses import PlainTextResponse

from cfai.serving import Guard, PortTaken, listen, listen_unix

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


async def check(app: Guard, headers: dict[str, str], problem: str | None) -> None:
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://localhost") as client:
        response = await client.get("/", headers=headers)
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
