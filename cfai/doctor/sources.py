"""The modules of a Worker: its script, and what that imports from its own folder, read and never run."""

from __future__ import annotations

import ast
import platform
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cfai.config import Config
from cfai.doctor.findings import Finding

__all__ = ["Import", "Source", "defines", "read_sources", "replaces_env", "scopes"]

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Import:
    """One module that is imported, by its whole name."""

    module: str
    line: int
    is_guarded: bool
    """Whether the script goes on without it: an `except ImportError`, or for type checkers only."""
    is_local: bool
    """Whether it was found in the project."""


@dataclass(frozen=True, slots=True)
class Source:
    """One module."""

    file: Path
    tree: ast.Module
    imports: tuple[Import, ...]
    names: Mapping[str, str]
    """Where the names that were imported come from, such as {"Response": "workers.Response"}; what has two origins, or
    is assigned as well, is left out."""

    def origin(self, node: ast.expr) -> str:
        """The dotted name that an expression stands for, such as "js.Headers.new"; empty if it is none."""
        if isinstance(node, ast.Name):
            return self.names.get(node.id, "")
        if isinstance(node, ast.Attribute):
            base = self.origin(node.value)
            return f"{base}.{node.attr}" if base else ""
        return ""

    def finding(self, level: str, node: ast.AST, what: str, why: str = "", fix: str = "") -> Finding:
        assert level in ("error", "warning", "note")
        return Finding(level, self.file, getattr(node, "lineno", None), what, why, fix)  # type: ignore[arg-type]


def read_sources(config: Config) -> tuple[list[Source], list[Finding]]:
    """The script and all that it imports from `config.root`; a finding for each file that is no Python."""
    sources: list[Source] = []
    findings: list[Finding] = []
    waiting = [config.main] if config.main is not None else []
    seen = set(waiting)
    while waiting:
        file = waiting.pop(0)
        try:
            tree = ast.parse(file.read_bytes(), str(file))
        except (SyntaxError, ValueError, RecursionError) as error:
            line = error.lineno if isinstance(error, SyntaxError) else None
            problem = error.msg if isinstance(error, SyntaxError) else str(error)
            why = f"read by Python {platform.python_version()}; Cloudflare's may be newer and know it"
            findings.append(Finding("error", file, line, f"{type(error).__name__}: {problem}", why))
            continue
        except OSError as error:
            findings.append(Finding("error", file, None, f"cannot be read: {error.strerror}"))
            continue
        imports, files = _imports(tree, file, config.root)
        sources.append(Source(file, tree, imports, _names(tree)))
        for one in files:
            if one not in seen:
                seen.add(one)
                waiting.append(one)
    return sources, findings


def defines(sources: list[Source], method: str) -> bool:
    """Whether a class of the project has a method of that name."""
    return any(
        isinstance(one, Function) and one.name == method
        for source in sources
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ClassDef)
        for one in node.body
    )


def replaces_env(sources: list[Source]) -> bool:
    """Whether the project puts something of its own in the place of `self.env`: what that takes, only running tells."""
    stores = (
        isinstance(node, ast.Attribute) and node.attr == "env" and isinstance(node.ctx, ast.Store)
        for source in sources
        for node in ast.walk(source.tree)
    )
    return defines(sources, "env") or any(stores)


def scopes(tree: ast.Module) -> Iterator[tuple[Function | ast.Module, list[ast.AST]]]:
    """The module and every function in it, each with the nodes that run as part of it and of no function inside."""
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    for scope in (tree, *functions):
        yield scope, list(_own_nodes(scope))


def _own_nodes(scope: Function | ast.Module) -> Iterator[ast.AST]:
    waiting: deque[ast.AST] = deque(scope.body)
    while waiting:
        node = waiting.popleft()
        yield node
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            # What stands in its head runs where it is defined.
            waiting += [*node.decorator_list, *node.args.defaults, *(one for one in node.args.kw_defaults if one)]
        elif not isinstance(node, ast.Lambda):
            waiting += ast.iter_child_nodes(node)


def _imports(tree: ast.Module, file: Path, root: Path) -> tuple[tuple[Import, ...], list[Path]]:
    found: list[Import] = []
    files: list[Path] = []
    guarded = _guarded(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        for name in _modules(node, file, root):
            local = _files(name, root)
            files += local
            found.append(Import(name, node.lineno, node in guarded, bool(local)))
    return tuple(found), files


def _modules(node: ast.Import | ast.ImportFrom, file: Path, root: Path) -> list[str]:
    if isinstance(node, ast.Import):
        return [one.name for one in node.names]
    base = node.module or ""
    if node.level:
        package = file.parent
        for _ in range(node.level - 1):
            package = package.parent
        if not package.is_relative_to(root):
            return []
        base = ".".join([*package.relative_to(root).parts, *([base] if base else [])])
    within = [f"{base}.{one.name}" if base else one.name for one in node.names]
    return [base, *(name for name in within if _files(name, root))] if base else within


def _files(name: str, root: Path) -> list[Path]:
    """The files of the project that importing `name` runs; none if it is not the project's."""
    files: list[Path] = []
    place = root
    parts = name.split(".")
    for part in parts:
        place = place / part
        if (package := place / "__init__.py").is_file():
            files.append(package)
        elif (module := place.with_name(f"{part}.py")).is_file():
            files.append(module)
        elif not place.is_dir():
            return files if len(files) > 1 else []
    return files


def _guarded(tree: ast.Module) -> set[ast.AST]:
    found: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Try) and any(_catches_import_errors(one) for one in node.handlers):
            held: list[ast.stmt] = [*node.body, *(line for one in node.handlers for line in one.body)]
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            held = node.body
        else:
            continue
        found.update(inner for line in held for inner in ast.walk(line))
    return found


def _catches_import_errors(handler: ast.ExceptHandler) -> bool:
    caught = "" if handler.type is None else ast.dump(handler.type)
    return handler.type is None or any(
        f"id='{name}'" in caught for name in ("ImportError", "ModuleNotFoundError", "Exception", "BaseException")
    )


def _names(tree: ast.Module) -> dict[str, str]:
    origins: dict[str, set[str]] = {}
    nodes = list(ast.walk(tree))
    # A method's name is none of the module's: `fetch` may be imported, too.
    methods = {one for node in nodes if isinstance(node, ast.ClassDef) for one in node.body}
    for node in nodes:
        if node in methods:
            continue
        if isinstance(node, ast.Import):
            for one in node.names:
                name = one.asname or one.name.partition(".")[0]
                origins.setdefault(name, set()).add(one.name if one.asname else name)
        elif isinstance(node, ast.ImportFrom):
            for one in node.names:
                origin = f".{node.module or ''}" if node.level else str(node.module)
                origins.setdefault(one.asname or one.name, set()).add(f"{origin}.{one.name}")
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            origins.setdefault(node.name, set()).add("")
        elif isinstance(node, ast.arg):
            origins.setdefault(node.arg, set()).add("")
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            origins.setdefault(node.id, set()).add("")
    return {name: next(iter(found)) for name, found in origins.items() if len(found) == 1 and "" not in found}
