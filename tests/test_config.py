"""A Worker project's configuration, in the three forms that wrangler reads, and what is said of a wrong one."""

import datetime
from pathlib import Path

import pytest

from cfai.config import AssetsConfig, Config, ConfigError, load_config, parse_dotenv

JSONC = """\
{
  // a comment with "quotes" and a /* in it
  "name": "mine", /* and
  another */
  "main": "src/entry.py",
  "compatibility_date": "2026-01-20",
  "compatibility_flags": ["python_workers",],
  "vars": { "URL": "https://x/y//z", "N": 3, "FLAGS": { "beta": true }, },
  "ai": { "binding": "THINK", "remote": true },
  "assets": { "directory": "./public", "binding": "ASSETS" },
  "observability": { "enabled": true },
}
"""
TOML = """\
name = "mine"
main = "src/entry.py"
compatibility_date = 2026-01-20
compatibility_flags = ["python_workers"]

[vars]
URL = "https://x/y//z"
N = 3
FLAGS = { beta = true }

[ai]
binding = "THINK"

[assets]
directory = "./public"
binding = "ASSETS"
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "entry.py").write_text("")
    (tmp_path / "public").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("wrangler.jsonc", JSONC),
        ("wrangler.json", JSONC),
        ("wrangler.toml", TOML),
        ("wrangler.jsonc", "\ufeff" + JSONC),
    ],
)
def test_the_three_forms_say_the_same(project: Path, name: str, text: str) -> None:
    (project / name).write_text(text)
    assert load_config(project) == Config(
        name="mine",
        main=project / "src" / "entry.py",
        root=project / "src",
        compatibility_date=datetime.date(2026, 1, 20),
        compatibility_flags=("python_workers",),
        vars={"URL": "https://x/y//z", "N": 3, "FLAGS": {"beta": True}},
        ai_binding="THINK",
        assets=AssetsConfig(project / "public", "ASSETS"),
        source=project / name,
    )


@pytest.mark.parametrize(
    ("ai", "binding"), [("", None), (', "ai": {}', "AI"), (', "ai": {"binding": "X"}', "X"), (', "ai": null', None)]
)
def test_the_name_of_the_ai_binding(project: Path, ai: str, binding: str | None) -> None:
    (project / "wrangler.json").write_text(f'{{"main": "src/entry.py"{ai}}}')
    config = load_config(project)
    assert config.ai_binding == binding
    assert config.name == project.name


def test_json_comes_before_jsonc_before_toml(project: Path) -> None:
    for name in ("wrangler.toml", "wrangler.jsonc", "wrangler.json"):
        (project / name).write_text(TOML if name.endswith("toml") else JSONC)
        assert load_config(project).source == project / name


def test_a_folder_inside_a_project_finds_it(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "wrangler.toml").write_text(TOML)
    assert load_config(project / "src").source == project / "wrangler.toml"
    monkeypatch.chdir(project / "public")
    config = load_config()
    assert config.source == project / "wrangler.toml"
    assert config.folder == project


def test_a_single_script_needs_no_config(project: Path) -> None:
    (project / "wrangler.toml").write_text("not toml")
    script = project / "src" / "entry.py"
    config = load_config(script)
    assert (config.name, config.main, config.root, config.folder) == ("entry", script, script.parent, script.parent)
    assert (config.ai_binding, config.source) == ("AI", None)
    assert config.compatibility_date == datetime.datetime.now(datetime.UTC).date()


def test_dev_vars_win_over_vars_and_stay_out_of_the_repr(project: Path) -> None:
    (project / "wrangler.jsonc").write_text(JSONC)
    (project / ".dev.vars").write_text("N=secret\nTOKEN='also secret'\n")
    config = load_config(project)
    assert config.vars["N"] == "secret"
    assert config.vars["TOKEN"] == "also secret"
    assert config.secrets == project / ".dev.vars"
    assert "secret'" not in repr(config)


def test_a_project_of_assets_alone(project: Path) -> None:
    (project / "wrangler.json").write_text('{"assets": {"directory": "public"}}')
    config = load_config(project)
    assert (config.main, config.assets, config.root) == (None, AssetsConfig(project / "public"), project)


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("wrangler.json", '{\n"main": }', ":2: not JSON: Expecting value"),
        ("wrangler.jsonc", "[1]", ":1: expected an object at the top, not [1]"),
        ("wrangler.toml", "name = 'x'\nmain = \n", ":2: not TOML: Invalid value"),
        (
            "wrangler.jsonc",
            '{\n// "main": 1\n"main": 7}',
            ':3: "main" should be a string, the path of the script, not 7',
        ),
        ("wrangler.toml", "\nmain = 'a.js'", ':2: "main" is a.js; only Python Workers (.py) run here'),
        ("wrangler.toml", "main = 'a.py'", ':1: "main" is a.py, and there is no such file'),
        ("wrangler.json", "{}", ': expected "main", the path of the script (or "assets" with a directory)'),
        (
            "wrangler.json",
            '{"main": "src/entry.py",\n"compatibility_date": "soon"}',
            ':2: "compatibility_date" should be a date such as "2026-01-31", not "soon"',
        ),
        (
            "wrangler.json",
            '{"main": "src/entry.py", "compatibility_flags": ["a", 1]}',
            ':1: "compatibility_flags" should be a list of strings, not of 1',
        ),
        (
            "wrangler.json",
            '{"main": "src/entry.py",\n\n"vars": []}',
            ':3: "vars" should be an object of names and values',
        ),
        (
            "wrangler.toml",
            "main='src/entry.py'\n[ai]\nbinding=1",
            ':3: "binding" should be a string, the name of the AI',
        ),
        (
            "wrangler.toml",
            "main='src/entry.py'\n[[ai]]\nbinding='AI'",
            ':2: "ai" should be an object, {"binding": "AI"}',
        ),
        (
            "wrangler.json",
            '{"main": "src/entry.py", "assets": {"directory": "nope"}}',
            ":1: the assets directory is nope",
        ),
    ],
)
def test_a_wrong_config_says_file_line_and_what_was_expected(project: Path, name: str, text: str, problem: str) -> None:
    (project / name).write_text(text)
    with pytest.raises(ConfigError) as refused:
        load_config(project)
    assert str(refused.value).startswith(f"{project / name}{problem}")


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("nowhere", "there is no such file or folder"),
        ("src/../src", "no wrangler.json, wrangler.jsonc or wrangler.toml here or in a folder above"),
        ("notes.txt", "expected a folder, a .py script, or a wrangler .json, .jsonc or .toml file"),
    ],
)
def test_a_path_that_is_no_project(project: Path, path: str, problem: str) -> None:
    (project / "notes.txt").write_text("")
    with pytest.raises(ConfigError, match=problem):
        load_config(project / path)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("A=1\nB = two words \n\n# a comment\n", {"A": "1", "B": "two words"}),
        ("export A=1 # one\nB=http://x/y", {"A": "1", "B": "http://x/y"}),
        (
            'A=\'it # is\'\nB="say \\"x\\"\\nso"\nC=`a \'b\' "c"`\n',
            {"A": "it # is", "B": 'say \\"x\\"\nso', "C": "a 'b' \"c\""},
        ),
        ('A="two\nlines"\r\nB=\r\n', {"A": "two\nlines", "B": ""}),
        ("", {}),
        ("A=1\nA=2", {"A": "2"}),
    ],
)
def test_dotenv(text: str, values: dict[str, str]) -> None:
    assert parse_dotenv(text) == values


def test_a_line_that_is_no_assignment(project: Path) -> None:
    script = project / "worker.py"
    script.write_text("")
    (project / ".dev.vars").write_text("A=1\nnonsense\n")
    with pytest.raises(ConfigError, match=r"\.dev\.vars:2: expected NAME=value"):
        load_config(script)


def test_bindings_of_other_kinds_are_named_not_checked(tmp_path: Path) -> None:
    (tmp_path / "entry.py").touch()
    (tmp_path / ".dev.vars").write_text("TOKEN=s3cret\n")
    (tmp_path / "wrangler.json").write_text(
        """
        {
          "main": "entry.py",
          "vars": {"TOKEN": "for all", "PLAIN": 1},
          "kv_namespaces": [{"binding": "KV", "id": "x"}, "nonsense"],
          "durable_objects": {"bindings": [{"name": "ROOM", "class_name": "Room"}]},
          "queues": {"producers": [{"binding": "JOBS", "queue": "jobs"}], "consumers": [{"queue": "jobs"}]},
          "d1_databases": "nonsense",
          "browser": {"binding": "BROWSER"},
          "triggers": {"crons": ["* * * * *"]}
        }
        """
    )
    config = load_config(tmp_path)
    assert config.not_simulated == (
        ("KV", "KV Namespace"),
        ("BROWSER", "Browser"),
        ("ROOM", "Durable Object"),
        ("JOBS", "Queue"),
        ("", "Queue Consumer"),
    )
    assert config.vars == {"TOKEN": "s3cret", "PLAIN": 1}
    assert config.secret_names == {"TOKEN"}
