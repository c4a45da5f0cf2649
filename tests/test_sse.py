import json
import random

import pytest

from cfai import sse


@pytest.mark.parametrize(
    ("piece", "event"),
    [
        (" York", b'data: {"response":" York"}\n\n'),
        ('say "hi"', b'data: {"response":"say \\"hi\\""}\n\n'),
        ("two\nlines\r\n", b'data: {"response":"two\\nlines\\r\\n"}\n\n'),
        ("北京 🙂", 'data: {"response":"北京 🙂"}\n\n'.encode()),
        ("\u2028\u2029\u0085", b'data: {"response":"\\u2028\\u2029\\u0085"}\n\n'),
        ("data: [DONE]", b'data: {"response":"data: [DONE]"}\n\n'),
    ],
)
def test_an_event_is_one_data_line(piece: str, event: bytes) -> None:
    assert sse.encode({"response": piece}) == event
    assert len(event.decode().splitlines()) == 2
    assert [json.loads(data) for data in sse.Decoder().feed(event)] == [{"response": piece}]


STREAMS = [
    (b'data: {"response":"New"}\n\ndata: [DONE]\n\n', ['{"response":"New"}', "[DONE]"]),
    (b"data:no space\r\n\r\ndata: crlf\r\n\r\n", ["no space", "crlf"]),
    (b": a comment\n\ndata: after\n\n", ["after"]),
    (b"data: one\ndata: two\n\n", ["one\ntwo"]),
    (b"event: error\nid: 7\nretry: 3\ndata: x\n\n", ["x"]),
    (b"\xef\xbb\xbfdata: bom\n\n", ["bom"]),
    (b"data\n\n", [""]),
    ("data: Zürich 北京 🙂\n\n".encode(), ["Zürich 北京 🙂"]),
    (b"data: cut off", []),
    (b"data: cr\r\rdata: cr\r\n\n", ["cr", "cr"]),
]


@pytest.mark.parametrize(("stream", "events"), STREAMS)
def test_the_decoder_reads_a_stream_whole(stream: bytes, events: list[str]) -> None:
    assert sse.Decoder().feed(stream) == events


@pytest.mark.parametrize(("stream", "events"), STREAMS)
def test_the_decoder_reads_a_stream_cut_at_any_byte(stream: bytes, events: list[str]) -> None:
    for cut in range(len(stream) + 1):
        decoder = sse.Decoder()
        assert decoder.feed(stream[:cut]) + decoder.feed(stream[cut:]) == events
    decoder = sse.Decoder()
    assert [event for at in range(len(stream)) for event in decoder.feed(stream[at : at + 1])] == events


def test_the_splitter_gives_whole_events_wherever_the_network_cuts() -> None:
    events = [sse.encode({"response": piece}) for piece in ("New", " York", "\n\n", "北京")] + [sse.DONE]
    stream = b"".join(events)
    rng = random.Random(0)
    for _ in range(200):
        cuts = sorted(rng.choices(range(len(stream) + 1), k=6))
        parts = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
        splitter = sse.Splitter()
        assert [event for part in parts for event in splitter.feed(part)] == events
        assert splitter.rest == b""


def test_what_follows_the_last_event_is_the_rest() -> None:
    splitter = sse.Splitter()
    assert splitter.feed(b"data: a\n\ndata: b") == [b"data: a\n\n"]
    assert splitter.rest == b"data: b"


@pytest.mark.parametrize(("data", "value"), [('{"a":1}', {"a": 1}), ("[DONE]", None), ("", None)])
def test_loads_gives_none_for_what_is_not_json(data: str, value: object) -> None:
    assert sse.loads(data) == value
