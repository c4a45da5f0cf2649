"""The file of a tape: what it looks like, that it comes back as it was, and what is refused."""

from __future__ import annotations

import json
import resource
import signal
import tempfile
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cfai import ByteStream, Call, FakeBinding, FaultBinding, Reply, TapeBinding
from cfai.bindings.faults import Fault
from cfai.bindings.tape import BadTape
from cfai.clock import VirtualClock
from cfai.errors import AiError, BadInput, ConnectionDropped, EngineFailure, OutOfCapacity, RequestTimeout
from tests.bindings.tape.test_replay import MODEL, STREAM, Served

settings.register_profile("cfai", derandomize=True, deadline=None, database=None)
settings.load_profile("cfai")

ERRORS = [
    EngineFailure("lost", hint="start it"),
    ConnectionDropped(),
    RequestTimeout(),
    OutOfCapacity(),
    AiError.of(1234, "Ünknown \u2028 \x85 code", status=499),
]


class Timed:
    """A stream of chunks, each after so many seconds, that ends by itself, with an error, or when its reader leaves."""

    def __init__(self, chunks: list[tuple[float, bytes]], error: AiError | None) -> None:
        self.clock = VirtualClock()
        self._chunks = chunks
        self._error = error

    async def send(self, call: Call) -> Reply:
        return Reply(ByteStream(self._stream()), headers={"content-type": "text/event-stream"})

    async def _stream(self) -> Any:
        for wait, chunk in self._chunks:
            await self.clock.sleep(wait)
            yield chunk
        if self._error is not None:
            raise self._error

    async def aclose(self) -> None: ...


async def seen(reply: Reply, clock: VirtualClock, most: int) -> tuple[list[tuple[float, bytes]], object]:
    """The first chunks with their times, and what came behind them."""
    assert isinstance(reply.body, ByteStream)
    got: list[tuple[float, bytes]] = []
    start = clock.now()
    try:
        async with reply.body as stream:
            while len(got) < most:
                chunk = await anext(stream)
                got.append((round(clock.now() - start, 3), chunk))
    except StopAsyncIteration:
        return got, "done"
    except AiError as error:
        return got, (type(error), error.to_body(), error.status)
    return got, "closed"


@settings(max_examples=50)
@given(
    chunks=st.lists(
        st.tuples(
            st.floats(0, 1000, allow_nan=False),
            st.binary(max_size=40) | st.text(max_size=20).map(lambda text: text.encode()),
        ),
        max_size=12,
    ),
    error=st.none() | st.sampled_from(ERRORS),
    closed_after=st.none() | st.integers(0, 12),
)
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_whatever_chunks_come_and_however_they_end_the_replay_is_the_same(
    chunks: list[tuple[float, bytes]], error: AiError | None, closed_after: int | None, backend: str
) -> None:
    if error is None and not any(chunk for _, chunk in chunks):
        chunks = [*chunks, (0.0, b"x")]  # a whole stream without a byte is refused
    most = 10**6 if closed_after is None else closed_after

    async def main() -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "tape.json"
            served = Timed(chunks, error)
            tape = TapeBinding(path, served, redact=[])
            recorded = await seen(await tape.send(Call(MODEL, STREAM)), served.clock, most)
            tape.close_tape()
            clock = VirtualClock()
            tape = TapeBinding(path, record="none", speed=1.0, clock=clock)
            assert await seen(await tape.send(Call(MODEL, STREAM)), clock, most) == recorded
            tape.check()

    anyio.run(main, backend=backend)


@settings(max_examples=50)
@given(
    body=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=8,
    )
)
def test_whatever_json_is_answered_the_replay_is_the_same(body: Any) -> None:
    async def main() -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "tape.json"
            tape = TapeBinding(path, Fixed(Reply(body, headers={"content-type": "application/json"})), redact=[])
            await tape.send(Call(MODEL, {"prompt": "hi"}))
            tape.close_tape()
            assert json.dumps((await TapeBinding(path).send(Call(MODEL, {"prompt": "hi"}))).body) == json.dumps(body)

    anyio.run(main)


class Fixed:
    def __init__(self, reply: Reply) -> None:
        self._reply = reply

    async def send(self, call: Call) -> Reply:
        return self._reply

    async def aclose(self) -> None: ...


def written(path: Path) -> str:
    return path.read_text("utf-8")


