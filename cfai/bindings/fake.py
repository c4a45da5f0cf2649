"""A binding that answers from a script: for tests, and for trying a Worker without a model."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from typing import TYPE_CHECKING, Any, Self

from anyio.lowlevel import checkpoint

from cfai.binding import EVENT_STREAM, JSON, Call, Reply
from cfai.bindings.asked import Asked, CutNotices, Terms
from cfai.bindings.call_log import LoggedCall
from cfai.bindings.playing import Chunks, Playing, Room, Timing
from cfai.bindings.registered import Answers, Predicate, Registered, When
from cfai.bindings.script import Answer, InTurn, Script, in_turn, resolved
from cfai.bindings.unexpected import UnexpectedCall
from cfai.catalog import Catalog, Model, parse_as_of
from cfai.clock import Clock, VirtualClock, seconds_since_1970
from cfai.cost import cost_headers
from cfai.errors import AiError, InvalidModelName, LoraUnsupported, NoSuchModel, OutOfCapacity
from cfai.request_id import of_request
from cfai.results import ByteStream, plain
from cfai.tasks.parts import Usage
from cfai.tasks.shapes import Fidelity, parse_fidelity
from cfai.tasks.text_generation import TextGeneration

if TYPE_CHECKING:
    from cfai.tasks import Task

__all__ = ["Answer", "FakeBinding", "InTurn", "LoggedCall", "Script", "UnexpectedCall", "in_turn"]

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
    strict_retired     refuse what Cloudflare no longer serves, or not yet on that day. A call's own wins
    catalog            the models that there are; default those that ship with cfai
    seed               what ids, padding and answers that are made up depend on
    most_calls         calls that are remembered, the newest ones; default all
    on_notice          called with a line that the user of a server should see

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
        strict_retired: bool = False,
        catalog: Catalog | None = None,
        seed: int = 0,
        most_calls: int | None = None,
        on_notice: Callable[[str], None] | None = None,
    ) -> None:
        self.clock = clock or VirtualClock()
        self.calls: list[LoggedCall] = []
        """Every call, in the order in which they came."""
        self.unexpected: list[AssertionError] = []
        """What `check` raises; to be cleared by a test that provokes it."""
        self._answers = Answers(answers or {})
        self._when: list[Registered] = []
        self.strict = strict
        """Whether a call for which there is no answer fails; else an answer is made up."""
        self._timing = Timing(self.clock, first_piece_after, between_pieces)
        self._terms = Terms(
            parse_as_of(as_of) if isinstance(as_of, str) else as_of, parse_fidelity(fidelity), strict_retired
        )
        self.catalog = catalog or Catalog.builtin()
        self._seed = seed
        self._rng = random.Random(seed)
        self._most_calls = most_calls
        self._on_notice = on_notice or (lambda line: None)
        self._cut_notices = CutNotices(self._on_notice)
        self._noted: set[str] = set()
        self._calls_before = 0
        """Those that are not remembered any more."""
        self._cost_before = 0.0
        self._start = seconds_since_1970(self.clock)

    @classmethod
    def plausible(
        cls,
        seed: int = 0,
        *,
        first_piece_after: float = 0.0,
        between_pieces: float = 0.0,
        clock: Clock | None = None,
        as_of: str | date | None = None,
        fidelity: Fidelity = "clean",
        strict_retired: bool = False,
        catalog: Catalog | None = None,
        most_calls: int | None = None,
        on_notice: Callable[[str], None] | None = None,
    ) -> Self:
        """A fake that makes up its answers, the same ones for the same seed and inputs; the rest as in `FakeBinding`.

        ```python
        fake = FakeBinding.plausible()
        await Ai(fake).run("@cf/baai/bge-base-en-v1.5", {"text": "hi"})  # 768 numbers
        ```
        """
        return cls(
            strict=False,
            seed=seed,
            first_piece_after=first_piece_after,
            between_pieces=between_pieces,
            clock=clock,
            as_of=as_of,
            fidelity=fidelity,
            strict_retired=strict_retired,
            catalog=catalog,
            most_calls=most_calls,
            on_notice=on_notice,
        )

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
        return self._cost_before + sum(call.neurons for call in self.calls)

    @property
    def unused(self) -> list[str]:
        """The answers that no call got, as a test would write them."""
        return [text for one in (*self._answers.registered(), *self._when) if (text := one.unused)]

    def check(self) -> None:
        """Raise the first `UnexpectedCall` again, or what else was asserted, in case the code under test caught it."""
        if self.unexpected:
            raise self.unexpected[0]

    async def send(self, call: Call) -> Reply:
        log = self._logged(call)
        await checkpoint()
        headers = {"cf-ai-req-id": of_request()}
        try:
            return await self._answer(log, headers)
        except AiError as error:
            log.error = error
            if isinstance(error, OutOfCapacity):
                headers.setdefault("retry-after", "1")
            return Reply.from_error(error, headers)
        except Exception as error:
            log.error = error
            if isinstance(error, AssertionError):  # one of a function that answers, too
                self.unexpected.append(error)
            raise

    def _logged(self, call: Call) -> LoggedCall:
        self.calls.append(log := LoggedCall(call))
        if self._most_calls is not None and len(self.calls) > self._most_calls:
            self._cost_before += self.calls.pop(0).neurons
            self._calls_before += 1
        return log

    async def _answer(self, log: LoggedCall, headers: dict[str, str]) -> Reply:
        model = self._known(log)
        if model is None:
            return await self._of_unknown(log, headers)
        if not model.generates_text:
            from cfai.tasks import task_for

            return await self._of_task(log, task_for(model), headers)
        asked, room = self._asked(log, model)
        script = await self._script(log, model)
        if script is None:
            from cfai.bindings.plausible import chance, plausible_text

            script = plausible_text(asked, chance(self._seed, log))
        return await self._of_text(log, asked, room, script, headers)

    def _known(self, log: LoggedCall) -> Model | None:
        """The model that is asked; None for one that is known only because there are answers for it."""
        try:
            self.catalog.get(log.model)
        except (NoSuchModel, InvalidModelName):
            if log.model in self._answers or any(one.model == log.model for one in self._when):
                return None
            raise
        return self._terms.of(log.options).model(log.model, self.catalog, on_notice=self._note_retired)

    def _note_retired(self, model_id: str, line: str) -> None:
        if model_id not in self._noted:
            self._noted.add(model_id)
            self._on_notice(line)

    async def _script(self, log: LoggedCall, model: Model) -> Script | None:
        """What the test said; None where an answer is to be made up."""
        names = {log.model, model.id}
        reasons: list[tuple[Registered, str]] = []
        for one in self._candidates(log.model, model.id):
            if not (why := one.why_not(names, log.inputs)):
                return await resolved(one.take(), log)
            reasons.append((one, why))
        if not self.strict:
            return None
        raise UnexpectedCall.of(log, model, self._calls_before + len(self.calls), reasons)

    def _candidates(self, *names: str) -> Iterator[Registered]:
        """Every answer there is, the likelier ones first."""
        yield from self._when
        first = [one for name in dict.fromkeys(names) if (one := self._answers.of(name)) is not None]
        yield from first
        yield from (one for one in self._answers.registered() if one not in first)

    async def _of_text(
        self, log: LoggedCall, asked: Asked, room: Room, script: Script, headers: dict[str, str]
    ) -> Reply:
        if script.is_raw:
            return await self._raw(log, script, headers, EVENT_STREAM if asked.request.stream else ANY_BYTES)
        if _is_whole(script, asked.request):
            return await self._whole(log, script, headers)
        offered = [] if asked.request.tool_choice == "none" else [tool.name for tool in asked.request.tools]
        for call in script.tool_calls if self.strict else ():
            if call["name"] not in offered:
                raise UnexpectedCall.of_tool(log, call["name"], offered)
        headers.update(_lower(script.headers))
        playing = Playing(asked, room, script, log, self._timing.of(script), self._rng, cut_notices=self._cut_notices)
        if asked.request.stream:
            await playing.begin()
            stream = ByteStream(playing, clock=self.clock)
            return Reply(stream, headers={"content-type": EVENT_STREAM, **headers}, cost=playing.cost)
        body, usage = await playing.whole()
        headers = {"content-type": JSON, **cost_headers(usage.neurons), **headers}
        return Reply(body, headers=headers, cost=lambda: usage.cost)

    async def _of_task(self, log: LoggedCall, task: Task, headers: dict[str, str]) -> Reply:
        inputs = task.check(log.inputs)
        script = await self._script(log, task.model)
        if script is None:
            from cfai.bindings.plausible import chance, plausible_answer

            script = plausible_answer(task, inputs, chance(self._seed, log))
        content_type = task.output_schema.get("contentType", JSON)
        body: Any = b"".join(script.chunks()) if script.is_raw else script.json
        if body is not None and (neurons := _neurons(task, inputs, body, content_type)):
            log.neurons = neurons
            headers.update(cost_headers(neurons))
        if script.is_raw:
            return await self._raw(log, script, headers, ANY_BYTES if content_type == JSON else content_type)
        if script.json is None and script.error is None:
            shown = list(task.output_schema.get("properties", ())) or "bytes"
            raise TypeError(
                f"{log.model} does not generate text: answer with a dict of its results ({shown}) or bytes, "
                f"not {script.pieces!r:.80}"
            )
        return await self._whole(log, script, headers)

    async def _of_unknown(self, log: LoggedCall, headers: dict[str, str]) -> Reply:
        """A model that is not in the catalog generates text, if its answer is one."""
        model = Model(log.model)
        script = await self._script(log, model)
        if script is None:
            raise NoSuchModel(log.model)
        if script.is_raw:
            return await self._raw(log, script, headers, ANY_BYTES)
        is_json = script.json is not None and not (isinstance(log.inputs, Mapping) and "response_format" in log.inputs)
        if is_json or (script.error is not None and not (script.pieces or script.tool_calls)):
            return await self._whole(log, script, headers)
        return await self._of_text(log, *self._asked(log, model), script, headers)

    def _asked(self, log: LoggedCall, model: Model) -> tuple[Asked, Room]:
        now = self._start + self.clock.now()
        asked = Asked.of(log, model, self._terms.of(log.options), sees=True, now=now, rng=self._rng)
        if asked.request.lora is not None and "lora" not in model.flags:
            raise LoraUnsupported(model.id)
        prompt_tokens = asked.estimated_tokens()
        return asked, Room(prompt_tokens, asked.max_tokens(prompt_tokens, capacity=sys.maxsize))

    async def _raw(self, log: LoggedCall, script: Script, headers: dict[str, str], content_type: str) -> Reply:
        chunks = Chunks(script, log, self._timing.of(script))
        await chunks.begin()
        headers = {"content-type": content_type, **headers, **_lower(script.headers)}
        return Reply(ByteStream(chunks, clock=self.clock), headers=headers)

    async def _whole(self, log: LoggedCall, script: Script, headers: dict[str, str]) -> Reply:
        headers.update(_lower(script.headers))
        await self._timing.of(script).before(0, first=True)
        if script.error is not None:
            raise script.error
        usage = script.counted()
        if usage is None and isinstance(script.json, Mapping) and isinstance(script.json.get("usage"), Mapping):
            usage = Usage.from_json(script.json["usage"])
        if usage is not None:
            log.usage, log.neurons = usage, usage.neurons or log.neurons
        log.finished = True
        return Reply(plain(script.json), headers={"content-type": JSON, **headers})

    async def models_here(self) -> list[str]:
        """The models that there are answers for; all that generate text where answers are made up."""
        told = [*self._answers, *(one.model for one in self._when if one.model is not None)]
        if not self.strict:
            day = self._terms.as_of
            told += [model.id for model in self.catalog.models() if model.generates_text and model.is_listed(day)]
        return list(dict.fromkeys(told))

    async def aclose(self) -> None:
        """A fake holds nothing."""


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _neurons(task: Task, inputs: Any, body: Any, content_type: str) -> float:
    """What a call to a model without text costs; 0 where that is not known."""
    from cfai.tasks.answers.answer import Answer as Answered

    try:
        return task.neurons(inputs, Answered(body, content_type)) or 0.0
    except (LookupError, TypeError, AttributeError):  # the test's body is not one that the model could give
        return 0.0


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
