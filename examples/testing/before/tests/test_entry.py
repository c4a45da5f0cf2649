import asyncio

QUESTION = {"question": "Where do I change my password?"}


def test_the_answer_is_streamed(env, fetch):
    response = asyncio.run(fetch("/ask", "POST", QUESTION))
    assert response.status == 200
    assert response.headers["content-type"] == "text/event-stream"
    assert asyncio.run(response.text()).endswith("data: [DONE]\n\n")


def test_the_model_reads_the_notes(env, fetch):
    env.DOCS.notes = ["Passwords are in the settings."]
    asyncio.run(fetch("/ask", "POST", QUESTION))
    model, inputs = env.AI.calls[-1]
    assert model == "@cf/meta/llama-3.2-1b-instruct"
    assert "Passwords are in the settings." in inputs["messages"][0]["content"]
    assert inputs["messages"][1] == {"role": "user", "content": "Where do I change my password?"}


def test_the_second_to_ask_is_answered_from_the_cache(env, fetch):
    asyncio.run(fetch("/ask", "POST", QUESTION))
    asked = len(env.AI.calls)
    response = asyncio.run(fetch("/ask", "POST", QUESTION))
    assert response.headers["x-cache"] == "hit"
    assert asyncio.run(response.text()) == "It is in the settings."
    assert len(env.AI.calls) == asked


def test_answers_are_logged(env, fetch):
    asyncio.run(fetch("/ask", "POST", QUESTION))
    response = asyncio.run(fetch("/asked"))
    assert asyncio.run(response.read_json()) == [
        {"question": "Where do I change my password?", "answer": "It is in the settings.", "attempts": 1}
    ]


def test_a_busy_model_is_asked_again(env, fetch):
    env.AI.failures = 2
    response = asyncio.run(fetch("/ask", "POST", QUESTION))
    assert response.status == 200
    assert env.LOG.rows[0]["attempts"] == 3


def test_no_other_path_is_answered(env, fetch):
    assert asyncio.run(fetch("/")).status == 404
    assert env.AI.calls == []
