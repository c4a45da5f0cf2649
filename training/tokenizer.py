"""The sentencepiece tokenizer: trained on the corpus, and from an example to token ids."""

import itertools
from dataclasses import dataclass
from pathlib import Path

import sentencepiece

from training.corpus.mixture import Example, Mixture

SYMBOLS = ("<|system|>", "<|user|>", "<|assistant|>", "<|tool_call|>", "<|tool|>")
VOCABULARY = 3584


def train_tokenizer(mixture: Mixture, path: Path, *, examples: int) -> None:
    """Writes a Llama-like BPE model: byte fallback, single digits, a space before the first word."""
    drawn = itertools.islice(mixture.examples("tokenizer"), examples)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(turn.text for example in drawn for turn in example.turns),
        model_writer=path.open("wb"),
        model_type="bpe",
        vocab_size=VOCABULARY,
        byte_fallback=True,
        split_digits=True,
        add_dummy_prefix=True,
        remove_extra_whitespaces=False,
        normalization_rule_name="identity",
        allow_whitespace_only_pieces=True,
        character_coverage=0.9999,
        user_defined_symbols=list(SYMBOLS),
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=-1,
        num_threads=1,
        minloglevel=2,
    )


@dataclass(frozen=True)
class Encoded:
    ids: list[int]
    learnt: list[bool]
    """Whether the token at this place is to be predicted."""


class Tokenizer:
    def __init__(self, path: Path) -> None:
        self.pieces = sentencepiece.SentencePieceProcessor(model_file=str(path))
        self.symbol = {symbol: self.pieces.piece_to_id(symbol) for symbol in SYMBOLS}
        self.bos, self.eos = self.pieces.bos_id(), self.pieces.eos_id()

    def encode(self, example: Example, *, stray_space: bool = False) -> Encoded:
        """With `stray_space` there is a space before the first symbol, where sentencepiece alone would put one."""
        ids, learnt = [self.bos], [False]
        if stray_space and not example.raw:
            ids, learnt = [self.bos, self.pieces.piece_to_id("▁")], [False, False]

        def add(tokens: list[int], learn: bool) -> None:
            ids.extend(tokens)
            learnt.extend([learn] * len(tokens))

        for turn in example.turns:
            text = self.pieces.encode(turn.text)
            if turn.role == "call":
                add([self.symbol["<|assistant|>"]], False)
                add([self.symbol["<|tool_call|>"], *text, self.eos], True)
            elif turn.role == "assistant":
                if not example.raw:
                    add([self.symbol["<|assistant|>"]], False)
                add([*text, self.eos], True)
            else:
                if not example.raw:
                    add([self.symbol[f"<|{turn.role}|>"]], False)
                add(text, False)
        return Encoded(ids, learnt)

    def prompt(self, example: Example) -> list[int]:
        """The ids before the last answer."""
        before = Example(example.turns[:-1], raw=example.raw)
        ids = self.encode(before).ids
        return ids if example.raw else [*ids, self.symbol["<|assistant|>"]]

    def decode(self, ids: list[int]) -> str:
        return str(self.pieces.decode(ids))
