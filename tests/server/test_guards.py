"""What a server does with requests that nobody should send, with pages of other origins, and with what it logs."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator

import anyio
import httpx2
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream
from trio.testing import MockClock

from cfai import Call, FakeBinding, LocalBinding, Reply
from cfai.cli.logs import show_logs
from cfai.errors import InvalidModelName, RequestTimeout
from cfai.request_id import of_request, request_id
from cfai.server.app import App, rest_app
from cfai.server.body import read_body
from cfai.serving import listen, serve
from tests.server.canned import Canned
from tests.serving import serving

MODEL = "@cf/test/llama"
RUN = f"/client/v4/accounts/acc/ai/run/{MODEL}"


@contextlib.asynccontextmanager
async def port_of(app: App) -> AsyncIterator[int]:
    """Serve `app` just as `cfai serve` does."""
    async with anyio.create_task_group() as tasks:
        with listen("127.0.0.1", 0) as listener:

            async def run() -> None:
                await serve(app, listener=listener, end_streams=app.aclose)

            tasks.start_soon(run)
            yield listener.getsockname()[1]
            tasks.cancel_scope.cancel()


async def sent(port: int, request: bytes) -> bytes:
    """All that comes back for these bytes, until the server closes or has sent one reply with a known length."""
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        with contextlib.suppress(anyio.BrokenResourceError):
            await stream.send(request)
        reader = BufferedByteReceiveStream(stream)
        with anyio.fail_after(20):
            try:
                head = await reader.receive_until(b"\r\n\r\n", 65536)
            except (anyio.IncompleteRead, anyio.EndOfStream, anyio.BrokenResourceError):
                return b""
            length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            body = await reader.receive_exactly(int(length[0].partition(b":")[2])) if length else b""
        return head + body


def post(path: str, *headers: str, body: bytes = b'{"prompt":"hi"}', host: str = "localhost") -> bytes:
    lines = [f"POST {path} HTTP/1.1", f"Host: {host}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


ODD: list[tuple[bytes, int]] = [
    (post(RUN), 200),
    (post(RUN.replace("/test/", "%2Ftest%2F")), 200),
    (post(RUN.replace("/test/", "%2ftest%2f")), 200),
    (post(RUN, "Expect: 100-continue"), 100),
    (post(RUN + "?" + "x=1&" * 3000), 200),
    (post(RUN, "X: " + "x" * 40_000), 431),
    (post(RUN, *(f"X-{number}: 1" for number in range(500))), 431),
    (post(RUN, "Host: localhost"), 400),
    (post(RUN, host="evil.example"), 403),
    (post(RUN, host="workers-binding.ai"), 403),
    (post(RUN, "Origin: http://evil.example"), 403),
    (post(RUN, "Origin: null"), 403),
    (post("http://localhost" + RUN), 404),
    (post("http://evil.example" + RUN), 404),
    (post("//" + RUN), 404),
    (post("/client/v4/../v4/accounts/acc/ai/run/" + MODEL), 404),
    (post("/client/v4/accounts/..%2f..%2fhealth"), 404),
    (post("/client/v4/accounts/acc/ai/run/..%2f..%2f..%2fhealth"), 404),
    (post("/client/v4/accounts/acc/ai/run/%00%0d%0aX:1"), 404),
    (post("/client/v4/accounts/acc/ai/run/%ff%fe"), 404),
    (post("/client/v4/accounts/a%2fb/ai/run/" + MODEL), 404),
    (post("/playground/..%2f..%2fapp.py"), 404),
    (post("/playground/%2e%2e/%2e%2e/app.py"), 404),
    (post(RUN, body=b""), 400),
    (post(RUN, "Content-Encoding: gzip", body=b"\x1f\x8b\x08"), 400),
    (b"POST " + RUN.encode() + b" HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", 400),
    (b"POST " + RUN.encode() + b" HTTP/1.0\r\nHost: localhost\r\nContent-Length: 15\r\n\r\n" + b'{"prompt":"hi"}', 200),
    (b"POST " + RUN.encode() + b" HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n", 400),
    (b"POST " + RUN.encode() + b" HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\r\n\r\n", 400),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 403),
    (b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
    (b"OPTIONS " + RUN.encode() + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
    (b"get /health HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
    (b"BREW " + RUN.encode() + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
    (b"TRACE /health HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
    (b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", 200),
]


async def test_odd_requests_are_answered_and_the_server_goes_on() -> None:
    async with port_of(rest_app(Refusing({MODEL: "hi"}))) as port:
        answers = [(request[:300], await sent(port, request)) for request, _ in ODD]
        assert (await sent(port, post(RUN))).endswith(b'"success":true,"errors":[],"messages":[]}')
    statuses = [(request, reply.partition(b"\r\n")[0].split()[1:2]) for request, reply in answers]
    assert statuses == [(request[:300], [str(status).encode()]) for request, status in ODD]
    assert not [reply for _, reply in answers if b"Traceback" in reply]


class Refusing(FakeBinding):
    """A fake that refuses ids that cannot be any, as every real binding does."""

    async def send(self, call: Call) -> Reply:
        if call.model not in self.answers:
            return Reply.from_error(InvalidModelName(call.model))
        return await super().send(call)


@pytest.mark.parametrize("request_", [post(RUN, "X: " + "x" * 10_000_000), post("/" + "x" * 10_000_000)])
async def test_headers_without_an_end_are_not_read_to_theirs(request_: bytes) -> None:
    async with port_of(rest_app(FakeBinding())) as port:
        reply = await sent(port, request_)
        # Who still sends when the connection is closed may not see the reply.
        assert reply == b"" or reply.startswith(b"HTTP/1.1 400 ")
        assert (await sent(port, post("/health"))).startswith(b"HTTP/1.1 405 ")


async def test_a_body_beyond_the_limit_is_refused_whatever_it_promises() -> None:
    canned = Canned({"response": "hi"})
    async with port_of(rest_app(canned)) as port:
        whole = post(RUN, body=b'{"prompt":"' + b"x" * (10 * 1024 * 1024) + b'"}')
        assert (await sent(port, whole)).startswith(b"HTTP/1.1 413 ")
        chunks = (b"%x\r\n" % 1_000_000 + b"x" * 1_000_000 + b"\r\n") * 11
        head = b"POST " + RUN.encode() + b" HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        reply = await sent(port, head + chunks + b"0\r\n\r\n")
        assert reply.startswith(b"HTTP/1.1 413 ")
        assert b'"code":3006' in reply
        assert not canned.calls
        fits = post(RUN, body=b'{"prompt":"' + b"x" * (9 * 1024 * 1024) + b'"}')
        assert (await sent(port, fits)).startswith(b"HTTP/1.1 200 ")


def test_a_body_may_come_slowly_and_in_pieces_but_not_never() -> None:
    pieces = [b'{"pro', b"", b'mpt":1', b"}"]

    async def receive() -> dict[str, object]:
        await anyio.sleep(50)
        if pieces:
            return {"type": "http.request", "body": pieces.pop(0), "more_body": True}
        await anyio.sleep_forever()
        raise AssertionError

    with pytest.raises(RequestTimeout):
        anyio.run(read_body, receive, backend="trio", backend_options={"clock": MockClock(autojump_threshold=0)})
    assert not pieces


# Pages of other origins.

PREFLIGHT = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type"}


async def test_pages_of_an_allowed_origin_may_ask_and_read() -> None:
    async def events() -> AsyncGenerator[bytes]:
        yield b'data: {"response":"New"}\n\n'
        await read.wait()
        yield b"data: [DONE]\n\n"

    read = anyio.Event()
    app = rest_app(Canned(events), token="t0ken", cors_origins=["https://app.example/"])
    origin = {"origin": "https://app.example", "sec-fetch-site": "cross-site", "sec-fetch-mode": "cors"}
    async with serving(app) as address, httpx2.AsyncClient(base_url=address, headers=origin) as client:
        preflight = await client.options(RUN, headers=PREFLIGHT)
        assert preflight.status_code == 200, "without a token, which browsers do not send here"
        assert preflight.headers["access-control-allow-origin"] == "https://app.example"
        assert "POST" in preflight.headers["access-control-allow-methods"]
        assert "authorization" in preflight.headers["access-control-allow-headers"]
        async with client.stream(
            "POST", RUN, content=b'{"stream":true}', headers={"authorization": "Bearer t0ken"}
        ) as response:
            assert response.headers["access-control-allow-origin"] == "https://app.example"
            assert "cf-ai-req-id" in response.headers["access-control-expose-headers"]
            with anyio.fail_after(20):
                chunks = response.aiter_raw()
                assert await anext(chunks) == b'data: {"response":"New"}\n\n', "it is not held back"
                read.set()
                assert await anext(chunks) == b"data: [DONE]\n\n"
        refused = await client.post(RUN, content=b"{}")
        assert refused.status_code == 401
        assert refused.headers["access-control-allow-origin"] == "https://app.example", "the page can read why"


@pytest.mark.parametrize("origins", [[], ["https://app.example"]])
async def test_pages_of_other_origins_may_not(origins: list[str]) -> None:
    canned = Canned({"response": "hi"})
    app = rest_app(canned, cors_origins=origins)
    async with (
        serving(app) as address,
        httpx2.AsyncClient(base_url=address, headers={"origin": "https://evil.example"}) as client,
    ):
        for response in (await client.options(RUN, headers=PREFLIGHT), await client.post(RUN, content=b"{}")):
            assert response.status_code == 403
            assert "access-control-allow-origin" not in response.headers
    assert not canned.calls


@pytest.mark.parametrize(
    ("page", "extra", "status"),
    [
        ("http://127.0.0.1:3000", {}, 403),
        ("http://localhost:3000", {"sec-fetch-site": "same-site"}, 403),
        ("http://localhost:5173", {"sec-fetch-site": "same-origin"}, 200),  # its development server passes this on
        ("http://localhost:8000", {}, 200),
    ],
)
async def test_a_page_of_another_port_of_this_machine_must_be_named_too(
    page: str, extra: dict[str, str], status: int
) -> None:
    app = rest_app(Canned({"response": "hi"}), cors_origins=["http://localhost:8000"])
    async with (
        serving(app) as address,
        httpx2.AsyncClient(base_url=address, headers={"origin": page, **extra}) as client,
    ):
        response = await client.post(RUN, content=b'{"prompt": "hi"}')
        assert response.status_code == status
        assert status == 200 or f"start it with --cors-origin {page}" in response.text
        own = await client.post(RUN, content=b'{"prompt": "hi"}', headers={"origin": address})
        assert own.status_code == 200


# The log.


async def test_every_line_of_a_request_bears_its_id(capsys: pytest.CaptureFixture[str]) -> None:
    async def answer(call: object) -> str:
        logging.getLogger("cfai.bindings").info("at work for %s", of_request())
        return "hi"

    root = logging.getLogger()
    handlers, root.handlers = root.handlers, []
    try:
        show_logs()
        app = rest_app(FakeBinding({MODEL: answer}))
        async with serving(app) as address, httpx2.AsyncClient(base_url=address) as client:
            first = await client.post(RUN, content=b'{"prompt":"s3cret"}')
            second = await client.post(RUN, content=b"{")
        logging.getLogger("cfai").info("between requests")
    finally:
        root.handlers = handlers
    lines = [line.split(" ", 1)[1] for line in capsys.readouterr().err.splitlines()]
    one, two = first.headers["x-request-id"], second.headers["x-request-id"]
    assert one != two
    assert [line.rsplit(" ", 2)[0] if line.endswith(" s") else line for line in lines] == [
        f"{one} at work for {one}",
        f"{one} POST {RUN} 200",
        f"{two} POST {RUN} 400",
        "between requests",
    ]
    assert second.headers["cf-ai-req-id"] == two
    assert request_id.get() == ""


async def test_the_lines_of_a_models_thread_bear_the_request_they_are_about(
    local: LocalBinding, capsys: pytest.CaptureFixture[str]
) -> None:
    root = logging.getLogger()
    handlers, root.handlers = root.handlers, []
    try:
        show_logs()
        async with serving(rest_app(local)) as address, httpx2.AsyncClient(base_url=address, timeout=30) as client:
            response = await client.post(RUN, content=b'{"prompt":"New","max_tokens":1}')
    finally:
        root.handlers = handlers
    assert response.headers["cf-ai-req-id"] == response.headers["x-request-id"]
    assert f" {response.headers['x-request-id']} {MODEL}: finished, " in capsys.readouterr().err


@pytest.mark.parametrize("asked", [False, True])
async def test_prompts_are_in_the_log_only_if_asked_for(asked: bool, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "cfai")
    app = rest_app(FakeBinding({MODEL: "hi"}), log_prompts=asked, token="t0ken")
    async with serving(app) as address, httpx2.AsyncClient(base_url=address) as client:
        body = '{"prompt":"wo ist 纽约?\\u001b[2J\\n"}'.encode()
        await client.post(RUN, content=body, headers={"authorization": "Bearer t0ken"})
    assert "t0ken" not in caplog.text
    prompts = [record.getMessage() for record in caplog.records if "纽约" in record.getMessage()]
    assert prompts == ([f'{MODEL} is asked {{"prompt": "wo ist 纽约?\\u001b[2J\\n"}}'] if asked else [])
