"""A server on the loopback interface that plays streams of the corpus to whoever asks for one."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream

from cfai.sse import dumps
from cfai.testing.fuzz.case import CaseForm, CutStream

__all__ = ["Play", "Player", "playing"]

MOST_BYTES = 10_000_000
PAUSE_SECONDS = 0.002
LONG_PAUSE_SECONDS = 0.05
FEW_CHUNKS = 5
"""Between two chunks there is a pause, so that a client meets them one by one; between few of them a longer one, as
each cut counts there."""

_FORMS: tuple[tuple[re.Pattern[str], CaseForm], ...] = (
    (re.compile(r"/v1/chat/completions$"), "chat"),
    (re.compile(r"/v1/completions$"), "completion"),
    (re.compile(r"/v1/responses$"), "responses"),
    (re.compile(r"/run(/|$)"), "classic"),
)
"""The paths of POST requests, and the form in which a client expects the answer. Any GET has the classic one."""


@dataclass
class Play:
    """One stream in each form, to be played to one client, and what that client asked for."""

    streams: Mapping[CaseForm, CutStream]
    run_form: CaseForm = "classic"
    """The form behind `.../ai/run/MODEL`."""
    asked: CaseForm | None = None
    problem: str = ""
    """Why a request was not answered with a stream."""


class Player:
    """What each client is to be played, by number."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._plays: list[Play] = []

    def add(self, play: Play) -> str:
        """The address at which `play` is played."""
        self._plays.append(play)
        return f"{self._address}/{len(self._plays) - 1}"

    async def answer(self, client: SocketStream) -> None:
        async with client:
            try:
                await self._answer(client)
            except (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.IncompleteRead, anyio.EndOfStream):
                pass  # the client has seen enough
            except anyio.DelimiterNotFound:
                await client.send(b"HTTP/1.1 431 Headers too large\r\nconnection: close\r\n\r\n")

    async def _answer(self, client: SocketStream) -> None:
        received = BufferedByteReceiveStream(client)
        head = (await received.receive_until(b"\r\n\r\n", 100_000)).decode("latin-1")
        request_line, *lines = head.split("\r\n")
        method, target, *_ = [*request_line.split(" "), "", ""]
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await _body(received, headers, client)
        number, _, rest = target.partition("?")[0].lstrip("/").partition("/")
        if not number.isdecimal() or int(number) >= len(self._plays):
            await _refuse(client, 404, f"cfai fuzz has no stream at {target}")
            return
        play = self._plays[int(number)]
        form, problem = _form(method, f"/{rest}", body, play.run_form)
        if form is None:
            play.problem = problem
            await _refuse(client, 400 if method in ("GET", "POST") else 405, problem)
            return
        play.asked = form
        await _play(client, play.streams[form])


@asynccontextmanager
async def playing() -> AsyncGenerator[Player]:
    """A `Player` that listens on a free port."""
    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as tasks,
    ):
        player = Player(f"http://127.0.0.1:{listener.extra(SocketAttribute.local_port)}")
        tasks.start_soon(listener.serve, player.answer)
        yield player
        tasks.cancel_scope.cancel()


def _form(method: str, path: str, body: bytes, run_form: CaseForm) -> tuple[CaseForm | None, str]:
    if method == "GET":
        return "classic", ""
    form = next((form for pattern, form in _FORMS if pattern.search(path)), None)
    if method != "POST" or form is None:
        return (
            None,
            f"{method} {path} is none of what cfai fuzz plays: GET, or POST to .../ai/run/MODEL or OpenAI's paths",
        )
    try:
        inputs = json.loads(body)
    except ValueError:
        return None, f"the body of POST {path} is not JSON"
    if not isinstance(inputs, dict) or inputs.get("stream") is not True:
        return None, f"POST {path} asks for no stream: cfai fuzz plays streams, so send stream: true"
    return run_form if form == "classic" else form, ""


async def _body(received: BufferedByteReceiveStream, headers: Mapping[str, str], client: SocketStream) -> bytes:
    if headers.get("expect", "").lower() == "100-continue":
        await client.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = b""
        while size := int((await received.receive_until(b"\r\n", 1000)).partition(b";")[0], 16):
            body += await received.receive_exactly(min(size, MOST_BYTES))
            await received.receive_exactly(2)
        return body
    length = headers.get("content-length", "0")
    return await received.receive_exactly(min(int(length), MOST_BYTES)) if length.isdecimal() else b""


async def _refuse(client: SocketStream, status: int, problem: str) -> None:
    body = dumps({"success": False, "errors": [{"code": 8500, "message": problem}], "error": {"message": problem}})
    content = body.encode()
    head = f"HTTP/1.1 {status} Refused\r\ncontent-type: application/json\r\ncontent-length: {len(content)}\r\n"
    await client.send(f"{head}connection: close\r\n\r\n".encode() + content)


async def _play(client: SocketStream, stream: CutStream) -> None:
    await client.send(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n"
        b"access-control-allow-origin: *\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
    )
    pause = LONG_PAUSE_SECONDS if 1 < len(stream.chunks) <= FEW_CHUNKS else PAUSE_SECONDS
    for chunk in stream.chunks:
        if chunk:  # a chunk of no bytes would be the end
            await client.send(b"%x\r\n%b\r\n" % (len(chunk), chunk))
            await anyio.sleep(pause)
    await client.send(b"0\r\n\r\n")
    await client.send_eof()
