"""All the models, by id."""

from __future__ import annotations

import difflib
import functools
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from importlib import resources
from typing import Any, Self

from cfai.catalog.model import Capability, Model, Task
from cfai.catalog.rows import fields_of, model_of
from cfai.errors import InvalidModelName, NoSuchModel
from cfai.wording import choose, meant, shortened

__all__ = ["Catalog"]

_FORM = re.compile(r"@[A-Za-z0-9_-]+(/[A-Za-z0-9][\w.:+-]*)+", re.ASCII)
_LONGEST_ID = 200


class Catalog:
    """The models that there are, by id.

    ```python
    Catalog.builtin().get("@cf/meta/llama-2-7b-chat-int8").task  # 'Text Generation'
    ```
    """

    def __init__(
        self, models: Mapping[str, Model], *, aliases: Mapping[str, str] | None = None, tasks: Iterable[Task] = ()
    ) -> None:
        self._models = dict(models)
        self._aliases = dict(aliases or {})
        self._tasks = {task.name: task for task in tasks}

    @staticmethod
    def builtin() -> Catalog:
        """The catalog that ships with cfai, read once."""
        return _builtin()

    def get(self, model_id: str) -> Model:
        """The model of that id; an alias gives the model that it stands for.

        Raises `InvalidModelName` for what cannot be an id and `NoSuchModel` for an id that nothing has.
        """
        if (model := self._models.get(model_id)) is not None:
            return model
        if (target := self._aliases.get(model_id)) is not None:
            return self._models[target]
        if len(model_id) > _LONGEST_ID or not _FORM.fullmatch(model_id):
            raise InvalidModelName(model_id if len(model_id) <= _LONGEST_ID else model_id[:_LONGEST_ID] + "...")
        raise NoSuchModel(model_id, hint=self._hint(model_id))

    def models(self) -> list[Model]:
        """Every model, in the order of the ids."""
        return [self._models[model_id] for model_id in sorted(self._models)]

    def with_models(self, *models: Model) -> Self:
        """A catalog that has these models too; one of a known id takes the other's place."""
        added = {model.id: model for model in models}
        return type(self)({**self._models, **added}, aliases=self._aliases, tasks=self._tasks.values())

    def with_rows(self, rows: Mapping[str, Mapping[str, Any]]) -> Self:
        """A catalog that has these models too: new ones, or other figures of one that it has.

        ```python
        catalog.with_rows({"@cf/meta/llama-3.2-1b-instruct": {"context_window": 8192}})
        ```

        A row has the fields of `models.json`; of a model that is there, those which a row names change, and null means
        that nothing is known. Raises a ValueError that names the id and the field.
        """
        models = dict(self._models)
        for name, row in rows.items():
            model_id = self._aliases.get(name, name)
            try:
                if not isinstance(row, Mapping):
                    raise ValueError(f"a row is an object of fields, not {shortened(repr(row), 60)}")
                if len(model_id) > _LONGEST_ID or not _FORM.fullmatch(model_id):
                    raise ValueError("ids look like @cf/author/name")
                fields = fields_of(row)
                if "prices" in row:  # what they come to counts, and no longer Cloudflare's own figures
                    fields = {"neurons": None, **fields}
                if (task := fields.get("task")) is not None and task not in self._tasks:
                    choose("task", task, self._tasks)
                told = dict.fromkeys(row, "settings") | dict(fields.pop("sources", {}))
                base = models.get(model_id) or Model(model_id)
                models[model_id] = replace(base, **fields, sources={**base.sources, **told})
            except ValueError as error:
                raise ValueError(f"{shortened(name, _LONGEST_ID)}: {error}") from None
        for name in rows:
            self._check_references(models[self._aliases.get(name, name)], models)
        return type(self)(models, aliases=self._aliases, tasks=self._tasks.values())

    @staticmethod
    def _check_references(model: Model, models: Mapping[str, Model]) -> None:
        answered_by = model.answered_by.id if model.answered_by else None
        for field, named in (("successor", model.successor), ("answered_by", answered_by)):
            if named is not None and (named == model.id or named not in models):
                near = meant(named, (one for one in models if one != model.id))
                raise ValueError(f"{model.id}: {field} must be the id of another model, it is {named!r}{near}")

    def task(self, name: str) -> Task:
        """What is known about the task of that name; a task that the data do not have has a name and nothing else."""
        return self._tasks.get(name, Task(name))

    def capabilities(self, model: Model) -> frozenset[Capability]:
        """What a model can do beyond its task.

        ```python
        catalog.capabilities(catalog.get("@cf/qwen/qwq-32b"))  # frozenset({'lora', 'reasoning', 'streaming'})
        ```
        """
        streams = self.task(model.task).streaming if model.streaming is None else model.streaming
        can: dict[Capability, bool] = {"streaming": streams, "json": model.json_mode}
        can |= {name: flag in model.flags for flag, name in _CAPABILITIES.items()}
        return frozenset(name for name, has in can.items() if has)

    def requests_per_minute(self, model: Model) -> int | None:
        """How often Cloudflare lets an account call the model in a minute; None where nobody says."""
        return model.requests_per_minute or self.task(model.task).requests_per_minute

    def successor_of(self, model: Model) -> Model | None:
        """The model to use where `model` is retired: the one that Cloudflare names, or the nearest of its family.

        ```python
        catalog.successor_of(catalog.get("@cf/meta/llama-3.1-8b-instruct")).id  # '@cf/meta/llama-3.1-8b-instruct-fp8'
        ```
        """
        named, passed = model, {model.id}
        while (following := self._models.get(named.successor or "")) is not None and following.id not in passed:
            named = following
            passed.add(named.id)
        if named is not model and not named.is_retired():
            return named
        name = _name(named.id)
        family = [
            one
            for one in self.models()
            if one.task == named.task
            and _is_recommended(one)
            and "beta" not in one.flags
            and _family_of(one.id) == _family_of(named.id)
        ]
        return max(family, key=lambda one: (-_halvings(named.id, one.id), _likeness(name, _name(one.id))), default=None)

    def _hint(self, model_id: str) -> str:
        near = max(self._near(model_id), default=None)
        meant = f"did you mean {near[-1]}? " if near else ""
        return f"{meant}{NoSuchModel.see_list}"

    def _near(self, model_id: str) -> Iterator[tuple[float | str, ...]]:
        """The ids like `model_id`, each after what makes it likely: a slip of the pen first, its kin, its use."""
        asked = model_id.lower()
        known = {name.lower(): name for name in (*self._models, *self._aliases)}
        for lower in difflib.get_close_matches(asked, known, n=len(known)):
            name = known[lower]
            likeness = _likeness(asked, lower)
            is_slip = likeness if likeness >= _SLIP else 0.0
            is_of_author = lower.split("/")[1:2] == asked.split("/")[1:2]
            is_of_family = _likeness(_family_of(asked), _family_of(lower)) >= _KIN
            model = self._models[self._aliases.get(name, name)]
            is_begun = lower.startswith(asked)
            yield is_slip, is_of_author, is_of_family, _is_recommended(model), is_begun, likeness, name


