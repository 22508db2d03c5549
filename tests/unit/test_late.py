"""The order in which a backlog is made up, and how much of it at once."""

from __future__ import annotations

from uuid import UUID

from tests.unit.test_decide import DAY, HOUR, MINUTE, NOON, SECOND, job, policy

from scheduledjobs.core.decide import AT_ONCE
from scheduledjobs.core.reasons import JobState
from scheduledjobs.core.schedule import FixedRate
from scheduledjobs.steps.late import Late, most_rows

EVERY_SECOND = {"schedule": FixedRate(SECOND), "anchor_at": NOON - SECOND}


def test_those_within_their_grace_go_first_then_those_that_write_few_rows() -> None:
    old = job(id=UUID(int=1))
    many = job(id=UUID(int=2), misfire=policy("FireAll", limit=500))
    graceful = job(id=UUID(int=3), misfire=policy("FireOnce", grace="24h"))
    late = Late()
    for one in (many, old, graceful):
        late.put(one, NOON + HOUR)
    assert [late.take(1)[0].id.int for _ in range(3)] == [3, 1, 2]


def test_as_many_are_taken_as_write_so_many_rows_and_one_at_least() -> None:
    late = Late()
    for number in range(4):
        late.put(job(id=UUID(int=number), misfire=policy("FireAll", limit=99)), NOON + HOUR)
    assert [len(late.take(rows)) for rows in (250, 1, 100, 100)] == [2, 1, 1, 0]


def test_a_job_that_waits_is_known_by_its_newest_plan() -> None:
    late = Late()
    late.put(job(), NOON + HOUR)
    late.put(job(version=2), NOON + HOUR)
    assert len(late) == 1
    assert [taken.version for taken in late.take(100)] == [2]


def test_a_job_counts_as_many_rows_as_its_next_decision_writes() -> None:
    graceful = job(**EVERY_SECOND, misfire=policy("FireOnce", grace="24h"))
    assert most_rows(graceful, NOON + 9 * SECOND) == 10
    assert most_rows(graceful, NOON + 20 * HOUR) == AT_ONCE
    assert most_rows(job(misfire=policy("Skip", grace="5m")), NOON + HOUR) == 6
    assert most_rows(job(), NOON + 3 * DAY) == 5
    assert most_rows(job(state=JobState.SUSPENDED), NOON + 3 * DAY + MINUTE) == 4
