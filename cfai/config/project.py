"""A Worker project: its config file, one of its environments, and its secrets -> one `Config`."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cfai.config import bindings
from cfai.config.bindings import BINDINGS, AssetsConfig, D1Database, KvNamespace, VectorizeIndex
from cfai.config.cron import Cron, CronError
from cfai.config.document import Document, read_text
from cfai.config.environments import Settings, choose
from cfai.config.flags import problems_of_flags
from cfai.config.problems import ConfigError, Remark, shown
from cfai.config.secrets import Secrets, read_secrets

__all__ = ["CONFIG_NAMES", "Config", "find_config", "load_config", "parse_variable"]

CONFIG_NAMES = ("wrangler.json", "wrangler.jsonc", "wrangler.toml")


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
    """Plain values of `env`: of the config file, the secrets over those. Not in the repr: some are secret."""
    ai_binding: str | None = "AI"
    """The name of the AI binding in `env`, None for a project without one."""
    assets: AssetsConfig | None = None
    kv_namespaces: tuple[KvNamespace, ...] = ()
    d1_databases: tuple[D1Database, ...] = ()
    vectorize: tuple[VectorizeIndex, ...] = ()
    crons: tuple[str, ...] = ()
    """The cron expressions of `triggers`."""
    version_metadata: str | None = None
    """The name of the binding that says which version of the Worker runs."""
    environment: str | None = None
    """Which `env.<name>` of the file this is; None for the top."""
    source: Path | None = None
    """The config file; None for a single script."""
    secrets: tuple[Path, ...] = ()
    """The `.dev.vars` or `.env` files that were read."""
    secret_names: frozenset[str] = frozenset()
    """Which of `vars` come from there."""
    not_simulated: tuple[tuple[str, str], ...] = ()
    """Bindings that are declared and that cfai does not have: (name in env, kind). Some kinds have no name there."""
    warnings: tuple[Remark, ...] = ()
    """What is odd about the project and stops nothing, a line each."""

    @property
    def state(self) -> Path:
        """Where the bindings of this project keep their data, beside wrangler's and in its form."""
        return self.folder / ".wrangler" / "state" / "v3"

    @property
    def folder(self) -> Path:
        """The project's folder."""
        return self.source.parent if self.source else self.root


def load_config(
    path: Path | str = ".",
    *,
    environment: str | None = None,
    config_file: Path | str | None = None,
    variables: Mapping[str, str] | None = None,
    strict: bool = False,
    environ: Mapping[str, str] | None = None,
) -> Config:
    """Read the project at `path`: a folder (or one inside it), a config file, or a single `.py` script.

    environment  the `env.<name>` to read, default CLOUDFLARE_ENV; "" is the top
    config_file  another config file than that of the folder; for a script, the config it is read with
    variables    more of `vars`, over all others
    strict       refuse what Cloudflare refuses and cfai does not mind
    environ      the variables of this process

    ```python
    load_config()                     # the project that the current folder is in
    load_config("wrangler.toml", environment="staging")
    load_config("src/entry.py")       # no config: today's date, an AI binding named AI
    ```
    """
    # The words of the caller stay in messages; what the config keeps is absolute.
    path = Path(path)
    environ = os.environ if environ is None else environ
    environment = environ.get("CLOUDFLARE_ENV") if environment is None else environment
    file = find_config(path, config_file)
    try:
        if file is None:
            config = _from_script(path, environment or None, environ)
        else:
            script = path.absolute() if path.suffix == ".py" else None
            config = _from_file(file, environment or None, environ, script, strict=strict)
    except PermissionError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", file=Path(error.filename)) from error
    return replace(config, vars={**config.vars, **variables}) if variables else config


def parse_variable(text: str) -> tuple[str, str]:
    """`NAME:VALUE`, as given to `--var`; a ValueError says what is wrong with it."""
    name, colon, value = text.partition(":")
    if not name or not colon:
        raise ValueError(f"{text!r} is not of the form NAME:VALUE, for example GREETING:hello")
    return name, value


def find_config(path: Path, config_file: Path | str | None = None) -> Path | None:
    """The config file of the project at `path`; None for a script, which needs none."""
    try:
        return _find(path, None if config_file is None else Path(config_file))
    except PermissionError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", file=path) from error


