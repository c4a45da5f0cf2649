"""`cfai init`: a small Worker project that streams, with its page and its test."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from cfai.cli.endings import ExitCode, fail

__all__ = ["init"]

FILES = {
    "wrangler.jsonc": "wrangler.jsonc",
    "src/entry.py": "src/entry.py.txt",
    "public/index.html": "public/index.html",
    "tests/test_entry.py": "tests/test_entry.py.txt",
    "pyproject.toml": "pyproject.toml.txt",
    ".gitignore": "gitignore.txt",
    "README.md": "README.md",
}
"""What is written, and where its text is in the package; some texts have names there that tools pass over."""

_NAME = re.compile(r"[a-z0-9_][a-z0-9_-]*")
_LONGEST_NAME = 63


def init(
    folder: Annotated[Path, typer.Argument(help="Where; it is made if it is not there.")] = Path(),
    name: Annotated[str | None, typer.Option(help="The Worker's name; that of the folder by default.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over files that are there.")] = False,
) -> None:
    """Write a small Worker project that streams a model's answer, with a page and a test.

    Exit codes: 0 written, 2 a file is in the way, or the name is none that a Worker can have.
    """
    from rich.console import Console

    name = _checked(name) if name is not None else _name_of(folder)
    if not force and (taken := _in_the_way(folder)):
        are = "is" if len(taken) == 1 else "are"
        fail(
            f"{', '.join(taken)} {are} there already",
            ExitCode.USAGE,
            hint="another folder, or --force to write over it",
        )
    try:
        for target, text in _texts(name).items():
            file = folder / target
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, "utf-8")
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}", ExitCode.USAGE)

    Console(highlight=False).print(f"[bold]{name}[/bold] is written: {', '.join(FILES)}. Next:")
    console = Console(highlight=False, soft_wrap=True)
    if folder != Path():
        console.print(f"  cd {folder}", style="cyan", markup=False)
    console.print("  cfai dev --demo", style="cyan", end="")
    console.print("    runs it on http://localhost:8787", style="dim")
    console.print("  pytest", style="cyan", end="")
    console.print("             runs its test, after pip install pytest", style="dim")


def _in_the_way(folder: Path) -> list[str]:
    from cfai.config import CONFIG_NAMES

    if folder.exists() and not folder.is_dir():
        return [str(folder)]
    # Another config than the one that is written would be read in its place, or contradict it.
    files = [folder / one for one in dict.fromkeys([*CONFIG_NAMES, *FILES])]
    folders = dict.fromkeys(file.parent for file in files)
    return [
        *(str(one) for one in folders if one.exists() and not one.is_dir()),
        *(str(file) for file in files if file.exists() or file.is_symlink()),
    ]


def _texts(name: str) -> dict[str, str]:
    template = resources.files("cfai") / "template"
    return {
        target: (template / source).read_text("utf-8").replace("{{name}}", name) for target, source in FILES.items()
    }


def _checked(name: str) -> str:
    if len(name) > _LONGEST_NAME or not _NAME.fullmatch(name):
        fail(
            f"{name!r} is no name of a Worker",
            ExitCode.USAGE,
            hint=f"lower-case letters, digits, - and _, at most {_LONGEST_NAME}",
        )
    return name


def _name_of(folder: Path) -> str:
    base = folder.resolve().name
    name = re.sub(r"[^a-z0-9_]+", "-", base.lower()).strip("-")[:_LONGEST_NAME].rstrip("-")
    if not name:
        fail(f"no name for a Worker can be made of {base!r}", ExitCode.USAGE, hint="--name my-worker")
    return name
