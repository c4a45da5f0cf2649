"""`pull`: what comes from a hub, what is refused before it comes, and what faults do to it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import snapshot_download

from cfai import weights
from cfai.catalog import Catalog, Model
from cfai.errors import NoSuchModel, WeightsMissing
from cfai.weights import Source, find
from cfai.weights.home import hub_cache
from cfai.weights.hub import Hub, HubUnreachable
from cfai.weights.pull import pull
from cfai.weights.records import Record
from tests import hub as look_alikes
from tests.hub import CHUNK, Fault
from tests.models import make_llama

WEIGHTS = "model.safetensors"


class Lines:
    """A watcher that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.bytes = 0

    def begins(self, files: int, size: int, here: int) -> None:
        self.lines.append(f"{files} files")

    def moved(self, file: str, count: int, size: int) -> None:
        self.bytes += count

    def done(self, file: str) -> None: ...

    def says(self, line: str) -> None:
        self.lines.append(line)


def impatient() -> Hub:
    return Hub(sleep=lambda seconds: None)


def tree(folder: Path) -> dict[str, str]:
    """Every file of a hub's cache, by what it holds or points to."""
    own = (".locks", "trees", "CACHEDIR.TAG", "blobs/.huggingface-shared-blobs")
    files = [path for path in folder.rglob("*") if path.is_symlink() or path.is_file()]
    names = {str(path.relative_to(folder)): path for path in files}
    return {
        name: str(path.readlink()) if path.is_symlink() else path.read_bytes().hex()
        for name, path in names.items()
        if not any(part in name for part in own)
    }


