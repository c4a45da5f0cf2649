"""All findings about one project."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path

from cfai.catalog import Catalog
from cfai.config import Config, ConfigError, load_config
from cfai.doctor.findings import Finding
from cfai.doctor.handlers import check_handlers
from cfai.doctor.idioms import check_idioms
from cfai.doctor.imports import check_imports
from cfai.doctor.models import check_models
from cfai.doctor.sources import read_sources
from cfai.worker.compat import Compat

__all__ = ["examine"]


def examine(
    path: Path | str = ".", *, environment: str | None = None, config_file: Path | str | None = None
) -> list[Finding]:
    """What would break in the project at `path`, by file and line.

    ```python
    for finding in examine("my-worker"):
        print(finding.level, finding.file, finding.line, finding.what)
    ```
    """
    try:
        config = load_config(path, environment=environment, config_file=config_file)
    except ConfigError as error:
        odd = [Finding("warning", one.file, one.line, one.problem) for one in error.remarks]
        return [Finding("error", error.file, error.line, error.problem), *odd]
    compat = Compat(config.compatibility_date, frozenset(config.compatibility_flags))
    sources, findings = read_sources(config)
    findings += _of_config(config)
    if sources and sources[0].file == config.main:
        findings += check_handlers(sources[0], sources, config, compat)
    told: set[str] = set()
    findings += check_idioms(sources, config, compat)
    for source in sources:
        findings += check_models(source, Catalog.builtin(), told)
    findings += check_imports(sources, config, compat)
    order = {source.file: place for place, source in enumerate(sources, 1)}
    return sorted(
        dict.fromkeys(findings),
        key=lambda one: (order.get(one.file, 0) if one.file else 0, str(one.file), one.line or 0),
    )


def _of_config(config: Config) -> Iterator[Finding]:
    for remark in config.warnings:
        is_refused = "refuses it" in remark.problem
        yield Finding("error" if is_refused else "warning", remark.file, remark.line, remark.problem)
    today = datetime.datetime.now(datetime.UTC).date()
    if config.compatibility_date > today:
        yield Finding(
            "error",
            config.source,
            None,
            f"compatibility_date {config.compatibility_date} is in the future",
            "Cloudflare takes no date that has not come",
            f"{today} is the latest",
        )
    for name, kind in config.not_simulated:
        if name:
            what = f"env.{name}: {kind} bindings are not simulated here"
            yield Finding("note", config.source, None, what, "an error says so when the script uses it")
