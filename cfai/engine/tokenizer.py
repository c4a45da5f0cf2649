"""Text to token ids and back, by sentencepiece (`tokenizer.model`) or tokenizers (`tokenizer.json`)."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Collection, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from cfai.errors import EngineFailure, WeightsMissing

__all__ = ["GUARD", "Detokenizer", "Tokenizer", "load_tokenizer", "read_json"]

GUARD = "\ufdd0"
"""A character that Unicode never assigns. `encode` tokenises what stands on its two sides apart, so that a special
token's text in user input, with a guard inside, stays text."""


LONGEST_CHARACTER = 4
"""UTF-8 bytes of one character, and so tokens at most."""


class Detokenizer(Protocol):
    """Ids to text, one at a time, at constant cost."""

    def put(self, token: int) -> str:
        """The text that `token` completes: empty for a special token or a part of a character."""

    def flush(self) -> str:
        """What is left at the end: U+FFFD for a character that never became whole."""


class Tokenizer(Protocol):
    @property
    def bos(self) -> str: ...

    @property
    def eos(self) -> str: ...

    @property
    def specials(self) -> Mapping[str, int]:
        """The special tokens by their text."""

    def encode(self, text: str, *, add_bos: bool = False) -> list[int]:
        """The ids of `text`; special tokens that stand in it are recognised."""

    def detokenizer(self, shown: Collection[str] = ()) -> Detokenizer:
        """A new one. It drops special tokens but for those in `shown`."""

    def token_bytes(self, token: int) -> bytes:
        """What a token adds in the middle of a text, perhaps a part of a character; the text of a special token. Empty
        for what is no token."""


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a checkpoint folder. `tokenizer.json` is taken if both kinds are there."""
    settings = read_json(folder / "tokenizer_config.json")
    if (folder / "tokenizer.json").is_file():
        return JsonTokenizer(folder / "tokenizer.json", settings)
    if (folder / "tokenizer.model").is_file():
        return SentencePieceTokenizer(folder / "tokenizer.model", settings)
    raise WeightsMissing(f"{folder} has no tokenizer.json and no tokenizer.model")


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a checkpoint's file; empty if there is no such file."""
    if not path.is_file():
        return {}
    try:
        data = json.loads(path.read_bytes())
    except ValueError as error:
        raise EngineFailure(f"{path} is not JSON: {error}") from error
    return data if isinstance(data, dict) else {}


def _token_text(setting: Any, default: str = "") -> str:
    """tokenizer_config.json writes a token as its text or as an object that holds it."""
    return str(setting.get("content", "") if isinstance(setting, Mapping) else setting or default)


def _extra_tokens(settings: Mapping[str, Any]) -> list[str]:
    """The special tokens that tokenizer_config.json names beside bos, eos and unk."""
    named = settings.get("extra_special_tokens") or settings.get("additional_special_tokens") or []
    return [_token_text(token) for token in (named.values() if isinstance(named, Mapping) else named)]


# Appended to a serialised ModelProto this sets normalizer_spec.add_dummy_prefix to false, since protobuf merges a
# message that comes twice: field 3 (normalizer_spec), 2 bytes long: field 3 (add_dummy_prefix), 0.
_NO_DUMMY_PREFIX = b"\x1a\x02\x18\x00"


class SentencePieceTokenizer:
    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        from sentencepiece import SentencePieceProcessor

        try:
            self._model = SentencePieceProcessor(model_file=str(path))
            self._inner = SentencePieceProcessor(model_proto=path.read_bytes() + _NO_DUMMY_PREFIX)
        except (OSError, RuntimeError) as error:
            raise EngineFailure(f"{path} is not a sentencepiece model: {error}") from error
        model = self._model
        self.bos = _token_text(settings.get("bos_token"), model.id_to_piece(max(model.bos_id(), 0)))
        self.eos = _token_text(settings.get("eos_token"), model.id_to_piece(max(model.eos_id(), 0)))
        added = {str(t["content"]): (int(i), t) for i, t in (settings.get("added_tokens_decoder") or {}).items()}
        for text in _extra_tokens(settings):  # named, without their ids, which the model knows
            added.setdefault(text, (model.piece_to_id(text), {"special": True}))
        control = {model.id_to_piece(i): i for i in range(model.vocab_size()) if model.is_control(i)}
        self.specials = control | {text: i for text, (i, token) in added.items() if token.get("special")}
        # Tokens that are cut out of running text: the model's control tokens and whatever was added to them.
        cut = control | {text: i for text, (i, _) in added.items()}
        self._cut = cut
        self._control = frozenset(control)
        self._cutter = re.compile("|".join(map(re.escape, sorted(cut, key=len, reverse=True))) or "(?!)")
        self._hidden = frozenset(self.specials.values())
        self._beyond = {i: text for text, (i, _) in added.items() if i >= model.vocab_size()}

    def encode(self, text: str, *, add_bos: bool = False) -> list[int]:
        ids = [self._model.bos_id()] if add_bos and self._model.bos_id() >= 0 else []
        for at, guarded in enumerate(text.split(GUARD)):
            ids += self._encode_part(guarded, model=self._inner if at else self._model)
        return ids

    def _encode_part(self, text: str, model: Any) -> list[int]:
        ids: list[int] = []
        end = 0
        for found in self._cutter.finditer(text):
            ids += model.encode(text[end : found.start()]) if found.start() > end else []
            ids.append(self._cut[found.group()])
            end = found.end()
            # sentencepiece puts a space before a text: before one that begins behind a control token without its own,
            # not before one that goes on behind a symbol.
            is_begin = found.group() in self._control and not text.startswith(" ", end)
            model = self._model if is_begin else self._inner
        return ids + (model.encode(text[end:]) if end < len(text) else [])

    def detokenizer(self, shown: Collection[str] = ()) -> Detokenizer:
        seen = {self.specials[text]: text for text in shown if text in self.specials}
        return _PieceDetokenizer(self._model, self._hidden - set(seen), {**self._beyond, **seen})

    def token_bytes(self, token: int) -> bytes:
        if token in self._beyond:
            return self._beyond[token].encode()
        if not 0 <= token < self._model.vocab_size():
            return b""
        piece: str = self._model.id_to_piece(token)
        if self._model.is_byte(token):
            return bytes([int(piece[1:-1], 16)])
        return piece.replace("▁", " ").encode()


class _PieceDetokenizer:
    def __init__(self, model: Any, hidden: frozenset[int], beyond: Mapping[int, str]) -> None:
        self._model = model
        self._size = model.vocab_size()
        self._hidden = hidden
        self._beyond = beyond
        self._bytes = codecs.getincrementaldecoder("utf-8")("replace")
        self._is_first = True

    def put(self, token: int) -> str:
        if token in self._hidden:
            return ""
        if token in self._beyond:
            return self.flush() + self._beyond[token]
        if token >= self._size:  # models pad their vocabulary to a round number
            return ""
        piece: str = self._model.id_to_piece(token)
        if self._model.is_byte(token):
            self._is_first = False
            return self._bytes.decode(bytes([int(piece[1:-1], 16)]))  # "<0xE4>"
        text = piece.replace("▁", " ")
        if self._is_first:
            self._is_first = False
            text = text.removeprefix(" ")
        return self.flush() + text

    def flush(self) -> str:
        return self._bytes.decode(b"", final=True)


class JsonTokenizer:
    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        import tokenizers

        try:
            self._tokenizer = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the Rust side raises bare Exception for every kind of bad file
            raise EngineFailure(f"{path} is not a tokenizer: {error}") from error
        self.bos = _token_text(settings.get("bos_token"))
        self.eos = _token_text(settings.get("eos_token"))
        added = self._tokenizer.get_added_tokens_decoder()
        self.specials = {token.content: i for i, token in added.items() if token.special}

    def encode(self, text: str, *, add_bos: bool = False) -> list[int]:
        ids: list[int] = []
        for at, part in enumerate(text.split(GUARD)):
            ids += self._tokenizer.encode(part, add_special_tokens=False).ids
            if at == 0 and add_bos and (bos := self.specials.get(self.bos)) is not None:
                ids.insert(0, bos)
        return ids

    def detokenizer(self, shown: Collection[str] = ()) -> Detokenizer:
        return _WindowDetokenizer(
            self._tokenizer, {self.specials[text]: text for text in shown if text in self.specials}
        )

    def token_bytes(self, token: int) -> bytes:
        if token in self._added:
            return self._added[token].encode()
        piece: str | None = self._tokenizer.id_to_token(token)
        if piece is None:
            return b""
        if "ByteLevel" in self._decoders:
            return bytes(_BYTE_LEVEL[char] for char in piece) if set(piece) <= _BYTE_LEVEL.keys() else piece.encode()
        if "ByteFallback" in self._decoders and re.fullmatch("<0x[0-9A-F]{2}>", piece):
            return bytes([int(piece[1:-1], 16)])
        if self._decoders & {"Metaspace", "ByteFallback"}:
            return piece.replace("▁", " ").encode()
        # Whatever else joins words: what it adds behind some other token.
        before = self._tokenizer.decode([self._anchor], skip_special_tokens=False)
        return str(self._tokenizer.decode([self._anchor, token], skip_special_tokens=False))[len(before) :].encode()

    @cached_property
    def _added(self) -> dict[int, str]:
        return {i: token.content for i, token in self._tokenizer.get_added_tokens_decoder().items()}

    @cached_property
    def _decoders(self) -> set[str]:
        """The kinds of decoders that text is made by."""
        decoder = self._tokenizer.decoder
        state = json.loads(decoder.__getstate__()) if decoder is not None else {}
        return {str(each["type"]) for each in (state, *state.get("decoders", ())) if "type" in each}

    @cached_property
    def _anchor(self) -> int:
        """An ordinary token."""
        size = self._tokenizer.get_vocab_size()
        words = (i for i in range(size) if i not in self._added and self._tokenizer.id_to_token(i))
        return next((i for i in words if (self._tokenizer.id_to_token(i) or "").isalnum()), 0)


def _byte_level() -> dict[str, int]:
    """The character that stands for each byte in a byte-level vocabulary: itself if it can be printed."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + at): byte for at, byte in enumerate(rest)}


_BYTE_LEVEL = _byte_level()


class _WindowDetokenizer:
    """Decodes the tokens that were given last together with the new ones, and gives what the new ones add.

    Decoders join words, drop a first space and put characters together from bytes; the last tokens are all the
    context that they need, so the cost per token is constant. (tokenizers' own DecodeStream raises on byte tokens
    that are no UTF-8.)
    """

    def __init__(self, tokenizer: Any, shown: Mapping[int, str]) -> None:
        self._tokenizer = tokenizer
        self._shown = shown
        self._window: list[int] = []
        self._given = 0
        """How many tokens of the window are given already."""

    def put(self, token: int) -> str:
        if token in self._shown:
            return self.flush() + self._shown[token]
        self._window.append(token)
        piece = self._added()
        if piece.endswith("\ufffd") and len(self._window) - self._given < LONGEST_CHARACTER:
            return ""  # perhaps the next token completes the character
        if piece:
            del self._window[: self._given]
            self._given = len(self._window)
        elif len(self._window) > LONGEST_CHARACTER:  # special tokens, which add nothing
            self._window.pop()
        return piece

    def flush(self) -> str:
        left = self._added()
        self._window, self._given = [], 0
        return "\ufffd" if left else ""

    def _added(self) -> str:
        before: str = self._tokenizer.decode(self._window[: self._given], skip_special_tokens=True)
        text: str = self._tokenizer.decode(self._window, skip_special_tokens=True)
        return text[len(before) :]
