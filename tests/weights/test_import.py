"""`import`: checkpoints and GGUF files of the user's own, under a model's id."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from cfai import Ai, LocalBinding, weights
from cfai.catalog import Catalog, Model
from cfai.engine import Checkpoint, load_checkpoint
from cfai.errors import WeightsMissing
from cfai.weights import Source, find, parse_source
from cfai.weights.home import home
from cfai.weights.importing import import_weights
from cfai.weights.made import int8_folders
from cfai.weights.records import Record
from cfai.weights.remove import removal_of
from cfai.weights.verify import here, verify
from cfai.weights.watcher import NobodyWatches
from tests.gguf_files import make_gguf
from tests.models import make_llama

NEW = "@cf/my/llama"
KNOWN = "@cf/meta/llama-2-7b-chat-int8"
WEIGHTS = "model.safetensors"


@pytest.fixture
def folder(llama: Path, tmp_path: Path) -> Path:
    return shutil.copytree(llama, tmp_path / "mine")


@pytest.mark.parametrize("name", [NEW, KNOWN])
def test_a_folder_is_taken_under_an_id(name: str, folder: Path) -> None:
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    (folder / "modeling_x.py").write_text("raise SystemExit")
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    record = import_weights(name, folder)
    shutil.rmtree(folder)
    model = weights.with_imported(Catalog.builtin()).get(name)
    assert find(model) == Path(record.folder)
    assert {file.name: file.read_bytes() for file in find(model).iterdir()} == files
    assert verify(name).is_good
    assert here() == [name]


async def test_what_was_imported_answers(llama: Path) -> None:
    import_weights(NEW, llama)
    async with Ai(LocalBinding(demo=False)) as ai:
        answer = await ai.run(NEW, {"prompt": "New York", "max_tokens": 4, "temperature": 0})
    async with Ai(LocalBinding({NEW: llama}, demo=False)) as ai:
        assert (
            await ai.run(NEW, {"prompt": "New York", "max_tokens": 4, "temperature": 0})
        ).response == answer.response


def test_one_safetensors_file_takes_the_config_beside_it(folder: Path) -> None:
    file = (folder / WEIGHTS).rename(folder / "finetuned.safetensors")
    record = import_weights(NEW, file)
    assert set(record.files) == {"config.json", "generation_config.json", *TOKENIZER, WEIGHTS}
    assert load_checkpoint(Path(record.folder), device="cpu").vocabulary == 420


TOKENIZER = ["tokenizer.model", "tokenizer_config.json"]


def test_links_take_no_room(folder: Path) -> None:
    record = import_weights(NEW, folder, link=True)
    assert (Path(record.folder) / WEIGHTS).samefile(folder / WEIGHTS)
    removal_of(NEW).execute()
    assert (folder / WEIGHTS).is_file()


def test_a_new_import_replaces_the_old_one(folder: Path, endless_llama: Path) -> None:
    old = import_weights(NEW, folder)
    new = import_weights(NEW, endless_llama)
    assert not Path(old.folder).exists()
    assert (Path(new.folder) / WEIGHTS).read_bytes() == (endless_llama / WEIGHTS).read_bytes()
    assert verify(NEW).is_good


def test_damage_is_mended_by_the_same_import(folder: Path) -> None:
    record = import_weights(NEW, folder)
    (Path(record.folder) / "config.json").write_text("{}")
    assert verify(NEW).problems == ["config.json has other bytes than it came with"]
    with pytest.raises(WeightsMissing):
        find(Model(id=NEW))
    assert import_weights(NEW, folder).folder == record.folder
    assert verify(NEW).is_good


def test_rm_leaves_nothing(folder: Path) -> None:
    made = int8_folders(Path(import_weights(NEW, folder).folder))[0]
    made.mkdir()
    removal = removal_of(NEW)
    assert removal.size == sum(file.stat().st_size for file in folder.iterdir())
    removal.execute()
    assert Record.read(NEW) is None
    assert not [path for path in home().rglob("*") if path.is_file() and path.suffix != ".lock"]


def test_rm_takes_half_an_import(folder: Path) -> None:
    class Impatient(NobodyWatches):
        def done(self, file: str) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_weights(NEW, folder, watcher=Impatient())
    removal_of(NEW).execute()
    assert not [path for path in home().rglob("*") if path.is_file() and path.suffix != ".lock"]


def test_of_damaged_weights_it_is_said_that_they_are(folder: Path) -> None:
    file = Path(import_weights(NEW, folder).folder) / WEIGHTS
    data = file.read_bytes()
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert not verify(NEW).is_good
    with pytest.raises(WeightsMissing, match=rf"of {NEW} are damaged"):
        weights.find(Model(id=NEW))


def change_config(**changes: object) -> Callable[[Path], Path]:
    def change(folder: Path) -> Path:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, **changes}))
        return folder

    return change


def without(*names: str, but: str = "") -> Callable[[Path], Path]:
    def change(folder: Path) -> Path:
        for name in names:
            (folder / name).unlink()
        if but:
            (folder / but).write_bytes(b"{}")
        return folder

    return change


def cut(folder: Path) -> Path:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-1])
    return folder


def shard_without_a_tensor(folder: Path) -> Path:
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"x.weight": WEIGHTS}}))
    return folder


CODE = {"AutoConfig": "configuration_x.XConfig"}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        pytest.param(lambda folder: folder / "none", "there is no .*/none", id="nothing"),
        pytest.param(lambda folder: folder / "config.json", "is no folder, no safetensors and no GGUF file", id="json"),
        pytest.param(without(WEIGHTS), "has no model.safetensors", id="no weights"),
        pytest.param(without("config.json"), r"has no config\.json", id="no config"),
        pytest.param(without("tokenizer.model"), r"no tokenizer\.json and no tokenizer\.model", id="no tokenizer"),
        pytest.param(without("config.json", but="adapter_config.json"), "is a LoRA adapter", id="adapter"),
        pytest.param(cut, "bytes where its header says", id="cut"),
        pytest.param(shard_without_a_tensor, r"model\.safetensors has no x\.weight, which its index names", id="shard"),
        pytest.param(
            change_config(model_type="whisper", is_encoder_decoder=True), "a whisper model generates no text", id="task"
        ),
        pytest.param(
            change_config(model_type="bert", architectures=["BertModel"]), "a bert model generates no text", id="head"
        ),
        pytest.param(change_config(model_type="llamo"), "has no architecture 'llamo'; a newer one may", id="unknown"),
        pytest.param(change_config(model_type="x", auto_map=CODE), r"configuration_x\.XConfig\) is not run", id="code"),
    ],
)
def test_what_does_not_run_is_refused_with_the_reason(change: Callable[[Path], Path], says: str, folder: Path) -> None:
    with pytest.raises(WeightsMissing, match=says):
        import_weights(NEW, change(folder))
    assert Record.read(NEW) is None
    assert not list(home().rglob(WEIGHTS))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "consolidated.00.pth", "x.ckpt", "x.pkl"])
def test_a_pickle_is_never_opened(name: str, folder: Path) -> None:
    (folder / name).write_bytes(b"cos\nsystem\n(S'touch /tmp/opened'\ntR.")
    with pytest.raises(WeightsMissing, match="may run any code when it is loaded"):
        import_weights(NEW, folder / name)
    (folder / WEIGHTS).unlink()
    with pytest.raises(WeightsMissing, match=r"has no model\.safetensors") as caught:
        import_weights(NEW, folder)
    assert name in caught.value.hint


class Interrupted(NobodyWatches):
    """A user who presses Ctrl-C when a file is there."""

    def __init__(self, at: str) -> None:
        self.at = at
        self.read: dict[str, int] = {}

    def moved(self, file: str, count: int, size: int) -> None:
        self.read[file] = self.read.get(file, 0) + count

    def done(self, file: str) -> None:
        if file == self.at:
            raise KeyboardInterrupt


@pytest.mark.parametrize("link", [False, True])
def test_an_import_goes_on_behind_the_last_whole_file(link: bool, folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        import_weights(NEW, folder, link=link, watcher=Interrupted(at="tokenizer.model"))
    partial = next(home().rglob("tokenizer.model"))
    before = partial.stat()
    assert Record.read(NEW) is None
    (folder / "config.json").write_text((folder / "config.json").read_text() + "\n")  # another one by now
    record = import_weights(NEW, folder, link=link)
    after = (Path(record.folder) / "tokenizer.model").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns), "it was not copied again"
    assert (Path(record.folder) / "config.json").read_bytes() == (folder / "config.json").read_bytes()
    assert verify(NEW).is_good


def greedy(loaded: Checkpoint, ids: list[int]) -> list[int]:
    answer: Any = loaded.model
    made: list[int] = answer.generate(torch.tensor([ids]), max_new_tokens=16, do_sample=False)[0].tolist()
    return made


@pytest.mark.parametrize(
    ("kind", "dtype", "most"),
    [("F32", "float32", 0.0), ("F16", "float16", 1e-3), ("BF16", "bfloat16", 1e-2), ("Q8_0", "float16", 2e-2)],
)
def test_a_gguf_file_is_the_model_it_was_made_of(
    kind: str, dtype: str, most: float, llama: Path, tmp_path: Path
) -> None:
    record = import_weights(NEW, make_gguf(llama, tmp_path / "llama.gguf", kind))
    assert json.loads((Path(record.folder) / "config.json").read_text())["dtype"] == dtype
    theirs, ours = (load_checkpoint(one, device="cpu") for one in (llama, Path(record.folder)))
    messages = [{"role": "system", "content": "hello"}, {"role": "user", "content": "New York 北京 Zürich 🙂"}]
    for ids in (theirs.prompts.chat(messages), theirs.prompts.raw("New York is located in the north.")):
        wanted = theirs.model(torch.tensor([ids])).logits
        assert (ours.model(torch.tensor([ids])).logits - wanted).abs().max() <= most
        if kind in ("F32", "F16"):
            assert greedy(ours, ids) == greedy(theirs, ids)
    assert ours.prompts.chat(messages) == theirs.prompts.chat(messages)
    assert ours.end_tokens == theirs.end_tokens
    assert verify(NEW).is_good


async def test_a_gguf_file_that_is_named_is_converted_once(llama: Path, tmp_path: Path) -> None:
    file = make_gguf(llama, tmp_path / "llama.gguf")
    assert parse_source(f"{NEW}={file}") == (NEW, Source(str(file)))
    folder = find(Model(id=NEW), Source(str(file)))
    made = (folder / WEIGHTS).stat().st_mtime_ns
    assert find(Model(id="@cf/other/one"), Source(str(file))) == folder
    async with Ai(LocalBinding({NEW: file}, demo=False)) as ai:
        assert (await ai.run(NEW, {"prompt": "New York", "max_tokens": 8})).usage.prompt_tokens == 5
    assert (folder / WEIGHTS).stat().st_mtime_ns == made
    os.utime(make_gguf(make_llama(tmp_path / "new", seed=1), file), ns=(1, 1))
    assert find(Model(id=NEW), Source(str(file))) != folder


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("x.gguf", b"GGUF" + b"\0" * 20, "is no whole GGUF file|cannot read"),
        ("x.gguf", b"<html>not found</html>", "is no GGUF file"),
        ("x.gguf", b"", "is no GGUF file"),
        ("x-00001-of-00002.gguf", b"GGUF", "is a part of a model"),
    ],
)
def test_what_is_no_gguf_file_is_said(name: str, data: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(WeightsMissing, match=says):
        import_weights(NEW, tmp_path / name)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.999])
def test_half_a_gguf_file_is_refused(share: float, llama: Path, tmp_path: Path) -> None:
    file = make_gguf(llama, tmp_path / "llama.gguf")
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])
    with pytest.raises(WeightsMissing):
        import_weights(NEW, file)
    assert Record.read(NEW) is None
