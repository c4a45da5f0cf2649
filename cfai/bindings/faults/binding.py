"""A binding around another one that makes it fail in the ways in which production fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from cfai.binding import Binding, Call, Reply
from cfai.bindings.faults.claim import Injected
from cfai.bindings.faults.fault import Fault, parse_faults
from cfai.bindings.faults.injector import Injector
from cfai.bindings.faults.scenarios import RANDOM
from cfai.clock import Clock, RealClock

__all__ = ["FaultBinding"]


class FaultBinding:
    """`inner`, with faults in what it answers.

    ```python
    faults = FaultBinding(FakeBinding(answers), "capacity:2", Fault("stall", after=3))
    with pytest.raises(OutOfCapacity):
        await Ai(faults).run(model, {"prompt": "hi"})
    ```

    faults  scenarios by name (`"capacity"`), by code (`3040`), in text form (`"drop:2, split-bytes"`), or a `Fault`
    seed    adds random faults, for the share `rate` of the calls
    clock   by which a fault waits; default: the inner binding's, else the machine's
    on_injected  is told of every fault as it happens

    With no fault that fits a call, the inner binding's reply is handed on as it is.

    A call is refused by the first fault added that refuses and has calls left; otherwise every fault that fits acts on
    the answer, those that change what it says before those that interrupt it, and those before the ones that cut it.
    A fault is used up by the calls to which it happened: one that did not come about, since a stream had no fifth
    event, say, waits for the next call.
    """

    def __init__(
        self,
        inner: Binding,
        *faults: str | int | Fault,
        seed: int | None = None,
        rate: float = 0.3,
        clock: Clock | None = None,
        on_injected: Callable[[Injected], None] | None = None,
    ) -> None:
        self.inner = inner
        self.clock: Clock = clock or getattr(inner, "clock", None) or RealClock()
        self.injected: list[Injected] = []
        """What was done to which call, in the order in which it happened."""
        self._on_injected = on_injected
        self._injector = Injector(clock=self.clock, tell=self._write)
        for fault in faults:
            self.add(fault)
        if seed is not None:
            self.add(Fault(RANDOM.name, seed=seed, rate=rate))

    @property
    def inner(self) -> Binding:
        """The binding that the faults happen to, which may be exchanged for another one."""
        return self._inner

    @inner.setter
    def inner(self, inner: Binding) -> None:
        self._inner = inner
        # Whether a binding lists, searches and counts shows in what it has.
        for name in ("models_here", "search_models", "stats"):
            self.__dict__.pop(name, None)
            if hasattr(inner, name):
                setattr(self, name, getattr(inner, name))

    def add(
        self,
        fault: str | int | Fault,
        *,
        times: int | None = None,
        after: int | None = None,
        seconds: float | None = None,
        events: int | None = None,
        content_type: str | None = None,
        model: str | None = None,
        when: Callable[[Call], bool] | None = None,
    ) -> None:
        """Add a fault, or several in text form, behind those that are there; the arguments are those of `Fault`.

        ```python
        faults.add("capacity", times=2)
        faults.add("stall", after=3, model="@cf/meta/llama-2-7b-chat-int8")
        ```
        """
        given: dict[str, Any] = {
            "times": times,
            "after": after,
            "seconds": seconds,
            "events": events,
            "content_type": content_type,
            "model": model,
            "when": when,
        }
        changes = {name: value for name, value in given.items() if value is not None}
        for added in [fault] if isinstance(fault, Fault) else parse_faults(str(fault)):
            self._injector.add(replace(added, **changes))

    def clear(self) -> None:
        """Take every fault away. Answers that are being read keep theirs, and `injected` what was done."""
        self._injector.clear()

    @property
    def pending(self) -> list[Fault]:
        """The faults that are yet to come: those with calls left, and those for every call that no call has met."""
        return self._injector.pending

    async def send(self, call: Call) -> Reply:
        return await self._injector.send(call, self.inner.send)

    async def aclose(self) -> None:
        """Close the inner binding."""
        await self.inner.aclose()

    def _write(self, injected: Injected) -> None:
        self.injected.append(injected)
        if self._on_injected is not None:
            self._on_injected(injected)
