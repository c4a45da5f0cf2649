"""The binding of a test, which sees every call and what came of it, and the `Ai` over it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cfai import sse
from cfai.ai import Ai, SessionOptions
from cfai.binding import Binding, Call, Reply
from cfai.bindings.fake import FakeBinding
from cfai.bindings.registered import Answers, Predicate, When
from cfai.clock import Clock
from cfai.errors import AiError
from cfai.results import ByteStream
from cfai.tasks.told import told_by
from cfai.tasks.usages import total_usage
from cfai.wording import shortened

__all__ = ["Observed", "ObservedAi", "Seen", "TestAi"]


@dataclass(slots=True)
class Seen:
    """One call, and in a few words what came of it."""

    call: Call
    outcome: str = "no answer"
    is_answered: bool = False
    """Whether the whole answer came."""
    usages: list[Mapping[str, Any]] = field(default_factory=list)
    """What the answer has told of its usage."""
    told: float | None = None
    """Its neurons by the header `cf-ai-neurons`, to two decimals."""

    @property
    def neurons(self) -> float | None:
        """What the call has cost: as the answer says, or else by the prices of the catalog. None where nobody knows."""
        usage = total_usage(self.usages) or {}
        neurons = usage.get("neurons")
        if isinstance(neurons, int | float):
            return float(neurons)
        return self.told or _priced(self.call.model, usage) or self.told


def _priced(model: str, usage: Mapping[str, Any]) -> float | None:
    from cfai.catalog import Catalog

    if not usage:
        return None
    try:
        known = Catalog.builtin().get(model)
    except AiError:  # a name of the test's own
        return None
    details = usage.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, Mapping) else 0
    return known.neurons_of(usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0, cached or 0)


class Observed:
    """Pass calls on to `inner`, which may be exchanged, and remember them."""

    def __init__(self, inner: Binding) -> None:
        self.inner = inner
        self.seen: list[Seen] = []
        self.unexpected: list[AssertionError] = []
        """What doubles have said of calls that they did not expect, which the code under test may have swallowed."""
        self._open: set[_Counted] = set()

    @property
    def calls(self) -> list[Call]:
        return [seen.call for seen in self.seen]

    @property
    def neurons(self) -> float:
        return sum(seen.neurons or 0.0 for seen in self.seen)

    async def send(self, call: Call) -> Reply:
        self.seen.append(seen := Seen(call))
        try:
            reply = await self.inner.send(call)
        except BaseException as error:
            seen.outcome = f"{type(error).__name__}: {error}".partition("\n")[0]
            if isinstance(error, AssertionError):
                self.unexpected.append(error)
            raise
        if (told := reply.headers.get("cf-ai-neurons")) is not None:
            seen.told = float(told)
        if (refusal := reply.error) is not None:
            seen.outcome = f"{reply.status}, {refusal}"
        elif isinstance(reply.body, ByteStream):
            seen.outcome = f"{reply.status}, a stream that is not read to its end"
            counted = _Counted(self, reply.body, seen, reply.status)
            self._open.add(counted)
            return Reply(ByteStream(counted, clock=reply.body.clock), reply.status, reply.headers)
        else:
            seen.outcome = f"{reply.status}, {shortened(str(reply.body), 100)}"
            seen.is_answered = True
            if isinstance(reply.body, Mapping) and (usage := told_by(reply.body).usage):
                seen.usages.append(usage)
        return reply

    async def aclose(self) -> None:
        """Close the answers that are still open; `inner` belongs to who made it."""
        for stream in list(self._open):
            await stream.aclose()


class _Counted:
    """A stream's bytes, whose usage is noted as they pass."""

    def __init__(self, observed: Observed, body: ByteStream, seen: Seen, status: int) -> None:
        self._observed = observed
        self._body = body
        self._seen = seen
        self._status = status
        self._chunks = 0
        self._splitter = sse.Splitter()

    async def __anext__(self) -> bytes:
        try:
            chunk = await anext(self._body)
        except StopAsyncIteration:
            self._seen.outcome = f"{self._status}, {self._chunks} chunks"
            self._seen.is_answered = True
            raise
        except Exception as error:
            self._seen.outcome = f"{self._status}, {self._chunks} chunks, then {type(error).__name__}: {error}"
            raise
        self._chunks += 1
        for event in self._splitter.feed(chunk):
            self._seen.usages += _usages_of(event)
        return chunk

    async def aclose(self) -> None:
        self._observed._open.discard(self)
        await self._body.aclose()


def _usages_of(event: bytes) -> list[Mapping[str, Any]]:
    if b'"usage"' not in event:  # most events have none, and are not parsed
        return []
    data = [sse.loads(each) for each in sse.Decoder().feed(event)]
    return [usage for each in data if isinstance(each, Mapping) and (usage := told_by(each).usage)]


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

    def end(self, closing: Callable[[], Awaitable[None]]) -> None:
        """Close the loop of `run_sync`, if it was used, and before it what `closing` closes there."""
        if self._own_loop.is_open:
            self._own_loop.run(_done(closing))
            self._own_loop.close()


async def _done(closing: Callable[[], Awaitable[None]]) -> None:
    await closing()


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
