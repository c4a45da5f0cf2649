"""What is wrong with a project, and where: errors, and remarks that stop nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ConfigError", "Remark", "shown"]


class ConfigError(Exception):
    """A project that cannot be read. The message says the file, the line and what was expected.

    ```python
    try:
        config = load_config("my-worker")
    except ConfigError as error:
        print(error)  # my-worker/wrangler.jsonc:3: "main" should be a string, the path of the script, not 7
    ```

    remarks  what else is odd about the file, and may be why; a line each in the message
    """

    def __init__(
        self, problem: str, *, file: Path | None = None, line: int | None = None, remarks: Sequence[Remark] = ()
    ) -> None:
        super().__init__("\n".join(map(str, [Remark(problem, file, line), *remarks])))
        self.problem = problem
        self.file = file
        self.line = line
        self.remarks = remarks


@dataclass(frozen=True, slots=True)
class Remark:
    """One line about a project that runs all the same: an unknown key, a binding that an environment lacks.

    ```python
    for remark in load_config().warnings:
        print(remark)  # wrangler.jsonc:7: unknown key "maim", did you mean "main"?
    ```
    """

    problem: str
    file: Path | None = None
    line: int | None = None

    def __str__(self) -> str:
        where = "" if self.file is None else f"{self.file}: " if self.line is None else f"{self.file}:{self.line}: "
        return where + self.problem


def shown(value: object) -> str:
    """A value of a config file, as it stands there, cut where it is long."""
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:37]}..."
