"""Answers that keep to a grammar, and end in time.

llguidance says which tokens may come next. That alone makes no answer: a model may write on inside a string until its
tokens are used up. So for every state there is a *way out*, tokens that lead to an end, found by trying what closes
things (a quote, a bracket, what is forced anyway). It is never longer than the tokens that are left:

    as many tokens left as the way out has     only its next token may come
    a drawn token whose way out is too long    the next token of the way out is taken in its place

The way out that was found need not be the shortest one, but it is a way; so every answer fits its grammar, whatever
the weights, from the moment the constraint could be made.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from cfai.engine.tokenizer import GUARD, Tokenizer
from cfai.errors import BadInput, EngineFailure

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

__all__ = ["GrammarConstraint", "GrammarTokens"]

SPECIAL = b"\xff"
"""Stands before a special token's text; no text has this byte."""

EXITS = ("</think>", "\n</parameter>", "<|end|>")
"""What ends free text within an answer."""

CLOSERS = '}],:01-n"tf[{. 235789aAT@/_Z46bcdefghijklmopqrsuvwxyz'
"""What may bring an answer nearer to its end, the likeliest first."""

SAMPLES = {
    "email": ("a@b.co", "b.co", ".co"),
    "hostname": ("a.co", "a"),
    "uri": ("a:b", ":b", "b"),
    "ipv6": ("::1", ":1", "1"),
    "ipv4": ("1.1.1.1", "1.1.1", "1.1", ".1.1.1", ".1.1", ".1"),
    "duration": ("P1D", "1D", "D"),
    "time": ("00:00:00Z",),
    "date-time": ("2000-01-01T00:00:00Z", "T00:00:00Z", "00:00:00Z"),
}
"""Short strings of a format, and ends of such, which are harder to come upon by chance than a bracket."""

LONGEST_WAY = 2048

MOST_STEPS = 64
"""How far a new way out is looked for between two tokens, on the thread that other answers wait for. A token from which
none is found by then is not taken."""

DEEPER_THAN_ANY = 64
"""What may come so many times in a row is no closing bracket but a character within a string."""


class GrammarTokens:
    """A vocabulary as llguidance wants it, made when the first grammar needs it and then kept.

    size  tokens that the model has scores for
    ends  tokens that end an answer
    """

    def __init__(self, tokenizer: Tokenizer, size: int, ends: Iterable[int]) -> None:
        self._tokenizer = tokenizer
        self._size = size
        self.ends = sorted(end for end in ends if 0 <= end < size)
        self._lock = threading.Lock()
        self._made: LLTokenizer | None = None
        self._wrapped: _Wrapped | None = None
        self._texts: list[bytes] = []
        self.closers: list[int] = []
        self.exits: list[list[int]] = []
        self.free_probe: list[int] = []
        self.word_probes: list[int] = []
        self.behind_probes: list[int] = []
        self.quote: int | None = None

    def matcher(self, grammar: str) -> LLMatcher:
        """The state of a new answer of this grammar."""
        from llguidance import LLMatcher

        with self._lock:
            if self._made is None:
                self._made = self._make()
        # It neither raises nor logs by itself; what went wrong is asked for.
        return LLMatcher(self._made, grammar, log_level=0)

    def _make(self) -> LLTokenizer:
        from llguidance import LLTokenizer, TokenizerWrapper

        specials = {token: text for text, token in self._tokenizer.specials.items()}
        self._texts = [
            SPECIAL + specials[token].encode() if token in specials else self._tokenizer.token_bytes(token)
            for token in range(self._size)
        ]
        ends = self.ends
        if not ends:  # one that the model has no score for, since there must be one
            ends = [len(self._texts)]
            self._texts.append(SPECIAL + b"</end>")
        for end in ends:
            if not self._texts[end].startswith(SPECIAL):
                self._texts[end] = SPECIAL + (self._texts[end] or b"<%d>" % end)
        self._wrapped = _Wrapped(self._tokenizer, self._texts, ends)
        made = LLTokenizer(TokenizerWrapper(self._wrapped), eos_token=ends)
        ids: dict[bytes, int] = {}
        for token, text in enumerate(self._texts[: self._size]):
            ids.setdefault(text, token)
        self.closers = [ids[char.encode()] for char in CLOSERS if char.encode() in ids]
        self.quote = ids.get(b'"')
        self.word_probes = [ids[char] for char in (b'"', b"a", b"A", b"0", b"-", b"_") if char in ids]
        self.behind_probes = [ids[char] for char in (b",", b"}", b"]", b":", b" ") if char in ids]
        self.free_probe = [ids[char] for char in (b"a", b"}", b'"', b"a") if char in ids]
        self.exits = [
            [self._tokenizer.specials[text]] if text in self._tokenizer.specials else self.tokens_of(text.encode())
            for text in EXITS
        ]
        return made

    def tokens_of(self, text: bytes) -> list[int]:
        """Few tokens that make these bytes, or as many of them as there are tokens for."""
        assert self._wrapped is not None
        return self._wrapped.greedily(text)

    def in_mask(self, mask: bytes) -> list[int]:
        """The tokens whose bits are set, those with little text first."""
        found = [at * 8 + bit for at, byte in enumerate(mask) if byte for bit in range(8) if byte >> bit & 1]
        return sorted((token for token in found if token < self._size), key=lambda token: len(self._texts[token]))


