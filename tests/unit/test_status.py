"""The status of a resource: what it shows, and what it leaves out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from scheduledjobs.core.reasons import State, camel
from scheduledjobs.core.resource import RUN_NOW
from scheduledjobs.core.status_of import cut, status_of

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def row(**changes: Any) -> dict[str, Any]:
    made = {
        "version": 3,
        "state": "ACTIVE",
        "reason": "Scheduled",
        "message": "",
        "annotations": {},
        "next_fire_at": NOON + timedelta(seconds=30, milliseconds=250),
        "active": 1,
        "last_id": 918273,
        "last_fire_time": NOON,
        "last_started_at": NOON + timedelta(milliseconds=7),
        "last_finished_at": NOON + timedelta(seconds=41),
        "last_duration_ms": 40_993,
        "last_state": "SUCCEEDED",
        "last_reason": "Success",
        "last_message": None,
        "last_attempts": 1,
        "last_trigger": "SCHEDULE",
        "last_replica": "one",
        "last_run_state": "SUCCEEDED",
        "last_run_message": None,
        "last_schedule_time": NOON,
        "last_successful_time": NOON + timedelta(seconds=41),
        "consecutive_failures": 0,
        "is_cut": False,
        "has_fired": True,
    }
    return {**made, **changes}


def condition(status: dict[str, Any], kind: str) -> dict[str, Any]:
    return next(c for c in status["conditions"] if c["type"] == kind)


def test_shows_the_last_execution_and_the_next_moment() -> None:
    status = status_of(row(), "every 30s", {}, NOON)
    assert status["nextScheduleTime"] == "2026-11-23T12:00:30Z"
    assert status["lastExecution"] == {
        "id": "918273",
        "fireTime": "2026-11-23T12:00:00Z",
        "startTime": "2026-11-23T12:00:00.007Z",
        "completionTime": "2026-11-23T12:00:41Z",
        "duration": "41s",
        "outcome": "Succeeded",
        "reason": "Success",
        "attempts": 1,
        "replica": "one",
        "trigger": "Schedule",
    }


def test_ready_never_speaks_of_the_last_run() -> None:
    status = status_of(row(last_run_state="FAILED", last_run_message="no"), "every 30s", {}, NOON)
    assert condition(status, "Ready")["status"] == "True"
    assert (condition(status, "Healthy")["status"], condition(status, "Healthy")["reason"]) == ("False", "Failed")


@pytest.mark.parametrize(
    ("state", "reason", "ready", "stalled"),
    [
        ("ACTIVE", "Scheduled", "True", "False"),
        ("SUSPENDED", "Suspended", "True", "False"),
        ("COMPLETED", "Completed", "True", "False"),
        ("INVALID", "UnknownTimeZone", "False", "True"),
        ("ACTIVE", "FireFailed", "False", "False"),
    ],
)
def test_ready_and_stalled(state: str, reason: str, ready: str, stalled: str) -> None:
    status = status_of(row(state=state, reason=reason, message="why"), "x", {}, NOON)
    assert (condition(status, "Ready")["status"], condition(status, "Stalled")["status"]) == (ready, stalled)
    assert condition(status, "Ready")["reason"] == reason
    assert all(c["observedGeneration"] == 3 for c in status["conditions"])


def test_a_condition_keeps_its_transition_time_until_its_status_changes() -> None:
    first = status_of(row(), "x", {}, NOON)
    same = status_of(row(message="other words"), "x", first, NOON + timedelta(hours=1))
    assert condition(same, "Ready")["lastTransitionTime"] == "2026-11-23T12:00:00Z"
    broken = status_of(row(state="INVALID"), "x", same, NOON + timedelta(hours=2))
    assert condition(broken, "Ready")["lastTransitionTime"] == "2026-11-23T14:00:00Z"


def test_a_suspended_job_shows_no_next_moment() -> None:
    status = status_of(row(state="SUSPENDED"), "x", {}, NOON)
    assert status["suspended"] is True
    assert "nextScheduleTime" not in status


def test_a_job_without_a_success_in_sight_keeps_the_one_it_showed() -> None:
    before = {"lastSuccessfulTime": "2026-01-01T00:00:00Z"}
    status = status_of(row(last_successful_time=None), "x", before, NOON)
    assert status["lastSuccessfulTime"] == "2026-01-01T00:00:00Z"


def test_a_job_whose_moments_are_too_far_back_keeps_the_one_it_showed() -> None:
    before = {"lastScheduleTime": "2026-01-01T00:00:00Z"}
    assert status_of(row(last_schedule_time=None), "x", before, NOON)["lastScheduleTime"] == "2026-01-01T00:00:00Z"
    assert status_of(row(), "x", before, NOON)["lastScheduleTime"] == "2026-11-23T12:00:00Z"
    assert "lastScheduleTime" not in status_of(row(last_schedule_time=None, has_fired=False), "x", before, NOON)


def test_a_job_that_has_only_skipped_for_long_stays_as_healthy_as_it_was() -> None:
    failed = row(last_run_state="FAILED", last_run_message="no", consecutive_failures=3)
    before = status_of(failed, "x", {}, NOON)
    skipping = row(last_run_state=None, last_successful_time=None, consecutive_failures=0)
    after = status_of({**skipping, "is_cut": True}, "x", before, NOON)
    assert condition(after, "Healthy") == condition(before, "Healthy")
    assert after["consecutiveFailures"] == 3
    assert status_of({**skipping, "is_cut": True}, "x", {}, NOON)["consecutiveFailures"] == 0


def test_what_others_wrote_is_not_believed_where_all_the_past_is_seen() -> None:
    made_up = {"type": "Healthy", "status": "False", "reason": "MadeUp", "message": "made up"}
    before = {"consecutiveFailures": 77, "conditions": [made_up]}
    status = status_of(row(last_run_state=None, last_successful_time=None), "x", before, NOON)
    assert (status["consecutiveFailures"], condition(status, "Healthy")["reason"]) == (0, "NotRunYet")


@pytest.mark.parametrize("letter", ["m", "é", "漢", "😀", '"', "\\", "\n", "\x01"])
def test_stays_under_4_kib_whatever_went_wrong(letter: str) -> None:
    """In JSON a letter may be four bytes long, a quote two, a control six."""
    long = letter * 9000
    failed = {"last_state": "TIMED_OUT", "last_message": long, "last_run_state": "TIMED_OUT", "last_run_message": long}
    late = {"last_reason": "StartingDeadlineExceeded"}
    broken = {"state": "INVALID", "reason": "UnknownTimeZone", "message": long, "annotations": {RUN_NOW: letter * 128}}
    numbers = dict.fromkeys(("active", "last_attempts", "consecutive_failures"), 2**31 - 1)
    large = {"version": 2**63 - 1, "last_id": 2**63 - 1, "last_duration_ms": 31_622_399_999, "last_replica": "r" * 9000}
    status = status_of(row(**failed, **late, **broken, **numbers, **large), long, {}, NOON)
    messages = [status["lastExecution"]["message"], *(one["message"] for one in status["conditions"])]
    assert len(orjson.dumps(status)) < 4096
    assert len(messages) == 4
    assert all(message.strip(letter) == "…" and 60 < len(message) <= 512 for message in messages)
    assert len(status["lastExecution"]["replica"]) <= 253
    assert status["lastHandledRunNow"] == letter * 128


def test_a_message_is_not_cut_shorter_than_it_has_to_be() -> None:
    assert cut("m" * 512) == "m" * 512
    assert cut("m" * 513) == "m" * 509 + "…"
    assert cut("漢" * 170) == "漢" * 170
    assert cut("漢" * 171) == "漢" * 169 + "…"
    assert cut('"' * 256) == '"' * 256
    assert cut('"' * 257) == '"' * 254 + "…"
    assert cut(None) is None


def test_a_schedule_that_the_crd_would_not_take_today_is_cut() -> None:
    assert status_of(row(), "x" * 5000, {}, NOON)["schedule"] == "x" * 253 + "…"


def test_a_token_is_echoed_as_it_was_recorded() -> None:
    assert status_of(row(annotations={RUN_NOW: "x" * 128}), "x", {}, NOON)["lastHandledRunNow"] == "x" * 128


@pytest.mark.parametrize("token", ["x" * 129, "a\0b", ""])
def test_a_token_that_was_not_taken_is_not_echoed(token: str) -> None:
    """Its beginning would be another token, which then seems to have been run before."""
    assert "lastHandledRunNow" not in status_of(row(annotations={RUN_NOW: token}), "x", {}, NOON)


def test_every_outcome_is_one_that_the_crd_knows() -> None:
    assert camel(State.TIMED_OUT) == "TimedOut"
    assert {camel(state) for state in State} >= {"Succeeded", "Failed", "Cancelled", "Lost", "Skipped", "Missed"}
