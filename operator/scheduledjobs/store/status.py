"""What the leader reads to report the state of jobs on their resources. One function a statement."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from scheduledjobs.store.queries import Row, execute, fetch_all
from scheduledjobs.store.sessions import Connection

MOST_RUNS = 1000
"""How many executions of a job are looked at for its newest success, and to count its failures in a row."""


async def find_live_jobs(conn: Connection) -> dict[UUID, tuple[int, int, int]]:
    """Return of each job that has live executions what changes when one ends: see the statement."""
    rows = await fetch_all(conn, "find_live_jobs")
    return {row["job_id"]: (row["active"], row["abandoned"], row["newest"]) for row in rows}


async def load_status(conn: Connection, ids: Sequence[UUID]) -> list[Row]:
    """Return what the status of each living job is made of; see the statement for the columns."""
    return await fetch_all(conn, "load_status", ids=list(ids), most=MOST_RUNS)


async def fail_fire(conn: Connection, job_id: UUID, message: str) -> int:
    """Mark an active job as FireFailed; return 1, or 0 if it is active no more."""
    return await execute(conn, "fail_fire", job_id=job_id, message=message)
