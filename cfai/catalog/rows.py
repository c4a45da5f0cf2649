"""Rows of the data files, and of users' settings, as fields of a model; what is wrong with one, by the field's name."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from datetime import date, datetime
from typing import Any, get_args

from cfai.catalog.model import (
    Alias,
    Era,
    Evidence,
    Family,
    Limits,
    Model,
    Neurons,
    Price,
    PromptEra,
    Status,
    Weights,
)
from cfai.catalog.prompts import system_names, template_names
from cfai.wording import meant, shortened

__all__ = ["ATTRIBUTES", "ROW_FIELDS", "fields_of", "model_of"]


def model_of(row: Mapping[str, Any]) -> Model:
    """The model that one row of the data file describes. Raises a ValueError that names the field.

    ```python
    model_of({"id": "@cf/me/mine", "context_window": 4096}).limits().context_window  # 4096
    ```
    """
    rest = {name: value for name, value in row.items() if name != "id"}
    return Model(row["id"], **fields_of(rest))


def fields_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `Model` that the keys of a row stand for. A key whose value is None stands for nothing known.

    ```python
    fields_of({"prices": [["per M input tokens", 0.1]]})  # {'prices': (Price('per M input tokens', 0.1),)}
    ```
    """
    fields: dict[str, Any] = {}
    for name, value in row.items():
        if (read := _FIELDS.get(name)) is None:
            raise ValueError(f"{name} is no field of a model{meant(name, _FIELDS)}")
        try:
            fields |= read(value)
        except ValueError as error:
            raise ValueError(f"{name} {error}") from None
    return fields


Read = Callable[[Any], dict[str, Any]]


def _as(field: str, read: Callable[[Any], Any], *, nothing: Any = None) -> Read:
    return lambda value: {field: nothing if value is None else read(value)}


def _wrong(what: str, value: Any) -> ValueError:
    return ValueError(f"must be {what}, it is {shortened(repr(value), 60)}")


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise _wrong("a text", value)
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _wrong("true or false", value)
    return value


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise _wrong("a whole number from 1", value)
    return value


