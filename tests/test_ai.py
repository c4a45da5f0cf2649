import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any

import pytest

from cfai import Ai, AiResult, ByteStream, Call, FakeBinding, Reply, sse
from cfai.binding import EVENT_STREAM
from cfai.errors import EngineFailure, NoSuchModel, OutOfCapacity
from tests.conftest import ANY_LOOP

MODEL = "@cf/meta/llama-2-7b-chat-int8"


def fake_of(answer: Any) -> FakeBinding:
    return FakeBinding({MODEL: answer}, as_of="2023-11-14")


@ANY_LOOP
async def test_a_json_answer_is_a_result() -> None:
    fake = fake_of({"response": "New York is ...", "usage": {"total_tokens": 9}})
    result = await Ai(fake).run(MODEL, {"prompt": "where is new york?"})
    assert isinstance(result, AiResult)
    assert result.response == "New York is ..."
    assert result.usage.total_tokens == 9
    assert fake.calls == [Call(MODEL, {"prompt": "where is new york?"})]


@ANY_LOOP
async def test_a_streamed_answer_is_one_event_per_item() -> None:
    stream = await Ai(fake_of(["New", " York"])).run(MODEL, {"prompt": "where?", "stream": True})
    assert isinstance(stream, ByteStream)
    assert [event async for event in stream] == [
        b'data: {"response":"New"}\n\n',
        b'data: {"response":" York"}\n\n',
        b"data: [DONE]\n\n",
    ]


@ANY_LOOP
async def test_an_error_reply_raises_its_error() -> None:
    ai = Ai(fake_of(OutOfCapacity()))
    with pytest.raises(OutOfCapacity, match="3040: Capacity temporarily exceeded") as caught:
        await ai.run(MODEL, {"prompt": "hi"})
    assert caught.value.status == ai.lastRequestHttpStatusCode == 429
    assert ai.lastRequestInternalStatusCode == 3040
    assert ai.lastRequestId


@ANY_LOOP
async def test_a_stream_that_carries_an_error_raises_it() -> None:
    error = EngineFailure("the model failed")
    events = [sse.encode({"response": "New"}), sse.encode(error.to_event()), sse.DONE]
    stream = await Ai(streaming(events)).run(MODEL, {"prompt": "hi", "stream": True})
    assert await anext(stream) == b'data: {"response":"New"}\n\n'
    with pytest.raises(EngineFailure, match="8500: the model failed"):
        await anext(stream)


@ANY_LOOP
async def test_a_text_with_errors_in_it_is_not_an_error() -> None:
    events = [sse.encode({"response": '"errors"'}), sse.encode({"response": "", "errors": []}), sse.DONE]
    stream = await Ai(streaming(events)).run(MODEL, {"prompt": "hi", "stream": True})
    assert [event async for event in stream] == events


@ANY_LOOP
async def test_a_stream_that_ends_too_early_raises() -> None:
    stream = await Ai(streaming([sse.encode({"response": "New"})])).run(MODEL, {"prompt": "hi", "stream": True})
    await anext(stream)
    with pytest.raises(EngineFailure, match="ended before data: \\[DONE\\]"):
        await anext(stream)


@ANY_LOOP
async def test_a_binary_answer_is_its_bytes() -> None:
    stream = await Ai(streaming([b"\x89PNG", b"..."], kind="image/png")).run(MODEL, {"prompt": "a cat"})
    assert b"".join([chunk async for chunk in stream]) == b"\x89PNG..."


async def test_the_raw_reply_on_demand() -> None:
    reply = await Ai(fake_of(NoSuchModel(MODEL))).run(MODEL, {"prompt": "hi"}, {"returnRawResponse": True})
    assert isinstance(reply, Reply)
    assert (reply.status, reply.body["internalCode"]) == (400, 5007)


async def test_json_with_a_charset_is_no_object() -> None:
    """env.AI compares the content type with ===; whoever sees a dict here would see a stream there."""

    class Charset(FakeBinding):
        async def send(self, call: Call) -> Reply:
            return Reply({"response": "hi"}, headers={"content-type": "application/json; charset=utf-8"})

    assert not isinstance(await Ai(Charset()).run(MODEL, {"prompt": "hi"}), AiResult)


@pytest.mark.parametrize(
    "options",
    [
        {"extra_headers": {"x-session-affinity": "s1"}, "as_of": "2023-11-14"},
        {"extraHeaders": {"x-session-affinity": "s1"}, "asOf": "2023-11-14"},
        {"sessionOptions": {"extraHeaders": {"x-session-affinity": "s1"}, "asOf": "2023-11-14"}},
    ],
)
async def test_session_options_in_either_case_go_with_every_call(options: Mapping[str, Any]) -> None:
    fake = fake_of("hi")
    await Ai(fake, options).run(MODEL, {"prompt": "hi"}, {"rejectIfBusy": True, "extraHeaders": {"x-more": "1"}})
    assert fake.calls == [
        Call(
            MODEL,
            {"prompt": "hi"},
            {"rejectIfBusy": True, "asOf": "2023-11-14"},
            {"x-session-affinity": "s1", "x-more": "1"},
        )
    ]


async def test_a_prefix_goes_into_the_model_header() -> None:
    fake = fake_of("hi")
    await Ai(fake, {"prefix": "pfx"}).run(MODEL, {"prompt": "hi"})
    assert fake.calls[0].headers == {"cf-consn-model-id": f"pfx:{MODEL}"}


