"""`to_js` and `to_py`: between Python's values and JavaScript's, and back."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from cfai.worker.compat import Compat, Runtime, running
from cfai.worker.web.arrays import JsArray
from cfai.worker.web.buffers import Uint8Array
from cfai.worker.web.conversion import (
    PyProxy,
    as_js,
    as_plain,
    entries_of,
    iterated,
    members_of,
    options_of,
    pairs_of,
    to_js,
    to_py,
)
from cfai.worker.web.dates import Date
from cfai.worker.web.errors import JsException, JsTypeError
from cfai.worker.web.maps import JsMap, JsSet
from cfai.worker.web.nulls import jsnull
from cfai.worker.web.objects import JsObject


class Thing:
    name = "thing"

    def __iter__(self) -> Any:
        return iter([1])

    def __len__(self) -> int:
        return 1

    def __getitem__(self, key: str) -> str:
        return key


@pytest.mark.parametrize(
    "value", [None, "text", 1, 2.5, True, [1, [2]], {"a": {"b": [1]}}, {1, 2}, [], {}, [None, {"a": None}]]
)
def test_there_and_back(value: Any) -> None:
    assert to_py(to_js(value)) == value


def test_what_is_the_same_stays_the_same() -> None:
    shared: list[Any] = [1]
    found = to_js([shared, shared])
    assert found[0] is found[1]
    round_and_round: list[Any] = []
    round_and_round.append(round_and_round)
    again = to_js(round_and_round)
    assert again[0] is again
    back = to_py(again)
    assert back[0] is back


def test_the_ways_to_convert() -> None:
    assert to_js([[1]], depth=1)[0] == [1]
    assert bytes(to_js(b"ab").to_bytes()) == b"ab"
    assert to_js({"a": 1}, dict_converter=JsObject).a == 1
    when = datetime.date(2024, 2, 29)
    found = to_js([when], default_converter=lambda value, convert, cache: convert({"day": value.isoformat()}))
    assert to_py(found) == [{"day": "2024-02-29"}]
    eager = to_js([1, "a"], eager_converter=lambda value, convert, cache: "A" if value == "a" else convert(value))
    assert list(eager) == [1, "A"]
    held: list[Any] = []
    to_js([Thing()], pyproxies=held)
    assert [proxy.held.name for proxy in held] == ["thing"]
    with pytest.raises(Exception, match=r"No conversion known for x\."):
        to_js([Thing()], create_pyproxies=False)
    with pytest.raises(Exception, match="as a key for a Javascript Map"):
        to_js({(1, 2): 3})


def test_a_dict_is_what_its_generation_makes_of_it() -> None:
    for flags, kind in (((), "Map"), (("python_workers_20260610",), "Object")):
        with running(Runtime(Compat(datetime.date(2026, 6, 1), frozenset(flags)))):
            assert str(to_js({"a": 1})) == f"[object {kind}]"


def test_a_proxy_of_a_python_object_lives_until_it_is_destroyed() -> None:
    proxy = PyProxy(Thing())
    assert (proxy.name, proxy["key"], list(proxy), len(proxy), bool(proxy)) == ("thing", "key", [1], 1, True)
    assert proxy.unwrap() is proxy.held
    proxy.destroy()
    with pytest.raises(JsException, match="Object has already been destroyed"):
        proxy.name  # noqa: B018  # reading it is the point
    once = PyProxy(lambda: "called", once=True)
    assert once() == "called"
    with pytest.raises(JsException, match="OnceProxy can only be called once"):
        once()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (jsnull, None),
        (JsArray([1, jsnull]), [1, None]),
        ((1, 2), [1, 2]),
        (JsObject({"a": None, "b": jsnull}), {"b": None}),
        (Uint8Array.new(2), [0, 0]),
        (b"a", [97]),
        (PyProxy([1]), [1]),
        (Date.new(0), "1970-01-01T00:00:00.000Z"),
    ],
)
def test_the_json_of_a_value(value: Any, expected: Any) -> None:
    assert as_plain(value) == expected


def test_json_becomes_javascripts() -> None:
    found = as_js({"a": [1.0, None, {"b": "c"}]})
    assert (found.a[0], found.a[2].b, as_js(found) is found) == (1, "c", True)


def test_what_has_members_and_entries() -> None:
    assert members_of(JsArray(["x"])) == {"0": "x"}
    assert (members_of(JsMap([("a", 1)])), members_of(PyProxy({"a": 1})), members_of(3)) == ({}, {"a": 1}, None)
    assert members_of(JsObject({"a": 1}).as_object_map()) == {"a": 1}
    assert list(entries_of(JsMap([("a", 1)]), "it")) == list(entries_of({"a": 1}, "it")) == [("a", 1)]
    assert list(pairs_of(JsObject({"a": 1}), "it")) == list(pairs_of([("a", 1)], "it")) == [("a", 1)]
    assert [list(pair) for pair in iterated(JsMap([("a", 1)]))] == [["a", 1]]
    assert (list(iterated(JsObject({"length": 1, "0": "x"}))), iterated(3)) == (["x"], [])
    assert (options_of(None), options_of(JsObject({"a": jsnull}))) == ({}, {"a": None})
    assert list(to_py(JsSet([1]))) == [1]


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        (lambda: list(entries_of(JsObject(), "it")), "object is not iterable"),
        (lambda: list(entries_of([1], "it")), "expected pairs of a key and a value"),
        (lambda: iterated(None), "undefined is not iterable"),
        (lambda: options_of(JsArray()), "expected an object of options"),
    ],
)
def test_what_cannot_be_read(call: Any, problem: str) -> None:
    with pytest.raises(JsTypeError, match=problem):
        call()
