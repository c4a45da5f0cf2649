"""Tokens are counted as the model's own tokenizer counts them, and what does not fit is refused with the counts."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from transformers import AutoTokenizer

from cfai import AiError, Binding, ByteStream, Call, FakeBinding, LocalBinding, sse
from cfai.binding import Form
from cfai.bindings.generation import MOST_BYTES_PER_TOKEN
from cfai.errors import ContextExceeded
from cfai.tasks.told import told_by
from cfai.weights import DEMO_MODEL, find

INT8 = "@cf/meta/llama-2-7b-chat-int8"
FP16 = "@cf/meta/llama-2-7b-chat-fp16"
CLASSIC = "@cf/meta/llama-3.1-8b-instruct"
CHAT = "@cf/google/gemma-4-26b-a4b-it"
RESPONSES = "@cf/openai/gpt-oss-20b"
QWEN = "@cf/qwen/qwen3-30b-a3b-fp8"

ASKED: dict[Form, dict[str, Any]] = {
    "native": {"prompt": "hi"},
    "chat": {"messages": [{"role": "user", "content": "hi"}]},
    "completion": {"prompt": "hi"},
    "responses": {"input": "hi"},
}
LIMIT = {"native": "max_tokens", "chat": "max_completion_tokens", "completion": "max_tokens"}

TOOL = {
    "name": "weather",
    "description": "What the weather is.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string", "description": "Where."}}},
}
TALK = [
    {"role": "system", "content": "You are a pirate."},
    {"role": "user", "content": "where is new york? Zürich, 東京 🙂"},
    {"role": "assistant", "content": "In the north."},
    {"role": "user", "content": "  and then\n\n"},
]


@pytest.fixture
async def demo() -> AsyncIterator[LocalBinding]:
    binding = LocalBinding(demo=True)
    yield binding
    await binding.aclose()


async def usages(binding: Binding, model: str, inputs: dict[str, Any], form: Form = "native") -> list[dict[str, Any]]:
    """What the answer tells of its usage, whole and as a stream."""
    whole = await binding.send(Call(model, inputs, form=form))
    assert whole.status == 200, whole.body
    streamed = {**inputs, "stream": True}
    if form in ("chat", "completion"):
        streamed["stream_options"] = {"include_usage": True}
    reply = await binding.send(Call(model, streamed, form=form))
    assert isinstance(reply.body, ByteStream), reply.body
    decoder = sse.Decoder()
    told = [json.loads(data) async for event in reply.body for data in decoder.feed(event) if data != "[DONE]"]
    last = [usage for event in told if (usage := told_by(event).usage)][-1]
    return [whole.body["usage"], dict(last)]


async def assert_counted(binding: LocalBinding, inputs: dict[str, Any], ids: list[int], form: Form = "native") -> None:
    """Both ways of asking tell as many prompt tokens as there are `ids`, and the engine read as many."""
    for usage in await usages(binding, DEMO_MODEL, {**inputs, "max_tokens": 3, "temperature": 0}, form):
        assert usage["prompt_tokens"] == len(ids)
        assert usage["completion_tokens"] == 3
        assert usage["total_tokens"] == len(ids) + 3
    metrics = binding.stats()["models"][DEMO_MODEL]["metrics"]
    assert metrics["prompt_tokens"] == 2 * len(ids)
    assert metrics["output_tokens"] == 6


async def test_a_prompt_counts_as_the_tokenizer_renders_it(demo: LocalBinding) -> None:
    tokenizer = AutoTokenizer.from_pretrained(find(demo.catalog.get(DEMO_MODEL)))
    talk = [{"role": "user", "content": "where is new york?"}]
    ids = tokenizer.apply_chat_template(talk, add_generation_prompt=True)["input_ids"]
    await assert_counted(demo, {"prompt": "where is new york?"}, ids)


async def test_a_raw_prompt_counts_its_own_tokens_and_the_one_that_begins_it(demo: LocalBinding) -> None:
    tokenizer = AutoTokenizer.from_pretrained(find(demo.catalog.get(DEMO_MODEL)))
    text = "<|user|> where is new york? Zürich <|assistant|>"
    await assert_counted(demo, {"prompt": text, "raw": True}, tokenizer(text)["input_ids"])


async def test_messages_count_with_all_that_the_template_puts_between_them(demo: LocalBinding) -> None:
    tokenizer = AutoTokenizer.from_pretrained(find(demo.catalog.get(DEMO_MODEL)))
    ids = tokenizer.apply_chat_template(TALK, add_generation_prompt=True)["input_ids"]
    await assert_counted(demo, {"messages": TALK}, ids)


@pytest.mark.parametrize("form", ["native", "chat"])
async def test_tools_count_as_the_template_teaches_them(demo: LocalBinding, form: Form) -> None:
    tokenizer = AutoTokenizer.from_pretrained(find(demo.catalog.get(DEMO_MODEL)))
    tools = [{"type": "function", "function": TOOL}]
    ids = tokenizer.apply_chat_template(TALK, tools=tools, add_generation_prompt=True)["input_ids"]
    without = tokenizer.apply_chat_template(TALK, add_generation_prompt=True)["input_ids"]
    assert len(ids) > len(without)
    (whole, streamed) = await usages(demo, DEMO_MODEL, {"messages": TALK, "tools": tools, "max_tokens": 3}, form)
    assert whole["prompt_tokens"] == streamed["prompt_tokens"] == len(ids)
    assert demo.stats()["models"][DEMO_MODEL]["metrics"]["prompt_tokens"] == 2 * len(ids)


async def test_several_answers_to_a_prompt_count_it_once_and_all_that_they_say(demo: LocalBinding) -> None:
    one, _ = await usages(demo, DEMO_MODEL, {**ASKED["chat"], "max_tokens": 3}, "chat")
    both, _ = await usages(demo, DEMO_MODEL, {**ASKED["chat"], "max_tokens": 3, "n": 2}, "chat")
    assert both["prompt_tokens"] == one["prompt_tokens"]
    assert both["completion_tokens"] == 6


@pytest.fixture(params=["local", "fake"])
async def binding(request: pytest.FixtureRequest, endless_llama: Any) -> AsyncIterator[Binding]:
    if request.param == "fake":
        yield FakeBinding.plausible()
        return
    local = LocalBinding(dict.fromkeys((INT8, FP16, CLASSIC, CHAT, RESPONSES, QWEN), endless_llama), demo=False)
    yield local
    await local.aclose()


async def refusal(binding: Binding, model: str, inputs: dict[str, Any], form: Form, **options: Any) -> AiError:
    """The refusal of a call, the same whole and as a stream."""
    errors: list[AiError] = []
    for stream in (False, True):
        reply = await binding.send(Call(model, {**inputs, "stream": stream}, options, form=form))
        error = reply.error
        assert error is not None, "it is answered"
        assert isinstance(error, ContextExceeded) or error.code == 8007
        assert reply.status == error.status
        errors.append(error)
    assert len(set(map(str, errors))) == 1
    return errors[0]


@pytest.mark.parametrize("form", ASKED)
@pytest.mark.parametrize("model", [CLASSIC, CHAT, RESPONSES])
async def test_a_limit_beyond_the_window_is_refused_in_every_form(binding: Binding, form: Form, model: str) -> None:
    name = "max_output_tokens" if form == "responses" else LIMIT[form]
    error = await refusal(binding, model, {**ASKED[form], name: 300_000}, form)
    assert (error.code, error.status) == (5021, 413)
    assert "The estimated number of input and maximum output tokens (300" in error.description
    assert error.hint


@pytest.mark.parametrize("form", ASKED)
async def test_a_prompt_beyond_the_window_is_refused_and_not_cut(binding: Binding, form: Form) -> None:
    text = "New" + " York" * 9000
    asked: dict[Form, dict[str, Any]] = {
        "chat": {"messages": [{"role": "user", "content": text}]},
        "responses": {"input": text},
    }
    error = await refusal(binding, CLASSIC, asked.get(form, {"prompt": text}), form)
    assert error.code == 5021
    counted, most = (int(part.split(")")[0]) for part in error.description.split("(")[1:])
    assert counted > 9000
    assert most in (4096, 7968, 8192)  # the window of the list, or what the weights were made for


@pytest.mark.parametrize(
    ("model", "inputs", "told"),
    [
        (INT8, {"prompt": "hi", "max_tokens": 1801}, "(1801) exceeded this model context window limit (1800)"),
        (FP16, {"prompt": "hi", "max_tokens": 2501}, "(2501) exceeded this model context window limit (2500)"),
        (INT8, {"prompt": "New" + " York" * 2048}, "exceeded this model context window limit (2048)"),
        (FP16, {"prompt": "New" + " York" * 3072}, "exceeded this model context window limit (3072)"),
    ],
)
async def test_the_limits_of_the_first_streams_hold_on_their_day(
    binding: Binding, model: str, inputs: dict[str, Any], told: str
) -> None:
    assert told in str(await refusal(binding, model, inputs, "native", asOf="2023-11-14"))


async def test_an_output_limit_of_today_is_refused_on_its_own(binding: Binding) -> None:
    error = await refusal(binding, CHAT, {"prompt": "hi", "max_tokens": 16_385}, "native")
    assert "(16385) exceeded this model context window limit (16384)" in str(error)


async def test_a_prompt_that_cannot_fit_is_refused_without_being_read(binding: Binding) -> None:
    error = await refusal(binding, CLASSIC, {"prompt": "a" * (MOST_BYTES_PER_TOKEN * 200_000)}, "native")
    assert error.code == 5021


@pytest.mark.parametrize("form", ["native", "chat"])
async def test_production_refuses_for_a_chat_model_in_the_words_of_its_engine(binding: Binding, form: Form) -> None:
    inputs = {"messages": [{"role": "user", "content": "New" + " York" * 3000}], "max_tokens": 32_768}
    error = await refusal(binding, QWEN, inputs, form, fidelity="production")
    assert (error.code, error.status) == (8007, 400)
    told = json.loads(error.description)
    counts = [int(number) for number in re.findall(r"(\d+) tokens", told["message"])]
    window, total, prompt, completion = counts
    assert total == prompt + completion > window
    assert (completion, prompt > 3000) == (32_768, True)
    then = await refusal(binding, QWEN, inputs, form, fidelity="production", asOf="2025-12-31")
    assert then.code == 5021
