from datetime import date

import pytest

from cfai.catalog import parse_as_of


def test_a_day() -> None:
    assert parse_as_of("2023-11-14") == date(2023, 11, 14)


@pytest.mark.parametrize(
    "text", ["", "today", "14.11.2023", "20231114", "2023-W46-2", "2023-11-14T00:00", "2023-11-14\n"]
)
def test_another_form_is_refused_with_the_right_one(text: str) -> None:
    with pytest.raises(
        ValueError, match="must be a day in the form YYYY-MM-DD, for example 2023-11-14, not "
    ) as refused:
        parse_as_of(text)
    assert repr(text) in str(refused.value)


@pytest.mark.parametrize("text", ["2023-02-29", "2023-13-01", "0000-01-01"])
def test_a_day_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=f"not '{text}': the calendar has no such day"):
        parse_as_of(text)
