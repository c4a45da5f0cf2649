"""A Worker project's configuration, in the three forms that wrangler reads, and what is said of a wrong one."""

import datetime
import json
import os
import sys
from pathlib import Path

import pytest

from cfai.config import (
    PYTHON_FLAGS,
    AssetsConfig,
    Config,
    ConfigError,
    D1Database,
    KvNamespace,
    VectorizeIndex,
    load_config,
    parse_dotenv,
    parse_variable,
    read_document,
)
from cfai.worker.compat import Compat

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
    assert config.secrets == (project / ".dev.vars",)
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
            ':3: "ai.binding" should be a string, the name of the AI',
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


def test_the_folder_one_is_in_is_named_in_full(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    with pytest.raises(ConfigError) as refused:
        load_config()
    assert str(refused.value).startswith(f"{project}: no wrangler.json")


def test_a_misspelt_key_is_told_beside_the_one_that_is_missing(project: Path) -> None:
    file = project / "wrangler.jsonc"
    file.write_text('{\n  "maim": "src/entry.py"\n}')
    with pytest.raises(ConfigError) as refused:
        load_config(project)
    missing, odd = str(refused.value).splitlines()
    assert missing.startswith(f'{file}: expected "main", the path of the script')
    assert odd == f'{file}:2: unknown key "maim", did you mean "main"?'


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
    read = parse_dotenv(text)
    assert (read.values, read.wrong_lines) == (values, ())


def test_a_line_that_is_no_assignment_is_passed_over_and_told(project: Path) -> None:
    script = project / "worker.py"
    script.write_text("")
    (project / ".dev.vars").write_text("A=1\nnonsense\nB=2")
    config = load_config(script)
    assert config.vars == {"A": "1", "B": "2"}
    assert [str(one) for one in config.warnings] == [
        f"{project / '.dev.vars'}:2: expected NAME=value; the line counts for nothing"
    ]


def test_files_are_named_as_the_caller_names_them(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    Path("wrangler.json").write_text(HEAD + '"nmae": "x"}')
    Path(".env").write_text("nonsense\n")
    config = load_config(environ={})
    assert [str(one) for one in config.warnings] == [
        'wrangler.json:2: unknown key "nmae", did you mean "name"?',
        ".env:1: expected NAME=value; the line counts for nothing",
    ]
    assert (config.source, config.secrets) == (project / "wrangler.json", (project / ".env",))


def warnings(config: Config) -> list[str]:
    assert config.source is not None
    return [str(one).removeprefix(str(config.source)) for one in config.warnings]


def test_bindings_of_other_kinds_are_named_not_checked(tmp_path: Path) -> None:
    (tmp_path / "entry.py").touch()
    (tmp_path / ".dev.vars").write_text("TOKEN=s3cret\n")
    (tmp_path / "wrangler.json").write_text(
        """
        {
          "main": "entry.py",
          "vars": {"TOKEN": "for all", "PLAIN": 1},
          "r2_buckets": [{"binding": "FILES", "bucket_name": "x"}, "nonsense"],
          "durable_objects": {"bindings": [{"name": "ROOM", "class_name": "Room"}]},
          "queues": {"producers": [{"binding": "JOBS", "queue": "jobs"}], "consumers": [{"queue": "jobs"}]},
          "services": "nonsense",
          "browser": {"binding": "BROWSER"},
          "containers": [{"class_name": "Box"}],
          "triggers": {"crons": ["* * * * *"]}
        }
        """
    )
    config = load_config(tmp_path)
    assert config.not_simulated == (
        ("ROOM", "Durable Object"),
        ("JOBS", "Queue"),
        ("FILES", "R2 Bucket"),
        ("BROWSER", "Browser"),
        ("", "Container"),
        ("", "Queue Consumer"),
    )
    assert config.vars == {"TOKEN": "s3cret", "PLAIN": 1}
    assert config.secret_names == {"TOKEN"}


def test_the_bindings_that_run_here_are_read_whole(project: Path) -> None:
    (project / "wrangler.toml").write_text(
        """
main = "src/entry.py"
compatibility_date = "2026-01-20"
compatibility_flags = ["python_workers"]
kv_namespaces = [
    { binding = "KV", id = "abc" },
    { binding = "OTHER" },
]
triggers = { crons = ["0 * * * *"] }
version_metadata = { binding = "VERSION" }

[[d1_databases]]
binding = "DB"
database_name = "main"
database_id = "1234"
migrations_dir = "sql"

[[vectorize]]
binding = "INDEX"
index_name = "docs"

[assets]
directory = "public"
run_worker_first = ["/api/*", "!/api/docs"]
not_found_handling = "single-page-application"
"""
    )
    config = load_config(project)
    assert config.kv_namespaces == (KvNamespace("KV", "abc"), KvNamespace("OTHER", "OTHER"))
    assert config.d1_databases == (D1Database("DB", "1234", "main", "sql"),)
    assert config.vectorize == (VectorizeIndex("INDEX", "docs"),)
    assert config.crons == ("0 * * * *",)
    assert config.version_metadata == "VERSION"
    assert config.assets == AssetsConfig(
        project / "public",
        run_worker_first=("/api/*", "!/api/docs"),
        not_found_handling="single-page-application",
    )
    assert config.warnings == ()


HEAD = '{"main": "src/entry.py", "compatibility_date": "2026-01-20", "compatibility_flags": ["python_workers"],\n'


@pytest.mark.parametrize(
    ("rest", "problem"),
    [
        ('"kv_namespaces": {"binding": "KV"}}', ':2: "kv_namespaces" should be a list of objects'),
        ('"kv_namespaces": [\n{"binding": "A"},\n7]}', ':4: "kv_namespaces" should be a list of objects, each'),
        (
            '"kv_namespaces": [{"id": "x"}]}',
            ':2: "kv_namespaces.0.binding" is missing; expected a string, the name of the binding in env',
        ),
        ('"d1_databases": [{\n"binding": ""}]}', ':3: "d1_databases.0.binding" is empty'),
        ('"d1_databases": [{"binding": "DB",\n"database_id": 5}]}', ':3: "d1_databases.0.database_id" should be a st'),
        ('"vectorize": [{"binding": "V"}]}', ':2: "vectorize.0.index_name" is missing'),
        ('"triggers": {"crons": "* * * * *"}}', ':2: "triggers.crons" should be a list of cron expressions, not "* *'),
        ('"triggers": []}', ':2: "triggers" should be an object'),
        (
            '"assets": {"directory": "public",\n"html_handling": "auto"}}',
            ':3: "assets.html_handling" should be one of "auto-trailing-slash", "force-trailing-slash", '
            '"drop-trailing-slash", "none", not "auto"',
        ),
        ('"assets": {"binding": "ASSETS"}}', ':2: "assets.directory" is missing'),
        ('"assets": {"directory": "public", "run_worker_first": ["api"]}}', ':2: "assets.run_worker_first" has the pa'),
        (
            '"assets": {"directory": "public", "run_worker_first": "yes"}}',
            ':2: "assets.run_worker_first" should be tru',
        ),
        (
            '"ai": {"binding": "X"},\n"kv_namespaces": [\n{"binding": "X"}]}',
            ":4: X assigned to AI and KV Namespace bindings.",
        ),
        (
            '"r2_buckets": [{"binding": "X"}, {"binding": "X"}]}',
            ":2: X assigned to multiple R2 Bucket bindings.",
        ),
        (
            '"vars": {"X": 1}, "durable_objects": {"bindings": [\n{"name": "X"}]}}',
            ":3: X assigned to Environment Variable and Durable Object bindings.",
        ),
        ('"env": {"a": {}, "b": {}}}', ':2: there is no environment "nope"; the file has a, b'),
        ('"env": {"nope": null}}', ':2: "env.nope" should be an object, not null'),
        ('"vars": {"A": NaN}}', ": not JSON: NaN is not a value of JSON"),
    ],
)
def test_what_runs_here_is_read_strictly(project: Path, rest: str, problem: str) -> None:
    (project / "wrangler.json").write_text(HEAD + rest)
    with pytest.raises(ConfigError) as refused:
        load_config(project, environment="nope" if '"env"' in rest else None)
    assert str(refused.value).startswith(f"{project / 'wrangler.json'}{problem}")


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("wrangler.json", HEAD + '"maim": "x"}', [':2: unknown key "maim", did you mean "main"?']),
        ("wrangler.json", HEAD + '"zzz": 1, "rules": [], "limits": {}, "$schema": "x"}', [':2: unknown key "zzz"']),
        (
            "wrangler.json",
            HEAD + '"kv_namespaces": [{"binding": "A", "preview": 1}]}',
            [':2: unknown key "preview" in "kv_namespaces.0", did you mean "preview_id"?'],
        ),
        (
            "wrangler.json",
            HEAD + '"vars": {"A": 1,\n"A": 2}}',
            [':3: "vars.A" stands in line 2 too; the last of the two counts'],
        ),
        (
            "wrangler.json",
            HEAD + '"assets": "public"}',
            [':2: "assets" is an object for wrangler: {"directory": "publi'],
        ),
        (
            "wrangler.toml",
            "main = 'src/entry.py'\n",
            [
                ":1: runs here, and wrangler refuses it: "
                "The `python_workers` compatibility flag is required to use Python.",
                ': no "compatibility_date"; ',
            ],
        ),
        (
            "wrangler.toml",
            "main = 'src/entry.py'\ncompatibility_date = 2026-01-01\ncompatibility_flags=['python_workers']\n"
            "[build]\ncommand='x'\n[observability.logs]\nenabled=true\n[[migration]]\n",
            [':8: unknown key "migration", did you mean "migrations"?'],
        ),
    ],
)
def test_what_is_odd_is_told_in_a_line(project: Path, name: str, text: str, expected: list[str]) -> None:
    (project / name).write_text(text)
    told = warnings(load_config(project))
    assert len(told) == len(expected)
    assert all(line.startswith(start) for line, start in zip(told, expected, strict=True)), told


