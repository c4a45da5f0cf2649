"""LoRA adapters that were uploaded, in a folder of this machine, as Cloudflare keeps them for an account.

    finetunes/
      my-lora/                      the name, percent-encoded: two cannot have the same
        finetune.json               id, model, description, times
        adapter_config.json         each appears whole or not at all
        adapter_model.safetensors

https://developers.cloudflare.com/workers-ai/features/fine-tunes/loras/ has the rules.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cfai.adapters import Adapter
from cfai.bindings.uploads import FinetuneLimits, Upload, limits_on, unwritable, write_whole
from cfai.catalog import Model
from cfai.errors import (
    BadInput,
    FinetuneMissing,
    LoraUnsupported,
    WeightsMissing,
)
from cfai.weights import home
from cfai.wording import meant, shortened

__all__ = ["PUBLIC", "Adapters", "Finetune", "FinetuneStore"]

RESERVED = "cf-public-"
"""What the names of Cloudflare's own begin with, and no others may."""

LONGEST_NAME = 120

STALE_SECONDS = 24 * 3600.0
"""What was begun so long ago belongs to a process that a crash has ended."""


@dataclass(frozen=True, slots=True)
class Finetune:
    """One adapter by its name, and by its id."""

    id: str
    model: str
    name: str
    description: str
    created_at: str
    modified_at: str
    public: bool = False

    def to_json(self) -> dict[str, Any]:
        """As lists have it."""
        return {key: value for key, value in asdict(self).items() if key != "public"}


PUBLIC: Mapping[Finetune, str] = {
    Finetune(
        id=id_,
        model="@cf/mistral/mistral-7b-instruct-v0.2-lora",
        name=f"{RESERVED}{name}",
        description=description,
        created_at=time,
        modified_at=time,
        public=True,
    ): repository
    for id_, name, description, time, repository in (
        (
            "39fb185c-762a-4633-a2ad-7a4462940608",
            "magicoder",
            "LoRA adapter that enables Mistral to generate code",
            "2024-05-08 02:23:55.897",
            "predibase/magicoder",
        ),
        (
            "911a83cf-d947-4c96-b4d2-a86c2c6d2b7f",
            "cnn-summarization",
            "LoRA adapter that enables Mistral to summarize articles. https://huggingface.co/predibase/cnn",
            "2024-05-09 02:11:12.386",
            "predibase/cnn",
        ),
        (
            "c0b52d28-530b-4751-b7d9-afbdb4795990",
            "jigsaw-classification",
            "LoRA adapter that enables Mistral to detect and classify toxic comments. "
            "https://huggingface.co/predibase/jigsaw",
            "2024-05-09 02:19:48.750",
            "predibase/jigsaw",
        ),
    )
}
"""What `finetunes/public` lists at Cloudflare, and the hub repositories with the weights
(https://developers.cloudflare.com/workers-ai/features/fine-tunes/public-loras/)."""


