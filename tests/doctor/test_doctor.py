"""What the doctor says of a project, and what it keeps quiet about."""

import json
import socket
import textwrap
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cfai.cli import app
from cfai.doctor import Finding, examine

MODEL = "@cf/meta/llama-3.2-1b-instruct"
EXTERNAL, NESTED, BUILT_IN, FUNCTIONS = "2026-06-01", "2025-11-02", "2025-09-01", "2025-01-15"
ENTRY = """\
from workers import Response, WorkerEntrypoint

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        return Response("hi")
"""


class Project:
    """A project of a few lines."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "src").mkdir()

    def write(self, name: str, text: str) -> None:
        (self.folder / name).parent.mkdir(exist_ok=True)
        (self.folder / name).write_text(textwrap.dedent(text))

    def config(self, date: str = EXTERNAL, **more: Any) -> None:
        config = {
            "name": "x",
            "main": "src/entry.py",
            "compatibility_date": date,
            "compatibility_flags": ["python_workers"],
            "ai": {"binding": "AI"},
            **more,
        }
        self.write("wrangler.json", json.dumps(config, indent=1))

    def findings(self, script: str, date: str = EXTERNAL, **more: Any) -> list[Finding]:
        self.config(date, **more)
        self.write("src/entry.py", script)
        return [one for one in examine(self.folder) if "weights" not in one.what]

    def told(self, script: str, date: str = EXTERNAL, **more: Any) -> list[str]:
        return [
            f"{one.file.name if one.file else ''}:{one.line} {one.level} {one.what}"
            for one in self.findings(script, date, **more)
        ]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def in_fetch(*lines: str, imports: str = "") -> str:
    """A script whose `fetch` has these lines, the first of them in line 5."""
    body = "\n".join(f"        {line}" for line in lines)
    head = f"from workers import Response, WorkerEntrypoint; {imports}"
    return f"{head}\n\nclass Default(WorkerEntrypoint):\n    async def fetch(self, request):\n{body}\n"


@pytest.mark.parametrize("date", [EXTERNAL, NESTED, BUILT_IN])
def test_a_sound_project_has_no_findings(project: Project, date: str) -> None:
    assert project.told(ENTRY, date) == []


RUN = f'result = await self.env.AI.run("{MODEL}", {{"prompt": "hi"}})'
TO_JS = f'result = await self.env.AI.run("{MODEL}", to_js({{"prompt": "hi"}}, dict_converter=Object.fromEntries))'


@pytest.mark.parametrize(
    ("date", "line", "what"),
    [
        (NESTED, 'x = result["response"]', "result['response']: an answer of env.AI is an object of JavaScript"),
        (BUILT_IN, 'x = result.get("response")', "result.get('response'): an answer"),
        (NESTED, "x = json.dumps(result)", "json.dumps(result): an answer"),
        (NESTED, "x = dict(result)", "dict(result): an answer"),
        (NESTED, "x = result.response", None),
        (EXTERNAL, 'x = result["response"]', None),
        (EXTERNAL, "x = result.to_py()", "result.to_py(): an answer of env.AI is a dict"),
        (NESTED, "x = result.to_py()['response']", None),
        (NESTED, 'x = result["response"] if isinstance(result, dict) else result.response', None),
        (EXTERNAL, 'x = result.to_py() if hasattr(result, "to_py") else result', None),
    ],
)
def test_answers_are_dicts_at_some_dates(project: Project, date: str, line: str, what: str | None) -> None:
    told = project.told(in_fetch(TO_JS, line, imports="import json; from js import Object"), date)
    assert len(told) == (what is not None)
    if what:
        assert told[0].startswith(f"entry.py:6 error {what}")


@pytest.mark.parametrize(
    ("date", "inputs", "is_refused"),
    [
        (EXTERNAL, '{"messages": [{"role": "user"}]}', False),
        (NESTED, '{"messages": [{"role": "user"}]}', True),
        (NESTED, '{"messages": messages}', True),
        (NESTED, '{"prompt": "flat"}', False),
        (NESTED, '{"prompt": request.text}', False),
        (BUILT_IN, '{"prompt": "flat"}', True),
        (BUILT_IN, "to_js({})", False),
        (BUILT_IN, "inputs", True),
    ],
)
def test_a_dict_is_no_input_at_some_dates(project: Project, date: str, inputs: str, is_refused: bool) -> None:
    lines = ['messages = [{"role": "user"}]', 'inputs = {"prompt": "x"}', f'await self.env.AI.run("{MODEL}", {inputs})']
    told = project.told(in_fetch(*lines), date)
    assert [one.split(" ", 2)[0] for one in told] == (["entry.py:7"] if is_refused else [])


def test_a_binding_that_is_handed_on_is_followed(project: Project) -> None:
    project.write(
        "src/asking.py",
        f"""\
        MODEL = "{MODEL}"

        async def ask(ai, messages):
            answer = await ai.run(MODEL, {{"messages": [{{"role": "user"}}]}})
            return answer["response"]
        """,
    )
    script = f"from asking import ask\n{ENTRY}"
    assert [one.split(" ")[0] for one in project.told(script, NESTED)] == ["asking.py:4", "asking.py:5"]


def test_a_project_that_wraps_env_is_left_alone(project: Project) -> None:
    wrapping = in_fetch("self.env = Safe(self.env)", RUN, 'x = result["response"]', 'x = self.env["A"]')
    assert project.told(wrapping, NESTED) == []


def test_an_ai_of_cfai_takes_dicts_at_every_date(project: Project) -> None:
    lines = ["ai = Ai(self.env.AI)", RUN.replace("self.env.AI", "ai"), 'x = result["response"]']
    told = project.told(in_fetch(*lines, imports="from cfai import Ai"), BUILT_IN)
    assert told == ["entry.py:1 warning import cfai"]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("js.Headers({})", "Headers(...) calls a class of JavaScript"),
        ('js.Headers.new({"a": "b"})', "Headers.new of a dict"),
        ('js.Headers.new({"a": "b"}.items())', None),
        ('js.Response.new("x", headers={"a": "b"})', "Response.new with headers that are a dict"),
        ('Response.new("x")', "Response.new(...), and Response comes from workers"),
        ("Response({'a': 1})", "Response of a dict"),
        ("Response.json({'a': 1})", None),
        ("await fetch('https://x', {'method': 'POST'})", "fetch with options that have no names"),
        ("request.url.pathname", "request.url.pathname"),
        ("urlsplit(request.url).path", None),
        ('self.env["KEY"]', "self.env['KEY']"),
        ("subprocess.run(['ls'])", "subprocess.run does not work on Cloudflare"),
        ("threading.Thread(target=print)", "threading.Thread does not work on Cloudflare"),
        ("random.random()", None),
        ("self.env.TYPO", "env.TYPO is not in the config"),
        ('getattr(self.env, "TYPO", None)', None),
        ("self.env.AI.run", None),
    ],
)
def test_what_raises_at_every_date(project: Project, line: str, what: str | None) -> None:
    imports = "import js, random, subprocess, threading; from workers import fetch; from urllib.parse import urlsplit"
    told = project.told(in_fetch(line, imports=imports))
    assert len(told) == (what is not None)
    if what:
        assert told[0].split(" ", 2)[2].replace('"', "'").startswith(what)
        assert told[0].startswith("entry.py:5 ")


def test_a_name_of_two_origins_is_left_alone(project: Project) -> None:
    script = ENTRY.replace(
        "from workers import Response, WorkerEntrypoint",
        "from workers import WorkerEntrypoint\ntry:\n    from js import Response\nexcept ImportError:\n"
        "    from workers import Response",
    )
    assert project.told(script) == []


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("TOKEN = uuid.uuid4()", "uuid.uuid4() while the script is imported"),
        ("ID = js.crypto.randomUUID()", "js.crypto.randomUUID while the script is imported"),
        ("class A:\n    x = random.random()", "random.random() while the script is imported"),
        ("def f(x=os.urandom(3)):\n    pass", "os.urandom() while the script is imported"),
        ("def f():\n    return uuid.uuid4()", None),
        ("F = lambda: uuid.uuid4()", None),
        ("if __name__ == '__main__':\n    uuid.uuid4()", None),
    ],
)
def test_nothing_is_drawn_while_the_script_is_imported(project: Project, line: str, what: str | None) -> None:
    told = project.told(f"{ENTRY}import js, os, random, uuid\n{line}\n")
    assert [one.split(" ", 2)[2] for one in told] == ([what] if what else [])


CLASS = """\
from workers import WorkerEntrypoint
class {name}({base}):
    async def {method}(self, request):
        pass
