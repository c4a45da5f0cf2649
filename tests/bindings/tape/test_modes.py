"""What is recorded and what is played, by record mode, and what `check` finds."""

from __future__ import annotations

import json
from pathlib import Path

import anyio
import pytest
from anyio.lowlevel import checkpoint

from cfai import Call, FakeBinding, LocalBinding, Reply, TapeBinding
from cfai.bindings.tape import NotOnTape, Prompts, RecordMode, Rule, UntrueTape
from cfai.errors import AiError

MODEL = "@cf/test/llama"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tape.json"


async def ask(tape: TapeBinding, prompt: str) -> str:
    """The answer, or that there is none on the tape."""
    try:
        reply = await tape.send(Call(MODEL, {"prompt": prompt}))
    except NotOnTape:
        return "not on tape"
    return str(reply.body["response"])


def prompts_on(path: Path) -> list[str]:
    if not path.exists():
        return []
    return [entry["call"]["inputs"]["prompt"] for entry in json.loads(path.read_text("utf-8"))["entries"]]


@pytest.mark.parametrize(
    ("record", "has_file", "answers", "written"),
    [
        ("once", False, ["live a", "live b"], ["a", "b"]),
        ("once", True, ["taped a", "not on tape"], ["a"]),
        ("none", False, ["not on tape", "not on tape"], []),
        ("none", True, ["taped a", "not on tape"], ["a"]),
        ("all", False, ["live a", "live b"], ["a", "b"]),
        ("all", True, ["live a", "live b"], ["a", "b"]),
        ("new", False, ["live a", "live b"], ["a", "b"]),
        ("new", True, ["taped a", "live b"], ["a", "b"]),
    ],
)
async def test_the_record_mode_says_what_becomes_of_a_call(
    path: Path, record: RecordMode, has_file: bool, answers: list[str], written: list[str]
) -> None:
    if has_file:
        tape = TapeBinding(path, FakeBinding({MODEL: lambda call: f"taped {call.inputs['prompt']}"}, strict=False))
        await ask(tape, "a")
        tape.close_tape()
    live = FakeBinding({MODEL: lambda call: f"live {call.inputs['prompt']}"}, strict=False)
    tape = TapeBinding(path, live, record=record)
    assert [await ask(tape, prompt) for prompt in ("a", "b")] == answers
    assert len(live.calls) == sum(answer.startswith("live") for answer in answers)
    await tape.aclose()
    assert prompts_on(path) == written
    tape.check()


async def test_nothing_is_recorded_without_a_binding_to_record_from(path: Path) -> None:
    for record in ("once", "all", "new"):
        with pytest.raises(NotOnTape, match="there is no such file"):
            await TapeBinding(path, record=record).send(Call(MODEL, {"prompt": "a"}))


async def test_a_tape_of_which_nothing_was_recorded_is_not_written(path: Path) -> None:
    tape = TapeBinding(path, FakeBinding({MODEL: "hi"}))
    await ask(tape, "a")
    tape.close_tape()
    before = path.read_bytes()
    TapeBinding(path, FakeBinding(), record="all").close_tape()
    assert path.read_bytes() == before


async def test_a_refusing_fake_leaves_nothing_on_the_tape(path: Path) -> None:
    tape = TapeBinding(path, FakeBinding())
    with pytest.raises(AssertionError):
        await tape.send(Call("@cf/meta/llama-2-7b-chat-int8", {"prompt": "a"}))
    tape.close_tape()
    assert not path.exists()


async def test_an_unknown_mode_names_the_nearest(path: Path) -> None:
    with pytest.raises(ValueError, match="it is 'onec'; did you mean 'once'"):
        TapeBinding(path, record="onec")  # type: ignore[arg-type]
    for speed in (0, -1, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="speed must be more than 0"):
            TapeBinding(path, speed=speed)


async def test_an_entry_whose_call_is_refused_now_is_stale(path: Path) -> None:
    tape = TapeBinding(path, FakeBinding({MODEL: "hi"}))
    await ask(tape, "a")
    tape.close_tape()
    path.write_text(path.read_text("utf-8").replace('"prompt": "a"', '"prompt": "a",\n"max_tokens": "many"'), "utf-8")
    tape = TapeBinding(path)
    await tape.send(Call(MODEL, {"prompt": "a", "max_tokens": "many"}))
    with pytest.raises(UntrueTape, match=r"(?s)entry 1 is stale, its call is refused now, 5006: .*max_tokens.*anew"):
        tape.check()


async def test_a_refusal_on_purpose_is_not_stale(local: LocalBinding, path: Path) -> None:
    for record in ("once", "none"):
        tape = TapeBinding(path, local, record=record)
        reply = await tape.send(Call(MODEL, {"prompt": ""}))
        assert isinstance(reply.error, AiError)
        tape.close_tape()
        tape.check()


async def test_many_calls_at_once_are_recorded_in_the_order_in_which_they_were_made(path: Path) -> None:
    slow = Slow()
    tape = TapeBinding(path, slow, record="all")
    async with anyio.create_task_group() as tasks:
        for prompt in "abcde":
            tasks.start_soon(ask, tape, prompt)
            await checkpoint()
        await anyio.wait_all_tasks_blocked()
        for waiting in reversed(slow.waiting):
            waiting.set()
            await anyio.wait_all_tasks_blocked()
    tape.close_tape()
    assert prompts_on(path) == list("abcde")


class Slow:
    """A binding whose answers wait until they are let go."""

    def __init__(self) -> None:
        self.waiting: list[anyio.Event] = []

    async def send(self, call: Call) -> Reply:
        self.waiting.append(waiting := anyio.Event())
        await waiting.wait()
        return Reply({"response": "hi"}, headers={"content-type": "application/json"})

    async def aclose(self) -> None: ...


async def test_a_call_that_is_cancelled_leaves_nothing(path: Path) -> None:
    tape = TapeBinding(path, Slow())
    with anyio.move_on_after(0):
        await ask(tape, "a")
    tape.close_tape()
    assert not path.exists()


@pytest.mark.parametrize("record", ["once", "new"])
@pytest.mark.parametrize("redact", [[], [Prompts()]])
async def test_two_tests_that_record_in_one_file_at_once_lose_nothing(
    path: Path, record: RecordMode, redact: list[Rule]
) -> None:
    fake = FakeBinding({MODEL: lambda call: call.inputs["prompt"].upper()})
    one, other = (TapeBinding(path, fake, record=record, redact=redact) for _ in range(2))
    for tape, prompts in ((one, "ab"), (other, "cd"), (one, "ef")):
        for prompt in prompts:
            await ask(tape, prompt)
        tape.close_tape()
    replayed = TapeBinding(path, record="none")
    assert [await ask(replayed, prompt) for prompt in "abcdef"] == list("ABCDEF")
    replayed.check()
    assert len(prompts_on(path)) == 6