def _amount(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise _wrong("a number from 0", value)
    return value


def _day(value: Any) -> date:
    if isinstance(value, date) and not isinstance(value, datetime):  # as TOML has them
        return value
    try:
        if not isinstance(value, str) or not re.fullmatch(r"\d{4}-\d\d-\d\d", value, re.ASCII):
            raise ValueError
        return date.fromisoformat(value)
    except ValueError:
        raise _wrong("a day in the form YYYY-MM-DD", value) from None


def _moment(value: Any) -> datetime:
    try:
        if isinstance(value, date):
            return datetime(value.year, value.month, value.day) if not isinstance(value, datetime) else value
        return datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise _wrong("a day, or a day and a time, in the form YYYY-MM-DD hh:mm:ss.000", value) from None


def _one_of(kind: Any) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        names = get_args(kind)
        if value not in names:
            raise ValueError(f"must be one of {', '.join(names)}; it is {value!r}{meant(str(value), names)}")
        return value

    return read


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise _wrong("a list", value)
    return list(value)


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(map(_text, _list(value)))


def _members(readers: Mapping[str, Callable[[Any], Any]], *needed: str) -> Callable[[Any], dict[str, Any]]:
    """The reader of an object that has no others than these members, and those that are needed."""

    def read(value: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise _wrong(f"an object with {', '.join(readers)}", value)
        found = {}
        for name, member in value.items():
            if name not in readers:
                raise ValueError(f"has no {name!r}{meant(str(name), readers)}")
            try:
                found[name] = None if member is None else readers[name](member)
            except ValueError as error:
                raise ValueError(f"{name} {error}") from None
        for name in needed:
            if found.get(name) is None:
                raise ValueError(f"needs {name!r}")
        return found

    return read


def _seen(value: Any) -> dict[str, Any]:
    days = _list(value)
    if len(days) != 2:
        raise _wrong("a list of two days", value)
    first, last = map(_day, days)
    if first > last:
        raise ValueError(f"must have the earlier day first, it is {value!r}")
    return {"first_seen": first, "last_seen": last}


_FLAGS = (
    *("async_queue", "beta", "function_calling", "lora", "partner", "realtime", "reasoning", "require_workers_paid"),
    "vision",
)


def _flags(value: Any) -> frozenset[str]:
    flags = _texts(value)
    for flag in flags:
        if flag not in _FLAGS:
            raise ValueError(f"must be of {', '.join(_FLAGS)}; one is {flag!r}{meant(flag, _FLAGS)}")
    return frozenset(flags)


def _prices(value: Any) -> tuple[Price, ...]:
    prices = []
    for price in _list(value):
        if not isinstance(price, list | tuple) or len(price) != 2 or not str(price[0]).startswith("per "):
            raise ValueError(f'must be a list of ["per M input tokens", 0.1], it has {shortened(repr(price), 60)}')
        prices.append(Price(_text(price[0]), _amount(price[1])))
    return tuple(prices)


def _neurons(value: Any) -> Neurons:
    found = _members({"in": _amount, "out": _amount, "cached": _amount}, "in")(value)
    return Neurons(found["in"], found.get("out"), found.get("cached"))


_LIMITS: Mapping[str, Callable[[Any], Any]] = {
    "context_window": _count,
    "max_input_tokens": _count,
    "max_output_tokens": _count,
    "default_max_tokens": _count,
    "default_max_tokens_streaming": _count,
}

_DEFAULTS = ("default_max_tokens", "default_max_tokens_streaming")

_era = _members({"until": _day, "source": _text, **_LIMITS}, "until")


def _eras(value: Any) -> tuple[Era, ...]:
    eras = []
    for row in map(_era, _list(value)):
        # A default that is not told is that of the model's family.
        figures = dict.fromkeys(_DEFAULTS) | {name: figure for name, figure in row.items() if name in _LIMITS}
        eras.append(Era(row["until"], Limits(**figures), row.get("source")))
    _check_order([era.until for era in eras])
    return tuple(eras)


def _check_order(days: list[date]) -> None:
    if days != sorted({*days}):
        raise ValueError("must have the earliest day first, and each day once")


def _named(names: Callable[[], Collection[str]]) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if (name := _text(value)) not in (known := names()):
            it_is = f"it is {shortened(repr(name), 60)}{meant(name, known)}"
            raise ValueError(f"must be one of {', '.join(known)}; {it_is}")
        return name

    return read


_prompt_era = _members(
    {"until": _day, "template": _named(template_names), "system": _named(system_names), "source": _text},
    "until",
    "template",
)


def _prompt_eras(value: Any) -> tuple[PromptEra, ...]:
    eras = tuple(PromptEra(**_prompt_era(row)) for row in _list(value))
    _check_order([era.until for era in eras])
    return eras


def _alias(value: Any) -> Alias:
    found = _members({"id": _text, "from": _day}, "id", "from")(value)
    return Alias(found["id"], found["from"])


_WEIGHTS: Mapping[str, Callable[[Any], Any]] = {
    "repo": _text,
    "revision": _text,
    "gated": _flag,
    "params_b": _amount,
    "ungated_repo": _text,
    "evidence": _one_of(Evidence),
}


def _weights(value: Any) -> Weights:
    if isinstance(value, str):
        return Weights(_text(value), evidence="told")
    return Weights(**_members(_WEIGHTS, "repo")(value))


def _listed(value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping) or any(isinstance(one, Mapping | list | bool) for one in value.values()):
        raise _wrong("an object of texts and numbers", value)
    return {str(name): str(one) for name, one in value.items()}


def _sources(value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise _wrong("an object of fields and where they are from", value)
    for name in value:
        if name not in _FIELDS:
            raise ValueError(f"has no {name!r}{meant(str(name), _FIELDS)}")
    return {name: _text(source) for name, source in value.items()}


_FIELDS: Mapping[str, Read] = {
    "task": _as("task", _text, nothing="Text Generation"),
    "status": _as("status", _one_of(Status), nothing="active"),
    "family": _as("family", _one_of(Family), nothing="classic"),
    "description": _as("about", _text, nothing=""),
    "uuid": _as("uuid", _text),
    "tags": _as("tags", _texts, nothing=()),
    "flags": _as("flags", _flags, nothing=frozenset()),
    "json_mode": _as("json_mode", _flag, nothing=False),
    "streaming": _as("streaming", _flag),
    "listed": _as("listed", _listed, nothing={}),
    "created": _as("created_at", _moment),
    "announced": _as("announced", _day),
    "deprecated": _as("deprecated", _day),
    "seen": lambda value: {"first_seen": None, "last_seen": None} if value is None else _seen(value),
    "successor": _as("successor", _text),
    "answered_by": _as("answered_by", _alias),
    **{name: _as(name, read) for name, read in _LIMITS.items()},
    "earlier": _as("earlier", _eras, nothing=()),
    "prompts": _as("prompts", _prompt_eras, nothing=()),
    "dimensions": _as("dimensions", _count),
    "requests_per_minute": _as("requests_per_minute", _count),
    "prices": _as("prices", _prices, nothing=()),
    "neurons": _as("neurons", _neurons),
    "weights": _as("weights", _weights),
    "bundled": _as("bundled", _text),
    "sources": _as("sources", _sources, nothing={}),
}

ROW_FIELDS = frozenset(_FIELDS)
"""The keys that a row may have."""

ATTRIBUTES: Mapping[str, tuple[str, ...]] = {name: tuple(read(None)) for name, read in _FIELDS.items()}
"""The attributes of a `Model` that a key stands for."""
