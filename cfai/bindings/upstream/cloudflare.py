"""Cloudflare itself, asked for single models: calls are checked first, so that a mistake costs nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from cfai.binding import Binding, Call, Reply
from cfai.bindings.asked import Asked, Terms
from cfai.bindings.upstream.request import check_fits
from cfai.catalog import Catalog, Model
from cfai.errors import AiError, Forbidden, NoSuchModel
from cfai.request_id import of_request
from cfai.tasks import task_for

__all__ = ["CheckedBinding", "UnsetBinding"]

_OURS = frozenset({"asOf", "fidelity", "strictRetired"})
"""Options of cfai's, which Cloudflare does not know: it answers as of today."""


class CheckedBinding:
    """Pass on to `inner` what Workers AI would take, and refuse the rest here with its own errors.

    ```python
    cloudflare = HttpBinding("https://api.cloudflare.com", account=account, token=token)
    ai = Ai(RoutedBinding(LocalBinding(), {"@cf/openai/whisper": CheckedBinding(cloudflare)}))
    ```

    model    what `inner` calls the model; default the id that is asked for
    catalog  the models that are known here; others are passed on unseen, since Cloudflare has new ones every week
    """

    def __init__(self, inner: Binding, *, model: str | None = None, catalog: Catalog | None = None) -> None:
        self._inner = inner
        self._model = model
        self._catalog = catalog or Catalog.builtin()
        self._terms = Terms(fidelity="production", strict_retired=True)

    async def send(self, call: Call) -> Reply:
        asked = replace(
            call,
            model=self._model or call.model,
            options={name: value for name, value in call.options.items() if name not in _OURS},
        )
        try:
            self._check(asked)
        except AiError as error:
            return Reply.from_error(error, {"cf-ai-req-id": of_request()})
        return await self._inner.send(asked)

    def _check(self, call: Call) -> None:
        try:
            model = self._terms.model(call.model, self._catalog)
        except NoSuchModel:
            return
        if not _is_batch(call):
            check_call(call, model, self._terms)

    async def aclose(self) -> None:
        await self._inner.aclose()


def check_call(call: Call, model: Model, terms: Terms) -> None:
    """Raise the `AiError` of inputs that `model` does not take."""
    if model.generates_text:
        check_fits(Asked.of(call, model, terms, sees=True))
    elif not _has_stream(call.inputs):
        task_for(model).check(call.inputs)


def _is_batch(call: Call) -> bool:
    """Whether the call is for a queue, whose requests are checked when their turn comes."""
    is_poll = isinstance(call.inputs, Mapping) and "request_id" in call.inputs
    return bool(call.options.get("queueRequest")) or is_poll


def _has_stream(inputs: Any) -> bool:
    """Whether an input is bytes and their type, of which only Cloudflare can say if they are right."""
    return isinstance(inputs, Mapping) and any(
        isinstance(value, Mapping) and isinstance(value.get("body"), bytes | bytearray | memoryview)
        for value in inputs.values()
    )


class UnsetBinding:
    """Refuse every call: what it takes to ask a server is not set on this machine.

    missing  the names of the variables
    """

    def __init__(self, url: str, missing: list[str]) -> None:
        self._url = url
        self._missing = missing

    async def send(self, call: Call) -> Reply:
        names = " and ".join(self._missing)
        verb = "is" if len(self._missing) == 1 else "are"
        error = Forbidden(
            f"The account is not allowed to access this model: {self._url} answers for {call.model}, and {names} "
            f"{verb} not set",
            hint=f"export {names}, and start again",
        )
        return Reply.from_error(error, {"cf-ai-req-id": of_request()})

    async def aclose(self) -> None:
        """Nothing is open."""