@pytest.fixture
async def tape(tmp_path: Path) -> TapeBinding:
    """A written tape with a stream of three chunks and a refusal."""
    chunks = [b'data: {"response":"Z\xc3\xbcrich"}\n\n', b"data: [DO", b"\xff"]
    tape = TapeBinding(tmp_path / "tape.json", Served(chunks, apart=0.25))
    reply = await tape.send(Call("@cf/meta/llama-2-7b-chat-int8", {"stream": True, "prompt": "hi", "seed": None}))
    assert isinstance(reply.body, ByteStream)
    assert len([chunk async for chunk in reply.body]) == 3
    tape.close_tape()
    return tape


async def test_a_tape_is_made_to_be_read_and_compared(tape: TapeBinding) -> None:
    assert written(tape.path) == (
        """{
  "cfai-tape": 1,
  "entries": [
    {
      "call": {
        "model": "@cf/meta/llama-2-7b-chat-int8",
        "inputs": {
          "prompt": "hi",
          "stream": true
        }
      },
      "reply": {
        "status": 200,
        "headers": {
          "content-type": "text/event-stream"
        },
        "at": 0.0,
        "chunks": [
          [0.25, "data: {\\"response\\":\\"Zürich\\"}\\n\\n"],
          [0.5, "data: [DO"],
          [0.75, {"base64": "/w=="}]
        ],
        "end": {
          "kind": "done",
          "at": 0.75
        }
      }
    }
  ]
}
"""
    )


@pytest.mark.parametrize(
    ("before", "after", "line", "problem"),
    [
        ('"cfai-tape": 1', '"cfai-tape": 2', 2, "a newer cfai wrote this, in format 2; .*pip install -U cfai"),
        ('"cfai-tape": 1', '"cfai-tape": "one"', 2, "'one' is no version of a tape"),
        ('"cfai-tape": 1', '"tape": 1', 1, "this is no tape"),
        ('"status": 200,', '"status": 200', 14, "this is no JSON: Expecting ',' delimiter"),
        ('"status": 200', '"status": "ok"', 13, '"status" is missing, or not of its type'),
        ('[0.5, "data: [DO"]', '["soon", "data: [DO"]', 20, "'soon' is no number of seconds"),
        ('[0.5, "data: [DO"]', "[0.5, 7]", 20, 'a chunk holds a string or {"base64": ...}'),
        ('"/w=="', '"/w=$"', 21, "this is no base64"),
        ('"kind": "done"', '"kind": "gone"', 24, "ends with done, closed or error, not 'gone'"),
        ('"model": "@cf/meta/llama-2-7b-chat-int8",', "", 5, '"model" is missing'),
        ('"content-type": "text/event-stream"', '"content-type": null', 14, "each header is a string"),
    ],
)
async def test_a_damaged_tape_is_refused_with_its_line_and_what_to_do(
    tape: TapeBinding, before: str, after: str, line: int, problem: str
) -> None:
    text = written(tape.path)
    assert before in text
    tape.path.write_text(text.replace(before, after), "utf-8")
    with pytest.raises(BadTape, match=f"tape.json, line {line}: .*{problem}") as caught:
        TapeBinding(tape.path)
    assert caught.value.line == line
    assert "; " in str(caught.value)
    assert written(tape.path) == text.replace(before, after)


async def test_a_tape_that_tests_nothing_is_refused(tape: TapeBinding) -> None:
    document = json.loads(written(tape.path))
    document["entries"][0]["reply"]["chunks"] = [[0.1, ""]]
    tape.path.write_text(json.dumps(document), "utf-8")
    with pytest.raises(BadTape, match="line 1: the stream has not a single byte"):
        TapeBinding(tape.path)
    tape.path.write_text('{"cfai-tape": 1,\n"entries": []}', "utf-8")
    with pytest.raises(BadTape, match="line 2: the tape has no entry"):
        TapeBinding(tape.path)


async def test_what_is_no_tape_is_never_written_over(tmp_path: Path) -> None:
    path = tmp_path / "package.json"
    path.write_text('{"name": "mine"}', "utf-8")
    with pytest.raises(BadTape, match="this is no tape"):
        TapeBinding(path, FakeBinding({MODEL: "hi"}), record="all")
    assert written(path) == '{"name": "mine"}'


