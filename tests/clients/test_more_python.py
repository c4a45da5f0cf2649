"""Python clients that pin each other's versions: run where they are installed, README.md says how."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator

import pytest

from tests.clients.held import MODEL, PIECES, TOKEN, read_piece_by_piece

PYTHONS = [sys.executable, *filter(None, os.environ.get("CFAI_CLIENT_PYTHONS", "").split(os.pathsep))]
"""Interpreters of virtual environments that have one or another of the clients."""

PRELUDE = """
import json

def say(piece):
    if piece:
        print(json.dumps(str(piece)), flush=True)
"""

CLIENTS: dict[str, tuple[str, str]] = {
    "litellm": (
        "litellm",
        """
        import litellm

        asked = dict(model=f"cloudflare/{MODEL}", api_base=BASE, api_key=TOKEN, temperature=0)
        asked["messages"] = [{"role": "user", "content": PROMPT}]
        if STREAMS:
            for chunk in litellm.completion(**asked, stream=True):
                say(chunk.choices[0].delta.content)
        else:
            say(litellm.completion(**asked).choices[0].message.content)
            try:
                litellm.completion(**{**asked, "model": "cloudflare/@cf/no/such"})
            except litellm.NotFoundError as error:
                say(error)
        """,
    ),
    "pydantic-ai": (
        "pydantic_ai",
        """
        import asyncio
        from pydantic_ai import Agent
        from pydantic_ai.models.openai import OpenAIChatModel as Model
        from pydantic_ai.providers.openai import OpenAIProvider

        agent = Agent(Model(MODEL, provider=OpenAIProvider(base_url=BASE, api_key=TOKEN)))
        settings = {"temperature": 0}

        async def stream():
            async with agent.run_stream(PROMPT, model_settings=settings) as answer:
                async for piece in answer.stream_text(delta=True, debounce_by=None):
                    say(piece)

        if STREAMS:
            asyncio.run(stream())
        else:
            say(agent.run_sync(PROMPT, model_settings=settings).output)
            try:
                other = Model("@cf/no/such", provider=OpenAIProvider(base_url=BASE, api_key=TOKEN))
                agent.run_sync(PROMPT, model=other)
            except Exception as error:
                say(error)
        """,
    ),
    "llm-cloudflare": (
        "llm_cloudflare",
        """
        import llm

        model = llm.get_model("@cf/meta/llama-2-7b-chat-int8")
        model.api_base_url = BASE
        for piece in model.prompt(PROMPT):
            say(piece)
        """,
    ),
    "llama-index": (
        "llama_index.llms.openai_like",
        """
        from llama_index.llms.openai_like import OpenAILike

        asked = dict(api_base=BASE, api_key=TOKEN, is_chat_model=True, temperature=0, max_retries=0)
        if STREAMS:
            for answer in OpenAILike(model=MODEL, **asked).stream_complete(PROMPT):
                say(answer.delta)
        else:
            say(OpenAILike(model=MODEL, **asked).complete(PROMPT).text)
            try:
                OpenAILike(model="@cf/no/such", **asked).complete(PROMPT)
            except Exception as error:
                say(error)
        """,
    ),
}
"""The module that a client is known by, and a script that says the pieces of its answer, or the whole and an error."""


@functools.cache
def python_with(module: str) -> str | None:
    found = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module.partition('.')[0]!r}) is None)"
    return next((python for python in PYTHONS if subprocess.run([python, "-c", found]).returncode == 0), None)


def needs(name: str) -> None:
    if python_with(CLIENTS[name][0]) is None:
        pytest.skip(f"{name} is not installed here; tests/clients/README.md tells how to try it")


def said(name: str, address: str, *, streams: bool) -> Iterator[str]:
    module, script = CLIENTS[name]
    python = python_with(module)
    assert python is not None
    base = f"{address}/client/v4/accounts/acc/ai/v1"
    given = {"BASE": base, "MODEL": MODEL, "PROMPT": "where is new york?", "TOKEN": TOKEN, "STREAMS": streams}
    lines = [PRELUDE, *(f"{key} = {value!r}" for key, value in given.items()), textwrap.dedent(script)]
    # LiteLLM asks the hub for a tokenizer, and GitHub for prices, and waits for both where there is no network.
    offline = {"HF_HUB_OFFLINE": "1", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    account = {"CLOUDFLARE_ACCOUNT_ID": "acc", "CLOUDFLARE_API_TOKEN": TOKEN}
    command = [python, "-c", "\n".join(lines)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, **offline, **account}
    ) as process:
        assert process.stdout is not None
        yield from (json.loads(line) for line in process.stdout if line.startswith('"'))
    assert process.returncode == 0


@pytest.mark.parametrize("name", CLIENTS)
async def test_a_stream_comes_piece_by_piece(name: str) -> None:
    needs(name)
    assert await read_piece_by_piece(lambda address: said(name, address, streams=True)) == PIECES


@pytest.mark.parametrize("name", [name for name, (_, script) in CLIENTS.items() if "STREAMS" in script])
def test_a_whole_answer_and_an_error(address: str, name: str) -> None:
    needs(name)
    answer, error = said(name, address, streams=False)
    assert answer.startswith("New York is located in")
    assert "No such model @cf/no/such or task" in error