class _Wrapped:
    """What llguidance asks of a tokenizer."""

    def __init__(self, tokenizer: Tokenizer, tokens: list[bytes], ends: list[int]) -> None:
        self._tokenizer = tokenizer
        self._ids = {text: token for token, text in reversed([*enumerate(tokens)]) if text[:1] != SPECIAL}
        self._longest = max(map(len, self._ids), default=1)
        self.tokens = tokens
        self.eos_token_id = ends[0]
        self.bos_token_id = None
        self.special_token_ids = [token for token, text in enumerate(tokens) if text.startswith(SPECIAL)]

    def __call__(self, text: bytes) -> list[int]:
        """How the model writes a text that is forced, in the middle of others."""
        # Behind a guard a text does not begin with a space of the tokenizer's own.
        ids = self._tokenizer.encode(GUARD + text.decode("utf-8", "replace"))
        if b"".join(self.tokens[token] if token < len(self.tokens) else SPECIAL for token in ids) == text:
            return ids
        return self.greedily(text)

    def greedily(self, text: bytes) -> list[int]:
        ids: list[int] = []
        at = 0
        while at < len(text):
            for end in range(min(len(text), at + self._longest), at, -1):
                if (token := self._ids.get(text[at:end])) is not None:
                    ids.append(token)
                    at = end
                    break
            else:
                return ids  # no token has this byte
        return ids


