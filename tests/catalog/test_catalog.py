from datetime import date

import pytest

from cfai.catalog import Capability, Catalog, Era, Limits, Model, Precision, Task, Weights
from cfai.errors import InvalidModelName, NoSuchModel

CATALOG = Catalog.builtin()
INT8 = CATALOG.get("@cf/meta/llama-2-7b-chat-int8")
FP16 = CATALOG.get("@cf/meta/llama-2-7b-chat-fp16")
FIRST_STREAM = date(2023, 11, 14)


def test_every_known_id_is_there_and_the_demo_model() -> None:
    models = CATALOG.models()
    ids = [model.id for model in models]
    assert len(ids) == 133 + 1
    assert ids == sorted(set(ids))
    assert all(CATALOG.get(model.id) is model for model in models)


def test_the_catalog_is_read_once() -> None:
    assert Catalog.builtin() is CATALOG


@pytest.mark.parametrize(
    ("model", "as_of", "limits"),
    [
        (INT8, date(2023, 11, 13), Limits(None, 768, 256, 256, 256)),
        (FP16, date(2023, 11, 13), Limits(None, 768, 256, 256, 256)),
        (INT8, FIRST_STREAM, Limits(None, 2048, 1800, 256, 1800)),
        (FP16, FIRST_STREAM, Limits(None, 3072, 2500, 256, 2500)),
        (INT8, date(2025, 1, 1), Limits(8192, None, None, 256, 256)),
        (FP16, date(2025, 1, 1), Limits(4096, None, None, 256, 256)),
        (INT8, None, Limits(8192, None, None, 256, 256)),
        (FP16, None, Limits(4096, None, None, 256, 256)),
        (CATALOG.get("@cf/qwen/qwen3-30b-a3b-fp8"), None, Limits(32768, None, None, 2000, 2000)),
        (CATALOG.get("@hf/mistral/mistral-7b-instruct-v0.2"), None, Limits(4096, 3072, None, 256, 256)),
        (CATALOG.get("@cf/tinyllama/tinyllama-1.1b-chat-v1.0"), date(2024, 3, 1), Limits(2048, None, None, 512, 512)),
        (CATALOG.get("@cf/tinyllama/tinyllama-1.1b-chat-v1.0"), date(2024, 4, 11), Limits(2048)),
        (CATALOG.get("@cf/mistral/mistral-7b-instruct-v0.1"), date(2024, 3, 1), Limits(2824, None, None, 256, 1800)),
        (CATALOG.get("@cf/meta/llama-3.2-3b-instruct"), date(2026, 2, 28), Limits(128000)),
        (CATALOG.get("@cf/meta/llama-3.2-3b-instruct"), date(2026, 3, 1), Limits(80000)),
        (CATALOG.get("@hf/google/gemma-7b-it"), date(2024, 10, 1), Limits(2048, 1512)),
        (CATALOG.get("@cf/openai/gpt-oss-20b"), None, Limits(128000, None, 16384, None, None)),
        (CATALOG.get("@cf/zai-org/glm-4.7-flash"), None, Limits(131072, None, None, None, None)),
        (CATALOG.get("@cfai/demo/tiny-chat"), None, Limits(8192)),
    ],
    ids=lambda value: value.id if isinstance(value, Model) else str(value),
)
def test_limits_have_their_day(model: Model, as_of: date | None, limits: Limits) -> None:
    assert model.limits(as_of) == limits


def test_limits_hold_before_their_day_and_those_of_the_row_after_the_last_one() -> None:
    eras = (Era(date(2024, 1, 1), Limits(1)), Era(date(2025, 1, 1), Limits(2)))
    model = Model("@cf/x/y", context_window=3, earlier=eras)
    days = (date(2023, 12, 31), date(2024, 1, 1), date(2025, 1, 1), None)
    assert [model.limits(day).context_window for day in days] == [1, 2, 3, 3]


def test_the_first_streaming_model() -> None:
    assert INT8.created == date(2023, 9, 25)
    assert INT8.weights == Weights(
        "meta-llama/Llama-2-7b-chat-hf",
        gated=True,
        params_b=7,
        ungated_repo="NousResearch/Llama-2-7b-chat-hf",
        evidence="inferred",
    )


def test_the_demo_model_ships_with_the_package() -> None:
    demo = CATALOG.get("@cfai/demo/tiny-chat")
    assert (demo.context_window, demo.bundled, demo.weights) == (8192, "demo/tiny-chat", None)
    assert demo.task == "Text Generation"


