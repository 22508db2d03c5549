"""One transaction of the mirror: what is planned for each resource, then written in a fixed order.

The order matters: what was due under the old versions is decided first; names are freed before they are taken; run
requests come last, when their job's row exists.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from scheduledjobs.core.decide import decide
from scheduledjobs.core.job import Decision, Job, NewExecution
from scheduledjobs.core.plan import Plan, Verdict, change_of, plan_changed, plan_new
from scheduledjobs.core.reasons import JobState, Reason, State, Trigger
from scheduledjobs.core.resource import RUN_NOW, Resource
from scheduledjobs.errors import SpecError
from scheduledjobs.steps.record import Days, record
from scheduledjobs.steps.specs import Specs
from scheduledjobs.store.executions import find_live_executions, insert_executions, reserve_execution_ids
from scheduledjobs.store.mirror import cancel_pending, delete_jobs, insert_run_requests, insert_versions, upsert_jobs
from scheduledjobs.store.sessions import Connection

LONGEST_TOKEN = 128


@dataclass(frozen=True, slots=True)
class RunRequest:
    """A run-now as it was decided: its row, and the resource that asked."""

    resource: Resource
    token: str
    execution: NewExecution


@dataclass(slots=True)
class Written:
    """What a batch wrote, for those who are told of it after the COMMIT."""

    now: datetime
    jobs: dict[UUID, tuple[Resource, Plan]] = field(default_factory=dict)
    before: dict[UUID, Mapping[str, Any]] = field(default_factory=dict)
    removed: list[UUID] = field(default_factory=list)
    settled: list[tuple[Job, NewExecution]] = field(default_factory=list)
    requests: list[RunRequest] = field(default_factory=list)


class MirrorBatch:
    """The changes of one transaction; `rows` are locked."""

    def __init__(
        self,
        conn: Connection,
        rows: Mapping[UUID, Mapping[str, Any]],
        specs: Specs,
        days: Days,
        keep_from: datetime,
        now: datetime,
    ) -> None:
        self._conn = conn
        self._rows = rows
        self._specs = specs
        self._days = days
        self._keep_from = keep_from
        self._now = now
        self._removed: set[UUID] = set()
        self._put: dict[UUID, tuple[Resource, Verdict]] = {}
        self._settling: dict[UUID, tuple[Job, Decision]] = {}

    def remove(self, uid: UUID) -> None:
        """The resource is gone: settle its past as missed, cancel what waits."""
        row = self._rows.get(uid)
        if row is None or row["state"] == JobState.DELETED or uid in self._removed:
            return
        self._removed.add(uid)
        self._settle(row, Reason.DELETED)

    def put(self, resource: Resource, row: Mapping[str, Any] | None, verdict: Verdict) -> None:
        """The resource is new or has changed: settle what was due before, unless the change leaves the plan alone."""
        self._put[resource.meta.uid] = resource, verdict
        change = change_of(row, resource, verdict) if row is not None and row["state"] != JobState.DELETED else None
        if row is not None and change is not None:
            self._settle(row, change)

    def _settle(self, row: Mapping[str, Any], change: Reason) -> None:
        job = self._job(row)
        if job is not None and job.next_fire_at is not None and job.next_fire_at <= self._now:
            self._settling[job.id] = job, decide(job, self._keep_from, self._now, change=change)

    def _job(self, row: Mapping[str, Any]) -> Job | None:
        try:
            return self._specs.job(row)
        except SpecError:
            return None

    async def write(self) -> Written:
        """Write everything; return what was written."""
        written = Written(self._now, before={uid: self._rows[uid] for uid in self._put if uid in self._rows})
        written.settled = await record(self._conn, list(self._settling.values()), self._days)
        await self._remove(written)
        await self._upsert(written)
        await self._request_runs(written)
        return written

    async def _remove(self, written: Written) -> None:
        if self._removed:
            await delete_jobs(
                self._conn,
                [{"id": uid, "last_fire_time": self._settled(uid)["last_fire_time"]} for uid in sorted(self._removed)],
            )
            await cancel_pending(self._conn, sorted(self._removed))
            written.removed = sorted(self._removed)

    async def _upsert(self, written: Written) -> None:
        if not self._put:
            return
        waiting = [uid for uid in self._put if uid in self._rows]
        live = await find_live_executions(self._conn, waiting) if waiting else {}
        for uid, (resource, verdict) in sorted(self._put.items()):
            plan = self._plan(uid, resource, verdict, has_live_run=uid in live and live[uid]["run_key"] == "")
            written.jobs[uid] = resource, plan
        await upsert_jobs(self._conn, [self._row(uid, *entry) for uid, entry in written.jobs.items()])
        versions = [_version(r, plan, self._now) for uid, (r, plan) in written.jobs.items() if self._is_version(uid, r)]
        if versions:
            await insert_versions(self._conn, versions)

    def _is_version(self, uid: UUID, resource: Resource) -> bool:
        row = self._rows.get(uid)
        return row is None or row["version"] != resource.meta.generation

    def _plan(self, uid: UUID, resource: Resource, verdict: Verdict, *, has_live_run: bool) -> Plan:
        if uid not in self._rows:
            return plan_new(verdict, self._now)
        row = self._settled(uid)
        return plan_changed(row, self._job(row), resource, verdict, has_live_run=has_live_run, now=self._now)

    def _settled(self, uid: UUID) -> Mapping[str, Any]:
        """Return the row of a job as the settling of its past has left it."""
        row = self._rows[uid]
        if uid not in self._settling:
            return row
        decision = self._settling[uid][1]
        moved = {"next_fire_at": decision.next_fire_at, "last_fire_time": decision.last_fire_time}
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
            "last_fire_time": self._settled(uid)["last_fire_time"] if uid in self._rows else None,
            "created_at": resource.created_at,
        }

    async def _request_runs(self, written: Written) -> None:
        asking = [(uid, resource) for uid, (resource, _) in written.jobs.items() if self._asks(uid, resource)]
        if not asking:
            return
        await self._days.cover(self._conn, [self._now])
        live = await find_live_executions(self._conn, [uid for uid, _ in asking])
        ids = iter(await reserve_execution_ids(self._conn, len(asking)))
        requests = {
            uid: RunRequest(r, r.meta.annotations[RUN_NOW], self._run_now(uid, written.jobs[uid][1], live, next(ids)))
            for uid, r in asking
        }
        rows = [
            {"job_id": uid, "token": r.token, "execution_id": r.execution.id, "fire_time": self._now}
            for uid, r in requests.items()
        ]
        fresh = await insert_run_requests(self._conn, rows)
        inserts = [_manual_row(requests[uid]) for uid in requests if uid in fresh]
        if inserts:
            await insert_executions(self._conn, inserts)
        written.requests = [requests[uid] for uid in requests if uid in fresh]

    def _asks(self, uid: UUID, resource: Resource) -> bool:
        token = resource.meta.annotations.get(RUN_NOW)
        known = self._rows[uid]["annotations"].get(RUN_NOW) if uid in self._rows else None
        return bool(token) and token != known and len(token or "") <= LONGEST_TOKEN

    def _run_now(
        self, uid: UUID, plan: Plan, live: Mapping[UUID, Mapping[str, Any]], execution_id: int
    ) -> NewExecution:
        row = NewExecution(self._now, State.PENDING, trigger=Trigger.MANUAL, id=execution_id)
        spec = plan.verdict.spec
        if uid not in self._rows:
            message = "the token was there when the job was first seen, so it may have been run before"
            return replace(row, state=State.SKIPPED, reason=Reason.PRESENT_AT_CREATION, message=message)
        if not plan.verdict.can_run or spec is None:
            return replace(row, state=State.SKIPPED, reason=Reason.NOT_READY, message=plan.message)
        if spec.concurrency_policy == "Forbid" and uid in live:
            blocker = live[uid]["id"]
            message = f"execution {blocker} had not ended"
            return replace(row, state=State.SKIPPED, reason=Reason.OVERLAP, message=message, blocked_by=blocker)
        return row


def _version(resource: Resource, plan: Plan, now: datetime) -> dict[str, Any]:
    return {
        "job_id": resource.meta.uid,
        "version": resource.meta.generation,
        "recorded_at": now,
        "spec": resource.spec,
        "effective_from": plan.effective_from,
        "anchor_at": plan.anchor_at,
        "suspended": plan.state is JobState.SUSPENDED,
        "field_manager": resource.field_manager,
    }


def _manual_row(request: RunRequest) -> dict[str, Any]:
    meta, row = request.resource.meta, request.execution
    return {
        "id": row.id,
        "fire_time": row.fire_time,
        "namespace": meta.namespace,
        "job_name": meta.name,
        "state": row.state,
        "reason": row.reason,
        "trigger": row.trigger,
        "message": row.message,
        "handler": str(request.resource.spec.get("handler", "")),
        "job_id": meta.uid,
        "version": meta.generation,
        "run_key": request.token,
        "blocked_by": row.blocked_by,
    }