def test_strictly_a_python_worker_needs_its_flag(project: Path) -> None:
    (project / "wrangler.toml").write_text("main = 'src/entry.py'\ncompatibility_flags = []\n")
    with pytest.raises(ConfigError) as refused:
        load_config(project, strict=True)
    assert str(refused.value) == (
        f"{project / 'wrangler.toml'}:2: The `python_workers` compatibility flag is required to use Python."
    )


ENVIRONMENTS = """\
name = "mine"
main = "src/entry.py"
compatibility_date = "2026-01-20"
compatibility_flags = ["python_workers"]
triggers = { crons = ["0 * * * *"] }
vars = { A = "top", B = "top" }
ai = { binding = "AI" }
kv_namespaces = [{ binding = "KV", id = "top" }]

[env.staging]
compatibility_date = "2025-09-01"
[env.staging.vars]
A = "staging"

[env.named]
name = "other"
vars = { A = "1", B = "2" }
ai = { binding = "BRAIN" }
kv_namespaces = []
"""


def test_an_environment_inherits_all_but_bindings_and_vars(project: Path) -> None:
    (project / "wrangler.toml").write_text(ENVIRONMENTS)
    config = load_config(project, environment="staging")
    assert (config.name, config.environment) == ("mine-staging", "staging")
    assert config.main == project / "src" / "entry.py"
    assert (config.crons, config.compatibility_flags) == (("0 * * * *",), ("python_workers",))
    assert config.compatibility_date == datetime.date(2025, 9, 1)
    assert (config.vars, config.ai_binding, config.kv_namespaces) == ({"A": "staging"}, None, ())
    assert warnings(config) == [
        ':10: "ai" is set at the top and not in env.staging, and environments do not inherit it',
        ':10: "kv_namespaces" is set at the top and not in env.staging, and environments do not inherit it',
        ':12: the var "B" is set at the top and not in env.staging, and environments do not inherit it',
    ]


