"""The web's classes by themselves."""

import math
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
import uvicorn

from cfai import AiResult
from cfai.worker import sdk
from cfai.worker.web.aborting import AbortController
from cfai.worker.web.crypto import crypto
from cfai.worker.web.dates import Date
from cfai.worker.web.fetching import fetch
from cfai.worker.web.headers import Headers
from cfai.worker.web.messages import Request, Response
from cfai.worker.web.object_class import structuredClone
from cfai.worker.web.primitives import Math
from cfai.worker.web.streams import ReadableStream
from cfai.worker.web.text import TextDecoder, TextEncoder
from cfai.worker.web.urls import URL, URLSearchParams
from cfai.worker.web.values import (
    JSON,
    Array,
    JsArray,
    JsException,
    JsObject,
    JsProxy,
    JsRangeError,
    JsTypeError,
    LiteralMap,
    Object,
    Uint8Array,
    jsnull,
    to_js,
)


@pytest.mark.parametrize(
    ("url", "part", "value"),
    [
        ("https://user:pw@Example.com:8443/a/b?q=1#x", "hostname", "example.com"),
        ("https://user:pw@example.com:8443/a/b?q=1#x", "host", "example.com:8443"),
        ("https://example.com:443/a", "port", ""),
        ("https://example.com", "href", "https://example.com/"),
        ("https://example.com/a b?q=1#x", "pathname", "/a%20b"),
        ("https://example.com/a?q=1#x", "search", "?q=1"),
        ("https://example.com/a?q=1#x", "hash", "#x"),
        ("https://example.com/a", "origin", "https://example.com"),
        ("http://[::1]:80/", "host", "[::1]"),
        ("https://example.com/caf%C3%A9", "pathname", "/caf%C3%A9"),
    ],
)
def test_the_parts_of_a_url(url: str, part: str, value: str) -> None:
    assert getattr(URL.new(url), part) == value


@pytest.mark.parametrize("url", ["", "/a", "example.com", "http://", "http://x:port/"])
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(JsTypeError, match="Invalid URL"):
        URL.new(url)


def test_a_url_and_its_query_change_together() -> None:
    url = URL.new("/path?a=1&a=2", "https://example.com/base")
    assert list(url.searchParams.getAll("a")) == ["1", "2"]
    url.searchParams.append("b", "x y")
    url.searchParams.delete("a")
    assert str(url) == "https://example.com/path?b=x+y"
    assert str(URLSearchParams.new({"a": 1})) == "a=1"


def test_headers() -> None:
    headers = Headers.new([("B", "2"), ("a", "1"), ("a", "3")])
    assert headers.get("A") == "1, 3"
    assert headers.find("nope") is None
    assert [tuple(pair) for pair in headers] == [("a", "1, 3"), ("b", "2")]
    headers["A"] = "4"
    headers.delete("b")
    assert (headers.joined, "a" in headers, headers.has("b")) == ([("a", "4")], True, False)
    assert Headers.new(Headers.new(x="1")).joined == [("x", "1")]


@pytest.mark.parametrize("value", ["a\nb", "a\rb", "a\0b"])
def test_a_header_cannot_carry_everything(value: str) -> None:
    with pytest.raises(JsTypeError):
        Headers.new({"a": value})


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ({"a": 1}, LiteralMap),
        ([1], JsArray),
        ((1,), JsArray),
        (b"a", Uint8Array),
        ("a", str),
        (None, type(None)),
        (1.5, float),
    ],
)
def test_to_js(value: Any, kind: type) -> None:
    made = to_js(value)
    assert type(made) is kind
    assert to_js(made) is made


def test_objects_and_maps_have_attributes() -> None:
    made = to_js({"a": {"b": [1, {"c": 2}]}}, dict_converter=Object.fromEntries)
    assert type(made) is JsObject
    assert type(made.a.b[1]) is JsObject
    assert made.a.b[1].c == 2
    assert made.to_py() == {"a": {"b": [1, {"c": 2}]}}
    assert list(made.object_keys()) == ["a"]
    one = Object.new()
    one.x = 1
    assert Object.assign(one, {"y": 2}).to_py() == {"x": 1, "y": 2}
    del one.x
    assert Object.entries(one).to_py() == [["y", 2]]
    with pytest.raises(AttributeError):
        one.x  # noqa: B018
    assert to_js({"a": 1}).get("a") == to_js({"a": 1}).a == 1
    assert Array.isArray(Array.from_(x for x in [1]))


def test_what_counts_as_a_proxy() -> None:
    assert isinstance(to_js([1]), JsProxy)
    assert not isinstance({}, JsProxy)
    assert not isinstance(AiResult(), JsProxy)


