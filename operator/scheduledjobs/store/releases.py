"""What the release step reads and writes: jobs whose next moment hangs on the end of their last run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from scheduledjobs.store.queries import Row, batch, execute, fetch_all, fetch_one
from scheduledjobs.store.sessions import Connection


async def find_releases(conn: Connection, term: int, holder: str) -> Row:
    """Return whether the term is in force, any job waits for a moment, any execution is past its deadline or held."""
    row = await fetch_one(conn, "find_releases", term=term, holder=holder)
    assert row is not None  # noqa: S101 it has one row, whatever there is
    return row


async def find_waiting_jobs(conn: Connection) -> list[UUID]:
    """Return up to 1,000 jobs of fixedDelay that wait for a moment and have nothing live."""
    return [row["id"] for row in await fetch_all(conn, "find_waiting_jobs")]


async def lock_waiting_jobs(conn: Connection, ids: Sequence[UUID]) -> list[Row]:
    """Lock those of `ids` that still wait and are not locked, in id order; return them as load_jobs does."""
    return await fetch_all(conn, "lock_waiting_jobs", ids=list(ids))


async def find_last_runs(conn: Connection, ids: Sequence[UUID]) -> dict[UUID, datetime | None]:
    """Return when the run of each job ended that its next moment follows, None while it is live.

    Jobs without a scheduled row are left out.
    """
    return {row["job_id"]: row["finished_at"] for row in await fetch_all(conn, "find_last_runs", ids=list(ids))}


async def release_jobs(conn: Connection, rows: Iterable[Mapping[str, Any]]) -> int:
    """Set the next moment of jobs (id, next_fire_at, next_due_at); None completes the job."""
    return await execute(conn, "release_jobs", rows=batch(rows))


async def find_releasable_jobs(conn: Connection) -> list[UUID]:
    """Return up to 1,000 jobs that have a held execution and nothing else live."""
    return [row["job_id"] for row in await fetch_all(conn, "find_releasable_jobs")]


async def lock_free_jobs(conn: Connection, ids: Sequence[UUID]) -> list[UUID]:
    """Lock those of these jobs that nobody else has locked; return them."""
    return [row["id"] for row in await fetch_all(conn, "lock_free_jobs", ids=list(ids))]


async def release_executions(conn: Connection, job_ids: Sequence[UUID]) -> list[Row]:
    """Make the oldest held execution of each job claimable, if nothing else of it is live; return id and job_id."""
    return await fetch_all(conn, "release_executions", job_ids=list(job_ids))


async def find_unasked_stops(conn: Connection) -> list[Row]:
    """Return id, job_id and is_waiting of runs that stand in the way of one that replaces them."""
    return await fetch_all(conn, "find_unasked_stops")
