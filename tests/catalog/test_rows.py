from datetime import date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfai.catalog import Catalog, Limits, Neurons, Price, Weights, sources_of
from cfai.errors import NoSuchModel

CATALOG = Catalog.builtin()
LLAMA = "@cf/meta/llama-3.2-3b-instruct"
FIELDS = ("context_window", "created", "deprecated", "earlier", "family", "flags", "neurons", "prices", "weights")


def test_a_row_is_a_new_model() -> None:
    row = {
        "task": "Text Generation",
        "family": "chat",
        "context_window": 4096,
        "default_max_tokens": 100,
        "flags": ["lora"],
        "prices": [["per M input tokens", 1]],
        "neurons": {"in": 90.9},
        "weights": {"repo": "me/mine", "revision": "v2", "gated": True},
        "created": "2026-01-02",
        "description": "Answers in rhymes.",
    }
    model = CATALOG.with_rows({"@cf/me/mine": row}).get("@cf/me/mine")
    assert model.limits() == Limits(4096, None, None, 100, 100)
    assert (model.family, model.flags, model.description) == ("chat", frozenset({"lora"}), "Answers in rhymes.")
    assert (model.prices, model.neurons) == ((Price("per M input tokens", 1),), Neurons(90.9))
    assert model.weights == Weights("me/mine", gated=True, revision="v2")
    assert model.created_at == datetime(2026, 1, 2)
    with pytest.raises(NoSuchModel):
        CATALOG.get("@cf/me/mine")


def test_an_empty_row_is_a_model_that_generates_text() -> None:
    model = CATALOG.with_rows({"@cf/me/mine": {}}).get("@cf/me/mine")
    assert model.generates_text
    assert model.limits() == Limits()


def test_a_row_changes_single_figures_of_a_model_and_leaves_the_others() -> None:
    before = CATALOG.get(LLAMA)
    after = CATALOG.with_rows({LLAMA: {"context_window": 8192, "weights": "me/mine"}}).get(LLAMA)
    assert after.limits().context_window == 8192
    assert after.limits(date(2025, 6, 1)).context_window == 128000
    assert after.weights == Weights("me/mine", evidence="told")
    assert (after.uuid, after.prices, after.flags) == (before.uuid, before.prices, before.flags)
    assert CATALOG.get(LLAMA) is before


def test_null_means_that_nothing_is_known() -> None:
    row = {"prices": None, "neurons": None, "context_window": None, "flags": None, "weights": None}
    model = CATALOG.with_rows({LLAMA: row}).get(LLAMA)
    assert (model.prices, model.neurons, model.weights, model.flags) == ((), None, None, frozenset())
    assert model.limits().context_window is None


def test_a_row_for_an_alias_is_one_for_the_model() -> None:
    catalog = CATALOG.with_rows({"@hf/mistralai/mistral-7b-instruct-v0.2": {"dimensions": 7}})
    assert catalog.get("@hf/mistral/mistral-7b-instruct-v0.2").dimensions == 7


