"""Cloudflare's limits on request: requests per minute of a model, and the neurons that are free each day."""

from __future__ import annotations

import json
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from cfai import Ai, ByteStream, Call, FakeBinding, LocalBinding
from cfai.binding import Listing
from cfai.bindings import Script
from cfai.bindings.account import KEEP_DAYS, Account
from cfai.bindings.limits import LimitsBinding
from cfai.bindings.metered import MeteredBinding
from cfai.bindings.spent import spent_in
from cfai.clock import VIRTUAL_START, VirtualClock
from cfai.cost import USD_PER_NEURON, Cost, cost_headers, parse_limits
from cfai.errors import DailyLimit, RateLimited
from tests.conftest import ANY_LOOP

SLOW = "@cf/qwen/qwen1.5-14b-chat-awq"
"""150 requests per minute, and no known price."""
LLAMA = "@cf/meta/llama-3.3-70b-instruct-fp8-fast"
"""The 300 requests per minute of its task, 204,805 neurons per million tokens out."""
BGE = "@cf/baai/bge-large-en-v1.5"


def row(neurons: object) -> str:
    """A line as accounts write them."""
    return f'{{"at": "2026-01-01T00:00:00Z", "model": "{LLAMA}", "in": 1, "cached": 0, "out": 1, "neurons": {neurons}}}'


def told(text: str, **usage: int) -> Script:
    return Script(pieces=[text], usage=usage or None)


@ANY_LOOP
@pytest.mark.parametrize(("model", "rate"), [(SLOW, 150), (LLAMA, 300), (BGE, 1500), ("@cf/baai/bge-m3", 3000)])
async def test_requests_beyond_a_models_rate_wait_for_the_minute_to_pass(model: str, rate: int) -> None:
    clock = VirtualClock()
    limited = LimitsBinding(FakeBinding.plausible(clock=clock), ["rpm"], clock=clock)
    inputs = {"text": "hi"} if "bge" in model else {"prompt": "hi", "max_tokens": 1}
    call = Call(model, inputs)
    for _ in range(rate):
        assert (await limited.send(call)).status == 200
        await clock.sleep(0.001)
    refused = await limited.send(call)
    assert isinstance(refused.error, RateLimited)
    assert (refused.status, refused.error.code) == (429, 3021)
    assert refused.error.description == "rate limiting: inference request per min rate reached"
    assert f"{model} takes {rate} requests per minute" in refused.error.hint
    other = "@cf/meta/llama-3.1-8b-instruct-fp8"
    assert (await limited.send(Call(other, {"prompt": "hi", "max_tokens": 1}))).status == 200, "each model has its own"
    await clock.sleep(float(refused.headers["retry-after"]))
    assert (await limited.send(call)).status == 200


async def test_an_alias_shares_the_rate_of_what_it_stands_for() -> None:
    limited = LimitsBinding(FakeBinding({SLOW: "hi", "@cf/my/model": "hi"}), ["rpm"], clock=VirtualClock())
    for _ in range(151):
        reply = await limited.send(Call("@cf/my/model", {"prompt": "hi"}))
    assert reply.status == 200, "nobody knows a rate for it"


async def test_the_days_free_neurons_end_until_midnight() -> None:
    clock = VirtualClock()
    fake = FakeBinding({LLAMA: told("hi", prompt_tokens=39, completion_tokens=40_000)}, clock=clock)
    limited = LimitsBinding(fake, ["free"], clock=clock)
    call = Call(LLAMA, {"prompt": "hi"})
    await clock.sleep(18 * 3600 + 60)
    assert (await limited.send(call)).status == 200
    assert 8_000 < limited.account.today < 10_000
    assert (await limited.send(call)).status == 200, "what begins before the last one goes is answered whole"
    refused = await limited.send(call)
    assert isinstance(refused.error, DailyLimit)
    assert (refused.status, refused.error.code) == (429, 3036)
    assert refused.error.description == "You have used up your daily free allocation of 10,000 neurons"
    assert refused.error.hint == "they are free again at 00:00 UTC, in 5 h 59 min"
    assert refused.headers["retry-after"] == str(6 * 3600 - 60)
    assert (await limited.send(Call(SLOW, {"prompt": "hi"}))).error is not None, "of all models together"
    await clock.sleep(float(refused.headers["retry-after"]))
    assert limited.account.today == 0
    assert (await limited.send(call)).status == 200


async def test_production_says_the_days_end_as_the_wire_does() -> None:
    clock = VirtualClock()
    account = Account(clock=clock)
    account.add(LLAMA, Cost(neurons=10_000.0))
    limited = LimitsBinding(FakeBinding({LLAMA: "hi"}), clock=clock, account=account, fidelity="production")
    with pytest.raises(DailyLimit, match="4006: you have used up your daily free allocation of 10,000 neurons, please"):
        await Ai(limited).run(LLAMA, {"prompt": "hi"})
    reply = await limited.send(Call(LLAMA, {"prompt": "hi"}, {"fidelity": "clean"}))
    assert reply.error is not None
    assert reply.error.code == 3036


