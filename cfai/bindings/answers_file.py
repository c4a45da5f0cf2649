"""The answers of a fake in a file of JSON, for `cfai serve --fake --answers FILE` and `cfai dev`.

    {
      "@cf/meta/llama-2-7b-chat-int8": "New York is big.",         a text; a list of texts is its pieces
      "@cf/baai/bge-base-en-v1.5": {"shape": [1, 2], "data": [[0.6, 0.8]]},
      "@cf/openai/gpt-oss-20b": {"error": 3040},
      "@cf/qwen/qwq-32b": {"pieces": ["42"], "reasoning": "six times seven", "first_piece_after": 2},
      "@cf/black-forest-labs/flux-1-schnell": {"file": "cat.png"},
      "@cf/meta/llama-3.1-8b-instruct": [
        {"when": "weather", "answer": {"tool_calls": [{"name": "weather", "arguments": {"city": "Paris"}}]}},
        {"when": {"max_tokens": 1}, "answer": "Yes"},
        {"answer": {"in_turn": [{"error": 3040}, "the second try succeeds"]}}
      ]
    }

Comments and trailing commas are allowed, as in wrangler.jsonc.
"""

from __future__ import annotations

import json
import mimetypes
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from cfai import sse
from cfai.binding import Call
from cfai.bindings.faults.refusals import REFUSALS
from cfai.bindings.script import Answer, Script, check_answer, in_turn
from cfai.catalog import Catalog
from cfai.config.jsonc import strip_comments
from cfai.errors import AiError

__all__ = ["AnswersError", "Rule", "read_answers"]

_SCRIPT = frozenset(field.name for field in fields(Script))
_SAYS = frozenset({"pieces", "json", "tool_calls", "error"})
"""The fields of a script of which it has one at least."""


class AnswersError(Exception):
    """A file of answers cannot be used; the message names the file and the model."""


@dataclass(frozen=True, slots=True)
class Rule:
    """An answer, and the calls that it is for."""

    model: str
    answer: Answer
    fits: Callable[[Any], bool] | None = None
    """Whether it is for calls with these inputs; None for all."""


def read_answers(file: Path) -> list[Rule]:
    """The rules of a file, those of a model in their order. Raises `AnswersError`.

    ```python
    read_answers(Path("answers.json"))[0].model  # '@cf/meta/llama-2-7b-chat-int8'
    ```
    """
    try:
        told = json.loads(strip_comments(file.read_text("utf-8-sig")))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise AnswersError(f"{file} cannot be read: {reason}") from error
    except ValueError as error:
        raise AnswersError(f"{file} is no JSON: {error}") from error
    if not isinstance(told, dict):
        raise AnswersError(f'{file} has answers by model id, {{"@cf/...": "hello"}}, and this is no object')
    rules = []
    for model, answer in told.items():
        try:
            rules += _rules(model, answer, file.parent)
        except (TypeError, ValueError) as error:
            raise AnswersError(f"{file}: {model}: {error}") from error
    return rules


def unknown_models(rules: list[Rule], catalog: Catalog) -> list[str]:
    """A sentence about each model that the catalog does not have."""
    problems = []
    for model in {rule.model: None for rule in rules}:
        try:
            catalog.get(model)
        except AiError as error:
            problems.append(f"{error.description} ({error.hint})")
    return problems


def _rules(model: str, told: Any, folder: Path) -> list[Rule]:
    if isinstance(told, dict) and "when" in told:
        raise ValueError('"when" stands in a list of rules, [{"when": ..., "answer": ...}]')
    if isinstance(told, list) and any(isinstance(one, dict) and "when" in one and "answer" not in one for one in told):
        raise ValueError('a rule with "when" has an "answer" as well')
    if not (isinstance(told, list) and told and all(isinstance(one, dict) and "answer" in one for one in told)):
        return [Rule(model, _answer(told, folder))]
    return [_rule(model, one, folder) for one in told]


def _rule(model: str, told: dict[str, Any], folder: Path) -> Rule:
    if unknown := sorted(told.keys() - {"when", "answer"}):
        raise ValueError(f'a rule has "when" and "answer", not {unknown[0]!r}')
    answer = _answer(told["answer"], folder)
    match told.get("when"):
        case None:
            return Rule(model, answer)
        case str(text):
            return Rule(model, answer, lambda inputs: _says(inputs, text.lower()))
        case dict(wanted):
            return Rule(model, answer, lambda inputs: _has(inputs, wanted))
        case other:
            raise ValueError(f'"when" is a text that is asked, or inputs and their values, not {sse.dumps(other)[:80]}')


def _says(inputs: Any, text: str) -> bool:
    """Whether `text` stands in any text of the inputs."""
    if isinstance(inputs, str):
        return text in inputs.lower()
    inner = inputs.values() if isinstance(inputs, Mapping) else inputs if isinstance(inputs, list) else ()
    return any(_says(one, text) for one in inner)


def _has(inputs: Any, wanted: Mapping[str, Any]) -> bool:
    return isinstance(inputs, Mapping) and all(inputs.get(name) == value for name, value in wanted.items())


def _answer(told: Any, folder: Path) -> Answer:
    answer = _of_object(told, folder) if isinstance(told, dict) else told
    if answer is None or isinstance(answer, bool | int | float):
        raise ValueError(f"{sse.dumps(answer)} is no answer: give a text, a list of pieces, or an object")
    check_answer(answer)
    return answer


def _of_object(told: dict[str, Any], folder: Path) -> Answer:
    keys = told.keys()
    if "in_turn" in keys <= {"in_turn", "then"}:
        if not isinstance(told["in_turn"], list):
            raise ValueError('"in_turn" is a list of answers')
        answers = [_answer(one, folder) for one in told["in_turn"]]
        then = _answer(told["then"], folder) if "then" in told else None
        return in_turn(*answers, then=then, repeat=then is None)
    if keys == {"file"}:
        return _content(folder / str(told["file"]))
    if keys == {"error"}:
        return _refusal(told["error"])
    if keys <= _SCRIPT and keys & _SAYS:
        error = told.get("error")
        return Script(**{**told, "error": None if error is None else _refusal(error)(Call("", {}))})
    return told


def _content(file: Path) -> Script:
    kind, _ = mimetypes.guess_type(file.name)
    try:
        return Script(pieces=file.read_bytes(), headers={"content-type": kind or "application/octet-stream"})
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror}") from error


def _refusal(code: object) -> Callable[[Call], AiError]:
    """The error of a code, as a call meets it."""
    if isinstance(code, bool) or not isinstance(code, int):
        raise ValueError(f'"error" is a code of Workers AI, such as 3040, not {sse.dumps(code)[:80]}')
    if code not in REFUSALS:
        raise ValueError(f"no error has the code {code}; there are: {', '.join(map(str, sorted(REFUSALS)))}")
    return REFUSALS[code]