@pytest.mark.parametrize(
    ("model_id", "precision"),
    [
        ("@cf/meta/llama-2-7b-chat-int8", "int8"),
        ("@cf/meta/llama-2-7b-chat-fp16", "fp16"),
        ("@cf/meta/llama-3.3-70b-instruct-fp8-fast", "fp8"),
        ("@cf/fblgit/una-cybertron-7b-v2-bf16", "bf16"),
        ("@hf/thebloke/llama-2-13b-chat-awq", "awq"),
        ("@cf/meta/llama-3-8b-instruct", None),
        ("@cf/my/llama-gguf", "gguf"),
    ],
)
def test_the_id_names_the_precision(model_id: str, precision: Precision | None) -> None:
    assert Model(model_id).precision == precision


@pytest.mark.parametrize(
    ("model_id", "as_of", "retired"),
    [
        ("@cf/meta/llama-2-7b-chat-int8", None, True),
        ("@cf/meta/llama-2-7b-chat-int8", date(2026, 5, 29), False),
        ("@cf/meta/llama-2-7b-chat-int8", date(2026, 5, 30), True),
        # Lists had it no longer, and it answered for another year.
        ("@cf/meta/llama-3.1-8b-instruct", date(2025, 5, 1), False),
        ("@cf/meta/llama-3.1-8b-instruct", date(2026, 5, 30), True),
        # Nobody said a word about it, so the last list that has it counts.
        ("@cf/facebook/detr-resnet-50", date(2025, 5, 29), False),
        ("@cf/facebook/detr-resnet-50", date(2025, 5, 30), True),
        ("@cf/openai/gpt-oss-20b", None, False),
        ("@cf/openai/gpt-oss-20b", date(2030, 1, 1), False),
        ("@cf/nexaaidev/octopus-v2", None, False),
        ("@cf/nexaaidev/octopus-v2", date(2026, 1, 1), False),
        ("@cfai/demo/tiny-chat", None, False),
    ],
)
def test_models_retire(model_id: str, as_of: date | None, retired: bool) -> None:
    assert CATALOG.get(model_id).is_retired(as_of) is retired


def test_an_alias_is_the_model_that_it_stands_for() -> None:
    model = CATALOG.get("@hf/mistralai/mistral-7b-instruct-v0.2")
    assert model.id == "@hf/mistral/mistral-7b-instruct-v0.2"


@pytest.mark.parametrize(
    ("model_id", "hint"),
    [
        ("@cf/meta/llama-2-7b-chat-int", "did you mean @cf/meta/llama-2-7b-chat-int8? "),
        ("@cf/meta/llama-3.2", "did you mean @cf/meta/llama-3.2-3b-instruct? "),
        ("@cf/meta/llama-gard-3-8b", "did you mean @cf/meta/llama-guard-3-8b? "),
        ("@cf/baai/bge-m", "did you mean @cf/baai/bge-m3? "),
        ("@CF/moondream/Moondream3.1-9b-a2b", "did you mean @cf/moondream/moondream3.1-9B-A2B? "),
        ("@cf/x/y", ""),
    ],
)
def test_an_unknown_id_gets_the_nearest_known_one(model_id: str, hint: str) -> None:
    with pytest.raises(NoSuchModel, match=f"5007: No such model {model_id} or task") as refused:
        CATALOG.get(model_id)
    assert refused.value.hint == f"{hint}`cfai models` lists the ids, `cfai models --here` what runs here"


@pytest.mark.parametrize("model_id", ["@cf/meta/llama-3", "@cf/meta/llama", "@cf/meta/lama", "@cf/meta/llama-3.1"])
def test_the_name_of_a_family_means_one_that_chats_and_is_there(model_id: str) -> None:
    with pytest.raises(NoSuchModel) as refused:
        CATALOG.get(model_id)
    meant = CATALOG.get(refused.value.hint.partition("did you mean ")[2].partition("?")[0])
    assert meant.id.startswith("@cf/meta/llama-3")
    assert (meant.status, meant.generates_text) == ("active", True)


