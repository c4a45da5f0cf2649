"""What a repository holds, and which of it a model is loaded from. No connection is made here."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cfai.errors import WeightsMissing
from cfai.weights.digest import Digest
from cfai.weights.layout import INDEX, PICKLES, SINGLE
from cfai.wording import count

__all__ = ["HubFile", "Listing", "is_small"]

_SMALL = ("*.json", "*.jinja", "*.tiktoken", "tokenizer.model", "spiece.model", "merges.txt", "vocab.txt")
"""What a model has beside its weights; nothing that holds code or pickles."""


def is_small(name: str) -> bool:
    """Whether a file is one that a model has beside its weights.

    ```python
    is_small("tokenizer.json")  # True
    is_small("onnx/config.json")  # False
    ```
    """
    return "/" not in name and any(fnmatch.fnmatch(name, kind) for kind in _SMALL)


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a repository."""

    name: str
    size: int
    digest: Digest


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of a repository at one commit.

    ```python
    Listing("org/name", "main", "351844e7...", files).small  # config.json, tokenizer.json, ...
    ```
    """

    repo: str
    revision: str
    """What was asked for: a branch, a tag or a commit."""
    commit: str
    files: Sequence[HubFile]

    def file(self, name: str) -> HubFile | None:
        return next((file for file in self.files if file.name == name), None)

    @property
    def small(self) -> list[HubFile]:
        """Everything but weights; a model's config and the index of its weights come first."""
        first = ("config.json", INDEX)
        return sorted((file for file in self.files if is_small(file.name)), key=lambda file: file.name not in first)

    def check(self) -> None:
        """Raise `WeightsMissing` where a look at the names says that cfai cannot run this."""
        names = [file.name for file in self.files if "/" not in file.name]
        if "config.json" not in names:
            ggufs = [name for name in names if name.endswith(".gguf")]
            hint = f"fetch {ggufs[0]} by itself and `cfai import ID {ggufs[0]}`" if ggufs else ""
            raise WeightsMissing(f"{self.repo} has no config.json: it is no checkpoint for transformers", hint=hint)
        if SINGLE in names or INDEX in names:
            return
        others = [name for name in names if name.endswith(".safetensors")]
        if others:
            has = f"{', '.join(others[:3])} ({count(len(others), 'file')}), and no {SINGLE} or {INDEX}"
            raise WeightsMissing(f"{self.repo} has {has}: transformers loads no such checkpoint")
        if pickles := sorted(name for name in names if any(fnmatch.fnmatch(name, kind) for kind in PICKLES)):
            raise WeightsMissing(
                f"{self.repo} has no safetensors, only {pickles[0]} ({count(len(pickles), 'pickle')}), which may run "
                "any code when loaded, and which cfai never opens",
                hint="look for a revision with safetensors (`--revision refs/pr/N`: the hub's converter opens such "
                "pull requests), or convert it where you trust it, and `cfai import` the folder",
            )
        raise WeightsMissing(f"{self.repo} has no weights: no {SINGLE} and no {INDEX}")

    def weights(self, names: Iterable[str]) -> list[HubFile]:
        """The files of weights of these names; `WeightsMissing` if one is not there, or can hold nothing."""
        found = []
        for name in names:
            file = self.file(name)
            if file is None:
                raise WeightsMissing(f"{self.repo} is not whole: {INDEX} names {name}, which is not there")
            if file.size <= 8:  # the length of a header alone
                raise WeightsMissing(f"{self.repo} is not whole: {name} has {count(file.size, 'byte')}")
            found.append(file)
        return found
