"""`lora` in a call: which adapter it picks, on every route, and what it says where there is none."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import httpx2 as httpx
import pytest

from cfai import Ai, AiError, ByteStream, Call, FakeBinding, HttpBinding, LocalBinding, ModelSettings
from cfai.bindings.finetunes import FinetuneStore
from cfai.catalog import Catalog
from cfai.errors import FinetuneMissing, LoraIncompatible, LoraUnsupported, WeightsMissing
from cfai.server.app import binding_app, rest_app
from tests.adapters import make_adapter
from tests.conftest import ANY_LOOP
from tests.serving import serving

LORA, RETIRED, OWN = "@cf/meta/llama-3.2-3b-instruct", "@hf/mistral/mistral-7b-instruct-v0.2", "@cf/me/mine"
PLAIN = "@cf/meta/llama-3.2-1b-instruct"
ASKED = {"prompt": "New York is located in", "raw": True, "temperature": 0, "max_tokens": 12}


@pytest.fixture(scope="module")
def folders(endless_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("adapters")
    return {name: make_adapter(folder / name, endless_llama, seed=seed) for seed, name in enumerate(("poet", "pirate"))}


@pytest.fixture
def store(tmp_path: Path) -> FinetuneStore:
    return FinetuneStore(tmp_path / "finetunes")


@pytest.fixture
async def binding(endless_llama: Path, folders: dict[str, Path], store: FinetuneStore) -> AsyncIterator[LocalBinding]:
    place, own = str(endless_llama), {"poet": folders["poet"]}
    binding = LocalBinding(
        {
            LORA: place,
            RETIRED: place,
            PLAIN: place,
            OWN: ModelSettings(weights=place, adapters=own),
        },
        finetunes=store,
        on_notice=lambda line: None,
    )
    yield binding
    await binding.aclose()


def upload(store: FinetuneStore, folder: Path, *, name: str, model: str = LORA, files: int = 2) -> str:
    made = store.create(Catalog.builtin().get(model), name)
    for file in sorted(folder.iterdir())[:files]:
        upload = store.upload(made)
        upload.write(file.read_bytes())
        upload.finish(file.name)
        upload.close()
    return made.id


async def answer(binding: Any, model: str, **more: Any) -> str:
    result = await Ai(binding).run(model, {**ASKED, **more})
    text: str = result["response"]
    return text


@ANY_LOOP
async def test_a_call_picks_an_adapter_by_name_or_id(
    binding: LocalBinding, store: FinetuneStore, folders: dict[str, Path]
) -> None:
    id_ = upload(store, folders["poet"], name="poet")
    upload(store, folders["pirate"], name="my pirate")
    base = await answer(binding, LORA)
    poet = await answer(binding, LORA, lora="poet")
    pirate = await answer(binding, LORA, lora="my pirate")
    assert len({base, poet, pirate}) == 3
    assert await answer(binding, LORA, lora=id_) == poet
    # Retired, but it took adapters; and one's own model with an adapter in the settings.
    assert await answer(binding, RETIRED, lora=id_) == poet
    assert await answer(binding, OWN, lora="poet") == poet
    assert await answer(binding, LORA) == base


async def test_messages_may_be_raw_and_answers_may_stream(
    binding: LocalBinding, store: FinetuneStore, folders: dict[str, Path]
) -> None:
    upload(store, folders["poet"], name="poet")
    whole = await answer(binding, LORA, lora="poet")
    messages = {**ASKED, "messages": [{"role": "user", "content": ASKED["prompt"]}], "lora": "poet"}
    del messages["prompt"]
    assert (await Ai(binding).run(LORA, messages))["response"] == whole
    stream = await Ai(binding).run(LORA, {**ASKED, "lora": "poet", "stream": True})
    assert isinstance(stream, ByteStream)
    events = b"".join([chunk async for chunk in stream]).decode()
    pieces = [json.loads(line[6:])["response"] for line in events.split("\n\n") if line.startswith("data: {")]
    assert "".join(pieces) == whole


async def test_every_route_takes_it(binding: LocalBinding, store: FinetuneStore, folders: dict[str, Path]) -> None:
    upload(store, folders["poet"], name="poet")
    whole, base = await answer(binding, LORA, lora="poet"), await answer(binding, LORA)
    chat = {"model": LORA, "messages": [{"role": "user", "content": "hi"}], "temperature": 0, "max_tokens": 8}
    async with serving(rest_app(binding, finetunes=store)) as address, httpx.AsyncClient() as client:
        account = f"{address}/client/v4/accounts/acc/ai"
        native = await client.post(f"{account}/run/{LORA}", json={**ASKED, "lora": "poet"})
        assert native.json()["result"]["response"] == whole != base
        told = [
            (await client.post(f"{account}/v1/chat/completions", json=chat | more)).json()
            for more in ({}, {"lora": "poet"})
        ]
        plain, adapted = (one["choices"][0]["message"]["content"] for one in told)
        assert plain != adapted
        asked = {"model": LORA, "input": "hi", "temperature": 0, "max_output_tokens": 8, "lora": "poet"}
        response = (await client.post(f"{account}/v1/responses", json=asked)).json()
        assert response["output"][0]["content"][0]["text"] == adapted
        missing = await client.post(f"{account}/run/{LORA}", json={**ASKED, "lora": "poem"})
        assert missing.status_code == 404
        assert missing.json()["errors"][0]["message"].startswith("AiError: Finetune poem not found (")
        assert missing.json()["messages"][0]["message"] == "there are poet; did you mean 'poet'?"
        inner = {"inputs": {**ASKED, "lora": "poet"}, "options": {}}
        headers = {"host": "workers-binding.ai", "cf-consn-model-id": LORA}
        protocol = await client.post(f"{address}/run?version=3", json=inner, headers=headers)
        assert protocol.json()["response"] == whole


async def problem(binding: Any, model: str, lora: str) -> AiError:
    with pytest.raises(AiError) as caught:
        await answer(binding, model, lora=lora)
    return caught.value


async def test_what_no_adapter_answers_for(
    binding: LocalBinding, store: FinetuneStore, folders: dict[str, Path]
) -> None:
    none = await problem(binding, PLAIN, "poet")
    assert isinstance(none, LoraUnsupported)
    assert str(none) == f"5005: The model {PLAIN} does not support LoRa inference"
    unknown = await problem(binding, OWN, "poem")
    assert isinstance(unknown, FinetuneMissing)
    assert (str(unknown), unknown.hint) == ("3037: Finetune poem not found", "there are poet; did you mean 'poet'?")
    assert (await problem(binding, LORA, "poet")).hint == "none was uploaded or registered"
    half = upload(store, folders["poet"], name="half", files=1)
    for name in ("half", half):
        incomplete = await problem(binding, LORA, name)
        assert isinstance(incomplete, WeightsMissing)
        assert str(incomplete) == "3039: Finetune is missing required files (model.safetensors and config.json)"
        assert incomplete.hint == f"upload adapter_model.safetensors to .../ai/finetunes/{half}/finetune-assets"
    public = await problem(binding, LORA, "cf-public-magicoder")
    assert isinstance(public, WeightsMissing)
    assert "hf download predibase/magicoder --local-dir cf-public-magicoder" in public.hint
    assert (await problem(binding, LORA, "39fb185c-762a-4633-a2ad-7a4462940608")).hint == public.hint


async def test_an_adapter_for_other_shapes_is_refused_with_the_reason(
    binding: LocalBinding, store: FinetuneStore, folders: dict[str, Path], tmp_path: Path, llama: Path
) -> None:
    folder = shutil.copytree(folders["poet"], tmp_path / "poet")
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, "r": 8}))
    upload(store, folder, name="wide")
    wrong = await problem(binding, LORA, "wide")
    assert isinstance(wrong, LoraIncompatible)
    assert wrong.hint.startswith("wide: lora_A of model.layers.0")
    assert await answer(binding, LORA)


async def test_a_folder_in_the_settings_must_be_an_adapter(endless_llama: Path, tmp_path: Path) -> None:
    model = ModelSettings(weights=str(endless_llama), adapters={"poet": tmp_path})
    binding = LocalBinding({OWN: model}, finetunes=FinetuneStore(tmp_path / "none"))
    missing = await problem(binding, OWN, "poet")
    assert "has no adapter_config.json and no adapter_model.safetensors" in str(missing)
    await binding.aclose()


async def test_a_removed_adapter_is_unknown_and_a_new_one_of_the_name_is_another(
    binding: LocalBinding, store: FinetuneStore, folders: dict[str, Path]
) -> None:
    upload(store, folders["poet"], name="mine")
    poet = await answer(binding, LORA, lora="mine")
    store.remove("mine")
    assert isinstance(await problem(binding, LORA, "mine"), FinetuneMissing)
    upload(store, folders["pirate"], name="mine")
    assert await answer(binding, LORA, lora="mine") not in (poet, await answer(binding, LORA))


async def test_a_fake_answers_for_any_adapter_of_a_model_that_takes_some() -> None:
    fake = FakeBinding({LORA: "arr", PLAIN: "hi"})
    assert (await Ai(fake).run(LORA, {"prompt": "x", "lora": "pirate"}))["response"] == "arr"
    assert fake.calls[0].inputs["lora"] == "pirate"
    assert isinstance(await problem(fake, PLAIN, "pirate"), LoraUnsupported)


async def test_no_form_of_the_inputs_takes_one_where_the_model_takes_none() -> None:
    async with Ai(FakeBinding()) as ai:
        for inputs in ({"input": "hi"}, {"prompt": "hi"}, {"messages": [{"role": "user", "content": "hi"}]}):
            with pytest.raises(LoraUnsupported):
                await ai.run("@cf/openai/gpt-oss-120b", {**inputs, "lora": "poet"})


async def test_a_worker_names_one_too(
    binding: LocalBinding, store: FinetuneStore, folders: dict[str, Path], tmp_path: Path
) -> None:
    upload(store, folders["poet"], name="poet")
    whole = await answer(binding, LORA, lora="poet")
    socket = tmp_path / "ai.sock"
    async with serving(binding_app(binding), unix_socket=socket), Ai(HttpBinding(socket=socket)) as over:
        assert (await over.run(LORA, {**ASKED, "lora": "poet"}))["response"] == whole


async def test_many_answers_with_many_adapters_at_once(
    binding: LocalBinding, store: FinetuneStore, folders: dict[str, Path]
) -> None:
    for name, folder in folders.items():
        upload(store, folder, name=name)
    loras: list[dict[str, Any]] = [{}, {"lora": "poet"}, {"lora": "pirate"}] * 4
    alone = [await answer(binding, LORA, **lora) for lora in loras[:3]]
    together = [""] * len(loras)

    async def ask(index: int) -> None:
        together[index] = await answer(binding, LORA, **loras[index])

    async with anyio.create_task_group() as tasks:
        for index in range(len(loras)):
            tasks.start_soon(ask, index)
    assert together == alone * 4
    (stats,) = binding.stats()["models"].values()
    assert sorted(stats["adapters"]) == ["pirate", "poet"]


async def test_a_call_of_an_unknown_adapter_loads_no_model(binding: LocalBinding) -> None:
    reply = await binding.send(Call(LORA, {**ASKED, "lora": "poet"}))
    assert reply.status == 404
    assert binding.stats()["models"] == {}
