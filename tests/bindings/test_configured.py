"""Every setting has its effect on the binding that is made by it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from cfai import Ai, AiError, FakeBinding, LocalBinding, ModelSettings, Settings, UpstreamSettings, configured_binding
from cfai.binding import Stats
from cfai.bindings.configured import limited
from cfai.config.settings import KINDS, load_settings
from cfai.errors import ContextExceeded, DeprecatedModel, RateLimited, WeightsMissing
from cfai.server.app import rest_app
from tests.serving import serving
from tests.waiting import until

MINE = "@cf/mine/llama"
RETIRED = "@cf/meta/llama-2-7b-chat-int8"
PROMPT = {"prompt": "New York", "max_tokens": 4}


@asynccontextmanager
async def asking(folder: Path, **settings: Any) -> AsyncIterator[tuple[Ai, Callable[[], dict[str, Any]]]]:
    """Whoever answers by these settings and by what it says of the model, once it has answered."""
    models = {MINE: ModelSettings(weights=str(folder))}
    binding = configured_binding(Settings(**{"models": models, **settings}), on_notice=lambda line: None)

    def told() -> dict[str, Any]:
        assert isinstance(binding, Stats)
        model: dict[str, Any] = binding.stats()["models"].get(MINE, {})
        return model

    async with Ai(binding) as ai:
        yield ai, told


async def of_stats(folder: Path, figure: str, **settings: Any) -> Any:
    async with asking(folder, **settings) as (ai, told):
        await ai.run(MINE, PROMPT)
        return told()[figure]


async def device(folder: Path) -> None:
    async with asking(folder, device="cuda:99") as (ai, _):
        with pytest.raises(AiError, match="cuda"):
            await ai.run(MINE, PROMPT)


async def dtype(folder: Path) -> None:
    assert await of_stats(folder, "dtype", dtype="float32") == "float32"
    assert await of_stats(folder, "dtype", dtype="bfloat16") == "bfloat16"
    model = ModelSettings(weights=str(folder), dtype="bfloat16")
    assert await of_stats(folder, "dtype", dtype="float32", models={MINE: model}) == "bfloat16", "its own is nearer"


async def slots(folder: Path) -> None:
    assert await of_stats(folder, "slots", slots=3) == 3


async def queue_limit(folder: Path) -> None:
    assert await of_stats(folder, "queue_limit", queue_limit=5) == 5


async def cache_tokens(folder: Path) -> None:
    assert await of_stats(folder, "cache_capacity", cache_tokens=256) == 256


async def threads(folder: Path) -> None:
    with pytest.raises(ValueError, match="threads must be at least 1, it is 0"):
        configured_binding(Settings(threads=0))


async def draft_tokens(folder: Path) -> None:
    with pytest.raises(ValueError, match="draft_tokens must be at least 0, it is -1"):
        configured_binding(Settings(draft_tokens=-1))


async def torch_compile(folder: Path) -> None:
    async with asking(folder, torch_compile=True) as (ai, told):
        await ai.run(MINE, PROMPT)
        await until(lambda: told()["compiled"] is not None)
    assert await of_stats(folder, "compiled") is None


async def as_of(folder: Path) -> None:
    async with asking(folder, as_of=date(2023, 11, 14)) as (ai, _):
        assert "usage" not in await ai.run(MINE, PROMPT)
    async with asking(folder) as (ai, _):
        assert "usage" in await ai.run(MINE, PROMPT)


async def fidelity(folder: Path) -> None:
    for of_day, has_padding in (("production", True), ("clean", False)):
        async with asking(folder, fidelity=of_day) as (ai, _), await ai.run(MINE, {**PROMPT, "stream": True}) as stream:
            text = b"".join([event async for event in stream])
            assert (b'"p":"' in text) == has_padding


async def demo(folder: Path) -> None:
    async with asking(folder, demo=True) as (ai, _):
        assert (await ai.run(RETIRED, PROMPT)).response
    async with asking(folder, demo=False) as (ai, _):
        with pytest.raises(WeightsMissing):
            await ai.run(RETIRED, PROMPT)


async def limits(folder: Path) -> None:
    rare = ModelSettings(weights=str(folder), row={"requests_per_minute": 1})
    async with asking(folder, limits="rpm", models={MINE: rare}) as (ai, _):
        await ai.run(MINE, PROMPT)
        with pytest.raises(RateLimited):
            await ai.run(MINE, PROMPT)
    async with asking(folder, limits="none", models={MINE: rare}) as (ai, _):
        await ai.run(MINE, PROMPT)
        await ai.run(MINE, PROMPT)


async def strict_retired(folder: Path) -> None:
    async with asking(folder, demo=True, strict_retired=True) as (ai, _):
        with pytest.raises(DeprecatedModel):
            await ai.run(RETIRED, PROMPT)


async def offline(folder: Path) -> None:
    async with asking(folder, offline=True, models={MINE: ModelSettings(weights="cfai-test/nowhere")}) as (ai, _):
        with pytest.raises(WeightsMissing, match="connections are switched off"):
            await ai.run(MINE, PROMPT)


async def memory(folder: Path) -> None:
    async with asking(folder, memory=1000) as (ai, _):
        with pytest.raises(AiError, match="models may take 1 KB"):
            await ai.run(MINE, PROMPT)


async def keep_alive(folder: Path) -> None:
    async with asking(folder, keep_alive=0) as (ai, told):
        await ai.run(MINE, PROMPT)
        await until(lambda: told() == {})
    stays = ModelSettings(weights=str(folder), keep_alive=-1)
    async with asking(folder, keep_alive=0, models={MINE: stays}) as (ai, told):
        await ai.run(MINE, PROMPT)
        assert told()["leaves_in_seconds"] is None, "its own is nearer"


EFFECTS: dict[str, Callable[[Path], Awaitable[None]]] = {
    "memory": memory,
    "keep_alive": keep_alive,
    "device": device,
    "dtype": dtype,
    "threads": threads,
    "slots": slots,
    "queue_limit": queue_limit,
    "cache_tokens": cache_tokens,
    "draft_tokens": draft_tokens,
    "torch_compile": torch_compile,
    "as_of": as_of,
    "fidelity": fidelity,
    "demo": demo,
    "limits": limits,
    "strict_retired": strict_retired,
    "offline": offline,
}


@pytest.mark.parametrize("key", KINDS)
async def test_a_setting_has_its_effect(key: str, llama: Path) -> None:
    await EFFECTS[key](llama)


async def test_a_pinned_model_is_loaded_before_it_is_asked_for(llama: Path) -> None:
    pinned = ModelSettings(weights=str(llama), pinned=True, keep_alive=0)
    binding = configured_binding(Settings(models={MINE: pinned}))
    assert isinstance(binding, LocalBinding)
    async with Ai(binding) as ai:
        await binding.warm_up()
        assert binding.stats()["models"][MINE]["pinned"]
        await ai.run(MINE, PROMPT)
        assert binding.stats()["models"][MINE]["pinned"], "and it stays"


async def test_weights_that_are_not_there_are_told_when_they_are_asked_for(llama: Path, tmp_path: Path) -> None:
    (tmp_path / "cfai.toml").write_text('[models]\n"@cf/mine/gone" = "./gone"\n')
    models = {**load_settings(tmp_path, {}).models, MINE: ModelSettings(weights=str(llama))}
    async with asking(llama, models=models) as (ai, _):
        await ai.run(MINE, PROMPT)
        with pytest.raises(WeightsMissing, match=f"There are no weights at {tmp_path / 'gone'}"):
            await ai.run("@cf/mine/gone", PROMPT)


async def test_a_program_takes_the_settings_of_its_folder(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cfai.toml").write_text(f'slots = 2\n[models]\n"{MINE}" = "{llama}"\n')
    monkeypatch.chdir(tmp_path)
    binding = configured_binding()
    async with Ai(binding) as ai:
        await ai.run(MINE, PROMPT)
        assert isinstance(binding, Stats)
        assert binding.stats()["models"][MINE]["slots"] == 2


async def test_a_server_of_the_settings_answers_for_its_model(llama: Path) -> None:
    other = LocalBinding({MINE: llama}, demo=False)
    async with serving(rest_app(other)) as address:
        there = ModelSettings(upstream=UpstreamSettings(f"{address}/v1", model=MINE), row={"context_window": 512})
        models = {"@cf/mine/there": there, MINE: ModelSettings(weights=str(llama))}
        async with asking(llama, models=models) as (ai, _):
            assert "response" in await ai.run("@cf/mine/there", PROMPT)
            assert "response" in await ai.run(MINE, PROMPT)
            with pytest.raises(ContextExceeded):
                await ai.run("@cf/mine/there", {"prompt": "hi", "max_tokens": 513})
    await other.aclose()


def test_what_runs_here_asks_no_server() -> None:
    with pytest.raises(ValueError, match="@cf/mine/there has an upstream, which `configured_binding` asks"):
        LocalBinding({"@cf/mine/there": ModelSettings(upstream=UpstreamSettings("http://127.0.0.1:1"))})


async def test_a_fake_answers_for_the_models_of_the_settings() -> None:
    settings = Settings(models={MINE: ModelSettings(weights="./nowhere", row={"context_window": 100})}, limits="rpm")
    fake = limited(FakeBinding.plausible(catalog=settings.catalog), settings)
    async with Ai(fake) as ai:
        assert "response" in await ai.run(MINE, PROMPT)
        with pytest.raises(ContextExceeded):
            await ai.run(MINE, {"prompt": "hi", "max_tokens": 101})
