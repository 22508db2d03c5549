"""What the leader reads to report the state of jobs on their resources. One function a statement."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from scheduledjobs.store.queries import Row, execute, fetch_all
from scheduledjobs.store.sessions import Connection

MOST_RUNS = 1000
"""How many executions of a job are looked at for its newest success, and to count its failures in a row."""

MOST_ROWS = 10_000
"""And how many rows, moments that did not run among them: a run of an hour may have skipped one each second."""


async def find_live_jobs(conn: Connection) -> dict[UUID, int]:
    """Return of each job that has live executions a number that changes when one ends: see the statement."""
    return {row["job_id"]: row["live"] for row in await fetch_all(conn, "find_live_jobs")}


async def load_status(conn: Connection, ids: Sequence[UUID]) -> list[Row]:
    """Return what the status of each living job is made of; see the statement for the columns."""
    return await fetch_all(conn, "load_status", ids=list(ids), most=MOST_RUNS, most_rows=MOST_ROWS)


async def fail_fire(conn: Connection, job_id: UUID, message: str) -> int:
    """Mark an active job as FireFailed; return 1, or 0 if it is active no more."""
    return await execute(conn, "fail_fire", job_id=job_id, message=message)
