"""The small pure parts beneath REST: cursors, filters, previews, tags of versions, and how rows are shown."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from pydantic import ValidationError

from scheduledjobs.core.reasons import JobState, State
from scheduledjobs.web import cursor, shapes
from scheduledjobs.web.filters import ExecutionFilters, JobFilters
from scheduledjobs.web.hub import Hub
from scheduledjobs.web.models import Sight
from scheduledjobs.web.preview import PreviewQuery, preview
from scheduledjobs.web.problems import ProblemError
from scheduledjobs.web.writes import etag, matches

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
JOB = UUID(int=7)


def row(**changes: Any) -> dict[str, Any]:
    """A row of read_jobs."""
    return {
        "id": JOB,
        "namespace": "default",
        "name": "job",
        "version": 3,
        "state": JobState.ACTIVE,
        "reason": "Scheduled",
        "message": "",
        "spec": {"schedule": "0 2 * * *", "timeZone": "Europe/Berlin", "handler": "log"},
        "handler": "log",
        "paused_until": None,
        "paused_by": None,
        "pause_reason": None,
        "anchor_at": None,
        "next_fire_at": datetime(2026, 11, 25, 1, tzinfo=UTC),
        "last_fire_time": None,
        "created_at": NOON,
        "updated_at": NOON,
        "deleted_at": None,
        "field_manager": "helm",
        "active": 0,
        "ids": None,
        "fire_times": None,
        "states": None,
        "durations": None,
        **changes,
    }


def ran(**changes: Any) -> dict[str, Any]:
    """A row of read_executions: a second attempt that has just begun, after one of five seconds."""
    unset = (
        "last_fire_time", "moment_count", "reason", "message", "finished_at", "lateness_ms", "blocked_by",
        "missed_count", "cancel_requested_by", "visible_at", "replica",
    )  # fmt: skip
    known = {"id": 1, "job_id": JOB, "namespace": "default", "job_name": "job", "version": 1, "fire_time": NOON}
    more = {"state": State.RUNNING, "trigger": "SCHEDULE", "handler": "log", "attempt": 2, "run_key": ""}
    times = {"started_at": NOON, "duration_ms": 5000, "is_held": False, "now": NOON + timedelta(seconds=1)}
    return {**dict.fromkeys(unset), **known, **more, **times, **changes}


def test_a_cursor_comes_back_as_the_position_it_was_made_of() -> None:
    assert cursor.decode_job(cursor.encode("a", "b", JOB)) == ("a", "b", JOB)
    assert cursor.decode_execution(cursor.encode(NOON, 17)) == (NOON, 17)
    assert cursor.decode_execution(None) is None


@pytest.mark.parametrize("text", ["x", "%%%", "ü", "bnVsbA", cursor.encode("a"), cursor.encode(1, 2, 3), "AA" * 400])
def test_a_cursor_that_is_not_ours_is_refused(text: str) -> None:
    for decode in (cursor.decode_job, cursor.decode_execution):
        with pytest.raises(ProblemError) as caught:
            decode(text)
        assert (caught.value.status, caught.value.reason) == (400, "BadCursor")


@pytest.mark.parametrize("position", [("2026-11-24T12:00:00", 1), (NOON, -1), (NOON, 2**63), (NOON, True), (5, 1)])
def test_a_cursor_of_no_row_is_refused(position: tuple[object, object]) -> None:
    with pytest.raises(ProblemError):
        cursor.decode_execution(cursor.encode(*position))


def test_an_empty_field_of_a_form_asks_for_nothing() -> None:
    assert JobFilters.model_validate({"q": "", "state": "", "cursor": "", "outcome": ""}) == JobFilters()


@pytest.mark.parametrize("query", [{"limit": 0}, {"limit": 201}, {"q": "a\0b"}, {"state": "GONE"}, {"colour": "red"}])
def test_a_filter_that_is_none_is_refused(query: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        JobFilters.model_validate(query)


def test_a_time_without_an_offset_is_no_filter() -> None:
    with pytest.raises(ValidationError):
        ExecutionFilters.model_validate({"since": "2026-11-24T12:00:00"})


def test_a_preview_tells_of_the_hour_that_does_not_exist() -> None:
    query = PreviewQuery(schedule="30 2 * * *", time_zone="Europe/Berlin", count=2)
    found = preview(query, datetime(2027, 3, 27, 12, tzinfo=UTC))
    assert found.words == "At 02:30"
    assert found.fires[0].local == "2027-03-28T03:00:00+02:00"
    assert "02:30 does not exist that day" in str(found.fires[0].note)
    assert "does not exist" not in str(found.fires[1].note)


ON_THE_HOUR = {
    "spec": {"fixedRate": "1h", "handler": "log"},
    "state": "ACTIVE",
    "anchor_at": datetime(2026, 11, 1, tzinfo=UTC),
    "next_fire_at": datetime(2026, 11, 24, 11, tzinfo=UTC),
}


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ({"fixed_rate": "1h"}, "11:00:00"),
        ({"fixed_rate": "1h", "end_time": "2027-01-01T00:00:00Z"}, "11:00:00"),
        ({"fixed_rate": "2h"}, "12:25:00"),
        ({"fixed_delay": "1h"}, "11:25:00"),
    ],
)
def test_a_preview_of_an_edit_counts_from_the_grid_that_the_job_keeps(query: dict[str, str], first: str) -> None:
    found = preview(PreviewQuery(**query), datetime(2026, 11, 24, 10, 25, tzinfo=UTC), ON_THE_HOUR)
    assert found.fires[0].local[11:19] == first


@pytest.mark.parametrize(
    ("state", "next_fire_at", "query", "first"),
    [
        ("ACTIVE", datetime(2026, 11, 24, 10, 30, tzinfo=UTC), {"fixed_delay": "1h"}, "10:30:00"),
        ("ACTIVE", datetime(2026, 11, 24, 10, 30, tzinfo=UTC), {"fixed_delay": "2h"}, "12:25:00"),
        ("ACTIVE", None, {"fixed_delay": "1h"}, "11:25:00"),
        ("SUSPENDED", datetime(2026, 11, 24, 10, 30, tzinfo=UTC), {"fixed_delay": "1h"}, "11:25:00"),
    ],
)
def test_a_preview_of_an_edit_that_moves_no_fire_has_the_next_one_of_a_fixed_delay(
    state: str, next_fire_at: datetime | None, query: dict[str, str], first: str
) -> None:
    row = {"spec": {"fixedDelay": "1h"}, "state": state, "anchor_at": None, "next_fire_at": next_fire_at}
    found = preview(PreviewQuery(**query), datetime(2026, 11, 24, 10, 25, tzinfo=UTC), row)
    assert [fire.local[11:19] for fire in found.fires] == [first]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"schedule": "61 * * * *"}, "schedule"),
        ({"schedule": "0 0 31 2 *"}, "schedule"),
        ({"schedule": "@daily", "time_zone": "Mars/Olympus"}, "timeZone"),
        ({"fixed_rate": "soon"}, "fixedRate"),
        ({"fixed_rate": "1ms"}, "fixedRate"),
        ({}, "schedule"),
    ],
)
def test_a_preview_names_the_field_that_cannot_work(query: dict[str, str], field: str) -> None:
    with pytest.raises(ProblemError) as caught:
        preview(PreviewQuery(**query), NOON)
    assert caught.value.status == 422
    assert [error.field for error in caught.value.errors] == [field]


def test_the_first_coming_moment_is_the_stored_one() -> None:
    stored = datetime(2026, 11, 27, 1, tzinfo=UTC)
    assert [fire.fire_time for fire in shapes.coming(row(next_fire_at=stored), NOON, 2)] == [
        stored,
        stored + timedelta(days=1),
    ]


def test_a_paused_job_fires_again_after_its_pause() -> None:
    until = datetime(2026, 12, 1, 1, tzinfo=UTC)
    paused = row(state=JobState.SUSPENDED, paused_until=until)
    assert shapes.coming(paused, NOON, 1)[0].fire_time == until
    assert shapes.job(paused, 0).next_fire_time is None
    assert shapes.coming(row(state=JobState.SUSPENDED), NOON, 1) == []


def test_the_streak_ends_at_the_last_success() -> None:
    states = [State.SKIPPED, State.FAILED, State.LOST, State.SUCCEEDED, State.FAILED]
    assert shapes.streak(states) == 2


def test_a_retry_that_runs_takes_until_now_and_not_what_the_attempt_before_it_took() -> None:
    assert shapes.execution(ran()).duration_ms == 1000
    assert shapes.execution(ran(state=State.FAILED)).duration_ms == 5000


def test_an_execution_shows_when_it_was_due_with_its_jitter() -> None:
    due, rest = NOON + timedelta(minutes=41), dict.fromkeys(("payload", "spec_payload", "result"))
    assert shapes.execution_detail(ran(due_at=due, **rest), [], []).due_at == due


@pytest.mark.parametrize("state", [State.PENDING, State.RUNNING])
def test_what_has_not_ended_is_not_drawn_as_long_as_the_attempt_before(state: State) -> None:
    newest = {"ids": [2, 1], "fire_times": [NOON, NOON], "states": [state, "FAILED"], "durations": [5000, 70]}
    assert [one.duration_ms for one in shapes.job(row(**newest), 2).recent] == [None, 70]
    assert shapes.outcome(ran(state=state)).duration_ms is None
    assert shapes.outcome(ran(state=State.LOST)).duration_ms == 5000


def test_a_tool_that_writes_the_resource_again_is_named() -> None:
    assert shapes.job(row(), 0).managed_by == "Helm"
    assert shapes.job(row(field_manager="kubectl-edit"), 0).managed_by == "kubectl-edit"
    assert "kustomize-controller" in shapes.managers_of("Flux")


@pytest.mark.parametrize(("age", "dead", "sight"), [(0.4, False, "Alive"), (4, False, "Late"), (4, True, "Dead")])
def test_a_replica_is_alive_late_or_dead(age: float, dead: bool, sight: str) -> None:  # noqa: FBT001
    beat = {"heartbeat_at": NOON - timedelta(seconds=age), "now": NOON, "dead_at": NOON if dead else None}
    rest = dict.fromkeys(("term", "database_ms", "loop_lag_ms"))
    identity = {"id": uuid4(), "hostname": "r", "version": "1", "started_at": NOON, "handlers": ["log"]}
    found = shapes.replica({**beat, **rest, **identity, "running": 0, "slots": 1, "is_leader": True})
    assert found.sight == Sight(sight)
    assert found.is_leader is not dead


def test_if_match_names_one_version_of_one_job() -> None:
    assert etag(JOB, 3) == f'"{JOB}-3"'
    assert matches(f'"x", {etag(JOB, 3)}', etag(JOB, 3))
    assert matches("*", etag(JOB, 3))
    assert not matches(etag(JOB, 2), etag(JOB, 3))


async def test_the_hub_wakes_who_waits_and_counts() -> None:
    hub = Hub()
    before = hub.stamp()
    waiting = asyncio.create_task(hub.wait(60))
    await asyncio.sleep(0)
    hub.change()
    await asyncio.wait_for(waiting, 10)
    assert hub.version == 1
    assert hub.stamp() != before
