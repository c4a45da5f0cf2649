"""All the models, by id."""

from __future__ import annotations

import difflib
import functools
import json
import re
from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Any, Self

from cfai.catalog.model import Model, Task
from cfai.errors import InvalidModelName, NoSuchModel

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

    def task(self, name: str) -> Task:
        """What is known about the task of that name; a task that the data do not have has a name and nothing else."""
        return self._tasks.get(name, Task(name))

    def _hint(self, model_id: str) -> str:
        known = {name.lower(): name for name in (*self._models, *self._aliases)}
        near = difflib.get_close_matches(model_id.lower(), known, n=1)
        meant = f"did you mean {known[near[0]]}? " if near else ""
        return f"{meant}{NoSuchModel.see_list}"


@functools.cache
def _builtin() -> Catalog:
    rows = [Model.from_row(row) for row in _read("models.json")]
    return Catalog(
        {model.id: model for model in rows},
        aliases=_read("aliases.json"),
        tasks=(Task(**row) for row in _read("tasks.json")),
    )


def _read(name: str) -> Any:
    return json.loads((resources.files("cfai.catalog") / name).read_text(encoding="utf-8"))
