"""Answers of a fake in a file, as `--fake --answers` reads it."""

import json
from pathlib import Path
from typing import Any

import pytest

from cfai import Ai, FakeBinding
from cfai.bindings.answers_file import AnswersError, read_answers
from cfai.bindings.file_fake import FileFake
from cfai.errors import AiError

pytestmark = pytest.mark.anyio

MODEL = "@cf/meta/llama-2-7b-chat-int8"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "answers.json"


def ai_of(file: Path, answers: Any, notices: list[str] | None = None) -> Ai:
    file.write_text(answers if isinstance(answers, str) else json.dumps(answers))
    return Ai(FileFake(file, make=FakeBinding, on_notice=print if notices is None else notices.append))


async def said(ai: Ai, prompt: str = "where?", **inputs: Any) -> Any:
    try:
        return (await ai.run(MODEL, {"prompt": prompt, **inputs}))["response"]
    except AiError as error:
        return error.code


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("New York", "New York"),
        (["New", " York"], "New York"),
        ({"response": "as it is"}, "as it is"),
        ({"error": 3040}, 3040),
        ({"pieces": ["New", " York"], "finish_reason": "length"}, "New York"),
        ({"json": {"response": "as it is"}}, "as it is"),
    ],
)
async def test_an_answer_of_any_kind(file: Path, answer: Any, expected: Any) -> None:
    assert await said(ai_of(file, {MODEL: answer})) == expected


async def test_pieces_are_the_events_of_a_stream_and_an_error_ends_them(file: Path) -> None:
    ai = ai_of(file, {MODEL: {"pieces": ["New", " York"], "error": 3007}})
    stream = await ai.run(MODEL, {"prompt": "where?", "stream": True})
    events = [await anext(stream), await anext(stream)]
    assert events == [b'data: {"response":"New"}\n\n', b'data: {"response":" York"}\n\n']
    with pytest.raises(AiError, match="3007"):
        await anext(stream)
    await stream.aclose()


async def test_answers_in_turn_begin_again_unless_they_go_on_with_another(file: Path) -> None:
    ai = ai_of(file, {MODEL: {"in_turn": [{"error": 3040}, "one"]}})
    assert [await said(ai) for _ in range(4)] == [3040, "one", 3040, "one"]
    ai = ai_of(file, {MODEL: {"in_turn": [{"error": 3040}], "then": "ever after"}})
    assert [await said(ai) for _ in range(3)] == [3040, "ever after", "ever after"]


async def test_the_first_rule_that_fits_answers(file: Path) -> None:
    rules = [
        {"when": "York", "answer": "a city"},
        {"when": {"max_tokens": 1}, "answer": "Yes"},
        {"answer": "I do not know"},
    ]
    ai = ai_of(file, {MODEL: rules})
    assert await said(ai, "where is new york?", max_tokens=9) == "a city"
    assert await said(ai, "ready?", max_tokens=1) == "Yes"
    assert await said(ai, "ready?") == "I do not know"
    asked = {"messages": [{"role": "user", "content": "New York?"}]}
    assert (await ai.run(MODEL, asked))["response"] == "a city"


async def test_a_list_of_objects_is_json(file: Path) -> None:
    labels = [{"label": "POSITIVE", "score": 0.98}, {"label": "NEGATIVE", "score": 0.02}]
    ai = ai_of(file, {"@cf/huggingface/distilbert-sst-2-int8": labels})
    assert await ai.run("@cf/huggingface/distilbert-sst-2-int8", {"text": "good"}) == labels


async def test_a_file_beside_it_is_the_body(file: Path) -> None:
    (file.parent / "cat.png").write_bytes(b"\x89PNG")
    ai = ai_of(file, {"@cf/stabilityai/stable-diffusion-xl-base-1.0": {"file": "cat.png"}})
    reply = await ai.run(
        "@cf/stabilityai/stable-diffusion-xl-base-1.0", {"prompt": "a cat"}, {"returnRawResponse": True}
    )
    assert reply.headers["content-type"] == "image/png"
    assert b"".join([chunk async for chunk in reply.body]) == b"\x89PNG"


async def test_comments_and_trailing_commas_are_allowed(file: Path) -> None:
    assert await said(ai_of(file, f'{{ // a comment\n "{MODEL}": "hi", }}')) == "hi"


async def test_a_changed_file_is_read_again_and_a_broken_one_is_told_of_once(file: Path) -> None:
    notices: list[str] = []
    ai = ai_of(file, {MODEL: "one"}, notices)
    assert await said(ai) == "one"
    file.write_text(f'{{"{MODEL}": "another"')
    assert [await said(ai), await said(ai)] == ["one", "one"]
    file.write_text(f'{{"{MODEL}": "another"}}')
    assert await said(ai) == "another"
    file.unlink()
    assert [await said(ai), await said(ai)] == ["another", "another"]
    assert [notice.partition(": ")[2] or notice for notice in notices] == [
        "Expecting ',' delimiter: line 1 column 44 (char 43); the former answers stay",
        f"{file} has changed and was read again",
        "No such file or directory; the former answers stay",
    ]


async def test_a_model_that_there_is_not_is_told_with_the_nearest(file: Path) -> None:
    notices: list[str] = []
    ai_of(file, {"@cf/meta/llama-2-7b-chat-int9": "hi"}, notices)
    assert "No such model @cf/meta/llama-2-7b-chat-int9" in notices[0]
    assert f"did you mean {MODEL}?" in notices[0]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "is no JSON: Expecting property name"),
        ("[]", "has answers by model id"),
        (f'{{"{MODEL}": {{"error": 30}}}}', f"{MODEL}: no error has the code 30; there are: 3003, "),
        (f'{{"{MODEL}": {{"error": "busy"}}}}', 'a code of Workers AI, such as 3040, not "busy"'),
        (f'{{"{MODEL}": {{"in_turn": "one"}}}}', '"in_turn" is a list of answers'),
        (f'{{"{MODEL}": {{"in_turn": []}}}}', "in_turn() needs an answer"),
        (f'{{"{MODEL}": {{"file": "cat.png"}}}}', "cat.png cannot be read: No such file"),
        (f'{{"{MODEL}": [{{"if": "york", "answer": "hi"}}]}}', 'a rule has "when" and "answer", not \'if\''),
        (f'{{"{MODEL}": [{{"when": 3, "answer": "hi"}}]}}', '"when" is a text that is asked, or inputs and their'),
        (f'{{"{MODEL}": {{"when": "york", "answer": "hi"}}}}', '"when" stands in a list of rules'),
        (f'{{"{MODEL}": [{{"when": "york", "anwser": "hi"}}]}}', 'a rule with "when" has an "answer"'),
        (f'{{"{MODEL}": 3}}', "3 is no answer: give a text, a list of pieces, or an object"),
    ],
)
async def test_what_is_wrong_with_a_file_is_said(file: Path, text: str, problem: str) -> None:
    file.write_text(text)
    with pytest.raises(AnswersError) as raised:
        read_answers(file)
    assert problem in str(raised.value)
    assert str(file) in str(raised.value)
