"""What Cloudflare makes of a model on a day: it answers, another model does, or it refuses."""

from __future__ import annotations

from datetime import date

from cfai.catalog.catalog import Catalog
from cfai.catalog.model import Model
from cfai.errors import DeprecatedModel, NoSuchModel

__all__ = ["answering", "note_on"]


def answering(model: Model, catalog: Catalog, as_of: date | None = None) -> Model:
    """The model that answers calls of `model` where Cloudflare's word counts, on the day `as_of`, or today.

    ```python
    answering(catalog.get("@cf/moonshotai/kimi-k2.5"), catalog).id  # '@cf/moonshotai/kimi-k2.6'
    ```

    Raises `DeprecatedModel` for one that is retired, and `NoSuchModel` for one that is not there yet, or went without a
    word. A model that is not retired answers itself, also where Cloudflare let another one answer by then.
    """
    if _is_not_yet(model, as_of):
        raise NoSuchModel(model.id, hint=f"it was added on {model.created}; as of {as_of} there is none of that name")
    if not model.is_retired(as_of):
        return model
    if (other := _in_place_of(model, catalog, as_of)) is not None:
        return other
    successor = catalog.successor_of(model)
    hint = f"{successor.id} is the one to use now" if successor else "`cfai models` lists those there are"
    if model.deprecated is not None:
        raise DeprecatedModel(str(model.deprecated), hint=hint)
    raise NoSuchModel(model.id, hint=f"no list of models has it since {model.removed}; {hint}")


def note_on(model: Model, catalog: Catalog, as_of: date | None = None) -> str | None:
    """What somebody should know who asks for `model` and gets an answer of its own weights; None if nothing.

    ```python
    note_on(catalog.get("@cf/microsoft/phi-2"), catalog)  # '@cf/microsoft/phi-2 is retired at Cloudflare ...'
    ```
    """
    if _is_not_yet(model, as_of):
        return f"Cloudflare had no {model.id} on {as_of}, it was added on {model.created}; here it answers all the same"
    if (other := _in_place_of(model, catalog, as_of)) is not None:
        since = model.answered_by.since if model.answered_by else None
        return f"Cloudflare answers {model.id} with {other.id} since {since}; here it answers itself"
    if not model.is_retired(as_of):
        return None
    note = f"{model.id} is retired at Cloudflare since {model.deprecated or model.removed}, here it still answers"
    successor = catalog.successor_of(model)
    return f"{note}; {successor.id} is the one to use there" if successor else note


def _is_not_yet(model: Model, as_of: date | None) -> bool:
    return as_of is not None and not model.existed(as_of)


def _in_place_of(model: Model, catalog: Catalog, as_of: date | None) -> Model | None:
    alias = model.answered_by
    if alias is None or (as_of is not None and as_of < alias.since):
        return None
    other = catalog.get(alias.id)
    return None if other.is_retired(as_of) else other