def _find(path: Path, config_file: Path | None) -> Path | None:
    if not path.exists():
        raise ConfigError("there is no such file or folder", file=path)
    if config_file is not None:
        beside = (path if path.is_dir() else path.parent) / config_file
        file = config_file if config_file.exists() else beside
        if not file.exists():
            raise ConfigError("there is no such config file", file=config_file)
        if file.suffix not in _SUFFIXES:
            raise ConfigError("expected a .json, .jsonc or .toml file", file=file)
        return file
    if path.is_dir():
        return _look_up(path)
    if path.suffix == ".py":
        return None
    if path.suffix in _SUFFIXES:
        return path
    raise ConfigError("expected a folder, a .py script, or a wrangler .json, .jsonc or .toml file", file=path)


_SUFFIXES = (".json", ".jsonc", ".toml")


def _look_up(folder: Path) -> Path:
    start = folder.resolve()
    # As wrangler: a wrangler.json in a folder above comes before a wrangler.toml here.
    for name in CONFIG_NAMES:
        for at in (start, *start.parents):
            if (at / name).is_file():
                return folder / name if at == start else at / name
            if at == start and (at / name).is_dir():
                raise ConfigError("this is a folder, and a file was expected", file=folder / name)
    raise ConfigError(
        f"no {', '.join(CONFIG_NAMES[:-1])} or {CONFIG_NAMES[-1]} here or in a folder above; "
        "a script without a config is run by its own path, such as src/entry.py",
        file=folder.absolute() if folder == Path() else folder,
    )


def _from_script(script: Path, environment: str | None, environ: Mapping[str, str]) -> Config:
    secrets = read_secrets(script.parent, environment, environ)
    main = script.absolute()
    return Config(
        name=main.stem,
        main=main,
        root=main.parent,
        compatibility_date=_today(),
        vars=secrets.values,
        environment=environment,
        secrets=tuple(one.absolute() for one in secrets.files),
        secret_names=frozenset(secrets.values),
        warnings=(*_without_environments(environment, script), *secrets.remarks),
    )


def _without_environments(environment: str | None, script: Path) -> Iterator[Remark]:
    if environment:
        problem = f'a single script has no environments: "{environment}" only chooses .dev.vars.{environment}'
        yield Remark(f"{problem} or .env.{environment}; environments are those of a wrangler config", script)


def _from_file(
    file: Path, environment: str | None, environ: Mapping[str, str], script: Path | None, *, strict: bool
) -> Config:
    document = Document(file, read_text(file))
    folder = file.absolute().parent
    settings = choose(document.top, environment)
    main = script or _main(settings, folder)
    assets = bindings.assets(settings, folder)
    if main is None and assets is None:
        problem = 'expected "main", the path of the script (or "assets" with a directory)'
        raise ConfigError(problem, file=file, remarks=document.remarks)
    base = settings.at("base_dir").text("base_dir", "the path of a folder")
    flags = settings.at("compatibility_flags").texts("compatibility_flags")
    if main is not None and "python_workers" not in flags:
        _miss_the_flag(settings, strict=strict)
    for problem in problems_of_flags(flags):
        settings.at("compatibility_flags").remark("compatibility_flags", problem)
    variables = _variables(settings)
    secrets = _secrets(settings, file.parent, environment, environ, variables)
    ai = bindings.ai_binding(settings)
    _refuse_names_given_twice(settings, variables)
    return Config(
        name=settings.worker_name(folder.name),
        main=main,
        root=folder / base if base is not None else main.parent if main is not None else folder,
        compatibility_date=_date(settings),
        compatibility_flags=flags,
        vars={**variables, **secrets.values},
        ai_binding=ai,
        assets=assets,
        kv_namespaces=bindings.kv_namespaces(settings),
        d1_databases=bindings.d1_databases(settings),
        vectorize=bindings.vectorize(settings),
        crons=_crons(settings, strict=strict),
        version_metadata=bindings.simple_binding(settings, "version_metadata"),
        environment=settings.name,
        source=file.absolute(),
        secrets=tuple(one.absolute() for one in secrets.files),
        secret_names=frozenset(secrets.values),
        not_simulated=tuple(
            (name, label) for name, key, label, _ in bindings.declared(settings) if not _is_simulated(key, label)
        ),
        warnings=(*document.remarks, *secrets.remarks),
    )


