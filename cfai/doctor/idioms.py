"""Idioms that a script's date refuses, found in its text.

Only what is certain is told: an expression that a name may stand for in two ways is left alone. What each date refuses
was observed on the Pyodide of that date with Cloudflare's SDK.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping

from cfai.config import Config
from cfai.doctor.calls import Calls, find_calls
from cfai.doctor.findings import Finding
from cfai.doctor.names import JS_CLASSES, OF_REQUESTS, RANDOM, THREADS, URL_PARTS
from cfai.doctor.sources import Function, Source, defines, replaces_env, scopes
from cfai.worker import instead
from cfai.worker.compat import Compat

__all__ = ["check_idioms"]


def check_idioms(sources: list[Source], config: Config, compat: Compat) -> Iterator[Finding]:
    date = f"with compatibility_date {config.compatibility_date}"
    is_plain = not replaces_env(sources)
    has_other_runs = defines(sources, "run")
    for source in sources:
        names = _Names(source, config)
        for scope, nodes in scopes(source.tree):
            for node in nodes:
                for check in _ON_NODES:
                    yield from check(source, node, compat)
            if isinstance(scope, ast.Module):
                yield from _global_scope(source, nodes)
            else:
                yield from _url_parts(source, scope, nodes)
            if is_plain:
                calls = find_calls(source, scope, nodes, config, has_other_runs=has_other_runs)
                yield from _results(source, calls, compat, date)
                yield from _env(source, nodes, names)


def _calls_of_classes(source: Source, node: ast.AST, compat: Compat) -> Iterator[Finding]:
    if isinstance(node, ast.Call):
        module, _, name = source.origin(node.func).partition(".")
        if module == "js" and name in JS_CLASSES:
            refusal = f"TypeError: Class constructor {name} cannot be invoked without 'new'"
            yield source.finding(
                "error", node, f"{name}(...) calls a class of JavaScript", refusal, instead.with_new(name)
            )


def _new_of_response(source: Source, node: ast.AST, compat: Compat) -> Iterator[Finding]:
    if isinstance(node, ast.Call) and source.origin(node.func) in ("workers.Response.new", "workers.Request.new"):
        name = source.origin(node.func).split(".")[1]
        yield source.finding(
            "error",
            node,
            f"{name}.new(...), and {name} comes from workers",
            f"AttributeError: type object '{name}' has no attribute 'new'",
            f"{name}(...), or from js import {name}",
        )


def _bodies(source: Source, node: ast.AST, compat: Compat) -> Iterator[Finding]:
    if isinstance(node, ast.Call) and source.origin(node.func) == "workers.Response" and node.args:
        kinds = {ast.Dict: "dict", ast.List: "list", ast.Tuple: "tuple", ast.Set: "set"}
        if kind := kinds.get(type(node.args[0])):
            refusal = f"TypeError: Unsupported type in Response: {kind}"
            yield source.finding("error", node, f"Response of a {kind}", refusal, "Response.json(...)")


def _headers(source: Source, node: ast.AST, compat: Compat) -> Iterator[Finding]:
    if not isinstance(node, ast.Call):
        return
    origin = source.origin(node.func)
    if origin == "js.Headers.new" and node.args and isinstance(node.args[0], ast.Dict):
        why = "a Python dict is not what JavaScript's Headers take: it raises there"
        yield source.finding("error", node, "Headers.new of a dict", why, instead.AS_PAIRS)
    if origin == "js.Response.new":
        for given in node.keywords:
            if given.arg == "headers" and isinstance(given.value, ast.Dict):
                why = "a Python dict is not what JavaScript's Response takes: it raises there"
                fix = f"{instead.AS_PAIRS}, or the Response of workers, which takes a dict"
                yield source.finding("error", node, "Response.new with headers that are a dict", why, fix)


def _fetches(source: Source, node: ast.AST, compat: Compat) -> Iterator[Finding]:
    if isinstance(node, ast.Call) and source.origin(node.func) == "workers.fetch" and len(node.args) > 1:
        refusal = f"TypeError: fetch() takes 1 positional argument but {len(node.args)} were given"
        yield source.finding("error", node, "fetch with options that have no names", refusal, "fetch(url, method=...)")


def _threads(source: Source, node: ast.AST, compat: Compat) -> Iterator[Finding]:
    if isinstance(node, ast.Call) and (refusal := THREADS.get(source.origin(node.func))):
        what = f"{source.origin(node.func)} does not work on Cloudflare"
        yield source.finding("error", node, what, refusal, "asyncio, or another Worker")


_ON_NODES: tuple[Callable[[Source, ast.AST, Compat], Iterator[Finding]], ...] = (
    _calls_of_classes,
    _new_of_response,
    _bodies,
    _headers,
    _fetches,
    _threads,
)


def _global_scope(source: Source, nodes: list[ast.AST]) -> Iterator[Finding]:
    local = {inner for node in nodes if _is_never_run(node) for inner in ast.walk(node)}
    for node in nodes:
        if not isinstance(node, ast.Call) or node in local:
            continue
        origin = source.origin(node.func)
        if origin in RANDOM:
            refusal = f"RuntimeError: Cannot use {origin}() outside of request context"
            what = f"{origin}() while the script is imported"
            yield source.finding("error", node, what, refusal, instead.IN_A_HANDLER)
        elif origin in OF_REQUESTS:
            refusal = "JsException: Error: Disallowed operation called within global scope"
            what = f"{origin} while the script is imported"
            yield source.finding("error", node, what, refusal, instead.IN_A_HANDLER)


def _is_never_run(node: ast.AST) -> bool:
    """What is for a test, or for a type checker."""
    return isinstance(node, ast.If) and any(word in ast.dump(node.test) for word in ("__main__", "TYPE_CHECKING"))


def _url_parts(source: Source, scope: Function | ast.Module, nodes: list[ast.AST]) -> Iterator[Finding]:
    if not isinstance(scope, Function) or scope.name not in ("fetch", "on_fetch"):
        return
    arguments = [one.arg for one in scope.args.args if one.arg != "self"]
    for node in nodes:
        match node:
            case ast.Attribute(value=ast.Attribute(value=ast.Name(id=name), attr="url"), attr=part) if (
                part in URL_PARTS and arguments[:1] == [name]
            ):
                refusal = f"AttributeError: 'str' object has no attribute '{part}'"
                fix = f"urllib.parse.urlsplit({name}.url), or URL.new({name}.url) of js"
                yield source.finding("error", node, f"{name}.url.{part}", refusal, fix)


def _results(source: Source, calls: Calls, compat: Compat, date: str) -> Iterator[Finding]:
    for name, node in calls.used_as_dict:
        if not compat.has_external_sdk:
            refusal = calls.refusals[node]
            shown = ast.unparse(node)
            what = f"{shown}: an answer of {calls.binding} is an object of JavaScript {date}"
            yield source.finding("error", node, what, refusal, instead.a_dict_of(name))
    for name, node in calls.made_to_py:
        if compat.has_external_sdk:
            what = f"{name}.to_py(): an answer of {calls.binding} is a dict {date}"
            refusal = "AttributeError: it has no attribute 'to_py'"
            yield source.finding("error", node, what, refusal, instead.as_it_is(name))
    for call, inputs in calls.dicts:
        if compat.has_external_sdk:
            continue
        fix = instead.for_ai(calls.binding)
        if not compat.has_jsnull:
            what = f"{calls.binding}.run takes no Python dict {date}"
            yield source.finding("error", call, what, "its keys are not seen there: 5006", fix)
        elif nested := _nested(inputs, calls.literals):
            what = f'{calls.binding}.run takes no dict with a list or dict in it ("{nested}") {date}'
            refusal = "JsException: This borrowed proxy was automatically destroyed at the end of a function call"
            yield source.finding("error", call, what, refusal, fix)
    for call, model, tokens, most in calls.too_many_tokens:
        what = f"max_tokens {tokens}, and {model} makes at most {most}"
        yield source.finding("error", call, what, "Cloudflare refuses it with 5006", f"at most {most}")


def _nested(inputs: ast.Dict, literals: Mapping[str, ast.expr]) -> str:
    for key, value in zip(inputs.keys, inputs.values, strict=True):
        held = literals.get(value.id) if isinstance(value, ast.Name) else value
        if isinstance(held, ast.List | ast.Dict | ast.ListComp | ast.DictComp | ast.Tuple) and key is not None:
            return ast.literal_eval(key) if isinstance(key, ast.Constant) else ast.unparse(key)
    return ""


class _Names:
    """The names of env that are nothing to speak of: declared, asked for by getattr, or tried."""

    def __init__(self, source: Source, config: Config) -> None:
        nodes = list(ast.walk(source.tree))
        self.declared = _declared(config)
        self.asked = {one.value for one in nodes if isinstance(one, ast.Constant)}
        tries = (node for node in nodes if isinstance(node, ast.Try))
        self.tried = {inner for node in tries for line in node.body for inner in ast.walk(line)}

    def lacks(self, name: str, node: ast.AST) -> bool:
        is_private = name.startswith("_")
        return not is_private and name not in self.declared and name not in self.asked and node not in self.tried


def _env(source: Source, nodes: list[ast.AST], names: _Names) -> Iterator[Finding]:
    for node in nodes:
        match node:
            case ast.Subscript(value=env, slice=ast.Constant(value=str(name))) if _is_env(source, env):
                shown = ast.unparse(env)
                refusal = "TypeError: 'pyodide.ffi.JsProxy' object is not subscriptable"
                fix = instead.member_of(shown, name)
                yield source.finding("error", node, f'{shown}["{name}"]', refusal, fix)
            case ast.Attribute(value=env, attr=name) if _is_env(source, env) and names.lacks(name, node):
                what = f"env.{name} is not in the config"
                fix = f"a binding of that name, or {name}=... in .dev.vars for a secret"
                yield source.finding("warning", node, what, "AttributeError, unless it is a secret there", fix)


def _is_env(source: Source, node: ast.expr) -> bool:
    if isinstance(node, ast.Attribute):
        return node.attr == "env" and isinstance(node.value, ast.Name) and node.value.id == "self"
    return source.origin(node) == "workers.env"


def _declared(config: Config) -> set[str]:
    named = (*config.kv_namespaces, *config.d1_databases, *config.vectorize)
    return {
        *config.vars,
        *(one.binding for one in named),  # type: ignore[attr-defined]  # each of them has one
        *(name for name, _ in config.not_simulated),
        config.ai_binding or "",
        config.version_metadata or "",
        (config.assets and config.assets.binding) or "",
    }
