"""The lines of `cfai dev`, in the words, forms and colours of wrangler's."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cfai.config import Config
from cfai.dev.colours import BLUE, BOLD, GREEN, GREY, RED, YELLOW, has_colours, in_colour, on

__all__ = ["LEVELS", "Console", "hotkeys", "table"]

LEVELS = ("none", "error", "warn", "info", "log", "debug")
"""wrangler's, from quiet to loud."""

WIDE = 160
"""Columns where nobody knows how many there are."""

LONGEST_VALUE = 40
"""Characters of a value in the table; wrangler cuts there."""

KEYS = ("[b] open a browser", "[c] clear console", "[x] to exit")

STATUS_COLOURS = {"2": GREEN, "4": YELLOW, "5": RED}
PREFIXES = {"[wrangler:info]": GREEN, "[wrangler:warn]": YELLOW, "[wrangler:error]": RED, "▲": YELLOW, "note:": YELLOW}

_request = re.compile(
    r"\[wrangler:info\] (?P<method>[A-Z-]+) (?P<path>\S+) (?P<status>\d{3})(?P<text>.*?) (?P<ms>\(.*\))"
)
_ready = re.compile(r"\[wrangler:info\] Ready on (?P<address>\S+)")


@dataclass(frozen=True, slots=True)
class Console:
    """Where lines go.

    ```python
    Console(level="warn").say("[wrangler:info] GET / 200 OK (5ms)")  # nothing: it is information
    ```
    """

    level: str = "log"

    def say(self, line: str, *, level: str = "info") -> None:
        """Print a line that is of `level`."""
        if LEVELS.index(level) > LEVELS.index(self.level):
            return
        with contextlib.suppress(OSError, ValueError):  # a terminal that is gone must not spoil what is done besides
            if level == "error":
                text = on(sys.stdout, RED, line)
            else:
                text = _painted(line) if has_colours(sys.stdout) else line
            sys.stdout.write(f"{text}\n")
            sys.stdout.flush()

    def note(self, line: str) -> None:
        """Print what a Worker logs: requests are information, what is remarked upon is a warning."""
        self.say(line, level="info" if line.startswith("[wrangler:info]") else "warn")

    def clear(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.write("\x1b[2J\x1b[3J\x1b[H")
            sys.stdout.flush()


def _painted(line: str) -> str:
    if found := _request.fullmatch(line):
        colour = STATUS_COLOURS.get(found["status"][0], BLUE)
        method, status = in_colour(BOLD, found["method"]), in_colour(f"{BOLD};{colour}", found["status"])
        level, duration = in_colour(GREEN, "[wrangler:info]"), in_colour(GREY, found["ms"])
        return f"{level} {method} {found['path']} {status}{found['text']} {duration}"
    if found := _ready.fullmatch(line):
        return f"{in_colour(GREEN, '[wrangler:info]')} Ready on {in_colour(GREEN, found['address'])}"
    prefix, space, rest = line.partition(" ")
    return f"{in_colour(PREFIXES[prefix], prefix)}{space}{rest}" if prefix in PREFIXES else line


def _columns() -> int:
    return shutil.get_terminal_size((WIDE, 24)).columns


def table(config: Config, *, ai: str = "local") -> list[str]:
    """What the Worker has access to, in columns; on a narrow terminal values have lines of their own.

    ai  where its models are: "local" or "remote"; "fake" or "tape" if there are none
    """
    rows = list(_rows(config, ai))
    if not rows:
        return []
    named = [(f"{name} ({value})" if value else name, kind, mode) for name, value, kind, mode in rows]
    wide = list(_aligned([("Binding", "Resource", "Mode"), *named]))
    if max(map(len, wide)) <= _columns():
        lines = wide
    else:
        short = list(_aligned([("Binding", "Resource", "Mode"), *((name, kind, mode) for name, _, kind, mode in rows)]))
        lines = short[:1]
        for (_, value, *_), line in zip(rows, short[1:], strict=True):
            lines += [line, f"  {value}"] if value else [line]
    return ["Your Worker has access to the following bindings:", *lines]


def _rows(config: Config, ai: str) -> Iterator[tuple[str, str, str, str]]:
    yield from ((f"env.{kv.binding}", kv.id, "KV Namespace", "local") for kv in config.kv_namespaces)
    yield from ((f"env.{d1.binding}", d1.name, "D1 Database", "local") for d1 in config.d1_databases)
    yield from ((f"env.{one.binding}", one.index_name, "Vectorize Index", "local") for one in config.vectorize)
    if config.ai_binding:
        yield f"env.{config.ai_binding}", "", "AI", ai
    if config.assets is not None and config.assets.binding:
        yield f"env.{config.assets.binding}", "", "Assets", "local"
    for name, value in config.vars.items():
        shown = '"(hidden)"' if name in config.secret_names else _shortened(value)
        yield f"env.{name}", shown, "Environment Variable", "local"
    yield from ((f"env.{name}" if name else "", "", kind, "not simulated") for name, kind in config.not_simulated)


def _aligned(rows: Sequence[tuple[str, str, str]]) -> Iterator[str]:
    first, second = (max(len(row[column]) for row in rows) for column in (0, 1))
    for name, kind, mode in rows:
        yield f"{name:<{first}}  {kind:<{second}}  {mode}"


def _shortened(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str, separators=(",", ":"))
    if len(text) <= LONGEST_VALUE:
        return text
    return f'{text[: LONGEST_VALUE - 2]}..."' if isinstance(value, str) else f"{text[: LONGEST_VALUE - 3]}..."


def hotkeys() -> list[str]:
    """The keys that `cfai dev` knows, in a box."""
    together = " ".join(KEYS)
    lines = [together] if len(together) + 8 <= _columns() else [*KEYS]
    width = max(map(len, lines))
    edge = "─" * (width + 4)
    return [f"╭{edge}╮", *(f"│  {line:<{width}}  │" for line in lines), f"╰{edge}╯"]
