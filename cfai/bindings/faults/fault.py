"""One fault: a scenario, how often, where exactly, for which calls; and the text form of it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cfai.binding import Call
from cfai.bindings.faults.scenarios import Argument, Scenario, scenario_of
from cfai.wording import meant

__all__ = ["Fault", "parse_faults"]


@dataclass(frozen=True, slots=True)
class Fault:
    """What is to go wrong.

    ```python
    Fault("capacity", times=2)  # the next two calls are refused with 3040
    Fault("stall", after=3, when=lambda call: "new york" in call.inputs["prompt"])
    ```

    scenario      the name of a scenario, or the code of an error
    times         for how many calls; None for every call
    after         how many events come first
    seconds       how long it waits, by the binding's clock; what `retry-after` says
    events        how many of them are one chunk
    content_type  what the header says instead
    model         only for calls of this model
    when          only for calls that this says yes to
    seed, rate    of random faults
    """

    scenario: str | int
    times: int | None = None
    after: int | None = None
    seconds: float | None = None
    events: int | None = None
    content_type: str | None = None
    model: str | None = None
    when: Callable[[Call], bool] | None = None
    seed: int | None = None
    rate: float | None = None

    def __post_init__(self) -> None:
        row = scenario_of(self.scenario)
        object.__setattr__(self, "scenario", row.name)
        for name, check in _CHECKS.items():
            value = getattr(self, name)
            if value is None:
                object.__setattr__(self, name, row.defaults.get(name))
            elif name not in row.takes:
                raise ValueError(f"the fault {row.name} takes no {name}, only: {', '.join(_takes(row))}")
            else:
                check(row.name, name, value)

    @property
    def row(self) -> Scenario:
        """What is known of its scenario."""
        return scenario_of(self.scenario)

    def fits(self, call: Call) -> bool:
        """Whether `call` is one of those that it is for."""
        return (self.model is None or self.model == call.model) and (self.when is None or bool(self.when(call)))

    def __str__(self) -> str:
        """The text form, `stall:3:seconds=5`; a `when` has none."""
        row = self.row
        told = [row.name]
        if (value := getattr(self, row.argument)) is not None:
            told.append(_written(value))
        for name in row.takes:
            value = getattr(self, name)
            if name != row.argument and value not in (None, row.defaults.get(name)):
                told.append(f"{name}={_written(value)}")
        if self.model is not None:
            told.append(f"model={self.model}")
        return ":".join(told)


def parse_faults(text: str) -> list[Fault]:
    """The faults that a flag or a header names.

    ```python
    parse_faults("capacity:2, stall:3:seconds=5, 5007:1, random:7")
    ```

    Commas stand between faults. Behind a fault's name come its values, with colons: first the one that every fault of
    its kind has (`Scenario.argument`), then others by name. `none` is no fault.
    """
    if text.strip().lower() == "none":
        return []
    return [_parsed(part) for part in text.split(",")]


_NAMED = re.compile(r"([a-z][a-z_-]*)=(.*)", re.DOTALL)


def _parsed(text: str) -> Fault:
    name, *values = (part.strip() for part in text.split(":"))
    if not name:
        raise ValueError(f"a fault without a name in {text!r}; write NAME or NAME:VALUE, with commas between faults")
    row = scenario_of(name)
    given: dict[str, Any] = {}
    for value in values:
        named = _NAMED.fullmatch(value)
        key = named[1].replace("-", "_") if named else str(row.argument)
        if key in given:
            raise ValueError(f"{key} twice in the fault {text.strip()!r}")
        given[key] = _read(row, key, named[2] if named else value, text.strip())
    return Fault(row.name, **given)


def _read(row: Scenario, key: str, value: str, text: str) -> Any:
    if key not in (*row.takes, "model"):
        takes = _takes(row)
        raise ValueError(f"the fault {row.name} takes no {key}{meant(key, takes) or '.'} It takes: {', '.join(takes)}")
    kind = _KINDS[key]
    try:
        return kind(value)
    except ValueError:
        wanted = {int: "a whole number", float: "a number"}[kind]
        raise ValueError(f"{key} of the fault {text!r} must be {wanted}, not {value!r}") from None


def _takes(row: Scenario) -> list[str]:
    return [*row.takes, "model"]


def _written(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _at_least(least: int) -> Callable[[str, str, Any], None]:
    def check(fault: str, name: str, value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{name} of the fault {fault} must be a whole number from {least} on, not {value!r}")

    return check


def _is_time(fault: str, name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError(f"{name} of the fault {fault} must be a number of seconds from 0 on, not {value!r}")


def _is_share(fault: str, name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError(f"{name} of the fault {fault} must be between 0 and 1, not {value!r}")


def _is_header(fault: str, name: str, value: Any) -> None:
    if not isinstance(value, str) or not value.strip() or not (value.isascii() and value.isprintable()):
        raise ValueError(f"{name} of the fault {fault} must be text that a header may have, not {value!r}")


def _is_seed(fault: str, name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{name} of the fault {fault} must be a whole number, not {value!r}")


_CHECKS: dict[Argument, Callable[[str, str, Any], None]] = {
    "times": _at_least(1),
    "after": _at_least(0),
    "seconds": _is_time,
    "events": _at_least(2),
    "content_type": _is_header,
    "seed": _is_seed,
    "rate": _is_share,
}
_KINDS: dict[str, type[int] | type[float] | type[str]] = {
    "times": int,
    "after": int,
    "seconds": float,
    "events": int,
    "content_type": str,
    "seed": int,
    "rate": float,
    "model": str,
}
