"""Who is in memory: every decision about the life of a model, without threads, time or devices of its own.

Somebody tells what has happened (`ask`, `release`, `looked_at`, `loaded`, `failed`, `closed`, or only that time has
passed); `settle` then decides what follows, in one walk over those who wait, who asked first coming first:

    its model is ready            lend it
    its model is in memory        wait
    there is room for its model   load it
    there is room without idle    these leave, least recently used first; then load it
    there is none                 whoever is busy gets no new answers until it is idle, again least recently used first;
                                  who asked later takes no room before

So a model that many ask for cannot keep another one out, nor a small one that comes later a large one. What is lent or
loads never leaves, nor does what is pinned. What leaves takes its memory until it is closed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Generic, Protocol, TypeVar

from cfai.bindings.loaded.resident import Resident
from cfai.bindings.loaded.ticket import Ticket
from cfai.bindings.loaded.weights import Claim, Engine, Weights
from cfai.errors import AiError, NotEnoughMemory, OutOfCapacity, RequestAborted
from cfai.quantities import shown_size
from cfai.ready import Ready

__all__ = ["Lives", "Orders"]

E = TypeVar("E", bound=Engine)


class Orders(Protocol[E]):
    """What `Lives` has others do. They do it later, and tell when it is done."""

    def look_at(self, resident: Resident[E]) -> None:
        """Find out what it will take; then `looked_at`, or `failed`."""

    def load(self, resident: Resident[E]) -> None:
        """Then `loaded`, or `failed`."""

    def close(self, resident: Resident[E]) -> None:
        """Then `closed`."""


class Lives(Generic[E]):
    """The models in memory and those that are waited for.

    orders         does what is decided here
    devices        where each model is
    budget         bytes that models may take, by device; None where nobody knows, and a device that is not in it is not
                   measured yet
    keep_alive     seconds from a model's last answer until it leaves, where its ticket does not say
    waiting_limit  tickets that may wait for one model; one more is refused
    patience       seconds for which a ticket waits for room
    """

    def __init__(
        self,
        orders: Orders[E],
        *,
        devices: Sequence[str | None],
        keep_alive: float,
        waiting_limit: int,
        patience: float,
    ) -> None:
        self.budget: dict[str | None, int | None] = {}
        self.residents: dict[Weights, Resident[E]] = {}
        self.pinned: set[Weights] = set()
        self._orders = orders
        self._devices = devices
        self._keep_alive = keep_alive
        self._waiting_limit = waiting_limit
        self._patience = patience
        self._asked = 0
        self._reserved: set[Weights] = set()
        """Models that get no new answers, since another one waits for their room."""

    # what happens

    def ask(self, ticket: Ticket[E], now: float) -> None:
        resident = self.residents.get(ticket.weights)
        if resident is None:
            resident = Resident(ticket.weights, self._devices, keep_alive=self._keep_alive)
            resident.is_pinned = ticket.weights in self.pinned
            self.residents[ticket.weights] = resident
        if len(resident.waiting) >= self._waiting_limit:
            ticket.refuse(OutOfCapacity(f"{len(resident.waiting)} requests wait for {resident.name} already"))
            return
        self._asked += 1
        ticket.asked_at, ticket.number = now, self._asked
        resident.waiting[ticket] = None
        self.settle(now)

    def release(self, ticket: Ticket[E], now: float) -> None:
        """Its answer is over, or nobody waits for it any more."""
        resident = self.residents.get(ticket.weights)
        if resident is None:
            return
        resident.waiting.pop(ticket, None)
        if ticket in resident.leases:
            resident.leases.remove(ticket)
            resident.used_at = now
        self.settle(now)

    def looked_at(self, resident: Resident[E], claims: list[Claim], now: float) -> None:
        if self._is_there(resident) and resident.state == "waiting":
            resident.claims = claims
        self.settle(now)

    def loaded(self, resident: Resident[E], now: float) -> None:
        """All engines of `resident` are ready."""
        if not self._is_there(resident) or resident.state != "loading":
            return
        resident.state, resident.used_at = "ready", now
        resident.has_failed_for_memory = False
        if self._lacks(Counter()):
            self._took_more_than_it_said(resident)
        self.settle(now)

    def failed(self, resident: Resident[E], error: AiError, now: float) -> None:
        """It cannot be loaded. An idle model may leave for it, and it is tried once more if that was the reason."""
        if not self._is_there(resident) or resident.state not in ("waiting", "loading"):
            return
        idle = self._least_recently_used(only_idle=True)
        was_loading = resident.state == "loading"
        if isinstance(error, NotEnoughMemory) and was_loading and idle and not resident.has_failed_for_memory:
            resident.has_failed_for_memory = True
            resident.behind = idle[0]
            self._leave(idle[0])
        else:
            if isinstance(error, NotEnoughMemory) and was_loading:
                error = NotEnoughMemory(f"{error.description}; {self._who_is_here(resident)}", hint=error.hint)
            self._refuse(resident, error)
            resident.has_failed_for_memory = False
        if was_loading:
            self._leave(resident)
        self.settle(now)

    def closed(self, resident: Resident[E], now: float) -> None:
        """The engines of `resident` are gone."""
        resident.state, resident.engines = "waiting", []
        if not resident.is_measured:  # the weights may be others by the time they are wanted again
            resident.claims, resident.is_looked_at = None, False
        gone, resident.gone = resident.gone, Ready()
        self.settle(now)
        gone.set()

    def pin(self, weights: Weights, now: float) -> None:
        """The model stays in memory from when it is loaded."""
        self.pinned.add(weights)
        self._set_pins(now)

    def unpin(self, weights: Weights, now: float) -> None:
        self.pinned.discard(weights)
        self._set_pins(now)

    def _set_pins(self, now: float) -> None:
        for resident in self.residents.values():
            resident.is_pinned = resident.weights in self.pinned
        self.settle(now)

    def end(self, now: float) -> list[Resident[E]]:
        """All leave, busy or not; who waits is told so. Those that leave are returned."""
        for resident in self.residents.values():
            self._refuse(resident, RequestAborted())
            resident.leases.clear()
            if resident.state in ("loading", "ready"):
                self._leave(resident)
        left = [each for each in self.residents.values() if each.state == "leaving"]
        self.settle(now)
        return left

    # what follows

    def settle(self, now: float) -> None:
        """Decide what follows from what has happened, and from the time."""
        for resident in [*self.residents.values()]:
            self._refuse_the_late(resident, now)
            leaves_at = resident.leaves_at
            has_died = resident.state == "ready" and not all(engine.is_alive for engine in resident.engines)
            if (leaves_at is not None and leaves_at <= now) or (has_died and not resident.leases):
                self._leave(resident)
        for resident in self._least_recently_used(only_idle=True):
            if self._lacks(Counter(), without=self._leaving):  # one that is loaded has grown: adapters came
                self._leave(resident)
        self._reserved.clear()
        is_blocked = False
        for resident in sorted((each for each in self.residents.values() if each.waiting), key=_by_turn):
            if resident.state == "ready":
                self._lend(resident, now)
            elif resident.state == "waiting":
                is_blocked = not self._consider(resident, may_load=not is_blocked) or is_blocked
        if self._reserved:
            self._refuse_who_will_not_wait()
        for resident in [*self.residents.values()]:
            if resident.state == "waiting" and not resident.waiting:
                del self.residents[resident.weights]

    def next_look(self) -> float | None:
        """When time alone will change something."""
        times = [each.leaves_at for each in self.residents.values()]
        times += [min(self._deadlines(each), default=None) for each in self.residents.values()]
        return min((time for time in times if time is not None), default=None)

    def _lend(self, resident: Resident[E], now: float) -> None:
        if resident.weights in self._reserved or not all(engine.is_alive for engine in resident.engines):
            return
        for ticket in [*resident.waiting]:
            del resident.waiting[ticket]
            engine = resident.engine_for(ticket)
            resident.leases.add(ticket)
            resident.used_at = now
            resident.keep_alive = self._keep_alive if ticket.keep_alive is None else ticket.keep_alive
            ticket.lend(engine)

    def _consider(self, resident: Resident[E], *, may_load: bool) -> bool:
        """False if it waits for room, and whoever asked later shall wait as well."""
        if resident.claims is None:
            if not resident.is_looked_at:
                resident.is_looked_at = True
                self._orders.look_at(resident)
            return False
        if (problem := self._never_fits(resident)) is not None:
            self._refuse(resident, problem)
            return True
        if not may_load or (resident.behind is not None and resident.behind.state == "leaving"):
            return False
        resident.behind = None
        if not self._lacks(resident.needs):
            resident.state = "loading"
            self._orders.load(resident)
            return True
        self._make_room(resident.needs)
        return False

    def _make_room(self, needs: Counter[str | None]) -> None:
        """Have others leave, now or, where one of them is busy, when all are idle."""
        going = self._leaving
        chosen: list[Resident[E]] = []
        for each in self._least_recently_used():
            if not self._lacks(needs, without=[*going, *chosen]):
                break
            chosen.append(each)
        if any(each.leases for each in chosen) or self._lacks(needs, without=[*going, *chosen]):
            self._reserved.update(each.weights for each in chosen)
        else:
            for each in chosen:
                self._leave(each)

    # memory

    def _lacks(self, needs: Counter[str | None], *, without: Sequence[Resident[E]] = ()) -> bool:
        """Whether there is no room for `needs` beside those in memory, some of them left out."""
        used = Counter(needs)
        for each in self.residents.values():
            if each.is_in_memory and each not in without:
                used.update(each.needs)
        return any(size > budget for device, size in used.items() if (budget := self.budget.get(device)) is not None)

    def _never_fits(self, resident: Resident[E]) -> NotEnoughMemory | None:
        pinned: Counter[str | None] = Counter()
        for each in self.residents.values():
            if each.is_pinned and each.is_in_memory and each is not resident:
                pinned.update(each.needs)
        for device, size in resident.needs.items():
            budget = self.budget.get(device)
            if budget is not None and size > budget - pinned[device]:
                parts = next((claim.parts for claim in resident.claims or () if claim.parts), "")
                place = f" of {device}" if device else ""
                taken = f", {shown_size(pinned[device])} of it pinned" if pinned[device] else ""
                return NotEnoughMemory(
                    f"{resident.name} needs {shown_size(size)}{f' ({parts})' if parts else ''}, "
                    f"and models may take {shown_size(budget)}{place}{taken}",
                    hint="a smaller model or dtype, fewer cache_tokens or slots, "
                    + ("one pinned model less, " if taken else "")
                    + "or more `memory` (--memory) if the device has it",
                )
        return None

    def _took_more_than_it_said(self, resident: Resident[E]) -> None:
        """Idle ones leave for it; where that is not enough it leaves itself, until there is as much."""
        for each in self._least_recently_used(only_idle=True):
            if self._lacks(Counter(), without=self._leaving) and each is not resident:
                self._leave(each)
        if self._lacks(Counter(), without=self._leaving):
            resident.is_measured = True
            self._leave(resident)

    @property
    def _leaving(self) -> list[Resident[E]]:
        return [each for each in self.residents.values() if each.state == "leaving"]

    def _least_recently_used(self, *, only_idle: bool = False) -> list[Resident[E]]:
        """Those that may leave for another one: the idle ones first, then whoever was asked longest ago."""
        there = [each for each in self.residents.values() if each.may_leave and (not only_idle or each.is_idle)]
        return sorted(there, key=lambda each: (bool(each.leases), each.used_at))

    def _who_is_here(self, other: Resident[E]) -> str:
        here = [
            f"{each.name} {shown_size(each.needs.total())}"
            for each in self.residents.values()
            if each.is_in_memory and each is not other
        ]
        return f"in memory are {', '.join(here)}" if here else "no other model is in memory"

    # ends

    def _leave(self, resident: Resident[E]) -> None:
        if resident.state == "ready":  # from now on its engines do not tell
            sizes = zip(resident.claims or (), resident.engines, strict=True)
            resident.claims = [replace(claim, bytes=engine.memory) for claim, engine in sizes]
        resident.state = "leaving"
        self._orders.close(resident)

    def _refuse(self, resident: Resident[E], error: AiError) -> None:
        for ticket in [*resident.waiting]:
            del resident.waiting[ticket]
            ticket.refuse(error)

    def _refuse_the_late(self, resident: Resident[E], now: float) -> None:
        if all(deadline > now for deadline in self._deadlines(resident)):
            return
        for ticket in [*resident.waiting]:
            if ticket.asked_at + self._patience <= now:
                del resident.waiting[ticket]
                ticket.refuse(OutOfCapacity(f"no room in {self._patience:g} s; {self._who_is_here(resident)}"))

    def _deadlines(self, resident: Resident[E]) -> list[float]:
        waits = resident.state in ("waiting", "ready")  # what loads or leaves comes to an end by itself
        return [ticket.asked_at + self._patience for ticket in resident.waiting] if waits else []

    def _refuse_who_will_not_wait(self) -> None:
        for resident in self.residents.values():
            if resident.state == "loading":
                continue
            for ticket in [*resident.waiting]:
                if ticket.reject_if_busy:
                    del resident.waiting[ticket]
                    ticket.refuse(
                        OutOfCapacity("the memory belongs to models that answer, and the call says rejectIfBusy")
                    )

    def _is_there(self, resident: Resident[E]) -> bool:
        return self.residents.get(resident.weights) is resident


def _by_turn(resident: Resident[E]) -> int:
    return resident.first_number
