"""`verify` finds what is damaged, `rm` removes what is there, and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from huggingface_hub import snapshot_download

from cfai import weights
from cfai.catalog import Catalog
from cfai.engine import load_checkpoint
from cfai.errors import NoSuchModel, WeightsMissing
from cfai.weights.finding import repository_folder
from cfai.weights.home import home, hub_cache
from cfai.weights.made import int8_folders
from cfai.weights.pull import pull
from cfai.weights.records import Record
from cfai.weights.remove import removal_of
from cfai.weights.verify import here, verify
from tests.hub import Fault, Hub

WEIGHTS = "model.safetensors"


def damage(file: Path) -> None:
    """Turn a bit in the middle."""
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def test_what_came_is_good(llama: Path, look_alike: Hub, catalog: Catalog) -> None:
    look_alike.add("org/llama", llama)
    got = pull("org/llama")
    read: dict[str, int] = {}

    def progress(file: str, count: int) -> None:
        read[file] = read.get(file, 0) + count

    verdict = verify("@cf/test/llama", catalog=catalog, progress=progress)
    sizes = {file.name: file.stat().st_size for file in llama.iterdir()}
    assert (verdict.is_good, verdict.files, verdict.size) == (True, len(sizes), sum(sizes.values()))
    assert (verdict.commit, verdict.folder, read) == (got.record.commit, got.folder, sizes)
    assert here(catalog) == ["org/llama"]


@pytest.mark.parametrize(
    ("file", "problem"),
    [(WEIGHTS, f"{WEIGHTS} has other bytes than it came with"), ("config.json", "config.json has other bytes")],
)
def test_damage_is_found_not_run_and_mended_by_a_pull(
    file: str, problem: str, llama: Path, look_alike: Hub, catalog: Catalog
) -> None:
    look_alike.add("org/llama", llama)
    folder = pull("org/llama").folder
    damage(folder / file)
    assert verify("org/llama").problems[0].startswith(problem)
    assert not weights.are_here(catalog.get("@cf/test/llama"))
    sent = look_alike.sent.copy()
    assert pull("org/llama").folder == folder
    assert look_alike.sent - sent == {file: (llama / file).stat().st_size}
    assert verify("org/llama").is_good
    assert weights.are_here(catalog.get("@cf/test/llama"))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda file: file.unlink(), "is not there"),
        (lambda file: file.write_bytes(file.read_bytes()[:-1]), "has other bytes than it came with"),
    ],
)
def test_what_is_gone_or_cut_is_found(change: object, problem: str, llama: Path, look_alike: Hub) -> None:
    look_alike.add("org/llama", llama)
    folder = pull("org/llama").folder
    assert callable(change)
    change((folder / WEIGHTS).resolve())
    assert f"{WEIGHTS} {problem}" in verify("org/llama").problems
    pull("org/llama")
    assert verify("org/llama").is_good


def test_what_another_program_fetched_is_checked_by_the_names_of_its_files(
    llama: Path, look_alike: Hub, catalog: Catalog
) -> None:
    look_alike.add("org/llama", llama)
    folder = Path(snapshot_download("org/llama", cache_dir=hub_cache(), endpoint=look_alike.address))
    assert here(catalog) == ["org/llama"]
    assert verify("org/llama").is_good
    damage(folder / "tokenizer.model")
    assert verify("@cf/test/llama", catalog=catalog).problems == ["tokenizer.model has other bytes than it came with"]


def test_what_was_made_of_weights_is_looked_at_too(llama: Path, look_alike: Hub) -> None:
    look_alike.add("org/llama", llama)
    folder = pull("org/llama").folder
    for made in int8_folders(folder):
        made.mkdir(parents=True)
        (made / WEIGHTS).write_bytes((llama / WEIGHTS).read_bytes()[:-1])
    verdict = verify("org/llama")
    assert (len(verdict.problems), verdict.is_damaged) == (2, False)
    assert repository_folder("org/llama") == folder  # the next load makes them again


def test_the_demo_model_is_sound() -> None:
    assert verify(weights.DEMO_MODEL).is_good


def test_nothing_is_said_of_what_is_not_there(look_alike: Hub) -> None:
    assert here() == []
    for name in ("org/none", "@cf/meta/llama-2-7b-chat-int8"):
        with pytest.raises(WeightsMissing, match="on this machine") as caught:
            verify(name)
        assert f"cfai pull {name}" in caught.value.hint
        with pytest.raises(WeightsMissing, match="nothing of"):
            removal_of(name)
    with pytest.raises(NoSuchModel):
        removal_of("@cf/meta/lama")
    with pytest.raises(WeightsMissing, match="is no name of a repository"):
        removal_of("../..")


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() or path.is_symlink()]


def test_rm_leaves_nothing(llama: Path, look_alike: Hub, catalog: Catalog) -> None:
    look_alike.add("org/llama", llama)
    folder = pull("@cf/test/llama", catalog=catalog).folder
    for made in int8_folders(folder):
        made.mkdir(parents=True)
        shutil.copy(llama / WEIGHTS, made)
    removal = removal_of("@cf/test/llama", catalog=catalog)
    size = sum(file.stat().st_size for file in llama.iterdir()) + 2 * (llama / WEIGHTS).stat().st_size
    assert (removal.name, removal.models) == ("org/llama", ["@cf/test/llama"])
    assert size <= removal.size < size + 1000  # and a file that names the commit
    removal.execute()
    assert not weights.are_here(catalog.get("@cf/test/llama"))
    assert not [path for path in files_below(hub_cache()) if ".locks" not in path.parts]
    assert not files_below(home())


def test_rm_leaves_other_repositories_alone(llama: Path, endless_llama: Path, look_alike: Hub) -> None:
    look_alike.add("org/llama", llama)
    look_alike.add("org/other", endless_llama)
    other = pull("org/other")
    pull("org/llama")
    removal_of("org/llama").execute()
    assert verify("org/other").is_good
    assert pull("org/other").folder == other.folder


def test_rm_takes_only_its_own_out_of_a_folder_of_the_users(llama: Path, look_alike: Hub, tmp_path: Path) -> None:
    look_alike.add("org/llama", llama)
    mine = tmp_path / "mine"
    pull("org/llama", local_dir=mine)
    (mine / "notes.txt").write_text("mine")
    removal_of("org/llama").execute()
    assert files_below(mine) == [mine / "notes.txt"]
    assert Record.read("org/llama") is None


@pytest.mark.parametrize("place", range(16, 20_000, 6_000))
def test_a_bit_of_int8_weights_that_turns_is_found(place: int, llama: Path, look_alike: Hub) -> None:
    look_alike.add("org/llama", llama)
    folder = pull("org/llama").folder
    load_checkpoint(folder, dtype="int8")
    assert verify("org/llama").is_good
    file = int8_folders(folder)[0] / WEIGHTS
    data = bytearray(file.read_bytes())
    data[place if place == 16 else -place] ^= 1
    file.write_bytes(data)
    verdict = verify("org/llama")
    assert (len(verdict.problems), verdict.is_damaged) == (1, False)


def test_rm_empties_the_cache_that_was_pulled_into(
    llama: Path, look_alike: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_alike.add("org/llama", llama)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "large"))
    pull("org/llama")
    monkeypatch.delenv("HF_HUB_CACHE")
    removal_of("org/llama").execute()
    assert not [path for path in files_below(tmp_path / "large") if ".locks" not in path.parts]


def test_rm_follows_a_link_to_another_disk(llama: Path, look_alike: Hub, tmp_path: Path) -> None:
    look_alike.add("org/llama", llama)
    folder = pull("org/llama").folder.parents[1]
    folder.rename(tmp_path / "large")
    folder.symlink_to(tmp_path / "large")
    assert verify("org/llama").is_good
    removal_of("org/llama").execute()
    assert not folder.is_symlink()
    assert not files_below(tmp_path / "large")


def test_rm_frees_what_is_half_fetched(llama: Path, look_alike: Hub) -> None:
    look_alike.add("org/llama", llama)
    look_alike.faults[WEIGHTS] += [Fault(cut=100_000), Fault(status=403)]
    with pytest.raises(WeightsMissing):
        pull("org/llama")
    removal = removal_of("org/llama")
    assert removal.size >= 100_000
    removal.execute()
    assert not [path for path in files_below(hub_cache()) if ".locks" not in path.parts]
    assert not files_below(home())
