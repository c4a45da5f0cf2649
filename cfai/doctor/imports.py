"""Imports and dependencies that Cloudflare's Pyodide, or this Python, does not have."""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from cfai.config import Config
from cfai.doctor.findings import Finding
from cfai.doctor.names import COMPILED
from cfai.doctor.sources import Import, Source
from cfai.worker.compat import Compat
from cfai.worker.distributions import distribution_of

__all__ = ["check_imports"]

GIVEN = frozenset(("asgi", "js", "micropip", "pyodide", "pyodide_js", "workers", "wsgi"))
"""What the runtime has beside the standard library."""


def check_imports(sources: list[Source], config: Config, compat: Compat) -> Iterator[Finding]:
    pyodide = _pyodide(compat.pyodide)
    project = _Project.read(config.folder)
    if (file := config.folder / "requirements.txt").is_file() and sources:
        why = "pywrangler stops at it: Delete the file to continue."
        fix = "put its lines into dependencies in pyproject.toml"
        yield Finding("error", file, 1, "requirements.txt is no longer read", why, fix)
    yield from _of_project(project, pyodide)
    told: set[str] = set()
    for source in sources:
        for one in source.imports:
            top = one.module.partition(".")[0]
            if one.is_local or one.is_guarded or top in told or top in GIVEN or top.startswith("_"):
                continue
            told.add(top)
            yield from _import(source, one, top, config, pyodide, project)


@dataclass(frozen=True, slots=True)
class _Pyodide:
    version: str
    missing: frozenset[str]
    packages: dict[str, list[str]]

    @property
    def imports(self) -> set[str]:
        return {name for names in self.packages.values() for name in names}


def _pyodide(version: str) -> _Pyodide:
    """What is known of the version, or of the one nearest to it: Cloudflare's 0.26.0a2 is npm's 0.26.4."""
    known = json.loads((resources.files("cfai.doctor") / "pyodide.json").read_text("utf-8"))
    same = next(
        one for one in known if one.split(".")[:2] == version.split(".")[:2] or one.split(".")[0] == version[:3]
    )
    return _Pyodide(version, frozenset(known[same]["missing"]), known[same]["packages"])


@dataclass(frozen=True, slots=True)
class _Project:
    """pyproject.toml: the dependencies by their normal name, and the line of each."""

    file: Path | None = None
    dependencies: dict[str, int] = field(default_factory=dict)
    problem: str = ""

    @classmethod
    def read(cls, folder: Path) -> _Project:
        file = folder / "pyproject.toml"
        if not file.is_file():
            return cls()
        try:
            text = file.read_text("utf-8")
            whole: Any = tomllib.loads(text)
            found = whole.get("project", {}).get("dependencies", [])
        except (OSError, ValueError, AttributeError) as error:
            return cls(file, problem=str(error))
        lines = text.splitlines()
        dependencies = {}
        for one in found if isinstance(found, list) else ():
            if isinstance(one, str) and (name := re.match(r"[A-Za-z0-9._-]+", one)):
                line = next((at for at, line in enumerate(lines, 1) if f'"{one}"' in line or f"'{one}'" in line), 1)
                dependencies[_normal(name[0])] = line
        return cls(file, dependencies)


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _of_project(project: _Project, pyodide: _Pyodide) -> Iterator[Finding]:
    if project.problem:
        yield Finding("error", project.file, None, f"not TOML: {project.problem}")
    for name, line in project.dependencies.items():
        if name not in pyodide.packages and _is_compiled(name):
            yield Finding("error", project.file, line, *_no_build(name, pyodide))


def _no_build(name: str, pyodide: _Pyodide) -> tuple[str, str, str]:
    return (
        f"{name} does not install on Cloudflare",
        f"it has compiled code, and Pyodide {pyodide.version} has no build of it",
        "a package in pure Python, or a service that does it",
    )


def _import(
    source: Source, one: Import, top: str, config: Config, pyodide: _Pyodide, project: _Project
) -> Iterator[Finding]:
    def finding(level: Any, what: str, why: str, fix: str) -> Finding:
        return Finding(level, source.file, one.line, what, why, fix)

    if top == "src" and (config.root.parent / "src").is_dir():
        inner = one.module.partition(".")[2] or "entry"
        why = f"imports begin in {config.root.name}/: ModuleNotFoundError: No module named 'src'"
        yield finding("error", f"import of {one.module}", why, f"from {inner} import ...")
    elif top in sys.stdlib_module_names or top in pyodide.missing:
        if top in pyodide.missing:
            why = f"Pyodide {pyodide.version} does not have it: ModuleNotFoundError: No module named '{top}'"
            yield finding("error", f"import {top}", why, "do without it")
    elif top == "cfai":
        why = "cfai is not on Cloudflare, and what it needs does not install there"
        yield finding("warning", "import cfai", why, "await self.env.AI.run(...), which is the same here and there")
    elif not (config.root / "python_modules" / top).exists():
        yield from _package(finding, top, pyodide, project)


def _package(finding: Any, top: str, pyodide: _Pyodide, project: _Project) -> Iterator[Finding]:
    names = sorted({_normal(one) for one in metadata.packages_distributions().get(top, ())})
    in_pyodide = next((name for name, imports in pyodide.packages.items() if top in imports), None)
    if not names:
        name = in_pyodide or _normal(distribution_of(top))
        if name in COMPILED and in_pyodide is None:
            yield finding("error", *_no_build(name, pyodide))
        else:
            why = f"here it raises ModuleNotFoundError: No module named '{top}'"
            yield finding(
                "error",
                f"{top} is not installed in this Python",
                why,
                f"pip install {name}, or cfai dev --python with one that has it",
            )
        return
    compiled = next((name for name in names if _is_compiled(name)), None)
    if compiled and in_pyodide is None and not any(name in pyodide.packages for name in names):
        if compiled not in project.dependencies:  # otherwise it is told there
            yield finding("error", *_no_build(compiled, pyodide))
        return
    if not any(name in _closure(project) for name in names):
        if project.file is None:
            why = "Cloudflare gets packages by pywrangler, from the dependencies in pyproject.toml, and there is none"
        else:
            why = "Cloudflare gets what stands in the dependencies of pyproject.toml"
        yield finding("warning", f"{top} is not among the dependencies", why, f'dependencies = ["{names[0]}", ...]')


def _is_compiled(name: str) -> bool:
    """Whether a package consists of compiled code, as far as it is known here."""
    if name in COMPILED:
        return True
    try:
        files = metadata.files(name) or ()
        wheel = metadata.distribution(name).read_text("WHEEL") or ""
    except metadata.PackageNotFoundError:
        return False
    return "Root-Is-Purelib: false" in wheel and any(one.suffix in (".so", ".pyd") for one in files)


def _closure(project: _Project) -> set[str]:
    """The dependencies, and what they need in turn, as far as they are installed here."""
    found: set[str] = set()
    waiting = list(project.dependencies)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            try:
                needed = metadata.requires(name) or ()
            except metadata.PackageNotFoundError:
                continue
            waiting += [_normal(one[0]) for line in needed if (one := re.match(r"[A-Za-z0-9._-]+", line))]
    return found
