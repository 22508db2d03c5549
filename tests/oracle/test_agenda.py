"""The agenda against brute force: notes at the transitions of some zones, buckets against moments listed one by one."""

from __future__ import annotations

import sys
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import pytest

from scheduledjobs.core.agenda import Bucket, Fire, buckets, fires
from scheduledjobs.core.schedule import Cron, FixedDelay, Schedule, next_fire, parse_schedule

sys.path.insert(0, str(Path(__file__).parent))
import cron_oracle as oracle

SEED = 20261124
AROUND = 8 * 3600
ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Cairo", "America/Santiago", "Asia/Gaza")
START = datetime(2026, 11, 24, 12, 7, 30, 250_000, tzinfo=UTC)


def check_notes(found: list[Fire], expression: str, minutes: list[oracle.Minute]) -> int:
    """Hold each note against what the minutes around it say; return how many notes there were."""
    is_fixed = not any(mark in field for field in expression.split()[:2] for mark in "*/-")
    by_instant = {minute.instant: minute for minute in minutes}
    twice = Counter(minute.local for minute in minutes)
    before: Fire | None = None
    for fire in found:
        minute, note = by_instant[int(fire.at.timestamp())], fire.note or ""
        stands_in = is_fixed and bool(skipped_and_due(expression, minute))
        assert ("not exist" in note) == stands_in, (expression, fire)
        passes = [] if twice[minute.local] == 1 else ["second" if minute.is_second_pass else "first"]
        assert [word for word in ("first", "second") if f"{word} pass" in note or f"{word} time" in note] == passes
        has_moved = before is not None and before.local.utcoffset() != fire.local.utcoffset()
        assert (f"from here on {fire.local:%z}" in note) == has_moved, (expression, fire)
        before = fire
    return sum(fire.note is not None for fire in found)


def skipped_and_due(expression: str, minute: oracle.Minute) -> list[int]:
    """The skipped local times before a minute at which an expression would have been due."""
    asked = [oracle.Minute(number, local, False, ()) for number, local in enumerate(minute.skipped)]
    return oracle.due(expression, asked)


def test_notes_equal_brute_force_at_transitions() -> None:
    random = Random(SEED)
    noted = 0
    for name in ZONES:
        tz = oracle.zone(name)
        for transition in oracle.transitions(tz, 2024, 2029):
            minutes = oracle.timeline(tz, transition - AROUND, transition + AROUND)
            chosen = oracle.expressions(random, minutes[AROUND // 60].local[1])
            for _ in range(10):
                expression = next(chosen)
                due = oracle.due(expression, minutes)
                schedule = parse_schedule(schedule=expression, time_zone=name)
                found = fires(schedule, datetime.fromtimestamp(minutes[0].instant - 1, UTC), len(due))
                assert [int(fire.at.timestamp()) for fire in found] == due
                noted += check_notes(found, expression, minutes)
    assert noted > 1_000


def some_schedule(random: Random) -> tuple[Schedule, datetime | None]:
    """A schedule and its anchor."""
    start = random.choice([None, None, START + random.randint(-30, 30) * timedelta(minutes=20)])
    window = {"start_time": start, "end_time": random.choice([None, None, START + timedelta(hours=7, seconds=1)])}
    kind = random.randrange(5)
    if kind == 0:
        return parse_schedule(run_at=START + timedelta(seconds=random.randint(-9000, 90_000)), **window), None
    if kind == 1:
        return parse_schedule(fixed_delay=timedelta(minutes=5), **window), None
    if kind == 2:
        period = random.choice([timedelta(seconds=s) for s in (1, 5, 7, 60, 300, 900, 1000, 3600, 86_400)])
        anchor = START - timedelta(milliseconds=random.choice([0, 250, random.randint(0, 10**8)]))
        return parse_schedule(fixed_rate=period, **window), anchor
    seconds = random.choice(["", "", "", "*/15 ", "3,7 "])
    expression = next(oracle.expressions(random, 12))
    return parse_schedule(schedule=seconds + expression, time_zone=random.choice(ZONES), **window), None


def listed(schedule: Schedule, anchor: datetime | None, first: datetime, end: datetime) -> list[datetime]:
    """The moments from a job's next fire on, one by one."""
    if isinstance(schedule, FixedDelay):
        return [first]
    found, at = [], first - timedelta(microseconds=1)
    while (following := next_fire(schedule, at, anchor)) is not None and following < end:
        found.append(following)
        at = following
    return found


@pytest.mark.parametrize("seed", range(12))
def test_buckets_equal_moments_that_are_listed(seed: int) -> None:
    random = Random(seed)
    step, count = timedelta(minutes=random.choice([5, 15, 60])), random.choice([3, 24, 40])
    end = START + count * step
    jobs: list[tuple[Schedule, datetime | None, datetime | None]] = []
    for _ in range(25):
        schedule, anchor = some_schedule(random)
        after = START + timedelta(seconds=random.choice([-4000, -1, 0, 1, 5000]))
        first = next_fire(schedule, after, anchor)
        jobs += [(schedule, anchor, first)] * random.choice([1, 1, 2])
    at = Counter(
        moment
        for schedule, anchor, first in jobs
        if first is not None and first < end
        for moment in listed(schedule, anchor, first, end)
        if moment >= START
    )
    expected = []
    for number in range(count):
        here = [n for moment, n in at.items() if (moment - START) // step == number]
        expected.append(Bucket(sum(here), max(here, default=0)))
    assert buckets(jobs, START, step, count) == expected


def test_ten_thousand_jobs_are_counted_in_a_moment() -> None:
    random = Random(SEED)
    jobs: list[tuple[Schedule, datetime | None, datetime | None]] = []
    for number in range(10_000):
        hour, minute = random.randrange(24), random.randrange(60)
        text = [f"{minute} {hour} * * *", f"{minute} * * * *", "*/5 * * * *", f"{minute} {hour} * * 1-5"][number % 4]
        schedule: Schedule = parse_schedule(schedule=text, time_zone=random.choice(ZONES))
        anchor = START - timedelta(milliseconds=random.randrange(10**8))
        if number % 3 == 0:
            schedule = parse_schedule(fixed_rate=timedelta(seconds=random.choice([10, 60, 70, 3600])))
        jobs.append((schedule, anchor, next_fire(schedule, START, anchor)))
    assert sum(isinstance(schedule, Cron) for schedule, *_ in jobs) > 6000
    best = min(_seconds(jobs) for _ in range(3))
    assert best < 2.0, best


def _seconds(jobs: list[tuple[Schedule, datetime | None, datetime | None]]) -> float:
    started = time.process_time()
    found = buckets(jobs, START, timedelta(minutes=15), 96)
    assert sum(bucket.moments for bucket in found) > 1_000_000
    return time.process_time() - started
