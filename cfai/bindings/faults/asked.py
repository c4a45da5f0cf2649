"""The faults of a server: those it was started with, and those that a request asks for in its headers.

    x-cfai-faults: capacity:2,split-bytes

Such a request has the faults that it names in place of the server's, and a count of its own: `capacity:2` are the first
two calls that are made while it is answered. OpenAI's and Cloudflare's packages say which attempt a request is, in
`x-stainless-retry-count`, and the count goes on where the attempt before it stopped, so that their third one gets
through.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import TypeVar

import anyio

from cfai.binding import Call, Reply
from cfai.bindings.faults.claim import Injected
from cfai.bindings.faults.fault import Fault, parse_faults
from cfai.bindings.faults.injector import Injector
from cfai.clock import RealClock
from cfai.errors import BadInput, RequestAborted
from cfai.results import ByteStream

__all__ = ["FAULTS_HEADER", "Answer", "AskedFaults", "faults_are_on", "with_faults"]

FAULTS_HEADER = "x-cfai-faults"
ATTEMPT_HEADER = "x-stainless-retry-count"

MOST_ATTEMPTS = 20
"""What a request may say of itself: a client that tries more often counts no further."""

APART_SECONDS = 0.001
"""How long after the one before it a chunk is sent whose boundaries are the fault. Two that are written one right after
the other may reach a reader as one."""

CUT = frozenset({"split-bytes", "split-character", "merge", "random"})
"""The scenarios whose boundaries are to be met."""

Answer = Callable[[Call], Awaitable[Reply]]
"""What answers a call."""

T = TypeVar("T")


class AskedFaults:
    """Faults for whatever a server answers with.

    ```python
    faults = AskedFaults("capacity:2", tell=print)
    with faults.of_request("POST /run", dict(scope["headers"])):
        reply = await faults.send(call, binding.send)
    ```

    text  the faults of calls for which no request asks for others, as `parse_faults` reads it; `none` is none
    tell  takes a line for each fault as it happens
    """

    def __init__(self, text: str, *, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._standing = self._faults(parse_faults(text))
        self._waiting: set[anyio.CancelScope] = set()

    def of_request(self, name: str, headers: Mapping[bytes, bytes]) -> AbstractContextManager[None]:
        """A context in which the request of that name is answered; tasks that are started in it are in it, too.

        name     as the log has it: `POST /v1/chat/completions`
        headers  the request's, their names in lower case

        Raises `BadInput` if the faults that they ask for cannot be read.
        """
        text = headers.get(FAULTS_HEADER.encode())
        attempts = headers.get(ATTEMPT_HEADER.encode(), b"")
        asked = None if text is None else self._asked(text.decode("latin-1"), _as_count(attempts))
        return _answering(_Asking(name, asked))

    async def send(self, call: Call, answer: Answer) -> Reply:
        """What `answer` gives, with faults."""
        asking = _asking.get()
        faults = self._standing if asking is None or asking.faults is None else asking.faults
        for name in [name for name in call.headers if name.lower() == FAULTS_HEADER]:  # of the call alone
            try:
                faults = self._asked(call.headers[name], 0)
            except BadInput as error:
                return Reply.from_error(error)
            call = replace(call, headers={key: value for key, value in call.headers.items() if key != name})
        try:
            reply = await self._until_the_end(faults.injector.send(call, answer))
        except RequestAborted as error:
            return Reply.from_error(error)
        if not isinstance(reply.body, ByteStream):
            return reply
        source = _Chunks(reply.body, self._until_the_end, APART_SECONDS if faults.are_cuts else 0.0)
        return Reply(ByteStream(source, clock=reply.body.clock), reply.status, reply.headers)

    def end(self) -> None:
        """End what waits, a stall for one: the server ends."""
        for scope in list(self._waiting):
            scope.cancel()

    async def _until_the_end(self, work: Awaitable[T]) -> T:
        with anyio.CancelScope() as scope:
            self._waiting.add(scope)
            try:
                return await work
            finally:
                self._waiting.discard(scope)
        raise RequestAborted

    def _asked(self, text: str, attempts: int) -> _Faults:
        try:
            return self._faults(_left(parse_faults(text), attempts))
        except ValueError as error:
            raise BadInput(f"the header {FAULTS_HEADER}: {error}") from None

    def _faults(self, faults: Sequence[Fault]) -> _Faults:
        injector = Injector(faults, clock=RealClock(), tell=self._say)
        return _Faults(injector, any(one.scenario in CUT for one in faults))

    def _say(self, injected: Injected) -> None:
        asking = _asking.get()
        self._tell(f"{asking.name}, {injected}" if asking else str(injected))


def with_faults(faults: AskedFaults | None, answer: Answer) -> Answer:
    """`answer`, with `faults` if there are any."""
    return answer if faults is None else lambda call: faults.send(call, answer)


def faults_are_on(text: str) -> str:
    """The sentence with which a server says that it was started with faults.

    ```python
    faults_are_on("none")  # faults are on for requests that ask for them in the header x-cfai-faults
    ```
    """
    standing = ", ".join(map(str, parse_faults(text)))
    if not standing:
        return f"faults are on for requests that ask for them in the header {FAULTS_HEADER}"
    return f"faults are on: calls meet {standing}, or what their request's header {FAULTS_HEADER} asks for"


@dataclass(frozen=True, slots=True)
class _Asking:
    """A request that is being answered."""

    name: str
    """How it is named in the log: `POST /v1/chat/completions`."""
    faults: _Faults | None = None
    """What it asks for; None where it leaves that to the server."""


@dataclass(frozen=True, slots=True)
class _Faults:
    injector: Injector
    are_cuts: bool


# A Worker's handler calls env.AI from any task that it starts, and nothing but the context says for which request.
_asking: ContextVar[_Asking | None] = ContextVar("cfai.bindings.faults.asking", default=None)


@contextmanager
def _answering(asking: _Asking) -> Iterator[None]:
    before = _asking.set(asking)
    try:
        yield
    finally:
        _asking.reset(before)


class _Chunks:
    """The chunks of a stream, until the server ends, and with time between them."""

    def __init__(
        self, chunks: ByteStream, until_the_end: Callable[[Awaitable[bytes]], Awaitable[bytes]], apart: float
    ) -> None:
        self._chunks = chunks
        self._until_the_end = until_the_end
        self._apart = apart
        self._is_first = True

    async def __anext__(self) -> bytes:
        chunk = await self._until_the_end(anext(self._chunks))
        if self._apart and not self._is_first:
            await anyio.sleep(self._apart)
        self._is_first = False
        return chunk

    async def aclose(self) -> None:
        await self._chunks.aclose()


def _as_count(text: bytes) -> int:
    return min(int(text[:9]), MOST_ATTEMPTS) if text.isdigit() else 0  # Python refuses to read thousands of digits


def _left(faults: Sequence[Fault], attempts: int) -> list[Fault]:
    """What is left of `faults` after so many attempts: each was refused, or met all the others."""
    left = [fault.times for fault in faults]
    for _ in range(attempts):
        here = [at for at, times in enumerate(left) if times != 0]
        refusal = next((at for at in here if "call" in faults[at].row.touches), None)
        for at in here if refusal is None else [refusal]:
            if (times := left[at]) is not None:
                left[at] = times - 1
    return [replace(fault, times=times) for fault, times in zip(faults, left, strict=True) if times != 0]
