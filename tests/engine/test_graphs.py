"""Steps replayed from fixed buffers; a stand-in for CUDA calls again what a graph would replay."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from cfai.engine.graphs import DecodeGraphs, DecodeInputs
from cfai.engine.sampling import Draws, Features

GREEDY, DRAWING, FILTERED = Features(), Features(draws=True), Features(draws=True, filters=True)
IDLE = (9, 0, 99, 99, 1)


def decode(inputs: DecodeInputs, features: Features) -> Draws:
    """A step whose tokens tell what it was given."""
    row, position, *_ = inputs.numbers
    tokens = 100 * row + position
    return Draws(tokens + (1000 * inputs.uniforms).long() if features.draws else tokens)


def capture(call: Callable[[], Draws]) -> tuple[Callable[[], None], Draws]:
    draws = call()

    def replay() -> None:
        draws.tokens.copy_(call().tokens)

    return replay, draws


def graphs(
    most: int = 6, make: Callable[[Callable[[], Draws]], tuple[Callable[[], None], Draws]] = capture
) -> DecodeGraphs:
    return DecodeGraphs(decode, most=most, idle=IDLE, device=torch.device("cpu"), capture=make)


def run(made: DecodeGraphs, rows: list[int], features: Features = GREEDY, uniform: float = 0.0) -> list[int] | None:
    count = len(rows)
    draws = made.run([rows, [3] * count, [5] * count, [2] * count, [4] * count], [uniform] * count, features)
    return None if draws is None else draws.tokens.tolist()


def test_graphs_are_made_one_at_a_time_and_used_as_soon_as_they_are_there() -> None:
    made = graphs()
    assert run(made, [1]) is None
    assert (made.done, made.in_all) == (0, 8)
    while made.make_next():
        pass
    assert (made.done, made.in_all) == (8, 8)
    assert run(made, [1]) == [103]
    assert run(made, [1, 2, 5]) == [103, 203, 503], "a step of three takes the graph for four"
    assert run(made, [4, 2]) == [403, 203], "and leaves nothing in the next one"
    assert run(made, [1], DRAWING, 0.25) == [353]
    assert run(made, [*range(7)]) is None, "there are no graphs for so many"


def test_what_a_step_missed_is_made_next() -> None:
    made = graphs()
    assert run(made, [1, 2, 3]) is None
    assert run(made, [1], FILTERED) is None
    assert made.in_all == 9
    for _ in range(2):
        made.make_next()
    assert run(made, [1], FILTERED) == [103]
    assert run(made, [1, 2, 3]) == [103, 203, 303]
    assert run(made, [1]) is None


def test_a_graph_is_made_without_the_last_steps_sequences() -> None:
    rows: list[int] = []

    def watching(call: Callable[[], Draws]) -> tuple[Callable[[], None], Draws]:
        replay, draws = capture(call)
        rows.extend(draws.tokens.tolist())
        return replay, draws

    made = graphs(most=1, make=watching)
    made.make_next()
    assert run(made, [1]) == [103]
    made.make_next()
    assert rows == [900, 900]


def test_one_that_fails_takes_no_other_with_it_and_is_not_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    def fussy(call: Callable[[], Draws]) -> tuple[Callable[[], None], Draws]:
        if len(call().tokens) == 2:
            raise RuntimeError("it asked the host\nat length")
        return capture(call)

    made = graphs(make=fussy)
    while made.make_next():
        pass
    assert "steps of 2 sequences run without a CUDA graph: it asked the host" in caplog.text
    assert run(made, [1, 2]) is None
    assert run(made, [1]) == [103]
    assert not made.make_next()


def test_a_model_that_cannot_be_captured_at_all_is_left_alone() -> None:
    tries: list[int] = []

    def never(call: Callable[[], Draws]) -> tuple[Callable[[], None], Draws]:
        tries.append(1)
        raise RuntimeError("no")

    made = graphs(make=never)
    while made.make_next():
        pass
    assert len(tries) == 1
    assert run(made, [1]) is None