class GrammarConstraint:
    """Keeps an answer of at most `max_tokens` tokens to a grammar. A `BadInput` says that none can be made."""

    def __init__(self, tokens: GrammarTokens, grammar: str, *, max_tokens: int) -> None:
        self._tokens = tokens
        self._matcher = tokens.matcher(grammar)
        self._refuse_what_is_too_much()
        self._left = max_tokens
        self._settled: int | None = None
        """The token that is taken, until the answer goes on."""
        self._is_lost = False
        """llguidance has given up on a state; the way out is all that is left."""
        patterns = " ".join(re.findall(r'"pattern": "((?:[^"\\]|\\.)*)"', grammar))
        self._words = [tokens.tokens_of(word.encode()) for word in re.findall(r"[A-Za-z0-9]{2,}", patterns)]
        """What patterns want to find in a string, in part."""
        is_long = '"minLength"' in grammar or re.search(r"{\d\d", patterns)
        self._counts = (64, 16, 4, 1) if is_long else (1,)
        """How many times a word is tried in a row."""
        formats = re.findall(r'"format": "([a-z0-9-]+)"', grammar)
        self._samples = [tokens.tokens_of(sample.encode()) for name in formats for sample in SAMPLES.get(name, ())]
        way = self._find_way(LONGEST_WAY)
        self._refuse_what_is_too_much()
        if way is None or len(way) > max_tokens:
            raise BadInput(
                "JSON Mode couldn't be met",
                hint=f"an answer that fits takes up to {len(way)} tokens, and max_tokens is {max_tokens}"
                if way is not None
                else f"no answer that fits was found within {LONGEST_WAY} tokens of the model's tokenizer",
            )
        self._way = way

    def _refuse_what_is_too_much(self) -> None:
        if self._matcher.is_error():
            problem = self._matcher.get_error().strip().splitlines()[0]
            if problem.startswith("NoExtension"):  # there is no token that may come, whatever the schema
                return
            raise BadInput(f"the JSON schema cannot be enforced: {problem}")

    def allowed(self) -> Sequence[int] | bytes:
        if self._is_lost or (self._way and len(self._way) >= self._left):
            return self._way[:1] or self._tokens.ends
        mask: bytes = self._matcher.compute_bitmask()
        if self._matcher.is_error():
            self._is_lost = True
            return self.allowed()
        return mask

    def settle(self, token: int) -> int | None:
        if token == self._settled:
            return token
        if token in self._tokens.ends:
            return token
        left = self._left - 1
        if self._is_lost:
            return self._leave()
        if self._matcher.try_consume_tokens([token]) == 1:
            way = self._way[1:] if self._way[:1] == [token] else self._way_from_here(left)
            if way is not None and len(way) <= left:
                self._settled, self._way = token, way
                return token
            self._matcher.rollback(1)
        elif not self._matcher.is_error():
            raise EngineFailure(f"token {token} was drawn, which the grammar does not allow")
        return self._leave()

    def _leave(self) -> int | None:
        """Take the next token of the way out."""
        if not self._way:
            return None
        token, *self._way = self._way
        self._is_lost = self._is_lost or self._matcher.is_error() or self._matcher.try_consume_tokens([token]) == 0
        self._settled = token
        return token

    def advance(self, token: int) -> None:
        assert token == self._settled
        self._settled = None
        self._left -= 1

    @property
    def is_satisfied(self) -> bool:
        return not self._way

    @property
    def is_over(self) -> bool:
        return not self._way and (self._is_lost or self._matcher.is_stopped())

    # ways out

    def _way_from_here(self, limit: int) -> list[int] | None:
        """The way out behind a token that was just taken: mostly the one from before it."""
        matcher = self._matcher
        if matcher.is_accepting():
            return []
        count = matcher.try_consume_tokens(self._way)
        still_leads = count == len(self._way) > 0 and matcher.is_accepting()
        matcher.rollback(count)
        return self._way if still_leads else self._find_way(limit, steps=MOST_STEPS)

    def _find_way(self, limit: int, *, steps: int = LONGEST_WAY) -> list[int] | None:
        """Tokens that lead from here to an end; None if no more than `limit` were found to, in so many steps."""
        matcher, way = self._matcher, _Way(self._matcher)
        while not matcher.is_accepting():
            steps -= 1
            if steps < 0 or len(way.tokens) > limit or not self._go_on(way):
                way.go_back()
                return None
        way.go_back()
        return way.tokens

    def _go_on(self, way: _Way) -> bool:
        tokens, matcher = self._tokens, self._matcher
        if (forced := matcher.compute_ff_bytes()) and way.take(tokens.tokens_of(forced)):
            return True
        if self._quote_ends_a_string():
            return way.take([tokens.quote])
        if self._is_free_text():
            for exit_ in tokens.exits:
                if way.take(exit_):
                    if not self._is_free_text():
                        return True
                    way.take_back(len(exit_))
        for sample in self._samples:
            if way.take(sample):
                if self._quote_ends_a_string():
                    return True
                way.take_back(len(sample))
        words: list[list[int]] = []
        for token in tokens.closers:
            if self._may_come([token]):
                if self._closes(token) and way.take([token]):
                    return True
                words.append([token])
        # Within a string that may not end yet. What was tried less often comes first.
        words = sorted([*self._words, *words], key=lambda word: way.tried[tuple(word)])
        for word in words:  # one may be all that a pattern misses
            if way.take(word):
                if self._quote_ends_a_string():
                    return True
                way.take_back(len(word))
        for word in words:
            for count in self._counts:
                if way.take(word * count):
                    if count > 1 and self._quote_ends_a_string():
                        way.take_back(count * len(word))
                        continue
                    way.tried[tuple(word)] += count
                    return True
        mask: bytes = matcher.compute_bitmask()
        return any(token not in tokens.ends and way.take([token]) for token in tokens.in_mask(mask))

    def _quote_ends_a_string(self) -> bool:
        """Behind a quote that ends a string stands a mark, behind one that begins one stands a word or a quote."""
        matcher, quote = self._matcher, self._tokens.quote
        if quote is None or matcher.try_consume_tokens([quote]) == 0:
            return False
        ends = not any(self._may_come([token]) for token in self._tokens.word_probes) and (
            matcher.is_accepting() or any(self._may_come([token]) for token in self._tokens.behind_probes)
        )
        matcher.rollback(1)
        return ends

    def _closes(self, token: int) -> bool:
        """Whether a token is more than a part of a string, where it may stand any number of times and ends nothing.

        Free text may come behind the last thing that it closes, and would take it any number of times too.
        """
        matcher, taken = self._matcher, 0
        while taken < DEEPER_THAN_ANY and not (taken and matcher.is_accepting()):
            if matcher.try_consume_tokens([token]) == 0:
                break
            taken += 1
        closes = taken < DEEPER_THAN_ANY
        matcher.rollback(taken)
        return closes

    def _is_free_text(self) -> bool:
        return self._may_come(self._tokens.free_probe)

    def _may_come(self, tokens: list[int]) -> bool:
        return bool(self._matcher.validate_tokens(tokens) == len(tokens) > 0)


class _Way:
    """Tokens that a matcher was given to try."""

    def __init__(self, matcher: LLMatcher) -> None:
        self._matcher = matcher
        self.tokens: list[int] = []
        self.tried: Counter[tuple[int, ...]] = Counter()

    def take(self, tokens: Sequence[Any]) -> bool:
        """Give it these tokens: all of them, or none."""
        count = self._matcher.try_consume_tokens(list(tokens))
        if count < len(tokens) or not tokens:
            self._matcher.rollback(count)
            return False
        self.tokens += tokens
        return True

    def take_back(self, count: int) -> None:
        self._matcher.rollback(count)
        del self.tokens[len(self.tokens) - count :]

    def go_back(self) -> None:
        self._matcher.rollback(len(self.tokens))
