"""LoRA adapters uploaded by Cloudflare's own clients: the SDK of Python, curl as documented, and wrangler."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from cloudflare import Cloudflare, NotFoundError

from tests.adapters import make_files
from tests.clients.held import TOKEN
from tests.clients.node import HERE, installed, needs_node
from tests.processes import Process

MODEL = "@cf/mistral/mistral-7b-instruct-v0.2-lora"
FILES = ("adapter_config.json", "adapter_model.safetensors")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def address(home: Path) -> Iterator[str]:
    """A server with a folder of its own."""
    environment = {"CFAI_HOME": str(home)}
    with Process("serve", "--fake", "--port", "0", "--token", TOKEN, environment=environment) as process:
        yield process.read_until("listens on").split()[-1] + "/client/v4"


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    tensors = {f"base_model.model.q_proj.lora_{half}.weight": torch.zeros(4, 4) for half in "AB"}
    return make_files(tmp_path / "adapter", tensors, r=4, lora_alpha=8, target_modules=["q_proj"])


def assert_kept(home: Path, name: str, adapter: Path) -> None:
    for file in FILES:
        assert (home / "finetunes" / name / file).read_bytes() == (adapter / file).read_bytes()


def test_the_sdk_of_python(address: str, home: Path, adapter: Path) -> None:
    with Cloudflare(api_token=TOKEN, base_url=address, max_retries=0) as client:
        finetunes = client.ai.finetunes
        made = finetunes.create(account_id="acc", model=MODEL, name="poet", description="rhymes")
        assert (made.name, made.model, made.description, made.public) == ("poet", MODEL, "rhymes", False)
        assert made.created_at.year > 2025
        for file in FILES:
            assert finetunes.assets.create(made.id, account_id="acc", file=adapter / file, file_name=file).success
        (listed,) = finetunes.list(account_id="acc")  # typed as one, and at Cloudflare a list as well
        assert dict(listed)["id"] == made.id
        assert next(iter(finetunes.public.list(account_id="acc"))).name == "cf-public-magicoder"
        with pytest.raises(NotFoundError) as unknown:
            finetunes.assets.create("poem", account_id="acc", file=b"{}", file_name=FILES[0])
        assert [error.code for error in unknown.value.errors] == [3037]
    assert_kept(home, "poet", adapter)


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl on this machine")
def test_the_documented_lines_of_curl(address: str, home: Path, adapter: Path) -> None:
    def curl(path: str, *arguments: str) -> object:
        line = ["curl", "--silent", "-X", "POST", f"{address}/accounts/acc/ai/finetunes/{path}", *arguments]
        told = subprocess.run([*line, "-H", f"Authorization: Bearer {TOKEN}"], capture_output=True, check=True)
        return json.loads(told.stdout)["success"]

    made = json.dumps({"model": MODEL, "name": "poet", "description": "OPTIONAL_DESCRIPTION"})
    assert curl("", "-H", "Content-Type: application/json", "-d", made) is True
    for file in FILES:
        fields = ("-F", f"file_name={file}", "-F", f"file=@{adapter / file}")
        assert curl("poet/finetune-assets/", "-H", "Content-Type: multipart/form-data", *fields) is True
    assert_kept(home, "poet", adapter)


@needs_node
@pytest.mark.timeout(400)
@pytest.mark.skipif(not os.environ.get("CFAI_ALL_CLIENTS"), reason="set CFAI_ALL_CLIENTS=1 to run wrangler")
def test_wrangler(address: str, home: Path, adapter: Path, tmp_path: Path) -> None:
    environment = {
        "CLOUDFLARE_API_TOKEN": TOKEN,
        "CLOUDFLARE_ACCOUNT_ID": "0" * 32,
        "CLOUDFLARE_API_BASE_URL": address,
        "WRANGLER_SEND_METRICS": "false",
    }

    def wrangler(*arguments: str) -> str:
        line = [str(installed(HERE / "more") / ".bin" / "wrangler"), "ai", "finetune", *arguments]
        told = subprocess.run(
            line, cwd=tmp_path, env={**os.environ, **environment}, capture_output=True, text=True, check=True
        )
        return told.stdout + told.stderr

    assert 'finetune "poet" is ready to use' in wrangler("create", MODEL, "poet", str(adapter))
    assert "poet" in wrangler("list")
    assert_kept(home, "poet", adapter)
