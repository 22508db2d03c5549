"""The plan of a job that is seen for the first time, where its status says what another database did."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from scheduledjobs.core.plan import FIRED_ELSEWHERE, Judge, Plan, fired_elsewhere, plan_new
from scheduledjobs.core.reasons import JobState
from scheduledjobs.core.resource import Resource, ResourceMeta

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
ONCE = {"handler": "log", "runAt": "2026-11-23T13:00:00.250+01:00"}
FIRED = {"lastScheduleTime": "2026-11-23T12:00:00Z"}
MILLISECOND = timedelta(milliseconds=1)


def plan(spec: dict[str, Any], status: dict[str, Any], now: datetime = NOON + timedelta(hours=1)) -> Plan:
    found = Resource(ResourceMeta(UUID(int=1), "default", "job", 1, 1), NOON - timedelta(days=1), spec, status)
    verdict = Judge({"log"}.__contains__, lambda *_: None).verdict_of(found)
    return plan_new(verdict, now, fired_elsewhere(found, verdict))


def test_a_one_shot_that_has_fired_by_its_status_is_over_at_first_sight() -> None:
    found = plan(ONCE, FIRED)
    assert (found.state, found.next_fire_at, found.message) == (JobState.COMPLETED, None, FIRED_ELSEWHERE)
    assert plan({**ONCE, "suspend": True, "jitter": "1m"}, FIRED).state is JobState.COMPLETED


@pytest.mark.parametrize(
    "said",
    ["2026-11-23T11:59:59Z", "2026-11-23T12:00:01Z", "2026-11-23T12:30:00Z", "", None, 7],
    ids=["before", "after", "long after", "empty", "null", "no time"],
)
def test_a_one_shot_of_another_time_than_its_status_says_is_due(said: object) -> None:
    """Its runAt was edited since, to whichever side."""
    found = plan(ONCE, {"lastScheduleTime": said})
    assert (found.state, found.next_fire_at) == (JobState.ACTIVE, NOON + 250 * MILLISECOND)


def test_what_cannot_run_and_has_fired_by_its_status_has_no_moment_ahead_and_says_what_is_wrong() -> None:
    found = plan({**ONCE, "handler": "elsewhere"}, FIRED)
    assert (found.state, found.next_fire_at) == (JobState.INVALID, None)
    assert "no live replica" in found.message


def test_a_moment_that_has_fired_elsewhere_lies_before_what_its_version_counts_from() -> None:
    """Also where the clock is behind: it is no moment of this database."""
    found = plan(ONCE, FIRED, now=NOON - timedelta(minutes=1))
    assert found.effective_from == NOON + 251 * MILLISECOND


def test_what_is_no_one_shot_counts_from_first_sight_whatever_its_status_says() -> None:
    found = plan({"handler": "log", "schedule": "0 * * * *"}, {"lastScheduleTime": "2026-11-23T13:00:00Z"})
    assert (found.state, found.effective_from) == (JobState.ACTIVE, NOON + timedelta(hours=1))
    assert found.next_fire_at == found.effective_from
