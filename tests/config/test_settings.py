"""`cfai.toml` and `[tool.cfai]`: what is read, where it is looked for, and what is said of a wrong one."""

from datetime import date
from pathlib import Path

import pytest

from cfai import ModelSettings, Settings, UpstreamSettings, load_settings
from cfai.config import ConfigError
from cfai.config.settings import KINDS
from cfai.weights import Source
from cfai.weights.importing import import_weights

WHOLE = """\
memory = "8GB"
keep_alive = "10m"
device = "cpu"
dtype = "float32"
threads = 2
slots = 4
queue_limit = 8
cache_tokens = 4096
draft_tokens = 3
torch_compile = true
as_of = 2025-03-01
fidelity = "production"
demo = true
limits = true
strict_retired = true
offline = true

[models]
"@cf/mine/short" = "org/short"

[models."@cf/mine/llama"]
weights = "org/llama"
revision = "4f2c9a1"
pinned = true
keep_alive = -1
dtype = "int8"
task = "Text Generation"
context_window = 4096
earlier = [{ until = 2025-01-01, max_output_tokens = 2048 }]

[models."@cf/mine/llama".adapters]
pirate = "./adapters/pirate"

[models."@cf/mine/there"]
upstream = { url = "http://127.0.0.1:11434/v1", model = "llama3.2", token_env = "OLLAMA_TOKEN" }
"""


def write(folder: Path, text: str, name: str = "cfai.toml") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".git").mkdir(exist_ok=True)
    file = folder / name
    file.write_text(text)
    return file


def test_every_key_is_read(tmp_path: Path) -> None:
    file = write(tmp_path, WHOLE)
    assert load_settings(tmp_path, {}) == Settings(
        models={
            "@cf/mine/short": ModelSettings(weights="org/short"),
            "@cf/mine/llama": ModelSettings(
                weights="org/llama",
                revision="4f2c9a1",
                pinned=True,
                keep_alive=-1,
                dtype="int8",
                adapters={"pirate": tmp_path / "adapters/pirate"},
                row={
                    "task": "Text Generation",
                    "context_window": 4096,
                    "earlier": [{"until": "2025-01-01", "max_output_tokens": 2048}],
                },
            ),
            "@cf/mine/there": ModelSettings(
                upstream=UpstreamSettings("http://127.0.0.1:11434/v1", "llama3.2", "OLLAMA_TOKEN")
            ),
        },
        memory=8_000_000_000,
        keep_alive=600,
        device="cpu",
        dtype="float32",
        threads=2,
        slots=4,
        queue_limit=8,
        cache_tokens=4096,
        draft_tokens=3,
        torch_compile=True,
        as_of=date(2025, 3, 1),
        fidelity="production",
        demo=True,
        limits="all",
        strict_retired=True,
        offline=True,
        source=file,
    )


def test_pyproject_says_the_same(tmp_path: Path) -> None:
    nested = WHOLE.replace("[models", "[tool.cfai.models")
    write(tmp_path / "there", f"[project]\nname = 'x'\n\n[tool.cfai]\n{nested}", "pyproject.toml")
    write(tmp_path / "here", WHOLE)
    there, here = load_settings(tmp_path / "there", {}), load_settings(tmp_path / "here", {})
    llama = there.models["@cf/mine/llama"]
    assert (there.memory, there.fidelity, llama.row) == (here.memory, here.fidelity, here.models["@cf/mine/llama"].row)
    assert llama.where == f"{tmp_path / 'there' / 'pyproject.toml'}:25"


def test_a_model_is_pointed_at_a_folder_a_file_or_a_repository(tmp_path: Path) -> None:
    (tmp_path / "models" / "llama").mkdir(parents=True)
    write(
        tmp_path,
        '[models]\n"@cf/a/folder" = "models/llama"\n"@cf/a/later" = "./not-there"\n"@cf/a/gguf" = "llama.Q4_K_M.gguf"\n'
        '"@cf/a/absolute" = "/srv/llama"\n"@cf/a/hub" = "org/llama"\n',
    )
    assert {name: model.weights for name, model in load_settings(tmp_path, {}).models.items()} == {
        "@cf/a/folder": str(tmp_path / "models/llama"),
        "@cf/a/later": str(tmp_path / "not-there"),
        "@cf/a/gguf": str(tmp_path / "llama.Q4_K_M.gguf"),
        "@cf/a/absolute": "/srv/llama",
        "@cf/a/hub": "org/llama",
    }