def test_days_may_be_those_of_toml() -> None:
    row = {"created": date(2026, 1, 2), "deprecated": date(2026, 2, 3), "seen": [date(2026, 1, 3), "2026-02-03"]}
    model = CATALOG.with_rows({"@cf/me/mine": row}).get("@cf/me/mine")
    assert (model.created, model.deprecated, model.last_seen) == (date(2026, 1, 2), date(2026, 2, 3), date(2026, 2, 3))


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"contxt_window": 1}, "contxt_window is no field of a model; did you mean 'context_window'?"),
        ({"context_window": "8k"}, "context_window must be a whole number from 1, it is '8k'"),
        ({"context_window": 0}, "context_window must be a whole number from 1, it is 0"),
        ({"context_window": True}, "context_window must be a whole number from 1, it is True"),
        ({"family": "chatt"}, "family must be one of classic, chat, responses; it is 'chatt'; did you mean 'chat'?"),
        ({"task": "Text Generaton"}, "; it is 'Text Generaton'; did you mean 'Text Generation'?"),
        ({"created": "yesterday"}, "created must be a day, or a day and a time, in the form YYYY-MM-DD hh:mm:ss.000"),
        ({"deprecated": "2026-02-30"}, "deprecated must be a day in the form YYYY-MM-DD, it is '2026-02-30'"),
        ({"seen": ["2026-02-01", "2026-01-01"]}, "seen must have the earlier day first"),
        ({"flags": "lora"}, "flags must be a list, it is 'lora'"),
        (
            {"prices": [["M tokens", 1]]},
            "prices must be a list of [\"per M input tokens\", 0.1], it has ['M tokens', 1]",
        ),
        ({"prices": [["per M input tokens", -1]]}, "prices must be a number from 0, it is -1"),
        ({"neurons": {"output": 1}}, "neurons has no 'output'; did you mean 'out'?"),
        ({"neurons": {"out": 1}}, "neurons needs 'in'"),
        ({"weights": {"repository": "a/b"}}, "weights has no 'repository'; did you mean 'repo'?"),
        ({"weights": {"repo": "a/b", "gated": "no"}}, "weights gated must be true or false, it is 'no'"),
        ({"earlier": [{"context_window": 1}]}, "earlier needs 'until'"),
        ({"earlier": [{"until": "2025-01-01"}, {"until": "2024-01-01"}]}, "earlier must have the earliest day first"),
        ({"successor": LLAMA[:-1]}, f"did you mean '{LLAMA}'?"),
        ({"successor": "@cf/me/mine"}, "successor must be the id of another model, it is '@cf/me/mine'"),
        ({"sources": {"price": "me"}}, "sources has no 'price'; did you mean 'prices'?"),
        (
            {"prompts": [{"until": "2024-01-01", "template": "llama"}]},
            "prompts template must be one of bare, chatml, deepseek, falcon, inst, llama2, ",
        ),
        ({"prompts": [{"until": "2024-01-01", "template": "llama"}]}, "it is 'llama'; did you mean 'llama2'?"),
        (
            {"prompts": [{"until": "2024-01-01", "template": "bare", "system": "chatt"}]},
            "prompts system must be one of chat, code; it is 'chatt'; did you mean 'chat'?",
        ),
        (
            {"prompts": [{"until": day, "template": "bare"} for day in ("2024-01-02", "2024-01-01")]},
            "prompts must have the earliest day first, and each day once",
        ),
        ([], "a row is an object of fields, not []"),
    ],
)
def test_a_row_with_a_mistake_is_refused_with_the_id_and_the_field(row: object, problem: str) -> None:
    with pytest.raises(ValueError, match=r"^@cf/me/mine: ") as refused:
        CATALOG.with_rows({"@cf/me/mine": row})  # type: ignore[dict-item]
    assert problem in str(refused.value)


def test_a_row_names_its_sources_in_words_of_its_own() -> None:
    catalog = CATALOG.with_rows({"@cf/me/mine": {"context_window": 9, "sources": {"context_window": "measured"}}})
    (source,) = sources_of(catalog.get("@cf/me/mine"))["context_window"]
    assert (source.title, source.url) == ("measured", None)


@pytest.mark.parametrize("name", ["gpt-4", "", "@cf/me/mine\n", "@cf/x/" + "y" * 300])
def test_what_cannot_be_an_id_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="ids look like @cf/author/name") as refused:
        CATALOG.with_rows({name: {}})
    assert len(str(refused.value)) < 300


TEXT = st.text("2026-01 @cf/é", max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT | st.just("repo"), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(FIELDS), JSON))
def test_whatever_a_row_has_it_is_a_model_or_a_value_error(row: dict[str, object]) -> None:
    try:
        model = CATALOG.with_rows({LLAMA: row}).get(LLAMA)
    except ValueError as error:
        assert str(error).startswith(f"{LLAMA}: ")
    else:
        assert model.id == LLAMA
