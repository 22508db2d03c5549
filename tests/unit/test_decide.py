"""What becomes of undecided moments: one test a rule."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scheduledjobs.core import decide as decide_module
from scheduledjobs.core.decide import AT_ONCE, TICK, _one_on_time, decide, decide_if_due, due, newest_due, settle
from scheduledjobs.core.job import Decision, Job, NewExecution
from scheduledjobs.core.reasons import JobState, Reason, State, Trigger
from scheduledjobs.core.schedule import FixedDelay, FixedRate, OneShot, Schedule, Window, parse_schedule
from scheduledjobs.core.spec import ConcurrencyPolicy, Misfire

SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
LONG_AGO = NOON - 30 * DAY


def job(**changes: object) -> Job:
    """A minutely job whose next moment is noon."""
    made = Job(
        id=UUID(int=1),
        namespace="default",
        name="job",
        version=1,
        handler="log",
        state=JobState.ACTIVE,
        reason=Reason.SCHEDULED,
        message="",
        schedule=parse_schedule(schedule="* * * * *"),
        concurrency=ConcurrencyPolicy.FORBID,
        misfire=Misfire(),
        jitter=timedelta(0),
        starting_deadline=DAY,
        created_at=NOON - 365 * DAY,
        effective_from=NOON - 365 * DAY,
        anchor_at=None,
        next_fire_at=NOON,
        next_due_at=NOON,
        last_fire_time=None,
    )
    return replace(made, **changes)


def settled(made: Job, before: datetime, change: Reason) -> tuple[NewExecution, ...]:
    decision = settle(made, LONG_AGO, before, before, change)
    assert decision is not None
    return decision.executions


def test_a_moment_on_time_fires() -> None:
    decision = decide(job(), LONG_AGO, NOON)
    assert decision.executions == (NewExecution(NOON, State.PENDING),)
    assert decision.next_fire_at == NOON + MINUTE
    assert decision.last_fire_time == NOON
    assert not decision.is_completed


def test_nothing_is_decided_before_it_is_due() -> None:
    with pytest.raises(ValueError, match="no moment due"):
        decide(job(), LONG_AGO, NOON - SECOND)


def test_moments_late_by_at_most_the_grace_fire_in_order() -> None:
    decision = decide(job(), LONG_AGO, NOON + MINUTE)
    assert [row.fire_time for row in decision.executions] == [NOON, NOON + MINUTE]
    assert {row.trigger for row in decision.executions} == {Trigger.SCHEDULE}


EVERY_SECOND = FixedRate(SECOND)


def decided_in_parts(made: Job, now: datetime, most: int) -> list[tuple[NewExecution, ...]]:
    parts = []
    while newest_due(made, now) is not None:
        decision = decide(made, LONG_AGO, now, most=most)
        parts.append(decision.executions)
        made = moved(made, decision)
    return parts


def settled_in_parts(made: Job, before: datetime, change: Reason, most: int) -> list[tuple[NewExecution, ...]]:
    parts = []
    while (decision := settle(made, LONG_AGO, before, before, change, most=most)) is not None:
        parts.append(decision.executions)
        made = moved(made, decision)
    return parts


def moved(made: Job, decision: Decision) -> Job:
    return replace(
        made,
        next_fire_at=decision.next_fire_at,
        next_due_at=decision.next_due_at,
        last_fire_time=decision.last_fire_time,
    )


@pytest.mark.parametrize("policy_name", ["FireOnce", "FireAll", "Skip"])
def test_moments_within_the_grace_are_decided_in_parts_as_they_would_be_at_once(policy_name: str) -> None:
    made = job(schedule=EVERY_SECOND, anchor_at=NOON - SECOND, misfire=policy(policy_name, grace="24h"))
    now = NOON + 24 * SECOND
    parts = decided_in_parts(made, now, most=10)
    assert [len(part) for part in parts] == [10, 10, 5]
    assert sum(parts, ()) == decide(made, LONG_AGO, now).executions


def test_skip_misses_what_is_over_the_grace_with_the_first_part() -> None:
    made = job(schedule=EVERY_SECOND, anchor_at=NOON - SECOND, misfire=policy("Skip", grace="20s"))
    now = NOON + 60 * SECOND
    parts = decided_in_parts(made, now, most=10)
    assert [row.reason for row in parts[0]] == [Reason.TOO_LATE] + [None] * 10
    assert sum(parts, ()) == decide(made, LONG_AGO, now).executions


@pytest.mark.parametrize("policy_name", ["FireOnce", "FireAll"])
def test_what_is_later_than_the_grace_is_decided_together(policy_name: str) -> None:
    made = job(schedule=EVERY_SECOND, anchor_at=NOON - SECOND, misfire=policy(policy_name, grace="20s"))
    now = NOON + 60 * SECOND
    assert decided_in_parts(made, now, most=10) == [decide(made, LONG_AGO, now).executions]


def test_suspended_moments_are_one_range_however_many_they_are() -> None:
    made = job(schedule=EVERY_SECOND, anchor_at=NOON - SECOND, state=JobState.SUSPENDED)
    ((row,),) = decided_in_parts(made, NOON + HOUR, most=10)
    assert row.moment_count == 3601


def test_one_decision_never_fires_more_than_a_thousand_moments() -> None:
    made = job(schedule=EVERY_SECOND, anchor_at=NOON - SECOND, misfire=policy("FireOnce", grace="24h"))
    decision = decide(made, LONG_AGO, NOON + 20 * HOUR)
    assert len(decision.executions) == AT_ONCE == 1000
    assert decision.next_fire_at == decision.next_due_at == NOON + 1000 * SECOND


@pytest.mark.parametrize("policy_name", ["FireOnce", "FireAll", "Skip"])
@pytest.mark.parametrize("change", [Reason.EDITED, Reason.SUSPENDED])
def test_a_change_never_fires_more_than_a_thousand_moments_at_once(change: Reason, policy_name: str) -> None:
    made = job(schedule=EVERY_SECOND, anchor_at=NOON - SECOND, misfire=policy(policy_name, grace="19h"))
    before = NOON + 20 * HOUR
    decision = settle(made, LONG_AGO, before, before, change)
    assert decision is not None
    missed, *fired = decision.executions
    assert (missed.state, missed.reason, missed.moment_count) == (State.MISSED, change, 3600)
    assert [row.fire_time for row in fired] == [NOON + HOUR + number * SECOND for number in range(AT_ONCE)]
    assert decision.next_fire_at == NOON + HOUR + AT_ONCE * SECOND


def test_a_delete_settles_all_moments_however_many_they_are() -> None:
    made = job(schedule=EVERY_SECOND, anchor_at=NOON - SECOND, misfire=policy("FireOnce", grace="24h"))
    assert [row.moment_count for row in settled(made, NOON + HOUR, Reason.DELETED)] == [3600]


def test_later_than_the_grace_one_run_stands_for_all() -> None:
    now = NOON + 2 * HOUR
    coalesced, run = decide(job(), LONG_AGO, now).executions
    assert (coalesced.state, coalesced.reason, coalesced.moment_count) == (State.MISSED, Reason.COALESCED, 120)
    assert (coalesced.fire_time, coalesced.last_fire_time) == (NOON, now - MINUTE)
    assert (run.fire_time, run.state, run.trigger) == (now, State.PENDING, Trigger.CATCH_UP)
    assert (run.missed_count, run.first_missed_at) == (120, NOON)


def test_more_than_a_hundred_missed_moments_do_not_stop_scheduling() -> None:
    decision = decide(job(schedule=parse_schedule(schedule="* * * * * *")), LONG_AGO, NOON + 3 * DAY)
    assert sum(row.moment_count or 1 for row in decision.executions) == 3 * 86_400 + 1
    assert decision.next_fire_at == NOON + 3 * DAY + SECOND


def test_beyond_the_starting_deadline_a_moment_is_missed() -> None:
    rows = decide(job(starting_deadline=HOUR), LONG_AGO, NOON + 2 * HOUR).executions
    assert [(row.reason, row.moment_count) for row in rows[:2]] == [
        (Reason.STARTING_DEADLINE_EXCEEDED, 60),
        (Reason.COALESCED, 60),
    ]
    assert rows[-1].missed_count == 120


def test_a_single_moment_beyond_its_deadline_never_runs() -> None:
    daily = job(schedule=parse_schedule(schedule="0 12 * * *"), starting_deadline=HOUR)
    decision = decide(daily, LONG_AGO, NOON + 2 * HOUR)
    assert [(row.state, row.reason) for row in decision.executions] == [
        (State.MISSED, Reason.STARTING_DEADLINE_EXCEEDED)
    ]
    assert decision.next_fire_at == NOON + DAY


def test_range_rows_end_at_utc_midnight() -> None:
    rows = decide(job(), LONG_AGO, NOON + DAY).executions
    assert [row.fire_time for row in rows] == [NOON, NOON.replace(hour=0) + DAY, NOON + DAY]


def test_nothing_older_than_the_history_that_is_kept_is_written() -> None:
    rows = decide(job(), NOON + DAY, NOON + 2 * DAY).executions
    assert rows[0].fire_time == NOON + DAY


@pytest.mark.parametrize(
    ("state", "reason"), [(JobState.SUSPENDED, Reason.SUSPENDED), (JobState.INVALID, Reason.NOT_READY)]
)
def test_moments_of_a_job_that_may_not_run_are_one_range_row(state: JobState, reason: Reason) -> None:
    (row,) = decide(job(state=state), LONG_AGO, NOON + HOUR).executions
    assert (row.state, row.reason, row.moment_count) == (State.SKIPPED, reason, 61)


def test_a_change_misses_what_is_older_than_the_grace_and_fires_the_rest() -> None:
    missed, *fired = settled(job(), NOON + HOUR + TICK, Reason.EDITED)
    assert (missed.reason, missed.moment_count) == (Reason.EDITED, 60)
    assert [row.fire_time for row in fired] == [NOON + HOUR]


def test_a_delete_fires_nothing() -> None:
    (row,) = settled(job(), NOON + TICK, Reason.DELETED)
    assert (row.state, row.reason) == (State.MISSED, Reason.DELETED)


def test_a_one_shot_completes() -> None:
    decision = decide(job(schedule=OneShot(NOON)), LONG_AGO, NOON + 2 * HOUR)
    (row,) = decision.executions
    assert (row.state, row.trigger) == (State.PENDING, Trigger.CATCH_UP)
    assert decision.is_completed
    assert decision.next_fire_at is None


def test_a_one_shot_before_its_creation_is_missed() -> None:
    (row,) = decide(job(schedule=OneShot(NOON), created_at=NOON + SECOND), LONG_AGO, NOON + HOUR).executions
    assert (row.state, row.reason) == (State.MISSED, Reason.IN_THE_PAST)


def test_a_fixed_delay_waits_for_the_end_of_its_run() -> None:
    decision = decide(job(schedule=FixedDelay(MINUTE)), LONG_AGO, NOON)
    assert decision.next_fire_at is None
    assert not decision.is_completed


def test_a_fixed_delay_whose_moment_is_older_than_the_history_counts_from_the_present() -> None:
    decision = decide(job(schedule=FixedDelay(MINUTE)), NOON + DAY, NOON + 2 * DAY)
    assert decision == Decision((), NOON + 2 * DAY + MINUTE, NOON + 2 * DAY + MINUTE, NOON, is_completed=False)


def test_a_window_that_has_closed_completes_the_job() -> None:
    rate = FixedRate(MINUTE, Window(NOON, NOON + MINUTE))
    assert decide(job(schedule=rate), LONG_AGO, NOON).is_completed


def policy(name: str, **changes: object) -> Misfire:
    return Misfire.model_validate({"policy": name, **changes})


def test_fire_all_runs_the_newest_up_to_the_limit_one_after_the_other() -> None:
    rows = decide(job(misfire=policy("FireAll", limit=3)), LONG_AGO, NOON + HOUR).executions
    assert (rows[0].reason, rows[0].moment_count) == (Reason.OVER_LIMIT, 58)
    assert [row.fire_time for row in rows[1:]] == [NOON + HOUR - 2 * MINUTE, NOON + HOUR - MINUTE, NOON + HOUR]
    assert [row.is_held for row in rows[1:]] == [False, True, True]
    assert {row.trigger for row in rows[1:]} == {Trigger.CATCH_UP}


def test_fire_all_under_allow_holds_none() -> None:
    made = job(misfire=policy("FireAll"), concurrency=ConcurrencyPolicy.ALLOW)
    rows = decide(made, LONG_AGO, NOON + 10 * MINUTE).executions
    assert [(row.state, row.is_held) for row in rows] == [(State.PENDING, False)] * 11


def test_skip_misses_what_is_over_the_grace_and_fires_the_rest() -> None:
    missed, *fired = decide(job(misfire=policy("Skip")), LONG_AGO, NOON + HOUR).executions
    assert (missed.state, missed.reason, missed.moment_count) == (State.MISSED, Reason.TOO_LATE, 59)
    assert [(row.fire_time, row.trigger) for row in fired] == [
        (NOON + HOUR - MINUTE, Trigger.SCHEDULE),
        (NOON + HOUR, Trigger.SCHEDULE),
    ]


def test_a_longer_grace_fires_more_moments_as_if_on_time() -> None:
    rows = decide(job(misfire=policy("Skip", grace="10m")), LONG_AGO, NOON + 10 * MINUTE).executions
    assert [row.state for row in rows] == [State.PENDING] * 11


def test_a_moment_is_not_due_before_its_jitter_has_passed() -> None:
    made = job(jitter=50 * SECOND)
    due_at = due(made, NOON)
    assert NOON < due_at < NOON + 50 * SECOND
    assert newest_due(made, due_at - SECOND / 1000) is None
    (row,) = decide(made, LONG_AGO, due_at).executions
    assert (row.fire_time, row.due_at) == (NOON, due_at)


def test_lateness_counts_from_the_jittered_moment() -> None:
    made = job(jitter=50 * SECOND, misfire=policy("Skip"), schedule=parse_schedule(schedule="0 * * * *"))
    late = due(made, NOON) + MINUTE
    assert [row.state for row in decide(made, LONG_AGO, late).executions] == [State.PENDING]
    assert [row.reason for row in decide(made, LONG_AGO, late + SECOND).executions] == [Reason.TOO_LATE]
    strict = job(jitter=50 * SECOND, starting_deadline=MINUTE, schedule=made.schedule)
    assert [row.state for row in decide(strict, LONG_AGO, late).executions] == [State.PENDING]
    (row,) = decide(strict, LONG_AGO, late + SECOND).executions
    assert row.reason is Reason.STARTING_DEADLINE_EXCEEDED


def test_a_suspended_one_shot_waits_for_the_end_of_the_suspension_unless_it_is_edited() -> None:
    made = job(schedule=OneShot(NOON), state=JobState.SUSPENDED)
    assert [row.reason for row in settled(made, NOON + HOUR, Reason.EDITED)] == [Reason.EDITED]


def test_a_moment_at_the_instant_of_a_change_is_not_settled() -> None:
    assert settle(job(), LONG_AGO, NOON, NOON, Reason.EDITED) is None


SCHEDULES = [
    parse_schedule(schedule="* * * * *"),
    parse_schedule(schedule="*/7 10-13 * * *"),
    parse_schedule(schedule="* * * * *", end_time=NOON + 2 * MINUTE),
    FixedRate(SECOND, Window(NOON, None)),
    FixedRate(90 * SECOND, Window(NOON, NOON + 3 * MINUTE)),
    FixedDelay(MINUTE),
    OneShot(NOON),
]
AROUND = [timedelta(0), TICK, -TICK, SECOND, MINUTE, MINUTE - TICK, 90 * SECOND, HOUR, DAY, 3 * DAY]


ON_TIME: dict[str, Any] = {
    "schedule": SCHEDULES[0],
    "late": timedelta(0),
    "later": timedelta(0),
    "grace": "1m",
    "misfire": "FireOnce",
    "deadline": DAY,
    "jitter": timedelta(0),
    "state": JobState.ACTIVE,
    "created_at": LONG_AGO,
    "keep_from": LONG_AGO,
}


@example(**{**ON_TIME, "later": MINUTE})  # the next one is due at the same instant
@example(**{**ON_TIME, "schedule": OneShot(NOON), "created_at": NOON + TICK})
@example(**{**ON_TIME, "keep_from": NOON + TICK})
@example(**{**ON_TIME, "deadline": SECOND, "later": SECOND + TICK})
@given(
    schedule=st.sampled_from(SCHEDULES),
    late=st.sampled_from(AROUND),
    later=st.sampled_from(AROUND),
    grace=st.sampled_from(["0s", "1s", "1m", "2h"]),
    misfire=st.sampled_from(["FireOnce", "FireAll", "Skip"]),
    deadline=st.sampled_from([SECOND, MINUTE, DAY]),
    jitter=st.sampled_from([timedelta(0), 20 * SECOND]),
    state=st.sampled_from(JobState),
    created_at=st.sampled_from([LONG_AGO, NOON, NOON + TICK]),
    keep_from=st.sampled_from([LONG_AGO, NOON, NOON + TICK]),
)
def test_the_usual_case_is_decided_as_by_all_rules(
    schedule: Schedule, late: timedelta, later: timedelta, grace: str, misfire: str, keep_from: datetime, **made: Any
) -> None:
    made["starting_deadline"] = made.pop("deadline")
    one = job(schedule=schedule, misfire=policy(misfire, grace=grace), next_due_at=None, **made)
    now = due(one, NOON) + late + later
    quick = decide_if_due(one, keep_from, now)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decide_module, "_one_on_time", lambda *_: None)
        assert quick == decide_if_due(one, keep_from, now)


@given(
    schedule=st.sampled_from(SCHEDULES),
    late=st.sampled_from([TICK, SECOND, MINUTE, MINUTE + TICK, 90 * SECOND, HOUR]),
    grace=st.sampled_from(["0s", "1s", "1m"]),
    misfire=st.sampled_from(["FireOnce", "FireAll", "Skip"]),
    deadline=st.sampled_from([SECOND, MINUTE, DAY]),
    jitter=st.sampled_from([timedelta(0), 20 * SECOND]),
    state=st.sampled_from(JobState),
    change=st.sampled_from([Reason.EDITED, Reason.SUSPENDED, Reason.DELETED]),
    most=st.sampled_from([1, 2, 7]),
)
def test_a_change_is_settled_in_parts_as_it_would_be_at_once(
    schedule: Schedule, late: timedelta, grace: str, misfire: str, change: Reason, most: int, **made: Any
) -> None:
    made["starting_deadline"] = made.pop("deadline")
    one = job(schedule=schedule, misfire=policy(misfire, grace=grace), **made)
    parts = settled_in_parts(one, NOON + late, change, most)
    assert sum(parts, ()) == settled(one, NOON + late, change)
    assert max(sum(row.state is State.PENDING for row in part) for part in parts) <= most


def test_the_usual_case_is_the_usual_one() -> None:
    made = job()
    assert _one_on_time(made, LONG_AGO, NOON) == decide(made, LONG_AGO, NOON)
    assert _one_on_time(made, LONG_AGO, NOON + MINUTE) is None