class FinetuneStore:
    """The adapters in `folder`; used by any number of threads and processes.

    ```python
    store = FinetuneStore(Path("./finetunes"))
    mine = store.create(model, "my-lora")
    upload = store.upload(mine)
    upload.write(b"..."), upload.finish("adapter_config.json"), upload.close()
    store.adapter("my-lora")  # raises 3039 until both files are there
    ```

    folder  None is `finetunes` in cfai's own folder
    limits  what may be uploaded; None is today's of Cloudflare
    """

    def __init__(self, folder: Path | None = None, *, limits: FinetuneLimits | None = None) -> None:
        self._given = folder
        self.limits = limits or limits_on()
        self._lock = threading.Lock()

    @property
    def _folder(self) -> Path:
        return self._given or home() / "finetunes"

    def finetunes(self) -> list[Finetune]:
        """All of them, the oldest first."""
        return sorted((finetune for finetune, _ in self._found()), key=lambda each: (each.created_at, each.id))

    def find(self, name: str) -> Finetune:
        """The one with this name or id. Raises `FinetuneMissing` (3037)."""
        return self._find(name)[0]

    def create(self, model: Model, name: str, description: str = "") -> Finetune:
        """A new one for `model`, without files. Raises `LoraUnsupported` (5005) and `BadInput`."""
        if "lora" not in model.flags:
            raise LoraUnsupported(model.id)
        self._check_name(name)
        now = _now()
        finetune = Finetune(str(uuid.uuid4()), model.id, name, description, now, now)
        with self._lock:
            if len(there := self.finetunes()) >= self.limits.most:
                hint = f"remove one: `curl -X DELETE .../ai/finetunes/{there[0].name}`"
                raise BadInput(f"there are {len(there)} finetunes, and {self.limits.most} are the most", hint=hint)
            draft = self._folder / f".new-{finetune.id}"
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                _drop_stale(self._folder)
                draft.mkdir()
                write_whole(draft / "finetune.json", json.dumps(asdict(finetune), indent=2).encode())
                draft.rename(self._place(name))  # which fails if there is one with files in it
            except OSError as error:
                shutil.rmtree(draft, ignore_errors=True)
                if self._place(name).is_dir():
                    raise BadInput(f"there is a finetune {name!r} already", hint="choose another name") from error
                raise unwritable(error) from error
        return finetune

    def upload(self, finetune: Finetune) -> Upload:
        """A file for `finetune` in the making. Who opens it closes it: what is not finished by then is gone."""
        folder = self._find(finetune.id)[1]
        _drop_stale(folder)
        return Upload(folder, self.limits, partial(_note_time, folder))

    def adapter(self, name: str) -> Adapter:
        """What answers with the one of this name or id. Raises `FinetuneMissing` (3037), `WeightsMissing` (3039)."""
        for finetune, repository in PUBLIC.items():
            if name in (finetune.name, finetune.id):
                raise WeightsMissing(
                    f"The weights of {finetune.name} are not on this machine; they are Cloudflare's copy of the hub "
                    f"repository {repository}",
                    hint=f"fetch them with `hf download {repository} --local-dir {finetune.name}`, and register the "
                    f'folder: `adapters = {{ {finetune.name} = "./{finetune.name}" }}` under [models."..."] in '
                    "cfai.toml",
                )
        finetune, folder = self._find(name)
        adapter = Adapter.at(folder, name=finetune.name)
        if missing := adapter.missing:
            # https://developers.cloudflare.com/workers-ai/platform/errors/
            raise WeightsMissing(
                "Finetune is missing required files (model.safetensors and config.json)",
                hint=f"upload {' and '.join(missing)} to .../ai/finetunes/{finetune.id}/finetune-assets",
            )
        return adapter

    def remove(self, name: str) -> Finetune:
        """Delete the one with this name or id. Answers that are being made with it go on."""
        finetune, folder = self._find(name)
        gone = folder.with_name(f".gone-{secrets.token_hex(8)}")
        try:
            folder.rename(gone)  # at once for everybody, then file by file
        except OSError as error:
            raise unwritable(error) from error
        shutil.rmtree(gone, ignore_errors=True)
        return finetune

    def _find(self, name: str) -> tuple[Finetune, Path]:
        there = list(self._found())
        for finetune, folder in there:
            if name in (finetune.name, finetune.id):
                return finetune, folder
        raise FinetuneMissing(shortened(name, 100), hint=_known(name, (finetune.name for finetune, _ in there)))

    def _found(self) -> Iterator[tuple[Finetune, Path]]:
        try:
            folders = [entry for entry in self._folder.iterdir() if not entry.name.startswith(".")]
        except OSError:
            return
        for folder in folders:
            try:
                yield Finetune(**json.loads((folder / "finetune.json").read_bytes())), folder
            except (OSError, ValueError, TypeError):  # removed meanwhile, or not one of ours
                continue

    def _place(self, name: str) -> Path:
        return self._folder / quote(name, safe=" ").replace(".", "%2E")

    def _check_name(self, name: str) -> None:
        if not name.strip() or len(name) > LONGEST_NAME or not name.isprintable():
            raise BadInput(f"name must be 1 to {LONGEST_NAME} printable characters, it is {shortened(repr(name), 60)}")
        if len(self._place(name).name) > 255:
            raise BadInput(f"name is too long for a folder: {shortened(repr(name), 60)}")
        if name.startswith(RESERVED):
            raise BadInput(f"names that begin with {RESERVED} are Cloudflare's own, and this is {name!r}")


class Adapters:
    """The adapters that calls may name: those of the settings, for one model each, and what is in `store`.

    ```python
    Adapters(FinetuneStore(), {"@cf/meta/llama-3.2-3b-instruct": {"poet": Path("./poet")}}).find(model, "poet")
    ```
    """

    def __init__(self, store: FinetuneStore, named: Mapping[str, Mapping[str, Path]]) -> None:
        self._store = store
        self._named = {model: names for model, names in named.items() if names}

    def find(self, model: Model, name: str) -> Adapter:
        """The one that `model` shall answer with. Raises `LoraUnsupported` (5005) where it takes none,
        `FinetuneMissing` (3037), and `WeightsMissing` (3039) where files are."""
        named = self._named.get(model.id, {})
        if (folder := named.get(name)) is not None:
            adapter = Adapter.at(folder, name=name)
            if missing := adapter.missing:
                raise WeightsMissing(
                    f"{folder} has no {' and no '.join(missing)}", hint="PEFT's save_pretrained writes them"
                )
            return adapter
        if "lora" not in model.flags and not named:
            raise LoraUnsupported(model.id)
        try:
            return self._store.adapter(name)
        except FinetuneMissing:
            names = [*named, *(each.name for each in self._store.finetunes())]
            raise FinetuneMissing(shortened(name, 100), hint=_known(name, names)) from None


def _known(name: str, names: Iterable[str]) -> str:
    names = [*names]
    return f"there are {', '.join(names)}{meant(name, names)}" if names else "none was uploaded or registered"


def _note_time(folder: Path) -> None:
    file = folder / "finetune.json"
    finetune = replace(Finetune(**json.loads(file.read_bytes())), modified_at=_now())
    write_whole(file, json.dumps(asdict(finetune), indent=2).encode())


def _drop_stale(folder: Path) -> None:
    for part in folder.glob(".*-*"):
        with contextlib.suppress(OSError):
            if time.time() - part.stat().st_mtime > STALE_SECONDS:
                shutil.rmtree(part) if part.is_dir() else part.unlink()


def _now() -> str:
    # As the list of public ones has it.
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
