"""wrangler.json, wrangler.jsonc, wrangler.toml and .dev.vars -> one `Config`."""

from __future__ import annotations

import datetime
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = [
    "CONFIG_NAMES",
    "AssetsConfig",
    "Config",
    "ConfigError",
    "D1Database",
    "KvNamespace",
    "VectorizeIndex",
    "load_config",
    "parse_dotenv",
    "read_document",
]

CONFIG_NAMES = ("wrangler.json", "wrangler.jsonc", "wrangler.toml")
SECRETS_NAME = ".dev.vars"


class ConfigError(Exception):
    """A project that cannot be read. The message says the file, the line and what was expected.

    ```python
    try:
        config = load_config("my-worker")
    except ConfigError as error:
        print(error)  # my-worker/wrangler.jsonc:3: "main" should be a string, the path of the script, not 7
    ```
    """

    def __init__(self, problem: str, *, file: Path | None = None, line: int | None = None) -> None:
        where = "" if file is None else f"{file}: " if line is None else f"{file}:{line}: "
        super().__init__(where + problem)
        self.file = file
        self.line = line


@dataclass(frozen=True, slots=True)
class AssetsConfig:
    """Static files: `assets`."""

    directory: Path
    binding: str | None = None
    run_worker_first: bool | tuple[str, ...] = False
    """Whether the script is asked before the files are; or the paths on which it is, `*` and `!` as in wrangler."""
    html_handling: str = "auto-trailing-slash"
    """Or "drop-trailing-slash", "force-trailing-slash", "none"."""
    not_found_handling: str = "none"
    """Or "single-page-application", "404-page"."""


@dataclass(frozen=True, slots=True)
class KvNamespace:
    """One of `kv_namespaces`."""

    binding: str
    id: str
    """Its `id`, or the binding's name where there is none: what its local state is kept under."""


@dataclass(frozen=True, slots=True)
class D1Database:
    """One of `d1_databases`."""

    binding: str
    id: str
    """`preview_database_id`, `database_id` or the binding's name: what its local state is kept under."""
    name: str
    migrations_dir: str = "migrations"
    migrations_table: str = "d1_migrations"


@dataclass(frozen=True, slots=True)
class VectorizeIndex:
    """One of `vectorize`."""

    binding: str
    index_name: str


@dataclass(frozen=True, slots=True)
class Config:
    """One Worker project.

    ```python
    config = load_config("examples/streaming")
    config.name, config.ai_binding  # ("streaming", "AI")
    ```
    """

    name: str
    main: Path | None
    """The script; None for a project that has static assets only."""
    root: Path
    """Where the script's imports begin: the folder of `main`, or `base_dir`."""
    compatibility_date: datetime.date
    compatibility_flags: tuple[str, ...] = ()
    vars: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Plain values of `env`, those of `.dev.vars` over those of the config file. Not in the repr: they are secrets."""
    ai_binding: str | None = "AI"
    """The name of the AI binding in `env`, None for a project without one."""
    assets: AssetsConfig | None = None
    kv_namespaces: tuple[KvNamespace, ...] = ()
    d1_databases: tuple[D1Database, ...] = ()
    vectorize: tuple[VectorizeIndex, ...] = ()
    crons: tuple[str, ...] = ()
    """The cron expressions of `triggers`."""
    environment: str | None = None
    """Which `env.<name>` of the file this is; None for the top."""
    source: Path | None = None
    """The config file; None for a single script."""
    secrets: Path | None = None
    """The `.dev.vars` that was read, if there is one."""
    secret_names: frozenset[str] = frozenset()
    """Which of `vars` come from there."""
    not_simulated: tuple[tuple[str, str], ...] = ()
    """Bindings that are declared and that cfai does not have: (name in env, kind). The name is empty for crons."""

    @property
    def state(self) -> Path:
        """Where the bindings of this project keep their data, beside wrangler's and in its form."""
        return self.folder / ".wrangler" / "state" / "v3"

    @property
    def folder(self) -> Path:
        """The project's folder."""
        return self.source.parent if self.source else self.root


