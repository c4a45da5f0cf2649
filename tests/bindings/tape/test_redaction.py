"""What must not be written is not, and a call matches all the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cfai import ByteStream, Call, FakeBinding, Reply, TapeBinding, sse
from cfai.binding import Form
from cfai.bindings.tape import DEFAULT_RULES, Field, NotOnTape, Pattern, Place, Prompts, Rule
from cfai.errors import ConnectionDropped, EngineFailure
from cfai.testing import read_stream
from tests.bindings.tape.test_replay import MODEL, Served, read

ACCOUNT = "0123456789abcdef0123456789abcdef"
SECRETS = [
    "Bearer abcDEF123456",
    "sk-proj-A1b2C3d4E5f6G7h8",
    "cfut_abcdefghijklmnopqrstuvwxyz0123456789",
    "cfat_abcdefghijklmnopqrstuvwxyz0123456789",
    "hf_abcdefghijklmnopqrstuvwx",
    "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
    "AKIAIOSFODNN7EXAMPLE",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P",
    f"https://api.cloudflare.com/client/v4/accounts/{ACCOUNT}/ai/run",
    f"https://gateway.ai.cloudflare.com/v1/{ACCOUNT}/mine",
    f"account_id = '{ACCOUNT}'",
    "AIzaSyA1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q",
    "https://me:pa55word@example.com/",
    "https://example.com/?a=1&access_token=pa55word&b=2",
    "https://example.com/?key=pa55word",
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tape.json"


def bare(secret: str) -> str:
    """What of it must not be seen."""
    hidden = [part for part in (ACCOUNT, "pa55word") if part in secret]
    return hidden[0] if hidden else secret.removeprefix("Bearer ")


@pytest.mark.parametrize("secret", SECRETS)
async def test_a_secret_is_nowhere_on_the_tape_and_its_call_replays(path: Path, secret: str) -> None:
    inputs = {"messages": [{"role": "user", "content": f"use {secret}, please"}], "stream": True}
    served = Served([sse.encode({"response": f"I use {secret}."})], error=EngineFailure(f"{secret} is not taken"))
    tape = TapeBinding(path, served)
    reply = await tape.send(Call(MODEL, inputs, headers={"authorization": secret}))
    assert isinstance(reply.body, ByteStream)
    assert secret.encode() in await anext(reply.body)  # the reader of this time has it all
    with pytest.raises(EngineFailure):
        await anext(reply.body)
    tape.close_tape()
    assert bare(secret) not in path.read_text("utf-8")
    reply = await TapeBinding(path).send(Call(MODEL, inputs))
    assert isinstance(reply.body, ByteStream)
    assert b"<redacted>" in await anext(reply.body)
    with pytest.raises(EngineFailure, match=r"<redacted>.* is not taken"):
        await anext(reply.body)


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("is_chat", [False, True])
async def test_a_secret_that_is_spelled_in_pieces_is_not_on_the_tape(path: Path, secret: str, is_chat: bool) -> None:
    pieces = ["It is ", *(secret[at : at + 5] for at in range(0, len(secret), 5)), ' or "ü"?\n', "That is it."]

    def event(piece: str) -> bytes:
        return sse.encode({"choices": [{"delta": {"content": piece}}]} if is_chat else {"response": piece})

    chunks = [*map(event, pieces), sse.DONE]
    tape = TapeBinding(path, Served(chunks))
    await read(await tape.send(Call(MODEL, {"prompt": "hi", "stream": True})))
    tape.close_tape()
    replayed = await read(await TapeBinding(path).send(Call(MODEL, {"prompt": "hi", "stream": True})))
    assert len(replayed) == len(chunks)
    assert (replayed[0], replayed[-3:]) == (chunks[0], chunks[-3:])
    answer = await read_stream(replayed)
    assert bare(secret) not in answer.text
    assert "<redacted>" in answer.text


@pytest.mark.parametrize(
    "pieces",
    [
        ['"sk-"', '"proj-A"', "1", '"b"', "2", '"C3d4E5f6G7h8"'],  # production sends digits as numbers
        ['"sk-proj-A1b2\\u00433d4\\u00455f6G7h8"'],
    ],
)
async def test_a_secret_is_found_however_its_pieces_are_written(path: Path, pieces: list[str]) -> None:
    events = [f'data: {{"response":{piece}}}\n\n'.encode() for piece in pieces]
    tape = TapeBinding(path, Served([*events, sse.DONE]))
    await read(await tape.send(Call(MODEL, {"prompt": "hi", "stream": True})))
    tape.close_tape()
    replayed = await read(await TapeBinding(path).send(Call(MODEL, {"prompt": "hi", "stream": True})))
    bodies = [sse.loads(event) for event in sse.Decoder().feed(b"".join(replayed))[:-1]]
    assert [body["response"] for body in bodies] == ["<redacted>", *[""] * (len(pieces) - 1)]


async def test_a_connection_that_broke_tells_no_secret(path: Path) -> None:
    tape = TapeBinding(path, Fixed(ConnectionDropped(f"no answer from {SECRETS[8]}")))
    with pytest.raises(ConnectionDropped):
        await tape.send(Call(MODEL, {"prompt": "hi"}))
    tape.close_tape()
    assert ACCOUNT not in path.read_text("utf-8")
    with pytest.raises(ConnectionDropped, match="<redacted>"):
        await TapeBinding(path).send(Call(MODEL, {"prompt": "hi"}))


async def test_a_stream_of_any_text_is_looked_through(path: Path) -> None:
    for kind in ("application/x-ndjson", "Text/Event-Stream", ""):
        streamed = await Served([SECRETS[1].encode()]).send(Call(MODEL, {}))
        reply = replace(streamed, headers={"content-type": kind} if kind else {})
        tape = TapeBinding(path, Fixed(reply), record="all")
        await read(await tape.send(Call(MODEL, {"prompt": "hi", "stream": True})))
        tape.close_tape()
        assert SECRETS[1] not in path.read_text("utf-8")


async def test_a_secret_that_the_network_cut_is_not_on_the_tape(path: Path) -> None:
    whole = sse.encode({"response": f"use {SECRETS[1]}, ü"}) + sse.DONE
    chunks = [whole[at : at + 6] for at in range(0, len(whole), 6)]
    tape = TapeBinding(path, Served(chunks))
    await read(await tape.send(Call(MODEL, {"prompt": "hi", "stream": True})))
    tape.close_tape()
    replayed = await read(await TapeBinding(path).send(Call(MODEL, {"prompt": "hi", "stream": True})))
    assert len(replayed) == len(chunks)
    assert b"".join(replayed) == sse.encode({"response": "use <redacted>, ü"}) + sse.DONE


async def test_fields_are_taken_out_by_name_wherever_they_are(path: Path) -> None:
    headers = {"content-type": "application/json", "set-cookie": "session=1", "cf-ray": "8f-AMS", "x-kept": "yes"}
    body = {"response": "hi", "apiKey": "secret value", "list": [{"X-Auth-Key": "secret value"}]}
    tape = TapeBinding(path, Fixed(Reply(body, headers=headers)), redact=[*DEFAULT_RULES, Field("customer-id")])
    metadata = {"customer_id": ["secret value"], "password": "secret value", "cookie": {"type": "secret value"}}
    schema = {"type": "object", "properties": {"cookie": {"type": "string", "description": "oatmeal"}}}
    inputs = {"prompt": "hi", "metadata": {**metadata, "client_secret": 17170}, "schema": schema}
    await tape.send(Call(MODEL, inputs))
    tape.close_tape()
    text = path.read_text("utf-8")
    assert "secret value" not in text
    assert "session=1" not in text
    assert "17170" not in text
    assert "oatmeal" in text
    assert "8f-AMS" not in text
    assert '"x-kept": "yes"' in text
    tape = TapeBinding(path, redact=[*DEFAULT_RULES, Field("customer-id")])
    assert (await tape.send(Call(MODEL, inputs))).headers["set-cookie"] == "<redacted>"


async def test_fields_are_taken_out_of_json_in_texts_and_of_the_events_of_streams(path: Path) -> None:
    arguments = '{"city": "Paris", "password": "secret value", "pin": 17170}'
    pieces = [arguments[at : at + 4] for at in range(0, len(arguments), 4)]
    calls = [{"choices": [{"delta": {"tool_calls": [{"index": 0, "function": {"arguments": one}}]}}]} for one in pieces]
    served = Served([sse.encode({"api_key": "secret value"}), *map(sse.encode, calls), sse.DONE])
    tape = TapeBinding(path, served, redact=[*DEFAULT_RULES, Field("pin")])
    inputs = {"messages": [{"role": "user", "content": f"keep {arguments}"}], "stream": True}
    await read(await tape.send(Call(MODEL, inputs, form="chat")))
    tape.close_tape()
    text = path.read_text("utf-8")
    assert "secret value" not in text
    tape = TapeBinding(path, redact=[*DEFAULT_RULES, Field("pin")])
    told, *events = sse.Decoder().feed(b"".join(await read(await tape.send(Call(MODEL, inputs, form="chat")))))
    assert told == '{"api_key":"<redacted>"}'
    bodies = [sse.loads(event) for event in events[:-1]]
    answer = "".join(body["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"] for body in bodies)
    assert answer == '{"city": "Paris", "password": "<redacted>", "pin": "<redacted>"}'


async def test_prompts_are_hashed_on_request_and_still_told_apart(path: Path) -> None:
    fake = FakeBinding({MODEL: lambda call: f"about {call.inputs['messages'][-1]['content'][-1]}"})
    tape = TapeBinding(path, fake, redact=[*DEFAULT_RULES, Prompts()])
    calls = [Call(MODEL, {"messages": [{"role": "user", "content": f"my secret is {word}"}]}) for word in "ab"]
    for call in calls:
        await tape.send(call)
    tape.close_tape()
    text = path.read_text("utf-8")
    assert "my secret" not in text
    assert text.count('"content": "<hashed ') == 2
    assert '"role": "user"' in text
    known: list[tuple[Rule, ...]] = [(*DEFAULT_RULES, Prompts()), DEFAULT_RULES]
    for rules in known:  # the tape knows what it has hashed
        tape = TapeBinding(path, redact=rules)
        assert [(await tape.send(call)).body["response"] for call in reversed(calls)] == ["about b", "about a"]
        with pytest.raises(NotOnTape) as caught:
            await tape.send(Call(MODEL, {"messages": [{"role": "user", "content": "my secret is c"}]}))
        tape.check()
    assert "- " in str(caught.value)


@pytest.mark.parametrize("form", ["native", "chat"])
async def test_schemas_and_words_of_the_protocol_are_no_prompts(path: Path, form: Form) -> None:
    parameters = {"type": "object", "properties": {"query": {"type": "string", "description": "shown"}}}
    call = {"id": "call00000", "type": "function", "function": {"name": "find", "arguments": '{"query": "hidden"}'}}
    inputs = {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "hidden"}]},
            {"role": "assistant", "content": "hidden", "tool_calls": [call]},
            {"role": "tool", "content": "hidden", "tool_call_id": "call00000"},
        ],
        "tools": [{"type": "function", "function": {"name": "find", "description": "shown", "parameters": parameters}}],
    }
    tape = TapeBinding(path, FakeBinding({MODEL: "hi"}), redact=[Prompts()])
    await tape.send(Call(MODEL, inputs, form=form))
    tape.close_tape()
    text = path.read_text("utf-8")
    assert "hidden" not in text
    assert text.count("shown") == 2
    tape = TapeBinding(path)
    await tape.send(Call(MODEL, inputs, form=form))
    tape.check()


async def test_the_same_prompt_has_another_hash_on_another_tape(tmp_path: Path) -> None:
    texts = []
    for name in ("one.json", "two.json"):
        tape = TapeBinding(tmp_path / name, FakeBinding({MODEL: "hi"}), redact=[Prompts()])
        await tape.send(Call(MODEL, {"prompt": "hello"}))
        tape.close_tape()
        texts.append((tmp_path / name).read_text("utf-8"))
    assert texts[0] != texts[1]
    again = TapeBinding(tmp_path / "one.json", FakeBinding({MODEL: "hi"}), redact=[Prompts()], record="all")
    await again.send(Call(MODEL, {"prompt": "hello"}))
    again.close_tape()
    assert (tmp_path / "one.json").read_text("utf-8").splitlines()[2:8] == texts[0].splitlines()[2:8]


async def test_a_rule_is_a_pattern_or_any_function_of_a_text_and_its_place(path: Path) -> None:
    seen: list[Place] = []

    def shorter(text: str, place: Place) -> str | None:
        seen.append(place)
        return "three words" if place[-1] == "prompt" else text

    rules: list[Rule] = [Pattern(r"customer-([0-9]+)"), shorter]
    tape = TapeBinding(path, Served([b"customer-17", b"\xff customer-18"]), redact=rules)
    await read(await tape.send(Call(MODEL, {"prompt": "a b c", "stream": True})))
    tape.close_tape()
    tape = TapeBinding(path, redact=rules)
    reply = await tape.send(Call(MODEL, {"prompt": "whatever else", "stream": True}))
    assert await read(reply) == [b"customer-<redacted>", b"\xff customer-<redacted>"]
    assert ("inputs", "prompt") in seen
    assert ("chunks", 1) in seen
    with pytest.raises(TypeError, match="a rule of redaction is a function of a text and its place, not 'secret'"):
        TapeBinding(path, redact=["secret"])  # type: ignore[list-item]


class Fixed:
    def __init__(self, reply: Reply | Exception) -> None:
        self._reply = reply

    async def send(self, call: Call) -> Any:
        if isinstance(self._reply, Exception):
            raise self._reply
        return self._reply

    async def aclose(self) -> None: ...
