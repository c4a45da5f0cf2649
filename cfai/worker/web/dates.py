"""`Date`. The time zone of a Worker is UTC, so local time is UTC here too, whatever this machine thinks."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from typing import Any

from cfai.worker.web.errors import JsRangeError
from cfai.worker.web.nulls import as_number, jsnull, seen
from cfai.worker.web.primitives import number_of
from cfai.worker.web.proxies import JsClass, JsProxy, is_spelled_out, shown_as_proxy

__all__ = ["Date"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MOST = 8_640_000_000_000_000
_DAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class _DateType(JsClass):
    def __call__(self, *args: Any, **options: Any) -> Any:
        return str(self.new())  # called as a function it gives the time as text

    @property
    def __name__(self) -> str:  # type: ignore[override]
        return "JsProxy"


class Date(JsProxy, metaclass=_DateType):
    """`Date.new()`, `Date.new(milliseconds)`, `Date.new("2026-01-02")`, `Date.new(year, month_from_0, day, ...)`."""

    js_name = "Date"
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, *given: Any) -> None:
        self._time = _clipped(_time_of(given))

    @staticmethod
    def now() -> int:
        return time.time_ns() // 1_000_000

    @staticmethod
    def parse(text: Any) -> float:
        return as_number(_parsed(str(text)))

    @staticmethod
    def UTC(*parts: Any) -> float:  # noqa: N802  # JavaScript's spelling
        return as_number(_from_parts(parts))

    def getTime(self) -> float:  # noqa: N802
        return as_number(self._time)

    valueOf = getTime  # noqa: N815

    def setTime(self, value: Any) -> float:  # noqa: N802
        self._time = _clipped(number_of(value))
        return self.getTime()

    def getTimezoneOffset(self) -> int:  # noqa: N802
        return 0

    def __getattr__(self, name: str) -> Any:
        """The getters and setters of all the parts, in local time and in UTC, which are the same here."""
        found = re.fullmatch(r"(get|set)(?:UTC)?(\w+)", name)
        part = found and _PARTS.get(found[2])
        if not found or part is None:
            if name in _OF_DATETIMES and is_spelled_out():
                from cfai.worker.compat import current

                current().lenient(f"date.{name}", lambda: AttributeError(name))
                return getattr(self._when, name)
            raise AttributeError(name)
        if found[1] == "get":
            return lambda: math.nan if self._time != self._time else part(self._when)
        if found[2] == "Day":
            raise AttributeError(name)
        return lambda *values: self._set(found[2], values)

    def _set(self, name: str, values: tuple[Any, ...]) -> float:
        if self._time == self._time:
            parts: list[float] = [part(self._when) for part in (_PARTS[name] for name in _ORDER)]
            first = _ORDER.index(name)
            parts[first : first + len(values)] = map(number_of, values)
            self._time = _clipped(_from_parts(tuple(parts), short_years=False))
        return self.getTime()

    @property
    def _when(self) -> datetime:
        return _EPOCH + timedelta(milliseconds=self._time)

    def toISOString(self) -> str:  # noqa: N802
        if self._time != self._time:
            raise JsRangeError("Invalid time value")
        return self._when.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def toJSON(self, key: Any = None) -> Any:  # noqa: N802
        return seen(jsnull) if self._time != self._time else self.toISOString()

    def toUTCString(self) -> str:  # noqa: N802
        return self._text(
            lambda when: f"{_DAYS[_day(when)]}, {when:%d} {_MONTHS[when.month - 1]} {when:%Y %H:%M:%S} GMT"
        )

    toGMTString = toUTCString  # noqa: N815

    def toDateString(self) -> str:  # noqa: N802
        return self._text(lambda when: f"{_DAYS[_day(when)]} {_MONTHS[when.month - 1]} {when:%d %Y}")

    def toTimeString(self) -> str:  # noqa: N802
        return self._text(lambda when: f"{when:%H:%M:%S} GMT+0000 (Coordinated Universal Time)")

    def toLocaleDateString(self, locale: Any = None, options: Any = None) -> str:  # noqa: N802
        """As in en-US, which is what a Worker speaks; other locales and options are not simulated."""
        return self._text(lambda when: f"{when.month}/{when.day}/{when.year}")

    def toLocaleTimeString(self, locale: Any = None, options: Any = None) -> str:  # noqa: N802
        return self._text(lambda when: f"{when.hour % 12 or 12}:{when:%M:%S} {'PM' if when.hour > 11 else 'AM'}")

    def toLocaleString(self, locale: Any = None, options: Any = None) -> str:  # noqa: N802
        return self._text(lambda when: f"{self.toLocaleDateString()}, {self.toLocaleTimeString()}")

    def _text(self, of: Callable[[datetime], str]) -> str:
        return "Invalid Date" if self._time != self._time else of(self._when)

    def toString(self) -> str:  # noqa: N802
        return self._text(lambda when: f"{self.toDateString()} {self.toTimeString()}")

    def __str__(self) -> str:
        return self.toString()

    __repr__ = __str__

    def __lt__(self, other: Date) -> bool:
        return self._time < other._time

    def __le__(self, other: Date) -> bool:
        return self._time <= other._time

    def __gt__(self, other: Date) -> bool:
        return self._time > other._time

    def __ge__(self, other: Date) -> bool:
        return self._time >= other._time


shown_as_proxy(Date)

_OF_DATETIMES = {"isoformat", "strftime", "timestamp"}


def _day(when: datetime) -> int:
    return when.isoweekday() % 7


_PARTS: dict[str, Callable[[datetime], int]] = {
    "FullYear": lambda when: when.year,
    "Month": lambda when: when.month - 1,
    "Date": lambda when: when.day,
    "Day": _day,
    "Hours": lambda when: when.hour,
    "Minutes": lambda when: when.minute,
    "Seconds": lambda when: when.second,
    "Milliseconds": lambda when: when.microsecond // 1000,
}
_ORDER = ("FullYear", "Month", "Date", "Hours", "Minutes", "Seconds", "Milliseconds")


def _time_of(given: tuple[Any, ...]) -> float:
    if not given:
        return Date.now()
    if len(given) > 1:
        return _from_parts(given)
    (value,) = given
    if isinstance(value, Date):
        return value._time
    if isinstance(value, datetime):
        return value.timestamp() * 1000 if value.tzinfo else value.replace(tzinfo=UTC).timestamp() * 1000
    return _parsed(value) if isinstance(value, str) else number_of(value)


def _clipped(value: float) -> float:
    if value != value or abs(value) > _MOST:
        return math.nan
    whole = math.trunc(value)
    # datetime ends with the year 9999, JavaScript with 275760; what lies between is no date here.
    return whole if -62_135_596_800_000 <= whole <= 253_402_300_799_999 else math.nan


def _from_parts(given: tuple[Any, ...], *, short_years: bool = True) -> float:
    numbers = [number_of(value) for value in given]
    if any(not math.isfinite(number) for number in numbers) or not numbers:
        return math.nan
    year, month, day, hours, minutes, seconds, millis = [
        *map(math.trunc, numbers),
        *(0, 0, 1, 0, 0, 0, 0)[len(numbers) :],
    ]
    if short_years and 0 <= year <= 99:
        year += 1900
    year, month = year + month // 12, month % 12
    try:
        start = datetime(year, month + 1, 1, tzinfo=UTC)
        when = start + timedelta(days=day - 1, hours=hours, minutes=minutes, seconds=seconds, milliseconds=millis)
    except (ValueError, OverflowError):
        return math.nan
    return (when - _EPOCH) // timedelta(milliseconds=1)


_ISO = re.compile(
    r"(\d{4})(?:-(\d\d)(?:-(\d\d))?)?(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d+))?)?\s*(Z|[+-]\d\d:?\d\d)?)?",
    re.IGNORECASE,
)
_WORDS = ("%b %d, %Y", "%B %d, %Y", "%d %b %Y", "%d %B %Y", "%Y/%m/%d", "%m/%d/%Y", "%a %b %d %Y")
_CLOCKS = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")


def _parsed(text: str) -> float:
    text = text.strip()
    if found := _ISO.fullmatch(text):
        year, month, day, hour, minute, second, fraction, zone = found.groups()
        try:
            when = datetime(
                int(year), int(month or 1), int(day or 1), int(hour or 0), int(minute or 0), int(second or 0)
            ).replace(tzinfo=_zone(zone))
        except ValueError:
            return math.nan
        return (when - _EPOCH) // timedelta(milliseconds=1) + int(f"{fraction or 0:0<3}"[:3])
    # What JavaScript itself writes, `Thu Jan 01 1970 00:00:00 GMT+0000 (Coordinated Universal Time)`.
    text = re.sub(r"\s*\([^)]*\)$", "", text)
    if offset := re.fullmatch(r"(.*?)\s*(?:GMT|UTC|Z)?([+-]\d{4})?", text):
        for words in _WORDS:
            for clock in _CLOCKS:
                try:
                    when = datetime.strptime(offset[1], words + clock)  # the zone comes next
                except ValueError:
                    continue
                return (when.replace(tzinfo=_zone(offset[2])) - _EPOCH) // timedelta(milliseconds=1)
    try:
        when = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return math.nan
    return ((when if when.tzinfo else when.replace(tzinfo=UTC)) - _EPOCH) // timedelta(milliseconds=1)


def _zone(text: str | None) -> timezone:
    if not text or text in "Zz":
        return UTC
    digits = text[1:].replace(":", "")
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return timezone(-offset if text[0] == "-" else offset)
