"""A request's body as the inputs of a call: JSON, or the audio, the image or the form itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anyio import to_thread

from cfai.binding import JSON
from cfai.catalog import Catalog, Model
from cfai.errors import AiError, BadInput, IncompleteRequest
from cfai.server.body import LONG_BODY, parse_json
from cfai.tasks import task_for

__all__ = ["inputs_of", "stream_inputs_of"]

_FILES = ("audio/", "image/", "video/", "multipart/", "application/octet-stream")


async def inputs_of(model: str, body: bytes, content_type: str, catalog: Catalog) -> Any:
    """What a body asks of `model` over REST.

    A body for a model that takes audio, an image or a form is that, unless it is JSON. The content type counts where it
    is one of these, or JSON: the documented curl lines send JSON with the type of a form.
    """
    kind = content_type.partition(";")[0].strip().lower()
    found = _model(model, catalog)
    if found is None and kind.startswith(_FILES) and not body.lstrip().startswith(b"{"):
        return body  # whoever answers knows the model, or refuses it
    task = None if found is None or found.generates_text else task_for(found)
    if task is None or not task.raw:
        return await _json(body)
    if kind.startswith(_FILES) or (kind != JSON and not body.lstrip().startswith(b"{")):
        if not body:
            raise IncompleteRequest("body", hint=f"send the {task.raw} as the body, or as `{task.raw}` in JSON")
        return task.inputs_of(body, content_type)
    try:
        return await _json(body)
    except IncompleteRequest:
        if kind == JSON:
            raise
        return task.inputs_of(body, content_type)  # a file whose first byte is a bracket


def stream_inputs_of(model: str, body: bytes, content_type: str, others: Mapping[str, Any], catalog: Catalog) -> Any:
    """What `env.AI` asks of `model` with a stream among its inputs: the body is that one, whose name is not sent."""
    found = _model(model, catalog)
    if found is None:
        return {**others}  # whoever answers refuses the model
    if found.generates_text or not task_for(found).raw:
        raise BadInput(f"an input is a stream ({content_type}), and {found.task.lower()} has none that may be")
    return task_for(found).inputs_of(body, content_type, others)


def _model(model: str, catalog: Catalog) -> Model | None:
    """The model of that id; None for one that the catalog does not have."""
    try:
        return catalog.get(model)
    except AiError:
        return None


async def _json(body: bytes) -> Any:
    return parse_json(body) if len(body) < LONG_BODY else await to_thread.run_sync(parse_json, body)
