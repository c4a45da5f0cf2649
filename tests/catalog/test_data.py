"""The data files: every row is in order, agrees with itself and with the others, and says where it is from."""

from __future__ import annotations

import json
import re
from datetime import date
from importlib import resources
from typing import Any

import pytest

from cfai.catalog import Catalog, Model, sources, sources_of
from cfai.tasks import text_generation

CATALOG = Catalog.builtin()
TEXT = (resources.files("cfai.catalog") / "models.json").read_text(encoding="utf-8")
ROWS: dict[str, dict[str, Any]] = {row["id"]: row for row in json.loads(TEXT)}
TASKS = json.loads((resources.files("cfai.catalog") / "tasks.json").read_text(encoding="utf-8"))
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
FLAGS = {
    *("async_queue", "beta", "function_calling", "lora", "partner", "realtime", "reasoning"),
    *("require_workers_paid", "vision"),
}
USD_PER_NEURON = 0.011 / 1000

every_model = pytest.mark.parametrize("model", CATALOG.models(), ids=lambda model: model.id)


def price_of(model: Model, unit: str) -> float | None:
    return next((price.usd for price in model.prices if price.unit == unit), None)


def test_the_file_has_one_line_for_each_model_in_the_order_of_the_ids() -> None:
    lines = TEXT.splitlines()
    assert (lines[0], lines[-1]) == ("[", "]")
    assert list(ROWS) == sorted(ROWS)
    assert len(lines) == len(ROWS) + 2
    for line, row in zip(lines[1:-1], ROWS.values(), strict=True):
        assert line.removesuffix(",") == json.dumps(row, ensure_ascii=False)


def test_every_row_has_its_keys_in_the_same_order() -> None:
    order: dict[str, set[str]] = {}
    for row in ROWS.values():
        names = list(row)
        for place, name in enumerate(names):
            order.setdefault(name, set()).update(names[place + 1 :])
    assert not [(one, other) for one, after in order.items() for other in after if one in order.get(other, ())]


@every_model
def test_an_id_a_uuid_and_a_task_have_their_form(model: Model) -> None:
    assert re.fullmatch(r"@(cf|hf|cfai)/[\w.-]+/[\w.-]+", model.id)
    assert model.task in {task["name"] for task in TASKS}
    assert (model.uuid is not None) == (model.first_seen is not None)
    assert model.uuid is None or UUID.fullmatch(model.uuid)
    assert model.flags <= FLAGS


@every_model
def test_a_description_is_a_sentence_of_its_own(model: Model) -> None:
    assert re.fullmatch(r"[A-Za-z][^\n]{20,170}\.", model.about)
    assert [one.id for one in CATALOG.models() if one.about == model.about] == [model.id]


@every_model
def test_the_days_are_in_order(model: Model) -> None:
    days = [day for day in (model.created, model.first_seen, model.last_seen) if day]
    assert days == sorted(days)
    life = [day for day in (model.created, model.announced, model.deprecated) if day]
    assert life == sorted(life)
    assert (model.announced is None) == (model.deprecated is None)
    assert (model.status == "gone") == (model.deprecated is not None or model.removed is not None)
    assert model.status != "active" or model.last_seen in (None, date(2026, 8, 20))


@every_model
def test_the_limits_of_every_day_can_hold_a_call(model: Model) -> None:
    eras = [(era.until, era.limits) for era in model.earlier]
    assert [until for until, _ in eras] == sorted({until for until, _ in eras})
    assert all(model.created is None or model.created < until for until, _ in eras)
    for limits in (*(model.limits(date.fromordinal(until.toordinal() - 1)) for until, _ in eras), model.limits()):
        whole = limits.context_window
        bounds = (limits.max_input_tokens, limits.max_output_tokens)
        defaults = (limits.default_max_tokens, limits.default_max_tokens_streaming)
        assert all(bound is None or whole is None or bound <= whole for bound in bounds)
        assert all(limits.max_output_tokens is None or (one or 0) <= limits.max_output_tokens for one in defaults)
        assert all(not model.generates_text or whole is None or (one or 0) < whole for one in defaults)


