"""What a call asks of a model that generates text, checked; the same for every binding that answers by itself."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from cfai import sse
from cfai.binding import Call
from cfai.catalog import Catalog, Limits, Model, answering, note_on, parse_as_of
from cfai.errors import BadInput, ContextExceeded
from cfai.tasks import text_generation
from cfai.tasks.parts import Finish
from cfai.tasks.shapes import Fidelity, Shape, parse_fidelity, shape_for
from cfai.tasks.text_generation import TextGeneration
from cfai.tasks.words import tokens_in

__all__ = ["Asked", "CutNotices", "Terms", "least"]

ENGINES_WORDS_SINCE = date(2026, 1, 1)
"""From about this day on the chat models refuse in their engine's words; no sighting is older."""


@dataclass(frozen=True, slots=True)
class Terms:
    """The day whose limits and wire form apply, None for today's, and how faithful an answer is to Cloudflare's."""

    as_of: date | None = None
    fidelity: Fidelity = "clean"
    strict_retired: bool = False
    """Whether a model is refused that Cloudflare does not serve on that day; else its own weights answer."""

    def of(self, options: Mapping[str, Any]) -> Terms:
        """These terms, and what a call's own options say of them. Raises `BadInput` for what cannot be."""
        terms = self
        try:
            if (day := options.get("asOf")) is not None:
                terms = replace(terms, as_of=parse_as_of(str(day)))
            if (named := options.get("fidelity")) is not None:
                terms = replace(terms, fidelity=parse_fidelity(str(named)))
            if (strict := options.get("strictRetired")) is not None:
                terms = replace(terms, strict_retired=_switch("strictRetired", strict))
        except ValueError as error:
            raise BadInput(str(error)) from error
        return terms

    def model(self, model_id: str, catalog: Catalog, *, on_notice: Callable[[str, str], None] | None = None) -> Model:
        """The model that answers a call of that id. Raises what Cloudflare refuses the id with, on the day that counts.

        on_notice  called with the model's id and a line where Cloudflare would not answer as this model does
        """
        model = catalog.get(model_id)
        if self.strict_retired:
            return answering(model, catalog, self.as_of)
        if on_notice is not None and (note := note_on(model, catalog, self.as_of)):
            on_notice(model.id, f"cfai: {note}")
        return model


@dataclass(frozen=True, slots=True)
class Asked:
    """The request of one call, and the shape in which it is answered."""

    model: Model
    request: TextGeneration
    shape: Shape
    terms: Terms

    @classmethod
    def of(
        cls,
        call: Call,
        model: Model,
        terms: Terms,
        *,
        sees: bool = False,
        now: float | None = None,
        rng: random.Random | None = None,
    ) -> Asked:
        """What `call` asks of `model`. Raises `BadInput`; `now` and `rng` are those of `shape_for`.

        sees  whether a vision model may be given images
        """
        as_of, fidelity = terms.as_of, terms.fidelity
        request = text_generation.check(
            call.inputs, form=call.form, model=model, as_of=as_of, fidelity=fidelity, sees=sees
        )
        if fidelity == "production" and request.is_native and request.shape == "responses":
            request = replace(request, stream=False)  # they answer with JSON, whatever was asked
        shape = shape_for(
            request, call.model, as_of=as_of, fidelity=fidelity, neurons_of=model.neurons_of, now=now, rng=rng
        )
        return cls(model, request, shape, terms)

    @property
    def limits(self) -> Limits:
        """The model's, on the day that counts."""
        return self.model.limits(self.terms.as_of)

    def estimated_tokens(self) -> int:
        """Tokens of the prompt where no tokenizer counts them: one for every four letters of a word, at least one.

        What counts are the prompt or the messages, the tool calls in them, and the tools that are offered, as JSON.
        """
        request = self.request
        texts = [request.prompt or ""]
        for message in request.messages or ():
            texts.append(message.content)
            texts += [f"{call.name} {call.arguments}" for call in message.tool_calls]
        if request.tool_choice != "none":
            texts += [sse.dumps(tool.to_json()) for tool in request.tools]
        return max(1, tokens_in(*texts))

    @property
    def default_max_tokens(self) -> int | None:
        """Tokens that the model makes where a call says nothing; None where nothing but its window bounds them."""
        limits = self.limits
        default = limits.default_max_tokens_streaming if self.request.stream else limits.default_max_tokens
        return default or limits.max_output_tokens

    def max_tokens(self, prompt_tokens: int, *, capacity: int, positions: int | None = None) -> int:
        """Tokens to make at most. Raises `ContextExceeded` if prompt and answer do not fit.

        capacity   tokens of prompt and answer that there is memory for
        positions  tokens that the weights were made for, where that is known
        """
        limits, max_tokens = self.limits, self.request.max_tokens
        window = least(limits.context_window, positions)
        if max_tokens is None:
            # What nobody asked for gives way to what the weights were made for and the cache holds.
            room = max(1, min(window or capacity, capacity) - prompt_tokens)
            max_tokens = min(room, self.default_max_tokens or room)
        is_asked = self.request.max_tokens is not None
        most_made = f"max_tokens is {max_tokens}; both count" if is_asked else "an answer needs room for one at least"
        both = f"the prompt has {prompt_tokens} tokens and {most_made}"
        for tokens, most, hint in (
            (prompt_tokens, limits.max_input_tokens, "shorten the prompt"),
            (max_tokens, limits.max_output_tokens, "ask for fewer max_tokens"),
            (prompt_tokens + max_tokens, window, both),
            (prompt_tokens + max_tokens, capacity, f"{both}, and the KV cache holds no more: cache_tokens"),
        ):
            if most is None or tokens <= most:
                continue
            if most == window and hint == both and self._has_the_engines_words:
                raise ContextExceeded.by_engine(prompt_tokens, max_tokens, most, hint=hint)
            raise ContextExceeded(tokens, most, hint=hint)
        return max_tokens

    @property
    def _has_the_engines_words(self) -> bool:
        """Whether Cloudflare passes on what the model's engine says of a window that is exceeded."""
        as_of = self.terms.as_of
        is_of_the_day = as_of is None or as_of >= ENGINES_WORDS_SINCE
        return self.terms.fidelity == "production" and self.model.family == "chat" and is_of_the_day


class CutNotices:
    """Tell once for each model that an answer was cut where the model stops by default, and how to have more.

    ```python
    CutNotices(print).note(asked, 256, ["length"])  # cfai: @cf/... was cut off after 256 tokens, ...
    ```
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._told: set[str] = set()

    def note(self, asked: Asked, max_tokens: int, finished: Iterable[Finish]) -> None:
        """An answer to `asked`, of `max_tokens` at most, has ended for these reasons."""
        model, request = asked.model.id, asked.request
        is_default = request.max_tokens is None and max_tokens == asked.default_max_tokens
        if not is_default or "length" not in finished or model in self._told:
            return
        self._told.add(model)
        field = "max_output_tokens" if request.shape == "responses" else "max_tokens"
        self._tell(
            f"cfai: an answer of {model} was cut off after {max_tokens} tokens, its default where a call has no "
            f'{field}; ask for more with "{field}"'
        )


def _switch(name: str, value: Any) -> bool:
    """A switch as JSON has it, or the query of a URL."""
    if isinstance(value, bool):
        return value
    if str(value).lower() in ("true", "false"):
        return str(value).lower() == "true"
    raise ValueError(f"{name} must be true or false, it is {value!r}")


def least(*known: int | None) -> int | None:
    """The smallest of the bounds that are known."""
    return min((bound for bound in known if bound is not None), default=None)
