"""One transaction of the mirror: what is planned for each resource, then written in a fixed order.

The order matters: what was due under the old versions is decided first; names are freed before they are taken; run
requests come last, when their job's row exists.

Where more is due than one transaction may fire, the oldest of it is decided under the old version and the change
waits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from scheduledjobs.core.decide import AT_ONCE, settle
from scheduledjobs.core.job import Decision, Job, NewExecution
from scheduledjobs.core.pause import read_pause
from scheduledjobs.core.plan import (
    Judge,
    Plan,
    Verdict,
    change_of,
    fired_elsewhere,
    has_expired,
    next_effective_from,
    plan_changed,
    plan_new,
    with_pause,
)
from scheduledjobs.core.reasons import JobState, Reason
from scheduledjobs.core.resource import Resource
from scheduledjobs.errors import SpecError
from scheduledjobs.steps.fire import advance_row
from scheduledjobs.steps.record import Days, record
from scheduledjobs.steps.run_now import RunNow, RunRequest
from scheduledjobs.steps.specs import Specs
from scheduledjobs.store.executions import find_live_executions
from scheduledjobs.store.jobs import advance_jobs
from scheduledjobs.store.mirror import cancel_pending, delete_jobs, insert_versions, upsert_jobs
from scheduledjobs.store.sessions import Connection


@dataclass(slots=True)
class Written:
    """What a batch wrote, for those who are told of it after the COMMIT."""

    now: datetime
    jobs: dict[UUID, tuple[Resource, Plan]] = field(default_factory=dict)
    before: dict[UUID, Mapping[str, Any]] = field(default_factory=dict)
    removed: list[UUID] = field(default_factory=list)
    settled: list[tuple[Job, NewExecution]] = field(default_factory=list)
    requests: list[RunRequest] = field(default_factory=list)
    is_rewritten: bool = False
    """A version was there with another spec, or may have been: etcd was restored."""

    postponed: frozenset[UUID] = frozenset()
    """Jobs whose change is still to be mirrored: more was due before it than was decided."""


def joined(first: Written, second: Written) -> Written:
    """Return what two batches wrote, one after the other."""
    jobs = {uid: entry for uid, entry in first.jobs.items() if uid not in second.removed}
    return replace(
        second,
        jobs=jobs | second.jobs,
        before={**second.before, **first.before},
        removed=first.removed + second.removed,
        settled=first.settled + second.settled,
        requests=first.requests + second.requests,
        is_rewritten=first.is_rewritten or second.is_rewritten,
        postponed=first.postponed | second.postponed,
    )


class MirrorBatch:
    """The changes of one transaction; `rows` are locked."""

    def __init__(
        self,
        conn: Connection,
        rows: Mapping[UUID, Mapping[str, Any]],
        specs: Specs,
        days: Days,
        judge: Judge,
        keep_from: datetime,
        now: datetime,
    ) -> None:
        self._conn = conn
        self._rows = rows
        self._specs = specs
        self._days = days
        self._judge = judge
        self._keep_from = keep_from
        self._now = now
        self._removed: dict[UUID, str] = {}
        self._put: dict[UUID, tuple[Resource, Verdict]] = {}
        self._settling: dict[UUID, tuple[Job, Decision]] = {}
        self._room = AT_ONCE
        """How many rows may still be written for what was due."""

        self._postponed: set[UUID] = set()

    def remove(self, uid: UUID, why: str) -> None:
        """The resource is gone, or not watched any more: settle its past as missed, cancel what waits."""
        row = self._rows.get(uid)
        if row is None or row["state"] == JobState.DELETED or uid in self._removed:
            return
        self._removed[uid] = why
        self._settle(row, Reason.DELETED)

    def put(self, resource: Resource) -> None:
        """The resource is new or has changed: settle what was due before, unless the change leaves the plan alone."""
        row = self._rows.get(resource.meta.uid)
        pause = read_pause(resource.meta.annotations)
        verdict = with_pause(self._judge.verdict_of(resource), pause, self._now)
        self._put[resource.meta.uid] = resource, verdict
        if row is None or row["state"] == JobState.DELETED:
            return
        change = change_of(row, resource, verdict, self._now)
        if change is not None and has_expired(row, self._now):
            self._settle_expired(row)
        elif change is not None and not self._settle(row, change):
            del self._put[resource.meta.uid]
            self._postponed.add(resource.meta.uid)

    def _settle(self, row: Mapping[str, Any], change: Reason) -> bool:
        """Decide what is due before a change; return whether that is all. One moment at least: each pass moves on."""
        job, most = self._job(row), max(1, self._room)
        decision = settle(job, self._keep_from, self._now, self._now, change, most=most) if job is not None else None
        if job is None or decision is None:
            return True
        self._settling[job.id] = job, decision
        self._room -= len(decision.executions)
        return decision.next_fire_at is None or decision.next_fire_at >= self._now

    def _settle_expired(self, row: Mapping[str, Any]) -> None:
        """A pause ended by itself: what lies before its end was suspended, what comes after it is due."""
        job = self._job(row)
        decision = settle(job, self._keep_from, row["paused_until"], self._now, Reason.SUSPENDED) if job else None
        if job is not None and decision is not None:
            self._settling[job.id] = job, decision

    def _job(self, row: Mapping[str, Any]) -> Job | None:
        try:
            return self._specs.job(row)
        except SpecError:
            return None

    async def write(self) -> Written:
        """Write everything; return what was written."""
        written = Written(self._now, before={uid: self._rows[uid] for uid in self._put if uid in self._rows})
        written.postponed = frozenset(self._postponed)
        await self._advance()
        written.settled = await record(self._conn, list(self._settling.values()), self._days)
        await self._remove(written)
        await self._upsert(written)
        await self._request_runs(written)
        return written

    async def _advance(self) -> None:
        """Move the jobs whose change waits past what is decided, which is nothing where the clock was set back
        meanwhile."""
        if self._postponed:
            rows = [advance_row(*self._settling[uid]) for uid in sorted(self._postponed)]
            for uid in self._postponed - await advance_jobs(self._conn, rows):
                del self._settling[uid]

    async def _remove(self, written: Written) -> None:
        if self._removed:
            await delete_jobs(self._conn, [self._end(uid) for uid in sorted(self._removed)])
            await insert_versions(self._conn, [self._end_version(uid) for uid in sorted(self._removed)])
            await cancel_pending(self._conn, sorted(self._removed))
            written.removed = sorted(self._removed)

    async def _upsert(self, written: Written) -> None:
        if not self._put:
            return
        waiting = [uid for uid in self._put if uid in self._rows]
        live = await find_live_executions(self._conn, waiting) if waiting else []
        scheduled = {run["job_id"] for run in live if run["run_key"] == ""}
        for uid, (resource, verdict) in sorted(self._put.items()):
            written.jobs[uid] = resource, self._plan(uid, resource, verdict, has_live_run=uid in scheduled)
        await upsert_jobs(self._conn, [self._row(uid, *entry) for uid, entry in written.jobs.items()])
        versions = [_version(r, p, self._now) for uid, (r, p) in written.jobs.items() if self._is_version(uid, r, p)]
        if versions:
            written.is_rewritten = await insert_versions(self._conn, versions)

    def _is_version(self, uid: UUID, resource: Resource, plan: Plan) -> bool:
        """A new generation, an old one with another spec, or a change of what is in force under it."""
        row = self._rows.get(uid)
        if row is None or row["version"] != resource.meta.generation or row["state"] == JobState.DELETED:
            return True
        if row["spec"] != resource.spec:
            return True
        before = row["effective_from"], row["anchor_at"], row["state"], row["message"], row["paused_until"]
        pause = plan.verdict.pause
        until = pause.until if pause else None
        return before != (plan.effective_from, plan.anchor_at, plan.state, plan.message, until)

    def _end(self, uid: UUID) -> dict[str, Any]:
        last = self._settled(uid)["last_fire_time"]
        return {"id": uid, "message": self._removed[uid], "last_fire_time": last, "deleted_at": self._now}

    def _end_version(self, uid: UUID) -> dict[str, Any]:
        row = self._rows[uid]
        last = self._settled(uid)["last_fire_time"]
        return {
            "job_id": uid,
            "version": row["version"],
            "recorded_at": self._now,
            "spec": row["spec"],
            "effective_from": next_effective_from(self._now, row["effective_from"], last),
            "anchor_at": row["anchor_at"],
            "suspended": False,
            "state": JobState.DELETED,
            "reason": Reason.DELETED,
            "message": self._removed[uid],
        }

    def _plan(self, uid: UUID, resource: Resource, verdict: Verdict, *, has_live_run: bool) -> Plan:
        last = self._last_fire_time(uid, resource, verdict)
        if uid not in self._rows:
            return plan_new(verdict, self._now, last)
        row = {**self._settled(uid), "last_fire_time": last}
        is_readable = self._job(row) is not None
        return plan_changed(row, resource, verdict, is_readable=is_readable, has_live_run=has_live_run, now=self._now)

    def _last_fire_time(self, uid: UUID, resource: Resource, verdict: Verdict) -> datetime | None:
        """Return the newest moment that is decided, here or, while the job was not known or gone, elsewhere."""
        row = self._settled(uid) if uid in self._rows else None
        last: datetime | None = row["last_fire_time"] if row is not None else None
        if row is not None and row["state"] != JobState.DELETED:
            return last
        fired_at = fired_elsewhere(resource, verdict)
        return max(filter(None, (last, fired_at)), default=None)

    def _settled(self, uid: UUID) -> Mapping[str, Any]:
        """Return the row of a job as the settling of its past has left it."""
        row = self._rows[uid]
        if uid not in self._settling:
            return row
        decision = self._settling[uid][1]
        moved = {
            "next_fire_at": decision.next_fire_at,
            "last_fire_time": decision.last_fire_time or row["last_fire_time"],
        }
        completed = {"state": JobState.COMPLETED, "message": "no fire time is left"} if decision.is_completed else {}
        return {**row, **moved, **completed}

    def _row(self, uid: UUID, resource: Resource, plan: Plan) -> dict[str, Any]:
        meta, schedule = resource.meta, plan.verdict.schedule
        return {
            "id": uid,
            "namespace": meta.namespace,
            "name": meta.name,
            "version": meta.generation,
            "resource_version": meta.resource_version,
            "annotations": dict(meta.annotations),
            "spec": resource.spec,
            "schedule_kind": schedule.kind if schedule else None,
            "handler": str(resource.spec.get("handler", "")),
            "state": plan.state,
            "reason": plan.reason,
            "message": plan.message,
            "effective_from": plan.effective_from,
            "anchor_at": plan.anchor_at,
            "next_fire_at": plan.next_fire_at,
            "next_due_at": plan.next_due_at(uid),
            "paused_until": plan.verdict.pause.until if plan.verdict.pause else None,
            "paused_by": plan.verdict.pause.by if plan.verdict.pause else None,
            "pause_reason": plan.verdict.pause.why if plan.verdict.pause else None,
            "last_fire_time": self._last_fire_time(uid, resource, plan.verdict),
            "created_at": resource.created_at,
        }

    async def _request_runs(self, written: Written) -> None:
        known = {uid: self._rows[uid]["annotations"] for uid in written.jobs if uid in self._rows}
        runs = RunNow(self._conn, self._days, self._judge, self._now)
        written.requests = await runs.record(list(written.jobs.values()), known)


def _version(resource: Resource, plan: Plan, now: datetime) -> dict[str, Any]:
    pause = plan.verdict.pause
    return {
        "job_id": resource.meta.uid,
        "version": resource.meta.generation,
        "recorded_at": now,
        "spec": resource.spec,
        "effective_from": plan.effective_from,
        "anchor_at": plan.anchor_at,
        "suspended": plan.state is JobState.SUSPENDED,
        "field_manager": resource.field_manager,
        "state": plan.state,
        "reason": plan.reason,
        "message": plan.message,
        "paused_until": pause.until if pause else None,
        "paused_by": pause.by if pause else None,
        "pause_reason": pause.why if pause else None,
        "next_fire_at": plan.next_fire_at,
    }
