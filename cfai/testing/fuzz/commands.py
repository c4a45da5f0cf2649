"""A client of any language, run as a command for each stream: what it prints is what it read."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import subprocess
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from dataclasses import dataclass

import anyio
from anyio.abc import Process

from cfai.testing.fuzz.case import CaseForm, CutStream, End, StreamCase
from cfai.testing.fuzz.corpus import FORMS, corpus
from cfai.testing.fuzz.cuts import coarse_cuts, one_by_one, place_of, random_cuts
from cfai.testing.fuzz.difference import Difference
from cfai.testing.fuzz.parsers import CommandFailed, Expected, Outcome, expected_of
from cfai.testing.fuzz.player import Play, Player
from cfai.testing.fuzz.shrinking import smaller_than

__all__ = ["Command", "Finding", "NoStreamAsked", "findings"]

MOST_SHRINKING = 60
"""Runs to make a stream small that a command reads wrongly."""

_COMPLAINT = re.compile(r"^(\w*\.)*\w*(Error|Exception)\b.*$", re.MULTILINE)
"""The line of a traceback, in any of several languages, that says what was wrong."""


Wrong = tuple[CutStream, Outcome]
"""A stream that a command reads wrongly, and how. To run it again might show it no more: the network may put together
what was cut."""


class NoStreamAsked(Exception):
    """The command asked for no stream, so there is nothing to compare."""


class Command:
    """A command that reads one stream and prints its text.

    ```python
    async with playing() as player:
        command = Command(["node", "client.mjs"], player)
        form = await command.form()
    ```

    The address of the stream is in CFAI_FUZZ_URL (a GET, or any of the paths below), OPENAI_BASE_URL for clients of
    OpenAI and CLOUDFLARE_BASE_URL for those of Cloudflare's REST API.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        player: Player,
        *,
        run_form: CaseForm = "classic",
        seconds: float = 30.0,
        must_tell: Sequence[End] = (),
    ) -> None:
        self.name = " ".join(arguments)
        self._arguments = arguments
        self._player = player
        self._run_form = run_form
        self._seconds = seconds
        self._must_tell = must_tell

    async def form(self) -> CaseForm:
        """The form that the command asks for, seen by a stream that is as plain as can be."""
        plain = {form: _one_chunk(corpus(forms=[form], names=["plain"])[0]) for form in FORMS}
        play = Play(plain, self._run_form)
        outcome = await self._run(play)
        if play.asked is None:
            why = play.problem or (str(outcome.raised) if outcome.raised else "it asked for nothing")
            raise NoStreamAsked(why)
        return play.asked

    async def read(self, stream: CutStream) -> Outcome:
        """What the command makes of a stream."""
        return await self._run(Play(dict.fromkeys(FORMS, stream), self._run_form))

    def expected(self, stream: CutStream) -> Expected:
        expected = expected_of(stream, "text", self._must_tell)
        return Expected(expected.value.rstrip("\r\n"), expected.may_raise, expected.must_raise)

    async def wrong(self, stream: CutStream) -> Wrong | None:
        """The stream with what the command made of it, where that is wrong."""
        outcome = await self.read(stream)
        return None if self.expected(stream).is_met_by(outcome) else (stream, outcome)

    async def _run(self, play: Play) -> Outcome:
        process = await anyio.open_process(
            self._arguments,
            stdin=subprocess.DEVNULL,
            env=self._environment(self._player.add(play)),
            start_new_session=True,  # whatever it starts ends with it
        )
        out, err = bytearray(), bytearray()
        try:
            with anyio.fail_after(self._seconds):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(_collect, process.stdout, out)
                    tasks.start_soon(_collect, process.stderr, err)
                code = await process.wait()
        except TimeoutError:
            return Outcome(raised=CommandFailed(f"it did not end within {self._seconds:g} s"))
        finally:
            await _end(process)
        if code:
            return Outcome(raised=CommandFailed(f"exit code {code}{_complaint(err.decode('utf-8', 'replace'))}"))
        # The line end that a program prints behind a text is none of its own.
        return Outcome(out.decode("utf-8", "replace").rstrip("\r\n"))

    def _environment(self, address: str) -> Mapping[str, str]:
        return {
            "OPENAI_API_KEY": "cfai-fuzz",
            "CLOUDFLARE_API_TOKEN": "cfai-fuzz",
            "CLOUDFLARE_ACCOUNT_ID": "cfai-fuzz",
            **os.environ,
            "CFAI_FUZZ_URL": address,
            "OPENAI_BASE_URL": f"{address}/v1",
            "CLOUDFLARE_BASE_URL": f"{address}/client/v4",
        }


