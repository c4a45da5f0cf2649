"""Which faults are left, which call has taken one, and the log of what was done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cfai.binding import Call
from cfai.bindings.faults.fault import Fault

__all__ = ["Armed", "Claim", "Injected"]


@dataclass(frozen=True, slots=True)
class Injected:
    """What was done to a call.

    ```python
    print(faults.injected[0])  # call 1, @cf/x/y: capacity:2: refused with 3040
    ```
    """

    number: int
    """Which call it was, from 1."""
    call: Call
    fault: Fault
    what: str

    def __str__(self) -> str:
        return f"call {self.number}, {self.call.model}: {self.fault}: {self.what}"


class Armed:
    """A fault that waits for its calls."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.left = fault.times
        self.has_happened = False
        self.draws = 0
        """How many calls a random fault has decided on."""

    @property
    def is_left(self) -> bool:
        return self.left is None or self.left > 0

    @property
    def is_pending(self) -> bool:
        return not self.has_happened if self.left is None else self.left > 0


class Claim:
    """One call's use of a fault: it counts once the fault has happened, and is given back where it did not."""

    def __init__(self, armed: Armed, fault: Fault, number: int, call: Call, log: Callable[[Injected], None]) -> None:
        self.fault = fault
        self.name = fault.row.name
        self._armed = armed
        self._number = number
        self._call = call
        self._log = log
        self._is_settled = False
        if armed.left is not None:
            armed.left -= 1

    def happened(self, what: str) -> None:
        """Write it down, once."""
        if not self._is_settled:
            self._is_settled = self._armed.has_happened = True
            self._log(Injected(self._number, self._call, self.fault, what))

    def release(self) -> None:
        """The call is over; what has not happened to it may happen to another."""
        if not self._is_settled:
            self._is_settled = True
            if self._armed.left is not None:
                self._armed.left += 1
