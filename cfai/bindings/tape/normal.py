"""Calls that mean the same, written the same: what a tape compares."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from datetime import date
from typing import Any

from cfai.binding import Call
from cfai.bindings.tape.hashes import hashed, is_hash
from cfai.catalog import Catalog, Model, parse_as_of
from cfai.errors import AiError, BadInput
from cfai.results import plain
from cfai.tasks import task_for, text_generation
from cfai.tasks.schema import validate
from cfai.tasks.shapes import Fidelity
from cfai.tasks.text_generation import TextGeneration

__all__ = [
    "OPTIONS",
    "as_of",
    "checked",
    "fidelity",
    "fits",
    "known_model",
    "normalised",
    "options",
    "question",
    "wire_form",
]

OPTIONS = ("asOf", "fidelity", "queueRequest")
"""The options of a run that change what is answered. Others are neither compared nor recorded."""


def options(call: Call) -> dict[str, Any]:
    """Those of the call's options that change the answer; `clean` is what goes without saying."""
    given = {name: call.options[name] for name in OPTIONS if call.options.get(name) is not None}
    return {name: value for name, value in given.items() if (name, value) != ("fidelity", "clean")}


def known_model(call: Call) -> Model:
    """The model of the catalog that is meant; one that the catalog does not have is taken to write text."""
    try:
        return Catalog.builtin().get(call.model)
    except AiError:
        return Model(call.model)


def generates_text(call: Call) -> bool:
    return call.form != "native" or known_model(call).generates_text


def normalised(call: Call) -> dict[str, Any]:
    """The call with aliases resolved and defaults filled in, in the order of the keys, without what is None."""
    written = {
        "model": known_model(call).id,
        "form": call.form,
        "options": options(call),
        "inputs": _with_defaults(call),
    }
    ordered: dict[str, Any] = _ordered(written)
    return ordered


def _ordered(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _ordered(value[name]) for name in sorted(value, key=str) if value[name] is not None}
    if isinstance(value, list | tuple):
        return [_ordered(item) for item in value]
    return bytes(value) if isinstance(value, bytearray | memoryview) else value


def _with_defaults(call: Call) -> Any:
    inputs = _ordered(plain(call.inputs))
    if not isinstance(inputs, dict) or call.options.get("queueRequest"):
        return inputs
    try:
        if not generates_text(call):
            return task_for(known_model(call)).check(inputs)
        schema = text_generation.input_schema(known_model(call), form=call.form, as_of=as_of(call))
        return validate(schema, inputs).payload
    except (AiError, ValueError):  # a call that is refused is what it is, as is one of a task that has no schema
        return inputs


def as_of(call: Call) -> date | None:
    """The day that the call names; a `BadInput` if it is none."""
    day = call.options.get("asOf")
    try:
        return None if day is None else parse_as_of(str(day))
    except ValueError as error:
        raise BadInput(str(error)) from error


def fidelity(call: Call) -> Fidelity:
    return "production" if call.options.get("fidelity") == "production" else "clean"


def checked(call: Call) -> TextGeneration | None:
    """The call as its task reads it; None if no text is to be generated. Raises what the task refuses it with."""
    if call.options.get("queueRequest"):
        return None  # its requests are checked one by one, later
    if not generates_text(call):
        with contextlib.suppress(ValueError):  # a task without a schema
            task_for(known_model(call)).check(call.inputs)
        return None
    return text_generation.check(
        call.inputs, form=call.form, model=known_model(call), as_of=as_of(call), fidelity=fidelity(call)
    )


def wire_form(call: Call) -> tuple[Any, ...]:
    """What decides how an answer is written, and not what it says."""
    return call.form, call.options.get("asOf"), fidelity(call)


_OF_WIRE = frozenset({"shape", "is_native", "include_usage", "echoed"})


def question(call: Call) -> dict[str, Any] | None:
    """What a call asks, whatever the form in which it asks: None if it is not about text, or refused.

    The probabilities of tokens are told so differently that calls which ask for them have no common form.
    """
    try:
        request = checked(call)
    except AiError:
        return None
    if request is None or request.logprobs is not None:
        return None
    asked = {name: value for name, value in dataclasses.asdict(request).items() if name not in _OF_WIRE}
    model = known_model(call)
    if asked["temperature"] is None:
        asked["temperature"] = text_generation.usual_temperature(model)
    if asked["max_tokens"] is None:
        asked["max_tokens"] = "default"
    ordered: dict[str, Any] = _ordered({"model": model.id, **asked})
    return ordered


def fits(recorded: Any, called: Any, salt: str) -> bool:
    """Whether the two are the same, where a text may be recorded as its hash."""
    if isinstance(recorded, str) and isinstance(called, str):
        return recorded == called or (is_hash(recorded) and recorded == hashed(called, salt))
    if isinstance(recorded, dict) and isinstance(called, dict):
        return recorded.keys() == called.keys() and all(fits(recorded[name], called[name], salt) for name in recorded)
    if isinstance(recorded, list) and isinstance(called, list):
        return len(recorded) == len(called) and all(map(fits, recorded, called, [salt] * len(recorded)))
    return (type(recorded) is type(called) and bool(recorded == called)) or _same_number(recorded, called)


def _same_number(recorded: Any, called: Any) -> bool:
    """0 and 0.0 are one number to JSON; true is none."""
    numbers = not isinstance(recorded, bool) and not isinstance(called, bool)
    return numbers and isinstance(recorded, int | float) and isinstance(called, int | float) and recorded == called
