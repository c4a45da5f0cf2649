"""Tokens to pieces: the tokenizer's own, whole characters, constant cost."""

from __future__ import annotations

import random
import shutil
import threading
from collections.abc import Collection
from pathlib import Path

import pytest
import sentencepiece
import torch
from transformers import AutoModelForCausalLM, TextIteratorStreamer

from cfai import weights
from cfai.catalog import Catalog
from cfai.engine import PieceStreamer
from cfai.engine.tokenizer import GUARD, Tokenizer, load_tokenizer
from cfai.errors import EngineFailure, WeightsMissing
from tests.models import make_json_tokenizer

TEXTS = ["New York is located in the north", "北京 🙂 Zürich", "  two  spaces ", "unknown ☃ and 🧪", "a\nb\tc"]


@pytest.fixture(params=["sentencepiece", "json"])
def tokenizer(request: pytest.FixtureRequest, llama: Path, tmp_path: Path) -> Tokenizer:
    return load_tokenizer(llama if request.param == "sentencepiece" else make_json_tokenizer(tmp_path))


def pieces(tokenizer: Tokenizer, ids: list[int]) -> list[str]:
    given: list[str] = []
    streamer = PieceStreamer(tokenizer, given.append)
    for token in ids:
        streamer.put(token)
    streamer.end()
    return given


@pytest.mark.parametrize("text", TEXTS)
def test_pieces_join_to_the_text(tokenizer: Tokenizer, text: str) -> None:
    given = pieces(tokenizer, tokenizer.encode(text))
    assert "".join(given) == text
    assert all(given), "no empty piece is handed over"


def test_a_word_is_a_piece_with_its_space_in_front(llama: Path) -> None:
    tokenizer = load_tokenizer(llama)
    assert pieces(tokenizer, tokenizer.encode("New York is located")) == ["New", " York", " is", " located"]


def test_a_character_of_several_tokens_comes_whole(llama: Path) -> None:
    tokenizer = load_tokenizer(llama)
    ids = tokenizer.encode("🧪 ☃")
    assert len(ids) > 7, "the tokenizer falls back to bytes here"
    assert pieces(tokenizer, ids) == ["🧪", " ", "☃"]


def test_a_character_that_never_ends_is_one_replacement_character(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("🧪")
    assert pieces(tokenizer, ids[:-2]) == ["\ufffd"]


def test_special_tokens_give_no_piece(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("New York")
    bos, user = tokenizer.specials["<s>"], tokenizer.specials["<|user|>"]
    assert "".join(pieces(tokenizer, [bos, user, *ids, tokenizer.specials["</s>"]])) == "New York"


def test_a_token_beyond_the_vocabulary_gives_no_piece(llama: Path) -> None:
    tokenizer = load_tokenizer(llama)
    assert pieces(tokenizer, [*tokenizer.encode("New"), 10_000]) == ["New"]


def test_special_tokens_in_text_are_recognised_unless_guarded(tokenizer: Tokenizer) -> None:
    eos = tokenizer.specials["</s>"]
    assert tokenizer.encode("</s>")[-1] == eos
    assert eos not in tokenizer.encode(f"<{GUARD}/s>")
    assert "".join(pieces(tokenizer, tokenizer.encode(f"hello <{GUARD}/s>"))).replace(" ", "") == "hello</s>"


def test_add_bos_puts_the_first_token_in_front(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("New", add_bos=True) == [tokenizer.specials["<s>"], *tokenizer.encode("New")]


def test_any_tokens_give_pieces_that_join_to_what_the_tokenizer_decodes(tokenizer: Tokenizer) -> None:
    rng = random.Random(0)
    for _ in range(300):
        ids = rng.choices(range(400), k=rng.randint(1, 30))
        given = pieces(tokenizer, ids)
        assert all(given)


def test_both_tokenizers_of_the_demo_model_agree(tmp_path: Path) -> None:
    demo = weights.find(Catalog.builtin().get(weights.DEMO_MODEL))
    by_json = load_tokenizer(demo)
    shutil.copytree(demo, tmp_path / "demo")
    (tmp_path / "demo" / "tokenizer.json").unlink()
    by_model = load_tokenizer(tmp_path / "demo")
    chat = "<s><|system|> Be brief.<|user|> where is new york?<|assistant|> New York</s><|user|> 北京<|assistant|>"
    assert by_model.encode(chat) == by_json.encode(chat)
    assert by_model.encode("where is new york?", add_bos=True) == by_json.encode("where is new york?", add_bos=True)
    rng = random.Random(0)
    for _ in range(200):
        ids = rng.choices(range(300, 3500), k=20)
        assert pieces(by_model, ids) == pieces(by_json, ids)
    for _ in range(200):  # with bytes that are no characters
        ids = rng.choices(range(3500), k=20)
        assert "".join(pieces(by_json, ids))


def test_sentencepiece_ids_are_the_models_own(llama: Path) -> None:
    model = sentencepiece.SentencePieceProcessor(model_file=str(llama / "tokenizer.model"))
    for text in TEXTS:
        assert load_tokenizer(llama).encode(text) == model.encode(text)


@pytest.mark.parametrize(
    ("given", "stop", "delivered"),
    [
        (["one", " two", " three"], (" two",), "one"),
        (["one", " t", "w", "o", " three"], ("two",), "one "),
        (["one", " t", "w", "i", "n"], ("two",), "one twin"),
        (["aab"], ("ab", "b"), "a"),
        (["ends with t", "w"], ("two",), "ends with tw"),
        (["none"], ("x",), "none"),
    ],
)
def test_a_stop_text_ends_the_answer_and_is_not_part_of_it(
    given: list[str], stop: tuple[str, ...], delivered: str
) -> None:
    class Words:
        bos = eos = ""
        specials: dict[str, int] = {}  # noqa: RUF012

        def encode(self, text: str, *, add_bos: bool = False) -> list[int]:
            return []

        def detokenizer(self, shown: Collection[str] = ()) -> Words:
            return self

        def token_bytes(self, token: int) -> bytes:
            return given[token].encode()

        def put(self, token: int) -> str:
            return given[token]

        def flush(self) -> str:
            return ""

    seen: list[str] = []
    streamer = PieceStreamer(Words(), seen.append, stop=stop)
    for token in range(len(given)):
        streamer.put(token)
    streamer.end()
    assert "".join(seen) == delivered
    assert streamer.is_stopped == ("".join(given) != delivered)


def test_it_is_a_text_iterator_streamer_that_generate_fills(llama: Path) -> None:
    tokenizer = load_tokenizer(llama)
    model = AutoModelForCausalLM.from_pretrained(llama)
    prompt = torch.tensor([tokenizer.encode("New York", add_bos=True)])
    streamer = PieceStreamer(tokenizer)
    assert isinstance(streamer, TextIteratorStreamer)
    options = {"max_new_tokens": 20, "do_sample": False, "streamer": streamer}
    thread = threading.Thread(target=model.generate, args=(prompt,), kwargs=options)
    thread.start()
    given = list(streamer)
    thread.join()
    made = model.generate(prompt, max_new_tokens=20, do_sample=False)[0, prompt.shape[1] :].tolist()
    assert given == pieces(tokenizer, made)


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match=r"has no tokenizer\.json and no tokenizer\.model"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer.model", "tokenizer_config.json"])
def test_a_broken_file_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("{broken")
    with pytest.raises(EngineFailure, match=name):
        load_tokenizer(tmp_path)
