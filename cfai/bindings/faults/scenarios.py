"""Every way in which an answer may fail: one row each, with what it stands for and where that is known from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from cfai.binding import Call
from cfai.bindings.faults.refusals import REFUSALS
from cfai.wording import meant, nearest

__all__ = ["CODES", "SCENARIOS", "Argument", "Scenario", "Touch", "scenario_of"]

Touch = Literal["call", "request", "events", "chunks", "whole"]
"""What a scenario acts on: a call that is not passed on, what the inner binding is asked for, a stream of events,
another stream of bytes, an answer in one piece."""

Argument = Literal["times", "after", "seconds", "events", "content_type", "seed", "rate"]


@dataclass(frozen=True, slots=True)
class Scenario:
    """One row of the table.

    ```python
    SCENARIOS["capacity"].codes  # (3040,)
    ```
    """

    name: str
    stands_for: str
    source: str
    """A public address that tells of it."""
    touches: tuple[Touch, ...]
    argument: Argument = "times"
    """What the value behind the name's colon is: the 2 of `capacity:2`."""
    defaults: Mapping[Argument, Any] = field(default_factory=dict)
    """The arguments it takes beside `times`, with what they are where nothing is said."""
    codes: tuple[int, ...] = ()

    @property
    def takes(self) -> tuple[Argument, ...]:
        return "times", *self.defaults


_ERRORS = "https://developers.cloudflare.com/workers-ai/platform/errors/"
_LIMITS = "https://developers.cloudflare.com/workers-ai/platform/limits/"
_PRICING = "https://developers.cloudflare.com/workers-ai/platform/pricing/"
_WORKERD = "https://github.com/cloudflare/workerd/blob/main/src/cloudflare/internal/ai-api.ts"
_PROVIDER = "https://github.com/cloudflare/ai/tree/main/packages/workers-ai-provider"
_EVENT_SOURCE = "https://html.spec.whatwg.org/multipage/server-sent-events.html"
_UTF8 = "https://encoding.spec.whatwg.org/#interface-textdecoder"
_BACKPRESSURE = "https://streams.spec.whatwg.org/#pipe-chains"

_ROWS = (
    Scenario(
        "capacity",
        "The model has no free place: 3040, and the call may be sent again at once.",
        _ERRORS,
        ("call",),
        codes=(3040,),
    ),
    Scenario(
        "rate-limit",
        "More calls in a minute than the limit of the model's task: 3021, with `retry-after: <seconds>`.",
        _LIMITS,
        ("call",),
        defaults={"seconds": 1.0},
        codes=(3021,),
    ),
    Scenario(
        "daily-neurons",
        "The day's free 10,000 neurons are used up: 3036, and nothing helps before 00:00 UTC.",
        _PRICING,
        ("call",),
        codes=(3036,),
    ),
    Scenario(
        "timeout",
        "No answer begins within `seconds`: 3007.",
        _ERRORS,
        ("call",),
        defaults={"seconds": 0.0},
        codes=(3007,),
    ),
    Scenario(
        "timeout-in-stream",
        "The answer stops after some events, and `seconds` later it ends with an event that carries 3007.",
        _ERRORS,
        ("events",),
        argument="after",
        defaults={"after": 1, "seconds": 0.0},
    ),
    Scenario(
        "stall",
        "After some events nothing comes and nothing ends, until the reader leaves or `seconds` have passed.",
        _PROVIDER,
        ("events", "chunks", "whole"),
        argument="after",
        defaults={"after": 1, "seconds": None},
    ),
    Scenario(
        "drop",
        "The connection breaks after some events: no `[DONE]`, no error event.",
        _EVENT_SOURCE,
        ("events", "chunks", "whole"),
        argument="after",
        defaults={"after": 1},
    ),
    Scenario(
        "split-bytes",
        "The network cuts wherever it likes: every byte comes by itself.",
        _EVENT_SOURCE,
        ("events",),
    ),
    Scenario(
        "merge",
        "The network holds events back and brings several in one chunk.",
        _EVENT_SOURCE,
        ("events",),
        argument="events",
        defaults={"events": 2},
    ),
    Scenario(
        "split-character",
        "Every character of more than one byte is cut in two; without one, `[DONE]` is.",
        _UTF8,
        ("events",),
    ),
    Scenario("no-done", "The stream ends without `[DONE]`, as one that a proxy cut short.", _PROVIDER, ("events",)),
    Scenario("two-dones", "`[DONE]` comes twice, from the model and from what passes it on.", _PROVIDER, ("events",)),
    Scenario(
        "json-for-stream",
        "Some models answer with JSON where a stream was asked for.",
        _PROVIDER,
        ("request",),
    ),
    Scenario(
        "number-response",
        "A piece, or a whole answer, that is made of digits comes as a number.",
        _PROVIDER,
        ("events", "whole"),
    ),
    Scenario(
        "null-finaliser",
        "A last tool call, in a classic stream or a chat's, has null for its id, its type and its name.",
        _PROVIDER,
        ("events",),
    ),
    Scenario(
        "content-type",
        "The content type is wrong: `text/plain` for a stream, for JSON one that env.AI takes for a stream, "
        "`application/json; charset=utf-8`.",
        _WORKERD,
        ("events", "chunks", "whole"),
        argument="content_type",
        defaults={"content_type": None},
    ),
    Scenario(
        "slow-reader",
        "A reader that takes `seconds` over each event: the answer waits for it, and so does the model that makes it.",
        _BACKPRESSURE,
        ("events", "chunks"),
        argument="seconds",
        defaults={"seconds": 1.0},
    ),
)

RANDOM = Scenario(
    "random",
    "Of the calls, the share `rate` has one of the others, which one `seed` decides.",
    "https://principlesofchaos.org/",
    (),
    argument="seed",
    defaults={"seed": 0, "rate": 0.3},
)

SCENARIOS: Mapping[str, Scenario] = {row.name: row for row in _ROWS}
"""The scenarios that have a name, in the order of the documentation."""


def _refusal(code: int) -> Scenario:
    error = REFUSALS[code](Call("@cf/meta/llama-2-7b-chat-int8", {}))
    return Scenario(str(code), f"{error.description}: {code}.", _ERRORS, ("call",), codes=(code,))


CODES: Mapping[int, Scenario] = {code: _refusal(code) for code in sorted(REFUSALS)} | {
    code: row for row in _ROWS for code in row.codes
}
"""Any code of `cfai.errors`, with the scenario that shows it."""


def scenario_of(name: str | int) -> Scenario:
    """The scenario of a name or a code.

    ```python
    scenario_of("3040").name  # "capacity"
    ```
    """
    wanted = str(name).strip().lower().replace("_", "-")
    if wanted.isdecimal() and wanted.isascii():
        if (found := CODES.get(int(wanted))) is not None:
            return found
        rows = {str(code): row for code, row in CODES.items()}
        raise ValueError(f"no error has the code {wanted}{_nearest(wanted, rows)}")
    if wanted == RANDOM.name:
        return RANDOM
    if wanted not in SCENARIOS:
        raise ValueError(f"no fault is called {str(name)!r}{_nearest(wanted, {**SCENARIOS, RANDOM.name: RANDOM})}")
    return SCENARIOS[wanted]


def _nearest(wanted: str, rows: Mapping[str, Scenario]) -> str:
    near = nearest(wanted, rows)
    that_is = "." if near is None else f"{meant(wanted, rows)} That is: {rows[near].stands_for}"
    return f"{that_is} There are: {', '.join(rows)}"
