"""The curl lines of Cloudflare's pages, with the server's address in place of Cloudflare's."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cfai import sse
from tests.clients.held import MODEL, PIECES, TOKEN, read_piece_by_piece

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl on this machine")

BEARER = ("-H", f"Authorization: Bearer {TOKEN}")
JSON = ("-H", "Content-Type: application/json")
WHERE = '{ "prompt": "where is new york?", "temperature": 0 }'


def curl(*arguments: str) -> tuple[int, Any]:
    """The status and the JSON body of the answer."""
    told = subprocess.run(
        ["curl", "--silent", "--show-error", "--max-time", "60", "--write-out", "\n%{http_code}", *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    body, _, status = told.stdout.rpartition("\n")
    return int(status), json.loads(body)


def run(address: str) -> str:
    return f"{address}/client/v4/accounts/acc/ai/run/{MODEL}"


@pytest.mark.parametrize("kind", [(), JSON, ("-H", "Content-Type:application/json")], ids=["form", "json", "tight"])
def test_a_prompt_without_and_with_a_content_type(address: str, kind: tuple[str, ...]) -> None:
    status, body = curl(run(address), "-X", "POST", *BEARER, *kind, "-d", WHERE)
    assert status == 200
    assert list(body) == ["result", "success", "errors", "messages"]
    assert body["result"]["response"].startswith("New York is located in")
    assert body["success"] is True


def test_messages(address: str) -> None:
    messages = '{"messages": [{ "role": "system", "content": "You are a friendly assistant" }, '
    messages += '{ "role": "user", "content": "where is new york?" }], "max_tokens": 4, "temperature": 0}'
    status, body = curl(run(address), *BEARER, "-d", messages)
    assert (status, body["result"]["usage"]["completion_tokens"]) == (200, 4)


def test_an_encoded_model_and_a_body_from_standard_input(address: str) -> None:
    encoded = run(address).replace(MODEL, MODEL.replace("/", "%2F"))
    told = subprocess.run(
        ["curl", "--silent", encoded, *BEARER, "--data-binary", "@-"], input=WHERE, capture_output=True, text=True
    )
    assert json.loads(told.stdout)["result"]["response"].startswith("New York is located in")


def test_chat_completions(address: str) -> None:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "where is new york?"}], "temperature": 0}
    url = f"{address}/client/v4/accounts/acc/ai/v1/chat/completions"
    status, answer = curl("--request", "POST", "--url", url, *BEARER, *JSON, "--data", json.dumps(body))
    assert (status, answer["object"]) == (200, "chat.completion")
    assert answer["choices"][0]["message"]["content"].startswith("New York is located in")


def test_models_search(address: str) -> None:
    status, body = curl(
        f"{address}/client/v4/accounts/acc/ai/models/search?search=llama-2-7b-chat-int8&include_deprecated=true",
        *BEARER,
    )
    assert (status, [model["name"] for model in body["result"]]) == (200, [MODEL])


@pytest.mark.parametrize(
    ("model", "headers", "data", "status", "code", "told"),
    [
        (MODEL, (), WHERE, 401, 10000, "Authentication error"),
        (MODEL, ("-H", "Authorization: Bearer wrong"), WHERE, 401, 10000, "Authentication error"),
        ("@cf/no/such", BEARER, WHERE, 400, 5007, "AiError: No such model @cf/no/such or task"),
        (MODEL, BEARER, '{"prompt": 7}', 400, 5006, "AiError: Bad input: Error: oneOf at '/' not met"),
        (MODEL, BEARER, "{ 'prompt': 'hi' }", 400, 3003, "AiError: Request is missing headers or body: body is not"),
    ],
)
def test_errors(
    address: str, model: str, headers: tuple[str, ...], data: str, status: int, code: int, told: str
) -> None:
    got, body = curl(run(address).replace(MODEL, model), *headers, "-d", data)
    assert (got, body["success"], body["errors"][0]["code"]) == (status, False, code)
    assert body["errors"][0]["message"].startswith(told)


def streamed(path: str, body: dict[str, Any], piece_of: Callable[[Any], str]) -> Callable[[str], Iterator[str]]:
    def read(address: str) -> Iterator[str]:
        command = ["curl", "-N", "--silent", "--max-time", "200", f"{address}{path}", *BEARER, "-d", json.dumps(body)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if (event := sse.loads(line.removeprefix("data: "))) and (piece := piece_of(event)):
                    yield piece
            assert line == "\n", "the last event is whole"
        assert process.returncode == 0

    return read


async def test_a_stream_comes_piece_by_piece() -> None:
    path = f"/client/v4/accounts/acc/ai/run/{MODEL}"
    read = streamed(path, {"prompt": "where is new york?", "stream": True}, lambda event: event["response"])
    assert await read_piece_by_piece(read) == PIECES


@pytest.mark.parametrize("prefix", ["/v1", "/client/v4/accounts/acc/ai/v1"])
async def test_a_stream_of_chat_completions_comes_piece_by_piece(prefix: str) -> None:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "where is new york?"}], "stream": True}

    def piece_of(event: Any) -> str:
        return "".join(choice["delta"].get("content") or "" for choice in event["choices"])

    assert await read_piece_by_piece(streamed(f"{prefix}/chat/completions", body, piece_of)) == PIECES
