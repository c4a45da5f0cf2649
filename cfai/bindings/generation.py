"""One text generation call on its way through an engine: a request in, the events of its answer out.

    request -> token ids -> engine -> pieces -> parts -> events, or one JSON object

A call may ask for several answers to one prompt (`n`); each is a sequence of its own and a choice of the reply.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from anyio import to_thread

from cfai.adapters import Adapter
from cfai.bindings.answering import Answering
from cfai.bindings.asked import Asked, CutNotices, least
from cfai.bindings.loaded import Lease
from cfai.catalog import system_of, template_of
from cfai.cost import Cost
from cfai.errors import AiError, BadInput, ContextExceeded, OutOfCapacity, RequestAborted
from cfai.event_loops import first_of
from cfai.tasks import text_generation
from cfai.tasks.grammars import json_grammar, tool_grammar
from cfai.tasks.output_parser import OutputParser
from cfai.tasks.parts import Answer, CallStart, Finish, Part, Reasoning, Text, TokenLogprob, Usage
from cfai.tasks.text_generation import Tool
from cfai.tasks.tool_formats import THINK_END, Thinking, ToolFormat, tool_format

if TYPE_CHECKING:
    from cfai.engine import LocalEngine, Sampling, TextStream
    from cfai.engine.sequence import Constraint

__all__ = ["Generation"]

LONG_TEXT = 10_000
"""From this many characters on, a prompt is tokenised outside the event loop."""

MOST_BYTES_PER_TOKEN = 16
"""A prompt longer than this times the context window is refused without tokenising it."""


class Generation(Answering):
    """The answer that a model of this process makes.

    adapter        the LoRA adapter that the call names
    keep_alive     seconds after which a stream that has no piece yet gives a comment
    reject_if_busy refuse with 3040 what would have to wait for a slot
    cut_notices    is told of an answer that its model's default length cut
    """

    def __init__(
        self,
        lease: Lease[LocalEngine],
        asked: Asked,
        *,
        adapter: Adapter | None,
        keep_alive: float,
        reject_if_busy: bool,
        cut_notices: CutNotices | None = None,
    ) -> None:
        super().__init__(asked, keep_alive=keep_alive)
        self._adapter = adapter
        self._lease = lease
        self._model = asked.model
        self._shape = asked.shape
        self._reject_if_busy = reject_if_busy
        self._cut_notices = cut_notices
        self._max_tokens = 0
        self._loaded: LocalEngine | None = None
        self._prompt: list[int] = []
        self._choices: list[_Choice] = []
        self._open: list[_Choice] = []
        """The choices that have not ended."""
        self._is_closed = False

    async def begin(self) -> None:
        self._loaded = await self._lease.engine()
        if not self._choices:
            await self._submit()
        first = await self._first()
        if (error := first.stream.error) is not None:
            raise error
        self._has_begun = True
        if self.request.stream:
            self._events.extend(self._shape.begin(self._usage()))

    @property
    def _engine(self) -> LocalEngine:
        if (engine := self._loaded) is None:
            raise RequestAborted()
        return engine

    async def _first(self) -> _Choice:
        """The first open choice that has something to read, once there is one."""
        if len(self._open) == 1:
            await self._open[0].stream.wait()
            return self._open[0]
        stream = await first_of([choice.stream for choice in self._open])
        ready = next(choice for choice in self._open if choice.stream is stream)
        self._open.remove(ready)
        self._open.append(ready)  # the last place, so that no choice is read more often than the others
        return ready

    async def _submit(self) -> None:
        prompt = self._prompt = self._prompt or await self._encoded_prompt()
        if not prompt:
            raise BadInput("Length of '/prompt' must be >= 1 not met", hint="the prompt has no tokens")
        max_tokens = self._asked.max_tokens(len(prompt), capacity=self._engine.capacity, positions=self._positions)
        self._max_tokens = max_tokens
        thinking = self._thinking(prompt)
        constraints: list[Constraint | None] = [None] * self.request.n
        if self._tools or self.request.answer_schema is not None:
            constraints = await to_thread.run_sync(self._constrain, thinking, max_tokens)
        if self._is_closed:
            raise RequestAborted()
        if self._reject_if_busy and self._engine.is_busy:
            raise OutOfCapacity("every slot is taken, and the call says rejectIfBusy")
        choices = []
        # A method of the tokenizer, not of the checkpoint: whoever keeps a choice must not keep the model.
        token_bytes = self._engine.checkpoint.tokenizer.token_bytes
        try:
            for index, constraint in enumerate(constraints):
                stream = self._engine.submit(
                    prompt, self._sampling(max_tokens, index, constraint), adapter=self._adapter
                )
                choices.append(_Choice(index, stream, self._parser(thinking), token_bytes))
        except AiError:
            for choice in choices:
                await choice.stream.aclose()
            raise
        self._choices, self._open = choices, [*choices]

    @property
    def _format(self) -> ToolFormat:
        """How the model writes tool calls."""
        return tool_format(self._engine.checkpoint.prompts.template)

    @property
    def _tools(self) -> tuple[Tool, ...]:
        return () if self.request.tool_choice == "none" else self.request.tools

    def _thinking(self, prompt: Sequence[int]) -> Thinking:
        """Whether thinking is told from the answer. The classic form has no place for it: it stays in the text."""
        prompts = self._engine.checkpoint.prompts
        if self.request.shape in ("classic", "completion") or THINK_END not in (prompts.template or ""):
            return "off"
        return "open" if prompts.opens_thinking(prompt) else "on"

    @property
    def _is_parsed(self) -> bool:
        return bool(self._tools) or self._format.kind == "channels"

    def _parser(self, thinking: Thinking) -> OutputParser | None:
        if not self._is_parsed and thinking == "off":
            return None
        return OutputParser(self._format if self._is_parsed else None, tools=self._tools, thinking=thinking)

    def _constrain(self, thinking: Thinking, max_tokens: int) -> list[Constraint | None]:
        grammar = self._grammar(thinking)
        return [self._engine.checkpoint.constraint(grammar, max_tokens=max_tokens) for _ in range(self.request.n)]

    def _grammar(self, thinking: Thinking) -> str:
        """What the answer must be, where that is not just any text."""
        request, specials = self.request, self._engine.checkpoint.tokenizer.specials
        if self._tools:
            tools = [tool for tool in self._tools if request.forced_tool in (None, tool.name)]
            return tool_grammar(
                self._format,
                tools,
                required=request.tool_choice == "required",
                parallel=request.parallel_tool_calls and request.forced_tool is None,
                answer=request.answer_schema,
                specials=specials,
                thinking=thinking,
            )
        assert request.answer_schema is not None
        return json_grammar(request.answer_schema, form=self._format, specials=specials, thinking=thinking)

    async def _encoded_prompt(self) -> list[int]:
        request = self.request
        length = sum(map(len, (request.prompt or "", *(message.content for message in request.messages or ()))))
        calls = sum(len(call.arguments) for message in request.messages or () for call in message.tool_calls)
        is_long = length + calls > LONG_TEXT or bool(self._tools)
        limits = self._asked.limits
        most = limits.max_input_tokens or least(limits.context_window, self._positions)
        if most is not None and length > most * MOST_BYTES_PER_TOKEN:
            raise ContextExceeded(length // MOST_BYTES_PER_TOKEN, most, hint=f"the prompt has {length} characters")
        return await to_thread.run_sync(self._encode) if is_long else self._encode()

    def _encode(self) -> list[int]:
        request, prompts = self.request, self._engine.checkpoint.prompts
        if request.prompt is not None:
            if request.raw or text_generation.prompt_form(self._asked.terms.as_of) == "raw":
                return prompts.raw(request.prompt)
            messages: list[Mapping[str, Any]] = [{"role": "user", "content": request.prompt}]
        else:
            messages = [message.to_json() for message in request.messages or ()]
            if request.raw:
                return prompts.raw("".join(str(message["content"]) for message in messages))
        if (era := self._model.prompt_era(self._asked.terms.as_of)) is not None and not self._tools:
            if request.prompt is not None and (system := system_of(era)) is not None:
                messages.insert(0, {"role": "system", "content": system})
            return prompts.written(template_of(era.template), messages)
        tools = [tool.to_json() for tool in self._tools]
        template = tools if self._format.is_taught else []
        return prompts.chat(self._format.messages(messages, tools), template, **request.template_options)

    @property
    def _positions(self) -> int | None:
        """Prompt and answer together, in tokens, that the weights were made for."""
        return self._engine.checkpoint.max_positions

    def _sampling(self, max_tokens: int, index: int, constraint: Constraint | None) -> Sampling:
        from cfai.engine import Sampling

        request = self.request
        temperature = request.temperature
        if temperature is None:
            temperature = text_generation.usual_temperature(self._model)
        return Sampling(
            max_tokens=max_tokens,
            temperature=temperature,
            top_p=request.top_p,
            top_k=request.top_k,
            min_p=request.min_p,
            seed=None if request.seed is None else request.seed + index,
            repetition_penalty=request.repetition_penalty,
            frequency_penalty=request.frequency_penalty,
            presence_penalty=request.presence_penalty,
            logit_bias=request.logit_bias,
            stop=request.stop,
            logprobs=request.logprobs,
            constraint=constraint,
            shown=self._format.marks if self._is_parsed else (),
        )

    async def whole(self) -> tuple[dict[str, Any], Usage]:
        """The whole answer as one JSON object, and what it cost."""
        await self.begin()
        answers = []
        for choice in self._choices:
            parts = [part async for piece in choice.stream for part in choice.parts(piece)]
            answers.append(Answer.of([*parts, *choice.last_parts()], choice.finish))
        self._note_cut()
        usage = self._usage()
        return self._shape.whole(answers, usage), usage

    def cost(self) -> Cost:
        """What the answer has cost so far: nothing before its first piece is there."""
        return self._usage().cost if self._has_begun else Cost(neurons=self._model.neurons_of(0, 0))

    def _note_cut(self) -> None:
        if self._cut_notices is not None:
            self._cut_notices.note(self._asked, self._max_tokens, [choice.finish for choice in self._choices])

    def _usage(self) -> Usage:
        """What the answer cost so far; all of it once every choice has ended."""
        streams = [choice.stream for choice in self._choices]
        # All that were made are known at the end; until then, and of an answer that is left, those that were read.
        made = sum(max(stream.completion_tokens, stream.tokens_read) for stream in streams)
        prompt = streams[0].prompt_tokens
        return Usage(
            prompt,
            made,
            streams[0].cached_tokens,
            neurons=self._model.neurons_of(prompt, made, streams[0].cached_tokens),
            reasoning_tokens=sum(choice.reasoning_tokens for choice in self._choices),
        )

    async def _read_on(self) -> None:
        choice = await self._first()
        try:
            piece = choice.stream.take()
        except StopAsyncIteration:
            if not self._is_over:  # else by another task, while this one waited
                self._end(choice)
            return
        for part in choice.parts(piece):
            self._events.extend(self._shape.part(part, choice.index))

    def _end(self, choice: _Choice) -> None:
        for part in choice.last_parts():
            self._events.extend(self._shape.part(part, choice.index))
        self._events.extend(self._shape.finish(choice.finish, choice.index))
        self._open.remove(choice)
        if not self._open:
            self._is_over = True
            self._let_go()
            self._note_cut()
            self._events.extend(self._shape.end(self._usage()))

    async def aclose(self) -> None:
        self._is_over = self._is_closed = True
        self._events.clear()
        for choice in self._choices:
            await choice.stream.aclose()
        self._let_go()

    def _let_go(self) -> None:
        self._loaded = None
        self._lease.close()

    def __del__(self) -> None:
        # A stream that was dropped unread must not hold its slot until somebody reads it. Only a flag is set: this
        # may run in any thread at any place.
        for choice in self._choices:
            choice.stream.is_closed = True


class _Choice:
    """One of the answers: its stream, and what tells text from tool calls and from thinking."""

    def __init__(
        self, index: int, stream: TextStream, parser: OutputParser | None, token_bytes: Callable[[int], bytes]
    ) -> None:
        self.index = index
        self.stream = stream
        self._parser = parser
        self._token_bytes = token_bytes
        self.reasoning_tokens = 0
        """Pieces of thinking, which are all but always a token each."""
        self._has_calls = False
        self._reported = 0
        """Tokens whose log-probabilities went out with an earlier piece."""

    @property
    def finish(self) -> Finish:
        """Why the answer ended, once it has."""
        return "tool_calls" if self._has_calls else self.stream.finish_reason or "stop"

    def parts(self, piece: str) -> Sequence[Part]:
        """What `piece`, the one that was read last, adds to the answer."""
        logprobs = self._logprobs(piece) if self.stream.logprobs else ()
        if self._parser is None:
            return (Text(piece, logprobs),)
        return self._noted(self._parser.put(piece, logprobs))

    def last_parts(self) -> Sequence[Part]:
        """What was held back, once the stream has ended."""
        return self._noted(self._parser.end()) if self._parser is not None else ()

    def _noted(self, parts: Sequence[Part]) -> Sequence[Part]:
        for part in parts:
            self._has_calls = self._has_calls or isinstance(part, CallStart)
            self.reasoning_tokens += isinstance(part, Reasoning)
        return parts

    def _logprobs(self, piece: str) -> tuple[TokenLogprob, ...]:
        tokens = self.stream.logprobs[self._reported : self.stream.tokens_read]
        # A word's token has a space in front, which the answer lacks where it begins: so do the tokens told of it.
        dropped = b" " if self._reported == 0 and not piece.startswith(" ") else b""
        self._reported = self.stream.tokens_read
        told = []
        for token in tokens:
            likelier = zip(token.likeliest, token.their_logprobs, strict=True)
            top = tuple(self._logprob(other, logprob, dropped) for other, logprob in likelier)
            told.append(self._logprob(token.id, token.logprob or 0.0, dropped, top))
            dropped = b""
        return tuple(told)

    def _logprob(self, token: int, logprob: float, dropped: bytes, top: tuple[TokenLogprob, ...] = ()) -> TokenLogprob:
        spelled = self._token_bytes(token).removeprefix(dropped)
        return TokenLogprob(spelled.decode("utf-8", "replace"), spelled, logprob, top)
