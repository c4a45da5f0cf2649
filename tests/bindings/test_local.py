"""LocalBinding: limits, the wire form of a day, weights that are missing, and what must not stay behind."""

from __future__ import annotations

import gc
import shutil
import threading
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import date
from pathlib import Path
from typing import Any

import anyio
import pytest

from cfai import Ai, AiError, ByteStream, Call, LocalBinding, sse
from cfai.catalog import Catalog, system_of
from cfai.errors import ContextExceeded, EngineFailure, NoSuchModel, OutOfCapacity, WeightsMissing
from tests.held import models_held
from tests.waiting import until

INT8 = "@cf/meta/llama-2-7b-chat-int8"
FP16 = "@cf/meta/llama-2-7b-chat-fp16"


async def events(binding: LocalBinding, model: str, inputs: dict[str, Any], **options: Any) -> list[Any]:
    reply = await binding.send(Call(model, {**inputs, "stream": True}, options))
    assert isinstance(reply.body, ByteStream), reply.body
    return [sse.loads(event.decode()[6:]) or event async for event in reply.body]


@pytest.fixture
async def seed_pair(endless_llama: Path) -> AsyncIterator[LocalBinding]:
    """The two models of the first streaming example, with a model that never ends by itself."""
    binding = LocalBinding({INT8: endless_llama, FP16: endless_llama}, demo=False)
    yield binding
    await binding.aclose()


async def test_todays_stream_ends_with_usage_and_done(seed_pair: LocalBinding) -> None:
    got = await events(seed_pair, INT8, {"prompt": "where is new york?", "max_tokens": 5})
    counted = {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17}
    assert got[-2] == {"response": "", "usage": {**counted, "prompt_tokens_details": {"cached_tokens": 0}}}
    assert got[-1] == sse.DONE
    assert all(body.keys() == {"response"} for body in got[:-2])


async def test_the_stream_of_november_2023_has_pieces_and_done_only(seed_pair: LocalBinding) -> None:
    got = await events(seed_pair, INT8, {"prompt": "New York", "max_tokens": 5}, asOf="2023-11-14")
    assert got[-1] == sse.DONE
    assert all(body.keys() == {"response"} for body in got[:-1])


async def test_prompts_of_february_2024_are_written_as_the_sdk_of_the_day_wrote_them(seed_pair: LocalBinding) -> None:
    greedy = {"max_tokens": 12, "temperature": 0}
    day = "2024-02-01"

    async def then(**asked: Any) -> list[Any]:
        return (await events(seed_pair, INT8, {**greedy, **asked}, asOf=day))[:-1]

    async def raw(text: str) -> list[Any]:
        return (await events(seed_pair, INT8, {**greedy, "prompt": text, "raw": True}, asOf=day))[:-1]

    user = {"role": "user", "content": "New York"}
    system = {"role": "system", "content": "Be brief."}
    assert await then(messages=[user]) == await raw("[INST] New York [/INST]"), "which begins with one <s>, as a prompt"
    in_template = "[INST] <<SYS>>\n{}\n<</SYS>>\n\nNew York [/INST]"
    assert await then(messages=[system, user]) == await raw(in_template.format("Be brief."))
    usual = system_of(Catalog.builtin().get(INT8).prompts[-1])
    assert await then(prompt="New York") == await raw(in_template.format(usual))
    assert await then(prompt="New York", raw=True) == await raw("New York")
    of_a_tool = {"messages": [user, {"role": "tool", "content": "4"}]}
    error = (await seed_pair.send(Call(INT8, of_a_tool, {"asOf": day}))).error
    assert error is not None
    assert "Invalid role: tool" in error.description


async def test_a_prompt_of_november_2023_is_read_raw(seed_pair: LocalBinding) -> None:
    inputs = {"prompt": "New York", "max_tokens": 1}
    (raw,) = {(await events(seed_pair, INT8, {**inputs, "raw": True}))[-2]["usage"]["prompt_tokens"]}
    templated = (await events(seed_pair, INT8, inputs))[-2]["usage"]["prompt_tokens"]
    assert (raw, templated) == (3, 5)
    greedy = {**inputs, "max_tokens": 12, "temperature": 0}
    then = await events(seed_pair, INT8, greedy, asOf="2023-11-14")
    assert then[:-1] == (await events(seed_pair, INT8, {**greedy, "raw": True}))[:-2]


