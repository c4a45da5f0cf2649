"""One model that is in memory, or that somebody waits for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Generic, Literal, TypeVar

from cfai.bindings.loaded.ticket import Ticket
from cfai.bindings.loaded.weights import Claim, Engine, Weights
from cfai.quantities import FOREVER
from cfai.ready import Ready

__all__ = ["Resident", "State"]

E = TypeVar("E", bound=Engine)

State = Literal["waiting", "loading", "ready", "leaving"]
"""waiting: not in memory, asked for. The others take memory: while a model loads, answers or is idle, and is closed."""


class Resident(Generic[E]):
    """A model, its engines on all devices, and who has or wants one of them."""

    def __init__(self, weights: Weights, devices: Sequence[str | None], *, keep_alive: float) -> None:
        self.weights = weights
        self.state: State = "waiting"
        self.claims: list[Claim] | None = None
        """What it will take, one for each device; None until somebody has looked."""
        self.is_looked_at = False
        self.engines: list[E] = []
        self.waiting: dict[Ticket[E], None] = {}
        self.leases: set[Ticket[E]] = set()
        self.is_pinned = False
        self.keep_alive = keep_alive
        """Seconds from its last answer until it leaves: what the last answer said, or the usual."""
        self.used_at = 0.0
        self.behind: Resident[E] | None = None
        """Another one that must be gone before it is tried again."""
        self.has_failed_for_memory = False
        self.is_measured = False
        """Its claims are what it took when it was loaded, which was too much."""
        self.gone = Ready()
        """Set when what leaves has left."""
        self._devices = devices

    @property
    def name(self) -> str:
        return self.weights.name or self.weights.folder.name

    @property
    def is_in_memory(self) -> bool:
        return self.state != "waiting"

    @property
    def is_idle(self) -> bool:
        return self.state == "ready" and not self.leases and not self.waiting

    @property
    def may_leave(self) -> bool:
        """For another one, once nobody uses it."""
        return self.state == "ready" and not self.is_pinned

    @property
    def first_number(self) -> int:
        """The place in the queue of the first one who waits for it."""
        return min(ticket.number for ticket in self.waiting)

    @property
    def needs(self) -> Counter[str | None]:
        """Bytes by device: what it will take, and once it is loaded what it does."""
        if self.state == "ready":
            sizes = [engine.memory for engine in self.engines]
        else:
            sizes = [claim.bytes for claim in self.claims or ()]
        total: Counter[str | None] = Counter()
        for device, size in zip(self._devices, sizes, strict=False):
            total[device] += size
        return total

    @property
    def leaves_at(self) -> float | None:
        """When it leaves if nobody asks for it again."""
        if not self.is_idle or self.is_pinned or self.keep_alive == FOREVER:
            return None
        return self.used_at + self.keep_alive

    def engine_for(self, ticket: Ticket[E]) -> E:
        if len(self.engines) == 1:
            return self.engines[0]
        if (place := ticket.place(len(self.engines))) is not None:
            return self.engines[place]
        users = Counter(id(each.engine) for each in self.leases)
        return min(self.engines, key=lambda engine: users[id(engine)])
