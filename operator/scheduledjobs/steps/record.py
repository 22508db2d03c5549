"""Record decided moments: overlap settled against what is live, then rows inserted, in the caller's transaction.

The caller has locked the jobs' rows in an earlier statement. Whatever is read here is read after that, so two
transactions of one job can never both find it idle.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from scheduledjobs.core.decide import forbid_overlap
from scheduledjobs.core.job import Decision, Job, NewExecution
from scheduledjobs.core.reasons import State, Trigger
from scheduledjobs.store.executions import (
    extend_ranges,
    find_live_executions,
    insert_executions,
    reserve_execution_ids,
)
from scheduledjobs.store.partitions import ensure_days
from scheduledjobs.store.sessions import Connection


class Days:
    """The UTC days that have partitions, as far as this leader knows; a missing one is made before it is needed."""

    def __init__(self) -> None:
        self._known: set[date] = set()

    def forget(self) -> None:
        """A transaction was rolled back, and with it the days that it had made."""
        self._known.clear()

    async def cover(self, conn: Connection, instants: Sequence[datetime]) -> None:
        """Make sure that rows with these fire times (aware UTC) have a partition to go to."""
        for day in sorted({instant.date() for instant in instants} - self._known):
            await ensure_days(conn, day, day)
            self._known.add(day)


async def record(
    conn: Connection, decided: Sequence[tuple[Job, Decision]], days: Days
) -> list[tuple[Job, NewExecution]]:
    """Insert the rows of decided jobs; return those rows as inserted, each with its job."""
    settled = await _settle_overlaps(conn, decided)
    await days.cover(conn, [row.fire_time for _, rows in settled for row in rows])
    settled = await _extend(conn, settled)
    if inserts := [execution_row(job, row) for job, rows in settled for row in rows]:
        await insert_executions(conn, inserts)
    return [(job, row) for job, rows in settled for row in rows]


async def _settle_overlaps(
    conn: Connection, decided: Sequence[tuple[Job, Decision]]
) -> list[tuple[Job, tuple[NewExecution, ...]]]:
    guarded = {job.id: decision for job, decision in decided if not job.may_overlap and _runs(decision)}
    if not guarded:
        return [(job, decision.executions) for job, decision in decided]
    live = await find_live_executions(conn, list(guarded))
    ids = await _ids_for(conn, [d for job_id, d in guarded.items() if job_id not in live])
    return [
        (job, forbid_overlap(decision.executions, _id_of(live, job.id), ids if _runs(decision) > 1 else _no_ids()))
        if job.id in guarded
        else (job, decision.executions)
        for job, decision in decided
    ]


def _runs(decision: Decision) -> int:
    return sum(row.state is State.PENDING for row in decision.executions)


def _id_of(live: Mapping[UUID, Mapping[str, Any]], job_id: UUID) -> int | None:
    return live[job_id]["id"] if job_id in live else None


async def _ids_for(conn: Connection, decisions: Sequence[Decision]) -> Iterator[int | None]:
    """Reserve an id for each job that inserts a row which a later one of the same batch must name."""
    count = sum(_runs(decision) > 1 for decision in decisions)
    return iter(await reserve_execution_ids(conn, count) if count else ())


def _no_ids() -> Iterator[None]:
    """The database numbers a row that no other row of the batch names."""
    return iter((None,))


async def _extend(
    conn: Connection, settled: Sequence[tuple[Job, tuple[NewExecution, ...]]]
) -> list[tuple[Job, tuple[NewExecution, ...]]]:
    """Let the first range row of a job go on where its last one ended; return what is left to insert."""
    candidates = [
        {**execution_row(job, rows[0]), "previous": job.last_fire_time}
        for job, rows in settled
        if rows and rows[0].moment_count is not None and rows[0].state is State.SKIPPED and job.last_fire_time
    ]
    extended = await extend_ranges(conn, candidates) if candidates else set()
    return [(job, rows[1:] if job.id in extended else rows) for job, rows in settled]


def execution_row(job: Job, row: NewExecution) -> dict[str, Any]:
    """Return what insert_executions takes for a scheduled moment of `job`."""
    return {
        "id": row.id,
        "fire_time": row.fire_time,
        "namespace": job.namespace,
        "job_name": job.name,
        "state": row.state,
        "reason": row.reason,
        "trigger": row.trigger,
        "message": row.message,
        "handler": job.handler,
        "last_fire_time": row.last_fire_time,
        "moment_count": row.moment_count,
        "job_id": job.id,
        "version": job.version,
        "start_before": _start_before(job, row),
        "blocked_by": row.blocked_by,
        "missed_count": row.missed_count,
        "first_missed_at": row.first_missed_at,
    }


def _start_before(job: Job, row: NewExecution) -> datetime | None:
    """Return when it is too late to start; one tick past the deadline, which itself is still in time."""
    if row.state is not State.PENDING or row.trigger is Trigger.MANUAL:
        return None
    return row.fire_time + job.starting_deadline + timedelta(milliseconds=1)
