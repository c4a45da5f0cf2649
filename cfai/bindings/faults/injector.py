"""What faults do to a call and to its answer, whoever answers it."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

from cfai.binding import EVENT_STREAM, JSON, Call, Reply
from cfai.bindings.faults.claim import Armed, Claim, Injected
from cfai.bindings.faults.fault import Fault
from cfai.bindings.faults.mix import draw
from cfai.bindings.faults.refusals import REFUSALS
from cfai.bindings.faults.rewriting import number_in_answer
from cfai.bindings.faults.scenarios import RANDOM, Touch
from cfai.bindings.faults.stream import FaultyStream, Pause
from cfai.clock import Clock
from cfai.errors import ConnectionDropped
from cfai.request_id import of_request
from cfai.results import ByteStream

__all__ = ["Injector"]


class Injector:
    """Injects faults into answers.

    ```python
    injector = Injector(parse_faults("capacity:2"), clock=RealClock(), tell=print)
    reply = await injector.send(call, binding.send)
    ```

    clock  by which a fault waits
    tell   is given every fault as it happens
    """

    def __init__(self, faults: Sequence[Fault] = (), *, clock: Clock, tell: Callable[[Injected], None]) -> None:
        self._clock = clock
        self._tell = tell
        self._armed = list(map(Armed, faults))
        self._calls = 0

    def add(self, fault: Fault) -> None:
        self._armed.append(Armed(fault))

    def clear(self) -> None:
        self._armed.clear()

    @property
    def pending(self) -> list[Fault]:
        return [armed.fault for armed in self._armed if armed.is_pending]

    async def send(self, call: Call, answer: Callable[[Call], Awaitable[Reply]]) -> Reply:
        """What `answer` gives, with faults."""
        self._calls += 1
        faults = _FaultsOfCall(self._armed, self._calls, call, self._tell)
        if (refusal := faults.claim_first("call")) is not None:
            return await self._refuse(refusal, call)
        requests = faults.claim("request") if _is_stream(call) else []
        try:
            reply = await answer(_for_whole_answer(call) if requests else call)
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

    async def _refuse(self, claim: Claim, call: Call) -> Reply:
        headers = {"cf-ai-req-id": of_request()}
        fault = claim.fault
        if claim.name == "rate-limit" and fault.seconds is not None:
            headers["retry-after"] = str(math.ceil(fault.seconds))
        elif fault.seconds:
            try:
                await self._clock.sleep(fault.seconds)
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
            source = FaultyStream(body, claims, clock=self._clock, form=call.form, is_events=is_events)
            body = ByteStream(source, clock=self._clock)
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
                        await Pause(self._clock).last(claim.fault.seconds)
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