"""


@pytest.mark.parametrize(
    ("date", "script", "what"),
    [
        (FUNCTIONS, "def on_fetch(request, env):\n    pass\n", None),
        (FUNCTIONS, "", "no handler on_fetch"),
        (EXTERNAL, "def on_fetch(request, env):\n    pass\n", "a handler on_fetch in the module is for dates before"),
        (EXTERNAL, "", "no class Default"),
        (EXTERNAL, "from elsewhere import Default\n", "elsewhere is not installed in this Python"),
        (EXTERNAL, CLASS.format(name="Main", base="WorkerEntrypoint", method="fetch"), "the class Main is not the def"),
        (EXTERNAL, CLASS.format(name="Default", base="", method="fetch"), "Default is no WorkerEntrypoint"),
        (EXTERNAL, CLASS.format(name="Default", base="WorkerEntrypoint", method="on_fetch"), "from compatibility_date"),
        (FUNCTIONS, CLASS.format(name="Default", base="WorkerEntrypoint", method="fetch"), "before compatibility_date"),
        (FUNCTIONS, CLASS.format(name="Default", base="WorkerEntrypoint", method="on_fetch"), None),
    ],
)
def test_the_handlers_of_a_date(project: Project, date: str, script: str, what: str | None) -> None:
    told = project.told(script, date)
    assert len(told) == (what is not None)
    if what:
        assert told[0].split(" ", 2)[2].startswith(what)


@pytest.mark.parametrize(
    ("method", "what"),
    [
        ("def fetch(self, request, env):\n        return env.KEY", "env.KEY: env is None there"),
        ("def fetch(self, request, env, ctx):\n        return self.env.AI", None),
        ("def fetch(self):\n        return 1", None),
        ("def scheduled(self, controller):\n        pass", "scheduled is called with a controller, env and ctx"),
        ("def scheduled(self, controller, env, ctx):\n        env.AI", "env.AI: env is None there"),
        ("def scheduled(self, controller, *rest):\n        pass", None),
        ("def __init__(self, ctx, env):\n        self.x = 1", "Default.__init__ does not call that of its base"),
        ("def __init__(self, *given):\n        super().__init__(*given)", None),
    ],
)
def test_what_handlers_are_given(project: Project, method: str, what: str | None) -> None:
    told = project.told(f"from workers import WorkerEntrypoint\nclass Default(WorkerEntrypoint):\n    {method}\n")
    assert [one.split(" ", 2)[2] for one in told] == ([what] if what else [])


def test_crons_need_a_handler(project: Project) -> None:
    told = project.told(ENTRY, triggers={"crons": ["0 * * * *"]})
    assert told == ["wrangler.json:None warning triggers.crons are set, and the script has no scheduled handler"]


def test_models_and_their_limits(project: Project) -> None:
    """A text that is prose is none, and neither is one of another place's."""
    found = project.findings(
        in_fetch(
            '"@cf/meta/llama-3-8b-instruct in a docstring"',
            'old = "@cf/meta/llama-3-8b-instruct"',
            'wrong = "@cf/meta/lama-3.2-1b-instruct"',
            'other = "@cf/some words"',
            f'await self.env.AI.run("{MODEL}", {{"prompt": "x", "max_tokens": 100000}})',
        )
    )
    assert [(one.level, one.line, one.what) for one in found] == [
        ("error", 6, "@cf/meta/llama-3-8b-instruct is retired since 2026-05-30"),
        ("warning", 7, "no model @cf/meta/lama-3.2-1b-instruct is known"),
        ("error", 9, f"max_tokens 100000, and {MODEL} makes at most 60000"),
    ]
    assert "@cf/meta/llama-3.1-8b-instruct-fp8" in found[0].fix
    assert MODEL in found[1].fix


