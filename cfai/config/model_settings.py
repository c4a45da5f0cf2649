"""One model of `cfai.toml`: where its weights are or who answers for it, and what the catalog shall say of it."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from cfai.addresses import check_upstream_url, shown_url
from cfai.catalog import ROW_FIELDS, Catalog
from cfai.catalog.rows import fields_of
from cfai.config.document import Table
from cfai.config.problems import shown
from cfai.config.values import DTYPE, DURATION, SWITCH, TEXT, Kind
from cfai.errors import InvalidModelName, NoSuchModel
from cfai.weights import with_imported
from cfai.weights.source import Source, is_repository_name

__all__ = ["MODEL_KEYS", "ModelSettings", "UpstreamSettings", "read_model", "take"]

CLOUDFLARE = "https://api.cloudflare.com/client/v4"


@dataclass(frozen=True, slots=True)
class UpstreamSettings:
    """A server that answers for a model.

    ```python
    UpstreamSettings("http://127.0.0.1:11434/v1", model="llama3.2")
    ```

    url        where its OpenAI endpoints are; without a path, `/v1` of it
    model      the name it knows the model by; None is the model's id, or the one model that it has
    token_env  the environment variable that has its token
    kind       "openai" for vLLM, SGLang, llama.cpp, Ollama and their like, "cloudflare" for Workers AI itself
    """

    url: str
    model: str | None = None
    token_env: str | None = None
    kind: Literal["openai", "cloudflare"] = "openai"


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """What the user says about one model.

    ```python
    ModelSettings(weights="./llama-2-7b-chat", pinned=True)
    ```

    weights     a folder, a `.gguf` file, or a repository of the hub, `org/name`
    revision    the commit, tag or branch of that repository; None is its newest
    upstream    the server that answers in place of weights
    adapters    names of LoRA adapters to their folders
    pinned      the model stays in memory
    keep_alive  seconds after its last answer until it leaves memory; 0 leaves at once, -1 never, None is as for all
    dtype       "float32", "bfloat16", "float16" or "int8"; None is what suits
    row         what the catalog says of it, in the form of its data file; over what it says already
    where       the file and line where this stands, for messages
    """

    weights: str | None = None
    revision: str | None = None
    upstream: UpstreamSettings | None = None
    adapters: Mapping[str, Path] = field(default_factory=dict)
    pinned: bool = False
    keep_alive: float | None = None
    dtype: str | None = None
    row: Mapping[str, Any] = field(default_factory=dict)
    where: str = field(default="", compare=False)

    @property
    def source(self) -> Source | None:
        """Where the weights are, as `cfai.weights.find` takes it; None where nothing is said."""
        return None if self.weights is None else Source(self.weights, self.revision)

    @property
    def catalog_row(self) -> Mapping[str, Any]:
        """The row for `Catalog.with_rows`: `row`, and the repository that the weights are from."""
        if self.weights is None or not is_repository(self.weights):
            return self.row
        weights = {"repo": self.weights, "revision": self.revision, "evidence": "told"}
        return {**self.row, "weights": weights}


ROW_KEYS = tuple(sorted(ROW_FIELDS - {"weights", "bundled", "sources", "uuid", "seen"}))
"""The fields of a row of the catalog that a user may set."""

_KINDS = {"weights": TEXT, "revision": TEXT, "pinned": SWITCH, "keep_alive": DURATION, "dtype": DTYPE}
_UPSTREAM_KINDS = {"url": TEXT, "model": TEXT, "token_env": TEXT}
_OF_WEIGHTS = ("revision", "adapters", "pinned", "keep_alive", "dtype")
"""Keys that say nothing of a model that a server answers for."""
MODEL_KEYS = (*_KINDS, "upstream", "adapters", *ROW_KEYS)


def is_repository(weights: str) -> bool:
    """Whether `weights` has the form of a repository's name, `org/name`."""
    return is_repository_name(weights) and not weights.endswith(".gguf")


def take(table: Table, kinds: Mapping[str, Kind]) -> dict[str, Any]:
    """The values of `table` that `kinds` names, each as its kind reads it."""
    taken = {}
    for key, kind in kinds.items():
        if key in table:
            try:
                taken[key] = kind.read(table.values[key])
            except ValueError:
                given = table.values[key]
                problem = f'"{table.path(key)}" should be {kind.complaint(given)}, not {shown(given)}'
                raise table.error(key, problem) from None
    return taken


