"""A binding around another one that makes it fail in the ways in which production fails."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from cfai.binding import EVENT_STREAM, JSON, Binding, Call, Reply
from cfai.bindings.faults.claim import Armed, Claim, Injected
from cfai.bindings.faults.fault import Fault, parse_faults
from cfai.bindings.faults.mix import draw
from cfai.bindings.faults.refusals import REFUSALS
from cfai.bindings.faults.rewriting import number_in_answer
from cfai.bindings.faults.scenarios import RANDOM, Touch
from cfai.bindings.faults.stream import FaultyStream, Pause
from cfai.clock import Clock, RealClock
from cfai.errors import ConnectionDropped
from cfai.request_id import of_request
from cfai.results import ByteStream

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
        self._armed: list[Armed] = []
        self._calls = 0
        for fault in faults:
            self.add(fault)
        if seed is not None:
            self.add(Fault(RANDOM.name, seed=seed, rate=rate))
        # Whether a binding lists, searches and counts shows in what it has.
        for name in ("models_here", "search_models", "stats"):
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
        added = [fault] if isinstance(fault, Fault) else parse_faults(str(fault))
        self._armed += [Armed(replace(one, **changes)) for one in added]

    def clear(self) -> None:
        """Take every fault away. Answers that are being read keep theirs, and `injected` what was done."""
        self._armed.clear()

    @property
    def pending(self) -> list[Fault]:
        """The faults that are yet to come: those with calls left, and those for every call that no call has met."""
        return [armed.fault for armed in self._armed if armed.is_pending]

    async def send(self, call: Call) -> Reply:
        self._calls += 1
        faults = _FaultsOfCall(self._armed, self._calls, call, self._write)
        if (refusal := faults.claim_first("call")) is not None:
            return await self._refuse(refusal, call)
        requests = faults.claim("request") if _is_stream(call) else []
        try:
            reply = await self.inner.send(_for_whole_answer(call) if requests else call)
            if reply.error is None and not isinstance(reply.body, ByteStream):
                for claim in requests:
                    claim.happened("the binding was asked for an answer in one piece")
        finally:
            for claim in requests:
                claim.release()
        if reply.error is not None:
            return reply
        if isinstance(reply.body, ByteStream):
            return self._in_stream(reply, reply.body, call, faults)
        return await self._in_whole_answer(reply, faults)

    async def aclose(self) -> None:
        """Close the inner binding."""
        await self.inner.aclose()

    def _write(self, injected: Injected) -> None:
        self.injected.append(injected)
        if self._on_injected is not None:
            self._on_injected(injected)

    async def _refuse(self, claim: Claim, call: Call) -> Reply:
        headers = {"cf-ai-req-id": of_request()}
        fault = claim.fault
        if claim.name == "rate-limit" and fault.seconds is not None:
            headers["retry-after"] = str(math.ceil(fault.seconds))
        elif fault.seconds:
            try:
                await self.clock.sleep(fault.seconds)
            except BaseException:
                claim.release()
                raise
        error = REFUSALS[fault.row.codes[0]](call)
        claim.happened(f"refused with {error.code}")
        return Reply.from_error(error, headers)

    def _in_stream(self, reply: Reply, body: ByteStream, call: Call, faults: _FaultsOfCall) -> Reply:
        is_events = reply.headers.get("content-type", "").startswith(EVENT_STREAM)
        claims = faults.claim("events" if is_events else "chunks")
        headers = _with_content_type(reply.headers, "text/plain", claims)
        if claims := [claim for claim in claims if claim.name != "content-type"]:
            source = FaultyStream(body, claims, clock=self.clock, form=call.form, is_events=is_events)
            body = ByteStream(source, clock=self.clock)
        return Reply(body, reply.status, headers) if headers is not reply.headers or claims else reply

    async def _in_whole_answer(self, reply: Reply, faults: _FaultsOfCall) -> Reply:
        claims = faults.claim("whole")
        usual = "text/plain" if isinstance(reply.body, bytes) else f"{JSON}; charset=utf-8"
        body, headers = reply.body, _with_content_type(reply.headers, usual, claims)
        try:
            for claim in claims:
                match claim.name:
                    case "number-response" if (changed := number_in_answer(body)) is not body:
                        body = changed
                        claim.happened(f"the answer {body['response']} as a number")
                    case "stall":
                        claim.happened("nothing of the answer")
                        await Pause(self.clock).last(claim.fault.seconds)
                    case "drop":
                        claim.happened("the connection dropped before the answer")
                        raise ConnectionDropped()
        finally:
            for claim in claims:
                claim.release()
        return Reply(body, reply.status, headers) if claims else reply


class _FaultsOfCall:
    """What may be done to one call. Functions that pick calls are asked once, before anything is open."""

    def __init__(self, armed: Sequence[Armed], number: int, call: Call, log: Callable[[Injected], None]) -> None:
        self._number = number
        self._call = call
        self._log = log
        fitting = [one for one in armed if one.fault.fits(call)]
        self._faults = [(one, fault) for one in fitting if (fault := _drawn(one, call)) is not None]

    def claim(self, touch: Touch) -> list[Claim]:
        """Take every fault that acts on `touch`."""
        return [self._claim(armed, fault) for armed, fault in self._faults if _is_for(touch, armed, fault)]

    def claim_first(self, touch: Touch) -> Claim | None:
        """Take the first fault that acts on `touch`."""
        first = next(((armed, fault) for armed, fault in self._faults if _is_for(touch, armed, fault)), None)
        return None if first is None else self._claim(*first)

    def _claim(self, armed: Armed, fault: Fault) -> Claim:
        return Claim(armed, fault, self._number, self._call, self._log)


def _is_for(touch: Touch, armed: Armed, fault: Fault) -> bool:
    return armed.is_left and touch in fault.row.touches


def _drawn(armed: Armed, call: Call) -> Fault | None:
    """The fault itself; of a random one, what it has for this call."""
    if armed.fault.row is not RANDOM:
        return armed.fault
    armed.draws += 1
    return draw(armed.fault, armed.draws - 1, is_stream=_is_stream(call))


def _is_stream(call: Call) -> bool:
    return isinstance(call.inputs, Mapping) and call.inputs.get("stream") is True


def _for_whole_answer(call: Call) -> Call:
    # OpenAI's endpoints refuse stream_options where there is no stream.
    inputs = {name: value for name, value in call.inputs.items() if name not in ("stream", "stream_options")}
    return replace(call, inputs=inputs)


def _with_content_type(headers: Mapping[str, str], usual: str, claims: Sequence[Claim]) -> Mapping[str, str]:
    for claim in claims:
        if claim.name == "content-type":
            kind = claim.fault.content_type or usual
            headers = {**headers, "content-type": kind}
            claim.happened(f"the content type {kind}")
    return headers
