"""`--tape` of `cfai serve` and `cfai dev`, and `cfai tape show`."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from anyio import to_thread
from typer.testing import CliRunner

from cfai import ByteStream, Call, FakeBinding, FaultBinding, LocalBinding, TapeBinding
from cfai.bindings.faults import Fault
from cfai.cli import app
from cfai.errors import EngineFailure
from cfai.server.app import rest_app
from tests.bindings.tape.test_replay import Served, read
from tests.cli.dev import address_of, configure, dev
from tests.processes import Process
from tests.serving import serving

MODEL = "@cf/test/llama"
LLAMA_2 = "@cf/meta/llama-2-7b-chat-int8"
STREAM = {"prompt": "New York is located", "temperature": 0, "max_tokens": 12, "stream": True}


def frames(address: str, inputs: Mapping[str, Any], *, model: str = MODEL) -> tuple[int, list[bytes]]:
    """The chunks of an answer as the server has written them, which HTTP keeps apart."""
    place = urlsplit(address)
    found = []
    with contextlib.closing(http.client.HTTPConnection(str(place.hostname), place.port, timeout=60)) as connection:
        connection.request("POST", f"/client/v4/accounts/a/ai/run/{model}", json.dumps(inputs))
        with connection.getresponse() as response:
            if response.headers["transfer-encoding"] != "chunked":
                return response.status, [response.read()]
            assert response.fp is not None
            while size := int(response.fp.readline(), 16):
                found.append(response.fp.read(size))
                response.fp.readline()
    return response.status, found


async def test_a_tape_of_the_local_model_is_served_chunk_for_chunk(local: LocalBinding, tmp_path: Path) -> None:
    path = tmp_path / "tape.json"
    tape = TapeBinding(path, local)
    chunks = await read(await tape.send(Call(MODEL, STREAM)))
    refused = await tape.send(Call(MODEL, {"prompt": ""}))
    tape.close_tape()
    with Process("serve", "--port", "0", "--tape", str(path)) as process:
        address = process.read_until("cfai listens on").split()[-1]
        for _ in range(2):  # a page is loaded again
            served = await to_thread.run_sync(frames, address, STREAM)
            assert served == (200, chunks)
        refusals = await to_thread.run_sync(lambda: [frames(address, {"prompt": text}) for text in ("", "another")])
        assert [status for status, _ in refusals] == [400, 400]
        same, told = (json.loads(b"".join(body))["errors"][0] for _, body in refusals)
        assert refused.body["description"] in same["message"]
        assert told["code"] == 8500
        assert '+    "prompt": "another"' in told["message"]
        process.read_until('+    "prompt": "another"')
        assert process.end(signal.SIGTERM) == 0
    assert "Traceback" not in process.rest


@pytest.mark.parametrize("fault", [None, Fault("drop", after=2), Fault("split-character"), Fault("timeout-in-stream")])
async def test_whatever_goes_wrong_the_tape_is_served_as_the_binding_was(fault: Fault | None, tmp_path: Path) -> None:
    fake = FakeBinding({MODEL: ["Zü", "rich", " 🙂"]}, strict=False)
    path = tmp_path / "tape.json"

    async def served(binding: Any) -> Any:
        async with serving(rest_app(binding)) as address:
            try:
                return await to_thread.run_sync(lambda: frames(address, {"prompt": "hi", "stream": True}))
            except (http.client.HTTPException, ConnectionError, ValueError) as error:
                return type(error)

    live = await served(FaultBinding(fake, *([fault] if fault else [])))
    recording = TapeBinding(path, FaultBinding(fake, *([fault] if fault else [])))
    assert await served(recording) == live
    recording.close_tape()
    assert await served(TapeBinding(path, record="none")) == live


async def test_an_error_within_the_stream_is_served_as_the_binding_s(tmp_path: Path) -> None:
    path = tmp_path / "tape.json"
    found = []
    for record in ("once", "none"):
        tape = TapeBinding(path, Served([b'data: {"response":"New"}\n\n'], error=EngineFailure("lost")), record=record)
        async with serving(rest_app(tape)) as address:
            found.append(await to_thread.run_sync(frames, address, STREAM))
        tape.close_tape()
    assert found[0] == found[1]
    assert b'"errors":[{"code":8500,"message":"lost"}]' in found[0][1][-1]


def answers(folder: Path) -> Path:
    """What `--fake` says."""
    file = folder / "answers.json"
    file.write_text(json.dumps({LLAMA_2: ["New", " York"]}))
    return file


def test_what_passes_through_is_recorded_and_served_again(tmp_path: Path) -> None:
    path = tmp_path / "tapes" / "page.json"
    found = []
    fake = ["--fake", "--answers", str(answers(tmp_path))]
    for options in (["--record", "once", *fake], ["--record", "once"], []):
        with Process("serve", "--port", "0", "--tape", str(path), *options) as process:
            address = process.read_until("cfai listens on").split()[-1]
            found.append(frames(address, STREAM, model=LLAMA_2))
            assert process.end(signal.SIGTERM) == 0
        if "--fake" in options:
            assert f"recorded 1 call in {path}" in process.rest
    assert found[0] == found[1] == found[2]
    assert len(found[0][1]) > 2


async def test_another_server_is_recorded(tmp_path: Path) -> None:
    path = tmp_path / "tape.json"
    fake = FakeBinding({LLAMA_2: ["New", " York"]})
    async with serving(rest_app(fake, token="open sesame")) as upstream:

        def through(*options: str) -> tuple[int, list[bytes]]:
            environment = {"CFAI_AI_TOKEN": "open sesame"}
            arguments = ["serve", "--port", "0", "--tape", str(path), *options]
            with Process(*arguments, environment=environment) as process:
                address = process.read_until("cfai listens on").split()[-1]
                answer = frames(address, STREAM, model=LLAMA_2)
                assert process.end(signal.SIGTERM) == 0
            return answer

        recorded = await to_thread.run_sync(through, "--record=once", f"--ai-url={upstream}")
    assert b'"response":" York"' in b"".join(recorded[1])
    assert await to_thread.run_sync(through) == recorded
    assert "open sesame" not in path.read_text("utf-8")


WORKER = f"""
from js import Response

