"""The memory machine: whatever happens in whatever order, memory is not exceeded, nobody who answers is unloaded,
nothing is loaded twice, nobody waits for ever, and nothing is left in the end.

`CFAI_LONG=1` takes ten thousand steps and more.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cfai.bindings.loaded import Claim, Lives, Resident, Ticket, Weights
from cfai.errors import EngineFailure, NotEnoughMemory
from cfai.quantities import FOREVER
from tests.bindings.loaded.doubles import Device, EngineDouble, weights_of

IS_LONG = bool(os.environ.get("CFAI_LONG"))
EXAMPLES, STEPS = (400, 50) if IS_LONG else (100, 50)

SIZES = {"tiny": 1, "small": 2, "middle": 4, "large": 6, "whole": 10, "huge": 12}
BUDGET = 10
PATIENCE = 60.0
WAITING_LIMIT = 3
KEEP_ALIVES = [None, 0.0, 5.0, 100.0, FOREVER]

models = st.sampled_from(sorted(SIZES))


class MemoryMachine(RuleBasedStateMachine):
    """Drives `Lives` by hand: the orders it gives are carried out in any order, at any time, with any outcome."""

    @initialize(devices=st.sampled_from([1, 2]), keep_alive=st.sampled_from(KEEP_ALIVES[1:]))
    def begin(self, devices: int, keep_alive: float) -> None:
        self.now = 0.0
        self.devices = [Device(BUDGET) for _ in range(devices)]
        names = [f"cuda:{index}" for index in range(devices)]
        self.lives: Lives[EngineDouble] = Lives(
            self, devices=names, keep_alive=keep_alive, waiting_limit=WAITING_LIMIT, patience=PATIENCE
        )
        self.lives.budget = dict.fromkeys(names, BUDGET)
        self.tickets: list[Ticket[EngineDouble]] = []
        self.to_look_at: list[Resident[EngineDouble]] = []
        self.to_load: list[Resident[EngineDouble]] = []
        self.loading: list[Resident[EngineDouble]] = []
        self.to_close: list[Resident[EngineDouble]] = []
        self.ended: set[Resident[EngineDouble]] = set()
        """Those that leave although somebody uses them: everything is being closed."""

    # what `Lives` orders

    def look_at(self, resident: Resident[EngineDouble]) -> None:
        self.to_look_at.append(resident)

    def load(self, resident: Resident[EngineDouble]) -> None:
        assert resident not in self.to_load + self.loading + self.to_close
        assert not resident.engines
        self.to_load.append(resident)

    def close(self, resident: Resident[EngineDouble]) -> None:
        assert resident not in self.to_close, "closed twice"
        if not self.is_ending:
            assert not resident.leases, "evicted while somebody uses it"
            has_died = any(not engine.is_alive for engine in resident.engines)
            was_loading = resident in self.to_load + self.loading
            assert not resident.is_pinned or has_died or was_loading, "evicted although pinned"
        for orders in (self.to_load, self.loading):
            if resident in orders:
                orders.remove(resident)
        self.to_close.append(resident)

    is_ending = False

    # what happens

    @rule(
        model=models,
        keep_alive=st.sampled_from(KEEP_ALIVES),
        rejects=st.booleans(),
        session=st.sampled_from([None, "s"]),
    )
    def somebody_asks(self, model: str, keep_alive: float | None, rejects: bool, session: str | None) -> None:
        rejects = rejects and session is None
        ticket: Ticket[EngineDouble] = Ticket(
            weights_of(model), session=session, keep_alive=keep_alive, reject_if_busy=rejects
        )
        self.tickets.append(ticket)
        self.lives.ask(ticket, self.now)

    @rule(model=models, keep_alive=st.sampled_from(KEEP_ALIVES))
    def somebody_is_answered(self, model: str, keep_alive: float | None) -> None:
        """All that a call needs, one thing after the other, as far as the others let it go on."""
        ticket: Ticket[EngineDouble] = Ticket(weights_of(model), keep_alive=keep_alive)
        self.tickets.append(ticket)
        self.lives.ask(ticket, self.now)
        self._carry_out_for(weights_of(model))
        if ticket.is_decided:
            self._give_back(ticket)

    @precondition(lambda self: self.tickets)
    @rule(data=st.data())
    def somebody_ends_or_leaves(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(self.tickets))
        self._give_back(ticket)
        self.lives.release(ticket, self.now)  # once more changes nothing

    @precondition(lambda self: self.to_look_at)
    @rule(data=st.data(), fails=st.sampled_from([False, False, False, True]))
    def a_model_is_looked_at(self, data: st.DataObject, fails: bool) -> None:
        resident = data.draw(st.sampled_from(self.to_look_at))
        self._look_at(resident, fails=fails)

    @precondition(lambda self: self.to_load)
    @rule(data=st.data())
    def a_model_begins_to_load(self, data: st.DataObject) -> None:
        self._begin_to_load(data.draw(st.sampled_from(self.to_load)))

    @precondition(lambda self: self.loading)
    @rule(data=st.data(), outcome=st.sampled_from(["well", "well", "well", "damaged", "no memory"]))
    def a_load_ends(self, data: st.DataObject, outcome: str) -> None:
        self._end_load(data.draw(st.sampled_from(self.loading)), outcome)

    @precondition(lambda self: self.to_close)
    @rule(data=st.data())
    def a_model_is_closed(self, data: st.DataObject) -> None:
        self._close(data.draw(st.sampled_from(self.to_close)))

    @rule(model=models)
    def a_model_is_pinned(self, model: str) -> None:
        self.lives.pin(weights_of(model), self.now)

    @rule(model=models)
    def a_model_is_unpinned(self, model: str) -> None:
        self.lives.unpin(weights_of(model), self.now)

    @rule(seconds=st.sampled_from([0.5, 4.0, 20.0, 100.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.lives.settle(self.now)

    @precondition(lambda self: any(each.state == "ready" for each in self.lives.residents.values()))
    @rule(data=st.data())
    def an_engine_dies(self, data: st.DataObject) -> None:
        ready = [each for each in self.lives.residents.values() if each.state == "ready"]
        data.draw(st.sampled_from(ready)).engines[-1].is_alive = False
        self.lives.settle(self.now)

    @rule(really=st.sampled_from([False, False, False, False, True]))
    def everything_is_closed(self, really: bool) -> None:
        if really:
            self.is_ending = True
            self.ended.update(self.lives.end(self.now))
            self.is_ending = False

    # how it is done

    def _give_back(self, ticket: Ticket[EngineDouble]) -> None:
        self.tickets.remove(ticket)
        self.lives.release(ticket, self.now)
        ticket.give_back()

    def _look_at(self, resident: Resident[EngineDouble], *, fails: bool = False) -> None:
        self.to_look_at.remove(resident)
        if fails:
            self.lives.failed(resident, EngineFailure("no weights"), self.now)
        else:
            size = SIZES[resident.name]
            self.lives.looked_at(resident, [Claim(size) for _ in self.devices], self.now)

    def _begin_to_load(self, resident: Resident[EngineDouble]) -> None:
        self.to_load.remove(resident)
        self.loading.append(resident)
        for device in self.devices:
            resident.engines.append(EngineDouble(resident.name, SIZES[resident.name], device))

    def _end_load(self, resident: Resident[EngineDouble], outcome: str = "well") -> None:
        self.loading.remove(resident)
        for engine in resident.engines:
            engine.finish()
        if outcome == "well":
            self.lives.loaded(resident, self.now)
        else:
            resident.engines[0].is_alive = False
            kind = NotEnoughMemory if outcome == "no memory" else EngineFailure
            self.lives.failed(resident, kind(outcome), self.now)

    def _carry_out_for(self, weights: Weights) -> None:
        """What is ordered for one model, and what must leave for it."""
        done = True
        while done:
            done = False
            for orders, carry_out in (
                (self.to_look_at, self._look_at),
                (self.to_load, self._begin_to_load),
                (self.loading, self._end_load),
                (self.to_close, self._close),
            ):
                for resident in [each for each in orders if each.weights == weights or orders is self.to_close]:
                    if resident in orders:
                        carry_out(resident)
                        done = True

    def _close(self, resident: Resident[EngineDouble]) -> None:
        self.to_close.remove(resident)
        self.ended.discard(resident)
        for engine in resident.engines:
            engine.close()
        self.lives.closed(resident, self.now)

    # what always holds

    @invariant()
    def memory_is_not_exceeded(self) -> None:
        for device in self.devices:
            assert not device.wrongs
        used = sum(each.needs["cuda:0"] for each in self.lives.residents.values() if each.is_in_memory)
        assert used <= BUDGET, {each.name: each.state for each in self.lives.residents.values()}

    @invariant()
    def a_ticket_is_one_thing(self) -> None:
        for ticket in self.tickets:
            resident = self.lives.residents.get(ticket.weights)
            waits = resident is not None and ticket in resident.waiting
            uses = resident is not None and ticket in resident.leases
            assert waits != ticket.is_decided, "it waits, or it is decided"
            assert not (waits and uses)
            if uses:
                assert resident is not None
                assert resident.state == "ready"
                assert ticket.engine in resident.engines
        for resident in self.lives.residents.values():
            assert resident.waiting.keys() <= {*self.tickets}
            assert resident.leases <= {*self.tickets}
            assert len(resident.waiting) <= WAITING_LIMIT

    @invariant()
    def nobody_waits_for_nothing(self) -> None:
        """Who waits does so for an order that is not carried out yet, or for somebody who uses a model."""
        if not self.to_look_at + self.to_load + self.loading + self.to_close:
            residents = [*self.lives.residents.values()]
            waiting = [each.name for each in residents if each.waiting]
            assert not waiting or any(each.leases for each in residents)

    @invariant()
    def nobody_waits_too_long(self) -> None:
        for resident in self.lives.residents.values():
            if resident.state in ("waiting", "ready"):
                assert all(self.now < ticket.asked_at + PATIENCE for ticket in resident.waiting)

    def teardown(self) -> None:
        if not hasattr(self, "lives"):
            return
        for ticket in [*self.tickets]:
            if ticket.engine is not None:
                self._give_back(ticket)
        self._carry_out()
        assert all(ticket.is_decided for ticket in self.tickets), "every request that waits ends"
        for ticket in [*self.tickets]:
            self._give_back(ticket)
        for model in SIZES:
            self.lives.unpin(weights_of(model), self.now)
        self.lives.end(self.now)
        self._carry_out()
        assert not self.lives.residents
        assert self.lives.next_look() is None
        assert not any(device.taken for device in self.devices)

    def _carry_out(self) -> None:
        """Do all that is ordered, and end what is lent meanwhile, until nothing is left to do."""
        while self.to_look_at or self.to_load or self.loading or self.to_close:
            for orders, carry_out in (
                (self.to_look_at, self._look_at),
                (self.to_load, self._begin_to_load),
                (self.loading, self._end_load),
                (self.to_close, self._close),
            ):
                for resident in [*orders]:
                    if resident in orders:
                        carry_out(resident)
            for ticket in [*self.tickets]:
                if ticket.engine is not None:
                    self._give_back(ticket)
            self.memory_is_not_exceeded()


MemoryMachine.TestCase.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=STEPS,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestMemoryMachine = MemoryMachine.TestCase