@dataclass(frozen=True, slots=True)
class Finding:
    """What a command made of one stream of the corpus, in the ways it was cut."""

    case: StreamCase
    runs: int
    difference: Difference | None = None


async def findings(
    command: Command, cases: Sequence[StreamCase], *, seed: int = 0, limit: int | None = None, jobs: int = 1
) -> AsyncGenerator[Finding]:
    """Run a command on each stream, `limit` times at most and `jobs` at once. The first difference is made small."""
    rng = random.Random(seed)
    share = None if limit is None else max(1, limit // max(1, len(cases)))
    has_found = False
    for case in cases[:limit]:
        runs, wrong = await _first_wrong(command, list(_few_cuts(case, rng))[:share], jobs)
        if wrong is None:
            yield Finding(case, runs)
            continue
        stream, got = wrong if has_found else await _shrunk(command, wrong)
        is_right_apart = not has_found and not stream.cuts and not await command.wrong(one_by_one(stream.case))
        yield Finding(case, runs, Difference(stream, command.expected(stream), got, command.name, is_right_apart))
        has_found = True


async def _first_wrong(command: Command, cuts: Sequence[CutStream], jobs: int) -> tuple[int, Wrong | None]:
    """How often the command ran until it read one of them wrongly, and that one."""
    for start in range(0, len(cuts), jobs):
        batch = cuts[start : start + jobs]
        wrong: dict[int, Wrong] = {}

        async def check(place: int, stream: CutStream, wrong: dict[int, Wrong] = wrong) -> None:
            if found := await command.wrong(stream):
                wrong[place] = found

        async with anyio.create_task_group() as tasks:
            for place, stream in enumerate(batch):
                tasks.start_soon(check, place, stream)
        if wrong:
            return start + len(batch), wrong[min(wrong)]
    return len(cuts), None


async def _shrunk(command: Command, wrong: Wrong) -> Wrong:
    tries = 0
    while True:
        for smaller in smaller_than(wrong[0]):
            tries += 1
            if tries > MOST_SHRINKING:
                return wrong
            if found := await command.wrong(smaller):
                wrong = found
                break
        else:
            return wrong


def _few_cuts(case: StreamCase, rng: random.Random) -> Iterator[CutStream]:
    """The cuts that find most, for what takes long to try: the first of each kind, and some at random."""
    seen: set[tuple[int, ...]] = set()
    stream = case.bytes
    places: dict[str, int] = {}
    for at in range(len(stream) // 4, len(stream)):
        places.setdefault(place_of(stream, at), at)
    singles = [CutStream.at(case, [at]) for at in sorted(places.values())]
    for cut in (*coarse_cuts(case), *singles, *random_cuts(case, rng, count=2)):
        if cut.cuts not in seen:
            seen.add(cut.cuts)
            yield cut


def _one_chunk(case: StreamCase) -> CutStream:
    return CutStream.at(case, ())


def _complaint(stderr: str) -> str:
    lines = [match[0] for match in _COMPLAINT.finditer(stderr)] or stderr.strip().splitlines()
    return f": {lines[-1].strip()}" if lines else ""


async def _collect(stream: anyio.abc.ByteReceiveStream | None, into: bytearray) -> None:
    if stream is not None:
        async for chunk in stream:
            into.extend(chunk)


async def _end(process: Process) -> None:
    with anyio.CancelScope(shield=True):
        with contextlib.suppress(ProcessLookupError):  # all of it has ended
            os.killpg(process.pid, signal.SIGKILL)
        await process.aclose()
