"""Random faults that a seed decides, the same ones on every machine and event loop."""

from __future__ import annotations

import random

from cfai.bindings.faults.fault import Fault

__all__ = ["draw"]

# What always comes about, and lets a reader that waits go on.
_FOR_ANY_CALL = ("capacity", "rate-limit", "daily-neurons", "timeout")
_FOR_STREAMS = (
    *_FOR_ANY_CALL,
    "timeout-in-stream",
    "stall",
    "drop",
    "split-bytes",
    "merge",
    "split-character",
    "no-done",
    "two-dones",
    "json-for-stream",
    "content-type",
    "slow-reader",
)
_FOR_WHOLE_ANSWERS = (*_FOR_ANY_CALL, "stall", "drop", "content-type")


def draw(fault: Fault, number: int, *, is_stream: bool) -> Fault | None:
    """What the random `fault` has for its call `number`, counted from 0; None for most of them.

    Each call has a generator of its own, so that it does not matter in which order answers come.
    """
    # A string seeds by its SHA-512, which no release of Python changes.
    rng = random.Random(f"{fault.seed}:{number}")
    assert fault.rate is not None
    if rng.random() >= fault.rate:
        return None
    name = rng.choice(_FOR_STREAMS if is_stream else _FOR_WHOLE_ANSWERS)
    after, seconds, events = rng.randint(0, 4), rng.randint(1, 5), rng.randint(2, 5)
    match name:
        case "stall" | "timeout-in-stream":
            return Fault(name, after=after, seconds=seconds)
        case "drop":
            return Fault(name, after=after)
        case "timeout" | "rate-limit":
            return Fault(name, seconds=seconds)
        case "slow-reader":
            return Fault(name, seconds=seconds / 10)
        case "merge":
            return Fault(name, events=events)
    return Fault(name)