def make_shards(folder: Path, tmp_path: Path) -> Path:
    """The same checkpoint in two files with an index."""
    from transformers import LlamaForCausalLM

    LlamaForCausalLM.from_pretrained(folder).save_pretrained(tmp_path, max_shard_size="100KB")
    for name in ("tokenizer.model", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    return tmp_path


def test_a_model_is_fetched_once_and_found(llama: Path, look_alike: look_alikes.Hub, catalog: Catalog) -> None:
    look_alike.add("org/llama", llama)
    lines = Lines()
    got = pull("@cf/test/llama", catalog=catalog, watcher=lines)
    assert {path.name: path.read_bytes() for path in got.folder.iterdir()} == look_alike.repositories["org/llama"].files
    assert find(catalog.get("@cf/test/llama")) == got.folder
    assert find(Model(id="@cf/my/own"), Source("org/llama")) == got.folder
    size = sum(file.stat().st_size for file in llama.iterdir())
    assert (sum(look_alike.sent.values()), got.missing) == (size, size - (llama / "config.json").stat().st_size)
    assert lines.bytes == size
    asked = len(look_alike.requests)
    assert pull("@cf/test/llama", catalog=catalog).missing == 0
    assert len(look_alike.requests) == asked, "what is pinned and here asks no hub"


def test_the_cache_is_as_the_hubs_own_client_leaves_it(
    llama: Path, look_alike: look_alikes.Hub, tmp_path: Path
) -> None:
    repository = look_alike.add("org/llama", make_shards(llama, tmp_path / "shards"))
    pull("org/llama")
    theirs = tmp_path / "theirs"
    snapshot_download("org/llama", cache_dir=theirs, endpoint=look_alike.address)
    assert tree(hub_cache()) == tree(theirs)
    assert snapshot_download("org/llama", cache_dir=hub_cache(), local_files_only=True).endswith(repository.commit)


def test_only_what_a_model_is_loaded_from_is_fetched(llama: Path, look_alike: look_alikes.Hub, tmp_path: Path) -> None:
    repository = look_alike.add("org/llama", llama)
    extra = {
        "pytorch_model.bin": b"pickle",
        "modeling.py": b"code",
        "consolidated.safetensors": b"again",
        "README.md": b"",
    }
    repository.files = {**repository.files, **extra, "onnx/config.json": b"{}"}
    got = pull("org/llama", local_dir=tmp_path / "mine")
    assert got.folder == tmp_path / "mine"
    assert {path.name for path in got.folder.iterdir()} - {".cfai"} == {path.name for path in llama.iterdir()}
    assert find(Model(id="@cf/a/b"), Source("org/llama")) == tmp_path / "mine"


@pytest.mark.parametrize(
    ("faults", "most_extra"),
    [
        pytest.param([Fault(cut=70_000)], 0, id="cut"),
        pytest.param([Fault(cut=70_000), Fault(cut=10_000), Fault(cut=0), Fault(cut=50_000)], 0, id="cut four times"),
        pytest.param([Fault(cut=70_000), Fault(no_ranges=True)], 70_000, id="cut, and begun anew"),
        pytest.param(
            [Fault(status=429, times=3), Fault(status=503), Fault(cut=100_000), Fault(status=500)], 0, id="busy"
        ),
        pytest.param([Fault(wrong=150_000)], 184_032, id="a wrong byte"),
        pytest.param([Fault(cut=70_000), Fault(wrong=1000)], 184_032, id="a wrong byte behind a cut"),
    ],
)
def test_a_fault_is_made_good(faults: list[Fault], most_extra: int, llama: Path, look_alike: look_alikes.Hub) -> None:
    look_alike.add("org/llama", llama)
    look_alike.faults[WEIGHTS] += faults
    lines = Lines()
    got = pull("org/llama", hub=impatient(), watcher=lines)
    assert (got.folder / WEIGHTS).read_bytes() == (llama / WEIGHTS).read_bytes()
    assert not look_alike.faults[WEIGHTS]
    size = (llama / WEIGHTS).stat().st_size
    assert size <= look_alike.sent[WEIGHTS] <= size + most_extra + CHUNK * len(faults)
    assert lines.bytes == sum(file.stat().st_size for file in llama.iterdir())


def test_a_busy_listing_is_asked_for_again(llama: Path, look_alike: look_alikes.Hub) -> None:
    look_alike.add("org/llama", llama)
    look_alike.faults["org/llama"] += [Fault(status=502), Fault(status=429)]
    assert pull("org/llama", hub=impatient()).folder.is_dir()


def test_bytes_that_stay_wrong_are_never_found(llama: Path, look_alike: look_alikes.Hub, catalog: Catalog) -> None:
    look_alike.add("org/llama", llama)
    look_alike.faults[WEIGHTS] += [Fault(wrong=180_000, times=2)]
    lines = Lines()
    with pytest.raises(HubUnreachable, match=r"twice it came with other bytes than its checksum sha256:") as caught:
        pull("org/llama", hub=impatient(), watcher=lines)
    assert f"{WEIGHTS} came with wrong bytes and is fetched again" in lines.lines
    assert "same command" in caught.value.hint
    assert not weights.are_here(catalog.get("@cf/test/llama"))
    assert pull("org/llama", hub=impatient()).folder.is_dir()


def test_a_hub_that_breaks_off_again_and_again_is_gone_on_with_later(llama: Path, look_alike: look_alikes.Hub) -> None:
    look_alike.add("org/llama", llama)
    look_alike.faults[WEIGHTS] += [Fault(cut=100_000), Fault(status=503, times=100)]
    with pytest.raises(HubUnreachable, match="HTTP status 503"):
        pull("org/llama", hub=impatient())
    look_alike.faults.clear()
    pull("org/llama", hub=impatient())
    assert look_alike.sent[WEIGHTS] <= (llama / WEIGHTS).stat().st_size + CHUNK


def test_a_hub_that_is_not_there_says_what_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HubUnreachable, match=r"org/llama cannot be fetched from http://127\.0\.0\.1:9") as caught:
        pull("org/llama", hub=impatient())
    assert "HTTPS_PROXY names a proxy, HF_ENDPOINT a mirror" in caught.value.hint


