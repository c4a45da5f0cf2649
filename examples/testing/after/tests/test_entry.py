from pathlib import Path

import pytest

CHAT = "@cf/meta/llama-3.2-1b-instruct"
EMBEDDINGS = "@cf/baai/bge-base-en-v1.5"
QUESTION = {"question": "Where do I change my password?"}
MIGRATION = Path(__file__).parents[1] / "migrations" / "0001_asked.sql"

pytestmark = pytest.mark.no_network


@pytest.fixture(autouse=True)
async def docs(env, fake_ai):
    """Two notes to answer from, and a model that knows the answer."""
    fake_ai.answers[EMBEDDINGS] = lambda call: {
        "shape": [1, 2],
        "data": [meaning(text) for text in call.inputs["text"]],
    }
    fake_ai.answers[CHAT] = ["It", " is", " in", " the", " settings."]
    await env.LOG.prepare(MIGRATION.read_text()).run()
    for text in ("Passwords are in the settings.", "Bills come by post."):
        await env.DOCS.upsert([{"id": text, "values": meaning(text), "metadata": {"text": text}}])


def meaning(text):
    return [1.0, 0.0] if "password" in text.lower() else [0.0, 1.0]


async def ask(worker):
    response = await worker.fetch("/ask", json=QUESTION)
    text = await response.text()
    await worker.finish()
    return response, text


async def asked(worker):
    return await (await worker.fetch("/asked")).json()


async def test_the_answer_is_streamed(worker):
    response, text = await ask(worker)
    assert response.status == 200
    assert response.headers["content-type"] == "text/event-stream"
    assert text.endswith("data: [DONE]\n\n")


async def test_the_model_reads_the_nearest_note_first(worker, fake_ai):
    await ask(worker)
    call = fake_ai.calls[-1]
    assert call.model == CHAT
    assert call.inputs["messages"] == [
        {"role": "system", "content": "Answer from these notes:\nPasswords are in the settings.\nBills come by post."},
        {"role": "user", "content": "Where do I change my password?"},
    ]


async def test_the_second_to_ask_is_answered_from_the_cache(worker, fake_ai):
    await ask(worker)
    calls = len(fake_ai.calls)
    response, text = await ask(worker)
    assert response.headers["x-cache"] == "hit"
    assert text == "It is in the settings."
    assert len(fake_ai.calls) == calls


async def test_answers_are_logged(worker):
    await ask(worker)
    assert await asked(worker) == [
        {"question": "Where do I change my password?", "answer": "It is in the settings.", "attempts": 1}
    ]


async def test_a_busy_model_is_asked_again(worker, faults):
    faults.add("capacity", model=CHAT, times=2)
    response, _ = await ask(worker)
    assert response.status == 200
    assert (await asked(worker))[0]["attempts"] == 3


async def test_no_other_path_is_answered(worker, fake_ai):
    assert (await worker.fetch("/")).status == 404
    assert fake_ai.calls == []


@pytest.mark.parametrize("fault", ["timeout-in-stream:3", "no-done"])
async def test_half_an_answer_is_kept_for_nobody(worker, env, faults, fault):
    faults.add(fault)
    await ask(worker)
    assert await env.CACHE.get(QUESTION["question"]) is None
    assert await asked(worker) == []


async def test_a_character_may_come_in_two_chunks(worker, fake_ai, faults):
    fake_ai.answers[CHAT] = ["In", " Zürich", "."]
    faults.add("split-character")
    await ask(worker)
    assert (await asked(worker))[0]["answer"] == "In Zürich."
