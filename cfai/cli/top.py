"""`cfai top`: what a server does, live.

Rates and times are those of the last seconds: the difference between what `/metrics` says now and what it said then.
"""

from __future__ import annotations

import bisect
import contextlib
import itertools
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from cfai.cli.figures import Figures, ModelFigures, NoFigures, Server, Socket, Token, Url, servers

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

__all__ = ["top"]

WINDOW_SECONDS = 10.0
"""How far back the differences reach: one second of a quiet server has no token to tell from."""


def top(
    url: Url = None,
    socket: Socket = None,
    token: Token = None,
    interval: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks.")] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Print one frame, with the times since the start.")] = False,
) -> None:
    """Watch a server: what runs and waits, tokens per second, times to a token, the cache. q leaves.

    Exit codes: 0 left by q or Ctrl-C, 2 the server wants a token or is no address, 4 no server answers.
    """
    from rich.console import Console

    console = Console(highlight=False)
    try:
        with servers(url, socket, token) as there:
            if once:
                _print_once(console, there[0], interval)
            elif console.is_terminal:
                _show(console, there[0], interval)
            else:
                _print_on(console, there[0], interval)
    except NoFigures as error:
        error.end()
    except KeyboardInterrupt:
        raise typer.Exit from None


def _print_once(console: Console, server: Server, interval: float) -> None:
    before = server.figures()
    time.sleep(interval)
    frame = _frame(server, server.figures(), width=console.width, rates_since=before, times_since=None)
    console.print(*frame, sep="\n")


def _print_on(console: Console, server: Server, interval: float) -> None:
    """Frame after frame, for a file or a pipe."""
    window = _Window()
    window.add(server.figures())
    while True:
        time.sleep(interval)
        window.add(server.figures())
        console.print(*window.frame(server, console.width), "", sep="\n")


def _show(console: Console, server: Server, interval: float) -> None:
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    window = _Window()
    window.add(server.figures())
    problem = ""
    with _keys() as key, Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            last = Text(f"{problem}; trying again", style="red") if problem else Text("q leaves", style="dim")
            live.update(Group(*window.frame(server, console.width), Text(), last), refresh=True)
            if key(interval) in ("q", "Q", "\x1b"):
                return
            try:
                figures = server.figures()
            except NoFigures as error:
                problem = str(error)
                continue
            if problem:  # another process may answer now, and nothing is known of the time between
                window, problem = _Window(), ""
            window.add(figures)


@contextlib.contextmanager
def _keys() -> Iterator[Callable[[float], str]]:
    """A function that waits for a key, so many seconds, and gives it; empty if none was pressed."""
    if sys.platform == "win32" or not (sys.stdin and sys.stdin.isatty()):  # only Ctrl-C leaves
        yield _sleep
        return

    import select
    import termios
    import tty

    def key(seconds: float) -> str:
        is_there, _, _ = select.select([sys.stdin], [], [], seconds)
        # An arrow is three bytes that begin as Esc does; nothing at all means that the terminal is gone.
        return (os.read(sys.stdin.fileno(), 64).decode("latin-1") or "q") if is_there else ""

    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        yield key
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _sleep(seconds: float) -> str:
    time.sleep(seconds)
    return ""


class _Window:
    """What a server said in the last seconds."""

    def __init__(self) -> None:
        self._seen: deque[Figures] = deque()

    def add(self, figures: Figures) -> None:
        self._seen.append(figures)
        while len(self._seen) > 2 and figures.at - self._seen[1].at >= WINDOW_SECONDS:
            self._seen.popleft()

    def frame(self, server: Server, width: int) -> list[Text]:
        first, last = self._seen[0], self._seen[-1]
        return _frame(server, last, width=width, rates_since=first, times_since=first)


@dataclass(frozen=True, slots=True)
class _Row:
    """A model now and before. `rates_since` gives the rates, `times_since` the times; None for it: since the start."""

    now: ModelFigures
    rates_since: ModelFigures | None
    times_since: ModelFigures | None
    seconds: float
    """From `rates_since` to now."""

    def of(self, count: str, most: str) -> str:
        known = [f"{self.now.values[name]:,.0f}" for name in (count, most) if name in self.now.values]
        return "/".join(known)

    def rate(self, counter: str) -> float | None:
        if counter not in self.now.values or not self.seconds:
            return None
        return self.now.since(counter, self.rates_since) / self.seconds

    def time(self, histogram: str, share: float) -> str:
        before = self.times_since.times.get(histogram) if self.times_since else None
        buckets = self.now.times.get(histogram)
        return _duration(buckets.since(before).quantile(share) if buckets else None)

    def share(self, part: str, whole: str) -> str:
        parts, wholes = self.now.since(part, self.times_since), self.now.since(whole, self.times_since)
        return f"{parts / wholes:.0%}" if wholes else NOTHING

    @property
    def cache(self) -> str:
        capacity = self.now.values.get("cache_capacity_tokens")
        return f"{self.now.values.get('cache_tokens', 0) / capacity:.0%}" if capacity else NOTHING


NOTHING = "-"
"""What stands where there is nothing to tell from."""

