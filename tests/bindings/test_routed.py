"""Calls that go one way or another by their model."""

from __future__ import annotations

from cfai import Call, FakeBinding, LocalBinding, Reply, RoutedBinding
from cfai.errors import NoSuchModel

HERE = "@cf/meta/llama-2-7b-chat-int8"
THERE = "@cf/qwen/qwen3-30b-a3b-fp8"
PROMPT = {"prompt": "hi"}


class _Closable(FakeBinding):
    closed = 0

    async def aclose(self) -> None:
        self.closed += 1


async def test_a_model_with_a_binding_of_its_own_is_answered_by_it_and_others_by_the_default() -> None:
    default, own = FakeBinding({HERE: "here"}), FakeBinding({THERE: "there"})
    routed = RoutedBinding(default, {THERE: own})
    assert (await routed.send(Call(HERE, PROMPT))).body["response"] == "here"
    reply = await routed.send(Call(THERE, {"messages": [{"role": "user", "content": "hi"}]}))
    assert "there" in str(reply.body)
    assert (len(default.calls), len(own.calls)) == (1, 1)


async def test_another_name_of_a_model_goes_the_way_of_the_model() -> None:
    own = FakeBinding()
    routed = RoutedBinding(FakeBinding(), {"@hf/mistral/mistral-7b-instruct-v0.2": own})
    assert routed.answering("@hf/mistralai/mistral-7b-instruct-v0.2") is own


async def test_a_model_that_nobody_knows_is_refused_by_the_default() -> None:
    routed = RoutedBinding(LocalBinding(demo=False), {THERE: FakeBinding()})
    assert isinstance((await routed.send(Call("@cf/no/such", PROMPT))).error, NoSuchModel)
    await routed.aclose()


async def test_each_binding_is_closed_once() -> None:
    default, own = _Closable(), _Closable()
    await RoutedBinding(default, {HERE: own, THERE: own}).aclose()
    assert (default.closed, own.closed) == (1, 1)


async def test_it_lists_the_models_of_all_and_adds_up_what_they_do() -> None:
    class Counting:
        def __init__(self, tokens: int) -> None:
            self.tokens = tokens

        async def send(self, call: Call) -> Reply:
            return Reply({})

        def stats(self) -> dict[str, object]:
            models = {f"m{self.tokens}": {"running": 0, "waiting": 0, "tokens": self.tokens}}
            return {"running": 1, "waiting": 0, "tokens": self.tokens, "models": models}

        async def aclose(self) -> None: ...

    routed = RoutedBinding(Counting(3), {HERE: Counting(4), THERE: FakeBinding()})
    stats = routed.stats()
    assert (stats["running"], stats["tokens"], sorted(stats["models"])) == (2, 7, ["m3", "m4"])
    assert await routed.models_here() == [HERE, THERE]
    assert THERE in await RoutedBinding(FakeBinding({HERE: "hi"}), {THERE: FakeBinding()}).models_here()
