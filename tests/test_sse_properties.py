"""However the bytes of a stream are cut and put together on their way, the same events come out."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream
from anyio.lowlevel import checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st

from cfai import Ai, ByteStream, Call, HttpBinding, Reply, sse
from cfai.errors import EngineFailure

# The same examples on every machine and in every run, however slow it is; nothing is written to the work tree.
settings.register_profile("cfai", derandomize=True, deadline=None, database=None)
settings.load_profile("cfai")

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
PIECES = st.text() | st.sampled_from(
    ["\n\n", "\r\n", "data: [DONE]", "[DONE]\n\n", "\u2028", "\u0085", "北京 🙂", "\x00"]
)
PAYLOADS = st.fixed_dictionaries({"response": PIECES}, optional={"usage": JSON_VALUES, "errors": JSON_VALUES})

LINE_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=12)
LINES = st.one_of(
    LINE_TEXT.map(lambda text: f"data: {text}"),
    LINE_TEXT.map(lambda text: f"data:{text}"),
    LINE_TEXT.map(lambda text: f": {text}"),
    LINE_TEXT.map(lambda text: f"id: {text}"),
    st.sampled_from(["data", "event: error", "retry: 3", "data : none", "Data: none", "dat", "data: [DONE]", ":"]),
)
"""One line of a stream: data, with and without the space, comments, and the fields that nobody here reads."""
ODD_STREAMS = st.lists(st.lists(LINES, max_size=4), max_size=5)
"""Events as lists of lines; an empty list is a blank line too many."""
SOUP = st.lists(
    st.sampled_from([b"\n", b"\r", b"\r\n", b"\n\n", b"data:", b" ", b"x", "é".encode(), b"\xff", b"\xef\xbb\xbf"])
).map(b"".join)
"""Bytes that are hardly a stream any more."""


@st.composite
def cut(draw: st.DrawFn, stream: bytes) -> list[bytes]:
    """`stream` in chunks, empty ones too."""
    cuts = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    return [stream[start:end] for start, end in itertools.pairwise([0, *cuts, len(stream)])]


def every_cut(stream: bytes) -> Iterator[list[bytes]]:
    """`stream` in chunks, in each of the ways there are."""
    for ends in itertools.product([False, True], repeat=len(stream) - 1):
        cuts = [at for at, is_end in enumerate(ends, start=1) if is_end]
        yield [stream[start:end] for start, end in itertools.pairwise([0, *cuts, len(stream)])]


def decoded(chunks: list[bytes]) -> list[str]:
    decoder = sse.Decoder()
    return [data for chunk in chunks for data in decoder.feed(chunk)]


def split(chunks: list[bytes]) -> tuple[list[bytes], bytes]:
    splitter = sse.Splitter()
    return [event for chunk in chunks for event in splitter.feed(chunk)], splitter.rest


def data_of(lines: list[str]) -> str | None:
    """What the standard says that an event of these lines carries."""
    data = [line[4:].removeprefix(":").removeprefix(" ") for line in lines if line == "data" or line[:5] == "data:"]
    return "\n".join(data) if data else None


@given(PAYLOADS)
def test_an_encoded_event_is_one_line_that_says_what_was_put_in(payload: dict[str, Any]) -> None:
    event = sse.encode(payload)
    assert len(event.decode().splitlines()) == 2, "for clients that know more line ends than the standard, too"
    assert [json.loads(data) for data in decoded([event])] == [payload]


@given(st.data(), st.lists(PAYLOADS, max_size=6))
def test_what_was_encoded_comes_out_however_it_was_cut(data: st.DataObject, payloads: list[dict[str, Any]]) -> None:
    events = [*map(sse.encode, payloads), sse.DONE]
    chunks = data.draw(cut(b"".join(events)))
    assert split(chunks) == (events, b"")
    *bodies, done = decoded(chunks)
    assert ([json.loads(body) for body in bodies], done) == (payloads, "[DONE]")


@given(st.data(), ODD_STREAMS, st.sampled_from(["\n", "\r\n", "\r"]), st.booleans())
def test_other_servers_streams_are_read_as_the_standard_says(
    data: st.DataObject, events: list[list[str]], line_end: str, has_bom: bool
) -> None:
    text = "".join(f"{line}{line_end}" for lines in events for line in [*lines, ""])
    stream = ("\ufeff" * has_bom + text).encode()
    chunks = data.draw(cut(stream))
    assert decoded(chunks) == [data_of(lines) for lines in events if data_of(lines) is not None]
    whole, rest = split(chunks)
    assert b"".join(whole) + rest == stream
    # Each goes its own way from there, and is still read as it was among the others.
    alone = [found for event in whole for found in decoded([event])]
    assert [*alone, *decoded([rest])] == decoded([stream])


@given(st.data(), SOUP)
def test_where_the_cuts_are_makes_no_difference(data: st.DataObject, stream: bytes) -> None:
    chunks = data.draw(cut(stream))
    assert decoded(chunks) == decoded([stream])
    assert split(chunks) == split([stream])
    events, rest = split(chunks)
    assert b"".join(events) + rest == stream
    assert all(len(decoded([event])) <= 1 for event in events)


@pytest.mark.parametrize(
    ("stream", "data"),
    [
        ("data:é\r\n\r\n:\r\n".encode(), ["é"]),
        ("\ufeffdata:🙂\n\n".encode(), ["🙂"]),
        (b"data\r\rdata:\r\n\n", ["", ""]),
        (b"id:1\n\ndata\n\n\n\n", [""]),
    ],
)
def test_every_way_to_cut_a_short_stream(stream: bytes, data: list[str]) -> None:
    expected = split([stream])
    for chunks in every_cut(stream):
        assert decoded(chunks) == data
        assert split(chunks) == expected


@given(st.data(), st.lists(PAYLOADS, max_size=6), st.sampled_from(["chunked", "until close"]))
@settings(max_examples=60)
async def test_an_http_binding_gives_the_servers_events_however_they_arrive(
    data: st.DataObject, payloads: list[dict[str, Any]], framing: str
) -> None:
    events = [*map(sse.encode, payloads), sse.DONE]
    body = data.draw(cut(b"".join(events)))
    assert await asked(data, body, framing) == events


@given(st.data(), ODD_STREAMS, st.sampled_from(["\n", "\r\n", "\r"]), st.booleans())
@settings(max_examples=60)
async def test_an_http_binding_changes_nothing_in_other_servers_streams(
    data: st.DataObject, events: list[list[str]], line_end: str, has_bom: bool
) -> None:
    text = "".join(f"{line}{line_end}" for lines in [*events, ["data: [DONE]"]] for line in [*lines, ""])
    stream = ("\ufeff" * has_bom + text).encode()
    got = await asked(data, data.draw(cut(stream)), "chunked")
    assert b"".join(got) == stream
    assert [found for event in got for found in decoded([event])] == decoded([stream])


async def asked(data: st.DataObject, body: list[bytes], framing: str) -> list[bytes]:
    """What a binding makes of `body`, sent with the cuts of its chunks and others across the whole of the reply."""
    kind = b"content-type: text/event-stream\r\n"
    if framing == "chunked":
        head = b"HTTP/1.1 200 OK\r\n" + kind + b"transfer-encoding: chunked\r\n\r\n"
        framed = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in body if chunk) + b"0\r\n\r\n"
    else:
        head, framed = b"HTTP/1.0 200 OK\r\n" + kind + b"\r\n", b"".join(body)
    async with sending(data.draw(cut(head + framed))) as address:
        binding = HttpBinding(address)
        reply = await binding.send(Call("@cf/test/odd", {"prompt": "hi", "stream": True}))
        assert isinstance(reply.body, ByteStream)
        got = [event async for event in reply.body]
        await binding.aclose()
    return got


@pytest.mark.parametrize(
    "end",
    [b"data: [DONE]\n\n", b"data: [DONE]\n", b"data: [DONE]", b"data:[DONE]\r\n\r\n", b"id: 2\ndata: [DONE]\n\n"],
)
async def test_however_a_server_writes_its_done_the_answer_is_whole(end: bytes) -> None:
    head = b"HTTP/1.0 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n\r\n"
    async with sending([head, sse.encode({"response": "New"}), end]) as address:
        binding = HttpBinding(address)
        stream = await Ai(binding).run("@cf/test/odd", {"prompt": "hi", "stream": True})
        assert [event async for event in stream] == [sse.encode({"response": "New"}), end]
        await binding.aclose()


async def test_an_answer_cut_within_a_line_is_an_error_and_no_piece() -> None:
    head = b"HTTP/1.0 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
    async with sending([head, sse.encode({"response": "New"}), b'data: {"resp']) as address:
        binding = HttpBinding(address)
        stream = await Ai(binding).run("@cf/test/odd", {"prompt": "hi", "stream": True})
        assert await anext(stream) == sse.encode({"response": "New"})
        with pytest.raises(EngineFailure, match="ended before"):
            await anext(stream)
        await binding.aclose()


@contextlib.asynccontextmanager
async def sending(chunks: list[bytes]) -> AsyncIterator[str]:
    """A server that writes these chunks, one by one, to whoever asks, and hangs up."""

    async def answer(client: SocketStream) -> None:
        async with client:
            await client.receive()
            for chunk in chunks:
                await client.send(chunk)
                await checkpoint()  # for the reader to have it before the next
            await client.send_eof()
            with contextlib.suppress(anyio.EndOfStream):
                await client.receive()

    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, answer)
        yield f"http://127.0.0.1:{listener.extra(SocketAttribute.local_port)}"
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("end", ["done", "error", "cut"])
async def test_the_networks_chunks_are_handed_through_and_their_end_is_seen(end: str) -> None:
    """However the network cuts, the reader gets its chunks, and an error or a missing end raises as it does else."""
    pieces = sse.encode({"response": "Zürich"}) + sse.encode({"response": " 🙂"})
    last = {"done": sse.DONE, "error": sse.encode(EngineFailure("lost").to_event()) + sse.DONE, "cut": b""}[end]
    whole = pieces + last
    for size in (1, 2, 7, len(pieces) - 1, len(pieces), len(whole)):
        chunks = [whole[at : at + size] for at in range(0, len(whole), size)]
        got = []
        stream = await Ai(_Chunked(chunks)).run("@cf/test/odd", {"prompt": "hi", "stream": True})
        if end == "done":
            got = [chunk async for chunk in stream]
            assert got == chunks
            continue
        with pytest.raises(EngineFailure, match="lost" if end == "error" else "ended before"):
            async for chunk in stream:
                got.append(chunk)
        assert b"".join(got).startswith(pieces)
        assert all(one == other for one, other in zip(got[:-1], chunks, strict=False))
        if end == "error":
            assert not b"".join(got).endswith(last)


class _Chunked:
    def __init__(self, chunks: list[bytes]) -> None:
        self._chunks = chunks

    async def send(self, call: Call) -> Reply:
        async def stream() -> AsyncIterator[bytes]:
            for chunk in self._chunks:
                yield chunk

        return Reply(ByteStream(stream()), headers={"content-type": "text/event-stream"})  # type: ignore[arg-type]

    async def aclose(self) -> None: ...


async def test_an_http_binding_can_hand_the_networks_chunks_through() -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    cut = ['data: {"response":"Zü'.encode()[:-1], 'ü"}\n\ndata: [DO'.encode()[1:], b"NE]\n\n"]
    frames = [b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in [*cut, b""]]
    async with sending([head, *frames]) as address:
        binding = HttpBinding(address, chunks="network")
        stream = await Ai(binding).run("@cf/test/odd", {"prompt": "hi", "stream": True})
        assert [chunk async for chunk in stream] == cut
        await binding.aclose()
    with pytest.raises(ValueError, match="chunks must be events or network, it is 'lines'"):
        HttpBinding(chunks="lines")  # type: ignore[arg-type]
