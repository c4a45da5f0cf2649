"""`console`, as a script's developer sees it."""

import re
from typing import Any

import pytest

from cfai.worker.web.console import console
from cfai.worker.web.dates import Date
from cfai.worker.web.exceptions import DOMException
from cfai.worker.web.values import JSON, to_js


@pytest.mark.parametrize(
    ("values", "line"),
    [
        # What Node.js prints for the same values.
        (("text", "more"), "text more"),
        ((1, 1.5, True, None), "1 1.5 true undefined"),
        ((JSON.parse('{"a":[1,{"b":null}],"c-d":"x"}'),), "{ a: [ 1, { b: null } ], 'c-d': 'x' }"),
        ((JSON.parse('["it\'s", {}, []]'),), '[ "it\'s", {}, [] ]'),
        ((JSON.parse('{"a":{"b":{"c":{"d":1}}}}'),), "{ a: { b: { c: [Object] } } }"),
        ((to_js({"a": 1}),), "Map(1) { 'a' => 1 }"),
        ((to_js({1, 2}),), "Set(2) { 1, 2 }"),
        ((to_js(b"\x01\x02"),), "Uint8Array(2) [ 1, 2 ]"),
        ((Date.new(0),), "1970-01-01T00:00:00.000Z"),
        ((DOMException.new("enough", "AbortError"),), "AbortError: enough"),
        ((ValueError("boom"),), "ValueError: boom"),
        (
            ("%s is %d and %i %f %j %c%%", "a", 1.5, 1.5, "2.5", JSON.parse('{"a":1}'), "css"),
            'a is 1.5 and 1 2.5 {"a":1} %',
        ),
        (("%s", JSON.parse('{"a":1}'), "extra", 5), "{ a: 1 } extra 5"),
        (("100%", 5), "100% 5"),
        (({"of": "python"}, [1]), "{'of': 'python'} [1]"),
    ],
)
def test_what_a_value_looks_like(values: tuple[Any, ...], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    console.log(*values)
    assert capsys.readouterr() == (f"{line}\n", "")


def test_much_is_not_put_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    console.log(
        JSON.parse('{"one":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","two":"bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"}')
    )
    console.log(to_js(list(range(150))))
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == [
        "{",
        "  one: 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa',",
        "  two: 'bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb'",
        "}",
    ]
    assert lines[-2] == "  ... 50 more items"


def test_warnings_and_errors_go_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    for level in ("log", "info", "debug", "warn", "error"):
        getattr(console, level)(level)
    console.assert_(True, "no")
    console.assert_(1 > 2, "%s", "yes")
    assert capsys.readouterr() == ("log\ninfo\ndebug\n", "warn\nerror\nAssertion failed: yes\n")


def test_groups_counts_and_times(capsys: pytest.CaptureFixture[str]) -> None:
    console.group("outer")
    console.log("in\nside")
    console.groupEnd()
    console.count()
    console.count()
    console.countReset()
    console.count()
    console.time("t")
    console.timeLog("t", "so far")
    console.timeEnd("t")
    console.timeEnd("t")
    out, errors = capsys.readouterr()
    assert re.sub(r"\d+\.\d+", "N", out).splitlines() == [
        "outer",
        "  in",
        "  side",
        "default: 1",
        "default: 2",
        "default: 1",
        "t: Nms so far",
        "t: Nms",
    ]
    assert errors == "Timer 't' does not exist\n"


def test_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    console.table(JSON.parse('[{"a":1,"b":"x"},{"a":2}]'))
    console.table(to_js([1, 2]))
    console.table("text")
    assert capsys.readouterr().out == (
        "┌─────────┬───┬─────┐\n"
        "│ (index) │ a │ b   │\n"
        "├─────────┼───┼─────┤\n"
        "│ 0       │ 1 │ 'x' │\n"
        "│ 1       │ 2 │     │\n"
        "└─────────┴───┴─────┘\n"
        "┌─────────┬────────┐\n"
        "│ (index) │ Values │\n"
        "├─────────┼────────┤\n"
        "│ 0       │ 1      │\n"
        "│ 1       │ 2      │\n"
        "└─────────┴────────┘\n"
        "text\n"
    )


def test_a_trace_says_where(capsys: pytest.CaptureFixture[str]) -> None:
    console.trace("here")
    errors = capsys.readouterr().err
    assert errors.startswith("Trace: here\n")
    assert "test_a_trace_says_where" in errors
