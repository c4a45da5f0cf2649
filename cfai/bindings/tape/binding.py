"""A binding that records what another one answers, and answers with it later: chunk for chunk, errors included."""

from __future__ import annotations

import contextlib
import copy
import json
import secrets
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from anyio.lowlevel import checkpoint

from cfai.binding import Binding, Call, Listing, Reply, Stats
from cfai.bindings.tape.conversion import in_form_of
from cfai.bindings.tape.entries import Entry, Failure, Tape
from cfai.bindings.tape.errors import BadTape, NotOnTape, UntrueTape
from cfai.bindings.tape.file import check_is_tape, load, save
from cfai.bindings.tape.layout import texts_of
from cfai.bindings.tape.library import Library
from cfai.bindings.tape.modes import RecordMode, parse_record_mode
from cfai.bindings.tape.normal import checked
from cfai.bindings.tape.redaction import DEFAULT_RULES, Redaction, Rule, redacted, redacted_call
from cfai.bindings.tape.streams import Player, Recorder, seconds
from cfai.clock import Clock, RealClock
from cfai.errors import AiError, BadInput
from cfai.request_id import of_request
from cfai.results import ByteStream, plain

__all__ = ["TapeBinding"]


class TapeBinding:
    """Record what `inner` answers, and answer with it from then on.

    ```python
    tape = TapeBinding("tests/tapes/where.json", LocalBinding())
    stream = await Ai(tape).run(MODEL, {"prompt": "where is new york?", "stream": True})
    ```

    inner    who answers what is recorded: any binding; without one nothing is recorded
    record   "once" records where there is no file and only replays where there is one, "none" only replays, "new"
             replays what it has and records the rest, "all" records everything anew
    redact   what must not be written: rules of `cfai.bindings.tape.redaction`, or functions of a text and its place
    speed    how much faster than recorded a replay is, 1.0 in its real time; default: without waiting
    clock    by which time is measured and passed; default: that of `inner` if it has one, else the machine's
    repeat   begin again with the first of equal entries when all of them were played, instead of failing
    as_of    the day of calls that name none, `"2023-11-14"`
    fidelity  "clean" or "production", of calls that name none

    The file is written, whole, by `close_tape` or `aclose`; until then the old one stays as it is. `check` raises if
    entries are stale or were not asked for.
    """

    def __init__(
        self,
        path: str | Path,
        inner: Binding | None = None,
        *,
        record: RecordMode = "once",
        redact: Iterable[Rule] = DEFAULT_RULES,
        speed: float | None = None,
        clock: Clock | None = None,
        repeat: bool = False,
        as_of: str | None = None,
        fidelity: str | None = None,
    ) -> None:
        if speed is not None and not 0 < speed < float("inf"):
            raise ValueError(f"speed must be more than 0, 1.0 for real time, or None for no waiting, it is {speed!r}")
        self.path = Path(path)
        self.record: RecordMode = parse_record_mode(record)
        self.clock = clock
        self._inner = inner
        self._redaction = Redaction(redact)
        self._speed = speed
        self._defaults = {name: value for name, value in (("asOf", as_of), ("fidelity", fidelity)) if value is not None}
        tape = self._load()
        is_replayed = tape is not None and self.record != "all"
        self._library = Library(tape, self.path, repeat=repeat) if tape is not None and is_replayed else None
        self._salt = (tape.salt if tape is not None else "") or secrets.token_hex(8)
        self._known = texts_of(tape.entries if tape is not None else [])
        """The entries of the file that are no other test's."""
        self._fresh: list[Entry | None] = []
        """What is recorded now, in the order of the calls: None for one that has no reply yet, or will have none."""

    def _load(self) -> Tape | None:
        if self.record != "all":
            return load(self.path)
        check_is_tape(self.path)  # what is no tape is not written over
        with contextlib.suppress(BadTape):
            return load(self.path)
        return None

    async def send(self, call: Call) -> Reply:
        call = self._normal(call)
        try:
            json.dumps(call.inputs, allow_nan=False, default=_bytes_are_fine)
        except (TypeError, ValueError, RecursionError) as error:
            return await self._unwritable(call, error)
        written = redacted_call(call, self._redaction, self._salt)
        if self._library is not None and (entry := self._library.find(written)) is not None:
            return await self._play(entry, call)
        if self._inner is None or not self._is_recording:
            raise NotOnTape(self._missing(written))
        return await self._record(call, self._inner)

    def _normal(self, call: Call) -> Call:
        options = {name: value for name, value in call.options.items() if value is not None}
        return replace(call, inputs=plain(call.inputs), options={**self._defaults, **options})

    @property
    def _is_recording(self) -> bool:
        return self.record in ("all", "new") or (self.record == "once" and self._library is None)

    async def _unwritable(self, call: Call, problem: Exception) -> Reply:
        """Every task refuses what is no JSON, and no file could hold it."""
        if self._inner is not None and self._is_recording:
            return await self._inner.send(call)
        headers = {"cf-ai-req-id": of_request()}
        try:
            checked(call)
        except AiError as error:
            return Reply.from_error(error, headers)
        return Reply.from_error(BadInput(f"the inputs are not JSON: {problem}"), headers)

    async def _record(self, call: Call, inner: Binding) -> Reply:
        slot = len(self._fresh)
        self._fresh.append(None)
        clock = self._clock_of(inner)
        started = clock.now()
        try:
            reply = await inner.send(call)
        except AiError as error:
            self._fresh[slot] = Entry(call, at=seconds(clock.now() - started), broken=Failure.of(error))
            raise
        at = seconds(clock.now() - started)
        entry = Entry(call, reply.status, dict(reply.headers), at)
        self._fresh[slot] = entry
        if not isinstance(reply.body, ByteStream):
            entry.body = copy.deepcopy(plain(reply.body))
            return reply

        def forget() -> None:
            self._fresh[slot] = None

        # What the stream comes by may be another clock than the one that was asked.
        clock = self.clock or reply.body.clock or clock
        recorder = Recorder(reply.body, entry, clock=clock, started=clock.now() - at, forget=forget)
        return replace(reply, body=ByteStream(recorder, clock=reply.body.clock))

    def _clock_of(self, inner: Binding) -> Clock:
        if self.clock is not None:
            return self.clock
        theirs = getattr(inner, "clock", None)
        return theirs if isinstance(theirs, Clock) else RealClock()

    async def _play(self, entry: Entry, call: Call) -> Reply:
        clock = self.clock or RealClock()
        started = clock.now()
        assert self._library is not None
        number = self._library.number_of(entry)
        entry = in_form_of(call, entry)

        async def wait(at: float) -> None:
            await checkpoint()
            if self._speed is not None and (left := started + at / self._speed - clock.now()) > 0:
                await clock.sleep(left)

        await wait(entry.at)
        if entry.broken is not None:
            raise entry.broken.error
        headers = {"cf-ai-req-id": of_request(), **entry.headers}
        if entry.end is None:
            return Reply(copy.deepcopy(entry.body), entry.status, headers)
        name = f"{self.path}, entry {number}"
        player = Player(entry.chunks, entry.end, wait=wait, name=name)
        return Reply(ByteStream(player, clock=self.clock), entry.status, headers)

    def _missing(self, call: Call) -> str:
        if self._library is None:
            why, remedy = "there is no such file", 'record it with record="once" and a binding to record from'
            return f"{self.path} does not answer a call to {call.model}: {why}; {remedy}"
        return (
            f"{self.path} does not answer a call to {call.model} (record={self.record!r}): "
            f"{self._library.missing(call)}\n"
            f"If the call is right, record it{'' if self._inner is not None else ' with a binding to record from'}: "
            'record="new" adds it to the tape, record="all" makes the tape anew. For a server that is --record, for '
            "pytest's fixture --cfai-record."
        )

    def check(self) -> None:
        """Raise `UntrueTape` if entries were not asked for, or would not be recorded like this today.

        ```python
        tape.check()  # at the end of a test
        ```
        """
        if self._library is not None and (problems := [*self._library.stale(), *self._library.unused()]):
            lines = "".join(f"\n  {problem}" for problem in problems)
            raise UntrueTape(
                f"{self.path} does not fit what was asked:{lines}\n"
                'Record it anew with record="all", or delete the entries.'
            )

    def close_tape(self) -> int:
        """Write the file if anything was recorded, and say how many calls were.

        The tape may go on after that, and be written again. What another test has recorded in the same file meanwhile
        stays there, unless everything is to be recorded anew.
        """
        recorded = [entry for entry in self._fresh if entry is not None]
        if recorded:
            kept = self._library.tape.entries if self._library is not None else []
            others = self._recorded_meanwhile() if self.record != "all" else []
            fresh = [redacted(entry, self._redaction, self._salt) for entry in recorded]
            save(Tape([*kept, *others, *fresh], self._salt), self.path)
            self._known = texts_of([*kept, *fresh])
        return len(recorded)

    def _recorded_meanwhile(self) -> list[Entry]:
        """What the file has that was not there when it was opened, and that this tape did not write."""
        now = load(self.path)
        if now is None:
            return []
        self._salt = now.salt or self._salt
        return [
            entry for entry, text in zip(now.entries, texts_of(now.entries), strict=True) if text not in self._known
        ]

    def stats(self) -> dict[str, Any]:
        return self._inner.stats() if isinstance(self._inner, Stats) else {}

    async def models_here(self) -> list[str]:
        """The models of the binding that is recorded from, or those on the tape."""
        on_tape = self._library.models if self._library is not None else []
        return await self._inner.models_here() if isinstance(self._inner, Listing) else on_tape

    async def aclose(self) -> None:
        """Write what was recorded, and close the binding that it was recorded from."""
        try:
            self.close_tape()
        finally:
            await self.close_inner()

    async def close_inner(self) -> None:
        """Close the binding that is recorded from, and write nothing yet: its streams may still bring their ends."""
        if self._inner is not None:
            await self._inner.aclose()


def _bytes_are_fine(value: Any) -> None:
    if not isinstance(value, bytes | bytearray | memoryview):
        raise TypeError(f"{type(value).__name__} is no JSON value")
