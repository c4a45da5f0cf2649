"""Where the figures of a model are from."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from importlib import resources
from types import MappingProxyType
from typing import Any

from cfai.catalog.model import Era, Model, PromptEra
from cfai.catalog.rows import ATTRIBUTES

__all__ = ["Source", "sources", "sources_of"]


@dataclass(frozen=True, slots=True)
class Source:
    """Where figures are from."""

    key: str
    """Its name in the rows."""
    title: str
    url: str | None = None


def sources() -> Mapping[str, Source]:
    """Every source, by its name in the rows.

    ```python
    sources()["limits"].url  # 'https://developers.cloudflare.com/workers-ai/platform/limits/'
    ```
    """
    return _read()[0]


def sources_of(model: Model) -> dict[str, tuple[Source, ...]]:
    """Where each figure of `model` is from, by the name of the row's field; several where it has several eras.

    ```python
    sources_of(catalog.get("@cf/openai/gpt-oss-20b"))["max_output_tokens"][0].key  # 'models.dev'
    ```

    A source that a user's own row names in other words goes by these.
    """
    known, usual = _read()
    found: dict[str, tuple[Source, ...]] = {}
    for field, attributes in ATTRIBUTES.items():
        if field != "sources" and any(getattr(model, name) != _UNKNOWN[name] for name in attributes):
            keys = _keys(model, field) or (usual[field],)
            found[field] = tuple(known.get(key) or Source(key, key) for key in keys)
    return found


def _keys(model: Model, field: str) -> tuple[str, ...]:
    if field in model.sources:
        return (model.sources[field],)
    if field == "weights" and model.weights is not None:
        return (model.weights.evidence,)
    eras: Mapping[str, Sequence[Era | PromptEra]] = {"earlier": model.earlier, "prompts": model.prompts}
    return tuple(dict.fromkeys(era.source for era in eras.get(field, ()) if era.source is not None))


@functools.cache
def _read() -> tuple[Mapping[str, Source], Mapping[str, str]]:
    read: dict[str, Any] = json.loads((resources.files("cfai.catalog") / "sources.json").read_text("utf-8"))
    known = {key: Source(key, row["title"], row["url"]) for key, row in read["sources"].items()}
    return MappingProxyType(known), read["usual"]


_EMPTY = Model("")
_ALWAYS = {"task", "status"}
_UNKNOWN = {field.name: None if field.name in _ALWAYS else getattr(_EMPTY, field.name) for field in fields(Model)}
"""What a model has of which nothing is known; a task and a status every model has."""
