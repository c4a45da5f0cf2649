"""`cfai import`: a checkpoint of the user's own under a model's id."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from cfai.cli.endings import ExitCode, fail, fail_with, need
from cfai.errors import AiError

__all__ = ["import_weights"]


def import_weights(
    model: Annotated[
        str, typer.Argument(metavar="ID", help="The model's id, of the catalog or a new one: @cf/my/llama.")
    ],
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="A folder with safetensors, one safetensors file, or a GGUF file.")
    ],
    link: Annotated[bool, typer.Option("--link", help="Make hard links in place of copies.")] = False,
) -> None:
    """Take a checkpoint under a model's id, checked; a GGUF file becomes safetensors.

    Files are copied, so that the model stays what it is whatever becomes of
    them; --link takes no room instead, on the same file system, and whoever
    writes into the files changes the model.

    Exit codes: 0 it is here, 2 no model id, 3 nothing that runs here, 130 Ctrl-C.
    """
    need(["filelock", "safetensors", "torch", "transformers"])
    from rich.filesize import decimal

    from cfai.catalog import Catalog
    from cfai.cli.pulling import watching
    from cfai.errors import NoSuchModel
    from cfai.weights.importing import import_weights as take

    try:
        name = Catalog.builtin().get(model).id
    except NoSuchModel:
        name = model
    except AiError as error:
        fail(f"{error.description}", ExitCode.USAGE, hint="an id is of the form @cf/my/llama")
    try:
        with watching() as watcher:
            record = take(name, path, link=link, watcher=watcher)
    except AiError as error:
        fail_with(error)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; the same command goes on from here\n")
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    size = sum(file.size for file in record.files.values())
    sys.stdout.write(f"{name}: {len(record.files)} files, {decimal(size)}\n{record.folder}\n")
