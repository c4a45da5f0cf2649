"""What models do that generate no text: what each takes, in Cloudflare's words, and what an answer looks like.

    task_for(model) -> Task
    task.check(inputs)            the inputs with defaults, or the refusal that production gives
    task.plausible(inputs, rng)   an answer that no model made: true to the schema, and to what programs rely on

A model's task, and where one model differs from its task the model, names a row of `kinds`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from cfai.catalog import Model
from cfai.errors import BadInput
from cfai.results import plain
from cfai.tasks import fields
from cfai.tasks.answers.answer import Answer, Asked
from cfai.tasks.kinds import Kind, kind_of
from cfai.tasks.media import data_of
from cfai.tasks.schema import Schema, types_of, validate
from cfai.tasks.schemas import schema

__all__ = ["Task", "task_for"]

MOST_ITEMS = 10_000
"""Of an array for which the schema has no bound of its own."""


def task_for(model: Model) -> Task:
    """What `model` does, for every model that generates no text.

    ```python
    task = task_for(Catalog.builtin().get("@cf/baai/bge-small-en-v1.5"))
    task.plausible(task.check({"text": "hello"}), Random(0)).body["shape"]  # [1, 384]
    ```
    """
    if model.generates_text:
        raise ValueError(f"{model.id} generates text, which cfai.tasks.text_generation checks")
    return Task(model, kind_of(model))


@dataclass(frozen=True, slots=True)
class Task:
    """One task as one model does it."""

    model: Model
    kind: Kind

    @property
    def input_schema(self) -> Schema:
        return schema(self.kind.schema, self.kind.input_entry)

    @property
    def output_schema(self) -> Schema:
        return schema(self.kind.schema, self.kind.output_entry)

    @property
    def raw(self) -> str:
        """The key of the inputs that a request's body is when it is no JSON: `audio`, `image`; or ""."""
        return self.kind.raw

    def inputs_of(self, body: bytes, content_type: str, others: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The inputs of a request whose body is no JSON.

        ```python
        task.inputs_of(b"\xff\xfb", "audio/mpeg")  # of whisper: {"audio": b"\xff\xfb"}
        ```
        """
        if not self.raw:
            raise BadInput("Type mismatch of '/', 'object' not in 'string'", hint="the body is not JSON")
        value = {"body": body, "contentType": content_type} if self.kind.has_type else body
        return {**(others or {}), self.raw: value}

    def check(self, inputs: Any) -> dict[str, Any]:
        """The inputs with the defaults of the schema, bytes as numbers; raises `BadInput` or `InvalidData`."""
        if isinstance(inputs, bytes):
            inputs = self.inputs_of(inputs, ANY_BYTES)
        checked = validate(self.input_schema, _as_json(inputs))
        if isinstance(inputs, str) and self.raw:  # a text with a character for each byte
            inputs = self.inputs_of(data_of(inputs, "/", is_binary_text=True), ANY_BYTES)
            checked = validate(self.input_schema, _as_json(inputs))
        known: dict[str, Any] = {**fields.object_of(checked.payload, "/")}
        fields.check_json({name: value for name, value in known.items() if name not in _MEDIA})
        options = [one.get("properties", {}) for one in self.input_schema.get("oneOf", [self.input_schema])]
        properties = options[checked.option or 0]
        if "requests" in properties:
            raise BadInput("'/requests' is a batch, and this is no batch", hint='say so: {"queueRequest": true}')
        for name, wanted in properties.items():
            if name in known and name not in _MEDIA:
                _look_at(wanted, known[name], f"/{name}")
        for name in {name for one in options for name in one}.difference(properties):
            known.pop(name, None)  # what another option would take, and this one does not look at
        self.kind.look_again(known)
        return known

    def plausible(self, inputs: Any, rng: Random) -> Answer:
        """An answer to inputs that `check` gave back: its body, a JSON value or bytes, and its content type.

        The same inputs and a generator of the same seed give the same answer. Vectors, and what is made with them, do
        not depend on the generator: a text has one vector.
        """
        return self.kind.answer(Asked(self.model, inputs, rng))

    def embedded(self, inputs: Any, vectors: Sequence[Sequence[float]]) -> Answer:
        """The answer to inputs that `check` gave back, with the vectors that some model made of `texts_of` them."""
        return self.kind.answer(Asked(self.model, inputs, Random(0), vectors))

    def neurons(self, inputs: Any, answer: Answer) -> float | None:
        """What the call costs by the prices of the catalog, in neurons; None where no price is known."""
        return self.model.neurons_for(self.kind.work(inputs, answer))


_MEDIA = frozenset({"audio", "image", "image_b64", "mask", "multipart"})
"""Inputs that may be long; whoever reads their bytes looks at them."""

ANY_BYTES = "application/octet-stream"


def _as_json(value: Any) -> Any:
    """The value with numbers in place of bytes, wherever a schema has some."""
    if isinstance(value, Mapping):
        return {name: _as_json(item) for name, item in value.items()}
    return [*bytes(value)] if isinstance(value, (bytes, bytearray, memoryview)) else plain(value)


def _look_at(wanted: Schema, value: Any, where: str) -> None:
    """Refuse what the validator does not look at: the type of what is not required, and the items of arrays."""
    options = {one["type"]: one for one in (wanted, *wanted.get("oneOf", ())) if "type" in one}
    if options and not set(options).intersection(types_of(value)):
        fields.mismatch(value, where, next(iter(options)))
    if not isinstance(value, (list, tuple)):
        return
    most = options["array"].get("maxItems", MOST_ITEMS)
    if len(value) > most:
        raise BadInput(f"Length of '{where}' must be <= {most}", hint=f"send {most} at a time")
    for at, item in enumerate(value):
        _look_at(options["array"]["items"], item, f"{where}/{at}")
        for name, inner in options["array"]["items"].get("properties", {}).items():
            if name not in item:
                fields.missing(f"{where}/{at}", name)
            _look_at(inner, item[name], f"{where}/{at}/{name}")