async def test_writing_that_fails_leaves_the_old_tape(tape: TapeBinding) -> None:
    before = written(tape.path)
    again = TapeBinding(tape.path, Fixed(Reply({"response": object()})), record="all")
    await again.send(Call(MODEL, {"prompt": "hi"}))
    with pytest.raises(TypeError, match="not JSON serializable"):
        again.close_tape()
    assert written(tape.path) == before
    assert [path.name for path in tape.path.parent.iterdir()] == ["tape.json"]


async def test_a_tape_behind_a_link_stays_there(tape: TapeBinding, tmp_path: Path) -> None:
    link = tmp_path / "link.json"
    link.symlink_to(tape.path)
    tape.path.chmod(0o640)
    again = TapeBinding(link, FakeBinding({MODEL: "hi"}), record="new")
    await again.send(Call(MODEL, {"prompt": "hi"}))
    again.close_tape()
    assert link.is_symlink()
    assert len(json.loads(written(tape.path))["entries"]) == 2
    assert tape.path.stat().st_mode & 0o777 == 0o640


async def test_bytes_among_the_inputs_and_half_a_character_come_back(tmp_path: Path) -> None:
    path = tmp_path / "tape.json"
    whisper = "@cf/openai/whisper"
    for record in ("once", "none"):
        tape = TapeBinding(path, Fixed(Reply({"text": "\ud83d half"})), record=record)
        assert (await tape.send(Call(whisper, {"audio": b"\x00\xffRIFF"}))).body == {"text": "\ud83d half"}
        tape.close_tape()
        tape.check()
    assert '"$bytes": "AP9SSUZG"' in written(path)


async def test_a_body_of_bytes_and_a_lost_connection_come_back(tmp_path: Path) -> None:
    path = tmp_path / "tape.json"
    tape = TapeBinding(path, Fixed(Reply(b"\x89PNG", headers={"content-type": "image/png"})))
    await tape.send(Call(MODEL, {"prompt": "a"}))
    tape.close_tape()
    lost = FaultBinding(FakeBinding({MODEL: "hi"}), Fault("drop", after=0))
    tape = TapeBinding(path, lost, record="new")
    for _ in range(2):
        assert (await tape.send(Call(MODEL, {"prompt": "a"}))).body == b"\x89PNG"
        with pytest.raises(ConnectionDropped):
            await tape.send(Call(MODEL, {"prompt": "b"}))
        tape.close_tape()
        tape = TapeBinding(path, record="none")


async def test_input_that_is_no_json_is_refused_and_not_recorded(tmp_path: Path) -> None:
    path = tmp_path / "tape.json"
    tape = TapeBinding(path, FakeBinding({MODEL: "hi"}))
    for value in ({1, 2}, object(), float("nan")):
        reply = await TapeBinding(path).send(Call(MODEL, {"prompt": "hi", "temperature": value}))
        assert isinstance(reply.error, BadInput)
    tape.close_tape()
    assert not path.exists()


async def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadTape, match=r"it cannot be read: .*name another file"):
        TapeBinding(tmp_path)
    path = tmp_path / "latin.json"
    path.write_bytes(b'{"cfai-tape": 1,\n"salt": "\xfc"}')
    with pytest.raises(BadTape, match=r"latin\.json, line 2: this is no UTF-8"):
        TapeBinding(path)
    path.write_text("[" * 200_000, "utf-8")
    with pytest.raises(BadTape, match=r"this is nested too deep|this is no JSON"):
        TapeBinding(path)


async def test_a_disk_that_is_full_leaves_the_old_tape(tape: TapeBinding) -> None:
    before = written(tape.path)
    again = TapeBinding(tape.path, FakeBinding({MODEL: "hi"}), record="all")
    await again.send(Call(MODEL, {"prompt": "hi"}))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            again.close_tape()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert written(tape.path) == before
    assert [path.name for path in tape.path.parent.iterdir()] == ["tape.json"]
    again.close_tape()
    assert '"prompt": "hi"' in written(tape.path)


async def test_a_binding_with_a_defect_leaves_nothing_on_the_tape(tmp_path: Path) -> None:
    path = tmp_path / "tape.json"
    tape = TapeBinding(path, Served([b"data: 1\n\n"], error=ZeroDivisionError("a defect")))
    reply = await tape.send(Call(MODEL, STREAM))
    assert isinstance(reply.body, ByteStream)
    assert await anext(reply.body) == b"data: 1\n\n"
    with pytest.raises(ZeroDivisionError, match="a defect"):
        await anext(reply.body)
    tape.close_tape()
    assert not path.exists()
