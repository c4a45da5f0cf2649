"""Which sequences run next, and what each does in a step. Policy only: no tensors, no threads, no clock.

How it works. Sequences wait in order of arrival. Every step goes through the model once with a few tokens of several
sequences side by side:

    decode   every running sequence whose prompt is in the cache gives its last token, and the next one is drawn
    prefill  what is left of `step_tokens` goes to prompts, the oldest first, in chunks; with the last token of a
             prompt its sequence draws its first token
    admit    while there is a prefill budget, a slot and room in the cache, the next sequence that waits begins

So a long prompt delays the streams that run by one chunk per step, never by all of it, and a prompt that waits for its
turn finds the beginning that it shares with an earlier one in the cache already.

A sequence whose reader lags keeps its room in the cache but not its slot: others decode in its place. If the next one
finds no room, such a sequence gives its room up too and is computed again when its reader has caught up. A sequence
that runs has room for its longest answer from the beginning, so it never has to stop for want of memory.

Speculation. While few sequences run, a step has time for more than one token of each. A sequence may then bring a draft
of its next tokens; each is drawn as it would be anyway, and as long as what is drawn is what the draft says, the next
one stands already computed. What is drawn does not depend on drafts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence as Tokens
from dataclasses import dataclass, field

from cfai.engine.lookup import PromptLookup
from cfai.engine.regions import Copy, Region, Regions
from cfai.engine.sequence import Sequence

__all__ = ["Scheduler", "Step", "Work"]

MOST_SPECULATING = 4
"""With more sequences than this in a step, drafts cost more than they gain."""


@dataclass(frozen=True, slots=True)
class Work:
    """A part of one sequence in a step: its tokens from `start` on, `count` of them, into the cache.

    draws  tokens drawn: none in the middle of a prompt, one behind its end and in decode; with a draft one for each
           of its tokens and one more
    draft  tokens that may come next, guessed; they follow the known ones and count
    """

    sequence: Sequence
    start: int
    count: int
    draws: int = 0
    draft: Tokens[int] = ()


@dataclass(slots=True)
class Step:
    """One pass through the model, and the copies in the cache that come before it."""

    works: list[Work] = field(default_factory=list)
    copies: list[Copy] = field(default_factory=list)

    @property
    def is_decode(self) -> bool:
        """Every sequence in it gives one token and draws one."""
        return all(work.count == 1 and work.draws == 1 for work in self.works)


class Scheduler:
    """Plans steps.

    slots         sequences in one step at most
    queue_limit   sequences that may wait beyond them
    step_tokens   tokens in one step; prompts get what decoding leaves, and half of it at least
    regions       the places of the KV cache
    rows          sequences that may be begun at once, those whose readers lag included; default twice the slots
    draft_tokens  tokens of a draft at most; 0 makes none
    """

    def __init__(
        self,
        *,
        slots: int,
        queue_limit: int,
        step_tokens: int,
        regions: Regions,
        rows: int | None = None,
        draft_tokens: int = 0,
    ) -> None:
        self.slots = slots
        self.queue_limit = queue_limit
        self.step_tokens = step_tokens
        self.regions = regions
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        self.draft_tokens = draft_tokens
        self._rows = list(range(rows or 2 * slots))
        self._lookups: dict[Sequence, PromptLookup] = {}

    @property
    def is_full(self) -> bool:
        return len(self.waiting) + len(self.running) >= self.slots + self.queue_limit

    def add(self, sequence: Sequence) -> None:
        self.waiting.append(sequence)

    def remove(self, sequence: Sequence, *, keep: bool = True) -> None:
        """Take out a sequence that has ended. With `keep` what it computed stays for later prompts."""
        sequence.is_finished = True
        if sequence in self.waiting:
            self.waiting.remove(sequence)
        else:
            self.running.remove(sequence)
            self._leave(sequence, keep=keep)

    def clear(self) -> list[Sequence]:
        """Take out all sequences, and return them."""
        left = [*self.running, *self.waiting]
        for sequence in left:
            self.remove(sequence, keep=False)
        return left

    def drop_abandoned(self) -> list[Sequence]:
        """Take out the sequences that nobody reads any more, waiting or running, and return them."""
        gone = [sequence for sequence in (*self.waiting, *self.running) if sequence.is_abandoned]
        for sequence in gone:
            self.remove(sequence)
        return gone

    def next_step(self) -> Step:
        """What to do now; nothing if all sequences wait for their readers."""
        step = Step()
        ready = [each for each in self.running if not each.is_stalled and not each.is_out_of_tokens]
        decoding = [each for each in ready if not each.needs_prefill]
        prefilling = [each for each in ready if each.needs_prefill]
        drafts = self.draft_tokens if len(ready) <= MOST_SPECULATING else 0
        # Readers may have caught up, and more be ready than there are slots: then these go round, and a prompt has one.
        slots = self.slots if len(ready) <= self.slots or not prefilling else max(1, self.slots - 1)
        for sequence in decoding[:slots]:
            step.works.append(self._work(sequence, 1, self._draft(sequence, drafts)))
        if len(decoding) > slots:
            served = set(decoding[:slots])
            self.running = [each for each in self.running if each not in served] + decoding[:slots]
        budget = max(self.step_tokens - sum(work.count for work in step.works), self.step_tokens // 2)
        for sequence in prefilling:
            budget -= self._prefill(step, sequence, budget)
        while budget > 0 and len(step.works) < self.slots:
            first = next((each for each in self.waiting if not each.is_stalled), None)
            if first is None or not self._admit(step, first):
                break
            self.waiting.remove(first)
            self.running.append(first)
            budget -= self._prefill(step, first, budget)
        # Neighbours in the cache next to each other: attention then takes many at once.
        step.works.sort(key=lambda work: (work.count, work.sequence.region.start if work.sequence.region else 0))
        for work in step.works:
            # Not before: what this step computes is not there yet when its copies are made.
            if (region := work.sequence.region) is not None:
                region.computed = work.sequence.computed
        return step

    def _prefill(self, step: Step, sequence: Sequence, budget: int) -> int:
        count = min(sequence.left, budget)
        if count == 0 or len(step.works) >= self.slots:
            return 0
        step.works.append(self._work(sequence, count))
        return count

    def _work(self, sequence: Sequence, count: int, draft: Tokens[int] = ()) -> Work:
        draws = int(count == sequence.left) + len(draft)
        work = Work(sequence, sequence.computed, count + len(draft), draws, draft)
        sequence.computed += work.count
        sequence.drawn += draws
        return work

    def _draft(self, sequence: Sequence, most: int) -> Tokens[int]:
        most = min(most, sequence.sampling.max_tokens - sequence.drawn - 1)
        if most < 1 or not sequence.sampling.is_plain or sequence.drawn > sequence.made:
            return ()
        return self._lookups.setdefault(sequence, PromptLookup()).draft(sequence.ids, most)

    def settle(self, work: Work, tokens: Tokens[int]) -> int:
        """How many of the drawn `tokens` count: those that the draft foretold, and one more."""
        right = 0
        while right < len(work.draft) and tokens[right] == work.draft[right]:
            right += 1
        wrong = len(work.draft) - right
        sequence = work.sequence
        sequence.computed -= wrong
        sequence.drawn -= wrong
        if sequence.region is not None:
            sequence.region.computed = sequence.computed
        return right + 1

    def _admit(self, step: Step, sequence: Sequence) -> bool:
        if (taken := self._take(sequence)) is None:
            self._give_up_the_stalled(sequence.most_tokens)
            if (taken := self._take(sequence)) is None:
                return False
        region, copy = taken
        sequence.region, sequence.row, sequence.computed = region, self._rows.pop(), region.computed
        if sequence.drawn == 0:
            sequence.stream.cached_tokens = region.computed
        if copy is not None:
            step.copies.append(copy)
        return True

    def _take(self, sequence: Sequence) -> tuple[Region, Copy | None] | None:
        if not self._rows:
            return None
        return self.regions.take(sequence.ids, sequence.most_tokens, adapter=sequence.adapter)

    def _give_up_the_stalled(self, size: int) -> None:
        """Have sequences whose readers lag wait again, without room in the cache, if that makes `size` places free."""
        stalled = [each for each in self.running if each.is_stalled and each.drawn == each.made]
        for count in range(1, len(stalled) + 1):
            given = stalled[:count]
            if self.regions.has_room(size, without=[each.region for each in given if each.region is not None]):
                for sequence in given:
                    self.running.remove(sequence)
                    self._leave(sequence)
                    self.waiting.append(sequence)
                return

    def _leave(self, sequence: Sequence, *, keep: bool = True) -> None:
        assert sequence.region is not None
        self._lookups.pop(sequence, None)
        # A step under way may compute a token that nobody has read, and nobody will.
        self.regions.release(sequence.region, min(sequence.computed, len(sequence.ids)) if keep else 0)
        self._rows.append(sequence.row)
        sequence.region, sequence.row, sequence.computed = None, -1, 0