@pytest.mark.parametrize(
    ("token", "says", "does"),
    [
        (None, "wants terms to be accepted first", "/org/gated, 2. `hf auth login`, or HF_TOKEN"),
        ("stranger", "the account of your token has no access", "ask for it at http://127.0.0.1"),
    ],
)
def test_a_gated_repository_is_explained_and_its_copy_offered(
    token: str | None,
    says: str,
    does: str,
    llama: Path,
    look_alike: look_alikes.Hub,
    catalog: Catalog,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    look_alike.add("org/gated", llama, gated=True)
    look_alike.add("org/open", llama)
    look_alike.members = {"member": True, "stranger": False}
    if token is not None:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(WeightsMissing, match=says) as caught:
        pull("@cf/test/gated", catalog=catalog)
    assert does in caught.value.hint
    assert caught.value.hint.endswith("`cfai pull org/open`")
    assert look_alike.sent[WEIGHTS] == 0

    monkeypatch.setenv("HF_TOKEN", "member")
    assert pull("@cf/test/gated", catalog=catalog).record.name == "org/gated"
    assert not look_alike.leaked, "the host of large files gets no token"


def test_a_refusal_without_a_gate_is_not_called_one(llama: Path, look_alike: look_alikes.Hub) -> None:
    look_alike.add("org/llama", llama)
    look_alike.faults[WEIGHTS] += [Fault(status=403)]
    with pytest.raises(WeightsMissing, match=r"localhost answers 403 for model\.safetensors of org/llama") as caught:
        pull("org/llama", hub=impatient())
    assert "gated:" not in caught.value.description


def test_the_open_copy_is_the_models_too(llama: Path, look_alike: look_alikes.Hub, catalog: Catalog) -> None:
    look_alike.add("org/open", llama)
    got = pull("org/open")
    assert find(catalog.get("@cf/test/gated")) == got.folder
    assert pull("@cf/test/gated", catalog=catalog).folder == got.folder


@pytest.mark.parametrize(
    ("name", "revision", "says"),
    [
        ("org/none", None, "has no repository org/none, or none that you may see"),
        ("org/llama", "v9", "org/llama has no revision 'v9'"),
        ("llama", None, "'llama' is no name of a repository, such as org/name"),
        ("../etc/passwd", None, "is no name of a repository"),
        ("@cf/test/unknown", None, "no public weights are known for @cf/test/unknown"),
        ("@cf/openai/whisper", None, "does not run here: its task is Automatic Speech Recognition"),
        ("@cfai/demo/tiny-chat", None, "is part of the package"),
    ],
)
def test_a_name_that_nothing_has_is_said(
    name: str, revision: str | None, says: str, llama: Path, look_alike: look_alikes.Hub, catalog: Catalog
) -> None:
    look_alike.add("org/llama", llama)
    with pytest.raises(WeightsMissing, match=says):
        pull(name, revision=revision, catalog=catalog)


def test_a_misspelt_id_gets_the_nearest(look_alike: look_alikes.Hub) -> None:
    with pytest.raises(NoSuchModel) as caught:
        pull("@cf/meta/lama-2-7b-chat-int8")
    assert "did you mean @cf/meta/llama-2-7b-chat-int8" in caught.value.hint


def config(**changes: object) -> Callable[[dict[str, bytes]], None]:
    def change(files: dict[str, bytes]) -> None:
        files["config.json"] = json.dumps({**json.loads(files["config.json"]), **changes}).encode()

    return change


def only(**added: bytes) -> Callable[[dict[str, bytes]], None]:
    def change(files: dict[str, bytes]) -> None:
        del files[WEIGHTS]
        files.update({name.replace("__", "."): data for name, data in added.items()})

    return change


CODE = {"AutoConfig": "configuration_x.XConfig", "AutoModelForCausalLM": "modeling_x.XForCausalLM"}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        pytest.param(
            only(pytorch_model__bin=b"x"), r"no safetensors, only pytorch_model\.bin \(1 pickle\)", id="pickle"
        ),
        pytest.param(only(), r"no weights: no model\.safetensors", id="nothing"),
        pytest.param(only(adapter__safetensors=b"x"), r"has adapter\.safetensors \(1 file\), and no model", id="other"),
        pytest.param(lambda files: files.pop("config.json"), r"has no config\.json", id="no config"),
        pytest.param(lambda files: files.update({"config.json": b"{"}), r"config\.json is not JSON", id="bad config"),
        pytest.param(
            config(model_type="x", auto_map=CODE),
            r"code that its config names \(configuration_x\.XConfig\) is not run",
            id="code",
        ),
        pytest.param(
            lambda files: files.update({WEIGHTS: files[WEIGHTS][:-100]}),
            r"184032 bytes|bytes where its header",
            id="cut",
        ),
        pytest.param(
            lambda files: files.update({WEIGHTS: b"\xff" * 99}), "is cut short: 99 bytes", id="no safetensors"
        ),
        pytest.param(lambda files: files.update({WEIGHTS: b""}), "is not whole", id="empty"),
        pytest.param(
            lambda files: files.update(
                {"model.safetensors.index.json": b'{"weight_map": {"w": "model-1.safetensors"}}'}
            ),
            r"names model-1\.safetensors, which is not there",
            id="no shard",
        ),
        pytest.param(
            lambda files: files.update({"model.safetensors.index.json": b'{"weight_map": {"w": "../x.safetensors"}}'}),
            r"names '\.\./x\.safetensors', which is no safetensors file beside it",
            id="elsewhere",
        ),
    ],
)
def test_what_cannot_run_is_refused_before_its_weights_come(
    change: Callable[[dict[str, bytes]], None], says: str, llama: Path, look_alike: look_alikes.Hub, catalog: Catalog
) -> None:
    repository = look_alike.add("org/llama", llama)
    files = dict(repository.files)
    change(files)
    repository.files = files
    with pytest.raises(WeightsMissing, match=says) as caught:
        pull("org/llama", hub=impatient())
    assert not isinstance(caught.value, HubUnreachable)
    assert look_alike.sent[WEIGHTS] == 0 or says.startswith(("184032", "is cut"))
    assert not weights.are_here(catalog.get("@cf/test/llama"))


