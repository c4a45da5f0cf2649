"""Faults as a flag or a header names them."""

from __future__ import annotations

import re
from typing import Any

import pytest

from cfai.bindings.faults import CODES, SCENARIOS, Fault, parse_faults
from cfai.errors import AiError


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("capacity", [Fault("capacity")]),
        ("capacity:2", [Fault("capacity", times=2)]),
        ("3040:2", [Fault("capacity", times=2)]),
        ("Rate_Limit:1:seconds=20", [Fault("rate-limit", times=1, seconds=20)]),
        ("3007:1:seconds=30", [Fault("timeout", times=1, seconds=30)]),
        ("stall:3", [Fault("stall", after=3)]),
        ("stall:3:seconds=0.5:times=1", [Fault("stall", after=3, seconds=0.5, times=1)]),
        ("drop:0:model=@cf/meta/llama-2-7b-chat-int8", [Fault("drop", after=0, model="@cf/meta/llama-2-7b-chat-int8")]),
        (" drop : 2 , split-bytes ", [Fault("drop", after=2), Fault("split-bytes")]),
        ("merge:3,5007", [Fault("merge", events=3), Fault(5007)]),
        ("slow-reader:0.25", [Fault("slow-reader", seconds=0.25)]),
        ("content-type", [Fault("content-type")]),
        (
            "content-type:application/json; charset=utf-8",
            [Fault("content-type", content_type="application/json; charset=utf-8")],
        ),
        ("random:7:rate=0.5", [Fault("random", seed=7, rate=0.5)]),
        ("none", []),
    ],
)
def test_the_text_form(text: str, faults: list[Fault]) -> None:
    assert parse_faults(text) == faults
    assert [fault for written in map(str, faults) for fault in parse_faults(written)] == faults


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "capasity",
            "no fault is called 'capasity'; did you mean 'capacity'? That is: The model has no free place: ",
        ),
        ("chaos", "no fault is called 'chaos'. There are: capacity, rate-limit, "),
        ("3041", "no error has the code 3041; did you mean '3042'? That is: The model name is invalid: "),
        ("", "a fault without a name in ''; write NAME or NAME:VALUE, with commas between faults"),
        ("capacity,,drop", "a fault without a name in ''"),
        ("capacity:two", "times of the fault 'capacity:two' must be a whole number, not 'two'"),
        ("capacity:0", "times of the fault capacity must be a whole number from 1 on, not 0"),
        ("merge:1", "events of the fault merge must be a whole number from 2 on, not 1"),
        ("stall:1:seconds=-1", "seconds of the fault stall must be a number of seconds from 0 on, not -1.0"),
        ("stall:1:seconds=nan", "seconds of the fault stall must be a number of seconds from 0 on, not nan"),
        ("stall:1:2", "after twice in the fault 'stall:1:2'"),
        ("stall:sconds=1", "the fault stall takes no sconds; did you mean 'seconds'? It takes: times, after, "),
        ("split-bytes:after=1", "the fault split-bytes takes no after. It takes: times, model"),
        ("random:7:rate=2", "rate of the fault random must be between 0 and 1, not 2.0"),
    ],
)
def test_a_text_that_names_no_fault_is_told_why(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        parse_faults(text)


def test_an_argument_that_a_scenario_has_no_use_for_is_refused() -> None:
    with pytest.raises(ValueError, match="the fault capacity takes no after, only: times, model"):
        Fault("capacity", after=3)


@pytest.mark.parametrize("kind", ["", " ", "text/plain\r\nx: y", "text/é", 5])
def test_a_content_type_is_text_that_a_header_may_have(kind: Any) -> None:
    with pytest.raises(ValueError, match="content_type of the fault content-type must be text that a header may have"):
        Fault("content-type", content_type=kind)


def test_every_error_has_its_fault() -> None:
    def classes(kind: type[AiError]) -> list[type[AiError]]:
        return [kind, *(below for sub in kind.__subclasses__() for below in classes(sub))]

    codes = {kind.code for kind in classes(AiError) if kind.__module__ == "cfai.errors" and "code" in kind.__dict__}
    assert set(CODES) == codes
    assert all(Fault(code).row is CODES[code] for code in codes)


def test_every_scenario_says_what_it_stands_for_and_where_that_is_known_from() -> None:
    for name, scenario in SCENARIOS.items():
        assert scenario.name == name
        assert scenario.stands_for.endswith(".")
        assert scenario.source.startswith("https://")
        assert scenario.argument in scenario.takes