def test_an_environment_has_its_own_bindings_and_name(project: Path) -> None:
    (project / "wrangler.toml").write_text(ENVIRONMENTS)
    config = load_config(project, environment="named")
    assert (config.name, config.ai_binding, config.kv_namespaces) == ("other", "BRAIN", ())
    assert config.vars == {"A": "1", "B": "2"}
    assert config.warnings == ()


def test_the_environment_may_come_from_the_process(project: Path) -> None:
    (project / "wrangler.toml").write_text(ENVIRONMENTS)
    environ = {"CLOUDFLARE_ENV": "staging"}
    assert load_config(project, environ=environ).environment == "staging"
    assert load_config(project, environment="named", environ=environ).environment == "named"
    assert load_config(project, environment="", environ=environ).environment is None


def test_a_config_without_environments_is_read_under_any_name(project: Path) -> None:
    (project / "wrangler.json").write_text(HEAD + '"name": "mine", "vars": {"A": 1}}')
    config = load_config(project, environment="dev")
    assert (config.name, config.vars) == ("mine-dev", {"A": 1})
    assert warnings(config) == [': there is no environment "dev", nor any other; the top of the file is used']


@pytest.mark.parametrize(
    ("files", "environment", "values", "read"),
    [
        ([".dev.vars", ".env"], None, {"FROM": ".dev.vars"}, [".dev.vars"]),
        ([".dev.vars", ".dev.vars.staging"], "staging", {"FROM": ".dev.vars.staging"}, [".dev.vars.staging"]),
        ([".dev.vars", ".dev.vars.other"], "staging", {"FROM": ".dev.vars"}, [".dev.vars"]),
        ([".env", ".env.local", ".env.staging"], None, {"FROM": ".env.local"}, [".env", ".env.local"]),
        (
            [".env", ".env.local", ".env.staging", ".env.staging.local"],
            "staging",
            {"FROM": ".env.staging.local"},
            [".env", ".env.local", ".env.staging", ".env.staging.local"],
        ),
    ],
)
def test_which_file_of_secrets_counts(
    project: Path, files: list[str], environment: str | None, values: dict[str, str], read: list[str]
) -> None:
    (project / "wrangler.json").write_text(HEAD + '"env": {"staging": {}}}')
    for name in files:
        (project / name).write_text(f"FROM={name}\n")
    config = load_config(project, environment=environment, environ={})
    assert config.vars == values
    assert sorted(config.secrets) == sorted(project / name for name in read)


