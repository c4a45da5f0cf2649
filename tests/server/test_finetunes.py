"""The routes of LoRA adapters: created, uploaded, listed, removed."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
import torch
from safetensors.torch import save
from starlette.testclient import TestClient

from cfai import FakeBinding
from cfai.bindings.finetunes import FinetuneStore
from cfai.bindings.uploads import FinetuneLimits, limits_on
from cfai.server.app import rest_app
from tests.adapters import make_files
from tests.processes import Process

FINETUNES = "/client/v4/accounts/acc/ai/finetunes"
MODEL = "@cf/mistral/mistral-7b-instruct-v0.2-lora"
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    tensors = {f"base_model.model.q_proj.lora_{half}.weight": torch.zeros(4, 4) for half in "AB"}
    return make_files(tmp_path / "adapter", tensors, r=4, lora_alpha=8, target_modules=["q_proj"])


@pytest.fixture
def store(tmp_path: Path) -> FinetuneStore:
    return FinetuneStore(tmp_path / "finetunes")


def client_of(store: FinetuneStore) -> TestClient:
    return TestClient(rest_app(FakeBinding(), finetunes=store), base_url="http://127.0.0.1:8788")


@pytest.fixture
def client(store: FinetuneStore) -> Iterator[TestClient]:
    yield client_of(store)


def create(client: TestClient, name: str = "mine", **more: Any) -> Any:
    return client.post(FINETUNES, json={"model": MODEL, "name": name, **more})


def upload(client: TestClient, finetune: str, name: str, data: bytes) -> Any:
    return client.post(f"{FINETUNES}/{finetune}/finetune-assets", data={"file_name": name}, files={"file": data})


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def problem(answer: Any) -> tuple[int, int, str, str]:
    body = answer.json()
    (error,) = body["errors"]
    assert (body["success"], body["result"]) == (False, {})
    hint = body["messages"][0]["message"] if body["messages"] else ""
    return answer.status_code, error["code"], error["message"], hint


def test_an_adapter_is_created_and_uploaded_and_listed(client: TestClient, store: FinetuneStore, adapter: Path) -> None:
    answer = create(client, description="of mine")
    assert list(answer.json()) == ["result", "success", "errors", "messages"]
    made = answer.json()["result"]
    assert list(made) == ["id", "model", "name", "description", "created_at", "modified_at", "public"]
    assert (made["model"], made["name"], made["description"], made["public"]) == (MODEL, "mine", "of mine", False)
    for name, finetune in ((CONFIG, made["id"]), (WEIGHTS, "mine")):
        answer = upload(client, finetune, name, (adapter / name).read_bytes())
        assert answer.text == '{"result":null,"success":true,"errors":[],"messages":[]}'
    (listed,) = client.get(FINETUNES).json()["result"]
    assert listed == {key: value for key, value in made.items() if key != "public"} | {
        "modified_at": listed["modified_at"]
    }
    assert listed["modified_at"] > listed["created_at"]
    for name in (made["id"], "mine"):
        found = store.adapter(name)
        assert not found.missing
        assert (found.folder / WEIGHTS).read_bytes() == (adapter / WEIGHTS).read_bytes()


def test_the_documented_addresses_end_with_a_slash(client: TestClient, adapter: Path) -> None:
    made = client.post(f"{FINETUNES}/", json={"model": MODEL, "name": "mine"}).json()["result"]
    path = f"{FINETUNES}/{made['id']}/finetune-assets/"
    answer = client.post(path, data={"file_name": CONFIG}, files={"file": (adapter / CONFIG).read_bytes()})
    assert answer.json()["success"] is True
    assert client.get(f"{FINETUNES}/").json()["result"][0]["id"] == made["id"]


def test_a_file_tells_its_own_name(client: TestClient, store: FinetuneStore, adapter: Path) -> None:
    create(client)
    files = {"file": (CONFIG, (adapter / CONFIG).read_bytes())}
    assert client.post(f"{FINETUNES}/mine/finetune-assets", files=files).status_code == 200
    form = (
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n' + (adapter / WEIGHTS).read_bytes()
    )
    form += f'\r\n--b\r\nContent-Disposition: form-data; name="file_name"\r\n\r\n{WEIGHTS}\r\n--b--'.encode()
    kind = {"content-type": "multipart/form-data; boundary=b"}
    assert client.post(f"{FINETUNES}/mine/finetune-assets", content=form, headers=kind).status_code == 200
    assert not store.adapter("mine").missing


def test_public_ones_are_cloudflares(client: TestClient) -> None:
    rows = client.get(f"{FINETUNES}/public").json()["result"]
    assert [row["name"] for row in rows] == [
        *("cf-public-magicoder", "cf-public-cnn-summarization", "cf-public-jigsaw-classification"),
    ]
    assert list(rows[0]) == ["public", "id", "model", "name", "description", "created_at", "modified_at"]
    second = client.get(f"{FINETUNES}/public?limit=1&offset=1&orderBy=name").json()["result"]
    assert [row["name"] for row in second] == ["cf-public-jigsaw-classification"]
    assert client.get(f"{FINETUNES}/public?limit=none&orderBy=size").json()["result"] == rows


@pytest.mark.parametrize(
    ("body", "status", "code", "text"),
    [
        ({"model": MODEL}, 400, 3003, "missing headers or body: name"),
        ({"name": "mine"}, 400, 3003, "missing headers or body: model"),
        ({"model": MODEL, "name": 5}, 400, 5006, "name must be a string, it is int"),
        ({"model": MODEL, "name": "  "}, 400, 5006, "name must be 1 to 120 printable characters, it is '  '"),
        ({"model": MODEL, "name": "a\nb"}, 400, 5006, "name must be 1 to 120 printable"),
        ({"model": MODEL, "name": "界" * 100}, 400, 5006, "name is too long for a folder"),
        ({"model": MODEL, "name": "cf-public-mine"}, 400, 5006, "names that begin with cf-public- are Cloudflare's"),
        ({"model": MODEL, "name": "mine", "public": True}, 400, 5006, "only Cloudflare's own finetunes are public"),
        ({"model": "@cf/no/such", "name": "mine"}, 400, 5007, "No such model @cf/no/such or task"),
        (
            {"model": "@cf/meta/llama-2-7b-chat-int8", "name": "mine"},
            405,
            5005,
            "The model @cf/meta/llama-2-7b-chat-int8 does not support LoRa inference",
        ),
        ([], 400, 5006, "the body must be a JSON object"),
    ],
)
def test_what_cannot_be_created(client: TestClient, body: Any, status: int, code: int, text: str) -> None:
    found = problem(client.post(FINETUNES, json=body))
    assert found[:2] == (status, code)
    assert text in found[2]
    assert client.get(FINETUNES).json()["result"] == []


@pytest.mark.parametrize("name", ["mine", "..", ".", "a/b", "../x", "C:\\x", "naïve 界", "%2e%2e", ".new"])
def test_a_name_is_taken_once(client: TestClient, store: FinetuneStore, tmp_path: Path, name: str) -> None:
    made = create(client, name).json()["result"]
    assert "already" in problem(create(client, name))[2]
    assert store.find(name).id == store.find(made["id"]).id == made["id"]
    assert {path.name for path in tmp_path.iterdir()} == {"finetunes"}


def test_there_may_be_so_many(tmp_path: Path) -> None:
    client = client_of(FinetuneStore(tmp_path, limits=FinetuneLimits(rank=8, bytes=1000, most=2)))
    assert [create(client, name).status_code for name in ("a", "b", "c")] == [200, 200, 400]
    assert client.delete(f"{FINETUNES}/a").status_code == 200
    assert create(client, "c").status_code == 200
    assert [row["name"] for row in client.get(FINETUNES).json()["result"]] == ["b", "c"]


def test_the_limits_are_those_of_the_day() -> None:
    from datetime import date

    assert (limits_on(date(2024, 5, 1)).rank, limits_on(date(2025, 5, 1)).rank) == (8, 32)
    assert limits_on(date(2025, 5, 1)).most == 30


def config(**changes: Any) -> bytes:
    told = {"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["q_proj"], "model_type": "mistral"}
    return json.dumps({key: value for key, value in (told | changes).items() if value is not None}).encode()


@pytest.mark.parametrize(
    ("name", "data", "text"),
    [
        (CONFIG, config(r=33), "the rank r is 33, 32 is the largest"),
        (CONFIG, config(rank_pattern={"q_proj": 64}), "the rank r is 64, 32 is the largest"),
        (CONFIG, config(model_type=None), "model_type must be one of mistral, gemma, llama, it is missing"),
        (CONFIG, config(model_type="qwen2"), "model_type must be one of mistral, gemma, llama, it is 'qwen2'"),
        (CONFIG, config(r="8"), 'r must be a number above 0, it is "8"'),
        (CONFIG, config(r=0), "r must be a number above 0, it is 0"),
        (CONFIG, config(use_dora=True), "use_dora is true, and DoRA scales the base model's own weights"),
        (CONFIG, config(bias="all"), 'bias is "all", and an adapter with biases'),
        (CONFIG, config(modules_to_save=["lm_head"]), 'modules_to_save is ["lm_head"], and whole modules'),
        (CONFIG, config(peft_type="PROMPT_TUNING"), 'peft_type is "PROMPT_TUNING", and only LORA'),
        (CONFIG, config(init_lora_weights="pissa_niter_4"), 'init_lora_weights is "pissa_niter_4", which changes'),
        (CONFIG, config(alpha_pattern={"(a+)+$": 4}), "only plain names of layers are taken"),
        (CONFIG, b"{", "adapter_config.json is not JSON"),
        (CONFIG, b"[" * 100_000, "adapter_config.json is not JSON"),
        (CONFIG, b"[]", "adapter_config.json must be a JSON object, it is []"),
        (WEIGHTS, b"PK\x03\x04", "adapter_model.safetensors is cut short"),
        (WEIGHTS, b"\xff" * 64, "adapter_model.safetensors has a header of more than"),
        (WEIGHTS, b"\x02" + b"\0" * 7 + b"{}x", "adapter_model.safetensors has 11 bytes where its header says 10"),
        (WEIGHTS, b"\x04" + b"\0" * 7 + b"null", "adapter_model.safetensors is not a safetensors file"),
        (WEIGHTS, save({}), "adapter_model.safetensors has no weights"),
        (WEIGHTS, save({"model.norm.weight": torch.zeros(4)}), "model.norm.weight is no matrix of a LoRA adapter"),
        ("model.safetensors", b"x", "file_name must be adapter_config.json or adapter_model.safetensors"),
        ("../finetune.json", b"x", "file_name must be adapter_config.json or adapter_model.safetensors"),
    ],
)
def test_what_is_no_adapter_is_refused_and_not_kept(
    client: TestClient, store: FinetuneStore, tmp_path: Path, name: str, data: bytes, text: str
) -> None:
    create(client)
    status, code, told, _ = problem(upload(client, "mine", name, data))
    assert (status, code) == (400, 5006)
    assert text in told
    assert [path.name for path in (tmp_path / "finetunes" / "mine").iterdir()] == ["finetune.json"]


def test_a_file_is_uploaded_once(client: TestClient, adapter: Path) -> None:
    create(client)
    data = (adapter / CONFIG).read_bytes()
    assert upload(client, "mine", CONFIG, data).status_code == 200
    status, _, told, hint = problem(upload(client, "mine", CONFIG, data))
    assert (status, "uploaded before" in told, "another" in hint) == (400, True, True)


def test_what_a_crash_left_is_gone_a_day_later(client: TestClient, store: FinetuneStore, tmp_path: Path) -> None:
    create(client)
    left = [tmp_path / "finetunes" / name for name in (".new-x", ".gone-x", "mine/.part-x")]
    for path in left:
        path.mkdir() if path.parent.name == "finetunes" else path.touch()
    yesterday = time.time() - 25 * 3600
    os.utime(left[0], (yesterday, yesterday))
    create(client, "other")
    assert [path.exists() for path in left] == [False, True, True]
    os.utime(left[2], (yesterday, yesterday))
    upload(client, "mine", CONFIG, b"{}")
    assert [path.exists() for path in left] == [False, True, False]
    assert [finetune.name for finetune in store.finetunes()] == ["mine", "other"]


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    status, code, told, _ = problem(create(client_of(FinetuneStore(tmp_path / "file" / "finetunes"))))
    assert (status, code) == (500, 8500)
    assert "the finetune cannot be kept: Not a directory" in told


def test_an_unknown_finetune_takes_no_files(client: TestClient) -> None:
    create(client, "poet")
    status, code, told, hint = problem(upload(client, "pet", CONFIG, b"{}"))
    assert (status, code) == (404, 3037)
    assert told.startswith("AiError: Finetune pet not found (")
    assert hint == "there are poet; did you mean 'poet'?"
    assert problem(client.delete(f"{FINETUNES}/pet"))[:2] == (404, 3037)


def test_a_file_that_is_too_long_is_refused_and_not_kept(tmp_path: Path) -> None:
    client = client_of(FinetuneStore(tmp_path, limits=FinetuneLimits(rank=8, bytes=1000, most=2)))
    create(client)
    assert problem(upload(client, "mine", WEIGHTS, b"x" * 1000))[:2] == (413, 3006)
    assert problem(upload(client, "mine", WEIGHTS, b"x" * 100_000))[:2] == (413, 3006)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["finetune.json"]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"{}", "application/json"),
        (b"x", "multipart/form-data"),
        (b"nothing of it", "multipart/form-data; boundary=b"),
        (b"--b\r\n\r\nx\r\n--b--", "multipart/form-data; boundary=b"),
        (b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nx', "multipart/form-data; boundary=b"),
        (b"--b\r\n" + b"x" * 40_000, "multipart/form-data; boundary=b"),
        (
            b'--b\r\nContent-Disposition: form-data; name="file_name"\r\n\r\nx\r\n--b--',
            "multipart/form-data; boundary=b",
        ),
    ],
)
def test_what_is_no_form_is_refused(client: TestClient, body: bytes, kind: str) -> None:
    create(client)
    answer = client.post(f"{FINETUNES}/mine/finetune-assets", content=body, headers={"content-type": kind})
    assert answer.status_code == 400


def test_the_token_is_asked_for(store: FinetuneStore) -> None:
    client = TestClient(rest_app(FakeBinding(), token="t0ken", finetunes=store), base_url="http://127.0.0.1:8788")
    answers = [
        client.get(FINETUNES),
        create(client),
        upload(client, "x", CONFIG, b"{}"),
        client.delete(f"{FINETUNES}/x"),
    ]
    assert {answer.status_code for answer in answers} == {401}
    wrong = client.put(FINETUNES, headers={"authorization": "Bearer t0ken"})
    assert (wrong.status_code, wrong.json()["errors"][0]["code"]) == (405, 7001)


def test_an_upload_outlives_the_server(tmp_path: Path, adapter: Path) -> None:
    """Killed in the middle of an upload, the next server has the finetune, and takes the file."""
    data = (adapter / WEIGHTS).read_bytes()
    environment = {"CFAI_HOME": str(tmp_path / "home")}
    with Process("serve", "--fake", "--port", "0", environment=environment) as process:
        address = process.read_until("listens on").split()[-1]
        assert httpx.post(f"{address}{FINETUNES}", json={"model": MODEL, "name": "mine"}).status_code == 200
        host, port = address.removeprefix("http://").split(":")
        head = (
            f"POST {FINETUNES}/mine/finetune-assets HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: 500000\r\n"
            "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
            f'--b\r\nContent-Disposition: form-data; name="file"; filename="{WEIGHTS}"\r\n\r\n'
        )
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(head.encode() + data)
            folder = tmp_path / "home" / "finetunes" / "mine"
            wait_until(lambda: len([*folder.iterdir()]) == 2)
            process.end(signal.SIGKILL)
    with Process("serve", "--fake", "--port", "0", environment=environment) as process:
        address = process.read_until("listens on").split()[-1]
        for name in (CONFIG, WEIGHTS):
            path = f"{address}{FINETUNES}/mine/finetune-assets"
            files = {"file": (name, (adapter / name).read_bytes())}
            assert httpx.post(path, data={"file_name": name}, files=files).status_code == 200
    assert not FinetuneStore(tmp_path / "home" / "finetunes").adapter("mine").missing
