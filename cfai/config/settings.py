"""`cfai.toml`, or `[tool.cfai]` of pyproject.toml: the user's models, and how models run.

Who says something: a command line, an environment variable (`CFAI_` and the key), the file, in this order. The nearest
file counts, alone, as for ruff and uv. Unlike theirs the search ends with the folder that has a `.git`, or at home:
what answers a prompt shall not come from a stranger's file in a folder above the project.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any, Literal

from cfai.addresses import shown_url
from cfai.catalog import Catalog
from cfai.config.document import Document, Table, read_text
from cfai.config.model_settings import ModelSettings, UpstreamSettings, read_model, take
from cfai.config.problems import ConfigError, shown
from cfai.config.values import AS_OF, DEVICE, DTYPE, DURATION, FIDELITY, LIMITS, SIZE, SWITCH, Kind, at_least
from cfai.errors import AiError
from cfai.weights import Source, with_imported

__all__ = ["KINDS", "SETTINGS_NAME", "ModelSettings", "Settings", "UpstreamSettings", "find_settings", "load_settings"]

SETTINGS_NAME = "cfai.toml"
PYPROJECT = "pyproject.toml"


@dataclass(frozen=True, slots=True)
class Settings:
    """What the user has settled once for all commands; None for what is left to cfai.

    ```python
    settings = load_settings()
    settings.memory, settings.models["@cf/mine/llama"].weights  # (8000000000, "org/llama")
    ```

    models          settings of single models by id; an id may be a new one
    memory          bytes that all loaded models may take together
    keep_alive      seconds after its last answer until a model leaves memory; 0 leaves at once, -1 never
    device          "cpu", "mps", "cuda", or several with commas between
    dtype           "float32", "bfloat16", "float16" or "int8"
    threads         CPU threads of one model
    slots           answers that a model makes at once
    queue_limit     answers that may wait for a model
    cache_tokens    tokens that one model's KV cache holds
    draft_tokens    tokens that are guessed from the text before
    torch_compile   torch.compile makes models faster on a GPU
    as_of           the day whose limits and wire form apply
    fidelity        "clean" or "production"
    demo            the demo model answers where weights are missing
    limits          which of Cloudflare's limits hold here: "rpm", "free" for the daily allowance, "all", "none"
    strict_retired  models that Cloudflare no longer serves are refused
    offline         no connection is opened for weights
    source          the file this is from; None where there is none
    """

    models: Mapping[str, ModelSettings] = field(default_factory=dict)
    memory: int | None = None
    keep_alive: float | None = None
    device: str | None = None
    dtype: str | None = None
    threads: int | None = None
    slots: int | None = None
    queue_limit: int | None = None
    cache_tokens: int | None = None
    draft_tokens: int | None = None
    torch_compile: bool | None = None
    as_of: date | None = None
    fidelity: Literal["clean", "production"] | None = None
    demo: bool | None = None
    limits: str | None = None
    strict_retired: bool | None = None
    offline: bool | None = None
    source: Path | None = None

    @property
    def catalog(self) -> Catalog:
        """The catalog with the models and figures of these settings.

        ```python
        load_settings().catalog.get("@cf/mine/llama").limits().context_window
        ```
        """
        known = with_imported(Catalog.builtin())
        return known.with_rows({name: model.catalog_row for name, model in self.models.items()})

    def source_of(self, name: str) -> Source | None:
        """Where the weights of a model are, if these settings say it.

        ```python
        load_settings().source_of("@cf/mine/llama")  # Source("./llama")
        ```
        """
        catalog = self.catalog
        sources = {catalog.get(model_id).id: model.source for model_id, model in self.models.items()}
        return sources.get(catalog.get(name).id) if name.startswith("@") else None

    def over(self, **given: Any) -> Settings:
        """These settings with those of `given` that are not None in their place, as a command line has them.

        ```python
        load_settings().over(device="cpu", memory=None).device  # "cpu"
        ```

        A `dtype` or a `keep_alive` is then that of all models, also where the file has another for one of them.
        """
        said = {key: value for key, value in given.items() if value is not None}
        general: dict[str, Any] = {key: None for key in ("dtype", "keep_alive") if key in said}
        models = {name: replace(model, **general) for name, model in self.models.items()} if general else self.models
        return replace(self, **{"models": models, **said})

    def with_weights(self, sources: Mapping[str, Source]) -> Settings:
        """These settings with other weights for some models.

        ```python
        load_settings().with_weights({"@cf/mine/llama": Source("./llama")})
        ```

        Raises `ConfigError` for an id that cannot be one.
        """
        models = dict(self.models)
        for name, source in sources.items():
            own = models.get(name, ModelSettings())
            models[name] = replace(own, weights=source.place, revision=source.revision, upstream=None)
        return _checked(replace(self, models=models))

    def with_upstreams(self, upstreams: Mapping[str, UpstreamSettings]) -> Settings:
        """These settings with servers that answer for some models.

        ```python
        load_settings().with_upstreams({"@cf/mine/llama": UpstreamSettings("http://127.0.0.1:11434")})
        ```

        What the file says of the same server beside its address stays.

        Raises `ConfigError` for an id that cannot be one.
        """
        models = dict(self.models)
        for name, upstream in upstreams.items():
            own = models.get(name, ModelSettings())
            known = upstream if own.upstream is None or own.upstream.url != upstream.url else own.upstream
            models[name] = ModelSettings(upstream=known, row=own.row, where=own.where)
        return _checked(replace(self, models=models))

    def with_pins(self, model_ids: Iterable[str]) -> Settings:
        """These settings with models that stay in memory.

        ```python
        load_settings().with_pins(["@cfai/demo/tiny-chat"])
        ```

        Raises `ConfigError` for a model that there is not, and for one that a server answers for.
        """
        models, catalog = dict(self.models), self.catalog
        for model_id in model_ids:
            try:
                known = model_id if model_id in models else catalog.get(model_id).id
            except AiError as error:
                hint = f"; {error.hint}" if error.hint else ""
                raise ConfigError(f"{error.description}{hint}") from None
            own = models.get(known, ModelSettings())
            if own.upstream is not None:
                answering = shown_url(own.upstream.url)
                raise ConfigError(f"{known} cannot be pinned: {answering} answers for it, and nothing is loaded here")
            models[known] = replace(own, pinned=True)
        return replace(self, models=models)


KINDS: Mapping[str, Kind] = {
    "memory": SIZE,
    "keep_alive": DURATION,
    "device": DEVICE,
    "dtype": DTYPE,
    "threads": at_least(1),
    "slots": at_least(1),
    "queue_limit": at_least(0),
    "cache_tokens": at_least(1),
    "draft_tokens": at_least(0),
    "torch_compile": SWITCH,
    "as_of": AS_OF,
    "fidelity": FIDELITY,
    "demo": SWITCH,
    "limits": LIMITS,
    "strict_retired": SWITCH,
    "offline": SWITCH,
}
"""The keys beside `models`, and what they hold."""


def load_settings(start: Path | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """The settings that hold in a folder, those of environment variables over those of the file.

    ```python
    load_settings().device  # "cuda", of ./cfai.toml, of [tool.cfai] in ./pyproject.toml, or of CFAI_DEVICE
    ```

    start    a folder to look in and above, or the file itself; default what CFAI_SETTINGS names, or the current folder
    environ  the variables; default those of this process

    Raises `ConfigError`, with the file and the line, for what cannot be read.
    """
    variables = os.environ if environ is None else environ
    if start is None:
        start = Path(variables.get("CFAI_SETTINGS") or ".")
    file = find_settings(start)
    settings = Settings() if file is None else _read(file)
    settings = settings.over(**_of_variables(variables))
    try:
        return settings.with_pins(variables.get("CFAI_PIN", "").split())
    except ConfigError as error:
        raise ConfigError(f"the variable CFAI_PIN: {error.problem}") from None


def find_settings(start: Path) -> Path | None:
    """The file that holds in a folder: its own, or that of the nearest folder above; None where there is none."""
    try:
        there = start.expanduser().absolute()
    except RuntimeError as error:  # ~ of nobody
        raise ConfigError(str(error), file=start) from None
    if there.is_file():
        return there
    if not there.is_dir():
        raise ConfigError("there is no such file or folder", file=start)
    for folder in _searched(there):
        own = folder / SETTINGS_NAME
        pyproject = folder / PYPROJECT
        has_table = _has_table(pyproject)
        if _is_there(own) or own.is_symlink():  # one that leads nowhere is a mistake, not none
            if has_table:
                raise ConfigError(f"there is a {own.name} beside it; keep one of them", file=pyproject)
            return own
        if has_table:
            return pyproject
    return None


def _searched(start: Path) -> Iterator[Path]:
    home = os.environ.get("HOME") or os.environ.get("USERPROFILE")
    for folder in (start, *start.parents):
        yield folder
        if _is_there(folder / ".git") or str(folder) == home:
            return


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a folder above that nobody else may look into
        return False


def _has_table(pyproject: Path) -> bool:
    try:
        text = pyproject.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return False
    if "tool" not in text or "cfai" not in text:
        return False
    try:
        tool = Document(pyproject, text).top.values.get("tool")
        return isinstance(tool, dict) and "cfai" in tool
    except ConfigError:
        # What other tools keep there is theirs, and no fault in it stops cfai.
        if "[tool.cfai" in text:
            raise
        return False


def _read(file: Path) -> Settings:
    document = Document(file, read_text(file))
    top: Table | None = document.top
    if file.name == PYPROJECT:
        tool = document.top.table("tool", "a table of tools")
        top = tool and tool.table("cfai", "a table, [tool.cfai]")
        if top is None:
            raise ConfigError("there is no [tool.cfai] in it", file=file)
    assert top is not None, "the top of a document is a table"
    top.refuse_unknown((*KINDS, "models"))
    given = take(top, KINDS)
    models = top.table("models", 'a table of models by id, [models."@cf/mine/llama"]')
    read = {} if models is None else {model_id: read_model(models, model_id) for model_id in models.values}
    return _checked(Settings(models=read, source=file, **given), models)


def _checked(settings: Settings, models: Table | None = None) -> Settings:
    try:
        _ = settings.catalog
    except ValueError as error:
        model_id, _, problem = str(error).partition(": ")
        if models is not None and model_id in models:
            raise models.error(model_id, f'"{models.path(model_id)}": {problem}') from None
        raise ConfigError(str(error)) from None
    return settings


def _of_variables(variables: Mapping[str, str]) -> dict[str, Any]:
    given = {}
    for key, kind in KINDS.items():
        name = f"CFAI_{key.upper()}"
        if text := variables.get(name):
            try:
                given[key] = kind.spell(text)
            except ValueError:
                raise ConfigError(f"the variable {name} should be {kind.complaint(text)}, not {shown(text)}") from None
    return given
