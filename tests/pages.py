"""The blocks of a page of docs/, and the project that they make."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Block", "blocks_of", "write_project"]

HEADING_OR_BLOCK = re.compile(r"^#+ ([^\n]*)$|^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
NAMES_A_FILE = re.compile(r"`([\w./-]+\.\w+)`[^`\n]*:\n\n\Z")
HAS_TESTS = re.compile(r"^\s*(async )?def test_|^class Test", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """What stands between two fences."""

    language: str
    section: str
    file: str | None
    """The file of a project that it is, where the line before ends in the file's name and a colon."""
    text: str
    line: int

    @property
    def name(self) -> str:
        return f"{re.sub(r'[^a-z]+', '_', self.section.lower()).strip('_')}_{self.line}"

    @property
    def has_tests(self) -> bool:
        return HAS_TESTS.search(self.text) is not None


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text("utf-8")
    found: list[Block] = []
    section = ""
    for match in HEADING_OR_BLOCK.finditer(text):
        heading, language, code = match.groups()
        if heading is not None:
            section = heading
            continue
        before = text[: match.start()]
        named = NAMES_A_FILE.search(before)
        found.append(Block(language, section, named[1] if named else None, code, before.count("\n") + 1))
    return found


def write_project(blocks: list[Block], root: Path, *, wants: Callable[[Block], bool] = lambda block: True) -> None:
    """The files that blocks are, and the other blocks with tests as modules below `tests`.

    wants  says of a block with tests whether it is written
    """
    for block in blocks:
        if block.file is not None:
            file = root / block.file
            assert not file.exists(), f"line {block.line} names {block.file} a second time"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text, "utf-8")
    (root / "tests").mkdir(exist_ok=True)
    for block in blocks:
        if block.language == "python" and block.file is None and block.has_tests and wants(block):
            (root / "tests" / f"test_{block.name}.py").write_text(block.text, "utf-8")
