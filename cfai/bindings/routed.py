"""A binding that hands each call to another one, by its model."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import anyio

from cfai.binding import Binding, Call, Listing, Reply, Stats, Warmable
from cfai.catalog import Catalog
from cfai.errors import AiError

__all__ = ["RoutedBinding"]


class RoutedBinding:
    """Answer some models by bindings of their own, and all others by `default`.

    ```python
    qwen = UpstreamBinding("http://127.0.0.1:11434/v1", model="qwen3:8b")
    ai = Ai(RoutedBinding(LocalBinding(), {"@cf/qwen/qwen3-30b-a3b-fp8": qwen}))
    ```

    routes   by the id of the model; another name of a model in the catalog goes the way of the model
    catalog  where other names are looked up; default the built-in one

    Closing it closes them all.
    """

    def __init__(self, default: Binding, routes: Mapping[str, Binding], *, catalog: Catalog | None = None) -> None:
        self.default = default
        self.routes = dict(routes)
        self.catalog = catalog or Catalog.builtin()

    async def send(self, call: Call) -> Reply:
        return await self.answering(call.model).send(call)

    def answering(self, model: str) -> Binding:
        """The binding that answers `model`."""
        if (found := self.routes.get(model)) is not None:
            return found
        try:
            return self.routes.get(self.catalog.get(model).id, self.default)
        except AiError:  # no such model: whoever answers says so
            return self.default

    async def warm_up(self) -> None:
        """Prepare the default for its first answer. What stands in the way is told to whoever asks it for one."""
        if isinstance(self.default, Warmable):
            with contextlib.suppress(AiError):
                await self.default.warm_up()

    async def models_here(self) -> list[str]:
        """The models that the default answers for, and those that have a binding of their own."""
        here = await self.default.models_here() if isinstance(self.default, Listing) else []
        return list(dict.fromkeys([*here, *self.routes]))

    def stats(self) -> dict[str, Any]:
        """What the bindings are doing, those that say it, together."""
        total: dict[str, Any] = {"running": 0, "waiting": 0, "tokens": 0, "models": {}}
        for binding in self._bindings:
            if isinstance(binding, Stats):
                stats = binding.stats()
                for name in ("running", "waiting", "tokens"):
                    total[name] += int(stats.get(name, 0))
                total["models"].update(stats.get("models", {}))
        return total

    @property
    def _bindings(self) -> list[Binding]:
        """Each once: several models may have the same."""
        return list({id(binding): binding for binding in (self.default, *self.routes.values())}.values())

    async def aclose(self) -> None:
        with anyio.CancelScope(shield=True):
            for binding in self._bindings:
                await binding.aclose()