@pytest.mark.parametrize(
    ("model", "as_of", "stream", "tokens"),
    [
        (INT8, "2023-11-14", True, 1800),
        (INT8, "2023-11-14", False, 256),
        (FP16, "2023-11-14", True, 2500),
        (FP16, "2023-11-14", False, 256),
        (INT8, None, True, 256),
        (INT8, None, False, 256),
    ],
)
async def test_an_answer_has_the_days_default_length(
    endless_llama: Path, seed_pair: LocalBinding, model: str, as_of: str | None, stream: bool, tokens: int
) -> None:
    options = {"asOf": as_of} if as_of else {}
    reply = await seed_pair.send(Call(model, {"prompt": "New York", "stream": stream, "temperature": 0}, options))
    if isinstance(reply.body, ByteStream):
        assert [event async for event in reply.body][-1] == sse.DONE
    assert seed_pair.stats()["tokens"] == tokens


@pytest.mark.parametrize(
    ("model", "as_of", "words", "max_tokens", "told"),
    [
        (INT8, "2023-11-14", 2049, 10, "(2050) exceeded this model context window limit (2048)"),
        (INT8, "2023-11-14", 10, 1801, "(1801) exceeded this model context window limit (1800)"),
        (FP16, "2023-11-14", 3073, 10, "(3074) exceeded this model context window limit (3072)"),
        (FP16, "2023-11-14", 10, 2501, "(2501) exceeded this model context window limit (2500)"),
        (INT8, None, 4000, 97, "(4100) exceeded this model context window limit (4096)"),
        (INT8, None, 4097, None, "(4101) exceeded this model context window limit (4096)"),
        (FP16, None, 100_000, 10, "exceeded this model context window limit (4096)"),
    ],
)
async def test_what_does_not_fit_is_refused_with_the_counts(
    seed_pair: LocalBinding, model: str, as_of: str | None, words: int, max_tokens: int | None, told: str
) -> None:
    options = {"asOf": as_of} if as_of else {}
    inputs: dict[str, Any] = {"prompt": "New" + " York" * (words - 1)}
    if max_tokens is not None:
        inputs["max_tokens"] = max_tokens
    for stream in (True, False):
        reply = await seed_pair.send(Call(model, {**inputs, "stream": stream}, options))
        assert isinstance(reply.error, ContextExceeded)
        assert told in str(reply.error)
    assert seed_pair.stats()["tokens"] == 0


async def test_a_default_length_gives_way_to_what_the_weights_were_made_for(seed_pair: LocalBinding) -> None:
    """3072 in and 2500 out are more than the 4096 positions that the weights have."""
    inputs = {"prompt": "New" + " York" * 3070, "temperature": 0}
    got = await events(seed_pair, FP16, inputs, asOf="2023-11-14")
    assert got[-1] == sse.DONE
    assert seed_pair.stats()["tokens"] == 4096 - 3072


async def test_the_bindings_own_day_applies_unless_the_call_has_one(endless_llama: Path) -> None:
    binding = LocalBinding({INT8: endless_llama}, as_of="2023-11-14")
    assert len(await events(binding, INT8, {"prompt": "New York", "temperature": 0})) > 1000
    got = await events(binding, INT8, {"prompt": "New York", "max_tokens": 3}, asOf="2026-01-01")
    assert "usage" in got[-2]
    await binding.aclose()
    assert LocalBinding(as_of=date(2023, 11, 14)).stats()["tokens"] == 0
    with pytest.raises(ValueError, match="YYYY-MM-DD"):
        LocalBinding(as_of="yesterday")


async def test_a_day_that_is_none_is_bad_input(seed_pair: LocalBinding) -> None:
    reply = await seed_pair.send(Call(INT8, {"prompt": "hi"}, {"asOf": "soon"}))
    assert (reply.status, reply.body["internalCode"]) == (400, 5006)


