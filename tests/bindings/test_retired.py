"""Models that Cloudflare serves no longer, or not yet: they answer here with a note, or are refused as there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from cfai import Ai, Call, FakeBinding, LocalBinding
from cfai.errors import BadInput, DeprecatedModel, NoSuchModel
from cfai.server.app import binding_app, rest_app

GONE = "@cf/meta/llama-2-7b-chat-int8"
ALIASED = "@cf/moonshotai/kimi-k2.5"
NEW = "@cf/google/gemma-4-26b-a4b-it"
INPUTS = {"prompt": "hi", "max_tokens": 3}
WORDS = "This model was deprecated on 2026-05-30. Please use an alternative model."

Make = Callable[..., FakeBinding | LocalBinding]


@pytest.fixture(params=["fake", "local"])
async def make(request: pytest.FixtureRequest, llama: Path) -> AsyncIterator[Make]:
    """A binding of either kind that has an answer for all three models."""
    made: list[FakeBinding | LocalBinding] = []

    def make(**settings: Any) -> FakeBinding | LocalBinding:
        names = (GONE, ALIASED, NEW)
        if request.param == "fake":
            made.append(FakeBinding(dict.fromkeys([*names, "@cf/moonshotai/kimi-k2.6"], "yes"), **settings))
        else:
            folders = dict.fromkeys([*names, "@cf/moonshotai/kimi-k2.6"], llama)
            made.append(LocalBinding(folders, demo=False, on_notice=lambda line: None, **settings))
        return made[-1]

    yield make
    for binding in made:
        await binding.aclose()


async def test_a_retired_model_answers(make: Make) -> None:
    assert "response" in await Ai(make()).run(GONE, INPUTS)


async def test_it_is_refused_as_cloudflare_refuses_it_where_that_is_asked_for(make: Make) -> None:
    with pytest.raises(DeprecatedModel) as refused:
        await Ai(make(strict_retired=True)).run(GONE, INPUTS)
    assert str(refused.value) == f"5028: {WORDS}"
    assert refused.value.status == 400
    assert refused.value.hint == "@cf/meta/llama-3.1-8b-instruct-fp8 is the one to use now"


@pytest.mark.parametrize(("as_of", "is_served"), [("2026-05-29", True), ("2026-05-30", False)])
async def test_the_day_decides(make: Make, as_of: str, is_served: bool) -> None:
    reply = await make(strict_retired=True, as_of=as_of).send(Call(GONE, INPUTS))
    assert (reply.status == 200) is is_served


async def test_a_calls_own_word_wins_and_so_does_that_of_its_session(make: Make) -> None:
    binding = make(strict_retired=True)
    assert "response" in await Ai(binding).run(GONE, INPUTS, {"strictRetired": False})
    assert "response" in await Ai(binding, {"strict_retired": False}).run(GONE, INPUTS)
    with pytest.raises(DeprecatedModel):
        await Ai(make(), {"strictRetired": True}).run(GONE, INPUTS)


async def test_a_word_that_is_none_is_refused(make: Make) -> None:
    with pytest.raises(BadInput, match="strictRetired must be true or false, it is 'maybe'"):
        await Ai(make()).run(GONE, INPUTS, {"strictRetired": "maybe"})


async def test_a_model_that_was_added_later_answers_or_there_is_no_such_model(make: Make) -> None:
    assert await Ai(make(as_of="2024-06-01")).run(NEW, INPUTS)
    with pytest.raises(NoSuchModel) as refused:
        await Ai(make(as_of="2024-06-01", strict_retired=True)).run(NEW, INPUTS)
    assert str(refused.value) == f"5007: No such model {NEW} or task"
    assert "it was added on 2026-04-02" in refused.value.hint


async def test_another_model_answers_for_one_that_cloudflare_has_renamed() -> None:
    fake = FakeBinding({"@cf/moonshotai/kimi-k2.6": "the new one"}, strict_retired=True)
    reply = await Ai(fake).run(ALIASED, {"messages": [{"role": "user", "content": "hi"}]})
    assert reply["choices"][0]["message"]["content"] == "the new one"


async def test_a_model_of_another_task_is_refused_too() -> None:
    fake = FakeBinding.plausible(strict_retired=True)
    with pytest.raises(DeprecatedModel):
        await Ai(fake).run("@cf/facebook/bart-large-cnn", {"input_text": "long"})
    with pytest.raises(NoSuchModel) as refused:
        await Ai(fake).run("@cf/facebook/omni-detr-resnet-50", {"image": [1]})
    assert "no list of models has it since 2025-06-04" in refused.value.hint


@pytest.mark.parametrize(
    ("model", "as_of", "note"),
    [
        (
            GONE,
            "2026-10-01",
            f"cfai: {GONE} is retired at Cloudflare since 2026-05-30, here it still answers; "
            "@cf/meta/llama-3.1-8b-instruct-fp8 is the one to use there",
        ),
        (
            GONE,
            "2025-01-01",
            f"cfai: Cloudflare answers {GONE} with @cf/meta/llama-3-8b-instruct-awq since 2024-06-30; "
            "here it answers itself",
        ),
        (GONE, "2024-06-29", None),
        (
            ALIASED,
            None,
            f"cfai: Cloudflare answers {ALIASED} with @cf/moonshotai/kimi-k2.6 since 2026-05-30; "
            "here it answers itself",
        ),
        (
            NEW,
            "2024-06-01",
            f"cfai: Cloudflare had no {NEW} on 2024-06-01, it was added on 2026-04-02; here it answers all the same",
        ),
        (NEW, None, None),
        ("@cf/me/mine", None, None),
    ],
)
async def test_there_is_one_note_of_each_model(llama: Path, model: str, as_of: str | None, note: str | None) -> None:
    notes: list[str] = []
    binding = LocalBinding({model: llama}, demo=False, as_of=as_of, on_notice=notes.append)
    for _ in range(3):
        await Ai(binding).run(model, INPUTS)
    await Ai(binding).run(model, INPUTS, {"asOf": "2026-09-01"} if note else {})
    await binding.aclose()
    assert notes == ([note] if note else [])


def test_every_route_refuses_it_in_its_own_form() -> None:
    fake = FakeBinding.plausible(strict_retired=True)
    rest = TestClient(rest_app(fake), base_url="http://127.0.0.1:8787")
    native = rest.post(f"/client/v4/accounts/acc/ai/run/{GONE}", json=INPUTS)
    assert native.status_code == 400
    (error,) = native.json()["errors"]
    assert error["code"] == 5028
    assert error["message"].startswith(f"AiError: Model has been deprecated: {WORDS} (")

    messages = {"model": GONE, "messages": [{"role": "user", "content": "hi"}]}
    openai = rest.post("/v1/chat/completions", json=messages)
    assert (openai.status_code, openai.json()["errors"]) == (400, [{"code": 5028, "message": WORDS}])

    body = TestClient(binding_app(fake)).post(
        "/run?version=3", json={"inputs": INPUTS, "options": {}}, headers={"cf-consn-model-id": GONE}
    )
    assert (body.status_code, body.json()["internalCode"], body.json()["description"]) == (400, 5028, WORDS)


def test_a_request_may_ask_for_it() -> None:
    rest = TestClient(rest_app(FakeBinding.plausible()), base_url="http://127.0.0.1:8787")
    path = f"/client/v4/accounts/acc/ai/run/{GONE}"
    assert rest.post(path, json=INPUTS).status_code == 200
    assert rest.post(f"{path}?strictRetired=true", json=INPUTS).json()["errors"][0]["code"] == 5028
    body = TestClient(binding_app(FakeBinding.plausible())).post(
        "/run?version=3",
        json={"inputs": INPUTS, "options": {"strictRetired": True}},
        headers={"cf-consn-model-id": GONE},
    )
    assert body.json()["internalCode"] == 5028


async def test_a_fake_has_a_note_too_and_of_each_model_one() -> None:
    notes: list[str] = []
    fake = FakeBinding({GONE: "yes", NEW: "yes"}, on_notice=notes.append)
    for model in (GONE, NEW, GONE):
        await Ai(fake).run(model, INPUTS)
    assert [GONE in note for note in notes] == [True]
    assert "is retired at Cloudflare since 2026-05-30" in notes[0]


async def test_there_is_no_note_that_a_model_answers_whose_task_does_not_run_here() -> None:
    notes: list[str] = []
    async with Ai(LocalBinding(demo=True, on_notice=notes.append)) as ai:
        with pytest.raises(NoSuchModel, match="5007"):
            await ai.run("@cf/facebook/bart-large-cnn", {"input_text": "hi"})
    assert notes == []
