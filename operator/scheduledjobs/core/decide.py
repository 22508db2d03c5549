"""Every undecided moment of a job is decided together, up to a bound: it fires, or a row says why it did not.

The rules in their order (design: deciding moments):

1. A suspended or not runnable job skips its moments; they become range rows.
2. A one-shot whose moment lies before its own creation is MISSED/InThePast.
3. A moment later than startingDeadline is MISSED/StartingDeadlineExceeded.
4. While a change is settled, moments later than the grace are MISSED with the change as reason; a delete fires none,
   nor does the restoring of a backup. What a suspension finds not due yet, because of its jitter, is SKIPPED/Suspended
   as what comes in it: no moment fires while its job is suspended.
5. All late by at most the grace: each fires, in order.
6. Else the misfire policy: FireOnce runs the newest, told what it stands for, the others are MISSED/Coalesced; FireAll
   runs the newest `limit` one after the other, older ones are MISSED/OverLimit; Skip runs those within the grace, the
   others are MISSED/TooLate.

Of the moments that fire as if on time (5, and the rest of Skip), one decision takes the oldest 1,000 at most: a day's
grace of a job of every second would be 86,400 rows in one transaction. What is left is decided next, by the same rules.
Since such moments fire in their order, that is as if the leader had looked in between; a change waits until all that
was due before it is decided. What the policies make up is bounded by itself, so it is always decided together.

Lateness counts from when a moment may fire: its fire time and its jitter. Range rows end at each UTC midnight, so that
a day can be dropped whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice

from scheduledjobs.core.jitter import due_at
from scheduledjobs.core.job import Decision, Job, NewExecution
from scheduledjobs.core.reasons import JobState, Reason, ScheduleKind, State, Trigger
from scheduledjobs.core.schedule import FixedDelay, following_fire, moments, next_fire
from scheduledjobs.core.spec import ConcurrencyPolicy, MisfirePolicy

TICK = timedelta(microseconds=1)
SECOND = timedelta(seconds=1)
"""No schedule has moments nearer to each other."""

AT_ONCE = 1000
"""How many moments fire as if on time from one decision: about a tenth of a second of writing."""

DAY = timedelta(days=1)
SINGLE_MOMENT = frozenset({ScheduleKind.ONE_SHOT, ScheduleKind.FIXED_DELAY})
"""Kinds that have one undecided moment at most: what follows is known only when it has run."""

FIRING_NONE = frozenset({Reason.DELETED, Reason.RESTORED})
"""Changes that settle every moment without a run, late or not."""

NEVER_FIRING = frozenset({JobState.SUSPENDED, JobState.INVALID})
"""States whose moments become range rows, however many there are."""


def due(job: Job, fire_time: datetime) -> datetime:
    """Return when a moment of `job` may fire."""
    return due_at(job.id, job.schedule, job.jitter, fire_time, job.anchor_at)


def decide(job: Job, keep_from: datetime, now: datetime, *, most: int = AT_ONCE) -> Decision:
    """Return what becomes of the moments of `job` from its `next_fire_at` to those due at `now`, both inclusive.

    Of those that fire as if on time, the oldest `most`; the decision's next_fire_at is then due already. `keep_from` is
    the oldest instant that history is kept for: older moments get no row. `ValueError` if none is due.
    """
    decision = decide_if_due(job, keep_from, now, most=most)
    if decision is None:
        raise ValueError(f"job {job.id} has no moment due at {now}")
    return decision


def decide_if_due(job: Job, keep_from: datetime, now: datetime, *, most: int = AT_ONCE) -> Decision | None:
    """As `decide`; None if no moment is due."""
    if (decision := _one_on_time(job, keep_from, now)) is not None:
        return decision
    newest = newest_due(job, now)
    return None if newest is None else _decided(job, keep_from, _last_of(job, keep_from, newest, now, most), now, None)


def _one_on_time(job: Job, keep_from: datetime, now: datetime) -> Decision | None:
    """Return the decision of nearly every fire, by rule 5: one moment and it is on time. None if it is another case.

    What `_decided` returns, at a fifth of its time.
    """
    first, kind = job.next_fire_at, job.schedule.kind
    if first is None or first < keep_from or job.state is not JobState.ACTIVE:
        return None
    due_at = due(job, first) if job.jitter else first
    is_on_time = due_at <= now and now - due_at <= min(job.misfire.grace, job.starting_deadline)
    if not is_on_time or (kind is ScheduleKind.ONE_SHOT and first < job.created_at):
        return None
    following = None if kind in SINGLE_MOMENT else next_fire(job.schedule, first, job.anchor_at)
    if following is not None and following <= now:
        return None
    row = NewExecution(first, State.PENDING, due_at=due_at if job.jitter else None)
    completed = following is None and kind is not ScheduleKind.FIXED_DELAY
    next_due_at = due(job, following) if following is not None and job.jitter else following
    return Decision((row,), following, next_due_at, first, completed)


def _last_of(
    job: Job, keep_from: datetime, newest: datetime, now: datetime, most: int, change: Reason | None = None
) -> datetime:
    """Return the last moment to decide now: `newest`, or an older one if too many would fire as if on time."""
    assert job.next_fire_at is not None  # noqa: S101 the caller looked
    fires_none = job.state in NEVER_FIRING or change in FIRING_NONE
    if fires_none or newest - job.next_fire_at < most * SECOND or job.schedule.kind in SINGLE_MOMENT:
        return newest
    start = max(job.next_fire_at, keep_from)
    in_time = _from(job, start, newest, now - job.starting_deadline)
    on_time = _from(job, in_time, newest, now - job.misfire.grace)
    by_policy = change is None and job.misfire.policy is not MisfirePolicy.SKIP
    if by_policy and _first(job, in_time, newest) < on_time:
        return newest
    return next(islice(moments(job.schedule, on_time - TICK, newest, job.anchor_at), most - 1, None), newest)


def settle(
    job: Job, keep_from: datetime, before: datetime, now: datetime, change: Reason, *, most: int = AT_ONCE
) -> Decision | None:
    """Return what becomes of the moments of `job` that lie before a change, None if there are none.

    `before` is when the change takes effect (exclusive): from then on moments are another version's. `change` is
    Edited, Suspended or Deleted. Of those that fire, the oldest `most`; the decision's next_fire_at lies before the
    change then, which has to wait. A suspension skips the one whose jitter is not over.
    """
    first = job.next_fire_at
    if first is None or first >= before:
        return None
    newest = _last_of(job, keep_from, _newest(job, first, before - TICK), now, most, change)
    decision = _decided(job, keep_from, newest, now, change)
    if change is not Reason.SUSPENDED or not job.jitter:
        return decision
    return replace(decision, executions=tuple(_suspended(row, before) for row in decision.executions))


def _suspended(row: NewExecution, at: datetime) -> NewExecution:
    """Return the row, closed if its run would be due at a suspension or later; no range row, as its message is its
    own."""
    if row.due_at is None or row.due_at < at:
        return row
    due_at = row.due_at.isoformat(timespec="milliseconds")
    message = f"the job was suspended before this moment was due: with its jitter that was {due_at}"
    return NewExecution(row.fire_time, State.SKIPPED, Reason.SUSPENDED, message=message)


def close(job: Job, keep_from: datetime, until: datetime, now: datetime) -> Decision | None:
    """Return the decision that lets no moment run that was due at `until`, MISSED/Restored; None if there are none.

    A backup knows nothing of what ran after it was made, so those moments may have run already.
    """
    newest = newest_due(job, until)
    return None if newest is None else _decided(job, keep_from, newest, now, Reason.RESTORED)


def newest_due(job: Job, now: datetime) -> datetime | None:
    """Return the newest undecided moment that is due at `now`, or None."""
    first = job.next_fire_at
    if first is None or first > now:
        return None
    newest = _newest(job, first, now)
    if due(job, newest) <= now:
        return newest
    return _newest(job, first, newest - TICK) if first < newest else None


def _newest(job: Job, first: datetime, until: datetime) -> datetime:
    if job.schedule.kind in SINGLE_MOMENT:
        return first
    return moments(job.schedule, first - TICK, until, job.anchor_at).last or first


def _decided(job: Job, keep_from: datetime, newest: datetime, now: datetime, change: Reason | None) -> Decision:
    assert job.next_fire_at is not None  # noqa: S101 the callers looked
    start = max(job.next_fire_at, keep_from)
    rows = tuple(_rows(job, start, newest, now, change)) if newest >= start else ()
    following = _following(job, newest, now, has_row=bool(rows))
    completed = following is None and job.schedule.kind is not ScheduleKind.FIXED_DELAY
    next_due_at = None if following is None else due(job, following)
    return Decision(tuple(_with_due(job, row) for row in rows), following, next_due_at, newest, completed)


def _following(job: Job, newest: datetime, now: datetime, *, has_row: bool) -> datetime | None:
    if isinstance(job.schedule, FixedDelay) and not has_row:  # no end will come that the next moment could follow
        return following_fire(job.schedule, now, newest, job.effective_from)
    return None if job.schedule.kind in SINGLE_MOMENT else next_fire(job.schedule, newest, job.anchor_at)


def _with_due(job: Job, row: NewExecution) -> NewExecution:
    if not job.jitter or row.state is not State.PENDING:
        return row
    return replace(row, due_at=due(job, row.fire_time))


def _rows(job: Job, start: datetime, newest: datetime, now: datetime, change: Reason | None) -> Iterator[NewExecution]:
    end = newest + TICK
    if job.state is JobState.SUSPENDED and job.schedule.kind is not ScheduleKind.ONE_SHOT:
        yield from ranges(job, start, end, State.SKIPPED, Reason.SUSPENDED, job.message)
    elif job.state is JobState.INVALID:
        yield from ranges(job, start, end, State.SKIPPED, Reason.NOT_READY, job.message)
    elif job.schedule.kind is ScheduleKind.ONE_SHOT and start < job.created_at:
        yield from ranges(job, start, end, State.MISSED, Reason.IN_THE_PAST)
    elif change in FIRING_NONE or (change is not None and job.state is JobState.SUSPENDED):
        yield from ranges(job, start, end, State.MISSED, change)
    else:
        in_time = _from(job, start, newest, now - job.starting_deadline)
        yield from ranges(job, start, in_time, State.MISSED, Reason.STARTING_DEADLINE_EXCEEDED)
        if in_time < end:
            yield from _fires(job, start, in_time, newest, now, change)


def _from(job: Job, start: datetime, newest: datetime, due_from: datetime) -> datetime:
    """Return from where on the moments of [start, newest] are due at `due_from` or later; past `newest` if none is."""
    end = newest + TICK
    bound = min(max(start, due_from), end)
    if not job.jitter or bound == start:
        return bound
    before = newest if job.schedule.kind in SINGLE_MOMENT else _last(job, start, bound)
    return before if before is not None and before < bound and due(job, before) >= due_from else bound


def _last(job: Job, start: datetime, end: datetime) -> datetime | None:
    return moments(job.schedule, start - TICK, end - TICK, job.anchor_at).last


def _fires(
    job: Job, start: datetime, in_time: datetime, newest: datetime, now: datetime, change: Reason | None
) -> Iterator[NewExecution]:
    on_time = _from(job, in_time, newest, now - job.misfire.grace)
    policy = job.misfire.policy
    if change is not None or policy is MisfirePolicy.SKIP:
        yield from ranges(job, in_time, on_time, State.MISSED, change or Reason.TOO_LATE)
        yield from each(job, on_time, newest)
    elif _first(job, in_time, newest) >= on_time:
        yield from each(job, in_time, newest)
    elif policy is MisfirePolicy.FIRE_ALL:
        yield from _all(job, in_time, newest)
    else:
        yield from ranges(job, in_time, newest, State.MISSED, Reason.COALESCED)
        yield _once(job, start, newest)


def _once(job: Job, start: datetime, newest: datetime) -> NewExecution:
    """Return the one run that stands for all moments from `start` to `newest`."""
    run = NewExecution(newest, State.PENDING, trigger=Trigger.CATCH_UP)
    if start == newest or job.schedule.kind in SINGLE_MOMENT:
        return run
    missed = moments(job.schedule, start - TICK, newest - TICK, job.anchor_at)
    return replace(run, missed_count=missed.count, first_missed_at=missed.first) if missed.count else run


def _all(job: Job, start: datetime, newest: datetime) -> Iterator[NewExecution]:
    """Yield the newest `limit` moments to be run one after the other, and what is older as over the limit."""
    if job.schedule.kind in SINGLE_MOMENT:
        yield NewExecution(newest, State.PENDING, trigger=Trigger.CATCH_UP)
        return
    found = moments(job.schedule, start - TICK, newest, job.anchor_at)
    kept = list(islice(found, max(0, found.count - job.misfire.limit), None))
    yield from ranges(job, start, kept[0], State.MISSED, Reason.OVER_LIMIT)
    for number, fire_time in enumerate(kept):
        run = NewExecution(fire_time, State.PENDING, trigger=Trigger.CATCH_UP)
        waits = number > 0 and job.concurrency is not ConcurrencyPolicy.ALLOW
        yield replace(run, reason=Reason.CATCHING_UP, is_held=True) if waits else run


def _first(job: Job, start: datetime, newest: datetime) -> datetime:
    if job.schedule.kind in SINGLE_MOMENT:
        return newest
    return moments(job.schedule, start - TICK, newest, job.anchor_at).first or newest


def each(job: Job, start: datetime, newest: datetime) -> Iterator[NewExecution]:
    """Yield a row to run for every moment from `start` to `newest`, both inclusive."""
    if job.schedule.kind in SINGLE_MOMENT:
        found: Sequence[datetime] = [newest] if start <= newest else []
    else:
        found = list(moments(job.schedule, start - TICK, newest, job.anchor_at))
    for fire_time in found:
        yield NewExecution(fire_time, State.PENDING)


def ranges(
    job: Job, start: datetime, end: datetime, state: State, reason: Reason, message: str = ""
) -> Iterator[NewExecution]:
    """Yield a row per UTC day that stands for the moments in [start, end); days without one get none."""
    while start < end:
        day_end = min(midnight_after(start), end)
        row = _range(job, start, day_end, state, reason)
        if row is not None:
            yield replace(row, message=message or None)
        start = day_end


def _range(job: Job, start: datetime, end: datetime, state: State, reason: Reason) -> NewExecution | None:
    if job.schedule.kind in SINGLE_MOMENT:
        at = job.next_fire_at
        return None if at is None or not start <= at < end else _moment(at, state, reason)
    found = moments(job.schedule, start - TICK, end - TICK, job.anchor_at)
    if found.first is None:
        return None
    return NewExecution(found.first, state, reason, last_fire_time=found.last, moment_count=found.count)


def _moment(at: datetime, state: State, reason: Reason) -> NewExecution:
    return NewExecution(at, state, reason, last_fire_time=at, moment_count=1)


def midnight_after(instant: datetime) -> datetime:
    """Return the first UTC midnight after `instant`."""
    return _midnight_before(instant) + DAY


def oldest_kept(retention: timedelta, now: datetime) -> datetime:
    """Return the oldest instant that history is kept for at `now`: days are dropped whole, so it begins with a UTC day,
    and each moment of that day needs its row."""
    return _midnight_before(now - retention)


def _midnight_before(instant: datetime) -> datetime:
    return instant.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
