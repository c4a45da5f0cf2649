"""Cron expressions in Cloudflare's dialect."""

import datetime
from pathlib import Path

import pytest

from cfai.config import ConfigError, Cron, CronError, load_config


def times(expression: str, start: str, count: int = 3) -> list[str]:
    cron, found = Cron.parse(expression), []
    moment: datetime.datetime | None = datetime.datetime.fromisoformat(start).replace(tzinfo=datetime.UTC)
    for _ in range(count):
        assert moment is not None
        moment = cron.next_after(moment)
        assert moment is not None
        assert cron.matches(moment)
        found.append(f"{moment:%Y-%m-%d %H:%M}")
    return found


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("* * * * *", ["2026-11-28 12:01", "2026-11-28 12:02", "2026-11-28 12:03"]),
        ("*/20 * * * *", ["2026-11-28 12:20", "2026-11-28 12:40", "2026-11-28 13:00"]),
        ("5/25 * * * *", ["2026-11-28 12:05", "2026-11-28 12:30", "2026-11-28 12:55"]),
        ("50-10/10 * * * *", ["2026-11-28 12:10", "2026-11-28 12:50", "2026-11-28 13:00"]),
        ("0 9-11,17 * * *", ["2026-11-28 17:00", "2026-11-29 09:00", "2026-11-29 10:00"]),
        ("0 22-2/2 * * *", ["2026-11-28 22:00", "2026-11-29 00:00", "2026-11-29 02:00"]),
        ("30 6 1 jan,JUL *", ["2027-01-01 06:30", "2027-07-01 06:30", "2028-01-01 06:30"]),
        # Day 1 is Sunday: 2026-11-29 is one.
        ("0 0 * * 1", ["2026-11-29 00:00", "2026-12-06 00:00", "2026-12-13 00:00"]),
        ("0 0 * * MON-fri", ["2026-11-30 00:00", "2026-12-01 00:00", "2026-12-02 00:00"]),
        ("0 0 * * SAT-SUN", ["2026-11-29 00:00", "2026-12-05 00:00", "2026-12-06 00:00"]),
        ("0 0 * * L", ["2026-12-05 00:00", "2026-12-12 00:00", "2026-12-19 00:00"]),
        ("0 0 * * 6L", ["2026-12-25 00:00", "2027-01-29 00:00", "2027-02-26 00:00"]),
        ("0 0 * * MON#2", ["2026-12-14 00:00", "2027-01-11 00:00", "2027-02-08 00:00"]),
        ("0 0 L * *", ["2026-11-30 00:00", "2026-12-31 00:00", "2027-01-31 00:00"]),
        ("0 0 L-3 2 *", ["2027-02-25 00:00", "2028-02-26 00:00", "2029-02-25 00:00"]),
        ("0 0 LW * *", ["2026-11-30 00:00", "2026-12-31 00:00", "2027-01-29 00:00"]),
        ("0 0 15W * *", ["2026-12-15 00:00", "2027-01-15 00:00", "2027-02-15 00:00"]),
        # 1 May 2027 is a Saturday, 1 August 2027 a Sunday.
        ("0 0 1W 5,8 *", ["2027-05-03 00:00", "2027-08-02 00:00", "2028-05-01 00:00"]),
        ("0 0 29 2 *", ["2028-02-29 00:00", "2032-02-29 00:00", "2036-02-29 00:00"]),
        # Either kind of day will do.
        ("0 0 13 * FRI", ["2026-12-04 00:00", "2026-12-11 00:00", "2026-12-13 00:00"]),
    ],
)
def test_when_it_is_time(expression: str, expected: list[str]) -> None:
    assert times(expression, "2026-11-28T12:00:30") == expected


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("* * * *", "it should have 5 fields (minute, hour, day of the month, month, day of the week), and has 4"),
        ("60 * * * *", "the minute '60' should be made of 0-59, or be *"),
        ("*/0 * * * *", "the minute '*/0' should be made of 0-59, or be *"),
        ("0/60 * * * *", "the minute '0/60' should be made of 0-59, or be *"),
        ("* 24 * * *", "the hour '24' should be made of 0-23, or be *"),
        ("* * 0 * *", "the day of the month '0' should be made of 1-31, or be *"),
        ("* * L-31 * *", "the day of the month 'L-31' should be at most 30 days before the last, L-30"),
        ("* * * FOO *", "the month 'FOO' should be made of 1-12 or JAN-DEC, or be *"),
        ("* * * * 0", "the day of the week '0' should be made of 1-7 or SUN-SAT, or be *"),
        ("* * * * MON#6", "the day of the week 'MON#6' should have 1 to 5 behind #"),
        ("1,,2 * * * *", "the minute '1,,2' should be made of 0-59, or be *"),
        ("*-5 * * * *", "the minute '*-5' should be made of 0-59, or be *"),
        ("@daily", "it should have 5 fields (minute, hour, day of the month, month, day of the week), and has 1"),
        ("0 0 31 2 *", "no day of any year is meant by it"),
        ("٣ * * * *", "the minute '٣' should be made of 0-59, or be *"),
    ],
)
def test_what_is_no_expression(expression: str, problem: str) -> None:
    with pytest.raises(CronError) as caught:
        Cron.parse(expression)
    assert str(caught.value) == problem


def test_a_wrong_expression_of_a_project_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "entry.py").touch()
    file = tmp_path / "wrangler.jsonc"
    lines = ['{"main": "entry.py", "compatibility_date": "2026-06-01", "compatibility_flags": ["python_workers"],']
    lines += ['"triggers": {"crons": [', '"* * * * *",', '"61 * * * *"', "]}}"]
    file.write_text("\n".join(lines))
    config = load_config(tmp_path)
    problem = (
        f'{file}:4: "triggers.crons" has "61 * * * *", which is no cron expression: '
        "the minute '61' should be made of 0-59, or be *"
    )
    assert [str(remark) for remark in config.warnings] == [f"{problem}; it is not run"]
    assert config.crons == ("* * * * *", "61 * * * *")
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path, strict=True)
    assert str(caught.value) == problem
