"""A prompt or a conversation to token ids, through the model's own chat template."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import TemplateError
from transformers.utils.chat_template_utils import render_jinja_template

from cfai.catalog import PromptTemplate
from cfai.engine.tokenizer import GUARD, Tokenizer, read_json
from cfai.errors import BadInput

__all__ = ["PromptRenderer", "load_chat_template"]


def load_chat_template(folder: Path) -> str | None:
    """The chat template of a checkpoint folder: its own file, or the entry in tokenizer_config.json."""
    if (path := folder / "chat_template.jinja").is_file():
        return path.read_text("utf-8")
    template = read_json(folder / "tokenizer_config.json").get("chat_template")
    if isinstance(template, list):  # several named ones; the one called "default" is for chat
        template = {entry.get("name"): entry.get("template") for entry in template}.get("default")
    return template if isinstance(template, str) else None


LONGEST_THINK = 16
"""Tokens in which `<think>` and the white space behind it fit, letter by letter."""


class PromptRenderer:
    """Ids for `messages` (each a dict with `role` and `content`) or for raw text.

    User text that looks like a special token (`</s>`) stays text: in `messages` it is encoded piecewise, raw prompts
    are the caller's own business and may contain special tokens.
    """

    def __init__(self, tokenizer: Tokenizer, template: str | None) -> None:
        self._tokenizer = tokenizer
        self._template = template
        texts = sorted(tokenizer.specials, key=len, reverse=True)
        self._special = re.compile("|".join(map(re.escape, texts)) or "(?!)")

    def raw(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_bos=True)

    @property
    def template(self) -> str | None:
        """The model's chat template."""
        return self._template

    def chat(self, messages: Sequence[Mapping[str, Any]], tools: Any = None, **options: Any) -> list[int]:
        """The ids of a conversation; `options` are what the template knows beyond messages and tools."""
        if self._template is None:
            # A base model has no template: the conversation is its text.
            return self.raw("\n".join(str(message["content"]) for message in messages))
        try:
            rendered, _ = render_jinja_template(
                conversations=[self._guarded(list(messages))],
                tools=self._guarded(tools) or None,
                chat_template=self._template,
                add_generation_prompt=True,
                bos_token=self._tokenizer.bos,
                eos_token=self._tokenizer.eos,
                **{name: self._guarded(value) for name, value in options.items()},
            )
        except (TemplateError, TypeError, ValueError, LookupError, AttributeError) as error:
            # Templates refuse orders of roles, and shapes of tools, that they were not made for.
            raise BadInput(f"the model's chat template refuses these messages: {error}") from error
        return self._tokenizer.encode(rendered[0])

    def written(self, template: PromptTemplate, messages: Sequence[Mapping[str, Any]]) -> list[int]:
        """The ids of a conversation in the template of another day, with one token at the beginning of the sequence."""
        text = template.render(self._guarded(list(messages)))
        bos = self._tokenizer.bos
        return self._tokenizer.encode(text, add_bos=not bos or not text.startswith(bos))

    def opens_thinking(self, prompt: Sequence[int]) -> bool:
        """The prompt ends with `<think>`, so the answer begins in the midst of it."""
        end = b"".join(map(self._tokenizer.token_bytes, prompt[-LONGEST_THINK:]))
        return end.rstrip().endswith(b"<think>")

    def _guarded(self, value: Any) -> Any:
        """`value` with a guard inside every special token's text in it."""
        if isinstance(value, str):
            plain = value.replace(GUARD, "")
            return self._special.sub(lambda found: found.group()[0] + GUARD + found.group()[1:], plain)
        if isinstance(value, Mapping):
            return {self._guarded(key): self._guarded(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._guarded(item) for item in value]
        return value
