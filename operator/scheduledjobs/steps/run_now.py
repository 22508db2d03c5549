"""Run now: a request by annotation becomes a row, whatever comes of it; a token is one run for the life of the job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from scheduledjobs.core.job import NewExecution
from scheduledjobs.core.plan import Judge, Plan
from scheduledjobs.core.reasons import Reason, State, Trigger
from scheduledjobs.core.requests import is_taken, read_payload
from scheduledjobs.core.resource import RUN_NOW, RUN_NOW_PAYLOAD, Resource
from scheduledjobs.core.spec import ConcurrencyPolicy
from scheduledjobs.errors import RequestError, SpecError
from scheduledjobs.steps.overlap import settle_overlaps
from scheduledjobs.steps.record import Days, visible_at
from scheduledjobs.store.executions import insert_executions, reserve_execution_ids
from scheduledjobs.store.mirror import insert_run_requests
from scheduledjobs.store.sessions import Connection


@dataclass(frozen=True, slots=True)
class RunRequest:
    """A run-now as it was decided: its row, and the resource that asked; `payload` overrides the spec's."""

    resource: Resource
    plan: Plan
    token: str
    execution: NewExecution
    payload: dict[str, Any] | None = None


class RunNow:
    """The run requests of one transaction of the mirror; the jobs' rows are locked and written."""

    def __init__(self, conn: Connection, days: Days, judge: Judge, now: datetime) -> None:
        self._conn = conn
        self._days = days
        self._judge = judge
        self._now = now

    async def record(
        self, jobs: Sequence[tuple[Resource, Plan]], known: Mapping[UUID, Mapping[str, str]]
    ) -> list[RunRequest]:
        """Record the requests that are new; return them. `known` holds the annotations of jobs that were there."""
        asking = [(r, p) for r, p in jobs if _asks(r, known.get(r.meta.uid))]
        if not asking:
            return []
        await self._days.cover(self._conn, [self._now])
        ids = await reserve_execution_ids(self._conn, len(asking))
        requests = {
            r.meta.uid: self._judged(r, plan, execution_id, is_first=r.meta.uid not in known)
            for (r, plan), execution_id in zip(asking, ids, strict=True)
        }
        fresh = await insert_run_requests(self._conn, [self._request_row(r) for r in requests.values()])
        requests = {uid: request for uid, request in requests.items() if uid in fresh}
        settled = await settle_overlaps(self._conn, {uid: _newcomer(r) for uid, r in requests.items()})
        decided = [replace(request, execution=settled[uid][0]) for uid, request in requests.items()]
        if decided:
            await insert_executions(self._conn, [_row(request) for request in decided])
        return decided

    def _judged(self, resource: Resource, plan: Plan, execution_id: int, *, is_first: bool) -> RunRequest:
        row = NewExecution(self._now, State.PENDING, trigger=Trigger.MANUAL, id=execution_id)
        request = RunRequest(resource, plan, resource.meta.annotations[RUN_NOW], row)
        if is_first:
            message = "the token was there when the job was first seen, so it may have been run before"
            return _refused(request, Reason.PRESENT_AT_CREATION, message)
        if resource.status.get("lastHandledRunNow") == request.token:
            # Statuses are written from the database, so it has forgotten: it was restored from before the request.
            message = "the resource's status says that this token was handled, before a backup was restored"
            return _refused(request, Reason.RESTORED, message)
        text = resource.meta.annotations.get(RUN_NOW_PAYLOAD)
        if text is None:
            return request if plan.verdict.can_run else _refused(request, Reason.NOT_READY, plan.message)
        return self._with_payload(request, text)

    def _with_payload(self, request: RunRequest, text: str) -> RunRequest:
        """Check the payload that takes the place of the spec's for this run."""
        spec, problem = request.plan.verdict.spec, self._other_problem(request)
        try:
            payload = read_payload(text)
        except RequestError as error:
            return _refused(request, Reason.INVALID_PAYLOAD, f"{RUN_NOW_PAYLOAD}: {error.message}")
        if spec is None or problem is not None:
            return _refused(request, Reason.NOT_READY, problem or request.plan.message)
        try:
            self._judge.check_runnable(spec.model_copy(update={"payload": payload}), request.resource.meta.namespace)
        except SpecError as error:
            is_payload = error.reason is Reason.INVALID_PAYLOAD
            message = error.message.replace("spec.payload", RUN_NOW_PAYLOAD)
            return _refused(request, Reason.INVALID_PAYLOAD if is_payload else Reason.NOT_READY, message)
        return replace(request, payload=payload)

    def _other_problem(self, request: RunRequest) -> str | None:
        """Return why the job cannot run whatever its payload, or None if nothing is known of that."""
        verdict = request.plan.verdict
        if not verdict.can_run and verdict.reason is not Reason.INVALID_PAYLOAD:
            return request.plan.message
        return self._judge.over_quota(request.resource.meta.uid)  # not asked yet where the payload does not fit

    def _request_row(self, request: RunRequest) -> dict[str, Any]:
        return {
            "job_id": request.resource.meta.uid,
            "token": request.token,
            "payload": request.payload,
            "execution_id": request.execution.id,
            "fire_time": self._now,
        }


def _asks(resource: Resource, before: Mapping[str, str] | None) -> bool:
    token = resource.meta.annotations.get(RUN_NOW)
    if not token or not is_taken(token):
        return False
    return before is None or token != before.get(RUN_NOW)


def _refused(request: RunRequest, reason: Reason, message: str) -> RunRequest:
    row = replace(request.execution, state=State.SKIPPED, reason=reason, message=message[:512])
    return replace(request, execution=row)


def _newcomer(request: RunRequest) -> tuple[ConcurrencyPolicy, tuple[NewExecution, ...]]:
    spec = request.plan.verdict.spec
    return spec.concurrency_policy if spec else ConcurrencyPolicy.FORBID, (request.execution,)


def _row(request: RunRequest) -> dict[str, Any]:
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
        "payload": request.payload,
        "job_id": meta.uid,
        "version": meta.generation,
        "run_key": request.token,
        "visible_at": visible_at(row),
        "blocked_by": row.blocked_by,
    }
