"""`cfai init`: a project that runs and is tested as it is written."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cfai.cli import app
from cfai.config import load_config

# The plugin of this tree, whatever is installed.
PYTEST = [
    sys.executable,
    "-m",
    "pytest",
    "-q",
    *("-p", "no:cacheprovider", "-p", "no:cfai", "-p", "cfai.pytest_plugin"),
]


def init(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["init", *map(str, arguments)])


def test_the_project_passes_its_own_test(tmp_path: Path) -> None:
    assert init(tmp_path / "My First_Worker").exit_code == 0
    project = tmp_path / "My First_Worker"
    config = load_config(project)
    assert (config.name, config.ai_binding, config.warnings) == ("my-first_worker", "AI", ())
    for name in ("pyproject.toml", "README.md", "public/index.html"):
        assert "my-first_worker" in (project / name).read_text()
    done = subprocess.run(PYTEST, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout


def test_its_test_fails_when_the_script_is_wrong(tmp_path: Path) -> None:
    init(tmp_path)
    script = tmp_path / "src" / "entry.py"
    script.write_text(script.read_text().replace('"stream": True', '"stream": False'))
    done = subprocess.run(PYTEST, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout


def test_nothing_is_written_over_unless_asked(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    (tmp_path / "wrangler.toml").write_text("")
    refused = init(tmp_path)
    assert refused.exit_code == 2
    assert f"{tmp_path / 'wrangler.toml'}, {tmp_path / 'README.md'} are there already" in refused.stderr
    assert sorted(file.name for file in tmp_path.iterdir()) == ["README.md", "wrangler.toml"]
    assert init(tmp_path, "--force").exit_code == 0
    assert (tmp_path / "README.md").read_text() != "mine"


@pytest.mark.parametrize("name", ["A", "two words", "-x", "x" * 64, ""])
def test_a_name_that_cloudflare_would_not_take(tmp_path: Path, name: str) -> None:
    refused = init(tmp_path / "new", "--name", name)
    assert refused.exit_code == 2
    assert "is no name of a Worker" in refused.stderr
    assert not (tmp_path / "new").exists()


def test_a_folder_that_gives_no_name(tmp_path: Path) -> None:
    refused = init(tmp_path / "日本")
    assert (refused.exit_code, "--name my-worker" in refused.stderr) == (2, True)
    assert init(tmp_path / "日本", "--name", "nihon").exit_code == 0


def test_a_file_where_a_folder_would_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert f"{tmp_path / 'file'} is there already" in init(tmp_path / "file").stderr
    (tmp_path / "src").touch()
    assert f"{tmp_path / 'src'} is there already" in init(tmp_path).stderr
    assert sorted(file.name for file in tmp_path.iterdir()) == ["file", "src"]
    refused = init(tmp_path, "--force")
    assert refused.exit_code == 2
    assert f"{tmp_path / 'src'}: File exists" in refused.stderr