def test_an_upstream_may_be_a_bare_address_or_cloudflare(tmp_path: Path) -> None:
    write(
        tmp_path,
        '[models."@cf/a/one"]\nupstream = "http://127.0.0.1:8000/v1"\n'
        '[models."@cf/a/two"]\nupstream.kind = "cloudflare"\n',
    )
    models = load_settings(tmp_path, {}).models
    assert models["@cf/a/one"].upstream == UpstreamSettings("http://127.0.0.1:8000/v1")
    assert models["@cf/a/two"].upstream == UpstreamSettings(
        "https://api.cloudflare.com/client/v4", token_env="CLOUDFLARE_API_TOKEN", kind="cloudflare"
    )


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("memroy = 1", 1, 'unknown key "memroy", did you mean "memory"?'),
        ("\nkeep-alive = 1", 2, 'unknown key "keep-alive", did you mean "keep_alive"?'),
        (
            "memory = '8 gigs'",
            1,
            '"memory" should be a size such as "8GB" or "512MiB", or a number of bytes, not "8 gigs"',
        ),
        ("memory = true", 1, '"memory" should be a size such as "8GB" or "512MiB", or a number of bytes, not true'),
        ("keep_alive = 'soon'", 1, '"keep_alive" should be a time such as "10m", a number of seconds, or -1 for ever'),
        ("threads = 0", 1, '"threads" should be a whole number, 1 or more, not 0'),
        ("threads = true", 1, '"threads" should be a whole number, 1 or more, not true'),
        ("threads = '2'", 1, '"threads" should be a whole number, 1 or more, not "2"'),
        ("demo = 'yes'", 1, '"demo" should be true or false, not "yes"'),
        ("device = 'gpu'", 1, '"device" should be "cpu", "mps", "cuda" or "cuda:0"'),
        ("device = 3", 1, '"device" should be "cpu", "mps", "cuda" or "cuda:0"'),
        ("dtype = 'flot16'", 1, '"float16", "int8" (did you mean "float16"?), not "flot16"'),
        ("fidelity = 'prodution'", 1, '"clean" or "production" (did you mean "production"?), not "prodution"'),
        ("as_of = '2023-13-01'", 1, '"as_of" should be a day such as "2023-11-14", not "2023-13-01"'),
        ("as_of = 2023-11-14T10:00:00", 1, '"as_of" should be a day such as "2023-11-14"'),
        ("models = 3", 1, '"models" should be a table of models by id, [models."@cf/mine/llama"], not 3'),
        ("device = 'cpu'\n[models]\n'@cf/a/b' = 3", 3, '"models.@cf/a/b" should be a table such as'),
        ("[models]\n'my model' = 'org/x'", 2, '"my model" cannot be the id of a model'),
        (
            "[models.'@cf/a/b']\nweigths = 'org/x'",
            2,
            'unknown key "weigths" in "models.@cf/a/b", did you mean "weights"?',
        ),
        ("[models.'@cf/a/b']\nweights = 'x'", 2, "there is no folder "),
        ("[models.'@cf/a/b']\nweights = ''", 2, 'weights" should be a string that is not empty, not ""'),
        ("[models.'@cf/a/b']\nweights = './x'\nrevision = 'a'", 3, '"models.@cf/a/b.revision" is of a repository'),
        ("[models.'@cf/a/b']\nweights = 'a/b'\nupstream = 'http://x'", 3, 'has both "weights" and "upstream"'),
        ("[models.'@cf/a/b']\nweights = 'a/b'\nflags = ['loras']", 3, "one is 'loras'; did you mean 'lora'?"),
        (
            "[models.'@cf/a/b']\nweights = 'a/b'\nprompts = [{ until = 2025-01-01, template = 'chatm' }]",
            3,
            "it is 'chatm'; did you mean 'chatml'?",
        ),
        ("[models.'@cf/a/b']\nweights = '~nobody-here/x'", 2, 'there is no home folder for "~nobody-here/x"'),
        ("[models.'@cf/a/b']\nweights = 'a/b'\nadapters.p = '~nobody-here/x'", 3, "there is no home folder"),
        (f"[models]\n'@cf/a/b' = '{'x' * 5000}'", 2, "is no repository of the hub"),
        ("[models.'@cf/a/b']\nupstream = 'http://x'\npinned = true", 3, 'pinned" is about weights, and http://x'),
        ("[models.'@cf/a/b']\nupstream = 'http://x'\nadapters.p = 'p'", 3, 'adapters" is about weights'),
        ("[models.'@cf/a/b']\nupstream = 'ftp://x'", 2, "no URL of an OpenAI-compatible server"),
        ("[models.'@cf/a/b']\nupstream = 'http://[::1'", 2, "no URL of an OpenAI-compatible server"),
        ("[models.'@cf/a/b'.upstream]\nmodel = 'm'", 1, '"models.@cf/a/b.upstream.url" is missing'),
        (
            "[models.'@cf/a/b'.upstream]\nurl = 'http://x'\ntoken = 's3cret'",
            3,
            'unknown key "token" in "models.@cf/a/b.upstream"; write token_env = "NAME", the variable that has it',
        ),
        ("[models.'@cf/a/b'.upstream]\nurl = 'http://x'\nkind = 'vllm'", 3, 'should be one of "openai", "cloudflare"'),
        (
            "[models.'@cf/a/b'.adapters]\np = 3",
            2,
            '"models.@cf/a/b.adapters.p" should be the folder of an adapter, not 3',
        ),
        (
            "[models.'@cf/meta/lama-3.1-8b-instruct']\npinned = true",
            1,
            'or did you mean "@cf/meta/llama-3.1-8b-instruct',
        ),
        (
            "[models.'@cf/a/b']\nweights = 'a/b'\ncontext_window = '4k'",
            3,
            '"models.@cf/a/b": context_window must be a whole',
        ),
        ("[models.'@cf/a/b']\nweights = 'a/b'\nfamily = 'chatt'", 3, "it is 'chatt'; did you mean 'chat'?"),
        (
            "\n[models.'@cf/a/b']\nweights = 'a/b'\nsuccessor = '@cf/a/c'",
            2,
            "successor must be the id of another model",
        ),
        ("[models.'@cf/a/b']\nweights = 'a/b'\ntask = 'Text'", 1, "task must be one of "),
        ("memory =", 1, "not TOML"),
    ],
)
def test_a_mistake_is_told_with_its_line_and_what_to_write(tmp_path: Path, text: str, line: int, problem: str) -> None:
    file = write(tmp_path, text)
    with pytest.raises(ConfigError) as told:
        load_settings(tmp_path, {})
    assert str(told.value).startswith(f"{file}:{line}: ")
    assert problem in str(told.value)
    assert "s3cret" not in str(told.value)