def test_models_of_other_tasks_do_not_run_here(project: Project) -> None:
    project.findings(in_fetch('await self.env.AI.run("@cf/baai/bge-m3", {"text": "x"})'))
    found = [one for one in examine(project.folder) if one.level == "note"]
    assert [one.what for one in found] == ["@cf/baai/bge-m3 does not run here"]
    assert "Text Embeddings" in found[0].why
    assert "--remote" in found[0].fix


def test_weights_that_are_not_here_are_a_note(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(project.folder))
    project.findings(in_fetch(f'await self.env.AI.run("{MODEL}")', f'await self.env.AI.run("{MODEL}")'))
    notes = [one for one in examine(project.folder) if one.level == "note"]
    assert len(notes) == 1
    assert "--demo" in notes[0].fix


@pytest.mark.parametrize(
    ("date", "line", "told"),
    [
        (EXTERNAL, "import tkinter", "error import tkinter"),
        (EXTERNAL, "import sqlite3, ssl, threading, subprocess", None),
        (NESTED, "import fcntl", "error import fcntl"),
        (EXTERNAL, "try:\n    import fcntl\nexcept ImportError:\n    fcntl = None", None),
        (EXTERNAL, "from src.inner import x", "error import of src.inner"),
        (EXTERNAL, "from inner import x", None),
        (EXTERNAL, "from package.deep import y", None),
        (EXTERNAL, "import torch", "error torch does not install on Cloudflare"),
        (EXTERNAL, "import nowhere_at_all", "error nowhere_at_all is not installed in this Python"),
        (EXTERNAL, "import starlette", "warning starlette is not among the dependencies"),
        (EXTERNAL, "import numpy, anyio", None),
        (EXTERNAL, "import js, asgi, pyodide.ffi, workers", None),
    ],
)
def test_imports(project: Project, date: str, line: str, told: str | None) -> None:
    project.write("pyproject.toml", '[project]\ndependencies = ["numpy", "anyio>=4"]\n')
    project.write("src/inner.py", "x = 1\n")
    project.write("src/package/__init__.py", "")
    project.write("src/package/deep.py", "y = 1\n")
    found = project.told(f"{ENTRY}{line}\n", date)
    assert [one.partition(" ")[2] for one in found] == ([told] if told else [])


