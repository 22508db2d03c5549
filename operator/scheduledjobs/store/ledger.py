"""What verify, why and history read: jobs, their versions, and the rows that stand for their moments. Read only."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

from scheduledjobs.store.queries import Row, fetch_all, fetch_one
from scheduledjobs.store.sessions import Connection, connect


@asynccontextmanager
async def snapshot(url: str, **settings: str) -> AsyncIterator[Connection]:
    """Lend a read-only transaction in which every statement sees the same moment of the database."""
    async with connect(url, "scheduledjobs ledger", default_transaction_read_only="on", **settings) as conn:
        await conn.execute("SET default_transaction_isolation = 'repeatable read'")
        async with conn.transaction():
            yield conn


async def find_jobs(conn: Connection, namespace: str, name: str) -> list[Row]:
    """Return the jobs that have had a name, the living one or the newest first, and from when each first counted."""
    return await fetch_all(conn, "find_jobs", namespace=namespace, job_name=name)


async def verify_jobs(conn: Connection, namespace: str | None, name: str | None, since: datetime) -> list[Row]:
    """Return the jobs of a namespace and name (None: all) that were there at `since` or later."""
    return await fetch_all(conn, "verify_jobs", namespace=namespace, job_name=name, since=since)


async def verify_versions(conn: Connection, job_id: UUID) -> list[Row]:
    """Return what was in force for a job, in the order in which it was recorded: all of it, with its specs."""
    return await fetch_all(conn, "verify_versions", job_id=job_id)


async def find_version_at(conn: Connection, job_id: UUID, at: datetime) -> Row | None:
    """Return the version of a job that was in force at an instant, or None."""
    return await fetch_one(conn, "find_version_at", job_id=job_id, at=at)


async def find_version(conn: Connection, job_id: UUID, version: int) -> Row | None:
    """Return a version of a job by its number, or None."""
    return await fetch_one(conn, "find_version", job_id=job_id, version=version)


async def find_row_version(conn: Connection, job_id: UUID, version: int, at: datetime) -> Row | None:
    """Return the version that a row names which stands for `at`, as it was when that row was decided, or None."""
    return await fetch_one(conn, "find_row_version", job_id=job_id, version=version, at=at)


async def verify_rows(conn: Connection, job_id: UUID, since: datetime, until: datetime) -> list[Row]:
    """Return the scheduled rows of a job that stand for moments in [since, until), oldest first."""
    return await fetch_all(conn, "verify_rows", job_id=job_id, since=since, until=until)


async def verify_before(conn: Connection, job_id: UUID, since: datetime) -> list[Row]:
    """Return the newest scheduled row of a job before `since`, and those before it that are live, oldest first."""
    return await fetch_all(conn, "verify_before", job_id=job_id, since=since)


async def verify_requests(conn: Connection, job_id: UUID, since: datetime) -> list[Row]:
    """Return the run requests of a job since then that have no row."""
    return await fetch_all(conn, "verify_requests", job_id=job_id, since=since)


async def find_row_at(conn: Connection, job_id: UUID, at: datetime) -> list[Row]:
    """Return the rows of a job that stand for the instant `at`, scheduled ones first."""
    return await fetch_all(conn, "find_row_at", job_id=job_id, at=at)


async def find_attempts(conn: Connection, id: int, fire_time: datetime) -> list[dict[str, Any]]:  # noqa: A002
    """Return the attempts of an execution that another one followed, in order."""
    return await fetch_all(conn, "find_attempts", id=id, fire_time=fire_time)


async def find_blocker(conn: Connection, id: int) -> Row | None:  # noqa: A002 the column's name
    """Return the execution of this id as one that stood in another's way."""
    return await fetch_one(conn, "find_blocker", id=id)
