"""What REST and pages read of jobs, executions and replicas. Read only; one function a statement.

`namespaces` bounds what is seen: None is all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import UUID

from scheduledjobs.store.queries import Row, fetch_all, fetch_one
from scheduledjobs.store.sessions import Connection

Namespaces = Sequence[str] | None
FIRST = UUID(int=0)
T = TypeVar("T")


async def read_jobs(
    conn: Connection,
    namespaces: Namespaces,
    *,
    ids: Sequence[UUID] | None = None,
    states: Sequence[str] | None = None,
    handler: str | None = None,
    words: Sequence[str] = (),
    outcome: str | None = None,
    managers: Sequence[str] | None = None,
    gitops: Sequence[str] = (),
    recent: int = 60,
    after: tuple[str, str, UUID] = ("", "", FIRST),
    most: int = 50,
) -> list[Row]:
    """Return jobs by namespace and name, each with its newest `recent` executions; living ones unless `states` say so.

    `words` must all be in "namespace/name handler"; `outcome` is the state of the newest execution; `managers` and
    `gitops` are field managers, of whom one of the latter is shown rather than another.
    """
    patterns = [f"%{_literal(word)}%" for word in words] or None
    return await fetch_all(
        conn,
        "read_jobs",
        namespaces=_listed(namespaces),
        ids=_listed(ids),
        states=_listed(states),
        handler=handler,
        words=patterns,
        outcome=outcome,
        managers=_listed(managers),
        gitops=list(gitops),
        recent=recent,
        namespace_after=after[0],
        name_after=after[1],
        id_after=after[2],
        most=most,
    )


def _listed(values: Sequence[T] | None) -> list[T] | None:
    return None if values is None else list(values)


def _literal(word: str) -> str:
    return word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


async def read_executions(
    conn: Connection,
    job_id: UUID,
    *,
    since: datetime,
    until: datetime,
    states: Sequence[str] | None = None,
    triggers: Sequence[str] | None = None,
    before: tuple[datetime, int] | None = None,
    most: int = 50,
) -> list[Row]:
    """Return executions of a job with fire times in [since, until), newest first, after the position `before`."""
    fire_time, number = before or (until, 0)
    return await fetch_all(
        conn,
        "read_executions",
        job_id=job_id,
        since=since,
        until=until,
        states=_listed(states),
        triggers=_listed(triggers),
        fire_time_before=fire_time,
        id_before=number,
        most=most,
    )


async def read_execution(conn: Connection, id: int) -> Row | None:  # noqa: A002 the column's name
    """Return one execution with its payload, result and times, or None."""
    return await fetch_one(conn, "read_execution", id=id)


async def read_outputs(conn: Connection, id: int, fire_time: datetime) -> list[Row]:  # noqa: A002
    """Return attempt, output and truncated of the attempts that wrote anything."""
    return await fetch_all(conn, "read_outputs", id=id, fire_time=fire_time)


async def read_request(conn: Connection, job_id: UUID, token: str) -> Row | None:
    """Return execution_id, fire_time and payload of a run request, or None while it is not recorded."""
    return await fetch_one(conn, "read_request", job_id=job_id, token=token)


async def read_replicas(conn: Connection) -> list[Row]:
    """Return the replicas that live and those that ended within the last hour, each with the database's `now`."""
    return await fetch_all(conn, "read_replicas")


async def read_terms(conn: Connection, most: int) -> list[Row]:
    """Return term, holder and acquired_at of the newest terms, newest first."""
    return await fetch_all(conn, "read_terms", most=most)


async def read_namespaces(conn: Connection) -> list[str]:
    """Return the namespaces that have or had jobs, sorted."""
    return [row["namespace"] for row in await fetch_all(conn, "read_namespaces")]


async def count_jobs(conn: Connection, namespaces: Namespaces) -> dict[str, int]:
    """Return how many living jobs are in each state."""
    rows = await fetch_all(conn, "count_jobs", namespaces=_listed(namespaces))
    return {row["state"]: row["count"] for row in rows}


async def count_troubles(conn: Connection, namespaces: Namespaces, most: int) -> Row:
    """Return failed and missed of the last day, of its newest `most` such rows together, and how many executions run.

    What was coalesced is not missed: another run stands for it.
    """
    row = await fetch_one(conn, "count_troubles", namespaces=_listed(namespaces), most=most)
    assert row is not None  # noqa: S101 a count has one row
    return row


async def read_lateness(conn: Connection, namespaces: Namespaces, most: int) -> float | None:
    """Return the 99th percentile of the lateness of scheduled starts among the newest `most` rows, in milliseconds."""
    row = await fetch_one(conn, "read_lateness", namespaces=_listed(namespaces), most=most)
    return None if row is None else row["p99"]


async def find_failing(conn: Connection, namespaces: Namespaces, most: int) -> Row:
    """Return the jobs of the newest `most` failures of a week that have not succeeded since: `ids` of up to 200, newest
    failure first, the `count` of all, and `is_cut` where that week may have more failures."""
    row = await fetch_one(conn, "find_failing", namespaces=_listed(namespaces), most=most)
    assert row is not None  # noqa: S101 a count has one row
    return row


async def read_agenda(conn: Connection, namespaces: Namespaces, until: datetime, most: int) -> list[Row]:
    """Return id, spec, anchor_at and next_fire_at of active jobs with a moment before `until`, soonest first."""
    return await fetch_all(conn, "read_agenda", namespaces=_listed(namespaces), until=until, most=most)


async def read_versions(conn: Connection, job_id: UUID, before: int, most: int) -> list[Row]:
    """Return up to `most` versions of a job recorded before the place `before` (seq), the newest first."""
    return await fetch_all(conn, "read_versions", job_id=job_id, before=before, most=most)


async def read_heat(conn: Connection, job_id: UUID, since: datetime, most: int) -> list[Row]:
    """Return the outcomes of a job by the hour: start, succeeded, failed and not_run, of its newest `most` rows."""
    return await fetch_all(conn, "read_heat", job_id=job_id, since=since, most=most)


async def read_lanes(
    conn: Connection, ids: Sequence[UUID], since: datetime, stretch: timedelta, most: int
) -> list[Row]:
    """Return what stands out in each stretch of time since `since`, of the newest `most` executions of each job:
    job_id, id, fire_time, state, duration_ms, and is_cut where there are more."""
    seconds = stretch.total_seconds()
    return await fetch_all(conn, "read_lanes", ids=list(ids), since=since, seconds=seconds, most=most)