def load_config(path: Path | str = ".") -> Config:
    """Read the project at `path`: a folder (or one inside it), a config file, or a single `.py` script.

    ```python
    load_config()                     # the project that the current folder is in
    load_config("wrangler.toml")
    load_config("src/entry.py")       # no config: today's date, an AI binding named AI
    ```
    """
    # The words of the caller stay in messages; what the config keeps is absolute.
    path = Path(path)
    if not path.exists():
        raise ConfigError("there is no such file or folder", file=path)
    if path.is_dir():
        return _from_file(_look_up(path))
    if path.suffix == ".py":
        return _from_script(path.absolute())
    if path.suffix in (".json", ".jsonc", ".toml"):
        return _from_file(path)
    raise ConfigError("expected a folder, a .py script, or a wrangler .json, .jsonc or .toml file", file=path)


def read_document(file: Path) -> dict[str, Any]:
    """All that stands in a config file, JSON with comments or TOML, unchecked."""
    return _Document(file, _read(file)).top


def _look_up(folder: Path) -> Path:
    start = folder.resolve()
    for at in (start, *start.parents):
        for name in CONFIG_NAMES:
            if (at / name).is_file():
                return folder / name if at == start else at / name
    raise ConfigError(
        f"no {', '.join(CONFIG_NAMES[:-1])} or {CONFIG_NAMES[-1]} here or in a folder above; "
        "a script without a config is run by its own path, such as src/entry.py",
        file=folder,
    )


def _from_script(main: Path) -> Config:
    secrets = main.parent / SECRETS_NAME
    found = secrets.is_file()
    hidden = _read_secrets(secrets) if found else {}
    return Config(
        name=main.stem,
        main=main,
        root=main.parent,
        compatibility_date=_today(),
        vars=hidden,
        secrets=secrets if found else None,
        secret_names=frozenset(hidden),
    )


def _from_file(file: Path) -> Config:
    text = _read(file)
    document = _Document(file, text)
    folder = file.absolute().parent

    main = document.get(document.top, "main", str, "a string, the path of the script")
    if main is not None:
        if not main.endswith(".py"):
            raise document.error("main", f'"main" is {main}; only Python Workers (.py) run here')
        if not (folder / main).is_file():
            raise document.error("main", f'"main" is {main}, and there is no such file')
    base = document.get(document.top, "base_dir", str, "a string, the path of a folder")
    root = folder / base if base is not None else (folder / main).parent if main is not None else folder

    assets = document.get(document.top, "assets", dict, "an object with a directory") or {}
    if isinstance(document.top.get("assets"), str):
        assets = {"directory": document.top["assets"]}
    directory = document.get(assets, "directory", str, "a string, the path of a folder")
    if directory is not None and not (folder / directory).is_dir():
        raise document.error("directory", f"the assets directory is {directory}, and there is no such folder")
    if main is None and directory is None:
        raise ConfigError('expected "main", the path of the script (or "assets" with a directory)', file=file)

    ai = document.get(document.top, "ai", dict, 'an object, {"binding": "AI"}')
    secrets = folder / SECRETS_NAME
    found = secrets.is_file()
    hidden = _read_secrets(secrets) if found else {}
    variables = document.get(document.top, "vars", dict, "an object of names and values") or {}
    return Config(
        name=document.get(document.top, "name", str, "a string") or folder.name,
        main=folder / main if main is not None else None,
        root=root,
        compatibility_date=_date(document),
        compatibility_flags=_flags(document),
        vars={**variables, **hidden},
        ai_binding=None
        if ai is None
        else document.get(ai, "binding", str, "a string, the name of the AI binding in env") or "AI",
        assets=None if directory is None else _assets(document, assets, folder / directory),
        kv_namespaces=tuple(
            KvNamespace(one["binding"], one.get("id") or one["binding"])
            for one in _tables(document.top, "kv_namespaces")
        ),
        d1_databases=tuple(
            D1Database(
                one["binding"],
                one.get("preview_database_id") or one.get("database_id") or one["binding"],
                one.get("database_name") or one["binding"],
                one.get("migrations_dir", "migrations"),
                one.get("migrations_table", "d1_migrations"),
            )
            for one in _tables(document.top, "d1_databases")
        ),
        vectorize=tuple(
            VectorizeIndex(one["binding"], one.get("index_name") or one["binding"])
            for one in _tables(document.top, "vectorize")
        ),
        crons=_crons(document.top),
        source=file.absolute(),
        secrets=secrets if found else None,
        secret_names=frozenset(hidden),
        not_simulated=tuple(_not_simulated(document.top)),
    )


