"""Lists of models, tasks and authors, and what else the API tells without a model."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest
from starlette.testclient import TestClient

from cfai import FakeBinding
from cfai.server.app import rest_app
from tests.server.canned import Canned

AI = "/client/v4/accounts/acc/ai"
OWN = "@cf/me/mine"
GONE = "@cf/meta/llama-2-7b-chat-int8"


@pytest.fixture
def client() -> Iterator[TestClient]:
    yield TestClient(rest_app(Canned({}, here=[OWN])), base_url="http://127.0.0.1:8788")


def search(client: TestClient, query: str = "") -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = client.get(f"{AI}/models/search?per_page=1000&{query}").json()["result"]
    return rows


def names(client: TestClient, query: str = "") -> list[str]:
    return [row["name"] for row in search(client, query)]


def test_a_model_is_listed_as_cloudflare_lists_it(client: TestClient) -> None:
    (row,) = search(client, "search=llama-3.3-70b")
    assert list(row) == ["id", "source", "name", "description", "task", "created_at", "tags", "properties"]
    assert row["id"] == "7a143886-c9bb-4a1c-be95-377b1973bc3b"
    assert (row["name"], row["source"], row["tags"]) == ("@cf/meta/llama-3.3-70b-instruct-fp8-fast", 1, [])
    assert row["created_at"] == "2024-12-06 17:09:18.338"
    assert list(row["task"]) == ["id", "name", "description"]
    assert row["task"]["id"] == "c329a1f9-323d-4e91-b2aa-582dd4188d34"
    properties = {given["property_id"]: given["value"] for given in row["properties"]}
    assert properties == {
        "context_window": "24000",
        "price": [
            {"unit": "per M input tokens", "price": 0.293, "currency": "USD"},
            {"unit": "per M output tokens", "price": 2.253, "currency": "USD"},
        ],
        "async_queue": "true",
        "function_calling": "true",
        "terms": "https://github.com/meta-llama/llama-models/blob/main/models/llama3_3/LICENSE",
    }


def test_pages_are_pages(client: TestClient) -> None:
    everything = names(client)
    assert len(everything) > 60
    assert len({*everything}) == len(everything)
    found: list[str] = []
    for page in range(1, 100):
        body = client.get(f"{AI}/models/search?per_page=25&page={page}").json()
        info = body["result_info"]
        assert (info["page"], info["per_page"], info["total_count"]) == (page, 25, len(everything))
        assert info["count"] == len(body["result"])
        if not body["result"]:
            break
        found += [row["name"] for row in body["result"]]
    assert found == everything
    assert page == info["total_pages"] + 1


def test_without_a_word_about_pages_they_are_of_fifty(client: TestClient) -> None:
    body = client.get(f"{AI}/models/search").json()
    assert list(body) == ["result", "success", "errors", "messages", "result_info"]
    assert len(body["result"]) == 50
    second = client.get(f"{AI}/models/search?page=2").json()["result"]
    assert second[0]["name"] > body["result"][-1]["name"]


@pytest.mark.parametrize(
    "query", ["page=0", "page=-1", "page=x", "per_page=0", "per_page=", "page=" + "9" * 30, "page=²"]
)
def test_a_page_that_is_no_number_is_the_usual_one(client: TestClient, query: str) -> None:
    body = client.get(f"{AI}/models/search?{query}").json()
    assert (body["result_info"]["page"], body["result_info"]["per_page"]) == (1, 50)


def test_authors_tasks_sources_and_words_are_filters(client: TestClient) -> None:
    everything = names(client)
    assert names(client, "author=Meta") == [name for name in everything if "/meta/" in name]
    assert names(client, "search=QWEN") == [name for name in everything if "qwen" in name]
    embeddings = names(client, "task=Text%20Embeddings")
    assert "@cf/baai/bge-m3" in embeddings
    assert embeddings == names(client, "task=text-embeddings")
    assert embeddings == names(client, "task=0137cdcf-162a-4108-94f2-1ca59e8c65ee")
    assert set(names(client, "source=2")) == {name for name in everything if name.startswith("@hf/")}
    assert names(client, "author=nobody") == []
    assert names(client, "search=70%20billion") != []


def test_experimental_and_deprecated_models_come_and_go(client: TestClient) -> None:
    everything = search(client)
    calm = search(client, "hide_experimental=true")
    beta = [row["name"] for row in everything if {"property_id": "beta", "value": "true"} in row["properties"]]
    assert beta
    assert [row["name"] for row in calm] == [row["name"] for row in everything if row["name"] not in beta]
    assert GONE not in names(client)
    assert GONE in names(client, "include_deprecated=true")
    assert {*names(client)} < {*names(client, "include_deprecated=true")}


def test_what_runs_here_is_listed_whether_cloudflare_lists_it_or_not() -> None:
    client = TestClient(rest_app(Canned({}, here=[OWN, GONE])), base_url="http://127.0.0.1:8788")
    assert {OWN, GONE} < {*names(client)}
    assert {OWN, GONE}.isdisjoint(names(TestClient(rest_app(FakeBinding()), base_url="http://127.0.0.1:8788")))
    (mine,) = search(client, "author=me")
    assert mine["id"] == search(client, "author=me")[0]["id"]


def test_the_list_is_that_of_the_servers_day_with_its_limits_and_what_was_planned_by_then() -> None:
    early, late = (
        TestClient(rest_app(FakeBinding.plausible(as_of=day), as_of=day), base_url="http://127.0.0.1:8788")
        for day in (date(2023, 11, 14), date(2025, 1, 15))
    )
    first = {row["name"]: row for row in search(early)}
    assert {GONE, "@cf/mistral/mistral-7b-instruct-v0.1"} < first.keys()
    assert all(row["created_at"] is None or row["created_at"] < "2023-11-15" for row in first.values())
    assert first[GONE]["properties"] == [{"property_id": "max_input_tokens", "value": "2048"}]
    (row,) = search(late, "search=llama-2-7b-chat-int8")
    assert row["properties"] == [{"property_id": "context_window", "value": "8192"}]
    (router,) = search(early, "search=llama-2-7b-chat-int8&format=openrouter")
    assert router["context_length"] is None
    assert "@cf/google/gemma-4-26b-a4b-it" not in names(late, "include_deprecated=true")
    env_ai = late.get("/ai-api/models/search?search=chat-int8", headers={"host": "workers-binding.ai"})
    assert [row["name"] for row in env_ai.json()["result"]] == [GONE]


def test_what_retired_before_the_day_is_listed_on_request_only() -> None:
    client = TestClient(rest_app(FakeBinding(), as_of=date(2026, 1, 1)), base_url="http://127.0.0.1:8788")
    retired = "@hf/thebloke/zephyr-7b-beta-awq"
    assert (retired in names(client), retired in names(client, "include_deprecated=true")) == (False, True)
    assert GONE in names(client)


def test_the_schema_is_that_of_the_servers_day() -> None:
    client = TestClient(rest_app(FakeBinding(), as_of=date(2025, 9, 1)), base_url="http://127.0.0.1:8788")
    schema = client.get(f"{AI}/models/schema", params={"model": "@cf/openai/gpt-oss-20b"}).json()["result"]["input"]
    assert "messages" not in str(schema)


def test_openrouters_format_has_prices_per_token(client: TestClient) -> None:
    (row,) = search(client, "format=openrouter&search=llama-3.3-70b")
    assert row["hugging_face_id"] == "meta-llama/Llama-3.3-70B-Instruct"
    assert row["context_length"] == 24000
    assert row["pricing"] == {"prompt": "0.000000293", "completion": "0.000002253"}


def test_a_model_has_schemas(client: TestClient) -> None:
    result = client.get(f"{AI}/models/schema", params={"model": "@cf/meta/llama-3.1-8b-instruct"}).json()["result"]
    assert list(result) == ["input", "output"]
    prompt, messages = result["input"]["oneOf"]
    assert (prompt["required"], messages["required"]) == (["prompt"], ["messages"])
    assert "response" in str(result["output"])
    chat = client.get(f"{AI}/models/schema", params={"model": "@cf/zai-org/glm-4.7-flash"}).json()["result"]
    assert "max_completion_tokens" in str(chat["input"])
    image = client.get(f"{AI}/models/schema", params={"model": "@cf/black-forest-labs/flux-1-schnell"}).json()["result"]
    assert image["input"]["properties"]["prompt"] == {"type": "string", "minLength": 1, "maxLength": 2048}
    assert "image" in image["output"]["properties"]
    for model, status, code in (("@cf/no/such", 400, 5007), ("what", 404, 3042), ("", 400, 3003)):
        refused = client.get(f"{AI}/models/schema", params={"model": model})
        assert (refused.status_code, refused.json()["errors"][0]["code"]) == (status, code)


def test_tasks_and_authors_are_listed(client: TestClient) -> None:
    tasks = client.get(f"{AI}/tasks/search").json()["result"]
    assert "Text Generation" in [row["name"] for row in tasks]
    assert all(row["id"] and row["description"] for row in tasks if row["name"] != "Evaluation")
    authors = client.get(f"{AI}/authors/search").json()["result"]
    assert {"meta", "qwen", "openai"} < {row["name"] for row in authors}
    assert client.get(f"{AI}/authors/search?page=2").json()["result"] == []
    assert [row["name"] for row in client.get(f"{AI}/tasks/search?search=translat").json()["result"]] == ["Translation"]


@pytest.mark.parametrize("path", ["tomarkdown/supported"])
def test_some_lists_are_empty(client: TestClient, path: str) -> None:
    answer = client.get(f"{AI}/{path}")
    assert answer.text == '{"result":[],"success":true,"errors":[],"messages":[]}'
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("path", ["/client/v4/user/tokens/verify", "/client/v4/accounts/acc/tokens/verify"])
def test_a_token_is_verified(path: str) -> None:
    client = TestClient(rest_app(FakeBinding(), token="t0ken"), base_url="http://127.0.0.1:8788")
    assert client.get(path).status_code == 401
    assert client.get(path, headers={"authorization": "Bearer wrong"}).status_code == 401
    for headers in ({"authorization": "Bearer t0ken"}, {"x-auth-key": "t0ken", "x-auth-email": "me@example.com"}):
        answer = client.get(path, headers=headers)
        assert (answer.status_code, answer.json()["result"]["status"]) == (200, "active")


@pytest.mark.parametrize(
    "path", ["models/search", "models/schema", "tasks/search", "authors/search", "tomarkdown/supported"]
)
def test_lists_ask_for_the_token_and_are_only_read(path: str) -> None:
    client = TestClient(rest_app(FakeBinding(), token="t0ken"), base_url="http://127.0.0.1:8788")
    assert client.get(f"{AI}/{path}").status_code == 401
    refused = client.post(f"{AI}/{path}")
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (405, 7001)


def test_env_ai_lists_them_too(client: TestClient) -> None:
    answer = client.get("/ai-api/models/search?search=bge-m3", headers={"host": "workers-binding.ai"})
    assert [row["name"] for row in answer.json()["result"]] == ["@cf/baai/bge-m3"]
