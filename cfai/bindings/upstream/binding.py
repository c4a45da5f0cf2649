"""A binding over an OpenAI-compatible server: vLLM, SGLang, llama.cpp, Ollama, transformers serve, cfai itself."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import date
from typing import Any
from weakref import WeakSet

import anyio

from cfai.addresses import check_upstream_url
from cfai.binding import EVENT_STREAM, JSON, Call, Reply
from cfai.bindings.asked import Asked, Terms
from cfai.bindings.upstream.answer import UpstreamAnswer
from cfai.bindings.upstream.chunks import Chunks
from cfai.bindings.upstream.connection import Connection
from cfai.bindings.upstream.embeddings import embed, embeds
from cfai.bindings.upstream.reading import Reading
from cfai.bindings.upstream.refusals import listed
from cfai.bindings.upstream.request import endpoint_of, request_body
from cfai.catalog import Catalog, Model, parse_as_of
from cfai.errors import AiError, NoSuchModel, OutOfCapacity
from cfai.request_id import of_request
from cfai.results import ByteStream
from cfai.tasks.parts import Usage
from cfai.tasks.shapes import Fidelity, parse_fidelity

__all__ = ["UpstreamBinding"]


class UpstreamBinding:
    """Answer with a model of an OpenAI-compatible server, behind the checks and in the forms of Workers AI.

    ```python
    upstream = UpstreamBinding("http://127.0.0.1:8000/v1", model="Qwen/Qwen3-8B")
    ai = Ai(RoutedBinding(LocalBinding(), {"@cf/qwen/qwen3-30b-a3b-fp8": upstream}))
    ```

    url         where the server's OpenAI endpoints are; without a path, `/v1` of it
    model       what the server calls the model; default the id that is asked for if the server lists it, or the one
                model that it has
    token       the bearer token, if the server wants one
    catalog     the models that may be asked for; default the built-in ones and every other id that is well-formed
    as_of       the day whose limits and wire form apply; default today's. A call's own wins
    fidelity    "clean", or "production" for the oddities of Cloudflare's own answers. A call's own wins
    strict_retired  models that Cloudflare no longer serves are refused with 5028
    keep_alive  seconds after which a stream that has no piece yet sends its head and a comment line. Default 15
    timeout     seconds without a byte from the server after which a call fails with 3007; default 600, since a server
                may load the model first
    on_notice   called with a line that the user should see; default: stderr

    It answers models that generate text, and models for embeddings through `/embeddings`. Inputs, limits and forms are
    those of the id that is asked for, whatever model answers. Usable from any number of tasks and event loops.
    """

    def __init__(
        self,
        url: str,
        *,
        model: str | None = None,
        token: str | None = None,
        catalog: Catalog | None = None,
        as_of: str | date | None = None,
        fidelity: Fidelity = "clean",
        strict_retired: bool = False,
        keep_alive: float = 15.0,
        timeout: float = 600.0,
        on_notice: Callable[[str], None] | None = None,
    ) -> None:
        if timeout <= 0:
            raise ValueError(f"timeout must be greater than 0, it is {timeout}")
        self._connection = Connection(check_upstream_url(url), token=token, timeout=timeout)
        self._model = model
        self._names: dict[str, str] = {}
        """What the server calls the models, where it had to be asked."""
        self._catalog = catalog
        self._terms = Terms(
            parse_as_of(as_of) if isinstance(as_of, str) else as_of, parse_fidelity(fidelity), strict_retired
        )
        self._keep_alive = keep_alive
        self._on_notice = on_notice or _to_stderr
        self._noticed: set[tuple[str, str]] = set()
        self._tallies: dict[str, _Tally] = {}
        """What was asked of each model."""

    @property
    def url(self) -> str:
        """The server's address, without what is secret in it."""
        return self._connection.shown

    async def send(self, call: Call) -> Reply:
        headers = {"cf-ai-req-id": of_request()}
        try:
            terms = self._terms.of(call.options)
            model = terms.model(call.model, self._catalog_with(call.model), on_notice=self._note_retired)
            if embeds(model):
                name = await self._name(model)
                server = self._connection.server(model.id, name)
                body, neurons = await embed(self._connection, server, model, call.inputs)
                return Reply(body, headers={**headers, **_priced(neurons), "content-type": JSON})
            answer = await self._prepare(call, model, terms)
            if answer.request.stream:
                try:
                    with anyio.move_on_after(self._keep_alive):
                        await answer.begin()
                except BaseException:  # refused, failed or cancelled: nobody will read it
                    await answer.aclose()
                    raise
                return Reply(ByteStream(answer), headers={**headers, "content-type": EVENT_STREAM})
            async with aclosing(answer):
                body, usage = await answer.whole()
            return Reply(body, headers={**headers, **_priced(usage.neurons), "content-type": JSON})
        except AiError as error:
            if isinstance(error, OutOfCapacity):
                headers["retry-after"] = "1"
            return Reply.from_error(error, headers)

    async def _prepare(self, call: Call, model: Model, terms: Terms) -> UpstreamAnswer:
        if not model.generates_text:
            raise NoSuchModel(call.model, hint=f"its task, {model.task}, is none that {self.url} can do")
        asked = Asked.of(call, model, terms)
        request_body(asked, "")  # what cannot fit is refused before the server is asked for anything
        name = await self._name(model)
        server = self._connection.server(model.id, name)

        def ask(choice: int) -> Reading:
            body = request_body(asked, name, choice=choice)
            endpoint = endpoint_of(asked)
            tells_thinking = asked.request.shape in ("chat", "responses") and endpoint == "chat/completions"
            chunks = Chunks(tells_thinking=tells_thinking, has_logprobs=asked.request.logprobs is not None)
            return Reading(lambda: self._connection.posting(endpoint, body, server), chunks, server, endpoint=endpoint)

        answer = UpstreamAnswer(
            asked, ask, keep_alive=self._keep_alive, on_usage=lambda *cost: self._note(model, *cost)
        )
        self._tallies.setdefault(model.id, _Tally()).answers.add(answer)
        return answer

    def _catalog_with(self, model_id: str) -> Catalog:
        """The catalog; where none was given, the built-in one, with any id that could be one."""
        if self._catalog is not None:
            return self._catalog
        builtin = Catalog.builtin()
        try:
            builtin.get(model_id)
        except NoSuchModel:
            return builtin.with_models(Model(model_id))
        return builtin

    async def _name(self, model: Model) -> str:
        """What the server calls the model."""
        if self._model is not None:
            return self._model
        if (name := self._names.get(model.id)) is None:
            name = self._names[model.id] = await self._asked_name(model.id)
        return name

    async def _asked_name(self, model_id: str) -> str:
        server = self._connection.server(model_id, model_id)
        names = await self._connection.models(server)
        if model_id in names or len(names) == 1:
            return model_id if model_id in names else names[0]
        raise NoSuchModel(
            model_id,
            hint=f"name what {self.url} calls the model as `model` of the upstream; it lists: {listed(names)}",
        )

    def _note(self, model: Model, usage: Usage, is_estimate: bool) -> None:
        tally = self._tallies[model.id]
        tally.prompt_tokens += usage.prompt_tokens
        tally.output_tokens += usage.completion_tokens
        if is_estimate:
            line = f"cfai: {self.url} tells no usage: the tokens of {model.id} are estimated, one for each piece"
            self._notice((model.id, "usage"), line)
        window = model.limits(self._terms.as_of).context_window
        if window is not None and usage.total_tokens > window:
            self._notice(
                (model.id, "window"),
                f"cfai: {model.id} was given {usage.total_tokens} tokens by {self.url}; Cloudflare's has room for "
                f"{window} and answers 5021",
            )

    def _note_retired(self, model_id: str, line: str) -> None:
        self._notice((model_id, "retired"), line)

    def _notice(self, about: tuple[str, str], line: str) -> None:
        if about not in self._noticed:
            self._noticed.add(about)
            self._on_notice(line)

    def stats(self) -> dict[str, Any]:
        """Running answers and tokens made so far, and the same for every model that was asked for."""
        models = {name: tally.stats(self.url) for name, tally in self._tallies.items()}
        total = {key: sum(int(model[key]) for model in models.values()) for key in ("running", "waiting", "tokens")}
        return {**total, "models": models}

    async def aclose(self) -> None:
        """Close the connections of this event loop."""
        await self._connection.aclose()


@dataclass(eq=False, slots=True)
class _Tally:
    """What one model has answered."""

    answers: WeakSet[UpstreamAnswer] = field(default_factory=WeakSet)
    prompt_tokens: int = 0
    output_tokens: int = 0

    def stats(self, url: str) -> dict[str, Any]:
        """As `/health`, `/metrics` and `cfai ps` read it; the server alone knows what waits there."""
        return {
            "device": url,
            "running": sum(answer.is_running for answer in [*self.answers]),
            "waiting": 0,
            "tokens": self.output_tokens,
            "metrics": {"prompt_tokens": self.prompt_tokens, "output_tokens": self.output_tokens},
        }


def _priced(neurons: float | None) -> dict[str, str]:
    return {} if neurons is None else {"cf-ai-neurons": f"{neurons:.2f}"}


def _to_stderr(line: str) -> None:
    sys.stderr.write(f"{line}\n")
