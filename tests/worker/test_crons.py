"""The timer of cron triggers, on a clock that does not wait."""

import datetime
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import anyio.lowlevel

from cfai.config import Cron
from cfai.worker.crons import Claims, CronTimer

NOON = datetime.datetime(2026, 11, 28, 12, 0, tzinfo=datetime.UTC).timestamp()


@dataclass
class Clock:
    """A clock on which sleeping takes no time. It stops the timer at `until`."""

    now: float = NOON + 30
    until: float = NOON + 605
    timers: list[CronTimer] = field(default_factory=list)

    def time(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.now >= self.until:
            for timer in self.timers:
                timer.stop()
        await anyio.lowlevel.checkpoint()


@dataclass
class Runs:
    done: list[tuple[str, str]] = field(default_factory=list)

    async def __call__(self, cron: str, at: int) -> None:
        self.done.append((cron, f"{datetime.datetime.fromtimestamp(at / 1000, datetime.UTC):%H:%M:%S}"))


def timer_of(folder: Path, clock: Clock, runs: Runs, *crons: str, session: str = "1") -> CronTimer:
    parsed = [Cron.parse(cron) for cron in crons]
    timer = CronTimer(parsed, runs, Claims(folder, session), clock=clock.time, sleep=clock.sleep)
    clock.timers.append(timer)
    return timer


async def test_each_expression_runs_in_its_minutes(tmp_path: Path) -> None:
    clock, runs = Clock(), Runs()
    await timer_of(tmp_path, clock, runs, "*/3 * * * *", "5 12 * * *").run()
    assert runs.done == [
        ("*/3 * * * *", "12:03:00"),
        ("5 12 * * *", "12:05:00"),
        ("*/3 * * * *", "12:06:00"),
        ("*/3 * * * *", "12:09:00"),
    ]


async def test_a_reload_neither_loses_nor_doubles_a_minute(tmp_path: Path) -> None:
    clock, runs = Clock(until=NOON + 125), Runs()
    await timer_of(tmp_path, clock, runs, "* * * * *").run()
    # The next process comes when the minute 12:03 is over already.
    clock.now, clock.until = NOON + 185, NOON + 310
    await timer_of(tmp_path, clock, runs, "* * * * *").run()
    assert [at for _, at in runs.done] == ["12:01:00", "12:02:00", "12:03:00", "12:04:00", "12:05:00"]


async def test_two_processes_at_once_run_a_minute_once(tmp_path: Path) -> None:
    clock, runs = Clock(), Runs()
    async with anyio.create_task_group() as tasks:
        for _ in range(2):
            tasks.start_soon(timer_of(tmp_path, clock, runs, "* * * * *").run)
    assert [at for _, at in runs.done] == [f"12:{minute:02}:00" for minute in range(1, 11)]


async def test_another_session_has_minutes_of_its_own(tmp_path: Path) -> None:
    runs = Runs()
    for session in ("1", "2"):
        await timer_of(tmp_path, Clock(until=NOON + 125), runs, "* * * * *", session=session).run()
    assert [at for _, at in runs.done] == ["12:01:00", "12:02:00"] * 2


async def test_what_a_sleeping_machine_missed_is_left_out(tmp_path: Path) -> None:
    clock, runs = Clock(until=NOON + 125), Runs()
    await timer_of(tmp_path, clock, runs, "* * * * *").run()
    clock.now, clock.until = NOON + 8 * 3600 + 5, NOON + 8 * 3600 + 65
    await timer_of(tmp_path, clock, runs, "* * * * *").run()
    assert [at for _, at in runs.done] == ["12:01:00", "12:02:00", "19:59:00", "20:00:00", "20:01:00"]


async def test_a_slow_run_holds_up_no_other(tmp_path: Path) -> None:
    clock, runs = Clock(until=NOON + 185), Runs()
    third, release = anyio.Event(), anyio.Event()

    async def slow(cron: str, at: int) -> None:
        await runs(cron, at)
        if len(runs.done) == 3:
            third.set()
        await release.wait()

    timer = CronTimer([Cron.parse("* * * * *")], slow, Claims(tmp_path, "1"), clock=clock.time, sleep=clock.sleep)
    clock.timers.append(timer)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(timer.run)
        with anyio.fail_after(5):
            await third.wait()
        release.set()
    assert [at for _, at in runs.done] == ["12:01:00", "12:02:00", "12:03:00"]


def test_claims_clean_up_behind_themselves(tmp_path: Path) -> None:
    claims = Claims(tmp_path / "claims", "1")
    assert claims.last() is None
    assert [claims.claim(minute) for minute in (1, 2, 3, 3, 4, 5, 6)] == [True, True, True, False, True, True, True]
    assert claims.last() == 6
    assert len(list((tmp_path / "claims").iterdir())) == 3


def test_where_nothing_can_be_written_each_minute_runs(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    claims = Claims(tmp_path / "file" / "folder", "1")
    assert (claims.claim(1), claims.last()) == (True, None)