def test_dotenv_files_refer_to_each_other_and_dev_vars_do_not(project: Path) -> None:
    (project / "wrangler.json").write_text(HEAD + '"vars": {}}')
    text = "HOST=x.dev\nURL=https://${HOST}/$PORT\nPORT=1\nPAY=\\$5\nMODE=${NONE:-plain}\nSELF=$SELF\n"
    (project / ".env").write_text(text)
    values = load_config(project, environ={"PORT": "9"}).vars
    assert values == {"HOST": "x.dev", "URL": "https://x.dev/", "PORT": "1", "PAY": "$5", "MODE": "plain", "SELF": ""}
    (project / ".dev.vars").write_text("URL=https://${HOST}/\n")
    assert load_config(project, environ={}).vars == {"URL": "https://${HOST}/"}


def test_the_variables_of_the_process_are_let_in_when_asked(project: Path) -> None:
    (project / "wrangler.json").write_text(HEAD + '"vars": {}}')
    (project / ".env").write_text("A=file\nB=$HOME\n")
    environ = {"CLOUDFLARE_INCLUDE_PROCESS_ENV": "true", "HOME": "/home/me", "A": "process"}
    assert load_config(project, environ=environ).vars == {**environ, "B": "/home/me"}
    assert load_config(project, environ={"CLOUDFLARE_LOAD_DEV_VARS_FROM_DOT_ENV": "false"}).vars == {}


def test_a_config_that_names_its_secrets_gets_no_others(project: Path) -> None:
    (project / "wrangler.json").write_text(HEAD + '"vars": {"A": 1},\n"secrets": {"required": ["TOKEN", "KEY"]}}')
    (project / ".dev.vars").write_text("A=2\nTOKEN=t\nELSE=x\n")
    config = load_config(project, environ={})
    assert config.vars == {"A": "2", "TOKEN": "t"}
    assert warnings(config) == [':3: the secret "KEY" is required; write it into .dev.vars']


def test_variables_of_the_command_line_win(project: Path) -> None:
    (project / "wrangler.json").write_text(HEAD + '"vars": {"A": 1, "B": 2}}')
    (project / ".dev.vars").write_text("B=secret\n")
    config = load_config(project, variables=dict([parse_variable("B:http://x"), parse_variable("C:")]))
    assert config.vars == {"A": 1, "B": "http://x", "C": ""}
    with pytest.raises(ValueError, match="'B' is not of the form NAME:VALUE"):
        parse_variable("B")


def test_another_config_file(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "wrangler.json").write_text(HEAD + '"name": "usual"}')
    (project / "other.jsonc").write_text(HEAD + '"name": "other"}')
    (project / "src" / "more.py").touch()
    assert load_config(project, config_file="other.jsonc").name == "other"
    monkeypatch.chdir(project)
    assert load_config(config_file="other.jsonc").name == "other"
    config = load_config("src/more.py", config_file="other.jsonc")
    assert (config.name, config.main) == ("other", project / "src" / "more.py")
    with pytest.raises(ConfigError, match=r"none\.toml: there is no such config file"):
        load_config(config_file="none.toml")


