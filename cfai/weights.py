"""Where the weights of a model are on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from cfai.catalog import Model
from cfai.errors import WeightsMissing

__all__ = ["DEMO_MODEL", "Source", "are_here", "find", "parse_source", "size_on_disk"]

DEMO_MODEL = "@cfai/demo/tiny-chat"

_WANTED = ["*.json", "*.jinja", "*.safetensors", "tokenizer.model"]
"""The files of a repository that a model is loaded from; nothing that holds code or pickles."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where the user says a model's weights are: a folder, or a repository of the hub (`org/name`)."""

    place: str

    @property
    def folder(self) -> Path | None:
        path = Path(self.place).expanduser()
        return path if path.is_dir() else None

    @property
    def is_repository(self) -> bool:
        return self.folder is None and self.place.count("/") == 1 and not self.place.startswith((".", "/", "~"))


def parse_source(text: str) -> tuple[str, Source]:
    """`ID=FOLDER` or `ID=org/name`, as given on a command line; a ValueError says what is wrong with it."""
    model_id, equals, place = text.partition("=")
    if not equals or not model_id or not place:
        raise ValueError(f"{text!r} is not of the form ID=FOLDER, for example @cf/meta/llama-2-7b-chat-int8=./llama")
    source = Source(place)
    if source.folder is None and not source.is_repository:
        raise ValueError(f"there is no folder {place}")
    return model_id, source


def find(model: Model, source: Source | None = None) -> Path:
    """The folder with the weights of `model`.

    `source` is what the user named for it; a repository is fetched if it is not here yet. Without one, the demo
    model is in the package, and other models are looked for in the hub's cache on this machine, which opens no
    connection. Raises `WeightsMissing`, which says which weights, from where, and how to get them.
    """
    if source is not None:
        return source.folder or _fetch(source.place)
    if model.bundled is not None:
        return Path(str(resources.files("cfai"))) / model.bundled
    if model.weights is not None:
        for repo in filter(None, (model.weights.repo, model.weights.ungated_repo)):
            if (folder := _cached(repo)) is not None:
                return folder
    raise WeightsMissing(f"The weights of {model.id} are not on this machine{_origin(model)}", hint=_advice(model))


def are_here(model: Model) -> bool:
    """Whether `find` would find the weights of `model` without being told where."""
    try:
        find(model)
    except WeightsMissing:
        return False
    return True


def size_on_disk(folder: Path) -> int:
    """Bytes of the safetensors files in `folder`."""
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def _origin(model: Model) -> str:
    if model.weights is None:
        return "; no public weights are known for it"
    terms = ", after its owner's terms are accepted there" if model.weights.gated else ""
    return f"; they come from the hub repository {model.weights.repo}{terms}"


def _advice(model: Model) -> str:
    ways = []
    if model.weights is not None:
        ways.append(f"fetch them with `hf download {model.weights.ungated_repo or model.weights.repo}`")
    ways.append(f"name a checkpoint with `--model {model.id}=FOLDER` (in Python LocalBinding's first argument)")
    ways.append("or let the demo model answer in its place with `--demo` (CFAI_DEMO=1, `demo=True`)")
    return ", ".join(ways)


def _cached(repo: str) -> Path | None:
    try:
        from huggingface_hub import try_to_load_from_cache
    except ModuleNotFoundError:  # a light install, for which a model would be of no use
        return None

    config = try_to_load_from_cache(repo, "config.json")
    if not isinstance(config, str):
        return None
    folder = Path(config).parent
    return folder if any(folder.glob("*.safetensors")) else None


def _fetch(repo: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(repo, allow_patterns=_WANTED))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise WeightsMissing(f"The hub repository {repo} could not be fetched: {reason}") from error
