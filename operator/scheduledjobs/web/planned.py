"""A job as the leader will plan it: what a dry run answers, and a write that no leader has read yet."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from scheduledjobs.core.pause import read_pause
from scheduledjobs.core.plan import Verdict, fired_elsewhere, plan_changed, plan_new, with_pause
from scheduledjobs.core.reasons import LIVE_STATES
from scheduledjobs.core.resource import Resource
from scheduledjobs.store.queries import Row
from scheduledjobs.web import shapes
from scheduledjobs.web.models import Execution, JobDetail

NOTHING_YET: dict[str, Any] = {
    "last_fire_time": None,
    "active": 0,
    "ids": None,
    "fire_times": None,
    "states": None,
    "durations": None,
}
"""What the history of a job says that has none."""


def planned(
    resource: Resource,
    verdict: Verdict,
    now: datetime,
    row: Row | None = None,
    executions: Sequence[Execution] = (),
) -> JobDetail:
    """Return a job as the leader will plan it, `isMirrored` false; `row` and `executions` are what is known of it."""
    verdict = with_pause(verdict, read_pause(resource.meta.annotations), now)
    if row is None:
        plan = plan_new(verdict, now, fired_elsewhere(resource, verdict))
    else:
        is_readable = shapes.schedule_of(row["spec"]) is not None
        is_live = any(each.state in LIVE_STATES and each.run_key == "" for each in executions)
        plan = plan_changed(row, resource, verdict, is_readable=is_readable, has_live_run=is_live, now=now)
    pause = plan.verdict.pause
    found = {
        **NOTHING_YET,
        "field_manager": resource.field_manager,
        **(row or {}),
        "id": resource.meta.uid,
        "namespace": resource.meta.namespace,
        "name": resource.meta.name,
        "version": resource.meta.generation,
        "state": plan.state,
        "reason": plan.reason,
        "message": plan.message,
        "spec": dict(resource.spec),
        "handler": str(resource.spec.get("handler", "")),
        "paused_until": pause.until if pause else None,
        "paused_by": pause.by if pause else None,
        "pause_reason": pause.why if pause else None,
        "anchor_at": plan.anchor_at,
        "next_fire_at": plan.next_fire_at,
        "created_at": resource.created_at,
        "updated_at": now,
        "deleted_at": None,
    }
    return shapes.detail(found, executions, now).model_copy(update={"is_mirrored": False})
