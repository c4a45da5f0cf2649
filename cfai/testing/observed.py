"""The binding of a test, which sees every call and what came of it, and the `Ai` over it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cfai import sse
from cfai.ai import Ai, SessionOptions
from cfai.binding import Binding, Call, Reply
from cfai.bindings.fake import FakeBinding
from cfai.bindings.registered import Answers, Predicate, When
from cfai.clock import Clock
from cfai.results import ByteStream

__all__ = ["Observed", "ObservedAi", "Seen", "TestAi"]


@dataclass(slots=True)
class Seen:
    """One call, and in a few words what came of it."""

    call: Call
    outcome: str = "no answer"


class Observed:
    """Pass calls on to `inner`, which may be exchanged, and remember them."""

    def __init__(self, inner: Binding) -> None:
        self.inner = inner
        self.seen: list[Seen] = []
        self.neurons = 0.0
        self.unexpected: list[AssertionError] = []
        """What doubles have said of calls that they did not expect, which the code under test may have swallowed."""
        self._open: set[_Counted] = set()

    @property
    def calls(self) -> list[Call]:
        return [seen.call for seen in self.seen]

    async def send(self, call: Call) -> Reply:
        __tracebackhide__ = True
        self.seen.append(seen := Seen(call))
        try:
            reply = await self.inner.send(call)
        except BaseException as error:
            seen.outcome = f"{type(error).__name__}: {error}".partition("\n")[0]
            if isinstance(error, AssertionError):
                self.unexpected.append(error)
            raise
        told = reply.headers.get("cf-ai-neurons")
        if told is not None:
            self.neurons += float(told)
        if (refusal := reply.error) is not None:
            seen.outcome = f"{reply.status}, {refusal}"
        elif isinstance(reply.body, ByteStream):
            seen.outcome = f"{reply.status}, a stream that is not read to its end"
            counted = _Counted(self, reply.body, seen, reply.status, counts=told is None)
            self._open.add(counted)
            return Reply(ByteStream(counted, clock=reply.body.clock), reply.status, reply.headers)
        else:
            seen.outcome = f"{reply.status}, {_shortened(reply.body)}"
            if told is None:
                self.neurons += _neurons_in(reply.body)
        return reply

    async def aclose(self) -> None:
        """Close the answers that are still open; `inner` belongs to who made it."""
        for stream in list(self._open):
            await stream.aclose()


class _Counted:
    """A stream's bytes, whose neurons are added up as they pass."""

    def __init__(self, observed: Observed, body: ByteStream, seen: Seen, status: int, *, counts: bool) -> None:
        self._observed = observed
        self._body = body
        self._seen = seen
        self._status = status
        self._chunks = 0
        self._splitter = sse.Splitter() if counts else None

    async def __anext__(self) -> bytes:
        try:
            chunk = await anext(self._body)
        except StopAsyncIteration:
            self._seen.outcome = f"{self._status}, {self._chunks} chunks"
            raise
        except Exception as error:
            self._seen.outcome = f"{self._status}, {self._chunks} chunks, then {type(error).__name__}: {error}"
            raise
        self._chunks += 1
        if self._splitter is not None:
            for event in self._splitter.feed(chunk):
                self._observed.neurons += _neurons_of(event)
        return chunk

    async def aclose(self) -> None:
        self._observed._open.discard(self)
        await self._body.aclose()


def _neurons_of(event: bytes) -> float:
    if b'"neurons"' not in event:  # most events have none, and are not parsed
        return 0.0
    data = sse.Decoder().feed(event)
    return sum(_neurons_in(sse.loads(each)) for each in data)


def _neurons_in(data: Any) -> float:
    usage = data.get("usage") if isinstance(data, Mapping) else None
    neurons = usage.get("neurons") if isinstance(usage, Mapping) else None
    return float(neurons) if isinstance(neurons, int | float) else 0.0


def _shortened(body: Any) -> str:
    text = str(body)
    return text if len(text) <= 100 else f"{text[:100]}..."


class ObservedAi(Ai):
    """An `Ai` that tells what was asked of it: the fixture `local_ai`, and the base of `TestAi`.

    ```python
    await local_ai.run("@cfai/demo/tiny-chat", {"prompt": "hi"})
    assert len(local_ai.calls) == 1
    ```
    """

    def __init__(self, observed: Observed, session: SessionOptions | None = None) -> None:
        super().__init__(observed, session)
        self._observed = observed

    @property
    def calls(self) -> list[Call]:
        """Every call of this test so far, those of its Worker too."""
        return self._observed.calls

    @property
    def seen(self) -> list[Seen]:
        """The same calls, with what came of them."""
        return self._observed.seen

    @property
    def neurons(self) -> float:
        """What this test's calls have cost so far; nothing for models whose price is not known."""
        return self._observed.neurons

    async def _models(self, query: Mapping[str, Any] | None) -> list[dict[str, Any]]:
        return await Ai(self._observed.inner)._models(query)

    def end(self) -> None:
        """Close the loop of `run_sync`, if it was used."""
        if self._own_loop.is_open:
            self.close()


class TestAi(ObservedAi):
    """What the fixtures `ai` and `fake_ai` are: an `Ai` that a test tells what to answer, and asks what was asked.

    ```python
    ai.answers["@cf/meta/llama-2-7b-chat-int8"] = "hello"
    assert ai.calls[0].inputs["prompt"] == "hi"
    ```
    """

    __test__ = False  # no class of tests, whatever its name

    def __init__(
        self, observed: Observed, fake: FakeBinding, clock: Clock, session: SessionOptions | None = None
    ) -> None:
        super().__init__(observed, session)
        self.fake = fake
        """The fake that answers where no other binding was chosen with `--cfai`."""
        self.clock = clock
        """The clock by which streams come: the fake's or a replay's, which costs no time, or the machine's."""

    @property
    def answers(self) -> Answers:
        """What the fake answers, by model id."""
        return self.fake.answers

    def when(self, predicate: Predicate, model: str | None = None) -> When:
        """What the fake answers where `predicate` is true of the inputs.

        ```python
        ai.when(lambda inputs: "weather" in inputs["prompt"]).answers("It rains.")
        ```
        """
        return self.fake.when(predicate, model)

    @property
    def neurons(self) -> float:
        """What this test's calls have cost so far."""
        return self.fake.neurons or super().neurons