def test_an_ai_binding_that_cfai_wrangler_wrote_is_one(project: Path) -> None:
    (project / "wrangler.json").write_text(HEAD + '"unsafe": {"bindings": [{"name": "THINK", "type": "ai"}]}}')
    config = load_config(project)
    assert (config.ai_binding, config.not_simulated) == ("THINK", ())


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("wrangler.json", b"", ": the file is empty; expected an object"),
        ("wrangler.jsonc", b"// nothing\n", ":2: not JSON: Expecting value"),
        ("wrangler.toml", b"", ': expected "main", the path of the script'),
        ("wrangler.json", b'{"main": "\xff"}', ": cannot be read: it is not UTF-8 (byte 10)"),
        (
            "wrangler.json",
            b'\xef\xbb\xbf{\r\n"main": 7}',
            ':2: "main" should be a string, the path of the script, not 7',
        ),
        (
            "wrangler.toml",
            b"\xef\xbb\xbf\r\nmain = 7\r\n",
            ':2: "main" should be a string, the path of the script, not 7',
        ),
        ("wrangler.toml", b"main = 'a'\nmain = 'b'\n", ":2: not TOML: Cannot overwrite a value"),
        ("wrangler.toml", b"vars = {", ":1: not TOML: "),
        ("wrangler.json", b"[" * 100_000, ": its objects and lists are nested too deeply"),
        ("wrangler.toml", b"a = " + b"[" * 100_000, ": its objects and lists are nested too deeply"),
        ("wrangler.json", None, ": this is a folder, and a file was expected"),
    ],
)
def test_a_file_that_is_no_config_at_all(project: Path, name: str, content: bytes | None, problem: str) -> None:
    if content is None:
        (project / name).mkdir()
    else:
        (project / name).write_bytes(content)
    with pytest.raises(ConfigError) as refused:
        load_config(project)
    assert str(refused.value).startswith(f"{project / name}{problem}")


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="the superuser reads everything")
def test_a_config_that_may_not_be_read(project: Path) -> None:
    (project / "wrangler.json").write_text("{}")
    (project / "wrangler.json").chmod(0)
    with pytest.raises(ConfigError, match="cannot be read: Permission denied"):
        load_config(project)


LINES = """\
a = 1
"b.c" = \'\'\'
[not.a.table]
x = 1\'\'\' # [nor]
list = [
  { k = 1 }, # ]
]
[t.u]
v.w = 1
[[many]]
x = "[y]"
[[many]]
x = 2
[many.sub]
y = 1
"""


def test_the_line_of_a_key_of_toml(project: Path) -> None:
    """Of each key that is told to be unknown."""
    (project / "wrangler.toml").write_text(LINES.replace("a = 1", "main = 'src/entry.py'"))
    config = load_config(project)
    lines = {one.problem.split('"')[1]: one.line for one in config.warnings if one.problem.startswith("unknown")}
    assert lines == {"b.c": 2, "list": 5, "t": 8, "many": 10}


def test_a_document_is_read_as_it_stands(project: Path) -> None:
    (project / "wrangler.jsonc").write_text(JSONC)
    assert read_document(project / "wrangler.jsonc")["vars"]["FLAGS"] == {"beta": True}


def test_flags_of_python_that_are_none_are_told(tmp_path: Path) -> None:
    (tmp_path / "entry.py").write_text("")
    flags = ["python_workers", "python_workflow", "python_nonsense", "nodejs_compat"]
    (tmp_path / "wrangler.json").write_text(
        json.dumps({"main": "entry.py", "compatibility_date": "2026-06-01", "compatibility_flags": flags})
    )
    problems = [remark.problem for remark in load_config(tmp_path).warnings]
    assert problems == [
        'unknown compatibility flag "python_workflow", did you mean "python_workflows"?',
        'unknown compatibility flag "python_nonsense"',
    ]


class AskedFor(frozenset[str]):
    """No flags, and it keeps which were looked for."""

    seen: set[str]

    def __contains__(self, flag: object) -> bool:
        self.seen.add(str(flag))
        return False


def test_the_flags_on_which_the_worker_branches_are_known() -> None:
    flags = AskedFor()
    flags.seen = set()
    compat = Compat(flags=flags)
    for name in dir(Compat):
        getattr(compat, name)
    asked = {flag for flag in flags.seen if "python" in flag}
    assert "disable_python_external_sdk" in asked
    assert asked <= PYTHON_FLAGS


def test_a_script_has_no_environments(tmp_path: Path) -> None:
    script = tmp_path / "entry.py"
    script.write_text("")
    (remark,) = load_config(script, environment="staging").warnings
    assert remark.problem.startswith('a single script has no environments: "staging" only chooses .dev.vars.staging')
    assert load_config(script, environment="").warnings == ()