def read_model(models: Table, model_id: str) -> ModelSettings:
    """The settings under one id of the table `models`; a bare string is the place of its weights."""
    if isinstance(bare := models.values[model_id], str):
        models = Table(models.document, {model_id: {"weights": bare}}, models.place)
    table = models.table(model_id, 'a table such as { weights = "org/name" }, or a string, the place of its weights')
    assert table is not None, "the key is one of the table's own, and TOML has no null"
    table.refuse_unknown(MODEL_KEYS)
    given = take(table, _KINDS)
    upstream = _upstream(table)
    if upstream is not None and "weights" in given:
        raise table.error("upstream", f'"{model_id}" has both "weights" and "upstream"; one of them can answer')
    if upstream is not None and (idle := [key for key in _OF_WEIGHTS if key in table]):
        problem = f'"{table.path(idle[0])}" is about weights, and {shown_url(upstream.url)} answers in their place'
        raise table.error(idle[0], problem)
    if "weights" in given:
        given["weights"] = _place(table, given["weights"])
    if "revision" in given and not is_repository(given.get("weights") or ""):
        problem = f'"{table.path("revision")}" is of a repository of the hub; name it with weights = "org/name"'
        raise table.error("revision", problem)
    row = {key: _field(table, key) for key in ROW_KEYS if key in table}
    line = table.line()
    where = f"{table.document.file}:{line}" if line else str(table.document.file)
    model = ModelSettings(**given, upstream=upstream, adapters=_adapters(table), row=row, where=where)
    _check_id(models, model_id, model)
    return model


def _place(table: Table, weights: str) -> str:
    """An absolute path, or the name of a repository."""
    path = _path(table, "weights", weights)
    # What is not there may be on a disk that is not mounted: only who asks for the model has to know.
    if weights.startswith((".", "/", "~")) or weights.endswith(".gguf") or _is_there(path):
        return str(path)
    if not is_repository(weights):
        problem = f"there is no folder {path}, and {shown(weights)} is no repository of the hub, org/name"
        raise table.error("weights", f'"{table.path("weights")}": {problem}')
    return weights


def _path(table: Table, key: str, text: str) -> Path:
    try:
        return table.document.file.absolute().parent / Path(text).expanduser()
    except RuntimeError:  # ~ of nobody
        raise table.error(key, f'"{table.path(key)}": there is no home folder for {shown(text)}') from None


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name too long to be one
        return False


def _adapters(table: Table) -> dict[str, Path]:
    adapters = table.table("adapters", 'a table of names and folders, { pirate = "./pirate" }')
    if adapters is None:
        return {}
    kinds = {name: Kind("the folder of an adapter", TEXT.read, TEXT.spell) for name in adapters.values}
    return {name: _path(adapters, name, place) for name, place in take(adapters, kinds).items()}


def _upstream(table: Table) -> UpstreamSettings | None:
    if isinstance(bare := table.values.get("upstream"), str):
        table = Table(table.document, {"upstream": {"url": bare}}, table.place)
    within = table.table("upstream", 'the address of a server, or a table such as { url = "http://127.0.0.1:8000/v1" }')
    if within is None:
        return None
    within.refuse_unknown(
        ("url", "model", "token_env", "kind"), advice={"token": 'write token_env = "NAME", the variable that has it'}
    )
    kind = within.choice("kind", "openai", ("openai", "cloudflare"))
    given = take(within, _UPSTREAM_KINDS)
    if re.fullmatch(r"\w+", given.get("token_env", "_"), re.ASCII) is None:  # not shown: it may be the token
        problem = f'"{within.path("token_env")}" should be the name of a variable, such as "VLLM_TOKEN", not its value'
        raise within.error("token_env", problem)
    if kind == "cloudflare":
        given = {"url": CLOUDFLARE, "token_env": "CLOUDFLARE_API_TOKEN", **given}
    if "url" not in given:
        raise within.error(None, f'"{within.path("url")}" is missing; expected the address of a server')
    try:
        check_upstream_url(given["url"])
    except ValueError as error:
        raise within.error("url", f'"{table.path("upstream")}": {error}') from None
    return UpstreamSettings(**given, kind="cloudflare" if kind == "cloudflare" else "openai")


def _field(table: Table, key: str) -> Any:
    value = _plain(table.values[key])
    try:
        fields_of({key: value})
    except ValueError as error:
        raise table.error(key, f'"{table.name}": {error}') from None
    return value


def _plain(value: Any) -> Any:
    """A value as JSON has it: TOML's dates are strings there."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return value.isoformat() if isinstance(value, datetime.date | datetime.time) else value


def _check_id(models: Table, model_id: str, model: ModelSettings) -> None:
    try:
        with_imported(Catalog.builtin()).get(model_id)
    except InvalidModelName:
        problem = f'"{model_id}" cannot be the id of a model; one looks like "@cf/mine/llama", with a name of your own'
        raise models.error(model_id, problem) from None
    except NoSuchModel as error:
        if model.weights is None and model.upstream is None:
            near = re.search(r"did you mean (\S+)\?", error.hint)
            ways = 'weights = "org/name" or upstream = "http://..." makes a new one of it, and so does `cfai import`'
            raise models.error(model_id, f'there is no model "{model_id}"; {ways}{_or(near)}') from None


def _or(near: re.Match[str] | None) -> str:
    return "" if near is None else f', or did you mean "{near[1]}"?'
