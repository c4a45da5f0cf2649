"""`/metrics`, read as Prometheus reads it."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient
from starlette.types import ASGIApp

from cfai import Call, FakeBinding, LocalBinding, __version__
from cfai.bindings.account import Account
from cfai.server.app import binding_app, rest_app
from tests.measured import MODEL, Measured, busy_model


def client(app: ASGIApp, **headers: str) -> TestClient:
    return TestClient(app, base_url="http://127.0.0.1:8788", headers=headers)


def scraped(app: ASGIApp, **headers: str) -> dict[str, dict[frozenset[tuple[str, str]], float]]:
    """The samples by name and labels."""
    samples: dict[str, dict[frozenset[tuple[str, str]], float]] = {}
    for family in text_string_to_metric_families(client(app, **headers).get("/metrics").text):
        for sample in family.samples:
            samples.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
    return samples


def labels(**given: str) -> frozenset[tuple[str, str]]:
    return frozenset({"model": MODEL, **given}.items())


GEN_AI = {"gen_ai_operation_name": "chat", "gen_ai_provider_name": "cfai", "gen_ai_request_model": MODEL}


@pytest.fixture
def busy() -> Measured:
    return Measured({MODEL: busy_model()})


def test_every_figure_has_its_name(busy: Measured) -> None:
    samples = scraped(rest_app(busy))
    assert samples["cfai_info"] == {frozenset({("version", __version__)}): 1}
    assert samples["cfai_model_info"] == {labels(device="cpu", dtype="float32", precision="", batching="continuous"): 1}
    plain = {
        name: values[labels()] for name, values in samples.items() if labels() in values and "_seconds_" not in name
    }
    assert plain == {
        "cfai_requests_running": 1,
        "cfai_requests_waiting": 2,
        "cfai_slots": 4,
        "cfai_queue_limit": 32,
        "cfai_weights_bytes": 1_000_000,
        "cfai_cache_tokens": 1024,
        "cfai_cache_capacity_tokens": 4096,
        "cfai_load_seconds": 2.5,
        "cfai_prompt_tokens_total": 15,
        "cfai_cached_prompt_tokens_total": 8,
        "cfai_prefix_hits_total": 1,
        "cfai_output_tokens_total": 4,
    }
    assert samples["cfai_requests_total"] == {
        labels(outcome="finished"): 1,
        labels(outcome="stopped"): 0,
        labels(outcome="failed"): 0,
        labels(outcome="refused"): 1,
    }


@pytest.mark.parametrize(
    ("name", "given", "count", "total"),
    [
        ("gen_ai_server_time_to_first_token_seconds", GEN_AI, 2, 3.5),
        ("gen_ai_server_time_per_output_token_seconds", GEN_AI, 1, 0.25),
        ("gen_ai_server_request_duration_seconds", GEN_AI, 1, 1.0),
        ("gen_ai_client_token_usage", {**GEN_AI, "gen_ai_token_type": "input"}, 1, 12),
        ("gen_ai_client_token_usage", {**GEN_AI, "gen_ai_token_type": "output"}, 1, 3),
        ("cfai_inter_token_latency_seconds", {}, 2, 0.5),
        ("cfai_queue_time_seconds", {}, 2, 0.25),
        ("cfai_prefill_time_seconds", {}, 2, 3.25),
    ],
)
def test_every_histogram_counts_and_adds_up(
    busy: Measured, name: str, given: dict[str, str], count: int, total: float
) -> None:
    samples = scraped(rest_app(busy))
    assert samples[f"{name}_count"][labels(**given)] == count
    assert samples[f"{name}_sum"][labels(**given)] == total
    assert samples[f"{name}_bucket"][labels(**given, le="+Inf")] == count


def test_buckets_are_cumulative(busy: Measured) -> None:
    buckets = scraped(rest_app(busy))["gen_ai_server_time_to_first_token_seconds_bucket"]
    by_bound = sorted((float(dict(key)["le"]), value) for key, value in buckets.items())
    assert [value for bound, value in by_bound if bound < 0.5] == [0] * 10
    assert [value for bound, value in by_bound if 0.5 <= bound < 5] == [1] * 4
    assert [value for bound, value in by_bound if bound >= 5] == [2] * 8
    assert by_bound[-1][0] == math.inf


@pytest.mark.parametrize(
    "stats",
    [
        {},
        {"running": 1, "device": None, "dtype": None, "metrics": None},
        {"metrics": {"requests": {"finished": 3}, "histograms": {}}},
    ],
)
def test_what_a_model_does_not_say_is_left_out(stats: dict[str, Any]) -> None:
    samples = scraped(rest_app(Measured({MODEL: stats})))
    assert samples["cfai_model_info"] == {labels(device="", dtype="", precision="", batching=""): 1}
    assert samples.get("cfai_requests_running", {}) == ({labels(): 1} if "running" in stats else {})
    assert samples.get("cfai_requests_total", {}) == ({labels(outcome="finished"): 3} if stats.get("metrics") else {})
    assert "cfai_cache_tokens" not in samples


def test_a_binding_without_stats_has_a_version() -> None:
    assert "cfai_info" in scraped(rest_app(FakeBinding()))


def test_a_name_with_quotes_and_line_breaks_is_escaped() -> None:
    name = 'my "own"\nmodel\\'
    samples = scraped(rest_app(Measured({name: {"running": 1}})))
    assert samples["cfai_requests_running"] == {frozenset({("model", name)}): 1}


def test_the_content_type_is_that_of_the_text_format(busy: Measured) -> None:
    response = client(rest_app(busy)).get("/metrics", headers={"accept": "application/openmetrics-text;version=1.0.0"})
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert response.text.endswith("\n")


@pytest.mark.parametrize("given", [None, "Bearer wrong", "Bearer ", "t0ken", "Basic t0ken"])
def test_a_server_with_a_token_asks_for_it(busy: Measured, given: str | None) -> None:
    headers = {"authorization": given} if given else {}
    response = client(rest_app(busy, token="t0ken")).get("/metrics", headers=headers)
    assert response.status_code == 401
    assert response.json()["errors"][0]["code"] == 10000
    assert MODEL not in response.text


def test_the_token_opens_it(busy: Measured) -> None:
    assert scraped(rest_app(busy, token="t0ken"), authorization="Bearer t0ken")["cfai_slots"] == {labels(): 4}


def test_a_page_of_another_site_does_not_get_it(busy: Measured) -> None:
    app = rest_app(busy)
    assert client(app, host="evil.example").get("/metrics").status_code == 403
    assert client(app, origin="https://evil.example").get("/metrics").status_code == 403


def test_the_public_health_route_has_no_metrics_and_the_private_one_has(busy: Measured) -> None:
    public = client(rest_app(busy, token="t0ken")).get("/health").json()["models"][MODEL]
    private = client(binding_app(busy)).get("/health").json()["models"][MODEL]
    assert "metrics" not in public
    assert public == {key: value for key, value in private.items() if key != "metrics"}
    assert private["metrics"] == busy.models[MODEL]["metrics"]


def test_the_private_socket_has_it_too(busy: Measured) -> None:
    assert scraped(binding_app(busy))["cfai_slots"] == {labels(): 4}


def test_looks_at_it_do_not_fill_the_log(busy: Measured, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "cfai.server")
    client(rest_app(busy)).get("/metrics")
    for path in ("/elsewhere", "/", "/playground/style.css", "/playground/nowhere.css"):
        client(rest_app(busy)).get(path)
    assert [record.getMessage().split()[1] for record in caplog.records if record.name == "cfai.server"] == [
        "/elsewhere",
        "/",
        "/playground/nowhere.css",
    ]


def test_it_is_only_read(busy: Measured) -> None:
    assert client(rest_app(busy)).post("/metrics").status_code == 405


class Metered(Measured):
    """What a server counts around its models."""

    def stats(self) -> dict[str, Any]:
        return {**super().stats(), "neurons": {**Account().to_json(), "models": {MODEL: 12.5}}}


def test_the_neurons_of_the_day_have_no_model_and_those_of_a_model_have(busy: Measured) -> None:
    figures = scraped(rest_app(Metered(busy.models)))
    assert figures["cfai_free_neurons"] == {frozenset(): 10_000}
    assert figures["cfai_neurons_total"] == {labels(): 12.5}
    assert 0 < next(iter(figures["cfai_neurons_reset_seconds"].values())) <= 86_400


def test_the_documentation_names_them_all(busy: Measured) -> None:
    page = (Path(__file__).parents[2] / "docs" / "observability.md").read_text("utf-8")
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    busy.models[MODEL] |= {"state": "ready", "memory_in_all": 4_000_000, "pinned": False}
    busy.models[MODEL] |= {"idle_seconds": 1.0, "leaves_in_seconds": 299.0}
    told = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    samples = {re.sub("_(bucket|count|sum)$", "", name) for name in scraped(rest_app(Metered(busy.models)))}
    assert told == {name for name in samples if not name.startswith("process_")}


async def test_the_answers_of_a_local_model_are_counted(local: LocalBinding) -> None:
    app = rest_app(local)
    assert "cfai_requests_running" not in scraped(app)
    await local.send(Call(MODEL, {"prompt": "New York", "max_tokens": 3, "seed": 1}))
    samples = scraped(app)
    (info,) = samples["cfai_model_info"]
    assert {"device": "cpu", "dtype": "float32"}.items() <= dict(info).items()
    assert samples["cfai_weights_bytes"][labels()] > 10_000
    assert samples["cfai_requests_running"] == {labels(): 0}
    assert samples["cfai_requests_total"][labels(outcome="finished")] == 1
    assert samples["cfai_output_tokens_total"] == {labels(): 3}
    assert samples["gen_ai_server_time_to_first_token_seconds_count"] == {labels(**GEN_AI): 1}
    assert samples["cfai_inter_token_latency_seconds_count"] == {labels(): 2}


@pytest.mark.parametrize(("healthy", "status", "word"), [(True, 200, "ok"), (False, 503, "unhealthy")])
def test_health_says_when_a_model_gives_no_numbers_any_more(healthy: bool, status: int, word: str) -> None:
    answer = client(rest_app(Measured({MODEL: busy_model(healthy=healthy)}))).get("/health")
    assert (answer.status_code, answer.json()["status"]) == (status, word)