@every_model
def test_a_family_has_its_default(model: Model) -> None:
    usual = {"classic": 256, "chat": None, "responses": None}[model.family]
    assert model.limits().default_max_tokens == (2000 if model.id == "@cf/qwen/qwen3-30b-a3b-fp8" else usual)
    assert model.generates_text or model.family == "classic"
    assert model.family == "classic" or model.id.startswith("@cf/")


@every_model
def test_neurons_and_prices_are_the_same_money(model: Model) -> None:
    assert len({price.unit for price in model.prices}) == len(model.prices)
    if model.neurons is None:
        return
    for unit, neurons in (
        ("per M input tokens", model.neurons.input),
        ("per M output tokens", model.neurons.output),
        ("per M cached input tokens", model.neurons.cached_input),
    ):
        price = price_of(model, unit)
        assert (price is None) == (neurons is None), unit
        # The list rounds; where both are written out they differ by no more than that.
        assert price is None or neurons is None or neurons * USD_PER_NEURON == pytest.approx(price, rel=0.02)


@every_model
def test_cached_input_is_cheaper(model: Model) -> None:
    if model.neurons is not None and model.neurons.cached_input is not None:
        assert model.neurons.cached_input < model.neurons.input


@every_model
def test_a_successor_is_one_that_can_be_used_in_the_end(model: Model) -> None:
    if model.successor is not None:
        assert model.status == "gone"
        assert model.successor in ROWS
        end = CATALOG.successor_of(model)
        assert end is not None
        assert not end.is_retired()
        assert end.task == model.task
    if model.answered_by is not None:
        other = CATALOG.get(model.answered_by.id)
        assert other.existed(model.answered_by.since)
        assert not other.is_retired(model.answered_by.since)


def test_who_is_retired_and_generates_text_has_a_successor() -> None:
    lost = [one.id for one in CATALOG.models() if one.is_retired() and one.generates_text]
    assert len(lost) > 30
    assert [name for name in lost if CATALOG.successor_of(CATALOG.get(name)) is None] == []


@every_model
def test_the_weights_are_known_or_there_are_none(model: Model) -> None:
    if model.weights is not None:
        assert re.fullmatch(r"[\w.-]+/[\w.-]+", model.weights.repo)
        assert model.weights.params_b is None or 0 < model.weights.params_b < 2000
        assert model.weights.ungated_repo != model.weights.repo
        return
    has_none = "partner" in model.flags or model.bundled is not None
    is_unknown = model.id in ("@cf/inml/inml-roberta-dga", "@cf/openai/whisper-sherpa")
    is_passing = re.search(r"/(non)?omni-|/triton-", model.id) is not None
    assert has_none or is_unknown or is_passing


@every_model
def test_every_figure_has_a_source(model: Model) -> None:
    from_where = sources_of(model)
    assert from_where.keys() >= {name for name in ROWS[model.id] if name not in ("id", "sources", "family")}
    assert all(from_where.values())
    assert set(model.sources) <= ROWS[model.id].keys()
    assert {source.key for found in from_where.values() for source in found} <= sources().keys()
    assert all(era.source in sources() for era in model.earlier)
    assert all(era.source in sources() for era in model.prompts)


def test_every_source_is_used_and_has_an_address_where_there_is_one() -> None:
    used = {source.key for model in CATALOG.models() for found in sources_of(model).values() for source in found}
    assert used == sources().keys() - {"settings", "told"}
    for source in sources().values():
        assert source.title.strip()
        assert source.url is None or source.url.startswith("https://")


@every_model
def test_a_model_streams_where_its_schema_says_so(model: Model) -> None:
    if model.generates_text:
        schema = json.dumps(text_generation.input_schema(model))
        assert ('"stream"' in schema) == ("streaming" in CATALOG.capabilities(model))


def test_aliases_name_models_and_are_none() -> None:
    aliases = json.loads((resources.files("cfai.catalog") / "aliases.json").read_text(encoding="utf-8"))
    assert list(aliases) == sorted(aliases)
    assert all(CATALOG.get(alias).id == name for alias, name in aliases.items())
    assert not aliases.keys() & ROWS.keys()


def test_tasks_are_in_order_and_used() -> None:
    names = [task["name"] for task in TASKS]
    assert names == sorted(set(names))
    assert {model.task for model in CATALOG.models()} <= set(names)
