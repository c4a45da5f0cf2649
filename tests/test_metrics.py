"""What a model counts while it answers."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from cfai.metrics import BOUNDS, ModelMetrics


def observed(metrics: ModelMetrics, name: str) -> dict[float, int]:
    """How many values a histogram holds, by the upper bounds of the buckets that have any."""
    histogram = metrics.snapshot()["histograms"][name]
    bounds = [*histogram["bounds"], float("inf")]
    return {bound: count for bound, count in zip(bounds, histogram["counts"], strict=True) if count}


def total(metrics: ModelMetrics, name: str) -> float:
    seconds: float = metrics.snapshot()["histograms"][name]["sum"]
    return seconds


def counters(metrics: ModelMetrics) -> dict[str, Any]:
    return {name: value for name, value in metrics.snapshot().items() if name != "histograms"}


def test_a_new_model_has_done_nothing() -> None:
    metrics = ModelMetrics()
    assert counters(metrics) == {
        "requests": {"finished": 0, "stopped": 0, "failed": 0, "refused": 0},
        "prompt_tokens": 0,
        "cached_tokens": 0,
        "prefix_hits": 0,
        "output_tokens": 0,
        "load_seconds": None,
    }
    assert all(not observed(metrics, name) and total(metrics, name) == 0 for name in BOUNDS)


def test_an_answer_from_the_queue_to_its_end() -> None:
    metrics = ModelMetrics()
    metrics.load_seconds = 1.5
    request = metrics.request(prompt_tokens=12, now=100.0)
    request.admitted(100.25, cached_tokens=8)
    for now in (100.625, 100.75, 100.875, 101.5):
        request.tokens(now)
    request.finished(102.0)
    assert counters(metrics) == {
        "requests": {"finished": 1, "stopped": 0, "failed": 0, "refused": 0},
        "prompt_tokens": 12,
        "cached_tokens": 8,
        "prefix_hits": 1,
        "output_tokens": 4,
        "load_seconds": 1.5,
    }
    assert {name: (observed(metrics, name), total(metrics, name)) for name in BOUNDS} == {
        "queue_time": ({0.25: 1}, 0.25),
        "prefill_time": ({0.5: 1}, 0.375),
        "time_to_first_token": ({0.75: 1}, 0.625),
        "inter_token_latency": ({0.15: 2, 0.75: 1}, 0.875),
        "time_per_output_token": ({0.3: 1}, 0.291667),
        "request_duration": ({2.56: 1}, 2.0),
        "input_tokens": ({16.0: 1}, 12.0),
        "output_tokens": ({4.0: 1}, 4.0),
    }


def test_tokens_of_one_step_share_its_time() -> None:
    metrics = ModelMetrics()
    request = metrics.request(prompt_tokens=1, now=0.0)
    request.admitted(0.0)
    request.tokens(1.0)
    request.tokens(1.5, count=4)
    assert observed(metrics, "inter_token_latency") == {0.15: 4}
    assert total(metrics, "inter_token_latency") == 0.5
    assert metrics.snapshot()["output_tokens"] == 5


@pytest.mark.parametrize(("value", "bound"), [(0.0, 0.001), (0.001, 0.001), (0.0011, 0.0025), (500.0, float("inf"))])
def test_a_bucket_holds_its_upper_bound(value: float, bound: float) -> None:
    metrics = ModelMetrics()
    metrics.request(prompt_tokens=1, now=0.0).admitted(value)
    assert observed(metrics, "queue_time") == {bound: 1}


def test_an_answer_of_one_token_has_no_time_per_token() -> None:
    metrics = ModelMetrics()
    request = metrics.request(prompt_tokens=1)
    request.admitted()
    request.tokens()
    request.finished()
    assert observed(metrics, "time_per_output_token") == observed(metrics, "inter_token_latency") == {}
    assert sum(observed(metrics, "time_to_first_token").values()) == 1


def test_a_reader_who_leaves_the_queue_counts_no_tokens() -> None:
    metrics = ModelMetrics()
    metrics.request(prompt_tokens=1000).stopped()
    snapshot = metrics.snapshot()
    assert snapshot["requests"]["stopped"] == 1
    assert snapshot["prompt_tokens"] == 0
    assert not any(observed(metrics, name) for name in BOUNDS)


def test_tokens_of_a_failed_answer_were_made_all_the_same() -> None:
    metrics = ModelMetrics()
    request = metrics.request(prompt_tokens=5)
    request.admitted()
    request.tokens(count=3)
    request.failed()
    snapshot = metrics.snapshot()
    assert snapshot["requests"] == {"finished": 0, "stopped": 0, "failed": 1, "refused": 0}
    assert (snapshot["prompt_tokens"], snapshot["output_tokens"]) == (5, 3)
    assert not observed(metrics, "request_duration")


def test_a_request_ends_once() -> None:
    metrics = ModelMetrics()
    request = metrics.request(prompt_tokens=5)
    request.admitted()
    request.finished()
    request.finished()
    request.stopped()
    request.failed()
    assert metrics.snapshot()["requests"] == {"finished": 1, "stopped": 0, "failed": 0, "refused": 0}
    assert sum(observed(metrics, "request_duration").values()) == 1


def test_a_sequence_that_is_put_back_is_admitted_once() -> None:
    metrics = ModelMetrics()
    request = metrics.request(prompt_tokens=5, now=0.0)
    request.admitted(1.0)
    request.admitted(9.0, cached_tokens=4)
    assert observed(metrics, "queue_time") == {1.0: 1}
    assert (metrics.snapshot()["prompt_tokens"], metrics.snapshot()["cached_tokens"]) == (5, 0)


def test_refusals_by_many_threads_are_all_counted() -> None:
    metrics = ModelMetrics()

    def refuse() -> None:
        for _ in range(2000):
            metrics.refused()

    threads = [threading.Thread(target=refuse) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert metrics.snapshot()["requests"]["refused"] == 16_000


def test_a_snapshot_while_tokens_are_counted_is_whole() -> None:
    metrics = ModelMetrics()
    request = metrics.request(prompt_tokens=1)
    request.admitted()
    request.tokens()
    done = threading.Event()

    def answer() -> None:
        for _ in range(50_000):
            request.tokens()
        done.set()

    thread = threading.Thread(target=answer)
    thread.start()
    seen = []
    while not done.is_set():
        snapshot = metrics.snapshot()
        seen.append(sum(snapshot["histograms"]["inter_token_latency"]["counts"]))
    thread.join()
    assert seen == sorted(seen)
    assert sum(observed(metrics, "inter_token_latency").values()) == 50_000


def test_a_snapshot_is_plain_json_and_small() -> None:
    snapshot = ModelMetrics().snapshot()
    text = json.dumps(snapshot, separators=(",", ":"))
    assert json.loads(text) == snapshot
    assert len(text) < 4096


def test_bounds_rise() -> None:
    for bounds in BOUNDS.values():
        assert list(bounds) == sorted(set(bounds))
