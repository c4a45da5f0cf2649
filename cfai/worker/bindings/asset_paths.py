"""Which file a URL path stands for, and where a path that is not the canonical one leads.

The rules are those of `html_handling` and `not_found_handling` in Cloudflare's asset worker
(`packages/workers-shared/asset-worker/src/handler.ts` of workers-sdk), as tables.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote, unquote_to_bytes

__all__ = ["Found", "Moved", "canonical", "decoded", "resolve"]

Exists = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Found:
    """The file to serve; 404 for the page that says so."""

    file: str
    status: int = 200


@dataclass(frozen=True, slots=True)
class Moved:
    """The path to ask for instead."""

    path: str


_Step = tuple[str] | tuple[str, str]
# A step with one item serves that file. A step with two redirects to the second if that serves the first. The asterisk
# is the path without the ending by which the row was found.
_STEPS: dict[str, dict[str, tuple[_Step, ...]]] = {
    "auto-trailing-slash": {
        "/index": (("*/index",), ("*/index.html", "*/"), ("*.html", "*")),
        "/index.html": (("*/index.html", "*/"), ("*.html", "*")),
        "/": (("*/index.html",), ("*.html", "*")),
        ".html": (("*.html", "*"), ("*/index.html", "*/")),
        "": (("*",), ("*.html",), ("*/index.html", "*/")),
    },
    "force-trailing-slash": {
        "/index": (("*/index",), ("*/index.html", "*/"), ("*.html", "*/")),
        "/index.html": (("*/index.html", "*/"), ("*.html", "*/")),
        "/": (("*/index.html",), ("*.html",)),
        ".html": (("*.html", "*/"), ("*.html",), ("*/index.html", "*/")),
        "": (("*",), ("*.html", "*/"), ("*/index.html", "*/")),
    },
    "drop-trailing-slash": {
        "/index": (("*/index",), ("*.html", "*"), ("*/index.html", "*")),
        "/index.html": (("*/index.html", "*"), ("*/index.html",), ("*.html", "*")),
        "/": (("*.html", "*"), ("*/index.html", "*")),
        ".html": (("*.html", "*"), ("*/index.html", "*")),
        "": (("*",), ("*.html",), ("*/index.html",)),
    },
    "none": {"": (("*",),)},
}


def resolve(path: str, html_handling: str, not_found_handling: str, exists: Exists) -> Found | Moved | None:
    """What a decoded path leads to, None if to nothing.

    ```python
    resolve("/about.html", "auto-trailing-slash", "none", {"/about.html"}.__contains__)  # Moved("/about")
    ```
    """
    return _by_html_handling(path, html_handling, exists) or _not_found(path, not_found_handling, exists)


def _by_html_handling(path: str, mode: str, exists: Exists, *, serves_only: bool = False) -> Found | Moved | None:
    rows = _STEPS[mode]
    if path == "/" and mode != "none" and exists("/index.html"):
        return Found("/index.html")
    ending = next((ending for ending in rows if ending and path.endswith(ending)), "")
    # What no step of an ending settles, the steps of a path without one do.
    for row in dict.fromkeys((ending, "")):
        base = path[: len(path) - len(row)]
        for step in rows[row]:
            file = step[0].replace("*", base)
            if not exists(file):
                continue
            if len(step) == 1:
                return Found(file)
            target = step[1].replace("*", base) or "/"
            if serves_only or exists(target):
                continue
            if _by_html_handling(target, mode, exists, serves_only=True) == Found(file):
                return Moved(target)
    return None


def _not_found(path: str, mode: str, exists: Exists) -> Found | None:
    if mode == "single-page-application" and exists("/index.html"):
        return Found("/index.html")
    if mode == "404-page":
        while path:
            path = path[: path.rfind("/")]
            if exists(f"{path}/404.html"):
                return Found(f"{path}/404.html", 404)
    return None


def decoded(path: str) -> str:
    """A URL path as the name of a file. A part of it that is not UTF-8 stays as it is."""
    parts = "/".join(_decoded(part) for part in path.split("/"))
    while "//" in parts:
        parts = parts.replace("//", "/")
    return parts


def canonical(path: str) -> str:
    """The URL path under which a file of the decoded path is served."""
    return "/".join(quote(part, safe="!'()*-._~") for part in path.split("/"))


def _decoded(part: str) -> str:
    try:
        return unquote_to_bytes(part).decode() if _is_encoded_well(part) else part
    except UnicodeDecodeError:
        return part


def _is_encoded_well(part: str) -> bool:
    digits = "0123456789abcdefABCDEF"
    return all(len(code) >= 2 and code[0] in digits and code[1] in digits for code in part.split("%")[1:])