def test_code_that_transformers_has_itself_is_no_reason(llama: Path, look_alike: look_alikes.Hub) -> None:
    repository = look_alike.add("org/llama", llama)
    files = dict(repository.files)
    config(auto_map=CODE)(files)
    repository.files = {**files, "modeling_x.py": b"raise SystemExit"}
    assert not (pull("org/llama").folder / "modeling_x.py").exists()


def test_a_disk_without_room_is_said_with_figures(llama: Path, look_alike: look_alikes.Hub) -> None:
    repository = look_alike.add("org/llama", llama)
    repository.sizes[WEIGHTS] = 10**18
    with pytest.raises(WeightsMissing, match=r"needs 1\.0 EB more in .*, where [\d.]+ .B are free") as caught:
        pull("org/llama")
    assert "cfai rm MODEL" in caught.value.hint
    assert look_alike.sent[WEIGHTS] == 0


def test_a_dry_run_says_what_is_missing_and_fetches_no_weights(llama: Path, look_alike: look_alikes.Hub) -> None:
    look_alike.add("org/llama", llama)
    got = pull("org/llama", dry_run=True)
    assert got.missing == sum(file.stat().st_size for file in llama.iterdir() if file.name != "config.json")
    assert look_alike.sent[WEIGHTS] == 0
    assert Record.read("org/llama") is None


