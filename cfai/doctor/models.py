"""The model ids that the sources name: whether Cloudflare has them, what they hold, whether their weights are here."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from cfai import weights
from cfai.catalog import Catalog, Model
from cfai.doctor.findings import Finding
from cfai.doctor.sources import Source
from cfai.errors import AiError

__all__ = ["check_models", "constants"]

_ID = re.compile(r"@(?:cf|hf)/[\w.-]+/[\w.-]+")


def check_models(source: Source, catalog: Catalog, told: set[str]) -> Iterator[Finding]:
    """`told` are the ids whose missing weights were spoken of already."""
    prose = _prose(source.tree)
    for node in ast.walk(source.tree):
        if not (isinstance(node, ast.Constant) and isinstance(node.value, str)) or node in prose:
            continue
        if not _ID.fullmatch(node.value):
            continue
        try:
            model = catalog.get(node.value)
        except AiError as error:
            yield source.finding(
                "warning",
                node,
                f"no model {node.value} is known",
                "Cloudflare answers an id that it does not have with 5007: No such model",
                error.hint or "`cfai models` lists them",
            )
            continue
        if model.is_retired():
            day = model.deprecated or model.removed
            since = f" since {day}" if day else ""
            successor = catalog.successor_of(model)
            yield source.finding(
                "error",
                node,
                f"{node.value} is retired{since}",
                "Cloudflare no longer answers it; here it still does",
                f"{successor.id}, which Cloudflare has" if successor else "`cfai models` lists those there are",
            )
        elif model.id not in told:
            told.add(model.id)
            yield from _weights(source, node, model) if model.generates_text else [_elsewhere(source, node, model)]


def _elsewhere(source: Source, node: ast.AST, model: Model) -> Finding:
    return source.finding(
        "note",
        node,
        f"{model.id} does not run here",
        f"its task is {model.task}, and env.AI.run raises 5007: No such model",
        "`cfai dev --remote`, where Cloudflare answers",
    )


def _weights(source: Source, node: ast.AST, model: Model) -> Iterator[Finding]:
    if not weights.are_here(model):
        what = f"the weights of {model.id} are not on this machine"
        fetched = f", or `cfai pull {model.id}`" if model.weights else ""
        yield source.finding("note", node, what, fix=f"`cfai dev --demo`, where the demo model answers{fetched}")


def constants(source: Source) -> dict[str, str]:
    """The names of the module that stand for one text: `MODEL = "@cf/..."`."""
    found: dict[str, str] = {}
    for node in source.tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            found |= {one.id: node.value.value for one in node.targets if isinstance(one, ast.Name)}
    return found


def _prose(tree: ast.Module) -> set[ast.AST]:
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
