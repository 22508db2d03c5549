"""Every undecided moment of a job is decided together: it fires, or a row says why it did not.

The rules in their order (design: deciding moments):

1. A suspended or not runnable job skips its moments; they become range rows.
2. A one-shot whose moment lies before its own creation is MISSED/InThePast.
3. A moment later than startingDeadline is MISSED/StartingDeadlineExceeded.
4. While a change is settled, moments later than the grace are MISSED with the change as reason; a delete fires none.
5. All late by at most the grace: each fires, in order.
6. Else one run for the newest, told what it stands for; the others are MISSED/Coalesced.

Range rows end at each UTC midnight, so that a day can be dropped whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from scheduledjobs.core.job import GRACE, Decision, Job, NewExecution
from scheduledjobs.core.reasons import JobState, Reason, ScheduleKind, State, Trigger
from scheduledjobs.core.schedule import moments, next_fire

TICK = timedelta(microseconds=1)
DAY = timedelta(days=1)
SINGLE_MOMENT = frozenset({ScheduleKind.ONE_SHOT, ScheduleKind.FIXED_DELAY})
"""Kinds that have one undecided moment at most: what follows is known only when it has run."""


def decide(job: Job, keep_from: datetime, now: datetime, *, change: Reason | None = None) -> Decision:
    """Return what becomes of the moments of `job` from its `next_fire_at` to `now`, both inclusive.

    `keep_from` is the oldest instant that history is kept for: older moments get no row. `change` is set while a
    change of the job is being settled: Edited, Suspended or Deleted. `ValueError` if nothing is due.
    """
    first = job.next_fire_at
    if first is None or first > now:
        raise ValueError(f"job {job.id} has no moment due at {now}")
    newest = newest_due(job, first, now)
    start = max(first, keep_from)
    executions = tuple(_rows(job, start, newest, now, change)) if newest >= start else ()
    single = job.schedule.kind in SINGLE_MOMENT
    following = None if single else next_fire(job.schedule, newest, job.anchor_at)
    completed = following is None and job.schedule.kind is not ScheduleKind.FIXED_DELAY
    return Decision(executions, following, newest, completed)


def newest_due(job: Job, first: datetime, now: datetime) -> datetime:
    """Return the newest moment at or before `now`, given that `first` is one."""
    if job.schedule.kind in SINGLE_MOMENT:
        return first
    return moments(job.schedule, first - TICK, now, job.anchor_at).last or first


def _rows(job: Job, start: datetime, newest: datetime, now: datetime, change: Reason | None) -> Iterator[NewExecution]:
    after_newest = newest + TICK
    if job.state is JobState.SUSPENDED:
        yield from ranges(job, start, after_newest, State.SKIPPED, Reason.SUSPENDED)
    elif job.state is JobState.INVALID:
        yield from ranges(job, start, after_newest, State.SKIPPED, Reason.NOT_READY)
    elif job.schedule.kind is ScheduleKind.ONE_SHOT and start < job.created_at:
        yield from ranges(job, start, after_newest, State.MISSED, Reason.IN_THE_PAST)
    elif change is Reason.DELETED:
        yield from ranges(job, start, after_newest, State.MISSED, change)
    else:
        in_time = min(max(start, now - job.starting_deadline), after_newest)
        yield from ranges(job, start, in_time, State.MISSED, Reason.STARTING_DEADLINE_EXCEEDED)
        if in_time < after_newest:
            yield from _fires(job, start, in_time, newest, now, change)


def _fires(
    job: Job, start: datetime, in_time: datetime, newest: datetime, now: datetime, change: Reason | None
) -> Iterator[NewExecution]:
    grace_from = now - GRACE
    if change is not None:
        on_time = min(max(in_time, grace_from), newest + TICK)
        yield from ranges(job, in_time, on_time, State.MISSED, change)
        yield from each(job, on_time, newest)
    elif _first(job, in_time, newest) >= grace_from:
        yield from each(job, in_time, newest)
    else:
        yield from ranges(job, in_time, newest, State.MISSED, Reason.COALESCED)
        yield _catch_up(job, start, newest)


def _catch_up(job: Job, start: datetime, newest: datetime) -> NewExecution:
    """Return the one run that stands for all moments from `start` to `newest`."""
    if start == newest:
        return NewExecution(newest, State.PENDING, trigger=Trigger.CATCH_UP)
    missed = moments(job.schedule, start - TICK, newest - TICK, job.anchor_at)
    run = NewExecution(newest, State.PENDING, trigger=Trigger.CATCH_UP)
    return replace(run, missed_count=missed.count, first_missed_at=missed.first) if missed.count else run


def _first(job: Job, start: datetime, newest: datetime) -> datetime:
    if job.schedule.kind in SINGLE_MOMENT:
        return newest
    return moments(job.schedule, start - TICK, newest, job.anchor_at).first or newest


def each(job: Job, start: datetime, newest: datetime) -> Iterator[NewExecution]:
    """Yield a row to run for every moment from `start` to `newest`, both inclusive."""
    if job.schedule.kind in SINGLE_MOMENT:
        due: Sequence[datetime] = [newest] if start <= newest else []
    else:
        due = list(moments(job.schedule, start - TICK, newest, job.anchor_at))
    for fire_time in due:
        yield NewExecution(fire_time, State.PENDING)


def ranges(job: Job, start: datetime, end: datetime, state: State, reason: Reason) -> Iterator[NewExecution]:
    """Yield a row per UTC day that stands for the moments in [start, end); days without one get none."""
    while start < end:
        day_end = min(midnight_after(start), end)
        row = _range(job, start, day_end, state, reason)
        if row is not None:
            yield row
        start = day_end


def _range(job: Job, start: datetime, end: datetime, state: State, reason: Reason) -> NewExecution | None:
    if job.schedule.kind in SINGLE_MOMENT:
        return NewExecution(job.next_fire_at or start, state, reason, last_fire_time=job.next_fire_at, moment_count=1)
    due = moments(job.schedule, start - TICK, end - TICK, job.anchor_at)
    if due.first is None:
        return None
    return NewExecution(due.first, state, reason, last_fire_time=due.last, moment_count=due.count)


def midnight_after(instant: datetime) -> datetime:
    """Return the first UTC midnight after `instant`."""
    day = instant.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return day + DAY


def forbid_overlap(
    executions: Sequence[NewExecution], live: int | None, ids: Iterator[int | None]
) -> tuple[NewExecution, ...]:
    """Return the rows with those that would overlap closed as SKIPPED/Overlap.

    `live` is the id of an execution of the job that has not ended, or None; then the first row to run gets an id of
    `ids` (None: the database numbers it, no other row will name it) and stands in the way of the next.
    """
    settled = []
    for row in executions:
        if row.state is not State.PENDING:
            settled.append(row)
        elif live is not None:
            message = f"execution {live} had not ended"
            settled.append(replace(row, state=State.SKIPPED, reason=Reason.OVERLAP, message=message, blocked_by=live))
        else:
            live = next(ids)
            settled.append(replace(row, id=live))
    return tuple(settled)