def _is_simulated(key: str, label: str) -> bool:
    return BINDINGS[key].is_simulated and label == BINDINGS[key].label


def _main(settings: Settings, folder: Path) -> Path | None:
    within = settings.at("main")
    main = within.text("main", "the path of the script")
    if main is None:
        return None
    if not main.endswith(".py"):
        raise within.error("main", f'"main" is {main}; only Python Workers (.py) run here')
    if not (folder / main).is_file():
        raise within.error("main", f'"main" is {main}, and there is no such file')
    return folder / main


def _miss_the_flag(settings: Settings, *, strict: bool) -> None:
    refusal = "The `python_workers` compatibility flag is required to use Python."
    within = settings.at("compatibility_flags")
    key = "compatibility_flags" if "compatibility_flags" in within else "main"
    if strict:
        raise within.error(key, refusal)
    within.remark(key, f"runs here, and wrangler refuses it: {refusal}")


def _variables(settings: Settings) -> dict[str, Any]:
    table = settings.at("vars").table("vars", "an object of names and values")
    for name, value in (table.values if table is not None else {}).items():
        if table is not None and isinstance(value, datetime.date | datetime.time):
            problem = f'"{table.path(name)}" is a date of TOML; a string is expected, {name} = "{value}"'
            raise table.error(name, problem)
    return {} if table is None else table.values


def _secrets(
    settings: Settings,
    folder: Path,
    environment: str | None,
    environ: Mapping[str, str],
    variables: Mapping[str, Any],
) -> Secrets:
    table = settings.at("secrets").table("secrets", 'an object, {"required": ["NAME"]}')
    secrets = read_secrets(folder, environment, environ, with_environ=table is not None)
    if table is None:
        return secrets
    # A config that names its secrets gets those and no others.
    required = table.texts("required")
    for name in required:
        if name not in secrets.values:
            table.remark("required", f'the secret "{name}" is required; write it into .dev.vars')
    return secrets.limited_to(frozenset(required) | frozenset(variables))


def _refuse_names_given_twice(settings: Settings, variables: Mapping[str, Any]) -> None:
    taken = dict.fromkeys(variables, "Environment Variable")
    for name, key, label, line in bindings.declared(settings):
        if not name:
            continue
        if name in taken:
            both = f"multiple {label}" if taken[name] == label else f"{taken[name]} and {label}"
            problem = f"{name} assigned to {both} bindings. Each needs a name of its own in env"
            raise ConfigError(problem, file=settings.top.document.file, line=line or settings.at(key).line(key))
        taken[name] = label


def _crons(settings: Settings, *, strict: bool) -> tuple[str, ...]:
    triggers = settings.at("triggers").table("triggers", 'an object, {"crons": ["0 * * * *"]}')
    if triggers is None:
        return ()
    triggers.remark_unknown(("crons", "events"))
    crons = triggers.texts("crons", "a list of cron expressions")
    for at, expression in enumerate(crons):
        try:
            Cron.parse(expression)
        except CronError as error:
            # wrangler passes it on to Cloudflare, which refuses it, and runs the Worker.
            line = triggers.document.line_of((*triggers.place, "crons", at))
            problem = f'"{triggers.path("crons")}" has "{expression}", which is no cron expression: {error}'
            if strict:
                raise ConfigError(problem, file=triggers.document.file, line=line) from None
            triggers.document.remark(f"{problem}; it is not run", line)
    return crons


def _date(settings: Settings) -> datetime.date:
    within = settings.at("compatibility_date")
    found = within.values.get("compatibility_date")
    if found is None:
        today = _today()
        within.remark(None, f'no "compatibility_date"; {today} is taken, and wrangler takes one of its own')
        return today
    if type(found) is datetime.date:  # TOML has dates of its own
        return found
    try:
        return datetime.date.fromisoformat(found)
    except (TypeError, ValueError):
        problem = f'"compatibility_date" should be a date such as "2026-01-31", not {shown(found)}'
        raise within.error("compatibility_date", problem) from None


def _today() -> datetime.date:
    return datetime.datetime.now(datetime.UTC).date()
