"""The shadow of an import: look at what the other scheduler runs for a while, and hold our fire times against it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import click

from scheduledjobs.core.duration import format_duration
from scheduledjobs.core.schedule import FixedRate, Schedule
from scheduledjobs.importing.imported import Imported
from scheduledjobs.importing.shadow import Compared, compare, our_moments

POLL_SECONDS = 5.0
SETTLE = timedelta(seconds=15)
"""How long the other scheduler may take to show what was due at the end."""

TELL_SECONDS = 10.0
Look = Callable[[datetime], Awaitable[Mapping[str, set[datetime]]]]
"""Returns the moments that each job, by its origin, was seen to run since a moment."""


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Time:
    """The clock of a comparison, which tests have in their hand."""

    now: Callable[[], datetime] = _now
    sleep: Callable[[float], Awaitable[None]] = field(default=asyncio.sleep)


async def shadow(
    jobs: Sequence[Imported], duration: timedelta, look: Look, *, is_nominal: bool, clock: Time
) -> list[Compared]:
    """Compare for `duration` from now on; jobs without an equivalent are not compared.

    `is_nominal`: what is seen are the moments themselves, and not when something was started for them.
    """
    begin = clock.now()
    end = begin + duration
    seen: dict[str, set[datetime]] = {}
    told_at = begin
    while True:
        for origin, moments in (await look(begin)).items():
            seen.setdefault(origin, set()).update(moments)
        now = clock.now()
        if now >= end + SETTLE:
            break
        if (now - told_at).total_seconds() >= TELL_SECONDS:
            told_at = now
            click.echo(_progress(now - begin, duration, seen, begin, end), err=True)
        await clock.sleep(min(POLL_SECONDS, max(0.2, (end + SETTLE - now).total_seconds())))
    return [_compare(job, begin, end, seen.get(job.origin, set()), is_nominal=is_nominal) for job in jobs if job.spec]


def _progress(
    passed: timedelta, duration: timedelta, seen: Mapping[str, set[datetime]], begin: datetime, end: datetime
) -> str:
    count = sum(begin < moment <= end for moments in seen.values() for moment in moments)
    whole = timedelta(seconds=round(passed.total_seconds()))
    if whole >= duration:
        return f"shadow: {format_duration(duration)} are over, waiting for the last runs to show; {count} runs seen"
    return f"shadow: {format_duration(whole)} of {format_duration(duration)}, {count} runs seen"


def _compare(job: Imported, begin: datetime, end: datetime, seen: set[datetime], *, is_nominal: bool) -> Compared:
    schedule = job.schedule
    assert schedule is not None  # noqa: S101 those without are not compared
    assert job.spec is not None  # noqa: S101
    tolerance = timedelta(0) if is_nominal else _tolerance(schedule)
    theirs = sorted(moment for moment in seen if begin < moment <= end)
    ours = our_moments(schedule, begin, end, theirs, is_suspended=bool(job.spec.get("suspend")))
    return compare(job.origin, ours, theirs, tolerance)


def _tolerance(schedule: Schedule) -> timedelta:
    """Return how far from its moment something may be started: half a period, or half a minute for cron."""
    return schedule.period / 2 if isinstance(schedule, FixedRate) else timedelta(seconds=30)
