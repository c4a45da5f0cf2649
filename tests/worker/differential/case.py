"""What is run on both sides: a script and a request."""

from __future__ import annotations

import base64
import json
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cfai import sse
from cfai.worker.incoming import CF

__all__ = ["ANSWERS", "URL", "VARS", "Case", "probe"]

URL = "http://localhost:8787"

VARS = {
    "GREETING": "hi",
    "NUMBER": 4,
    "HALF": 2.5,
    "TRUTH": True,
    "FLAGS": {"beta": True, "list": [1, {"a": 1}], "items": 2},
}
"""The vars of every script."""

ANSWERS: dict[str, dict[str, Any]] = {
    "@cf/json": {
        "json": {"response": "hello", "usage": {"total_tokens": 3}, "list": [{"score": 0.5}, 2], "nothing": None}
    },
    "@cf/echo": {"echo": True},
    "@cf/stream": {
        "events": [*(sse.encode({"response": piece}).decode() for piece in ("New", " York")), sse.DONE.decode()]
    },
    "@cf/none": {"error": {"name": "AiError", "message": "5007: No such model @cf/none or task"}},
}
"""What env.AI answers, by model."""

# How a probe tells what an expression gave: enough to compare, nothing that must differ between two machines.
_SHOWN = """
import json
import js
import workers
from pyodide.ffi import JsException, JsProxy, to_js
from workers import Request, Response, WorkerEntrypoint
try:
    from pyodide.ffi import jsnull
except ImportError:
    jsnull = ...

def shown(value):
    if value is jsnull:
        return "jsnull"
    if value is None or isinstance(value, (bool, int, float, str, bytes)):
        return repr(value)
    if isinstance(value, memoryview):
        return f"memoryview {bytes(value)!r}"
    if isinstance(value, JsProxy):
        return f"js {value.constructor.name}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {shown(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return f"{type(value).__name__}({', '.join(map(shown, value))})"
    return type(value).__name__

def told(error):
    # What a JavaScript engine says about an error of the web's classes is its own.
    if isinstance(error, JsException):
        return f"raises JsException {error.name}"
    return f"raises {type(error).__name__}: {error}"
"""


@dataclass(frozen=True)
class Case:
    """A script, a request, and the dates for which they are compared."""

    name: str
    script: str
    method: str = "GET"
    path: str = "/"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    when: Callable[[Any], bool] = field(default=lambda generation: True, compare=False)
    tells: bool = False
    """Whether the body is a JSON object of what to compare."""

    @property
    def lines(self) -> tuple[tuple[str, str], ...]:
        """The headers that the client sends."""
        return self.headers if self.body is None else (*self.headers, ("content-length", str(len(self.body))))

    def told(self, has_class_handlers: bool) -> dict[str, Any]:
        """The case as the program on Node takes it."""
        added = (("host", "localhost:8787"), ("cf-connecting-ip", "127.0.0.1"), ("accept-encoding", "br, gzip"))
        request = {
            "url": f"{URL}{self.path}",
            "method": self.method,
            "headers": [*added, *self.lines],
            "body": None if self.body is None else base64.b64encode(self.body).decode(),
            "cf": CF,
        }
        return {"name": self.name, "script": self.script, "request": request}


def probe(name: str, *expressions: str, setup: str = "", **options: Any) -> Case:
    """A script that evaluates `expressions`, each for itself, after `setup`, and tells what each gave or raised.

    They may await, and see `request`, `env` and `ctx`.
    """
    attempts = "".join(
        textwrap.dedent(f"""
            try:
                found[{expression!r}] = shown(({expression}
                ))
            except Exception as error:
                found[{expression!r}] = told(error)
            """)
        for expression in expressions
    )
    handler = "\n".join(
        [
            "class Default(WorkerEntrypoint):",
            "    async def fetch(self, request):",
            "        env, ctx, found = self.env, self.ctx, {}",
            textwrap.indent(textwrap.dedent(setup), " " * 8),
            textwrap.indent(attempts, " " * 8),
            "        return Response(json.dumps(found))",
            "    on_fetch = fetch",
        ]
    )
    return Case(name, f"{_SHOWN}\n{handler}\n", tells=True, **options)


def compared(case: Case, answer: Mapping[str, Any]) -> dict[str, str]:
    """What of an answer is compared."""
    if "error" in answer:
        return {"error": _last_line(answer["error"])}
    body = base64.b64decode(answer["body"])
    if case.tells and answer["status"] == 200:
        found: dict[str, str] = json.loads(body)
        return {what: _in_old_words(told) for what, told in found.items()}
    headers = _joined((name, value) for name, value in answer["headers"] if name not in _ON_THE_WIRE)
    text = body.decode("utf-8", "backslashreplace")
    if boundary := re.search(r"boundary=(\S+)", str(headers.get("content-type"))):
        headers["content-type"] = headers["content-type"].replace(boundary[1], "BOUNDARY")
        text = text.replace(boundary[1], "BOUNDARY")
    return {"status": str(answer["status"]), "headers": str(sorted(headers.items())), "body": text}


# A server's, not a script's.
_ON_THE_WIRE = ("content-length", "transfer-encoding")


def _joined(lines: Iterable[tuple[str, str]]) -> dict[str, str]:
    """A header per name: whether its values are one line or several is not the script's choice."""
    headers: dict[str, str] = {}
    for name, value in lines:
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _in_old_words(told: str) -> str:
    """What newer Pythons say beyond what the oldest says."""
    told = re.sub(r"\. Did you mean:? '\w+'\?$", "", told)
    return told.replace("is not a container or iterable", "is not iterable")


def _last_line(trace: str) -> str:
    """The error of a traceback, without its notes, and without the module of its class."""
    lines = trace.splitlines()
    frames = [at for at, line in enumerate(lines) if line.startswith((" ", "Traceback "))]
    name, colon, message = lines[frames[-1] + 1 if frames else 0].partition(": ")
    # Where a module lies is no matter of Cloudflare's.
    message = re.sub(r" \((/.*|unknown location)\)$", "", _in_old_words(message))
    return name.rpartition(".")[2] + colon + message
