"""Whether the script has the handlers that its date calls, and whether they take what they are given."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from cfai.config import Config
from cfai.doctor.findings import Finding
from cfai.doctor.sources import Function, Source
from cfai.worker import instead
from cfai.worker.compat import Compat

__all__ = ["check_handlers"]

ENTRYPOINT = "workers.WorkerEntrypoint"
GIVEN_BASES = (ENTRYPOINT, "workers.DurableObject", "workers.WorkflowEntrypoint")


def check_handlers(main: Source, sources: list[Source], config: Config, compat: Compat) -> Iterator[Finding]:
    """`main` is the script, `sources` are all its modules."""
    classes = {node.name: node for node in main.tree.body if isinstance(node, ast.ClassDef)}
    functions = {node.name: node for node in main.tree.body if isinstance(node, Function)}
    default = classes.get("Default")
    if compat.has_class_handlers:
        yield from _by_class(main, default, classes, functions)
    else:
        yield from _by_function(main, default, functions)
    if default is not None:
        yield from _default(main, default, config, compat)
    elif config.crons and not functions.keys() & {"on_scheduled"} and "Default" not in _bound(main):
        yield _never_scheduled(config)
    for source in sources:
        for node in ast.walk(source.tree):
            if isinstance(node, ast.ClassDef) and any(source.origin(base) in GIVEN_BASES for base in node.bases):
                yield from _constructor(source, node)


def _by_class(
    main: Source, default: ast.ClassDef | None, classes: dict[str, ast.ClassDef], functions: dict[str, Function]
) -> Iterator[Finding]:
    refusal = "Cloudflare answers every request with: Handler does not export a fetch() function."
    if default is not None or "Default" in _bound(main):
        return
    handler = functions.get("on_fetch")
    other = next((one for one in classes.values() if any(main.origin(base) == ENTRYPOINT for base in one.bases)), None)
    if handler is not None:
        yield main.finding(
            "error",
            handler,
            "a handler on_fetch in the module is for dates before 2025-08-14",
            refusal,
            "write class Default(WorkerEntrypoint) with async def fetch(self, request), "
            "or add the flag disable_python_no_global_handlers",
        )
    elif other is not None:
        yield main.finding(
            "error", other, f"the class {other.name} is not the default entrypoint", refusal, "call it Default"
        )
    else:
        line = ast.Pass(lineno=1)
        yield main.finding(
            "error", line, "no class Default", refusal, "write class Default(WorkerEntrypoint) with a fetch"
        )


def _by_function(main: Source, default: ast.ClassDef | None, functions: dict[str, Function]) -> Iterator[Finding]:
    refusal = f'Python entrypoint "{main.file.name}" does not export a handler named "on_fetch"'
    if default is not None:
        methods = _methods(default)
        if "fetch" in methods and "on_fetch" not in methods:
            yield main.finding(
                "error",
                methods["fetch"],
                "before compatibility_date 2025-08-14 the method of Default is called on_fetch",
                refusal,
                "set compatibility_date to 2025-08-14 or later",
            )
    elif "on_fetch" not in functions and not _bound(main) & {"on_fetch", "Default"}:
        names = {"on_scheduled", "on_queue", "scheduled", "queue"}
        if not functions.keys() & names:
            yield main.finding("error", ast.Pass(lineno=1), "no handler on_fetch", refusal, "write on_fetch")


def _default(main: Source, default: ast.ClassDef, config: Config, compat: Compat) -> Iterator[Finding]:
    methods = _methods(default)
    # What comes from a class that is written elsewhere is not seen here.
    is_plain = not default.bases
    is_whole = is_plain or [main.origin(base) for base in default.bases] == [ENTRYPOINT]
    if is_plain:
        yield main.finding(
            "error",
            default,
            "Default is no WorkerEntrypoint",
            "Cloudflare looks for subclasses of it only: Handler does not export a fetch() function.",
            "write class Default(WorkerEntrypoint)",
        )
    if compat.has_class_handlers and is_whole and "fetch" not in methods and "on_fetch" in methods:
        yield main.finding(
            "error",
            methods["on_fetch"],
            "from compatibility_date 2025-08-14 on the method of Default is called fetch",
            "TypeError: Method fetch does not exist",
            "call it fetch",
        )
    if compat.has_class_handlers and (fetch := methods.get("fetch")) is not None:
        yield from _given_none(main, fetch, fetch.args.args[2:], "fetch is given the request alone")
    if (scheduled := methods.get("scheduled")) is not None:
        yield from _scheduled(main, scheduled)
    elif config.crons and is_whole and "on_scheduled" not in methods:
        yield _never_scheduled(config)


def _scheduled(main: Source, scheduled: Function) -> Iterator[Finding]:
    arguments = scheduled.args
    least = len(arguments.args) - len(arguments.defaults)
    if not arguments.vararg and not least <= 4 <= len(arguments.args):
        takes = len(arguments.args)
        problem = f"takes {takes} positional argument{'s' if takes != 1 else ''} but 4 were given"
        yield main.finding(
            "error",
            scheduled,
            "scheduled is called with a controller, env and ctx",
            f"TypeError: Default.scheduled() {problem}" if takes < 4 else f"TypeError: it asks for {least - 1}",
            "write async def scheduled(self, controller, env, ctx)",
        )
    else:
        yield from _given_none(main, scheduled, arguments.args[2:4], "scheduled is given None for env and ctx")


def _given_none(main: Source, function: Function, arguments: list[ast.arg], why: str) -> Iterator[Finding]:
    for argument in arguments:
        for node in ast.walk(function):
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id == argument.arg
                and argument.arg in ("env", "ctx")
                and not _is_assigned(function, argument.arg)
            ):
                yield main.finding(
                    "error",
                    node,
                    f"{argument.arg}.{node.attr}: {argument.arg} is None there",
                    f"{why}: AttributeError: 'NoneType' object has no attribute '{node.attr}'",
                    instead.of_self(argument.arg, node.attr),
                )
                break


def _is_assigned(function: Function, name: str) -> bool:
    return any(
        isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Store)
        for node in ast.walk(function)
    )


def _constructor(source: Source, node: ast.ClassDef) -> Iterator[Finding]:
    init = _methods(node).get("__init__")
    if init is None:
        return
    calls = [one for one in ast.walk(init) if isinstance(one, ast.Call) and isinstance(one.func, ast.Attribute)]
    if not any(isinstance(one.func, ast.Attribute) and one.func.attr == "__init__" for one in calls):
        yield source.finding(
            "error",
            init,
            f"{node.name}.__init__ does not call that of its base",
            f"AttributeError: '{node.name}' object has no attribute 'env'",
            "call super().__init__(ctx, env) first",
        )


def _never_scheduled(config: Config) -> Finding:
    return Finding(
        "warning",
        config.source,
        None,
        "triggers.crons are set, and the script has no scheduled handler",
        "each of them is an exception on Cloudflare",
        "write async def scheduled(self, controller, env, ctx) in Default",
    )


def _methods(node: ast.ClassDef) -> dict[str, Function]:
    return {one.name: one for one in node.body if isinstance(one, Function)}


def _bound(source: Source) -> set[str]:
    """What the module's top level has from elsewhere: imported or assigned. A star may bring anything."""
    found: set[str] = set()
    for node in source.tree.body:
        for one in ast.walk(node):
            if isinstance(one, ast.ImportFrom | ast.Import):
                names = {name.asname or name.name for name in one.names}
                found |= {"Default", "on_fetch"} if "*" in names else names
            elif isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store):
                found.add(one.id)
    return found
