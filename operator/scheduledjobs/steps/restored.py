"""Restored: after the database was restored from a backup, close what it believes to be undecided, and run none of it.

What was due between the backup and the loss has been run and forgotten; so has the end of what waited or ran in the
backup. To the leader these are missed moments, dead replicas and waiting rows: it would run them again. Here they get a
row or an end that says that nobody knows. So does a one-shot that the backup has suspended: it is due whenever that
ends, and may have been resumed. It writes as a leader of a term of its own, while no replica runs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from scheduledjobs.core.decide import close, oldest_kept
from scheduledjobs.core.job import Decision, Job
from scheduledjobs.core.reasons import JobState, Reason, State
from scheduledjobs.errors import SpecError
from scheduledjobs.steps.fire import advance_row
from scheduledjobs.steps.record import Days, record
from scheduledjobs.steps.specs import Specs
from scheduledjobs.store.executions import lock_live_until
from scheduledjobs.store.instances import list_instances, lose_executions
from scheduledjobs.store.jobs import advance_jobs, database_now, load_jobs, load_late_jobs, load_suspended_one_shots
from scheduledjobs.store.leadership import Leader
from scheduledjobs.store.mirror import find_expiring_pauses
from scheduledjobs.store.queries import Row
from scheduledjobs.store.sessions import Connection

Load = Callable[[Connection, timedelta, int, Sequence[UUID]], Awaitable[list[Row]]]

MOST_JOBS = 200
MOST_ROWS = 1000
UNKNOWN = "the database was restored from a backup: what became of it is not known"


@dataclass(slots=True)
class Closed:
    """What was closed: moments that have a MISSED row now, executions that are LOST; and what was not."""

    moments: int = 0
    executions: int = 0
    unreadable: list[str] = field(default_factory=list)
    """Jobs whose spec this program cannot read, as NAMESPACE/NAME."""

    resuming: list[str] = field(default_factory=list)
    """Jobs (200 at most) whose pause has ended since the backup: from its end on the misfire rule decides."""

    suspended: list[str] = field(default_factory=list)
    """One-shots whose moment was closed though the backup has them suspended: they may have been resumed, and run."""


async def find_beating(conn: Connection, wait: Callable[[], Awaitable[None]]) -> list[str]:
    """Return the hostnames of the replicas whose heartbeat moves while `wait()` lasts, a few seconds: they run."""
    before = {row["id"]: row["heartbeat_at"] for row in await list_instances(conn)}
    await wait()
    return sorted(row["hostname"] for row in await list_instances(conn) if row["heartbeat_at"] != before.get(row["id"]))


class Restored:
    """The closing of what a backup does not know, up to `until`; history older than `retention` is not written."""

    def __init__(
        self, leader: Leader, until: datetime, retention: timedelta, tell: Callable[[Closed], None] = lambda _: None
    ) -> None:
        self._leader = leader
        self._until = until
        self._retention = retention
        self._tell = tell
        self._specs = Specs()
        self._days = Days()
        self._closed = Closed()

    async def run(self) -> Closed:
        """Close everything, a part in each transaction; begun again after a failure it goes on where it was."""
        while await self._close_executions():
            self._tell(self._closed)
        for load in (load_late_jobs, load_suspended_one_shots):
            passed: set[UUID] = set()
            while rows := await self._load(load, passed):
                await self._close_moments(rows, passed)
                self._tell(self._closed)
        self._closed.suspended.sort()
        self._closed.resuming = await self._find_resuming()
        return self._closed

    async def _close_executions(self) -> bool:
        async with self._leader.write() as conn:
            rows = await lock_live_until(conn, self._until, MOST_ROWS)
            await lose_executions(conn, [_ending(row) for row in rows])
        self._closed.executions += len(rows)
        return bool(rows)

    async def _load(self, load: Load, passed: set[UUID]) -> list[Row]:
        async with self._leader.session() as conn:
            late = await database_now(conn) - self._until
            return await load(conn, late, MOST_JOBS, list(passed))

    async def _close_moments(self, rows: Sequence[Row], passed: set[UUID]) -> None:
        async with self._leader.write() as conn:
            now = await database_now(conn)
            decided = {job.id: (job, found) for job, found in self._decide(rows, now)}
            moved = await advance_jobs(conn, [advance_row(job, decision) for job, decision in decided.values()])
            inserted = await record(conn, [decided[uid] for uid in decided if uid in moved], self._days)
        self._closed.moments += sum(row.moment_count or 1 for _, row in inserted)
        self._closed.suspended += [
            f"{row['namespace']}/{row['name']}"
            for row in rows
            if row["id"] in moved and row["state"] == JobState.SUSPENDED
        ]
        passed.update(row["id"] for row in rows)

    def _decide(self, rows: Sequence[Row], now: datetime) -> list[tuple[Job, Decision]]:
        decided = []
        for row in rows:
            try:
                job = self._specs.job(row)
            except SpecError:
                self._closed.unreadable.append(f"{row['namespace']}/{row['name']}")
                continue
            if decision := close(job, oldest_kept(self._retention, now), self._until, now):
                decided.append((job, decision))
        return decided

    async def _find_resuming(self) -> list[str]:
        async with self._leader.session() as conn:
            ended = await find_expiring_pauses(conn, 0.0, [])
            rows = await load_jobs(conn, [row["id"] for row in ended])
        return sorted(f"{row['namespace']}/{row['name']}" for row in rows)


def _ending(row: Row) -> dict[str, Any]:
    """How an execution of the backup ends: LOST, or as it had where only its thread ran on; none is retried."""
    ended = row["abandoned"] and row["state"] not in (State.PENDING, State.RUNNING)
    return {
        **{name: row[name] for name in ("id", "fire_time", "job_id")},
        "state": row["state"] if ended else State.LOST,
        "reason": row["reason"] if ended else Reason.RESTORED,
        "message": row["message"] if ended else UNKNOWN,
        "retry_seconds": None,
    }
