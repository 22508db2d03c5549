"""What a dry run of an edit says: the plan that the leader will make, beside what is known of the job."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.unit.test_web_parts import NOON, ran, row

from scheduledjobs.core.plan import Judge
from scheduledjobs.core.reasons import JobState, ScheduleKind, State
from scheduledjobs.kube.listing import read_resource
from scheduledjobs.web import shapes
from scheduledjobs.web.planned import planned

EVER = {"handler": "log", "fixedDelay": "1h"}
KNOWN = {"schedule_kind": ScheduleKind.FIXED_DELAY, "effective_from": NOON - timedelta(days=1), "next_fire_at": None}


def edited(after: dict[str, Any], executions: list[dict[str, Any]], **more: Any) -> Any:
    """Return what is said of an edit of a job, at noon."""
    meta = {"name": "job", "namespace": "default", "uid": str(row()["id"]), "generation": 4, "resourceVersion": "9"}
    times = {"creationTimestamp": "2026-01-01T00:00:00Z", "annotations": more.pop("annotations", {})}
    resource = read_resource({"metadata": meta | times, "spec": after})
    assert resource is not None
    verdict = Judge(lambda _: True, lambda *_: None).verdict(resource.spec, "default")
    known = row(**{"spec": EVER, **KNOWN, **more})
    return planned(resource, verdict, NOON, known, [shapes.execution(each) for each in executions])


@pytest.mark.parametrize(
    ("run_key", "state", "following"),
    [
        ("", State.RUNNING, None),
        ("", State.SUCCEEDED, NOON + timedelta(hours=2)),
        ("now-1", State.RUNNING, NOON + timedelta(hours=2)),
    ],
)
def test_a_fixed_delay_waits_for_its_scheduled_run_and_for_no_other(
    run_key: str, state: State, following: datetime | None
) -> None:
    found = edited({**EVER, "fixedDelay": "2h"}, [ran(run_key=run_key, state=state)], active=1)
    assert found.next_fire_time == following
    assert found.is_mirrored is False


def test_who_paused_and_who_manages_it_is_still_known() -> None:
    paused = {"scheduledjobs.dev/paused-until": "forever", "scheduledjobs.dev/paused-by": "ada"}
    paused["scheduledjobs.dev/pause-reason"] = "upgrade"
    found = edited(
        {**EVER, "payload": {}}, [], state=JobState.SUSPENDED, annotations=paused, field_manager="argocd-controller"
    )
    assert (found.paused_by, found.pause_reason) == ("ada", "upgrade")
    assert found.managed_by == shapes.job(row(field_manager="argocd-controller"), 0).managed_by


@pytest.mark.parametrize(("said", "is_next"), [("2026-11-23T12:00:00Z", False), ("2026-11-23T11:00:00Z", True)])
def test_a_one_shot_that_no_leader_has_read_yet_is_over_if_its_status_says_that_it_has_fired(
    said: str,
    is_next: bool,  # noqa: FBT001
) -> None:
    meta = {"name": "job", "namespace": "default", "uid": str(row()["id"]), "generation": 4, "resourceVersion": "9"}
    spec = {"handler": "log", "runAt": "2026-11-23T12:00:00.250Z"}
    raw = {"metadata": {**meta, "creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": spec}
    resource = read_resource({**raw, "status": {"lastScheduleTime": said}})
    assert resource is not None
    verdict = Judge(lambda _: True, lambda *_: None).verdict(resource.spec, "default")
    found = planned(resource, verdict, NOON)
    assert (found.next_fire_time is not None) is is_next
    assert found.state == (JobState.ACTIVE if is_next else JobState.COMPLETED)


def test_a_grid_and_moments_that_the_edit_does_not_move_are_kept() -> None:
    anchor = datetime(2026, 11, 1, 0, 25, tzinfo=UTC)
    rate = {"handler": "log", "fixedRate": "1h"}
    known = {"schedule_kind": ScheduleKind.FIXED_RATE, "anchor_at": anchor, "spec": rate}
    found = edited({**rate, "timeout": "5m"}, [], **known, next_fire_at=NOON + timedelta(minutes=25))
    assert [each.fire_time.minute for each in found.next_fire_times] == [25] * 10
    later = edited({**rate, "endTime": "2027-01-01T00:00:00Z"}, [], **known, next_fire_at=NOON + timedelta(minutes=25))
    assert later.next_fire_time == NOON + timedelta(minutes=25)