async def on_fetch(request, env):
    stream = await env.AI.run("{LLAMA_2}", {{"prompt": "hi", "stream": True}})
    return Response.new(stream, headers={{"content-type": "text/event-stream"}})
"""


def test_a_worker_is_answered_by_a_tape(tmp_path: Path) -> None:
    (tmp_path / "entry.py").write_text(WORKER)
    configure(tmp_path)
    path = tmp_path / "tape.json"
    found = []
    for options in (["--record=once", "--fake", f"--answers={answers(tmp_path)}"], []):
        with dev(tmp_path, tmp_path, f"--tape={path}", *options) as process:
            found.append(httpx2.get(address_of(process), timeout=60).content)
            assert process.end(signal.SIGINT) == 0
    assert found[0] == found[1]
    assert found[0].endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--tape", "nowhere.json"], "there is no tape nowhere.json"),
        (["--record", "once"], "--record is for a tape"),
        (["--tape-speed", "2"], "--tape-speed is for a tape"),
        (["--tape", "tape.json", "--record", "onse"], "is 'onse'; did you mean 'once'?"),
        (["--tape", "broken.json"], "broken.json, line 3: this is no JSON"),
        (["--fake", "--ai-url", "http://127.0.0.1:1"], "--fake and --ai-url exclude each other"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    options: list[str], problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.json").write_text('{"cfai-tape": 1,\n  "entries": [\n', "utf-8")
    result = CliRunner().invoke(app, ["serve", "--port", "0", *options])
    assert result.exit_code == 2
    assert problem.split(":")[0] in " ".join(result.stderr.replace("│", " ").split())


async def test_a_tape_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    path = tmp_path / "tape.json"
    served = Served([b'data: {"response":"New"}\n\n', b"data: [DONE]\n\n"], apart=1.5)
    tape = TapeBinding(path, served)
    await read(
        await tape.send(Call(MODEL, {"prompt": "where is [bold]new york?", "stream": True}, {"asOf": "2023-11-14"}))
    )
    reply = await tape.send(Call(MODEL, STREAM, form="chat"))
    assert isinstance(reply.body, ByteStream)
    await reply.aclose()
    tape.close_tape()
    tape = TapeBinding(path, FakeBinding({LLAMA_2: "hello"}), record="new")
    await tape.send(Call(LLAMA_2, {"prompt": "hi"}))
    tape.close_tape()
    result = CliRunner().invoke(app, ["tape", "show", str(path)])
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert lines[1:] == [
        "1 @cf/test/llama (2023-11-14) where is [bold]new york? 200, 2 chunks, 40 bytes 1.500 s 3.000 s done",
        "2 @cf/test/llama (chat) New York is located 200, 0 chunks, 0 bytes 0.000 s closed",
        f"3 {LLAMA_2} hi 200, whole 0.000 s done",
    ]
    assert CliRunner().invoke(app, ["tape", "show", str(tmp_path / "none.json")]).exit_code == 2