_CAPABILITIES: Mapping[str, Capability] = {
    "function_calling": "functions",
    "lora": "lora",
    "vision": "vision",
    "async_queue": "batch",
    "reasoning": "reasoning",
    "realtime": "realtime",
}
"""By the properties of the model list."""

_SLIP = 0.9
"""How alike an id and what was typed are where a letter or two is wrong."""

_KIN = 0.75
"""How alike two names of families are that mean the same one: lama, llama."""


def _is_recommended(model: Model) -> bool:
    """Whether it is one that people look for: Cloudflare lists it, and it does more than judge other models' words."""
    return model.status == "active" and "guard" not in model.id


def _likeness(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, other, one).ratio()


def _name(model_id: str) -> str:
    return model_id.rpartition("/")[2].lower()


def _family_of(model_id: str) -> str:
    return re.split(r"[^a-z]", _name(model_id).removeprefix("meta-"))[0]


@functools.cache
def _builtin() -> Catalog:
    rows = [model_of(row) for row in _read("models.json")]
    return Catalog(
        {model.id: model for model in rows},
        aliases=_read("aliases.json"),
        tasks=(Task(**row) for row in _read("tasks.json")),
    )


def _read(name: str) -> Any:
    return json.loads((resources.files("cfai.catalog") / name).read_text(encoding="utf-8"))


def _halvings(one: str, other: str) -> float:
    """How often the size of the larger model must be halved to be about that of the smaller one; none is of any."""
    sizes = [_size_of(one), _size_of(other)]
    return round(abs(math.log2(sizes[0] / sizes[1]))) if all(sizes) else math.inf


def _size_of(model_id: str) -> float:
    """The billions of parameters that an id names; 0 where it names none."""
    found = re.search(r"(?<![\w.])(\d+(?:\.\d+)?)b\b", _name(model_id))
    return float(found[1]) if found else 0
