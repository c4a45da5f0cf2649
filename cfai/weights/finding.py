"""The folder with the weights of a model."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from cfai.catalog import Catalog, Model
from cfai.errors import WeightsMissing
from cfai.weights.home import hub_cache, is_offline
from cfai.weights.layout import is_whole
from cfai.weights.records import Record
from cfai.weights.source import Source

__all__ = ["DEMO_MODEL", "are_here", "find", "repositories", "repository_folder", "size_on_disk", "with_imported"]

DEMO_MODEL = "@cfai/demo/tiny-chat"


def find(model: Model, source: Source | None = None, *, offline: bool | None = None) -> Path:
    """The folder with the weights of `model`.

    ```python
    find(Catalog.builtin().get("@cfai/demo/tiny-chat"))  # the folder in the package
    ```

    source   what the user named for it: a folder, a GGUF file, which becomes a folder of cfai's own once, or a
             repository, which is fetched if it is not here yet and nothing forbids it. Without one, the demo model is
             in the package, and other models are looked for among what was fetched or imported, which opens no
             connection
    offline  whether connections are forbidden; default what `is_offline` says

    Nothing that is only half there is found. Raises `WeightsMissing`, which says which weights, from where, and how to
    get them.
    """
    if source is not None:
        if source.gguf is not None:
            return _converted(source.gguf.absolute())
        if source.folder is None and not source.is_repository:
            raise WeightsMissing(
                f"There are no weights at {source.place}",
                hint="that is neither a folder nor a GGUF file that is there, nor the name of a repository, org/name",
            )
        return source.folder or repository_folder(source.place, source.revision) or _fetch(source, offline)
    if model.bundled is not None:
        return Path(str(resources.files("cfai"))) / model.bundled
    imported = Record.read(model.id)
    if imported is not None and imported.is_there:
        return Path(imported.folder)
    for repo in repositories(model):
        if (folder := repository_folder(repo)) is not None:
            return folder
    if any(record is not None and record.damaged for record in map(Record.read, [model.id, *repositories(model)])):
        again = f"pull {model.id}" if model.weights is not None else f"import {model.id} PATH"
        raise WeightsMissing(
            f"The weights of {model.id} are damaged",
            hint=f"`cfai verify {model.id}` says which files are, `cfai {again}` replaces them",
        )
    raise WeightsMissing(f"The weights of {model.id} are not on this machine{_origin(model)}", hint=_advice(model))


def repositories(model: Model) -> list[str]:
    """The repositories that have a model's weights, the owner's first.

    ```python
    repositories(Catalog.builtin().get("@cf/google/gemma-7b-it"))  # ['google/gemma-7b-it', 'unsloth/gemma-7b-it']
    ```
    """
    return [] if model.weights is None else [model.weights.repo, *filter(None, [model.weights.ungated_repo])]


def are_here(model: Model) -> bool:
    """Whether `find` would find the weights of `model` without being told where."""
    try:
        find(model)
    except WeightsMissing:
        return False
    return True


def with_imported(catalog: Catalog) -> Catalog:
    """A catalog that has the models too whose weights were imported under an id that it does not know.

    ```python
    with_imported(Catalog.builtin()).get("@cf/my/llama")
    ```
    """
    known = {model.id for model in catalog.models()}
    names = (record.name for record in Record.all() if record.kind == "imported" and record.name.startswith("@"))
    return catalog.with_models(*(Model(id=name) for name in names if name not in known))


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
        ways.append(f"fetch them with `cfai pull {model.id}`")
    ways.append(f"name a checkpoint with `--model {model.id}=FOLDER` (in Python LocalBinding's first argument)")
    ways.append("or let the demo model answer in its place with `--demo` (CFAI_DEMO=1, `demo=True`)")
    return ", ".join(ways)


def repository_folder(repo: str, revision: str | None = None) -> Path | None:
    """Where a repository is that `cfai pull` or another program has fetched; None if it is not, or not whole.

    ```python
    repository_folder("NousResearch/Llama-2-7b-chat-hf")  # .../models--NousResearch--Llama-2-7b-chat-hf/snapshots/...
    ```
    """
    record = Record.read(repo)
    if record is not None and revision in (None, record.revision, record.commit):
        if record.is_there:
            return Path(record.folder)
        if record.damaged:
            return None
    try:
        from huggingface_hub import try_to_load_from_cache
    except ModuleNotFoundError:  # a light install, for which a model would be of no use
        return None

    config = try_to_load_from_cache(repo, "config.json", cache_dir=hub_cache(), revision=revision)
    if not isinstance(config, str):
        return None
    folder = Path(config).parent
    return folder if is_whole(folder) else None


def _converted(file: Path) -> Path:
    """The folder that a GGUF file was made into, or is now."""
    from cfai.weights.importing import import_weights, state_of

    name = f"gguf:{file}"
    record = Record.read(name)
    if record is None or not record.is_there or record.origin != state_of(file):
        record = import_weights(name, file)
    return Path(record.folder)


def _fetch(source: Source, offline: bool | None) -> Path:
    if is_offline() if offline is None else offline:
        raise WeightsMissing(
            f"The hub repository {source.place} is not on this machine, and connections are switched off",
            hint=f"fetch it with `cfai pull {source.place}` where there is a network, and without CFAI_OFFLINE and "
            "HF_HUB_OFFLINE",
        )
    from cfai.weights.pull import pull

    return pull(source.place, revision=source.revision, offline=False).folder
