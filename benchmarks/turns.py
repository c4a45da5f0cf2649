"""Variants measured in turns, each time in a process of its own, and what comes out of it as one table.

Threads that shared torch's kernels once stay slow on a CPU, and a machine is not equally fast all day. So every
measurement is a fresh process, the variants take turns, and ratios are taken within a turn.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Figures = dict[str, Any]
"""What one measurement gives: numbers by name; or `skipped`, the reason why there are none."""


def take_turns(script: str, cases: Mapping[str, Figures], runs: int) -> dict[str, list[Figures]]:
    """Measure each of `cases` `runs` times, one after another; a variant that cannot run is not asked again.

    `script` is run as `script --measure CASE` and prints its figures as JSON on the last line.
    """
    seen: dict[str, list[Figures]] = {variant: [] for variant in cases}
    for _ in range(runs):
        for variant, case in cases.items():
            if any("skipped" in figures for figures in seen[variant]):
                continue
            seen[variant].append(_measured(script, case))
            print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    for variant, figures in seen.items():
        for reason in (each["skipped"] for each in figures if "skipped" in each):
            print(f"{variant} is left out: {reason}", file=sys.stderr)
    return seen


def _measured(script: str, case: Figures) -> Figures:
    done = subprocess.run([sys.executable, script, "--measure", json.dumps(case)], capture_output=True, text=True)
    if done.returncode:
        return {"skipped": (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]}
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


def median(runs: Sequence[Figures], figure: str) -> float | None:
    """The median of a figure over the runs that have it."""
    values = [run[figure] for run in runs if run.get(figure) is not None]
    return statistics.median(values) if values else None


def ratio(ours: Sequence[Figures], theirs: Sequence[Figures], figure: str) -> float | None:
    """The median of the ratios turn by turn."""
    pairs = [(a.get(figure), b.get(figure)) for a, b in zip(ours, theirs, strict=False)]
    values = [a / b for a, b in pairs if a is not None and b]
    return statistics.median(values) if values else None


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows with the same keys as Markdown. None is a dash, and a column of nothing else is left out."""
    if not rows:
        return ""
    heads = [head for head in rows[0] if any(row[head] is not None for row in rows)]
    cells = [heads, *([_cell(row[head]) for head in heads] for row in rows)]
    widths = [max(len(line[at]) for line in cells) for at in range(len(heads))]
    lines = [
        "| " + " | ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 1) + ":" for width in widths) + "|")
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if not isinstance(value, float):
        return str(value)
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def save(file: Path | None, record: Figures) -> None:
    """Write everything that was measured, for `plot.py` and for later."""
    if file is not None:
        file.write_text(json.dumps(record, indent=1) + "\n")