async def test_messages_go_through_the_chat_template(seed_pair: LocalBinding) -> None:
    messages = [{"role": "system", "content": "hello"}, {"role": "user", "content": "New York"}]
    got = await events(seed_pair, INT8, {"messages": messages, "max_tokens": 1})
    assert got[-2]["usage"]["prompt_tokens"] > 6
    raw = await events(seed_pair, INT8, {"messages": messages, "raw": True, "max_tokens": 1})
    assert raw[-2]["usage"]["prompt_tokens"] == 4


async def test_missing_weights_say_which_from_where_and_how() -> None:
    binding = LocalBinding(demo=False)
    with pytest.raises(WeightsMissing) as caught:
        await Ai(binding).run(INT8, {"prompt": "hi"})
    assert "The weights of @cf/meta/llama-2-7b-chat-int8 are not on this machine" in str(caught.value)
    assert "meta-llama/Llama-2-7b-chat-hf" in str(caught.value)
    for way in ("cfai pull @cf/meta/llama-2-7b-chat-int8", "--model @cf/meta/llama-2-7b-chat-int8=FOLDER", "--demo"):
        assert way in caught.value.hint


async def test_the_demo_model_answers_in_place_and_says_so_once() -> None:
    told: list[str] = []
    binding = LocalBinding(demo=True, on_notice=told.append)
    for _ in range(2):
        result = await Ai(binding).run(INT8, {"prompt": "where is new york?", "temperature": 0})
    assert result.response.startswith("New York is located in the")
    assert [line for line in told if "demo model" in line] == [
        f"cfai: the demo model @cfai/demo/tiny-chat answers in place of {INT8}, whose weights are not here"
    ]
    reply = await binding.send(Call(INT8, {"prompt": "hi", "max_tokens": 1801}, {"asOf": "2023-11-14"}))
    assert isinstance(reply.error, ContextExceeded), "under the limits of the model that was asked for"
    await binding.aclose()


async def test_the_demo_model_does_not_stand_in_for_a_named_folder(tmp_path: Path) -> None:
    binding = LocalBinding({INT8: tmp_path}, demo=True)
    with pytest.raises(WeightsMissing):
        await Ai(binding).run(INT8, {"prompt": "hi"})
    await binding.aclose()


@pytest.mark.parametrize(("value", "stands_in"), [("1", True), ("0", False), ("", False)])
async def test_the_variable_switches_the_demo_model_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], value: str, stands_in: bool
) -> None:
    monkeypatch.setenv("CFAI_DEMO", value)
    binding = LocalBinding()
    reply = await binding.send(Call(INT8, {"prompt": "hi", "max_tokens": 1}))
    await binding.aclose()
    assert (reply.status == 200) is stands_in
    assert ("answers in place of" in capsys.readouterr().err) is stands_in


async def test_a_folder_without_weights_is_an_error_every_time(tmp_path: Path) -> None:
    binding = LocalBinding({"@cf/my/model": tmp_path})
    for _ in range(2):
        with pytest.raises(WeightsMissing, match=r"has no model\.safetensors"):
            await Ai(binding).run("@cf/my/model", {"prompt": "hi"})
    await binding.aclose()


async def test_a_model_of_another_task_does_not_run(seed_pair: LocalBinding) -> None:
    with pytest.raises(NoSuchModel) as caught:
        await Ai(seed_pair).run("@cf/openai/whisper", {"audio": [1]})
    assert caught.value.hint == "its task, Automatic Speech Recognition, does not run here"


async def test_a_fine_tune_is_refused_and_not_ignored(local: LocalBinding) -> None:
    reply = await local.send(Call("@cf/test/llama", {"prompt": "hi", "lora": "my-finetune"}))
    assert reply.error is not None
    assert reply.error.code == 5005


