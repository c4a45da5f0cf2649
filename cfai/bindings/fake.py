"""A binding that answers from a script: for tests, and for trying a Worker without a model."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Mapping
from datetime import date
from typing import Any, Self

from anyio.lowlevel import checkpoint

from cfai.binding import EVENT_STREAM, JSON, Call, Reply
from cfai.bindings.asked import Asked, Terms
from cfai.bindings.call_log import LoggedCall
from cfai.bindings.playing import Chunks, Playing, Timing
from cfai.bindings.registered import Answers, Predicate, Registered, When
from cfai.bindings.script import Answer, InTurn, Script, in_turn, resolved, usage_of
from cfai.bindings.unexpected import UnexpectedCall
from cfai.catalog import Catalog, Model, parse_as_of
from cfai.clock import Clock, VirtualClock
from cfai.errors import AiError, InvalidModelName, LoraUnsupported, NoSuchModel, OutOfCapacity
from cfai.request_id import of_request
from cfai.results import ByteStream, plain
from cfai.tasks.shapes import Fidelity, parse_fidelity
from cfai.tasks.text_generation import TextGeneration

__all__ = ["Answer", "FakeBinding", "InTurn", "LoggedCall", "Script", "UnexpectedCall", "in_turn"]

VIRTUAL_START = 1_767_225_600.0
"""The first of January 2026, where a virtual clock begins to count the time on answers."""

ANY_BYTES = "application/octet-stream"


class FakeBinding:
    """Answer from a script, check every call as Workers AI does, and remember it.

    ```python
    fake = FakeBinding({"@cf/meta/llama-2-7b-chat-int8": ["New", " York"]})
    stream = await Ai(fake).run("@cf/meta/llama-2-7b-chat-int8", {"prompt": "hi", "stream": True})
    assert fake.calls[0].inputs["prompt"] == "hi"
    ```

    answers            by the id of the model: a text, its pieces, a dict, bytes, tool calls, an exception, a `Script`,
                       `in_turn(...)`, or a function of the call, sync or async, that answers one of these
    strict             a call for which there is no answer raises `UnexpectedCall`, an `AssertionError`; else an answer
                       is made up
    first_piece_after  seconds until the first piece of an answer
    between_pieces     seconds between two pieces
    clock              by which they pass; default: a `VirtualClock`, which costs no time
    as_of              the day whose limits and wire form apply; default today's. A call's own wins
    fidelity           "clean", or "production" for the oddities of Cloudflare's own answers. A call's own wins
    seed               what ids, padding and answers that are made up depend on

    Ids that the catalog does not have are models once there are answers for them.
    """

    def __init__(
        self,
        answers: Mapping[str, Answer] | None = None,
        *,
        strict: bool = True,
        first_piece_after: float = 0.0,
        between_pieces: float = 0.0,
        clock: Clock | None = None,
        as_of: str | date | None = None,
        fidelity: Fidelity = "clean",
        seed: int = 0,
    ) -> None:
        self.clock = clock or VirtualClock()
        self.calls: list[LoggedCall] = []
        """Every call, in the order in which they came."""
        self.unexpected: list[UnexpectedCall] = []
        """What `check` raises; to be cleared by a test that provokes it."""
        self._answers = Answers(answers or {})
        self._when: list[Registered] = []
        self._strict = strict
        self._timing = Timing(self.clock, first_piece_after, between_pieces)
        self._terms = Terms(parse_as_of(as_of) if isinstance(as_of, str) else as_of, parse_fidelity(fidelity))
        self._catalog = Catalog.builtin()
        self._seed = seed
        self._rng = random.Random(seed)
        self._start = VIRTUAL_START if isinstance(self.clock, VirtualClock) else time.time() - self.clock.now()

    @classmethod
    def plausible(cls, seed: int = 0, **options: Any) -> Self:
        """A fake that makes up its answers, the same ones for the same seed and inputs."""
        return cls(strict=False, seed=seed, **options)

    @property
    def answers(self) -> Answers:
        """What is answered, by the id of the model."""
        return self._answers

    def when(self, predicate: Predicate, model: str | None = None) -> When:
        """`fake.when(lambda inputs: "weather" in inputs["prompt"]).answers("It rains.")`

        The predicate gets the inputs of a call; one that raises does not fit. What is said so comes before `answers`.
        """
        return When(predicate, model, self._when)

    @property
    def neurons(self) -> float:
        """What all calls cost."""
        return sum(call.neurons for call in self.calls)

    @property
    def unused(self) -> list[str]:
        """The answers that no call got, as a test would write them."""
        return [text for one in (*self._answers.registered(), *self._when) if (text := one.unused)]

    def check(self) -> None:
        """Raise the first `UnexpectedCall` again, in case the code under test caught it."""
        if self.unexpected:
            raise self.unexpected[0]

    async def send(self, call: Call) -> Reply:
        log = LoggedCall(call)
        self.calls.append(log)
        await checkpoint()
        headers = {"cf-ai-req-id": of_request()}
        try:
            return await self._answer(log, headers)
        except AiError as error:
            log.error = error
            if isinstance(error, OutOfCapacity):
                headers.setdefault("retry-after", "1")
            return Reply.from_error(error, headers)
        except UnexpectedCall as error:
            log.error = error
            self.unexpected.append(error)
            raise
        except Exception as error:
            log.error = error
            raise

    async def _answer(self, log: LoggedCall, headers: dict[str, str]) -> Reply:
        model = self._known(log.model)
        asked = None
        if model is not None and model.generates_text:
            asked = self._asked(log, model)
        script = await self._script(log, model, asked)
        headers.update({name.lower(): value for name, value in script.headers.items()})
        timing = self._timing.of(script)
        if script.is_raw:
            return await self._raw(log, script, timing, headers)
        if model is None and not _is_bare(script):
            model = Model(log.model)
            asked = self._asked(log, model)
        if asked is None or _is_whole(script, asked.request):
            return await self._whole(log, model, script, timing, headers)
        return await self._played(log, asked, script, timing, headers)

    def _known(self, model_id: str) -> Model | None:
        """The model of that id; None for one that is known only because there are answers for it."""
        try:
            return self._catalog.get(model_id)
        except (NoSuchModel, InvalidModelName):
            if model_id in self._answers or any(one.model == model_id for one in self._when):
                return None
            raise

    def _asked(self, log: LoggedCall, model: Model) -> Asked:
        now = self._start + self.clock.now()
        asked = Asked.of(log, model, self._terms.of(log.options), now=now, rng=self._rng)
        if asked.request.lora is not None and "lora" not in model.flags:
            raise LoraUnsupported(model.id)
        return asked

    async def _script(self, log: LoggedCall, model: Model | None, asked: Asked | None) -> Script:
        names = {log.model} if model is None else {log.model, model.id}
        exact = self._answers.of(log.model)
        others = [one for one in self._answers.registered() if one is not exact]
        reasons: list[tuple[Registered, str]] = []
        for one in (*self._when, *([exact] if exact else []), *others):
            if not (why := one.why_not(names, log.inputs)):
                return await resolved(one.take(), log)
            reasons.append((one, why))
        raise UnexpectedCall.of(log, len(self.calls), reasons)

    async def _raw(self, log: LoggedCall, script: Script, timing: Timing, headers: dict[str, str]) -> Reply:
        chunks = Chunks(script, log, timing)
        await chunks.begin()
        streams = isinstance(log.inputs, Mapping) and bool(log.inputs.get("stream"))
        kind = EVENT_STREAM if streams else ANY_BYTES
        return Reply(ByteStream(chunks, clock=self.clock), headers={"content-type": kind, **headers})

    async def _whole(
        self, log: LoggedCall, model: Model | None, script: Script, timing: Timing, headers: dict[str, str]
    ) -> Reply:
        await timing.before(0, first=True)
        if script.error is not None:
            raise script.error
        if script.json is None:
            raise TypeError(
                f"{log.model} answers with JSON or bytes, give a dict or bytes and not {script.pieces!r:.80}"
            )
        usage = script.counted()
        if usage is None and isinstance(script.json, Mapping) and isinstance(script.json.get("usage"), Mapping):
            usage = usage_of(script.json["usage"])
        log.usage, log.finished = usage, True
        return Reply(plain(script.json), headers={"content-type": JSON, **headers})

    async def _played(
        self, log: LoggedCall, asked: Asked, script: Script, timing: Timing, headers: dict[str, str]
    ) -> Reply:
        prompt_tokens = asked.estimated_tokens()
        max_tokens = asked.max_tokens(prompt_tokens, capacity=sys.maxsize)
        playing = Playing(asked, script, log, timing, prompt_tokens=prompt_tokens, max_tokens=max_tokens, rng=self._rng)
        if asked.request.stream:
            await playing.begin()
            return Reply(ByteStream(playing, clock=self.clock), headers={"content-type": EVENT_STREAM, **headers})
        body, usage = await playing.whole()
        if usage.neurons is not None:
            headers.setdefault("cf-ai-neurons", f"{usage.neurons:.2f}")
        return Reply(body, headers={"content-type": JSON, **headers})

    async def models_here(self) -> list[str]:
        """The models that there are answers for."""
        return list(self._answers)

    async def aclose(self) -> None:
        """A fake holds nothing."""


def _is_bare(script: Script) -> bool:
    """Whether the script says the same to inputs of any kind."""
    return script.json is not None or (script.error is not None and not script.pieces and not script.tool_calls)


_WHOLE: Mapping[str, str] = {
    "classic": "response",
    "chat": "choices",
    "completion": "choices",
    "responses": "output",
}
"""The key that every whole answer of a shape has."""


def _is_whole(script: Script, request: TextGeneration) -> bool:
    """Whether the script's JSON is a result as it stands, and not the value that JSON mode asked for."""
    if script.json is None:
        return False
    if request.answer_schema is None:
        return True
    key = _WHOLE[request.shape]
    return (
        isinstance(script.json, Mapping)
        and key in script.json
        and key not in request.answer_schema.get("properties", {})
    )
