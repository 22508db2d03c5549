"""Executions, previews, handlers and replicas over REST."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query

from scheduledjobs.web.api.calling import Actions, ExecutionId, Questions, Reader, Seen, Writer
from scheduledjobs.web.api.strict import StrictRoute
from scheduledjobs.web.models import Cluster, Execution, ExecutionDetail, Handlers, Preview
from scheduledjobs.web.preview import PreviewQuery, preview

router = APIRouter(route_class=StrictRoute)


@router.get("/executions/{id}", operation_id="getExecution", tags=["executions"])
async def get_execution(id: ExecutionId, scope: Seen, reads: Questions) -> ExecutionDetail:  # noqa: A002
    """Return one execution with its attempts, output, result and payload; what looks like a secret is masked."""
    return await reads.execution(scope, id)


@router.post("/executions/{id}/cancel", operation_id="cancelExecution", tags=["executions"])
async def cancel_execution(id: ExecutionId, caller: Writer, writes: Actions) -> Execution:  # noqa: A002
    """Cancel an execution that waits or runs; it needs the right to patch scheduledjobs in its namespace."""
    return await writes.cancel(caller, id)


@router.get("/preview", operation_id="previewSchedule", tags=["schedules"])
async def preview_schedule(_: Reader, query: Annotated[PreviewQuery, Query()]) -> Preview:
    """Tell what a schedule means and when it fires next, with notes on what the clocks of its zone do."""
    return preview(query, datetime.now(UTC))


@router.get("/handlers", operation_id="listHandlers", tags=["cluster"])
async def list_handlers(_: Reader, reads: Questions) -> Handlers:
    """List what a spec may name as its handler, with the JSON Schema of each payload."""
    return await reads.handlers()


@router.get("/replicas", operation_id="listReplicas", tags=["cluster"])
async def list_replicas(_: Reader, reads: Questions) -> Cluster:
    """Return the replicas: who leads, since which term, heartbeats, what runs and on how many slots."""
    return await reads.cluster()
