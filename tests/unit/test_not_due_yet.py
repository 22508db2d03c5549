"""What a suspension makes of a moment that has come by its schedule, and whose jitter is not over. One test a rule."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from tests.unit.test_decide import HOUR, LONG_AGO, MINUTE, NOON, SECOND, job, settled

from scheduledjobs.core.decide import TICK, due, settle
from scheduledjobs.core.job import Job
from scheduledjobs.core.plan import Verdict, change_of
from scheduledjobs.core.reasons import JobState, Reason, State
from scheduledjobs.core.resource import Resource, ResourceMeta
from scheduledjobs.core.schedule import FixedDelay, OneShot, parse_schedule

NIGHTLY = parse_schedule(schedule="0 12 * * *")


def nightly(**changes: object) -> Job:
    """A job whose moment of noon is due hours later."""
    made = job(schedule=NIGHTLY, jitter=4 * HOUR, **changes)
    assert due(made, NOON) > NOON + MINUTE
    return made


@pytest.mark.parametrize("policy", ["FireOnce", "FireAll", "Skip"])
def test_a_suspension_closes_a_moment_whose_jitter_is_not_over(policy: str) -> None:
    made = nightly(misfire=job().misfire.model_copy(update={"policy": policy}))
    decision = settle(made, LONG_AGO, NOON + MINUTE, NOON + MINUTE, Reason.SUSPENDED)
    assert decision is not None
    (row,) = decision.executions
    assert (row.fire_time, row.state, row.reason, row.due_at) == (NOON, State.SKIPPED, Reason.SUSPENDED, None)
    due_at = due(made, NOON).isoformat(timespec="milliseconds")
    assert row.message == f"the job was suspended before this moment was due: with its jitter that was {due_at}"
    assert (decision.last_fire_time, decision.next_fire_at) == (NOON, NOON + 24 * HOUR)


def test_what_a_suspension_closes_before_it_is_due_shares_no_range_row() -> None:
    """Its message is its own: the suspended moments that come after it are not told of it."""
    (row,) = settled(nightly(), NOON + MINUTE, Reason.SUSPENDED)
    assert (row.state, row.moment_count, row.last_fire_time) == (State.SKIPPED, None, None)


@pytest.mark.parametrize(("later", "state"), [(timedelta(0), State.SKIPPED), (TICK, State.PENDING)])
def test_a_moment_that_is_due_before_a_suspension_fires(later: timedelta, state: State) -> None:
    """One that is due at the instant of a suspension belongs to it, as a moment without jitter does."""
    made = nightly()
    (row,) = settled(made, due(made, NOON) + later, Reason.SUSPENDED)
    assert row.state is state


def test_an_edit_lets_a_moment_fire_when_its_jitter_is_over() -> None:
    made = nightly()
    (row,) = settled(made, NOON + MINUTE, Reason.EDITED)
    assert (row.state, row.due_at) == (State.PENDING, due(made, NOON))


def test_a_suspension_settles_what_was_due_before_it_as_ever() -> None:
    made = job(jitter=50 * SECOND)
    last = NOON + 9 * MINUTE
    missed, fired, closed = settled(made, last + TICK, Reason.SUSPENDED)
    assert (missed.state, missed.reason, missed.moment_count) == (State.MISSED, Reason.SUSPENDED, 8)
    assert (fired.state, fired.fire_time) == (State.PENDING, last - MINUTE)
    assert (closed.state, closed.reason, closed.fire_time) == (State.SKIPPED, Reason.SUSPENDED, last)


def test_a_fixed_delay_that_is_suspended_before_it_is_due_waits_for_no_run() -> None:
    made = job(schedule=FixedDelay(HOUR), jitter=HOUR)
    decision = settle(made, LONG_AGO, NOON + TICK, NOON + TICK, Reason.SUSPENDED)
    assert decision is not None
    assert [row.state for row in decision.executions] == [State.SKIPPED]
    assert (decision.next_fire_at, decision.is_completed) == (None, False)


ONCE = {"runAt": NOON.isoformat(), "jitter": "1h", "handler": "log"}


def suspending(now: datetime, **spec: Any) -> Reason | None:
    """Why a one-shot of noon, due at half past, is settled as it is suspended."""
    row = {"state": "ACTIVE", "spec": ONCE, "schedule_kind": "ONE_SHOT", "next_due_at": NOON + 30 * MINUTE}
    changed = {**ONCE, "suspend": True, **spec}
    suspended = Verdict(JobState.SUSPENDED, Reason.SUSPENDED, "", None, OneShot(NOON))
    meta = ResourceMeta(job().id, "default", "job", 2, 2, {})
    return change_of(row, Resource(meta, LONG_AGO, changed, {}), suspended, now)


def test_a_one_shot_that_is_suspended_before_it_is_due_waits_for_the_end_of_its_suspension() -> None:
    assert suspending(NOON + MINUTE) is None
    assert suspending(NOON + 30 * MINUTE + TICK) is Reason.SUSPENDED


def test_a_one_shot_that_gets_another_time_as_it_is_suspended_is_settled() -> None:
    later = (NOON + HOUR).isoformat()
    assert suspending(NOON + MINUTE, runAt=later) is Reason.SUSPENDED
    made = job(schedule=OneShot(NOON), jitter=HOUR)
    (row,) = settled(made, NOON + TICK, Reason.SUSPENDED)
    assert (row.state, row.reason) == (State.SKIPPED, Reason.SUSPENDED)
