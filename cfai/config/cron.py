"""Cron expressions as Cloudflare reads them: five fields, UTC, and Sunday is day 1.

The grammar is that of saffron, Cloudflare's parser (github.com/cloudflare/saffron): values, ranges (which may go round,
`22-2`), steps and lists in every field, names of months and days in any case, `L`, `L-3`, `LW`, `L-3W` and `15W` for
days of a month, `5L` and `MON#2` for days of a week. Where both kinds of days are given, either will do.
"""

from __future__ import annotations

import calendar
import datetime
import re
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Cron", "CronError"]


def _numbered(names: str) -> dict[str, int]:
    return {name: at for at, name in enumerate(names.split(), 1)}


_MONTHS = _numbered("JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC")
_DAYS = _numbered("SUN MON TUE WED THU FRI SAT")
_SUNDAY, _SATURDAY = 1, 7

# The days on which a 29 February falls are at most so far apart, where a century has none.
_FURTHEST = 366 * 8 + 2

Day = Callable[[datetime.date], bool]


class CronError(ValueError):
    """An expression that is none. The message says which field is wrong, and what may stand there."""


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    first: int
    last: int
    names: dict[str, int]

    def values(self, text: str) -> frozenset[int]:
        """The values of a list of values, ranges and steps."""
        return frozenset(value for part in text.split(",") for value in self._part(text, part))

    def value(self, text: str, given: str) -> int:
        number = int(given) if given.isascii() and given.isdigit() else self.names.get(given.upper())
        if number is None or not self.first <= number <= self.last:
            raise self.error(text)
        return number

    def error(self, text: str) -> CronError:
        named = f" or {next(iter(self.names))}-{list(self.names)[-1]}" if self.names else ""
        return CronError(f"the {self.name} {text!r} should be made of {self.first}-{self.last}{named}, or be *")

    def _part(self, text: str, part: str) -> list[int]:
        found = re.fullmatch(r"(\*|\w+)(?:-(\w+))?(?:/(\w+))?", part, re.ASCII)
        if found is None or (found[1] == "*" and found[2]):
            raise self.error(text)
        start = self.first if found[1] == "*" else self.value(text, found[1])
        if not found[2] and not found[3]:
            return [start]
        end = self.value(text, found[2]) if found[2] else self.last
        step = int(found[3]) if found[3] and found[3].isdigit() else 0 if found[3] else 1
        if not 1 <= step <= self.last:
            raise self.error(text)
        if start <= end:
            return list(range(start, end + 1, step))
        return [*range(start, self.last + 1), *range(self.first, end + 1)][::step]


_MINUTE = _Field("minute", 0, 59, {})
_HOUR = _Field("hour", 0, 23, {})
_DAY_OF_MONTH = _Field("day of the month", 1, 31, {})
_MONTH = _Field("month", 1, 12, _MONTHS)
_DAY_OF_WEEK = _Field("day of the week", 1, 7, _DAYS)


@dataclass(frozen=True, slots=True)
class Cron:
    """When something is to happen.

    ```python
    Cron.parse("*/15 9-17 * * MON-FRI").next_after(datetime.datetime.now(datetime.UTC))
    ```
    """

    expression: str
    minutes: frozenset[int]
    hours: frozenset[int]
    months: frozenset[int]
    is_day: Day

    @classmethod
    def parse(cls, expression: str) -> Cron:
        """Read an expression; a `CronError` says what is wrong with it."""
        fields = expression.split()
        if len(fields) != 5:
            wanted = "minute, hour, day of the month, month, day of the week"
            raise CronError(f"it should have 5 fields ({wanted}), and has {len(fields)}")
        minute, hour, day_of_month, month, day_of_week = fields
        cron = cls(
            expression,
            _all_or(_MINUTE, minute),
            _all_or(_HOUR, hour),
            _all_or(_MONTH, month),
            _is_day(day_of_month, day_of_week),
        )
        if cron.next_after(datetime.datetime(2023, 12, 31, tzinfo=datetime.UTC)) is None:
            raise CronError("no day of any year is meant by it")
        return cron

    def matches(self, moment: datetime.datetime) -> bool:
        """Whether it is time in the minute of `moment`, which is in UTC."""
        is_time = moment.minute in self.minutes and moment.hour in self.hours
        return is_time and moment.month in self.months and self.is_day(moment.date())

    def next_after(self, moment: datetime.datetime) -> datetime.datetime | None:
        """The first minute after that of `moment` in which it is time."""
        start = moment.replace(second=0, microsecond=0) + datetime.timedelta(minutes=1)
        for days in range(_FURTHEST):
            day = start.date() + datetime.timedelta(days=days)
            if day.month not in self.months or not self.is_day(day):
                continue
            for hour in sorted(self.hours):
                for minute in sorted(self.minutes):
                    found = datetime.datetime(day.year, day.month, day.day, hour, minute, tzinfo=moment.tzinfo)
                    if found >= start:
                        return found
        return None


def _all_or(field: _Field, text: str) -> frozenset[int]:
    return frozenset(range(field.first, field.last + 1)) if text == "*" else field.values(text)


def _is_day(of_month: str, of_week: str) -> Day:
    if of_month == "*":
        return (lambda day: True) if of_week == "*" else _day_of_week(of_week)
    if of_week == "*":
        return _day_of_month(of_month)
    one, other = _day_of_month(of_month), _day_of_week(of_week)
    return lambda day: one(day) or other(day)


def _day_of_month(text: str) -> Day:
    if found := re.fullmatch(r"L(?:-(\d+))?(W)?", text, re.ASCII):
        before = int(found[1] or 0)
        if found[1] and not 1 <= before <= 30:
            raise CronError(f"the day of the month {text!r} should be at most 30 days before the last, L-30")
        if found[2]:
            return lambda day: _length(day) > before and day.day == _near_weekday(day, _length(day) - before)
        return lambda day: day.day == _length(day) - before
    if found := re.fullmatch(r"(\w+)W", text, re.ASCII):
        wanted = _DAY_OF_MONTH.value(text, found[1])
        return lambda day: wanted <= _length(day) and day.day == _near_weekday(day, wanted)
    values = _DAY_OF_MONTH.values(text)
    return lambda day: day.day in values


def _day_of_week(text: str) -> Day:
    if found := re.fullmatch(r"(\w+)#(\d+)", text, re.ASCII):
        weekday, nth = _DAY_OF_WEEK.value(text, found[1]), int(found[2])
        if not 1 <= nth <= 5:
            raise CronError(f"the day of the week {text!r} should have 1 to 5 behind #")
        return lambda day: _weekday(day) == weekday and (day.day - 1) // 7 + 1 == nth
    if text == "L":
        return lambda day: _weekday(day) == _SATURDAY
    if found := re.fullmatch(r"(\w+)L", text, re.ASCII):
        weekday = _DAY_OF_WEEK.value(text, found[1])
        return lambda day: _weekday(day) == weekday and day.day + 7 > _length(day)
    values = _DAY_OF_WEEK.values(text)
    return lambda day: _weekday(day) in values


def _weekday(day: datetime.date) -> int:
    return day.isoweekday() % 7 + 1


def _length(day: datetime.date) -> int:
    return calendar.monthrange(day.year, day.month)[1]


def _near_weekday(month: datetime.date, wanted: int) -> int:
    """The weekday of the same month that is nearest to the day `wanted`."""
    weekday = _weekday(month.replace(day=wanted))
    if weekday == _SATURDAY:
        return wanted - 1 if wanted > 1 else wanted + 2
    if weekday == _SUNDAY:
        return wanted + 1 if wanted < _length(month) else wanted - 2
    return wanted
