"""The page on tests has a row for every fault, in the words of the table itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from cfai.bindings.faults import CODES, SCENARIOS, Scenario

DOCS = Path(__file__).parents[3] / "docs"
ACTS_ON = {
    "call": "the call",
    "request": "streams",
    "events": "streams",
    "chunks": "binary streams",
    "whole": "answers in one piece",
}


def row_of(scenario: Scenario) -> str:
    """A scenario as the table in the page has it."""
    value = "" if scenario.argument == "times" else f":{scenario.argument.upper().replace('_', '-')}"
    names = ", ".join([f"`{scenario.name}{value}`", *map(str, scenario.codes)])
    acts_on = ", ".join(ACTS_ON[touch] for touch in scenario.touches)
    return f"| {names} | {acts_on} | {scenario.stands_for} [↗]({scenario.source}) |"


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_page_has_a_row_for_every_fault(name: str) -> None:
    assert row_of(SCENARIOS[name]) in (DOCS / "testing.md").read_text("utf-8").splitlines()


def test_every_code_is_on_the_page_of_errors() -> None:
    text = (DOCS / "errors.md").read_text("utf-8")
    assert all(f"| {code} |" in text for code in CODES)
