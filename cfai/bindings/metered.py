"""What every answer costs, counted as it passes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from cfai import sse
from cfai.binding import Binding, Call, Reply, Stats
from cfai.bindings.account import Account
from cfai.catalog import Catalog, Model
from cfai.cost import USD_PER_NEURON, Cost
from cfai.errors import AiError
from cfai.results import ByteStream
from cfai.tasks.parts import Usage
from cfai.tasks.told import told_by
from cfai.tasks.usages import total_usage
from cfai.tasks.words import tokens_in

__all__ = ["MeteredBinding", "Told", "cost_of"]

OnAnswer = Callable[[str, Cost], None]


class MeteredBinding:
    """`inner`, with what each of its answers costs put into an account.

    ```python
    metered = MeteredBinding(LocalBinding(), on_answer=lambda model, cost: print(model, cost))
    metered.account.today  # neurons
    ```

    account    where it is put; default: one of this binding's own
    catalog    whose prices count where an answer tells its tokens and no neurons; default: the built-in one
    on_answer  called with the model's id and the cost, once an answer has ended or its reader has left

    A stream that is left costs what was made until then. A binding on this machine knows that exactly; of another
    server's it is estimated from what came.
    """

    def __init__(
        self,
        inner: Binding,
        account: Account | None = None,
        *,
        catalog: Catalog | None = None,
        on_answer: OnAnswer | None = None,
    ) -> None:
        self._inner = inner
        self.account = account or Account()
        self.catalog = catalog or Catalog.builtin()
        self._on_answer = on_answer
        self._neurons: defaultdict[str, float] = defaultdict(float)
        """By model, since this binding was made."""
        for name in ("models_here", "search_models", "warm_up"):  # whether it has them shows what it can
            if hasattr(inner, name):
                setattr(self, name, getattr(inner, name))

    async def send(self, call: Call) -> Reply:
        reply = await self._inner.send(call)
        if reply.error is not None:
            return reply
        if isinstance(reply.body, ByteStream):
            if (counted := reply.cost) is not None:
                # The stream must not hold itself: one that is dropped unread has to end.
                reply.body.on_close(lambda: self._note(call, counted()))
                return reply
            told = Told()
            stream = _Metered(reply.body, told, lambda: self._add(call, reply, told))
            return Reply(ByteStream(stream, clock=reply.body.clock), reply.status, reply.headers)
        self._add(call, reply, None)
        return reply

    def stats(self) -> dict[str, Any]:
        """Those of `inner`, and under `neurons` the account, with what each model has cost since the start."""
        stats = self._inner.stats() if isinstance(self._inner, Stats) else {}
        by_model = {model: round(neurons, 6) for model, neurons in self._neurons.items()}
        return {**stats, "neurons": {**self.account.to_json(), "models": by_model}}

    async def aclose(self) -> None:
        await self._inner.aclose()

    def _add(self, call: Call, reply: Reply, told: Told | None) -> None:
        self._note(call, cost_of(call, reply, told, self._model(call.model)))

    def _note(self, call: Call, cost: Cost) -> None:
        model = self._model(call.model)
        name = call.model if model is None else model.id
        if cost.neurons is not None:
            self._neurons[name] += cost.neurons
        self.account.add(name, cost)
        if self._on_answer is not None:
            self._on_answer(name, cost)

    def _model(self, name: str) -> Model | None:
        try:
            return self.catalog.get(name)
        except AiError:
            return None


class Told:
    """What the events of a stream tell of its cost, as they come."""

    def __init__(self) -> None:
        self.usages: list[Mapping[str, Any]] = []
        self.events = 0
        self.has_ended = False
        self._splitter = sse.Splitter()

    def feed(self, chunk: bytes) -> None:
        for event in self._splitter.feed(chunk):
            self.events += event.startswith(b"data:")
            if b'"usage"' not in event:  # most events have none, and are not parsed
                continue
            for data in sse.Decoder().feed(event):
                value = sse.loads(data)
                if isinstance(value, Mapping) and (usage := told_by(value).usage):
                    self.usages.append(usage)


class _Metered:
    """A stream's bytes, which `told` reads too, and a call to `on_end` when it has ended or was left."""

    def __init__(self, body: ByteStream, told: Told, on_end: Callable[[], None]) -> None:
        self._body = body
        self._told = told
        self._on_end: Callable[[], None] | None = on_end

    async def __anext__(self) -> bytes:
        try:
            chunk = await anext(self._body)
        except StopAsyncIteration:
            self._told.has_ended = True
            raise
        self._told.feed(chunk)
        return chunk

    async def aclose(self) -> None:
        await self._body.aclose()
        if (on_end := self._on_end) is not None:
            self._on_end = None
            on_end()


def cost_of(call: Call, reply: Reply, told: Told | None, model: Model | None) -> Cost:
    """What an answer has cost: as the binding has counted, or else as the answer tells.

    ```python
    cost_of(call, Reply({"response": "hi", "usage": {...}}), None, model).usd
    ```

    told   what its events have told, where it is a stream
    model  whose prices count where the answer tells no neurons; None knows none
    """
    if reply.cost is not None:
        return reply.cost()
    if told is None:
        usage = reply.body.get("usage") if isinstance(reply.body, Mapping) else None
        return _priced(usage if isinstance(usage, Mapping) else None, _by_headers(reply), model)
    if not told.has_ended and told.events and not told.usages:
        estimated = {"prompt_tokens": tokens_in(*_texts(call.inputs)), "completion_tokens": told.events}
        return _priced(estimated, None, model)
    return _priced(total_usage(told.usages), _by_headers(reply), model)


def _priced(usage: Mapping[str, Any] | None, neurons: float | None, model: Model | None) -> Cost:
    counted = Usage(0, 0) if usage is None else _usage(usage)
    neurons = counted.neurons if counted.neurons is not None else neurons
    if neurons is None and model is not None and usage is not None:
        neurons = model.neurons_of(counted.prompt_tokens, counted.completion_tokens, counted.cached_tokens)
    return Cost(counted.prompt_tokens, counted.completion_tokens, counted.cached_tokens, neurons)


def _usage(usage: Mapping[str, Any]) -> Usage:
    try:
        return Usage.from_json(usage)
    except (TypeError, AttributeError):  # somebody else's, of another form
        return Usage(0, 0)


def _by_headers(reply: Reply) -> float | None:
    for name, neurons_each in (("x-cfai-usd", 1 / USD_PER_NEURON), ("cf-ai-neurons", 1.0)):
        try:
            return float(reply.headers[name]) * neurons_each
        except (KeyError, ValueError):
            continue
    return None


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, Sequence) and not isinstance(value, bytes):
        for item in value:
            yield from _texts(item)