@pytest.mark.parametrize(
    ("model_id", "successor"),
    [
        ("@cf/moonshotai/kimi-k2.5", "@cf/moonshotai/kimi-k2.6"),
        ("@cf/meta/llama-2-7b-chat-int8", "@cf/meta/llama-3.1-8b-instruct-fp8"),
        ("@cf/meta/llama-3-8b-instruct", "@cf/meta/llama-3.1-8b-instruct-fp8"),
        ("@cf/meta/llama-3.1-8b-instruct", "@cf/meta/llama-3.1-8b-instruct-fp8"),
        ("@cf/microsoft/phi-2", "@cf/zai-org/glm-4.7-flash"),
        ("@hf/thebloke/llama-2-13b-chat-awq", "@cf/meta/llama-3.2-11b-vision-instruct"),
        ("@hf/google/gemma-7b-it", "@cf/google/gemma-4-26b-a4b-it"),
        ("@cf/facebook/bart-large-cnn", None),
    ],
)
def test_a_retired_model_has_the_named_successor_or_one_of_its_family(model_id: str, successor: str | None) -> None:
    found = CATALOG.successor_of(CATALOG.get(model_id))
    assert (found and found.id) == successor


@pytest.mark.parametrize(
    "model_id",
    ["", "gpt-4", "@cf", "@cf/", "@cf//x", "cf/meta/llama", "@cf/meta/llama 2", "@cf/a/../b", "@cf/a/b\n", "@cf/é"],
)
def test_what_cannot_be_an_id_is_refused_as_such(model_id: str) -> None:
    with pytest.raises(InvalidModelName) as refused:
        CATALOG.get(model_id)
    assert refused.value.code == 3042


def test_an_endless_id_does_not_come_back_whole() -> None:
    with pytest.raises(InvalidModelName) as refused:
        CATALOG.get("@cf/x/" + "y" * 10_000)
    assert len(str(refused.value)) < 300


def test_users_add_and_replace_models() -> None:
    mine = Model("@cf/me/mine", context_window=1024)
    other = Model(INT8.id, context_window=2048)
    catalog = CATALOG.with_models(mine, other)
    assert catalog.get("@cf/me/mine") is mine
    assert catalog.get(INT8.id).limits().context_window == 2048
    assert catalog.get("@hf/mistralai/mistral-7b-instruct-v0.2").weights is not None
    assert len(catalog.models()) == len(CATALOG.models()) + 1
    assert CATALOG.get(INT8.id) is INT8
    with pytest.raises(NoSuchModel):
        CATALOG.get("@cf/me/mine")


def test_a_task_has_an_id_and_a_rate() -> None:
    task = CATALOG.task("Text Generation")
    assert (task.uuid, task.requests_per_minute) == ("c329a1f9-323d-4e91-b2aa-582dd4188d34", 300)
    assert task.description.endswith(".")
    assert CATALOG.task("Mind Reading") == Task("Mind Reading")


@pytest.mark.parametrize(("prompt", "completion", "neurons"), [(147, 0, 1.33636), (0, 1, 0.0272727), (0, 0, 0)])
def test_neurons_of_an_answer_are_those_that_cloudflare_counted(prompt: int, completion: int, neurons: float) -> None:
    assert Catalog.builtin().get("@cf/google/gemma-4-26b-a4b-it").neurons_of(prompt, completion) == neurons


def test_a_model_without_a_price_costs_no_one_knows_what() -> None:
    assert Model(id="@cf/a/b").neurons_of(1, 1) is None


@pytest.mark.parametrize(
    ("model_id", "capabilities"),
    [
        ("@cf/meta/llama-3.3-70b-instruct-fp8-fast", {"streaming", "functions", "json", "batch"}),
        ("@cf/meta/llama-3.2-11b-vision-instruct", {"streaming", "json", "vision", "lora"}),
        ("@cf/openai/gpt-oss-20b", {"streaming", "functions", "reasoning"}),
        ("@cf/meta/llama-guard-3-8b", {"lora"}),
        ("@cf/deepgram/nova-3", {"batch", "realtime"}),
        ("@cf/baai/bge-m3", set()),
    ],
)
def test_a_model_has_capabilities(model_id: str, capabilities: set[Capability]) -> None:
    assert CATALOG.capabilities(CATALOG.get(model_id)) == capabilities


@pytest.mark.parametrize(
    ("model_id", "rate"),
    [("@cf/qwen/qwen1.5-0.5b-chat", 1500), ("@cf/openai/gpt-oss-20b", 300), ("@cf/deepgram/aura-1", None)],
)
def test_a_model_has_the_rate_of_its_task_or_its_own(model_id: str, rate: int | None) -> None:
    assert CATALOG.requests_per_minute(CATALOG.get(model_id)) == rate
