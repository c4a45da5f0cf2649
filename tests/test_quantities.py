"""Sizes and times as people write them."""

import pytest

from cfai.quantities import FOREVER, parse_duration, parse_size, shown_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("8GB", 8_000_000_000),
        ("8gb", 8_000_000_000),
        ("8 G", 8_000_000_000),
        ("1.5GiB", 1_610_612_736),
        ("512Mi", 536_870_912),
        ("100KB", 100_000),
        ("2TB", 2_000_000_000_000),
        ("4096", 4096),
        (4096, 4096),
    ],
)
def test_a_size_is_a_number_and_a_unit(text: str | int, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "8 gigs", "-8GB", "0", "0GB", "1e9", "8GB 1MB", "9" * 400, True, "٨GB"])
def test_what_is_no_size_is_refused_with_an_example(text: str | int) -> None:
    with pytest.raises(ValueError, match=r"such as 8GB or 512MiB, not '"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *(("10m", 600), ("1h30m", 5400), ("90s", 90), ("500ms", 0.5), ("2d", 172_800), ("1.5h", 5400), ("300", 300)),
        *(("0", 0), (0, 0), (2.5, 2.5), ("-1", FOREVER), (-1, FOREVER), (-300, FOREVER)),
    ],
)
def test_a_time_is_seconds_or_a_text_with_units(text: str | float, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "10 minutes", "10m5", "m", "1e3", "nan", "inf", "9" * 400, True])
def test_what_is_no_time_is_refused_with_an_example(text: str | float) -> None:
    with pytest.raises(ValueError, match=r"such as 10m or 1h30m, or -1 for ever, not '"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("size", "text"), [(8_000_000_000, "8 GB"), (1_610_612_736, "1.6 GB"), (2_500, "2.5 KB"), (12, "12 bytes")]
)
def test_a_size_is_shown_in_its_largest_unit(size: int, text: str) -> None:
    assert shown_size(size) == text
