"""What a key of `cfai.toml` may hold, how it is written in an environment variable, and the words of a complaint."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from cfai.catalog import parse_as_of
from cfai.devices import DTYPES, check_device
from cfai.quantities import parse_duration, parse_size
from cfai.wording import nearest

__all__ = [
    "AS_OF",
    "DEVICE",
    "DTYPE",
    "DURATION",
    "FIDELITY",
    "LIMITS",
    "SIZE",
    "SWITCH",
    "TEXT",
    "Kind",
    "at_least",
]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of value. `read` takes what stands in the file, `spell` a variable's text; both raise ValueError."""

    expected: str
    """What a complaint says should be there."""
    read: Callable[[Any], Any]
    spell: Callable[[str], Any]
    known: Sequence[str] = ()
    """The words there are, to tell which one was meant."""

    def complaint(self, given: object) -> str:
        near = nearest(str(given), self.known) if self.known else None
        return self.expected if near is None else f'{self.expected} (did you mean "{near}"?)'


def _whole_number(least: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError
        return value

    return read


def at_least(least: int) -> Kind:
    """Whole numbers from `least` on.

    ```python
    at_least(1).spell("8")  # 8
    ```
    """
    read = _whole_number(least)
    return Kind(f"a whole number, {least} or more", read, lambda text: read(int(text)))


def _switch(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


_SPELLED = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


def _spelled_switch(text: str) -> bool:
    if (found := _SPELLED.get(text.lower())) is None:
        raise ValueError
    return found


_LIMITS = ("rpm", "free")
"""Which of Cloudflare's limits can hold here: a model's requests per minute, the neurons that are free each day."""


def _limits(value: Any) -> str:
    if isinstance(value, bool):
        return "all" if value else "none"
    names = [name.strip() for name in _text(value).split(",")]
    if names not in (["all"], ["none"]) and not all(name in _LIMITS for name in names):
        raise ValueError
    return ",".join(names)


def _spelled_limits(text: str) -> str:
    return _limits(_SPELLED.get(text.lower(), text))


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError
    return value


def _one_of(known: Sequence[str]) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if value not in known:
            raise ValueError
        return str(value)

    return read


def _device(value: Any) -> str:
    check_device(_text(value))
    return str(value)


def _as_of(value: Any) -> datetime.date:
    # TOML has dates of its own, and a moment of a day is one of them.
    return value if type(value) is datetime.date else parse_as_of(_text(value))


def _size(value: Any) -> int:
    return parse_size(value if isinstance(value, int) else _text(value))


def _duration(value: Any) -> float:
    return parse_duration(value if isinstance(value, int | float) else _text(value))


_FIDELITIES = ("clean", "production")

TEXT = Kind("a string that is not empty", _text, _text)
SWITCH = Kind("true or false", _switch, _spelled_switch)
SIZE = Kind('a size such as "8GB" or "512MiB", or a number of bytes', _size, _size)
DURATION = Kind('a time such as "10m", a number of seconds, or -1 for ever', _duration, _duration)
DEVICE = Kind('"cpu", "mps", "cuda" or "cuda:0", or several such as "cuda:0,cuda:1"', _device, _device)
DTYPE = Kind("one of " + ", ".join(f'"{one}"' for one in DTYPES), _one_of(DTYPES), _one_of(DTYPES), DTYPES)
LIMITS = Kind('true, false, "rpm" or "free"', _limits, _spelled_limits, (*_LIMITS, "all", "none"))
AS_OF = Kind('a day such as "2023-11-14"', _as_of, _as_of)
FIDELITY = Kind('"clean" or "production"', _one_of(_FIDELITIES), _one_of(_FIDELITIES), _FIDELITIES)