FIRST, NEXT = "gen_ai_server_time_to_first_token_seconds", "cfai_inter_token_latency_seconds"

_Column = tuple[str, str, int, Callable[[_Row], str]]
"""Group, name, width, and what it tells of a model."""

COLUMNS: list[_Column] = [
    ("", "running", 8, lambda row: row.of("requests_running", "slots")),
    ("", "waiting", 8, lambda row: row.of("requests_waiting", "queue_limit")),
    ("tokens/s", "in", 7, lambda row: _number(row.rate("prompt_tokens"))),
    ("tokens/s", "out", 7, lambda row: _number(row.rate("output_tokens"))),
    ("first token", "p50", 9, lambda row: row.time(FIRST, 0.5)),
    ("first token", "p99", 8, lambda row: row.time(FIRST, 0.99)),
    ("between tokens", "p50", 9, lambda row: row.time(NEXT, 0.5)),
    ("between tokens", "p99", 8, lambda row: row.time(NEXT, 0.99)),
    ("cache", "use", 7, lambda row: row.cache),
    ("cache", "hits", 6, lambda row: row.share("cached_prompt_tokens", "prompt_tokens")),
    ("in queue", "p99", 10, lambda row: row.time("cfai_queue_time_seconds", 0.99)),
    ("prefill", "p50", 9, lambda row: row.time("cfai_prefill_time_seconds", 0.5)),
    ("", "finished", 10, lambda row: f"{row.now.outcomes.get('finished', 0):,.0f}"),
]
"""As many of them as fit are shown, the first ones first."""


def _frame(
    server: Server, now: Figures, *, width: int, rates_since: Figures, times_since: Figures | None
) -> list[Text]:
    from rich.text import Text

    seconds = now.at - rates_since.at
    rows = {
        name: _Row(model, rates_since.models.get(name), times_since.models.get(name) if times_since else None, seconds)
        for name, model in sorted(now.models.items())
    }
    lines = [_title(server, now), *_totals(list(rows.values()), now.neurons), Text()]
    if not rows:
        return [*lines, Text("no model is loaded; one is when it is first asked for", style="dim")]
    columns = _fitting(width)
    lines += [
        Text(_groups(columns), style="dim"),
        Text(_cells(columns, [name for _, name, *_ in columns]), style="bold"),
    ]
    for name, row in rows.items():
        lines.append(_model(name, row.now))
        lines.append(Text(_cells(columns, [show(row) for *_, show in columns])))
    return lines


def _title(server: Server, now: Figures) -> Text:
    from rich.text import Text

    title = Text.assemble((f"cfai {now.version}", "bold"), f" at {server.name}")
    if now.started is not None:
        title.append(f", up {_age(time.time() - now.started)}")
    return title


def _totals(rows: list[_Row], neurons: str | None) -> list[Text]:
    from rich.text import Text

    def total(name: str) -> float:
        return sum(row.now.values.get(name, 0) for row in rows)

    def rate(counter: str) -> str:
        known = [rate for row in rows if (rate := row.rate(counter)) is not None]
        return _number(sum(known) if known else None)

    outcomes = {
        outcome: sum(row.now.outcomes.get(outcome, 0) for row in rows)
        for outcome in ("finished", "stopped", "failed", "refused")
    }
    return [
        *([Text(neurons)] if neurons else []),
        Text(
            f"{total('requests_running'):,.0f} running, {total('requests_waiting'):,.0f} waiting, tokens/s "
            f"{rate('prompt_tokens')} in, {rate('output_tokens')} out"
        ),
        Text("requests so far: " + ", ".join(f"{count:,.0f} {outcome}" for outcome, count in outcomes.items())),
    ]


def _model(name: str, model: ModelFigures) -> Text:
    from rich.filesize import decimal
    from rich.text import Text

    where = " ".join(model.info[key] for key in ("device", "dtype") if model.info.get(key)) or "loading"
    memory = model.values.get("weights_bytes")
    about = [where, decimal(int(memory)) if memory else "", model.info.get("batching", "")]
    return Text.assemble((name, "cyan"), ("".join(f"  {part}" for part in about if part), "dim"))


def _fitting(width: int) -> list[_Column]:
    taken = list(itertools.accumulate(size for _, _, size, _ in COLUMNS))
    return COLUMNS[: bisect.bisect_right(taken, width)]


def _groups(columns: list[_Column]) -> str:
    """The groups' names, each above the last of its columns; left out where only a part of the columns is there."""
    cells = []
    for group, members in itertools.groupby(columns, key=lambda column: column[0]):
        width = sum(size for _, _, size, _ in members)
        cells.append(f"{group if len(group) < width else '':>{width}}")
    return "".join(cells)


def _cells(columns: list[_Column], cells: list[str]) -> str:
    return "".join(f"{cell:>{size}}" for (_, _, size, _), cell in zip(columns, cells, strict=True))


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return NOTHING
    if seconds < 0.01:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def _number(value: float | None) -> str:
    if value is None:
        return NOTHING
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value else "0"


def _age(seconds: float) -> str:
    minutes, seconds = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
