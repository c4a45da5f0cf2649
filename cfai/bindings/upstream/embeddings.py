"""Embeddings of an OpenAI-compatible server, `POST /embeddings`, in the forms that Workers AI has for them.

The server pools as its model does; what `pooling` asks for is repeated and not enforced.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cfai import sse
from cfai.bindings.upstream.connection import Connection, read_body
from cfai.bindings.upstream.refusals import Server, words_in
from cfai.catalog import Model
from cfai.errors import AiError, BadInput, EngineFailure
from cfai.tasks import task_for
from cfai.tasks.answers.embeddings import texts_of
from cfai.wording import shortened

__all__ = ["embed", "embeds"]


def embeds(model: Model) -> bool:
    """Whether `model` makes vectors of texts."""
    return model.task == "Text Embeddings"


async def embed(connection: Connection, server: Server, model: Model, inputs: Any) -> tuple[Any, float | None]:
    """The vectors of the inputs, as `model` answers them, and what they cost. Raises an `AiError`."""
    task = task_for(model)
    checked = task.check(inputs)
    if "contexts" in checked and "query" in checked:
        raise BadInput(
            "'/query' asks for contexts to be ranked", hint=f"{server.url} makes vectors; compare those of each text"
        )
    texts = texts_of(checked)
    asked = {"model": server.name, "input": texts, "encoding_format": "float"}
    async with connection.posting("embeddings", asked, server) as response:
        text = (await read_body(response.aiter_bytes())).decode("utf-8", "replace")
    vectors = _vectors(sse.loads(text), len(texts))
    if vectors is None:
        said = shortened(words_in(text, server.secrets), 120)
        raise EngineFailure(f"{server.url} answers with what are no vectors of {len(texts)} texts: {said}")
    _check_length(vectors, model, server)
    answer = task.embedded(checked, vectors)
    return answer.body, task.neurons(checked, answer)


def _vectors(body: Any, count: int) -> list[list[float]] | None:
    """The vectors in the order of the texts; None where the body is none of an embeddings endpoint."""
    rows = body.get("data") if isinstance(body, Mapping) else None
    if not isinstance(rows, list) or len(rows) != count or not all(isinstance(row, Mapping) for row in rows):
        return None
    ordered = sorted(enumerate(rows), key=lambda row: _place(row[1], row[0]))
    vectors = [row.get("embedding") for _, row in ordered]
    is_right = all(isinstance(vector, list) and vector and all(map(_is_number, vector)) for vector in vectors)
    return vectors if is_right else None


def _place(row: Mapping[str, Any], otherwise: int) -> int:
    return index if isinstance(index := row.get("index"), int) else otherwise


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_length(vectors: list[list[float]], model: Model, server: Server) -> None:
    lengths = {len(vector) for vector in vectors}
    if len(lengths) > 1:
        raise EngineFailure(f"{server.url} answers with vectors of several lengths: {sorted(lengths)}")
    if model.dimensions is not None and lengths and lengths != {model.dimensions}:
        raise _wrong_length(lengths.pop(), model.dimensions, model, server)


def _wrong_length(found: int, wanted: int, model: Model, server: Server) -> AiError:
    return EngineFailure(
        f"{server.url} answers with vectors of {found} numbers, and those of {model.id} have {wanted}",
        hint=f"let the upstream name a model of {wanted} dimensions, or give it to an id of your own",
    )
