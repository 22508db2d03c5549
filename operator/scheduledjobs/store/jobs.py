"""Jobs in SQL: what the look-ahead loads and how the plan of a job moves on. One function a statement."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from scheduledjobs.core.reasons import JobState
from scheduledjobs.store.queries import Row, batch, fetch_all, fetch_one
from scheduledjobs.store.sessions import Connection


async def database_now(conn: Connection) -> datetime:
    """Return the database's time, cut to the millisecond; aware UTC."""
    row = await fetch_one(conn, "database_now")
    assert row is not None  # noqa: S101 a SELECT without FROM has one row
    now: datetime = row["now"]
    return now


async def look_ahead(
    conn: Connection, horizon: timedelta, most: int, *, late: timedelta, excluded: Sequence[UUID]
) -> list[Row]:
    """Return id, version, next_fire_at, next_due_at and last_fire_time of active jobs due within `horizon` and late by
    less than `late`, soonest first, at most `most`."""
    return await fetch_all(
        conn,
        "look_ahead",
        horizon_seconds=horizon.total_seconds(),
        late_seconds=late.total_seconds(),
        excluded=list(excluded),
        most=most,
    )


async def load_due_jobs(
    conn: Connection, states: Iterable[JobState], most: int, excluded: Sequence[UUID] = ()
) -> list[Row]:
    """Return the rows of jobs of these states that are due, soonest first, at most `most`."""
    return await fetch_all(conn, "load_due_jobs", states=[str(s) for s in states], excluded=list(excluded), most=most)


async def load_late_jobs(conn: Connection, late: timedelta, most: int, excluded: Sequence[UUID]) -> list[Row]:
    """Return the rows of active jobs late by `late` or more, the least late first, at most `most`."""
    seconds = late.total_seconds()
    return await fetch_all(conn, "load_late_jobs", late_seconds=seconds, excluded=list(excluded), most=most)


async def load_suspended_one_shots(conn: Connection, late: timedelta, most: int, excluded: Sequence[UUID]) -> list[Row]:
    """Return the rows of suspended one-shots late by `late` or more, the least late first, at most `most`."""
    seconds = late.total_seconds()
    return await fetch_all(conn, "load_suspended_one_shots", late_seconds=seconds, excluded=list(excluded), most=most)


async def load_jobs(conn: Connection, ids: Sequence[UUID]) -> list[Row]:
    """Return the rows of these jobs, in no order; ids without a row are left out."""
    return await fetch_all(conn, "load_jobs", ids=list(ids))


async def advance_jobs(conn: Connection, rows: Iterable[Mapping[str, Any]]) -> set[UUID]:
    """Move jobs past their decided moments by compare-and-set; return the ids of those that moved.

    Each row: id, expected (its next_fire_at as read), version, state, next_fire_at, next_due_at, last_fire_time,
    newest_due_at (when the newest decided moment is due, None where it is the only one), is_completed.
    """
    return {row["id"] for row in await fetch_all(conn, "advance_jobs", rows=batch(rows))}


async def load_versions(conn: Connection, versions: Iterable[tuple[UUID, int]]) -> list[Row]:
    """Return job_id, version and spec of each (job id, version) asked for."""
    rows = batch({"job_id": job_id, "version": version} for job_id, version in versions)
    return await fetch_all(conn, "load_versions", rows=rows)