def test_json() -> None:
    assert JSON.stringify({"a": [1, None, "é"], "b": jsnull}) == '{"a":[1,null,"é"],"b":null}'
    assert JSON.stringify(AiResult({"a": 1}), None, 2) == '{\n  "a": 1\n}'
    assert JSON.stringify(None) is None
    parsed = JSON.parse('{"a": {"b": null}}')
    assert (parsed.a.b, type(parsed.a)) == (jsnull, JsObject)
    with pytest.raises(JsException, match="SyntaxError: ") as raised:
        JSON.parse("{")
    assert raised.value.name == "SyntaxError"


async def test_request_and_response_bodies() -> None:
    request = Request.new("https://x/", method="post", body='{"a":1}', headers={"content-type": "application/json"})
    assert (request.method, (await request.clone().json()).a, await request.text()) == ("POST", 1, '{"a":1}')
    with pytest.raises(JsTypeError, match="already been used"):
        await request.text()
    with pytest.raises(JsTypeError, match="GET or HEAD"):
        Request.new("https://x/", body="a")
    with pytest.raises(JsTypeError, match="null body status"):
        Response.new("a", status=204)
    with pytest.raises(JsRangeError):
        Response.redirect("https://x/", 200)
    assert await Response.new(URLSearchParams.new({"a": "b c"})).text() == "a=b+c"
    assert await sdk.Response(b"\xef\xbb\xbfhi").text() == "hi"


async def test_a_stream_that_is_left_early_closes_what_it_reads() -> None:
    closed = []

    async def chunks() -> AsyncIterator[str]:
        try:
            yield "one"
            yield "two"
        finally:
            closed.append(True)

    stream = ReadableStream.of(chunks())
    reader = stream.getReader()
    assert (await reader.read()).value == "one"
    with pytest.raises(JsTypeError, match="locked"):
        stream.getReader()
    await reader.cancel()
    assert (await reader.read()).done
    assert closed == [True]


async def test_both_halves_of_a_tee_may_lag() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for chunk in (b"1", b"2", b"3"):
            yield chunk

    one, two = ReadableStream.of(chunks()).tee()
    assert [chunk async for chunk in one] == [b"1", b"2", b"3"]
    assert [chunk async for chunk in two] == [b"1", b"2", b"3"]


def test_the_rest_of_the_platform() -> None:
    assert TextDecoder.new().decode(TextEncoder.new().encode("é")) == "é"
    decoder = TextDecoder.new()
    assert decoder.decode(b"\xc3", stream=True) + decoder.decode(b"\xa9") == "é"
    assert Date.new(0).toISOString() == "1970-01-01T00:00:00.000Z"
    assert isinstance(Date.now(), int)
    assert (Math.floor(2.7), Math.round(2.5), Math.PI) == (2, 3, math.pi)
    assert len(crypto.randomUUID()) == 36
    controller = AbortController.new()
    seen: list[Any] = []
    controller.signal.addEventListener("abort", seen.append)
    controller.abort()
    controller.abort()
    assert [event.target for event in seen] == [controller.signal]
    with pytest.raises(JsException, match="AbortError"):
        controller.signal.throwIfAborted()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_fetch_asks_the_network() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = (await receive())["body"]
        headers = [(b"x-method", scope["method"].encode()), (b"x-sent", dict(scope["headers"]).get(b"x-a", b""))]
        await send({"type": "http.response.start", "status": 201, "headers": headers})
        await send({"type": "http.response.body", "body": b"got " + body})

    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, log_level="critical", lifespan="off"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server._serve)
        while not server.started:  # noqa: ASYNC110  # uvicorn has no event for it
            await anyio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        response = await fetch(f"http://127.0.0.1:{port}/", method="POST", body="hi", headers={"x-a": "b"})
        assert (response.status, response.ok, response.headers.get("x-method")) == (201, True, "POST")
        assert (response.headers.get("x-sent"), await response.text()) == ("b", "got hi")
        outer = await sdk.fetch(sdk.Request(f"http://127.0.0.1:{port}/"))
        assert (outer.status, await outer.text()) == (201, "got ")
        server.should_exit = True
    with pytest.raises(OSError, match="Network connection lost"):
        await sdk.fetch(f"http://127.0.0.1:{port}/")


def test_a_structured_clone_is_deep() -> None:
    given = to_js({"a": [1, {"b": 2}]})
    copy = structuredClone(given)
    copy.a[1].b = 3
    assert (given.a[1].b, copy.a[1].b) == (2, 3)
    assert type(copy) is type(given)