def test_dependencies_that_do_not_install_there(project: Project) -> None:
    project.write("pyproject.toml", '[project]\ndependencies = [\n  "numpy",\n  "torch>=2",\n]\n')
    project.write("requirements.txt", "numpy\n")
    assert project.told(ENTRY) == [
        "pyproject.toml:4 error torch does not install on Cloudflare",
        "requirements.txt:1 error requirements.txt is no longer read",
    ]


def test_only_what_the_script_imports_is_read(project: Project) -> None:
    project.write("tests/test_x.py", "import tkinter\n")
    project.write("src/unused.py", "import tkinter\n")
    project.write("src/used.py", "def f(:\n")
    assert project.told(f"import used\n{ENTRY}") == ["used.py:1 error SyntaxError: invalid syntax"]


def test_what_is_wrong_with_the_config(project: Project) -> None:
    project.config(compatibility_flags=[], nmae="x", r2_buckets=[{"binding": "FILES"}])
    project.write("src/entry.py", ENTRY)
    assert [(one.level, one.line, one.what) for one in examine(project.folder)] == [
        ("note", None, "env.FILES: R2 Bucket bindings are not simulated here"),
        (
            "error",
            5,
            "runs here, and wrangler refuses it: The `python_workers` compatibility flag is required to use Python.",
        ),
        ("warning", 9, 'unknown key "nmae", did you mean "name"?'),
    ]
    project.config(main="nowhere.py")
    assert [(one.level, one.line, one.what) for one in examine(project.folder)] == [
        ("error", 3, '"main" is nowhere.py, and there is no such file')
    ]


def test_the_command_says_it_all_and_fails_on_errors(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.folder)
    project.findings(ENTRY)
    fine = CliRunner().invoke(app, ["doctor"])
    assert (fine.exit_code, fine.stdout.startswith("nothing to mend\n")) == (0, True)
    project.findings(in_fetch('self.env["KEY"]', "self.env.TYPO"))
    told = CliRunner().invoke(app, ["doctor"])
    assert told.exit_code == 1
    assert told.stdout.startswith(
        'src/entry.py:5  error\n  self.env["KEY"]\n'
        "  TypeError: 'pyodide.ffi.JsProxy' object is not subscriptable\n"
        '  try: self.env.KEY, or getattr(self.env, "KEY", None)\n'
    )
    assert "\n1 error, 1 warning\n" in told.stdout
    assert "Python" in told.stdout


def test_json_has_the_same(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.folder)
    project.findings(in_fetch("Response([])"))
    told = json.loads(CliRunner().invoke(app, ["doctor", "--json"]).stdout)
    assert told["findings"] == [
        {
            "level": "error",
            "file": "src/entry.py",
            "line": 5,
            "what": "Response of a list",
            "why": "TypeError: Unsupported type in Response: list",
            "fix": "Response.json(...)",
        }
    ]
    assert {"Python", "torch", "weights", "port 8787", "Node"} == {one["name"] for one in told["machine"]}


def test_a_port_that_is_taken_is_told(project: Project) -> None:
    project.findings(ENTRY)
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", 8787))
            taken.listen()
        except OSError:
            pass  # somebody else has it, which will do
        machine = json.loads(CliRunner().invoke(app, ["doctor", str(project.folder), "--json"]).stdout)["machine"]
    port = next(one for one in machine if one["name"] == "port 8787")
    assert port == {"name": "port 8787", "found": "taken; cfai dev takes the next free one", "is_fine": None}


def test_no_project_at_all(tmp_path: Path) -> None:
    told = CliRunner().invoke(app, ["doctor", str(tmp_path)])
    assert (told.exit_code, "no wrangler.json, wrangler.jsonc or wrangler.toml" in told.stdout) == (1, True)
