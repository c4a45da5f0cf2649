"""Servers that the user's settings name, and Cloudflare among them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cfai import Call, FakeBinding, RoutedBinding, Settings, UpstreamSettings, configured_binding, load_settings
from cfai.bindings.upstream import upstream_binding
from cfai.bindings.upstream.cloudflare import CheckedBinding
from cfai.errors import BadInput, ContextExceeded, DeprecatedModel, Forbidden
from cfai.server.app import rest_app
from tests.bindings.upstream.servers import ASKED, MODEL, Server, chunk, stream_of
from tests.serving import serving

HELLO = stream_of(chunk({"content": "Hello"}, "stop"))
LLAMA = "@cf/meta/llama-3.1-8b-instruct-fp8"


async def test_a_model_with_an_upstream_in_the_settings_is_answered_by_that_server(tmp_path: Path) -> None:
    server = Server(HELLO)
    async with serving(server) as address:
        (tmp_path / "cfai.toml").write_text(
            f'[models."{MODEL}"]\nupstream = {{ url = "{address}", model = "the-model", token_env = "TOKEN" }}\n'
        )
        settings = load_settings(tmp_path, {})
        binding = configured_binding(settings, on_notice=lambda line: None)
        assert isinstance(binding, RoutedBinding)
        unset = (await binding.send(Call(MODEL, ASKED))).error
        await binding.aclose()
        assert isinstance(unset, Forbidden)
        assert "TOKEN is not set" in str(unset)
        upstream = settings.models[MODEL].upstream
        assert upstream is not None
        routed = upstream_binding(upstream, environ={"TOKEN": "s3cret"}, on_notice=lambda line: None)
        assert (await routed.send(Call(MODEL, ASKED))).body["response"] == "Hello"
        await routed.aclose()
    assert server.asked[0]["model"] == "the-model"
    assert server.headers[0]["authorization"] == "Bearer s3cret"


async def test_the_catalog_of_the_settings_counts_and_other_models_are_local() -> None:
    server = Server(HELLO)
    async with serving(server) as address:
        row = {"context_window": 100}
        settings = Settings(models={}).with_upstreams({MODEL: UpstreamSettings(address, model="m")})
        model = settings.models[MODEL]
        assert model.weights is None
        settings = Settings(models={MODEL: type(model)(upstream=model.upstream, row=row)})
        binding = configured_binding(settings, on_notice=lambda line: None)
        too_long = (await binding.send(Call(MODEL, {"prompt": "hi", "max_tokens": 200}))).error
        assert isinstance(too_long, ContextExceeded)
        assert MODEL in await binding.models_here()  # type: ignore[attr-defined]
        await binding.aclose()
    assert server.asked == []


def test_what_the_file_says_beside_an_address_stays_where_the_command_line_names_the_same() -> None:
    known = UpstreamSettings("http://127.0.0.1:1", model="m", token_env="T")
    settings = Settings(models={}).with_upstreams({MODEL: known})
    same = settings.with_upstreams({MODEL: UpstreamSettings("http://127.0.0.1:1")})
    other = settings.with_upstreams({MODEL: UpstreamSettings("http://127.0.0.1:2")})
    assert same.models[MODEL].upstream == known
    assert other.models[MODEL].upstream == UpstreamSettings("http://127.0.0.1:2")


CLOUDFLARE = UpstreamSettings("https://api.cloudflare.com/client/v4", kind="cloudflare")


@pytest.mark.parametrize(
    ("environ", "missing"),
    [
        ({}, "CLOUDFLARE_ACCOUNT_ID and CLOUDFLARE_API_TOKEN are"),
        ({"CLOUDFLARE_ACCOUNT_ID": "a"}, "CLOUDFLARE_API_TOKEN is"),
    ],
)
async def test_cloudflare_without_an_account_or_a_token_is_an_error_of_the_call(
    environ: dict[str, str], missing: str
) -> None:
    error = (await upstream_binding(CLOUDFLARE, environ=environ).send(Call(LLAMA, ASKED))).error
    assert isinstance(error, Forbidden)
    assert f"{missing} not set" in str(error)


async def test_a_cloudflare_that_is_gone_is_named_without_the_password_in_its_address() -> None:
    settings = UpstreamSettings("http://user:pa55@127.0.0.1:1/client/v4", kind="cloudflare")
    environ = {"CLOUDFLARE_ACCOUNT_ID": "a", "CLOUDFLARE_API_TOKEN": "t0ken"}
    reply = await upstream_binding(settings, environ=environ).send(Call(LLAMA, ASKED))
    assert str(reply.error).startswith("8500: http://127.0.0.1:1/client/v4 does not answer: ")


async def test_cloudflare_is_asked_in_its_own_protocol_with_the_account_and_the_token() -> None:
    fake = FakeBinding({LLAMA: ["Hel", "lo"], "@cf/openai/whisper": {"text": "hello"}})
    async with serving(rest_app(fake, token="t0ken")) as address:
        for url, environ in (
            (f"{address}/client/v4", {"CLOUDFLARE_ACCOUNT_ID": "abc", "CLOUDFLARE_API_TOKEN": "t0ken"}),
            (f"{address}/client/v4/accounts/abc/ai", {"CLOUDFLARE_API_TOKEN": "t0ken"}),
        ):
            binding = upstream_binding(UpstreamSettings(url, kind="cloudflare"), environ=environ)
            assert (await binding.send(Call(LLAMA, ASKED))).body["response"] == "Hello"
            stream = await binding.send(Call(LLAMA, {**ASKED, "stream": True}))
            assert b"".join([event async for event in stream.body]).endswith(b"data: [DONE]\n\n")
            assert (await binding.send(Call("@cf/openai/whisper", {"audio": [1, 2]}))).body["text"] == "hello"
            await binding.aclose()


@pytest.mark.parametrize(
    ("model", "inputs", "kind"),
    [
        (LLAMA, {}, BadInput),
        (LLAMA, {"prompt": "hi", "temperature": 9}, BadInput),
        (LLAMA, {"prompt": "hi", "max_tokens": 200_000}, ContextExceeded),
        ("@cf/meta/llama-2-7b-chat-int8", {"prompt": "hi"}, DeprecatedModel),
        ("@cf/openai/whisper", {"audio": "hello"}, BadInput),
        ("@cf/baai/bge-small-en-v1.5", {"text": 3}, BadInput),
    ],
)
async def test_a_mistake_costs_nothing(model: str, inputs: Any, kind: type[Exception]) -> None:
    inner = FakeBinding.plausible()
    reply = await CheckedBinding(inner).send(Call(model, inputs))
    assert isinstance(reply.error, kind)
    assert inner.calls == []


async def test_what_is_right_or_unknown_here_is_passed_on_as_it_is() -> None:
    inner = FakeBinding({"@cf/new/model": "hello", LLAMA: "hello", "@cf/meta/llama-3.2-11b-vision-instruct": "a cat"})
    checked = CheckedBinding(inner)
    options = {"asOf": "2023-11-14", "fidelity": "clean", "strictRetired": True, "gateway": {"id": "g"}}
    await checked.send(Call("@cf/new/model", {"prompt": "hi"}, options))
    await checked.send(Call(LLAMA, {"prompt": "hi"}))
    picture = {"prompt": "what is it?", "image": [1, 2, 3]}
    await checked.send(Call("@cf/meta/llama-3.2-11b-vision-instruct", picture))
    assert [call.model for call in inner.calls][:2] == ["@cf/new/model", LLAMA]
    assert inner.calls[0].options == {"gateway": {"id": "g"}}
    assert inner.calls[2].inputs == picture
