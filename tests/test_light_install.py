"""The light install of docs/testing.md, in an environment of its own: no torch, and all that the page promises."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from cfai.packages import MODELS
from tests.pages import blocks_of, write_project
from tests.processes import Process

ROOT = Path(__file__).parents[1]
BLOCKS = blocks_of(ROOT / "docs" / "testing.md")
MODEL = "@cf/meta/llama-3.2-1b-instruct"
WORKER = f"""
from workers import Response, WorkerEntrypoint


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        stream = await self.env.AI.run("{MODEL}", {{"prompt": "where is new york?", "stream": True}})
        return Response(stream, headers={{"content-type": "text/event-stream"}})
"""


@pytest.mark.timeout(600)
def test_without_torch_there_are_the_fake_the_tape_the_faults_the_plugin_and_cfai_dev(tmp_path: Path) -> None:
    python = light_environment(tmp_path / "venv")

    # Nothing of a model's is there, not even by another package's wish.
    probe = f"import importlib.util; print([name for name in {MODELS} if importlib.util.find_spec(name)])"
    assert run(python, "-c", probe, cwd=tmp_path).strip() == "[]"

    # The page's own tests: the fake, tapes, faults, streams, whole Workers. Installed, the plugin is there by itself.
    project = tmp_path / "project"
    write_project(BLOCKS, project, wants=lambda block: "hypothesis" not in block.text)
    said = run(python, "-m", "pytest", "-q", "-Werror", "-pno:cacheprovider", cwd=project)
    assert re.search(r"\d+ passed", said)
    assert not re.search(r"skipped|xfailed", said), said

    # A Worker, its model's answers from a file, in a stream.
    (project / "worker.py").write_text(WORKER)
    (project / "fake.json").write_text(json.dumps({MODEL: ["New", " York"]}))
    options = ("dev", "worker.py", "--fake", "--answers=fake.json", "--port=0")
    with Process(*options, program=[str(python.parent / "cfai")], cwd=project, environment=OWN) as server:
        server.read_until("no model runs, answers are scripted or made up")
        address = re.search(r"http://\S+", server.read_until("Ready on"))
        assert address is not None
        with urllib.request.urlopen(address[0], timeout=60) as response:
            assert response.headers["content-type"] == "text/event-stream"
            events = response.read().decode().split("\n\n")
    assert events[:2] == ['data: {"response":"New"}', 'data: {"response":" York"}']
    assert events[-2:] == ["data: [DONE]", ""]

    # What needs no model does not ask for one's packages; what needs one says what it lacks.
    assert MODEL in run(python, "-m", "cfai", "models", cwd=project)
    refused = subprocess.run(
        [python, "-m", "cfai", "serve", "--port=0"], cwd=tmp_path, env=OWN, capture_output=True, text=True, check=False
    )
    assert refused.returncode == 1
    assert "this needs filelock, which is not installed" in refused.stderr
    assert "pip install filelock huggingface-hub jinja2 llguidance numpy" in refused.stderr
    assert "--fake, which makes answers up" in refused.stderr
    assert "Traceback" not in refused.stderr


OWN = {**os.environ, "PYTHONPATH": ""}
"""The environment's variables without the one that would let this folder's cfai be imported."""


def light_environment(folder: Path) -> Path:
    """The interpreter of a new environment, made by the commands that the page shows under `Without torch`."""
    run(Path(sys.executable), "-m", "venv", str(folder), cwd=ROOT)
    python = folder / "bin" / "python"
    block = next(block for block in BLOCKS if block.section == "Without torch" and block.language == "sh")
    commands = [line.partition("#")[0].split() for line in block.text.splitlines()]
    assert [command[:2] for command in commands] == [["pip", "install"]] * len(commands)
    for _, *arguments in commands:
        run(python, "-m", "pip", "--quiet", *arguments, "--constraint=constraints.txt", cwd=ROOT)
    return python


def run(python: Path, *arguments: str, cwd: Path) -> str:
    ended = subprocess.run([python, *arguments], cwd=cwd, env=OWN, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout
