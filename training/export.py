"""Writes the checkpoint as transformers and the engine of cfai read it."""

import json
import shutil
from pathlib import Path

import sentencepiece
import torch
from tokenizers import AddedToken
from transformers import GenerationConfig, LlamaForCausalLM, LlamaTokenizer

from training.tokenizer import SYMBOLS

TEMPLATE = Path(__file__).parent / "chat_template.jinja"


def export(model: LlamaForCausalLM, tokenizer: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    weights = LlamaForCausalLM(model.config)
    weights.load_state_dict(model.state_dict())
    weights.to(torch.bfloat16)
    weights.generation_config = GenerationConfig(bos_token_id=1, eos_token_id=2, do_sample=False)
    weights.save_pretrained(folder)
    if tokenizer.parent != folder:
        shutil.copyfile(tokenizer, folder / "tokenizer.model")
    export_tokenizer(folder)
    tidy(folder / "config.json")
    for file in folder.iterdir():
        file.chmod(0o644)


def tidy(config: Path) -> None:
    settings = json.loads(config.read_text())
    settings.pop("_name_or_path", None)
    config.write_text(json.dumps(settings, indent=2) + "\n")


def export_tokenizer(folder: Path) -> None:
    """`tokenizer.json` says the same as `tokenizer.model`, so that transformers needs no protobuf to read it."""
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    vocabulary = {pieces.id_to_piece(i): i for i in range(pieces.get_piece_size())}
    fast = LlamaTokenizer(
        vocab=vocabulary,
        merges=merges(vocabulary),
        legacy=False,
        add_bos_token=True,
        model_max_length=8192,
        additional_special_tokens=[AddedToken(symbol, normalized=False, special=True) for symbol in SYMBOLS],
    )
    fast.chat_template = TEMPLATE.read_text()
    fast.save_pretrained(folder)


def merges(vocabulary: dict[str, int]) -> list[tuple[str, str]]:
    """Sentencepiece numbers the pieces in the order in which it merged them."""
    found = [
        (number, piece[:cut], piece[cut:])
        for piece, number in vocabulary.items()
        if piece not in SYMBOLS
        for cut in range(1, len(piece))
        if piece[:cut] in vocabulary and piece[cut:] in vocabulary
    ]
    return [(left, right) for _, left, right in sorted(found, key=lambda m: (m[0], vocabulary[m[1]], vocabulary[m[2]]))]