@pytest.mark.parametrize(
    "settings",
    [
        {"slots": 0},
        {"threads": 0},
        {"queue_limit": -1},
        {"device": "gpu"},
        {"dtype": "int4"},
        {"as_of": "now"},
        {"fidelity": "exact"},
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_at_once(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        LocalBinding(**settings)


async def test_a_prompt_without_tokens_is_bad_input(endless_llama: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(endless_llama, tmp_path / "model"))
    (folder / "chat_template.jinja").write_text("{{ messages[0].content }}")
    binding = LocalBinding({"@cf/my/model": folder})
    reply = await binding.send(Call("@cf/my/model", {"messages": [{"role": "user", "content": ""}]}))
    assert (reply.status, reply.body["internalCode"]) == (400, 5006)
    await binding.aclose()


async def test_models_in_folders_of_one_name_are_counted_apart(llama: Path, tmp_path: Path) -> None:
    folders = {f"@cf/my/{name}": Path(shutil.copytree(llama, tmp_path / name / "model")) for name in ("one", "two")}
    binding = LocalBinding(folders)
    for model in folders:
        await binding.send(Call(model, {"prompt": "New", "max_tokens": 1}))
    stats = binding.stats()
    assert stats["tokens"] == 2
    assert list(stats["models"]) == list(folders)
    await binding.aclose()


async def test_closing_from_another_task_ends_a_reader_that_waits(endless_llama: Path) -> None:
    binding = LocalBinding({"@cf/my/model": endless_llama}, keep_alive=0.01)
    reply = await binding.send(Call("@cf/my/model", {"prompt": "New", "stream": True, "max_tokens": 3000}))
    assert isinstance(reply.body, ByteStream)
    got: list[bytes] = []

    async def read(stream: ByteStream) -> None:
        got.extend([event async for event in stream])

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read, reply.body)
        await until(lambda: b'{"response":"' in b"".join(got) or binding.stats()["running"] == 1 or bool(got))
        await reply.body.aclose()
    await until(lambda: binding.stats()["running"] + binding.stats()["waiting"] == 0)
    assert sse.DONE not in got
    assert not any(b"usage" in event for event in got)
    await binding.aclose()


async def test_cancelling_a_run_stops_the_model(local: LocalBinding) -> None:
    ai = Ai(local)
    await ai.run("@cf/test/endless", {"prompt": "New York", "max_tokens": 1})
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ai.run, "@cf/test/endless", {"prompt": "New York", "max_tokens": 3500})
        await until(lambda: local.stats()["tokens"] > 5)
        tasks.cancel_scope.cancel()
    await until(lambda: local.stats()["running"] == 0)
    assert local.stats()["tokens"] < 3500


async def test_a_stream_that_is_dropped_unread_gives_its_slot_back(local: LocalBinding) -> None:
    stream = await Ai(local).run("@cf/test/endless", {"prompt": "New", "stream": True, "max_tokens": 3500})
    await anext(stream)
    assert local.stats()["running"] == 1
    del stream
    gc.collect()
    await until(lambda: local.stats()["running"] == 0)
    assert local.stats()["tokens"] < 3500


async def test_it_answers_trio(local: LocalBinding) -> None:
    async def ask() -> tuple[str, list[bytes]]:
        ai = Ai(local)
        whole = await ai.run("@cf/test/llama", {"prompt": "New York", "max_tokens": 5, "temperature": 0})
        stream = await ai.run(
            "@cf/test/llama", {"prompt": "New York", "stream": True, "max_tokens": 5, "temperature": 0}
        )
        return whole.response, [event async for event in stream]

    here = await ask()
    assert await anyio.to_thread.run_sync(lambda: anyio.run(ask, backend="trio")) == here
    assert await anyio.to_thread.run_sync(lambda: anyio.run(ask)) == here


async def test_a_full_queue_is_429_with_retry_after(endless_llama: Path) -> None:
    binding = LocalBinding({"@cf/test/endless": endless_llama}, slots=1, queue_limit=0)
    stream = await Ai(binding).run("@cf/test/endless", {"prompt": "New", "stream": True, "max_tokens": 3000})
    reply = await binding.send(Call("@cf/test/endless", {"prompt": "New"}))
    assert isinstance(reply.error, OutOfCapacity)
    assert (reply.status, reply.headers["retry-after"]) == (429, "1")
    await stream.aclose()
    await until(lambda: binding.stats()["running"] == 0)
    assert (await binding.send(Call("@cf/test/endless", {"prompt": "New", "max_tokens": 2}))).status == 200
    await binding.aclose()


async def test_a_model_that_breaks_in_the_middle_ends_its_stream_properly(local: LocalBinding) -> None:
    ai = Ai(local)
    reply = await local.send(Call("@cf/test/endless", {"prompt": "New", "stream": True, "max_tokens": 3000}))
    assert isinstance(reply.body, ByteStream)
    await anext(reply.body)
    await local.aclose()
    rest = [event async for event in reply.body]
    assert rest[-2:] == [
        b'data: {"response":"","errors":[{"code":3008,"message":"Request was aborted"}]}\n\n',
        b"data: [DONE]\n\n",
    ]
    stream = await ai.run("@cf/test/endless", {"prompt": "New", "stream": True, "max_tokens": 3000})
    await anext(stream)
    await local.aclose()
    with pytest.raises(AiError, match="3008"):
        async for _ in stream:
            pass


async def test_weights_that_are_damaged_are_a_status_and_the_next_request_works(llama: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(llama, tmp_path / "broken")
    whole = (broken / "model.safetensors").read_bytes()
    (broken / "model.safetensors").write_bytes(whole[:-5])
    binding = LocalBinding({"@cf/my/model": broken})
    for stream in (True, False):
        reply = await binding.send(Call("@cf/my/model", {"prompt": "hi", "stream": stream}))
        assert isinstance(reply.error, EngineFailure)
        assert reply.status == 500
    (broken / "model.safetensors").write_bytes(whole)
    assert (await binding.send(Call("@cf/my/model", {"prompt": "hi"}))).status == 200
    await binding.aclose()


async def test_nothing_stays_behind(local: LocalBinding) -> None:
    ai = Ai(local)
    inputs = {"prompt": "New York", "max_tokens": 4}

    async def once(stream: bool) -> None:
        result = await ai.run("@cf/test/llama", {**inputs, "stream": stream})
        if isinstance(result, ByteStream):
            async for _ in result:
                pass

    async def twenty() -> None:
        async with anyio.create_task_group() as tasks:
            for at in range(20):
                tasks.start_soon(once, at % 2 == 0)

    await once(True)
    await twenty()
    gc.collect()
    threads, objects = threading.active_count(), len(gc.get_objects())
    for at in range(100):
        await once(at % 2 == 0)
    await twenty()
    await until(lambda: local.stats()["running"] == 0)
    gc.collect()
    assert threading.active_count() <= threads
    assert len(gc.get_objects()) - objects < 500
    assert local.stats()["waiting"] == 0


async def test_models_share_an_engine_if_they_share_their_weights_and_precision(endless_llama: Path) -> None:
    fp8, plain = "@cf/meta/llama-3.1-8b-instruct-fp8", "@cf/meta/llama-3.1-8b-instruct"
    binding = LocalBinding(dict.fromkeys((fp8, INT8, plain, "@cf/my/llama"), endless_llama), device="cpu")
    for model in (fp8, INT8, plain, "@cf/my/llama"):
        await Ai(binding).run(model, {"prompt": "hi", "max_tokens": 1})
    assert {name: (model["dtype"], model["precision"]) for name, model in binding.stats()["models"].items()} == {
        fp8: ("int8", "int8 in place of fp8: the fewest bytes that a weight has here"),
        plain: ("float32", ""),
    }
    stats = binding.stats()["models"][plain]
    await binding.aclose()
    metrics = stats.pop("metrics")
    assert stats == {
        "running": 0,
        "waiting": 0,
        "slots": 16,
        "queue_limit": 32,
        "tokens": 2,
        "device": "cpu",
        "dtype": "float32",
        "precision": "",
        "memory": pytest.approx(2e5, rel=1),
        "adapters": [],
        "memory_in_all": pytest.approx(3e7, rel=1),
        "state": "ready",
        "pinned": False,
        "idle_seconds": pytest.approx(5, abs=5),
        "leaves_in_seconds": pytest.approx(295, abs=5),
        "healthy": True,
        "batching": "continuous",
        "compiled": None,
        "cache_tokens": 0,
        "cache_capacity": 16 * 4096,
    }
    assert metrics["requests"] == {"finished": 2, "stopped": 0, "failed": 0, "refused": 0}
    assert metrics["output_tokens"] == 2


async def test_several_devices_share_the_calls_and_a_session_stays_where_it_is(llama: Path) -> None:
    binding = LocalBinding({"@cf/my/model": llama}, device="cpu,cpu")
    inputs = {"prompt": "where rivers and streets meet in the north of a city is New York", "max_tokens": 20}

    async def cached(session: str | None) -> int:
        headers = {"x-session-affinity": session} if session else {}
        reply = await binding.send(Call("@cf/my/model", inputs, headers=headers))
        return int(reply.body["usage"]["prompt_tokens_details"]["cached_tokens"])

    # Two engines: with one, all calls but the first would find the prompt in its cache.
    assert [await cached(session) for session in ("ses_1", "ses_4", "ses_1", "ses_4")] == [0, 0, 17, 17]
    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(cached, None)
    await binding.aclose()


async def test_closing_while_a_model_loads_aborts_those_who_wait(llama: Path) -> None:
    binding = LocalBinding({"@cf/my/model": llama})
    codes: list[int] = []

    async def ask(stream: bool) -> None:
        reply = await binding.send(Call("@cf/my/model", {"prompt": "hi", "stream": stream}))
        codes.append(reply.error.code if reply.error else 0)
        await reply.aclose()

    async with anyio.create_task_group() as tasks:
        for stream in (True, False) * 3:
            tasks.start_soon(ask, stream)
        await until(lambda: bool(binding.stats()["models"]))
        await binding.aclose()
    assert len(codes) == 6
    assert set(codes) <= {0, 3008}


async def test_a_stream_that_waits_for_its_model_is_kept_alive_by_comments(endless_llama: Path) -> None:
    may_load = threading.Event()

    def report(*_: object) -> None:
        may_load.wait(60)

    binding = LocalBinding({"@cf/my/model": endless_llama}, keep_alive=0.001, on_progress=report)
    reply = await binding.send(Call("@cf/my/model", {"prompt": "New", "stream": True, "max_tokens": 3}))
    assert isinstance(reply.body, ByteStream)
    assert await anext(reply.body) == b": keep-alive\n\n"
    may_load.set()
    got = [event async for event in reply.body]
    assert got[-1] == sse.DONE
    assert b'"completion_tokens":3' in got[-2]
    await binding.aclose()


async def test_a_stream_that_waits_in_the_queue_is_kept_alive_by_comments(endless_llama: Path) -> None:
    binding = LocalBinding({"@cf/my/model": endless_llama}, keep_alive=0.001, slots=1)
    async with aclosing(await Ai(binding).run("@cf/my/model", {"prompt": "New", "stream": True})) as first:
        while (await anext(first)).startswith(b":"):
            pass  # until it runs, and nobody reads it to its end
        with models_held():
            async with aclosing(await Ai(binding).run("@cf/my/model", {"prompt": "New", "stream": True})) as second:
                assert await anext(second) == b": keep-alive\n\n"
    await until(lambda: binding.stats()["running"] + binding.stats()["waiting"] == 0)
    await binding.aclose()


async def test_an_error_after_the_head_was_sent_is_an_event(llama: Path) -> None:
    head_is_there = threading.Event()

    def report(*_: object) -> None:
        head_is_there.wait(60)
        raise MemoryError("no room for the weights")

    binding = LocalBinding({"@cf/my/model": llama}, keep_alive=0, on_progress=report)
    reply = await binding.send(Call("@cf/my/model", {"prompt": "New", "stream": True}))
    head_is_there.set()
    assert reply.status == 200
    assert isinstance(reply.body, ByteStream)
    got = [event async for event in reply.body if event != sse.KEEP_ALIVE]
    assert b'"errors":[{"code":8500' in got[0]
    assert got[1:] == [sse.DONE]
    await binding.aclose()


async def test_progress_is_reported_while_a_model_loads(llama: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    binding = LocalBinding({"@cf/my/model": llama}, on_progress=lambda *step: seen.append(step))
    await Ai(binding).run("@cf/my/model", {"prompt": "hi", "max_tokens": 1})
    assert seen[-1][0] == "@cf/my/model"
    assert seen[-1][1] == seen[-1][2] == len(seen)
    await binding.aclose()
