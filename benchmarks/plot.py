"""A plot of what `engine.py --json` or `http.py --json` wrote: tokens per second by variant. Needs matplotlib.

python benchmarks/plot.py engine-125m.json engine-125m.svg
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

COUNTS = {"engine": "sequences", "http": "streams"}
NAMES = {"engine": "variant", "http": "server"}


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw the results of engine.py or http.py.")
    parser.add_argument("results", type=Path, help="the file that --json wrote")
    parser.add_argument("picture", type=Path, help="a .svg or .png file")
    given = parser.parse_args()
    draw(json.loads(given.results.read_text()), given.picture)


def draw(record: dict[str, Any], picture: Path) -> None:
    """One panel per prompt length, a group of bars per count, and the limit that the memory's speed sets."""
    import matplotlib  # type: ignore[import-not-found]

    matplotlib.use("agg")
    from matplotlib import pyplot

    script, options = record["script"], record["options"]
    count, name = COUNTS[script], NAMES[script]
    figure = "decode/s" if script == "engine" else "tokens/s"
    panels: dict[int, list[dict[str, Any]]] = {}
    for row in record["rows"]:
        panels.setdefault(row.get("prompt", options["prompt"] if script == "http" else 0), []).append(row)
    drawing, places = pyplot.subplots(
        1, len(panels), figsize=(6 * len(panels), 4.5), squeeze=False, sharey=True, layout="constrained"
    )
    for place, (prompt, rows) in zip(places[0], panels.items(), strict=True):
        counts = list(dict.fromkeys(row[count] for row in rows))
        names = list(dict.fromkeys(row[name] for row in rows))
        width = 0.8 / len(names)
        for offset, each in enumerate(names):
            heights = {row[count]: row[figure] or 0 for row in rows if row[name] == each}
            left = [at + (offset + 0.5) * width - 0.4 for at in range(len(counts))]
            place.bar(left, [heights.get(number, 0) for number in counts], width, label=each)
        for at, number in enumerate(counts):
            ours = next((row for row in rows if row[count] == number and row[name] == "cfai"), {})
            if ours.get("of limit"):
                place.hlines(
                    ours["decode/s"] / ours["of limit"], at - 0.4, at + 0.4, colors="black", linestyles="dotted"
                )
        place.set(title=f"{prompt}-token prompts", xlabel=count, xticks=range(len(counts)), yscale="log")
        place.set_xticklabels(counts)
    places[0][0].set_ylabel("decoded tokens per second" if script == "engine" else "tokens per second")
    drawing.legend(*places[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=6)
    machine = record["machine"]
    drawing.suptitle(
        f"{options['model']}, {options['dtype']}, {options['device']}, {machine['processor']}, {machine['date']}"
    )
    drawing.savefig(picture, bbox_inches="tight")


if __name__ == "__main__":
    main()