def test_what_was_fetched_is_pinned_until_a_revision_is_named(
    llama: Path, endless_llama: Path, look_alike: look_alikes.Hub
) -> None:
    first = look_alike.add("org/llama", llama).commit
    assert pull("org/llama").record.commit == first
    repository = look_alike.repositories["org/llama"]
    repository.files = look_alikes.Hub().add("org/llama", endless_llama).files
    assert pull("org/llama").record.commit == first
    assert pull("org/llama", revision=first).missing == 0
    assert pull("org/llama", revision="main", offline=True).record.commit == first
    newest = pull("org/llama", revision="main")
    assert newest.record.commit == repository.commit != first
    assert (newest.folder / WEIGHTS).read_bytes() == (endless_llama / WEIGHTS).read_bytes()
    assert pull("org/llama", revision="main").missing == 0, "it has not moved"


def test_a_pull_goes_on_with_the_commit_that_it_began(
    llama: Path, endless_llama: Path, look_alike: look_alikes.Hub
) -> None:
    repository = look_alike.add("org/llama", llama)
    first = repository.commit
    look_alike.faults[WEIGHTS] += [Fault(cut=100_000), Fault(status=503, times=6)]
    with pytest.raises(HubUnreachable):
        pull("org/llama", hub=impatient())
    repository.files = look_alikes.Hub().add("org/llama", endless_llama).files
    assert repository.commit != first
    got = pull("org/llama")
    assert (got.record.commit, got.record.revision) == (first, "main")
    assert (got.folder / WEIGHTS).read_bytes() == (llama / WEIGHTS).read_bytes()


def test_what_another_program_fetched_is_not_fetched_again(llama: Path, look_alike: look_alikes.Hub) -> None:
    look_alike.add("org/llama", llama)
    snapshot_download("org/llama", cache_dir=hub_cache(), endpoint=look_alike.address)
    sent = look_alike.sent.copy()
    assert pull("org/llama").missing == 0
    assert look_alike.sent == sent


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_said(llama: Path, look_alike: look_alikes.Hub, tmp_path: Path) -> None:
    look_alike.add("org/llama", llama)
    tmp_path.chmod(0o500)
    with pytest.raises(WeightsMissing, match="cannot be kept in"):
        pull("org/llama", local_dir=tmp_path / "mine")


def test_a_file_in_the_way_is_said(llama: Path, look_alike: look_alikes.Hub, tmp_path: Path) -> None:
    look_alike.add("org/llama", llama)
    (tmp_path / "mine").write_text("a file")
    with pytest.raises(WeightsMissing, match="cannot be kept in"):
        pull("org/llama", local_dir=tmp_path / "mine")


def test_offline_nothing_is_fetched(llama: Path, look_alike: look_alikes.Hub) -> None:
    look_alike.add("org/llama", llama)
    with pytest.raises(WeightsMissing, match="connections are switched off"):
        pull("org/llama", offline=True)
    assert not look_alike.requests
    pull("org/llama")
    assert pull("org/llama", offline=True).missing == 0


def test_a_repository_that_is_named_is_fetched_when_it_is_wanted(llama: Path, look_alike: look_alikes.Hub) -> None:
    commit = look_alike.add("org/llama", llama).commit
    folder = find(Model(id="@cf/a/b"), Source("org/llama", commit))
    assert folder.name == commit
    assert find(Model(id="@cf/a/b"), Source("org/llama", commit)) == folder


def test_a_folder_of_ones_own_is_made(llama: Path, look_alike: look_alikes.Hub, tmp_path: Path) -> None:
    look_alike.add("org/llama", make_llama(tmp_path / "there"))
    assert pull("org/llama", local_dir=tmp_path / "a" / "b").folder == tmp_path / "a" / "b"


def test_a_file_of_the_users_own_is_not_written_over(llama: Path, look_alike: look_alikes.Hub, tmp_path: Path) -> None:
    look_alike.add("org/llama", llama)
    (tmp_path / "config.json").write_text("mine")
    with pytest.raises(WeightsMissing, match=r"config\.json is another file than that of org/llama"):
        pull("org/llama", local_dir=tmp_path)
    assert (tmp_path / "config.json").read_text() == "mine"