def test_all_unknown_keys_are_told_at_once(tmp_path: Path) -> None:
    file = write(tmp_path, "memroy = 1\ndevcie = 'cpu'\n")
    with pytest.raises(ConfigError) as told:
        load_settings(tmp_path, {})
    assert str(told.value).splitlines() == [
        f'{file}:1: unknown key "memroy", did you mean "memory"?',
        f'{file}:2: unknown key "devcie", did you mean "device"?',
    ]


def test_the_nearest_file_counts_alone(tmp_path: Path) -> None:
    inner = tmp_path / "src" / "deep"
    inner.mkdir(parents=True)
    write(tmp_path, "device = 'cpu'\nthreads = 2")
    assert load_settings(inner, {}) == Settings(device="cpu", threads=2, source=tmp_path / "cfai.toml")
    (tmp_path / "src" / "cfai.toml").write_text("threads = 3")
    assert load_settings(inner, {}) == Settings(threads=3, source=tmp_path / "src" / "cfai.toml")


def test_the_search_ends_where_the_repository_does(tmp_path: Path) -> None:
    write(tmp_path, "device = 'cpu'")
    repository = tmp_path / "repository"
    (repository / "src").mkdir(parents=True)
    assert load_settings(repository / "src", {}).device == "cpu"
    (repository / ".git").mkdir()
    assert load_settings(repository / "src", {}) == Settings()


def test_the_search_ends_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "device = 'cpu'")
    home = tmp_path / "home"
    (home / "project").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    assert load_settings(home / "project", {}) == Settings()
    (home / "cfai.toml").write_text("threads = 3")
    assert load_settings(home / "project", {}).threads == 3


@pytest.mark.parametrize("other", ["[project]\nname = 'x'\ndependencies = ['cfai']\n", "[tool.ruff\ncfai", "\xff"])
def test_another_projects_pyproject_is_passed_over(tmp_path: Path, other: str) -> None:
    write(tmp_path, "device = 'cpu'")
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "pyproject.toml").write_bytes(other.encode("latin-1"))
    assert load_settings(inner, {}).source == tmp_path / "cfai.toml"


