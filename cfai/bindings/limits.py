"""Cloudflare's limits, held here on request: requests per minute, and the neurons that are free each day."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Collection

from cfai.binding import Binding, Call, Reply
from cfai.bindings.account import Account
from cfai.bindings.asked import Terms
from cfai.bindings.metered import MeteredBinding
from cfai.catalog import Catalog, Model
from cfai.clock import Clock, RealClock
from cfai.cost import FREE_NEURONS, LIMITS, Limit, shown_wait
from cfai.errors import AiError, DailyLimit, RateLimited
from cfai.request_id import of_request
from cfai.tasks.shapes import Fidelity

__all__ = ["LimitsBinding"]

MINUTE = 60.0


class LimitsBinding:
    """`inner` as an account on Cloudflare's free plan has it: 3021 beyond a model's requests per minute, 3036 once the
    day's 10,000 free neurons are used up. Both are 429 with `retry-after` in seconds.

    ```python
    limited = LimitsBinding(FakeBinding.plausible(), limits=["rpm"], clock=VirtualClock())
    ```

    limits    which of them hold; default both
    catalog   whose rates and prices count; default: the built-in one. Where no rate is known for a model, that of its
              task holds; ids that are not in it have none
    clock     by which minutes and days pass; default: the machine's
    account   where the neurons are counted, by whom made it; default: one of this binding's own, of what passes here
    fidelity  "production": the day's end has the code and the words of the wire, 4006. A call's own wins

    A request counts when it is passed on, an answer's neurons when it has ended or its reader has left: what is being
    answered when the last free neuron goes is answered whole.
    """

    def __init__(
        self,
        inner: Binding,
        limits: Collection[Limit] = LIMITS,
        *,
        catalog: Catalog | None = None,
        clock: Clock | None = None,
        account: Account | None = None,
        fidelity: Fidelity = "clean",
    ) -> None:
        self.catalog = catalog or Catalog.builtin()
        self._clock = clock or RealClock()
        if account is None:
            account = Account(clock=self._clock)
            inner = MeteredBinding(inner, account, catalog=self.catalog)
        self.account = account
        self._inner = inner
        self._limits = frozenset(limits)
        self._terms = Terms(fidelity=fidelity)
        self._passed: dict[str, deque[float]] = {}
        """When the requests of the last minute came, by model."""
        self._lock = threading.Lock()
        for name in ("models_here", "search_models", "stats", "warm_up"):  # whether it has them shows what it can
            if hasattr(inner, name):
                setattr(self, name, getattr(inner, name))

    async def send(self, call: Call) -> Reply:
        try:
            model = self.catalog.get(call.model)
        except AiError:
            model = None  # the binding knows it, or refuses it
        if (refusal := self._refusal(call, model)) is not None:
            error, seconds = refusal
            headers = {"cf-ai-req-id": of_request(), "retry-after": str(math.ceil(seconds))}
            return Reply.from_error(error, headers)
        return await self._inner.send(call)

    async def aclose(self) -> None:
        await self._inner.aclose()

    def _refusal(self, call: Call, model: Model | None) -> tuple[AiError, float] | None:
        """What stands in the way of a call, and for how many seconds."""
        if "free" in self._limits and self.account.today >= FREE_NEURONS:
            seconds = self.account.resets_in
            hint = f"they are free again at 00:00 UTC, in {shown_wait(seconds)}"
            return self._daily_limit(call, hint), seconds
        if "rpm" in self._limits and model is not None:
            rate = model.requests_per_minute or self.catalog.task(model.task).requests_per_minute
            if rate is not None and (seconds := self._wait(model.id, rate)) > 0:
                hint = f"{model.id} takes {rate} requests per minute, and the next one in {math.ceil(seconds)} s"
                return RateLimited(hint=hint), seconds
        return None

    def _wait(self, model: str, rate: int) -> float:
        """Seconds until another request may come; 0, and it is counted, where it may come now."""
        now = self._clock.now()
        with self._lock:
            passed = self._passed.setdefault(model, deque())
            while passed and passed[0] <= now - MINUTE:
                passed.popleft()
            if len(passed) < rate:
                passed.append(now)
                return 0.0
            return passed[0] + MINUTE - now

    def _daily_limit(self, call: Call, hint: str) -> DailyLimit:
        try:
            is_clean = self._terms.of(call.options).fidelity == "clean"
        except AiError:  # the call has an option that cannot be; it is refused all the same
            is_clean = True
        return DailyLimit(hint=hint) if is_clean else DailyLimit.on_the_wire(hint=hint)
