"""Filters of Vectorize: what they let through, and which are none."""

from __future__ import annotations

from typing import Any

import pytest

from cfai.worker.bindings.vectorize_filter import conditions_of


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ([], "expected an object, not []"),
        ({}, "expected at least one property"),
        ({"a": {1, 2}}, "Object of type set is not JSON serializable"),
        ({"a": "x" * 3000}, "max is 2048 bytes of JSON"),
        ({"a..b": 1}, "'a..b' is no property"),
        ({"$a": 1}, "'$a' is no property"),
        ({"a": {}}, "'a' has no operator"),
        ({"a": [1]}, "'a' can be compared with a string, number, boolean or null, not with [1]"),
        ({"a": {"$in": 1}}, "'a': $in and $nin take a list, not 1"),
        ({"a": {"$lt": None}}, "'a' can be less or more than a string or a number, not than None"),
    ],
)
def test_what_is_no_filter(given: Any, problem: str) -> None:
    with pytest.raises(Exception, match="VECTOR_QUERY") as caught:
        conditions_of(given)
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("given", "metadata", "holds"),
    [
        ({"a.b": 1}, {"a": {"b": 1.0}}, True),
        ({"a.b": 1}, {"a": 1}, False),
        ({"a": True}, {"a": 1}, False),
        ({"a": None}, {}, True),
        ({"a": {"$ne": "x"}}, {"a": "y"}, True),
        ({"a": {"$nin": ["x"]}}, {"a": "x"}, False),
        ({"a": {"$gte": 2, "$lt": 3}}, {"a": 2}, True),
        ({"a": {"$gt": "b"}}, {"a": "a"}, False),
        ({"a": {"$lte": 2}}, {"a": "1"}, False),
    ],
)
def test_what_a_filter_lets_through(given: Any, metadata: Any, holds: bool) -> None:
    assert all(condition.holds(metadata) for condition in conditions_of(given)) is holds
