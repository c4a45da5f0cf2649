"""`cfai workerd`: a config for workerd. The clients' tests run it: tests/clients/test_javascript.py."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cfai.cli import app
from cfai.cli.workerd import WorkerdConfig
from cfai.serving import listen
from tests.ports import kept_port
from tests.processes import Process

SCRIPT = "export default { fetch() { return new Response('hi'); } };\n"


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CFAI_TOKEN", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))  # no program of this machine is found
    (tmp_path / "worker.js").write_text(SCRIPT)
    return tmp_path


def cfai(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["workerd", *arguments])


def test_a_config_is_written_beside_the_script(project: Path) -> None:
    result = cfai("worker.js", "--port", "8001", "--ai-url", "http://127.0.0.1:9000")
    assert result.exit_code == 0
    assert "npm install workerd" in result.stdout
    text = (project / "workerd.capnp").read_text()
    for line in (
        'address = "127.0.0.1:8001"',
        'modules = [(name = "worker.js", esModule = embed "worker.js")]',
        '(name = "AI", wrapped = (moduleName = "cfai-internal:ai", '
        'innerBindings = [(name = "fetcher", service = "cfai"), (name = "url", text = "http://127.0.0.1:9000")]))',
        'const cfai :Workerd.ExternalServer = (address = "127.0.0.1:9000", http = ());',
    ):
        assert line in text


def test_the_projects_config_says_the_rest(project: Path) -> None:
    (project / "wrangler.toml").write_text(
        'compatibility_date = 2025-02-03\ncompatibility_flags = ["nodejs_compat"]\n'
        '[ai]\nbinding = "MODELS"\n[vars]\nGREETING = "say \\"hi\\"\\n"\nLIMITS = { most = 3 }\n'
    )
    assert cfai("worker.js", "--no-run").exit_code == 0
    text = (project / "workerd.capnp").read_text()
    for line in (
        'compatibilityDate = "2025-02-03"',
        'compatibilityFlags = ["nodejs_compat"]',
        '(name = "MODELS", wrapped = ',
        r'(name = "GREETING", text = "say \"hi\"\n")',
        r'(name = "LIMITS", json = "{\"most\": 3}")',
    ):
        assert line in text


def test_a_token_is_sent_along_and_the_file_is_the_users_only(project: Path) -> None:
    assert cfai("worker.js", "--token", "s3cret", "--config", "out.capnp").exit_code == 0
    file = project / "out.capnp"
    assert 'injectRequestHeaders = [(name = "Authorization", value = "Bearer s3cret")]' in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("http://localhost", 'address = "localhost:80", http = ()'),
        ("http://[::1]:8788", 'address = "[::1]:8788", http = ()'),
        (
            "https://ai.example.com",
            'address = "ai.example.com:443", https = (options = (), tlsOptions = (trustBrowserCas = true))',
        ),
    ],
)
def test_every_address_is_written_as_workerd_reads_it(url: str, server: str, project: Path) -> None:
    assert f"({server});" in WorkerdConfig(project / "worker.js", 8787, url).to_text(folder=project)


def test_a_script_that_imports_packages_needs_a_bundler(project: Path) -> None:
    (project / "worker.js").write_text(f'import {{ Ai }} from "@cloudflare/ai";\n{SCRIPT}')
    result = cfai("worker.js")
    assert result.exit_code == 1
    assert "imports @cloudflare/ai" in result.stderr
    assert "npm install --save-dev esbuild" in result.stderr


def test_what_workerd_has_itself_needs_none(project: Path) -> None:
    (project / "worker.js").write_text(f'import {{ env }} from "cloudflare:workers";\n// import "x"\n{SCRIPT}')
    assert cfai("worker.js", "--no-run").exit_code == 0


def test_the_bundler_of_the_project_is_found_above_the_script(project: Path) -> None:
    (project / "node_modules/.bin").mkdir(parents=True)
    esbuild = project / "node_modules/.bin/esbuild"
    esbuild.write_text('#!/bin/sh\nfor last; do :; done\necho "// bundled" > "${last#--outfile=}"\n')
    esbuild.chmod(0o755)
    (project / "src").mkdir()
    (project / "src/worker.ts").write_text(SCRIPT)
    result = cfai("src/worker.ts", "--no-run")
    assert result.exit_code == 0, result.output
    assert (project / "src/worker.workerd.js").read_text() == "// bundled\n"
    assert 'embed "worker.workerd.js"' in (project / "src/workerd.capnp").read_text()


@pytest.fixture
def program(project: Path) -> Path:
    """A workerd that only says how it was started."""
    (project / "node_modules/.bin").mkdir(parents=True)
    program = project / "node_modules/.bin/workerd"
    program.write_text('#!/bin/sh\necho "workerd $@"\n')
    program.chmod(0o755)
    return program


@pytest.mark.usefixtures("program")
def test_a_port_that_is_taken_is_said_before_anything_is_written(project: Path) -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        result = cfai("worker.js", "--port", str(port))
        assert cfai("worker.js", "--port", str(port), "--no-run", "--config", "later.capnp").exit_code == 0
    assert result.exit_code == 5
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in result.stderr
    assert "listens" not in result.stdout
    assert not (project / "workerd.capnp").exists()


@pytest.mark.usefixtures("program")
def test_a_server_that_does_not_answer_is_said_and_workerd_starts(project: Path) -> None:
    with kept_port() as port:
        options = ("workerd", "worker.js", "--port", str(port), "--ai-url")
        with listen("127.0.0.1", 0) as server:
            url = f"http://127.0.0.1:{server.getsockname()[1]}"
            with Process(*options, url) as process:
                process.read_until("is written")
                assert "listens" in process.read_until("")
                process.read_until("workerd serve --watch")
        with kept_port() as silent, Process(*options, url := f"http://127.0.0.1:{silent}") as process:
            assert "`cfai serve`" in process.read_until(f"nothing answers at {url}")
            process.read_until("workerd serve --watch")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nothing.js"], "there is no file nothing.js"),
        (["worker.js", "--ai-url", "127.0.0.1:8788"], "no URL"),
        (["worker.js", "--config", "theirs.capnp"], "not one that cfai made"),
        (["worker.js", "--port", "0"], "port"),
    ],
)
def test_what_is_wrong_is_said(project: Path, arguments: list[str], told: str) -> None:
    (project / "theirs.capnp").write_text("using Workerd")
    result = cfai(*arguments)
    assert result.exit_code == 2
    assert told in result.stderr
    assert (project / "theirs.capnp").read_text() == "using Workerd"