def test_a_fault_in_a_pyproject_that_is_meant_is_told(tmp_path: Path) -> None:
    file = write(tmp_path, "[tool.cfai]\ndevice = \n", "pyproject.toml")
    with pytest.raises(ConfigError) as told:
        load_settings(tmp_path, {})
    assert str(told.value).startswith(f"{file}:2: not TOML: ")


def test_two_files_in_one_folder_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "device = 'cpu'")
    file = write(tmp_path, "[tool.cfai]\nthreads = 1\n", "pyproject.toml")
    with pytest.raises(ConfigError, match=r"there is a cfai\.toml beside it; keep one of them") as told:
        load_settings(tmp_path, {})
    assert told.value.file == file


def test_a_file_can_be_named(tmp_path: Path) -> None:
    named = write(tmp_path, "threads = 5", "other.toml")
    assert load_settings(named, {}) == Settings(threads=5, source=named)
    with pytest.raises(ConfigError, match="there is no such file or folder"):
        load_settings(tmp_path / "nowhere.toml", {})
    bare = write(tmp_path, "[project]\nname = 'x'", "pyproject.toml")
    with pytest.raises(ConfigError, match=r"there is no \[tool.cfai\] in it"):
        load_settings(bare, {})


def test_a_variable_names_the_file(tmp_path: Path) -> None:
    named = write(tmp_path, "threads = 5", "other.toml")
    assert load_settings(environ={"CFAI_SETTINGS": str(named)}).threads == 5


def test_a_folder_in_the_place_of_the_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "cfai.toml").mkdir()
    with pytest.raises(ConfigError, match="this is a folder, and a file was expected"):
        load_settings(tmp_path, {})


SPELLED = {
    "memory": ("2GB", 2_000_000_000),
    "keep_alive": ("5m", 300),
    "device": ("cuda:0", "cuda:0"),
    "dtype": ("int8", "int8"),
    "threads": ("3", 3),
    "slots": ("3", 3),
    "queue_limit": ("0", 0),
    "cache_tokens": ("3", 3),
    "draft_tokens": ("0", 0),
    "torch_compile": ("off", False),
    "as_of": ("2023-11-14", date(2023, 11, 14)),
    "fidelity": ("clean", "clean"),
    "demo": ("0", False),
    "limits": ("rpm, free", "rpm,free"),
    "strict_retired": ("false", False),
    "offline": ("off", False),
}


@pytest.mark.parametrize("key", KINDS)
def test_a_variable_is_over_the_file_and_a_given_value_over_both(tmp_path: Path, key: str) -> None:
    write(tmp_path, WHOLE)
    text, value = SPELLED[key]
    assert getattr(load_settings(tmp_path, {}), key) not in (None, value)
    settings = load_settings(tmp_path, {f"CFAI_{key.upper()}": text})
    assert getattr(settings, key) == value
    assert getattr(settings.over(**{key: 7}), key) == 7
    assert getattr(settings.over(**{key: None}), key) == value
    assert getattr(load_settings(tmp_path, {f"CFAI_{key.upper()}": ""}), key) not in (None, value)


@pytest.mark.parametrize("key", KINDS)
def test_a_variable_that_cannot_be_read_is_named(tmp_path: Path, key: str) -> None:
    with pytest.raises(ConfigError) as told:
        load_settings(tmp_path, {f"CFAI_{key.upper()}": "what?"})
    assert str(told.value) == f'the variable CFAI_{key.upper()} should be {KINDS[key].expected}, not "what?"'


def test_a_variable_pins_models(tmp_path: Path) -> None:
    write(tmp_path, WHOLE)
    models = load_settings(tmp_path, {"CFAI_PIN": "@cf/mine/short @cfai/demo/tiny-chat"}).models
    assert models["@cf/mine/short"] == ModelSettings(weights="org/short", pinned=True)
    assert models["@cfai/demo/tiny-chat"] == ModelSettings(pinned=True)
    with pytest.raises(ConfigError, match="the variable CFAI_PIN: No such model @cf/mine/other or task"):
        load_settings(tmp_path, {"CFAI_PIN": "@cf/mine/other"})


