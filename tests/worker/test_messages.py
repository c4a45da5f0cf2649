"""Requests and responses, in workerd's words (src/workerd/api/http.c++)."""

from typing import Any

import pytest

from cfai.worker.sdk import Request, Response
from cfai.worker.web import messages
from cfai.worker.web.errors import JsException
from cfai.worker.web.headers import Headers

USED = "Body has already been used. It can only be used once. Use tee() first if you need to read it twice."
NO_BODY = "Response with null body status (101, 204, 205, or 304) cannot have a body."


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: messages.Request.new("nope"), "TypeError: Invalid URL: nope"),
        (lambda: messages.Request.new("https://a", {"method": "NOPE"}), "TypeError: Invalid HTTP method string: NOPE"),
        (
            lambda: messages.Request.new("https://a", {"body": "x"}),
            "TypeError: Request with a GET or HEAD method cannot have a body.",
        ),
        (lambda: messages.Response.new("x", {"status": 204}), f"TypeError: {NO_BODY}"),
        (
            lambda: messages.Response.new("x", {"status": 99}),
            "RangeError: Responses may only be constructed with status codes in the range 200 to 599, inclusive.",
        ),
        (lambda: messages.Response.new("x", {"statusText": "a\nb"}), "TypeError: Invalid statusText"),
        (lambda: messages.Response.redirect("nope"), "TypeError: Unable to parse URL: nope"),
        (
            lambda: messages.Response.redirect("https://a", 200),
            "RangeError: 200 is not a redirect status code. It must be one of: 301, 302, 303, 307, or 308.",
        ),
        (lambda: Headers.new([("a b", "c")]), "TypeError: Invalid header name."),
        (lambda: Headers.new([("a", "b\nc")]), "TypeError: Invalid header value."),
        (lambda: Headers.new([("a",)]), "TypeError: To initialize a Headers object from a sequence, each inner"),
    ],
)
def test_what_is_refused(make: Any, problem: str) -> None:
    with pytest.raises(JsException) as caught:
        make()
    assert str(caught.value).startswith(problem)


async def test_a_body_is_read_once() -> None:
    response = messages.Response.new("text")
    assert await response.text() == "text"
    assert response.bodyUsed
    assert response.body.locked
    for read in (response.read, response.read_form):
        with pytest.raises(JsException) as caught:
            await read()
        assert caught.value.message == USED
    with pytest.raises(OSError, match="Response body is already used"):
        await Response(response).json()


async def test_both_of_a_clone_are_read() -> None:
    request = Request("https://example.com", method="POST", headers={"a": "1"}, body="text")
    copy = request.clone()
    assert [await request.text(), await copy.text(), copy.headers["A"]] == ["text", "text", "1"]
    streamed = messages.Response.new(messages.Response.new("stream").body, {"status": 201})
    copied = streamed.clone()
    assert [await streamed.text(), await copied.text(), copied.status] == ["stream", "stream", 201]


def test_a_status_without_a_body_takes_an_empty_one() -> None:
    assert Response("", status=204).body is None
    assert messages.Response.new(b"", {"status": 304}).whole == b""


def test_the_reason_of_a_status_has_a_default() -> None:
    assert repr(Response("x", status=404)) == (
        "Response(status=404, status_text='Not Found', content_type='text/plain;charset=UTF-8')"
    )
    assert Response("x", status=299).status_text == ""


def test_a_response_made_of_another() -> None:
    first = messages.Response.new("x", {"status": 201, "statusText": "Done", "headers": [("a", "1")]})
    second = messages.Response.new("y", first)
    assert (second.status, second.statusText, second.headers.find("a")) == (201, "Done", "1")


def test_a_request_made_of_another() -> None:
    first = messages.Request.new("https://example.com/a", {"method": "PUT", "body": "x", "headers": [("a", "1")]})
    second = messages.Request.new(first, {"method": "POST"})
    assert (second.url, second.method, second.headers.find("a")) == (first.url, "POST", "1")
    assert first.bodyUsed


async def test_headers_are_utf8_on_the_wire(worker: Any) -> None:
    client = worker("""
        from workers import Response, WorkerEntrypoint

        class Default(WorkerEntrypoint):
            async def fetch(self, request):
                return Response(request.headers["x-name"], headers={"x-snow": "\\u2603"})
        """)
    answer = await client("GET", "/", headers=[("x-name", "caf\u00e9")])
    assert answer.text == "caf\u00e9"
    assert answer.headers["x-snow"].encode("latin-1").decode() == "\u2603"


async def test_what_cloudflares_network_adds_to_a_request(worker: Any) -> None:
    client = worker("""
        from workers import Response, WorkerEntrypoint

        class Default(WorkerEntrypoint):
            async def fetch(self, request):
                headers = request.headers
                return Response.json([headers["cf-connecting-ip"], headers["accept-encoding"], request.cf.country])
        """)
    headers = [("accept-encoding", "zstd"), ("cf-connecting-ip", "6.6.6.6")]
    assert (await client("GET", "/", headers=headers)).text == '["127.0.0.1", "br, gzip", "US"]'
