"""Record decided moments: overlap settled against what is live, then rows inserted, in the caller's transaction.

The caller has locked the jobs' rows in an earlier statement. Whatever is read here is read after that, so two
transactions of one job can never both find it idle.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from scheduledjobs.core.job import Decision, Job, NewExecution
from scheduledjobs.core.reasons import State, Trigger
from scheduledjobs.steps.inserting import Inserting
from scheduledjobs.steps.overlap import settle_overlaps
from scheduledjobs.store.executions import extend_ranges, insert_executions
from scheduledjobs.store.partitions import ensure_days
from scheduledjobs.store.sessions import Connection


class Days:
    """The UTC days that have partitions, as far as this leader knows; a missing one is made before it is needed."""

    def __init__(self, known: Iterable[date] = ()) -> None:
        self._known = set(known)

    def begin(self) -> Days:
        """Return a copy for one transaction, of whose days nobody else knows before it is committed."""
        return Days(self._known)

    def learn(self, committed: Days) -> None:
        """Take in the days of a transaction that was committed."""
        self._known |= committed._known

    def forget(self) -> None:
        """A transaction was rolled back, and with it the days that it had made."""
        self._known.clear()

    async def cover(self, conn: Connection, instants: Sequence[datetime]) -> None:
        """Make sure that rows with these fire times (aware UTC) have a partition to go to."""
        for day in sorted({instant.date() for instant in instants} - self._known):
            await ensure_days(conn, day, day)
            self._known.add(day)


async def record(
    conn: Connection, decided: Sequence[tuple[Job, Decision]], days: Days, inserting: Inserting | None = None
) -> list[tuple[Job, NewExecution]]:
    """Insert the rows of decided jobs, claimed where `inserting` takes them; return the rows, each with its job."""
    rows_of = await settle_overlaps(conn, {job.id: (job.concurrency, d.executions) for job, d in decided})
    settled = [(job, rows_of[job.id]) for job, _ in decided]
    await days.cover(conn, [row.fire_time for _, rows in settled for row in rows])
    settled = await _extend(conn, settled)
    recorded = [(job, row) for job, rows in settled for row in rows]
    if recorded:
        inserting = inserting or Inserting()
        replica = inserting.take(recorded)
        inserting.sent(await insert_executions(conn, [execution_row(job, row, replica) for job, row in recorded]))
    return recorded


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


def execution_row(job: Job, row: NewExecution, replica: UUID | None = None) -> dict[str, Any]:
    """Return what insert_executions takes for a scheduled moment of `job`, claimed by `replica` if it may run now."""
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
        "visible_at": visible_at(row),
        "due_at": row.due_at,
        "start_before": _start_before(job, row),
        "blocked_by": row.blocked_by,
        "missed_count": row.missed_count,
        "first_missed_at": row.first_missed_at,
        "claimed_by": replica if row.is_claimable else None,
    }


def visible_at(row: NewExecution) -> datetime | str:
    """Return from when a row may be claimed; a held one not before it is released."""
    return "infinity" if row.is_held else row.due_at or row.fire_time


def _start_before(job: Job, row: NewExecution) -> datetime | None:
    """Return when it is too late to start; one tick past the deadline, which itself is still in time."""
    if row.state is not State.PENDING or row.trigger is Trigger.MANUAL:
        return None
    return (row.due_at or row.fire_time) + job.starting_deadline + timedelta(milliseconds=1)