@ANY_LOOP
async def test_a_stream_counts_when_it_ends_or_is_left() -> None:
    clock = VirtualClock()
    fake = FakeBinding({LLAMA: ["one", " two", " three", " four"]}, clock=clock)
    limited = LimitsBinding(fake, clock=clock)
    whole = await limited.send(Call(LLAMA, {"prompt": "hi", "stream": True}))
    assert isinstance(whole.body, ByteStream)
    assert limited.account.today == 0
    assert [event async for event in whole.body][-1] == b"data: [DONE]\n\n"
    usage = fake.calls[0].usage
    assert usage is not None
    assert limited.account.today == pytest.approx(usage.neurons)
    left = await limited.send(Call(LLAMA, {"prompt": "hi", "stream": True}))
    assert isinstance(left.body, ByteStream)
    await anext(left.body)
    await left.body.aclose()
    await left.body.aclose()
    assert 0 < limited.account.today - (usage.neurons or 0) < (usage.neurons or 0)


async def test_a_stream_of_a_local_model_that_is_left_costs_what_was_made(endless_llama: Path) -> None:
    local = LocalBinding({LLAMA: endless_llama}, demo=False)
    answers: list[Cost] = []
    metered = MeteredBinding(local, on_answer=lambda model, cost: answers.append(cost))
    for as_of in ({}, {"asOf": "2023-11-14"}):
        reply = await metered.send(Call(LLAMA, {"prompt": "New York", "stream": True, "max_tokens": 3000}, as_of))
        assert isinstance(reply.body, ByteStream)
        for _ in range(5):
            await anext(reply.body)
        await reply.body.aclose()
    await local.aclose()
    assert [0 < cost.output_tokens < 3000 for cost in answers] == [True, True]
    assert metered.account.today == pytest.approx(sum(cost.neurons or 0 for cost in answers))


@pytest.mark.parametrize("form", ["native", "chat", "responses"])
@pytest.mark.parametrize("stream", [False, True])
async def test_somebody_elses_answers_are_counted_by_what_they_tell(form: Any, stream: bool) -> None:
    class Elsewhere:
        """A server: what it counts itself does not come over the wire."""

        async def send(self, call: Call) -> Any:
            reply = await FakeBinding({LLAMA: told("hi", prompt_tokens=39, completion_tokens=1)}).send(call)
            return type(reply)(reply.body, reply.status, {"content-type": reply.headers["content-type"]})

        async def aclose(self) -> None: ...

    metered = MeteredBinding(Elsewhere())
    inputs: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}]}
    if form == "responses":
        inputs = {"input": "hi"}
    if form == "chat" and stream:
        inputs["stream_options"] = {"include_usage": True}
    reply = await metered.send(Call(LLAMA, {**inputs, "stream": stream}, form=form))
    if isinstance(reply.body, ByteStream):
        assert [event async for event in reply.body]
    assert metered.account.today == pytest.approx(1.04 + 0.204805, rel=1e-2)


async def test_a_refusal_costs_nothing_and_a_model_without_a_price_is_no_zero() -> None:
    answers: list[tuple[str, Cost]] = []
    metered = MeteredBinding(FakeBinding({SLOW: "hi"}), on_answer=lambda model, cost: answers.append((model, cost)))
    assert (await metered.send(Call(SLOW, {}))).status == 400
    reply = await metered.send(Call(SLOW, {"prompt": "hi"}))
    assert not {"cf-ai-neurons", "x-cfai-usd"} & reply.headers.keys()
    ((model, cost),) = answers
    assert (model, cost.neurons, cost.usd) == (SLOW, None, None)
    assert str(cost).endswith("no price known")
    assert metered.account.today == 0


async def test_the_headers_tell_neurons_and_dollars() -> None:
    fake = FakeBinding({LLAMA: told("hi", prompt_tokens=39, completion_tokens=1)})
    reply = await fake.send(Call(LLAMA, {"prompt": "hi"}))
    assert reply.headers["cf-ai-neurons"] == "1.24"
    assert float(reply.headers["x-cfai-usd"]) == pytest.approx(1.244805 * USD_PER_NEURON, rel=1e-4)
    assert "e" not in reply.headers["x-cfai-usd"]
    assert reply.body["usage"]["neurons"] == pytest.approx(1.244805, rel=1e-4)
    assert cost_headers(None) == {}


async def test_the_account_is_a_gauge_in_the_stats_of_the_binding(local: LocalBinding) -> None:
    metered = MeteredBinding(local, Account(clock=VirtualClock()))
    assert isinstance(metered, Listing)
    before = metered.stats()
    assert before["neurons"] == {"today": 0.0, "free": 10_000, "resets_in": 86_400, "models": {}}
    assert before["models"] == {}
    assert await metered.models_here() == await local.models_here()


