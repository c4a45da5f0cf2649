"""Which models somebody looks for."""

from __future__ import annotations

from dataclasses import dataclass

from cfai.catalog.catalog import Catalog
from cfai.catalog.model import Model

__all__ = ["Search"]


@dataclass(frozen=True, slots=True)
class Search:
    """What a model must have to be found; None and False ask for nothing.

    ```python
    Search(text="llama", task="Text Generation").finds(model, catalog)  # True
    ```
    """

    text: str | None = None
    """Part of the id or the description, in letters of either case."""
    task: str | None = None
    """The name of its task, or its uuid; "text-generation" means "Text Generation"."""
    author: str | None = None
    source: str | None = None
    """1 for the `@cf/` ids, 2 for the `@hf/` ones."""
    hide_experimental: bool = False
    """Leave the models out that are in beta."""

    def finds(self, model: Model, catalog: Catalog) -> bool:
        """Whether `model` has all of it."""
        uuid = catalog.task(model.task).uuid
        return (
            (not self.text or any(self.text.lower() in text.lower() for text in (model.id, model.description)))
            and (not self.task or _plain(self.task) in (_plain(model.task), _plain(uuid or "")))
            and (not self.author or self.author.lower() == model.author.lower())
            and (not self.source or self.source == str(model.source))
            and not (self.hide_experimental and "beta" in model.flags)
        )


def _plain(name: str) -> str:
    return "".join(filter(str.isalnum, name.lower()))