@ANY_LOOP
async def test_an_ai_runs_through_another_with_its_own_options_on_top() -> None:
    fake = fake_of(NoSuchModel(MODEL))
    outer = Ai(Ai(fake, {"extra_headers": {"x-inner": "1"}}), {"as_of": "2023-11-14"})
    with pytest.raises(NoSuchModel):
        await outer.run(MODEL, {"prompt": "hi"})
    assert fake.calls[0].options == {"asOf": "2023-11-14"}
    assert (outer.lastRequestHttpStatusCode, outer.lastRequestInternalStatusCode) == (400, 5007)
    assert outer.lastRequestId


async def test_anything_with_a_run_will_do() -> None:
    class Double:
        lastRequestId = "id-7"  # noqa: N815

        def run(self, model: str, inputs: Any, options: Any = None, /) -> Awaitable[Any]:
            async def answer() -> Any:
                return {"model": model, "inputs": inputs, "options": options}

            return answer()

    ai = Ai(Double(), {"extra_headers": {"x-a": "1"}})
    assert await ai.run(MODEL, {"prompt": "hi"}) == {
        "model": MODEL,
        "inputs": {"prompt": "hi"},
        "options": {"extraHeaders": {"x-a": "1"}},
    }
    assert ai.lastRequestId == "id-7"
    await ai.aclose()


async def test_a_stream_is_registered_with_the_context() -> None:
    class Context:
        def __init__(self) -> None:
            self.waiting: list[Any] = []

        def waitUntil(self, awaitable: Any) -> None:  # noqa: N802
            self.waiting.append(awaitable)

    ctx = Context()
    stream = await Ai(fake_of("hi"), {"ctx": ctx}).run(MODEL, {"prompt": "hi", "stream": True})
    assert len(ctx.waiting) == 1
    assert [event async for event in stream][-1] == sse.DONE
    await ctx.waiting[0]


def test_a_wrong_binding_or_option_is_named() -> None:
    with pytest.raises(TypeError, match=r"Ai binding is undefined\. Please provide a valid binding\."):
        Ai(None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"send\(\) or run\(\), str has neither"):
        Ai("env.AI")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="unknown session option 'extra_header'; there are: as_of, ctx"):
        Ai(FakeBinding(), {"extra_header": {}})


async def test_leaving_the_block_closes_the_binding() -> None:
    class Closing(FakeBinding):
        closed = False

        async def aclose(self) -> None:
            self.closed = True

    binding = Closing()
    async with Ai(Ai(binding)):
        pass
    assert binding.closed


class streaming(FakeBinding):  # noqa: N801  # reads as a function where it is used
    def __init__(self, chunks: list[bytes], *, kind: str = EVENT_STREAM) -> None:
        super().__init__()
        self._chunks = chunks
        self._kind = kind

    async def send(self, call: Call) -> Reply:
        async def source() -> Any:
            for chunk in self._chunks:
                yield chunk

        return Reply(ByteStream(source()), headers={"content-type": self._kind})


def test_run_sync_needs_no_event_loop() -> None:
    with Ai(fake_of("New York is big")) as ai:
        assert ai.run_sync(MODEL, {"prompt": "where?"}).response == "New York is big"
    with Ai(fake_of(OutOfCapacity())) as ai, pytest.raises(OutOfCapacity):
        ai.run_sync(MODEL, {"prompt": "hi"})


def test_run_sync_streams_to_a_for_loop() -> None:
    with Ai(fake_of(["New", " York"])) as ai:
        events = list(ai.run_sync(MODEL, {"prompt": "where?", "stream": True}))
    assert events == [b'data: {"response":"New"}\n\n', b'data: {"response":" York"}\n\n', b"data: [DONE]\n\n"]


def test_leaving_a_stream_of_run_sync_stops_the_model() -> None:
    ended = []

    async def endless() -> AsyncGenerator[bytes]:
        try:
            while True:
                yield sse.encode({"response": "and"})
        finally:
            ended.append(True)

    class Endless:
        async def send(self, call: Call) -> Reply:
            return Reply(ByteStream(endless()), headers={"content-type": EVENT_STREAM})

        async def aclose(self) -> None:
            """Nothing is held."""

    with Ai(Endless()) as ai:
        with ai.run_sync(MODEL, {"prompt": "on", "stream": True}) as events:
            assert next(events) == b'data: {"response":"and"}\n\n'
        assert ended == [True]


async def test_run_sync_inside_a_loop_says_what_to_write() -> None:
    with pytest.raises(RuntimeError, match=r"one runs here: await ai\.run"):
        Ai(fake_of("x")).run_sync(MODEL, {"prompt": "hi"})


async def test_models_are_those_of_the_binding() -> None:
    assert await Ai(fake_of("x")).models() == [{"name": MODEL}]
    assert await Ai(Ai(fake_of("x"))).models() == [{"name": MODEL}]


@pytest.mark.parametrize(
    ("ask", "told"),
    [
        (lambda ai: ai.gateway("mine"), "gateway('mine'): AI Gateway is not simulated"),
        (lambda ai: ai.autorag("docs"), "autorag('docs'): AutoRAG is not simulated"),
        (lambda ai: ai.aiSearch(), "AI Search is not simulated"),
        (lambda ai: ai.toMarkdown([]), "toMarkdown: the conversion of documents is not simulated"),
    ],
)
def test_what_is_not_simulated_says_so(ask: Callable[[Ai], Any], told: str) -> None:
    with pytest.raises(NotImplementedError, match=re.escape(told)):
        ask(Ai(fake_of("x")))