def test_a_model_of_ones_own_is_one_of_the_catalog(tmp_path: Path) -> None:
    write(tmp_path, WHOLE + "[models.'@cf/meta/llama-3.1-8b-instruct']\ncontext_window = 1000\n")
    catalog = load_settings(tmp_path, {}).catalog
    mine = catalog.get("@cf/mine/llama")
    assert mine.weights is not None
    assert (mine.weights.repo, mine.weights.revision, mine.limits().context_window) == ("org/llama", "4f2c9a1", 4096)
    assert mine.limits(date(2024, 1, 1)).max_output_tokens == 2048
    assert catalog.get("@cf/meta/llama-3.1-8b-instruct").limits().context_window == 1000


def test_a_model_that_was_imported_can_have_other_figures(
    tmp_path: Path, llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CFAI_HOME", str(tmp_path / "home"))
    (tmp_path / "cfai.toml").write_text('[models."@cf/mine/chat"]\ncontext_window = 512\n')
    with pytest.raises(ConfigError, match="and so does `cfai import`"):
        load_settings(tmp_path, {})
    import_weights("@cf/mine/chat", llama)
    assert load_settings(tmp_path, {}).catalog.get("@cf/mine/chat").limits().context_window == 512


def test_what_is_said_of_all_models_outside_the_file_holds_for_each(tmp_path: Path) -> None:
    write(tmp_path, WHOLE)
    model = load_settings(tmp_path, {"CFAI_DTYPE": "bfloat16"}).over(keep_alive=5).models["@cf/mine/llama"]
    assert (model.dtype, model.keep_alive, model.pinned) == (None, None, True)


def test_weights_can_be_named_over_those_of_the_file(tmp_path: Path) -> None:
    write(tmp_path, WHOLE)
    named = {"@cf/mine/there": Source("./here"), "@cf/mine/llama": Source("other/llama"), "@cf/mine/new": Source("x/y")}
    models = load_settings(tmp_path, {}).with_weights(named).models
    assert models["@cf/mine/there"] == ModelSettings(weights="./here")
    assert (models["@cf/mine/llama"].weights, models["@cf/mine/llama"].revision) == ("other/llama", None)
    assert models["@cf/mine/llama"].pinned
    assert models["@cf/mine/new"] == ModelSettings(weights="x/y")
    with pytest.raises(ConfigError, match="mine: ids look like @cf/author/name"):
        load_settings(tmp_path, {}).with_weights({"mine": Source("x/y")})


def test_a_token_in_place_of_its_variable_is_refused_and_not_repeated(tmp_path: Path) -> None:
    write(tmp_path, "[models.'@cf/a/b'.upstream]\nurl = 'http://x'\ntoken_env = 'sk-s3cret'\n")
    with pytest.raises(
        ConfigError, match=r'cfai.toml:3: .* should be the name of a variable, such as "VLLM_TOKEN"'
    ) as it:
        load_settings(tmp_path, {})
    assert "s3cret" not in str(it.value)


def test_a_pyproject_that_other_tools_have_to_mend_is_passed_over(tmp_path: Path) -> None:
    write(tmp_path, "tool = 3  # cfai\n", "pyproject.toml")
    assert load_settings(tmp_path, {}).source is None


def test_a_link_that_leads_nowhere_is_told(tmp_path: Path) -> None:
    (tmp_path / "cfai.toml").symlink_to(tmp_path / "gone.toml")
    with pytest.raises(ConfigError, match=r"cfai.toml: cannot be read"):
        load_settings(tmp_path, {})


def test_a_number_of_thousands_of_digits_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path, f"threads = {'9' * 5000}")
    with pytest.raises(ConfigError) as caught:
        load_settings(tmp_path, {})
    assert str(caught.value).startswith(f"{file}: not TOML: ")


def test_only_what_is_loaded_here_can_be_pinned(tmp_path: Path) -> None:
    write(tmp_path, "[models.'@cf/a/b']\nupstream = 'http://u:s3cret@x/v1'\n")
    with pytest.raises(ConfigError) as caught:
        load_settings(tmp_path, {"CFAI_PIN": "@cf/a/b"})
    assert caught.value.problem == (
        "the variable CFAI_PIN: @cf/a/b cannot be pinned: http://x/v1 answers for it, and nothing is loaded here"
    )


def test_a_server_in_place_of_weights_leaves_what_is_about_them(tmp_path: Path) -> None:
    write(tmp_path, "[models.'@cf/a/b']\nweights = 'a/b'\npinned = true\ncontext_window = 512\n")
    there = UpstreamSettings("http://127.0.0.1:1")
    model = load_settings(tmp_path, {}).with_upstreams({"@cf/a/b": there}).models["@cf/a/b"]
    assert model == ModelSettings(upstream=there, row={"context_window": 512})
