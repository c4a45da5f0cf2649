"""Where a user says that the weights of a model are."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Source", "is_repository_name", "parse_source"]

_REPOSITORY = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Source:
    """A folder, a GGUF file, or a repository of the hub (`org/name`) with the revision that is meant.

    ```python
    Source("./llama-2-7b-chat").folder  # PosixPath('llama-2-7b-chat'), where there is one
    Source("NousResearch/Llama-2-7b-chat-hf", revision="main").is_repository  # True
    ```
    """

    place: str
    revision: str | None = None
    """A branch, a tag or a commit of the repository; None is what was fetched last, or its main branch."""

    @property
    def folder(self) -> Path | None:
        path = Path(self.place).expanduser()
        return path if path.is_dir() else None

    @property
    def gguf(self) -> Path | None:
        """The GGUF file that is named, where there is one."""
        path = Path(self.place).expanduser()
        return path if path.suffix.lower() == ".gguf" and path.is_file() else None

    @property
    def is_repository(self) -> bool:
        return self.folder is None and self.gguf is None and is_repository_name(self.place)


def is_repository_name(text: str) -> bool:
    """Whether a repository of the hub may be called so.

    ```python
    is_repository_name("NousResearch/Llama-2-7b-chat-hf")  # True
    is_repository_name("../llama")  # False
    ```
    """
    return _REPOSITORY.fullmatch(text) is not None and ".." not in text and "--" not in text


def parse_source(text: str) -> tuple[str, Source]:
    """`ID=FOLDER`, `ID=FILE.gguf`, `ID=org/name` or `ID=org/name@REVISION`, as given on a command line.

    ```python
    parse_source("@cf/my/llama=./llama")  # ('@cf/my/llama', Source('./llama'))
    ```

    A ValueError says what is wrong with it.
    """
    model_id, equals, place = text.partition("=")
    if not equals or not model_id or not place:
        raise ValueError(f"{text!r} is not of the form ID=FOLDER, for example @cf/meta/llama-2-7b-chat-int8=./llama")
    source = Source(place)
    if source.folder is None and source.gguf is None and not source.is_repository:
        repository, _, revision = place.partition("@")
        source = Source(repository, revision or None)
        if not source.is_repository:
            raise ValueError(f"there is no folder {place}")
    return model_id, source