def test_two_processes_share_a_days_account_and_a_restart_goes_on(tmp_path: Path) -> None:
    clock = VirtualClock()
    one, other = Account(tmp_path / "costs", clock=clock), Account(tmp_path / "costs", clock=clock)
    one.add(LLAMA, Cost(10, 5, 2, neurons=1.5))
    other.add(SLOW, Cost(3, 1))
    other.add(LLAMA, Cost(10, 5, neurons=2.0))
    assert one.today == other.today == 3.5
    assert Account(tmp_path / "costs", clock=clock).today == 3.5
    (file,) = (tmp_path / "costs").iterdir()
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert file.name == "2026-01-01.jsonl"
    assert rows[0] == {
        "at": "2026-01-01T00:00:00Z", "model": LLAMA, "in": 10, "cached": 2, "out": 5, "neurons": 1.5
    }  # fmt: skip
    assert rows[1]["neurons"] is None


async def test_a_day_begins_anew_and_old_days_are_forgotten(tmp_path: Path) -> None:
    clock = VirtualClock()
    account = Account(tmp_path, clock=clock)
    (tmp_path / "notes.txt").write_text("mine")
    for _ in range(KEEP_DAYS + 2):
        account.add(LLAMA, Cost(neurons=4.0))
        assert account.today == 4.0
        await clock.sleep(86_400)
    assert account.today == 0
    kept = sorted(file.name for file in tmp_path.glob("*.jsonl"))
    assert len(kept) == KEEP_DAYS
    assert kept[0] == datetime.fromtimestamp(VIRTUAL_START + 2 * 86_400).date().isoformat() + ".jsonl"
    assert (tmp_path / "notes.txt").exists()


def test_a_line_that_is_torn_or_foreign_costs_nothing_else(tmp_path: Path) -> None:
    account = Account(tmp_path, clock=VirtualClock())
    account.add(LLAMA, Cost(neurons=1.0))
    (file,) = tmp_path.iterdir()
    with file.open("a") as lines:
        lines.write('[]\nnonsense\n{"neurons": "many"}\n' + row(2) + "\n" + row(4)[:20])
    assert account.today == 3.0
    with file.open("a") as lines:
        lines.write(row(4)[20:] + "\n")
    assert account.today == 7.0


@pytest.mark.parametrize("neurons", ["NaN", "Infinity", "-50", "1e999", "[" * 100_000, "9" * 5000, "true"])
def test_no_line_of_the_days_file_switches_the_limits_off(tmp_path: Path, neurons: str) -> None:
    account = Account(tmp_path, clock=VirtualClock())
    account.add(LLAMA, Cost(neurons=1.0))
    (file,) = tmp_path.iterdir()
    with file.open("a") as lines:
        lines.write(row(neurons) + "\n" + row(2) + "\n")
    assert account.today in (3.0, 4.0)
    assert sum(spent.cost.neurons or 0.0 for spent in spent_in(tmp_path)) == account.today


def test_a_torn_line_does_not_swallow_the_next_answer(tmp_path: Path) -> None:
    account = Account(tmp_path, clock=VirtualClock())
    account.add(LLAMA, Cost(neurons=1.0))
    (file,) = tmp_path.iterdir()
    with file.open("a") as lines:
        lines.write(row(4)[:20])
    account.add(LLAMA, Cost(neurons=2.0))
    assert account.today == Account(tmp_path, clock=VirtualClock()).today == 3.0


def test_a_days_file_that_was_removed_begins_anew(tmp_path: Path) -> None:
    account = Account(tmp_path, clock=VirtualClock())
    for _ in range(3):
        account.add(LLAMA, Cost(neurons=1.0))
    assert account.today == 3.0
    (file,) = tmp_path.iterdir()
    file.unlink()
    account.add(LLAMA, Cost(neurons=1.0))
    assert account.today == 1.0


class _Sleeper:
    """The clock of a machine that may be asleep, when its steady count stands still."""

    def __init__(self) -> None:
        self.asleep = 0.0

    def now(self) -> float:
        return time.time() - self.asleep

    async def sleep(self, seconds: float) -> None:
        raise NotImplementedError


def test_a_machine_that_slept_over_midnight_has_the_new_day() -> None:
    clock = _Sleeper()
    account = Account(clock=clock)
    clock.asleep = 86_400.0
    assert abs(account.now.timestamp() - time.time()) < 60


def test_an_account_that_cannot_be_written_counts_all_the_same(tmp_path: Path, caplog: Any) -> None:
    (tmp_path / "costs").write_text("a file where the folder should be")
    account = Account(tmp_path / "costs", clock=VirtualClock())
    for _ in range(2):
        account.add(LLAMA, Cost(neurons=1.0))
    assert account.today == 2.0
    assert caplog.text.count("costs are not kept beyond this process") == 1


@pytest.mark.parametrize(
    ("text", "limits"),
    [("rpm", ("rpm",)), ("free", ("free",)), ("free, rpm", ("rpm", "free")), ("all", ("rpm", "free")), ("none", ())],
)
def test_limits_are_named(text: str, limits: tuple[str, ...]) -> None:
    assert parse_limits(text) == limits


@pytest.mark.parametrize(("text", "problem"), [("rmp", "did you mean 'rpm'"), ("", "limits"), ("all,rpm", "alone")])
def test_a_limit_that_there_is_not_is_an_error(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_limits(text)
