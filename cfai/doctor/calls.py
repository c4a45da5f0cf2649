"""The calls of the AI binding in one function, and what becomes of their answers."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from cfai.catalog import Catalog
from cfai.config import Config
from cfai.doctor.models import constants
from cfai.doctor.sources import Function, Source
from cfai.errors import AiError

__all__ = ["Calls", "find_calls"]

NOT_SUBSCRIPTABLE = "TypeError: 'pyodide.ffi.JsProxy' object is not subscriptable"


@dataclass(slots=True)
class Calls:
    """What one function does with `env.AI`."""

    binding: str
    used_as_dict: list[tuple[str, ast.expr]] = field(default_factory=list)
    """Answers that are taken for dicts, with the name they have."""
    refusals: dict[ast.expr, str] = field(default_factory=dict)
    made_to_py: list[tuple[str, ast.Call]] = field(default_factory=list)
    dicts: list[tuple[ast.Call, ast.Dict]] = field(default_factory=list)
    """Calls with a dict for inputs."""
    too_many_tokens: list[tuple[ast.Call, str, int, int]] = field(default_factory=list)
    literals: dict[str, ast.expr] = field(default_factory=dict)
    """Names that stand for one expression of this function."""


def find_calls(
    source: Source, scope: Function | ast.Module, nodes: list[ast.AST], config: Config, *, has_other_runs: bool
) -> Calls:
    """has_other_runs: whether something of the project's own has a `run`, so that only `env.AI.run` is certain."""
    binding = config.ai_binding or "AI"
    calls = Calls(f"env.{binding}", literals=dict(_assigned_once(scope, nodes)))
    texts = constants(source)
    runs = [
        node
        for node in nodes
        if isinstance(node, ast.Call)
        and (
            _is_run(node, binding, calls.literals)
            or (not has_other_runs and _is_run_of_a_model(source, node, texts, calls.literals))
        )
    ]
    for call in runs:
        inputs = _inputs(call, calls.literals)
        if inputs is not None:
            calls.dicts.append((call, inputs))
        if (limit := _beyond(call, inputs, texts)) is not None:
            calls.too_many_tokens.append((call, *limit))
    answers = {
        name
        for name, value in calls.literals.items()
        if isinstance(value, ast.Await) and value.value in runs and not _streams(value.value, calls.literals)
    }
    _follow(answers - _asked_about(nodes), nodes, calls)
    return calls


def _is_run(call: ast.Call, binding: str, literals: dict[str, ast.expr]) -> bool:
    if not (isinstance(call.func, ast.Attribute) and call.func.attr == "run"):
        return False
    held = call.func.value
    if isinstance(held, ast.Name):
        held = literals.get(held.id, held)
    return (
        isinstance(held, ast.Attribute)
        and held.attr == binding
        and (
            (isinstance(held.value, ast.Attribute) and held.value.attr == "env")
            or (isinstance(held.value, ast.Name) and held.value.id == "env")
        )
    )


def _is_run_of_a_model(source: Source, call: ast.Call, texts: dict[str, str], literals: dict[str, ast.expr]) -> bool:
    """A binding that was handed on under another name: `ai.run("@cf/...", {...})`."""
    if not (isinstance(call.func, ast.Attribute) and call.func.attr == "run" and len(call.args) > 1):
        return False
    held = call.func.value
    if isinstance(held, ast.Name) and held.id in literals:
        return False
    return not source.origin(held) and (_text(call.args[0], texts) or "").startswith(("@cf/", "@hf/"))


def _text(node: ast.expr, texts: dict[str, str]) -> str | None:
    if isinstance(node, ast.Name):
        return texts.get(node.id)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _assigned_once(scope: Function | ast.Module, nodes: list[ast.AST]) -> Iterator[tuple[str, ast.expr]]:
    stores = Counter(node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))
    given = {one.arg for one in ast.walk(scope) if isinstance(one, ast.arg)}
    for node in nodes:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if stores[name] == 1 and name not in given:
                yield name, value


def _inputs(call: ast.Call, literals: dict[str, ast.expr]) -> ast.Dict | None:
    if len(call.args) < 2:
        return None
    held = call.args[1]
    if isinstance(held, ast.Name):
        held = literals.get(held.id, held)
    return held if isinstance(held, ast.Dict) else None


def _streams(call: ast.expr, literals: dict[str, ast.expr]) -> bool:
    """Whether the answer may be a stream: it is asked for, or the inputs are not seen."""
    if not isinstance(call, ast.Call):
        return True
    named = [literals[one.id] for one in ast.walk(call) if isinstance(one, ast.Name) and one.id in literals]
    nodes = [node for one in (call, *named) for node in ast.walk(one)]
    keys = {node.value for node in nodes if isinstance(node, ast.Constant)}
    return "stream" in keys | {node.arg for node in nodes if isinstance(node, ast.keyword)}


def _asked_about(nodes: list[ast.AST]) -> set[str]:
    """Names whose kind the script looks at before it uses them."""
    found: set[str] = set()
    for node in nodes:
        match node:
            case ast.Call(
                func=ast.Name(id="isinstance" | "hasattr" | "getattr" | "type"), args=[ast.Name(id=name), *_]
            ):
                found.add(name)
    return found


def _follow(answers: set[str], nodes: list[ast.AST], calls: Calls) -> None:
    for node in nodes:
        match node:
            case ast.Subscript(value=ast.Name(id=name), slice=ast.Constant(value=str())) if name in answers:
                calls.used_as_dict.append((name, node))
                calls.refusals[node] = NOT_SUBSCRIPTABLE
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="get")) if name in answers:
                calls.used_as_dict.append((name, node))
                calls.refusals[node] = "AttributeError: get"
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id="json"), attr="dumps"), args=[ast.Name(id=name), *_]
            ) if name in answers:
                calls.used_as_dict.append((name, node))
                calls.refusals[node] = "TypeError: Object of type JsProxy is not JSON serializable"
            case ast.Call(func=ast.Name(id="dict"), args=[ast.Name(id=name)]) if name in answers:
                calls.used_as_dict.append((name, node))
                calls.refusals[node] = "TypeError: 'pyodide.ffi.JsProxy' object is not iterable"
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="to_py")) if name in answers:
                calls.made_to_py.append((name, node))


def _beyond(call: ast.Call, inputs: ast.Dict | None, texts: dict[str, str]) -> tuple[str, int, int] | None:
    """The model, the number of tokens asked for and the most that it makes, if that is less."""
    if not call.args:
        return None
    model = _text(call.args[0], texts)
    asked = _max_tokens(call, inputs)
    if model is None or asked is None:
        return None
    try:
        limits = Catalog.builtin().get(model).limits()
    except AiError:
        return None
    bounds = [one for one in (limits.max_output_tokens, limits.context_window) if one is not None]
    return (model, asked, min(bounds)) if bounds and asked > min(bounds) else None


def _max_tokens(call: ast.Call, inputs: ast.Dict | None) -> int | None:
    given = {key.value: value for key, value in _items(inputs) if isinstance(key, ast.Constant)}
    given |= {one.arg: one.value for one in call.keywords if one.arg}
    for name in ("max_tokens", "max_completion_tokens"):
        match given.get(name):
            case ast.Constant(value=int(tokens)):
                return tokens
    return None


def _items(inputs: ast.Dict | None) -> Iterator[tuple[ast.expr | None, ast.expr]]:
    return iter(()) if inputs is None else zip(inputs.keys, inputs.values, strict=True)
