"""What is run on both sides: a script and a request."""

from __future__ import annotations

import base64
import json
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cfai import sse

__all__ = ["ANSWERS", "CF", "URL", "VARS", "Case", "probe"]

URL = "http://localhost:8787"

VARS = {
    "GREETING": "hi",
    "NUMBER": 4,
    "HALF": 2.5,
    "TRUTH": True,
    "FLAGS": {"beta": True, "list": [1, {"a": 1}], "items": 2},
}
"""The vars of every script."""

CF = {"colo": "SFO", "country": "US", "httpProtocol": "HTTP/1.1", "asn": 395747}
"""What a request has as `cf` on Cloudflare, as far as scripts here look at it."""

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

    def told(self, has_class_handlers: bool) -> dict[str, Any]:
        """The case as the program on Node takes it."""
        added = (("host", "localhost:8787"), ("cf-connecting-ip", "127.0.0.1"), ("accept-encoding", "br, gzip"))
        request = {
            "url": f"{URL}{self.path}",
            "method": self.method,
            "headers": [*added, *self.headers],
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
        return found
    return {
        "status": str(answer["status"]),
        "headers": str(sorted((name, value) for name, value in answer["headers"] if name not in _ON_THE_WIRE)),
        "body": body.decode("utf-8", "backslashreplace"),
    }


# A server's, not a script's.
_ON_THE_WIRE = ("content-length", "transfer-encoding")


def _last_line(trace: str) -> str:
    """The error of a traceback, without its notes, and without the module of its class."""
    lines = trace.splitlines()
    frames = [at for at, line in enumerate(lines) if line.startswith((" ", "Traceback "))]
    name, colon, message = lines[frames[-1] + 1 if frames else 0].partition(": ")
    return name.rpartition(".")[2] + colon + message
