"""The mirror in SQL: resources as job_definition rows, their versions, and run requests. One function a statement."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from scheduledjobs.store.queries import Row, batch, execute, fetch_all, fetch_one
from scheduledjobs.store.sessions import Connection


async def lock_jobs(conn: Connection, ids: Sequence[UUID]) -> dict[UUID, Row]:
    """Lock the whole rows of these jobs, in id order; return them by id."""
    return {row["id"]: row for row in await fetch_all(conn, "lock_jobs", ids=list(ids))}


async def find_namesakes(conn: Connection, rows: Iterable[Mapping[str, Any]]) -> dict[UUID, UUID]:
    """Return, for each (id, namespace, name) whose name another living job has, that job's id."""
    return {row["claimant"]: row["id"] for row in await fetch_all(conn, "find_namesakes", rows=batch(rows))}


async def upsert_jobs(conn: Connection, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write jobs as planned; the rows that exist must be locked."""
    return await execute(conn, "upsert_jobs", rows=batch(rows))


async def insert_versions(conn: Connection, rows: Iterable[Mapping[str, Any]]) -> bool:
    """Keep versions, and what is in force from their effective_from on; see the statement for the columns.

    Return whether one of them was there with another spec.
    """
    return any(row["is_rewritten"] for row in await fetch_all(conn, "insert_versions", rows=batch(rows)))


async def delete_jobs(conn: Connection, rows: Iterable[Mapping[str, Any]]) -> int:
    """Turn jobs (id, message, last_fire_time, deleted_at) into DELETED ones; `message` says why."""
    return await execute(conn, "delete_jobs", rows=batch(rows))


async def forget_jobs(conn: Connection, kept_from: datetime, most: int) -> int:
    """Forget up to `most` jobs, with their versions and run requests, that were deleted before `kept_from` and of which
    the log has no row; return how many. Age alone decides, and doing it twice does no harm: it needs no term.
    """
    row = await fetch_one(conn, "forget_jobs", kept_from=kept_from, most=most)
    return int(row["forgotten"]) if row else 0


async def cancel_pending(conn: Connection, job_ids: Sequence[UUID]) -> int:
    """End as CANCELLED/JobDeleted what waits to run for these jobs; return how many."""
    return await execute(conn, "cancel_pending", job_ids=list(job_ids))


async def cancel_orphans(conn: Connection) -> int:
    """Cancel what waits to run for jobs that are gone; return how many rows changed."""
    return await execute(conn, "cancel_orphans")


async def find_judgeable(conn: Connection, after: UUID, handlers: Sequence[str], most: int) -> list[Row]:
    """Return the rows of up to `most` jobs that are to be judged anew and whose ids follow `after`, in their order.

    `handlers` are those that live replicas have.
    """
    return await fetch_all(conn, "find_judgeable", after=after, handlers=list(handlers), most=most)


async def load_places(conn: Connection, after: UUID, namespaces: Sequence[str] | None, most: int) -> list[Row]:
    """Return what quotas count of up to `most` living jobs whose ids follow `after`, in their order; see the statement.

    `namespaces` None is all of them.
    """
    names = None if namespaces is None else list(namespaces)
    return await fetch_all(conn, "load_places", after=after, namespaces=names, most=most)


async def load_resources(conn: Connection, ids: Sequence[UUID]) -> list[Row]:
    """Return the whole rows of those of these jobs that live, in no order."""
    return await fetch_all(conn, "load_resources", ids=list(ids))


async def insert_run_requests(conn: Connection, rows: Iterable[Mapping[str, Any]]) -> set[UUID]:
    """Record run requests (job_id, token, payload, execution_id, fire_time); return the jobs whose token was new."""
    return {row["job_id"] for row in await fetch_all(conn, "insert_run_requests", rows=batch(rows))}


async def load_mirrored(conn: Connection, ids: Sequence[UUID]) -> dict[UUID, Row]:
    """Return what a compare needs of these jobs, deleted ones too, by id: state, versions and annotations."""
    return {row["id"]: row for row in await fetch_all(conn, "load_mirrored", ids=list(ids))}


async def find_living(conn: Connection, after: UUID, namespaces: Sequence[str] | None, most: int) -> list[UUID]:
    """Return the ids of up to `most` living jobs that follow `after`, in their order; `namespaces` None is all."""
    names = None if namespaces is None else list(namespaces)
    return [row["id"] for row in await fetch_all(conn, "find_living", after=after, namespaces=names, most=most)]


async def find_unwatched(conn: Connection, after: UUID, namespaces: Sequence[str], most: int) -> list[Row]:
    """Return id, namespace and name of up to `most` living jobs of other namespaces that follow `after`, in order."""
    return await fetch_all(conn, "find_unwatched", after=after, namespaces=list(namespaces), most=most)


async def find_expiring_pauses(conn: Connection, ahead_seconds: float, excluded: Sequence[UUID]) -> list[Row]:
    """Return id and seconds (until the end, negative if past) of pauses that end soon, at most 200."""
    return await fetch_all(conn, "find_expiring_pauses", ahead_seconds=ahead_seconds, excluded=list(excluded))
