"""Streams that outlive a lost connection: byte for byte, for a bounded time, in bounded memory."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any

import anyio
import httpx2
import pytest
from starlette.types import Scope

from cfai import ByteStream, Reply
from cfai.errors import BadInput
from cfai.server.app import rest_app
from cfai.server.resume import STREAM_ID, Streams
from tests.server.canned import Canned
from tests.serving import serving
from tests.waiting import until

RUN = "/client/v4/accounts/acc/ai/run/@cf/test/llama"
BODY = json.dumps({"prompt": "hi", "stream": True}).encode()
PIECES = [f'data: {{"response":"{number}"}}\n\n'.encode() for number in range(6)]
DONE = b"data: [DONE]\n\n"


class Made:
    """A stream made piece by piece, when the test says so."""

    def __init__(self, pieces: list[bytes] | None = None) -> None:
        self.pieces = PIECES if pieces is None else pieces
        self.begun = 0
        self.taken = 0
        self.ended = 0
        self._allowed = 0
        self._more = anyio.Event()

    def make(self, count: int) -> None:
        self._allowed += count
        self._more.set()
        self._more = anyio.Event()

    async def __call__(self) -> AsyncGenerator[bytes]:
        self.begun += 1
        try:
            for number, piece in enumerate([*self.pieces, DONE]):
                while number >= self._allowed:
                    await self._more.wait()
                yield piece
                self.taken = number + 1
        finally:
            self.ended += 1


def ids(events: bytes) -> list[str]:
    return re.findall(r"^id: (.*)$", events.decode(), re.MULTILINE)


def without_ids(events: bytes) -> bytes:
    return re.sub(rb"^id: .*\n", b"", events, flags=re.MULTILINE)


async def read(client: httpx2.AsyncClient, last: str, count: int, *, path: str = RUN) -> bytes:
    """Read `count` events of a stream and lose the connection."""
    seen = b""
    async with client.stream("POST", path, content=BODY, headers={"last-event-id": last}) as response:
        assert response.status_code == 200, await response.aread()
        async for chunk in response.aiter_raw():
            seen += chunk
            if seen.count(b"\n\n") >= count:
                break
    assert seen.count(b"\n\n") == count
    return seen


async def whole(client: httpx2.AsyncClient, last: str, *, path: str = RUN) -> bytes:
    return (await client.post(path, content=BODY, headers={"last-event-id": last})).content


@pytest.mark.parametrize("path", [RUN, "/v1/chat/completions"])
@pytest.mark.parametrize("lost_after", range(1, 7))
async def test_what_was_read_in_all_is_the_uninterrupted_stream(path: str, lost_after: int) -> None:
    made = Made()
    body = json.dumps({"model": "@cf/test/llama", "stream": True}).encode()
    async with serving(rest_app(Canned(made))) as address, httpx2.AsyncClient(base_url=address) as client:
        made.make(lost_after)
        seen = b""
        headers = {"last-event-id": "0"}
        async with client.stream("POST", path, content=body, headers=headers) as response:
            async for chunk in response.aiter_raw():
                seen += chunk
                if seen.count(b"\n\n") == lost_after:
                    break
        made.make(9)
        headers = {"last-event-id": ids(seen)[-1]}
        rest = (await client.post(path, content=body, headers=headers)).content
        again = (await client.post(path, content=body, headers=headers)).content
    assert without_ids(seen + rest) == b"".join([*PIECES, DONE])
    (stream,) = {name.partition("-")[0] for name in ids(seen + rest)}
    assert ids(seen + rest) == [f"{stream}-{number}" for number in range(1, 8)]
    assert rest == again, "an answer that is complete can be fetched again"
    assert made.begun == 1
    assert made.ended == 1


async def test_without_being_asked_a_stream_has_no_ids_and_ends_with_its_connection() -> None:
    made = Made()
    async with serving(rest_app(Canned(made))) as address, httpx2.AsyncClient(base_url=address) as client:
        made.make(2)
        async with client.stream("POST", RUN, content=BODY) as response:
            assert STREAM_ID not in response.headers
            chunks = response.aiter_raw()
            assert await anext(chunks) == PIECES[0]
        await until(lambda: made.ended == 1)
    assert made.taken <= 2


@pytest.mark.parametrize("asked", [{"headers": {"last-event-id": ""}}, {"params": {"resumable": "true"}}])
async def test_the_other_ways_to_ask_for_it(asked: dict[str, Any]) -> None:
    async with serving(rest_app(Canned([*PIECES, DONE]))) as address, httpx2.AsyncClient(base_url=address) as client:
        response = await client.post(RUN, content=BODY, **asked)
    assert len(ids(response.content)) == 7
    assert ids(response.content)[0] == f"{response.headers[STREAM_ID]}-1"
    assert without_ids(response.content) == b"".join([*PIECES, DONE])


@pytest.mark.parametrize(
    "last", [b"nonsense", b"0" * 32 + b"-1", b"0" * 32, b"-1", b"../x", b"9" * 400, b"00", b"\xe9"]
)
async def test_what_is_not_kept_is_gone_and_never_begun_anew(last: bytes) -> None:
    canned = Canned([*PIECES, DONE])
    async with serving(rest_app(canned)) as address, httpx2.AsyncClient(base_url=address) as client:
        response = await client.post(RUN, content=BODY, headers={b"last-event-id": last})
    assert (response.status_code, response.json()["errors"][0]["code"]) == (410, 8501)
    assert not canned.calls


async def test_an_event_that_does_not_exist_yet_is_refused() -> None:
    canned = Canned([*PIECES, DONE])
    async with serving(rest_app(canned)) as address, httpx2.AsyncClient(base_url=address) as client:
        stream = ids(await whole(client, "0"))[0].partition("-")[0]
        assert (await client.post(RUN, content=BODY, headers={"last-event-id": f"{stream}-8"})).status_code == 410
        assert await whole(client, f"{stream}-7") == b""
        assert without_ids(await whole(client, f"{stream}-0")) == b"".join([*PIECES, DONE])
    assert len(canned.calls) == 1


async def test_nobody_came_back_in_time() -> None:
    made = Made()
    app = rest_app(Canned(made), keep_streams=0.05)
    async with serving(app) as address, httpx2.AsyncClient(base_url=address) as client:
        made.make(2)
        seen = await read(client, "0", 2)
        await until(lambda: made.ended == 1)
        response = await client.post(RUN, content=BODY, headers={"last-event-id": ids(seen)[-1]})
    assert (response.status_code, made.begun) == (410, 1)


async def test_the_newer_of_two_readers_wins() -> None:
    made = Made()
    async with (
        serving(rest_app(Canned(made))) as address,
        httpx2.AsyncClient(base_url=address) as client,
        client.stream("POST", RUN, content=BODY, headers={"last-event-id": "0"}) as older,
    ):
        made.make(1)
        chunks = older.aiter_raw()
        first = await anext(chunks)
        name = ids(first)[0]
        async with client.stream("POST", RUN, content=BODY, headers={"last-event-id": name}) as newer:
            assert [chunk async for chunk in chunks] == [], "the older one ends"
            made.make(9)
            rest = await newer.aread()
    assert without_ids(first + rest) == b"".join([*PIECES, DONE])


async def test_a_stream_is_ended_before_its_time() -> None:
    made = Made()
    async with serving(rest_app(Canned(made))) as address, httpx2.AsyncClient(base_url=address) as client:
        made.make(2)
        last = ids(await read(client, "0", 2))[-1]
        path = f"/client/v4/accounts/acc/ai/streams/{last}"
        answer = await client.delete(path)
        assert (answer.status_code, answer.json()["success"]) == (200, True)
        await until(lambda: made.ended == 1)
        assert (await client.delete(path)).status_code == 410
        assert (await client.post(RUN, content=BODY, headers={"last-event-id": last})).status_code == 410


async def test_who_reads_a_stream_that_another_ends_gets_its_last_events() -> None:
    made = Made()
    async with (
        serving(rest_app(Canned(made))) as address,
        httpx2.AsyncClient(base_url=address) as client,
        client.stream("POST", RUN, content=BODY, headers={"last-event-id": "0"}) as response,
    ):
        made.make(1)
        chunks = response.aiter_raw()
        await anext(chunks)
        await client.delete(f"/client/v4/accounts/acc/ai/streams/{response.headers[STREAM_ID]}")
        rest = b"".join([chunk async for chunk in chunks])
    assert b'"errors":[{"code":3008' in rest
    assert rest.endswith(DONE)


async def test_only_who_has_the_token_continues_or_ends_a_stream() -> None:
    app = rest_app(Canned([*PIECES, DONE]), token="t0ken")
    async with serving(app) as address, httpx2.AsyncClient(base_url=address) as client:
        headers = {"authorization": "Bearer t0ken", "last-event-id": "0"}
        name = ids((await client.post(RUN, content=BODY, headers=headers)).content)[2]
        assert (await client.post(RUN, content=BODY, headers={"last-event-id": name})).status_code == 401
        assert (await client.delete(f"/client/v4/accounts/acc/ai/streams/{name}")).status_code == 401


async def test_a_refusal_is_a_refusal() -> None:
    async with (
        serving(rest_app(Canned(BadInput("no")))) as address,
        httpx2.AsyncClient(base_url=address) as client,
    ):
        response = await client.post(RUN, content=BODY, headers={"last-event-id": "0"})
    assert (response.status_code, response.json()["errors"][0]["code"]) == (400, 5006)


async def test_a_stream_that_breaks_while_nobody_reads_ends_with_the_error(caplog: pytest.LogCaptureFixture) -> None:
    async def events() -> AsyncGenerator[bytes]:
        yield PIECES[0]
        await left.wait()
        raise ZeroDivisionError("inside")

    left = anyio.Event()
    async with serving(rest_app(Canned(events))) as address, httpx2.AsyncClient(base_url=address) as client:
        last = ids(await read(client, "0", 1))[-1]
        left.set()
        rest = await whole(client, last)
    assert b'"errors":[{"code":8500' in rest
    assert rest.endswith(DONE)
    assert len(ids(rest)) == 2
    assert "ZeroDivisionError: inside" in caplog.text


async def test_comments_are_for_the_connection_on_which_they_are_sent() -> None:
    comment = b": keep-alive\n\n"

    async def events() -> AsyncGenerator[bytes]:
        yield comment
        await anyio.sleep(0.05)
        yield PIECES[0] + PIECES[1] + comment[:5]
        yield comment[5:] + PIECES[2][:7]
        yield PIECES[2][7:]
        yield DONE

    async with serving(rest_app(Canned(events))) as address, httpx2.AsyncClient(base_url=address) as client:
        seen = await whole(client, "0")
        again = await whole(client, ids(seen)[0])
    assert seen.startswith(comment)
    assert without_ids(seen.replace(comment, b"")) == b"".join([*PIECES[:3], DONE])
    assert without_ids(again) == b"".join([*PIECES[1:3], DONE])


@pytest.mark.parametrize("size", [1, 2, 3, 7, 19, 64, 1000])
async def test_events_are_numbered_wherever_the_bytes_were_cut(size: int) -> None:
    whole_stream = b"".join([*PIECES, 'event: x\ndata: {"response":"Zürich 北京"}\n\n'.encode(), DONE])

    async def chunks() -> AsyncGenerator[bytes]:
        for start in range(0, len(whole_stream), size):
            yield whole_stream[start : start + size]

    streams = Streams()
    reply = await begun(streams, chunks)
    events = [event async for event in reply.body]
    assert [event.count(b"\n\n") for event in events] == [1] * 8
    assert [name.partition("-")[2] for name in ids(b"".join(events))] == [*"12345678"]
    assert without_ids(b"".join(events)) == whole_stream
    await streams.aclose()


# The bounds, without a server in between.

STREAM = b'data: {"response":"' + b"x" * 1000 + b'"}\n\n'


def begun(streams: Streams, made: Callable[[], AsyncGenerator[bytes]]) -> Any:
    async def produce() -> Reply:
        return Reply(ByteStream(made()), headers={"content-type": "text/event-stream"})

    return streams.over(scope("0"), produce)()


def scope(last: str) -> Scope:
    return {"type": "http", "headers": [(b"last-event-id", last.encode())], "query_string": b""}


async def continued(streams: Streams, last: str) -> Reply:
    async def never() -> Reply:
        raise AssertionError("begun anew")

    return await streams.over(scope(last), never)()


@pytest.fixture
def made() -> Iterator[Made]:
    made = Made([STREAM] * 50)
    made.make(100)
    yield made
    assert made.ended == 1


async def test_a_stream_that_nobody_reads_waits_when_its_memory_is_full(made: Made) -> None:
    streams = Streams(stream_bytes=10_000)
    reply = await begun(streams, made)
    first = await anext(reply.body)
    await reply.aclose()
    await until(lambda: made.taken >= 7)
    await anyio.sleep(0.02)
    assert made.taken < 12, "the model waits"
    assert streams.size < 12_000
    rest = await continued(streams, ids(first)[0])
    got = first + b"".join([event async for event in rest.body])
    assert without_ids(got) == STREAM * 50 + DONE
    await streams.aclose()
    assert streams.size == 0


async def test_what_was_sent_long_ago_makes_room_and_cannot_be_had_again(made: Made) -> None:
    streams = Streams(stream_bytes=10_000)
    reply = await begun(streams, made)
    events = [event async for event in reply.body]
    assert without_ids(b"".join(events)) == STREAM * 50 + DONE
    assert streams.size < 12_000
    late = await continued(streams, ids(events[0])[0])
    assert late.status == 410
    near = await continued(streams, ids(events[-3])[0])
    assert [event async for event in near.body] == events[-2:]
    await streams.aclose()


async def test_all_streams_together_have_a_bound() -> None:
    streams = Streams(stream_bytes=100_000, total_bytes=30_000)
    finished = Made([STREAM] * 10)
    finished.make(100)
    reply = await begun(streams, finished)
    name = ids(b"".join([event async for event in reply.body]))[0]
    others = [Made([STREAM] * 50) for _ in range(3)]
    replies = []
    for other in others:
        other.make(100)
        replies.append(await begun(streams, other))
    read: list[bytes] = []

    async def take(reply: Reply) -> None:
        read.append(without_ids(b"".join([event async for event in reply.body])))

    async with anyio.create_task_group() as tasks:
        for reply in replies:
            tasks.start_soon(take, reply)
    assert read == [STREAM * 50 + DONE] * 3
    assert streams.size <= 31_000
    assert (await continued(streams, name)).status == 410, "the finished one made room"
    await streams.aclose()
    assert streams.size == 0


async def test_the_end_of_the_server_ends_what_nobody_reads(made: Made) -> None:
    made.pieces = made.pieces * 100
    streams = Streams(stream_bytes=10_000)
    reply = await begun(streams, made)
    last = ids(await anext(reply.body))[0]
    await reply.aclose()
    streams.end_unread()
    await until(lambda: made.ended == 1)
    assert (await continued(streams, last)).status == 410