def _assets(document: _Document, assets: Mapping[str, Any], directory: Path) -> AssetsConfig:
    first = assets.get("run_worker_first", False)
    return AssetsConfig(
        directory,
        document.get(assets, "binding", str, "a string, the name of the assets binding in env"),
        tuple(first) if isinstance(first, list) else bool(first),
        assets.get("html_handling", "auto-trailing-slash"),
        assets.get("not_found_handling", "none"),
    )


def _tables(top: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    found = top.get(key)
    tables = found if isinstance(found, list) else []
    return [one for one in tables if isinstance(one, dict) and isinstance(one.get("binding"), str)]


def _crons(top: Mapping[str, Any]) -> tuple[str, ...]:
    triggers = top.get("triggers")
    crons = triggers.get("crons") if isinstance(triggers, dict) else None
    return tuple(one for one in crons or () if isinstance(one, str))


_BINDINGS = {
    "kv_namespaces": "KV Namespace",
    "d1_databases": "D1 Database",
    "vectorize": "Vectorize Index",
    "r2_buckets": "R2 Bucket",
    "hyperdrive": "Hyperdrive Config",
    "services": "Worker",
    "workflows": "Workflow",
    "analytics_engine_datasets": "Analytics Engine Dataset",
    "browser": "Browser",
    "images": "Images",
    "send_email": "Send Email",
    "durable_objects": "Durable Object",
    "queues": "Queue",
}
"""Bindings of other kinds, by their key in the config, with wrangler's name for the kind."""

_LISTED_UNDER = {"durable_objects": "bindings", "queues": "producers"}


def _not_simulated(top: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    # None of it is checked: what does not run here must not keep the rest from running.
    for key, kind in _BINDINGS.items():
        found = top.get(key)
        if isinstance(found, dict):
            found = found.get(_LISTED_UNDER[key]) if key in _LISTED_UNDER else [found]
        for one in found if isinstance(found, list) else ():
            name = (one.get("binding") or one.get("name")) if isinstance(one, dict) else None
            if isinstance(name, str):
                yield name, kind
    queues = top.get("queues")
    if isinstance(queues, dict) and queues.get("consumers"):
        yield "", "Queue Consumer"


def _date(document: _Document) -> datetime.date:
    found = document.top.get("compatibility_date")
    if found is None:
        return _today()
    if type(found) is datetime.date:  # TOML has dates of its own
        return found
    try:
        return datetime.date.fromisoformat(found)
    except (TypeError, ValueError):
        problem = f'"compatibility_date" should be a date such as "2026-01-31", not {_shown(found)}'
        raise document.error("compatibility_date", problem) from None


def _flags(document: _Document) -> tuple[str, ...]:
    flags = document.get(document.top, "compatibility_flags", list, "a list of strings") or []
    if wrong := [flag for flag in flags if not isinstance(flag, str)]:
        problem = f'"compatibility_flags" should be a list of strings, not of {_shown(wrong[0])}'
        raise document.error("compatibility_flags", problem)
    return tuple(flags)


def _today() -> datetime.date:
    return datetime.datetime.now(datetime.UTC).date()


def _read(file: Path) -> str:
    try:
        return file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot be read: {error}", file=file) from error


def _shown(value: object) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 40 else f"{text[:37]}..."


class _Document:
    """A config file's values, with the line on which a key stands."""

    def __init__(self, file: Path, text: str) -> None:
        self._file = file
        self._text = text
        top = self._toml() if file.suffix == ".toml" else self._jsonc()
        if not isinstance(top, dict):
            raise ConfigError(f"expected an object at the top, not {_shown(top)}", file=file, line=1)
        self.top: dict[str, Any] = top

    def _toml(self) -> Any:
        try:
            return tomllib.loads(self._text)
        except tomllib.TOMLDecodeError as error:
            at = re.search(r" \(at line (\d+), column \d+\)$", str(error))
            problem = str(error)[: at.start()] if at else str(error)
            raise ConfigError(f"not TOML: {problem}", file=self._file, line=int(at[1]) if at else None) from None

    def _jsonc(self) -> Any:
        self._text = strip_comments(self._text)
        try:
            return json.loads(self._text)
        except json.JSONDecodeError as error:
            raise ConfigError(f"not JSON: {error.msg}", file=self._file, line=error.lineno) from None

    def error(self, key: str, problem: str) -> ConfigError:
        return ConfigError(problem, file=self._file, line=self._line_of(key))

    def _line_of(self, key: str) -> int | None:
        name = re.escape(key)
        pattern = rf'^\s*(\[+\s*)?"?{name}"?\s*[=\]]' if self._file.suffix == ".toml" else rf'"{name}"\s*:'
        found = re.search(pattern, self._text, re.MULTILINE)
        return self._text.count("\n", 0, found.start(0) + len(found[0]) - 1) + 1 if found else None

    def get(self, within: Mapping[str, Any], key: str, kind: type, expected: str) -> Any:
        """The value of `key`, of the type `kind`, or None."""
        value = within.get(key)
        if value is None or isinstance(value, kind) or (key == "assets" and isinstance(value, str)):
            return value if isinstance(value, kind) else None
        raise self.error(key, f'"{key}" should be {expected}, not {_shown(value)}')


_TOKEN = re.compile(r'"(?:\\.|[^"\\\n])*"|//[^\n]*|/\*.*?\*/|/\*.*\Z', re.DOTALL)
_TRAILING_COMMA = re.compile(r'("(?:\\.|[^"\\\n])*")|,(?=\s*[}\]])', re.DOTALL)


def strip_comments(text: str) -> str:
    """JSON with comments and trailing commas as plain JSON. Every character stays on its line and column."""

    def blank(found: re.Match[str]) -> str:
        return found[0] if found[0].startswith('"') else re.sub(r"[^\n]", " ", found[0])

    return _TRAILING_COMMA.sub(lambda found: found[1] or " ", _TOKEN.sub(blank, text))


def _read_secrets(file: Path) -> dict[str, str]:
    return parse_dotenv(_read(file), file)


_ASSIGNMENT = re.compile(
    r"""[^\S\n]*(?:export[^\S\n]+)?
        (?P<name>[\w.-]+)[^\S\n]*[=:][^\S\n]*
        (?: "(?P<double>(?:\\.|[^"\\])*)" | '(?P<single>[^']*)' | `(?P<tick>[^`]*)` | (?P<bare>[^#\n]*) )
        [^\S\n]*(?:\#[^\n]*)?(?:\n|\Z)""",
    re.VERBOSE | re.DOTALL,
)
_EMPTY_LINE = re.compile(r"[^\S\n]*(?:#[^\n]*)?(?:\n|\Z)")


def parse_dotenv(text: str, file: Path | None = None) -> dict[str, str]:
    r"""The names and values of a dotenv text.

    ```python
    parse_dotenv("KEY='a b'  # a comment\nexport URL=http://x\n")  # {"KEY": "a b", "URL": "http://x"}
    ```
    """
    text = text.replace("\r\n", "\n")
    values: dict[str, str] = {}
    at = 0
    while at < len(text):
        if empty := _EMPTY_LINE.match(text, at):
            at = empty.end()
            continue
        found = _ASSIGNMENT.match(text, at)
        if found is None:
            line = text.count("\n", 0, at) + 1
            raise ConfigError("expected NAME=value", file=file or Path(SECRETS_NAME), line=line)
        values[found["name"]] = _value(found)
        at = found.end()
    return values


def _value(found: re.Match[str]) -> str:
    if (double := found["double"]) is not None:
        # As dotenv does it: inside double quotes \n and \r are line ends, any other backslash stays.
        return double.replace("\\n", "\n").replace("\\r", "\r")
    if found["single"] is not None:
        return found["single"]
    if found["tick"] is not None:
        return found["tick"]
    return found["bare"].strip()
