"""Release: let go on what waited for a run to end: a held run, the next moment of a fixedDelay; close what waited too
long.

Level-triggered: woken by the end of such a run, and each second without being asked, so a lost wake-up costs a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog

from scheduledjobs import metrics
from scheduledjobs.core.decide import due
from scheduledjobs.core.job import Job
from scheduledjobs.core.reasons import State, camel
from scheduledjobs.core.schedule import following_fire
from scheduledjobs.errors import StoreBusy
from scheduledjobs.steps.halve import halving
from scheduledjobs.steps.specs import Specs
from scheduledjobs.store.executions import end_waiting, miss_unstarted, request_stops
from scheduledjobs.store.jobs import database_now
from scheduledjobs.store.leadership import Leader, lost
from scheduledjobs.store.mirror import cancel_orphans
from scheduledjobs.store.queries import Row
from scheduledjobs.store.releases import (
    find_last_runs,
    find_releasable_jobs,
    find_releases,
    find_unasked_stops,
    find_waiting_jobs,
    lock_free_jobs,
    lock_waiting_jobs,
    release_executions,
    release_jobs,
)

log = structlog.get_logger(__name__)

LOCKED_SECONDS = 0.1
"""A job that somebody has locked is not waited for, but looked at again so soon."""

ORPHANS_EVERY = 10
"""Passes between two looks for what waits under a deleted job; a delete is followed by looks of its own."""


class Release:
    """What the leader lets go on: the next moment of a fixedDelay job, the end of a late execution."""

    def __init__(
        self,
        leader: Leader,
        specs: Specs,
        on_released: Callable[[Sequence[UUID]], Awaitable[None]],
        on_missed: Callable[[Sequence[Row]], None],
        on_claimable: Callable[[], None],
        on_stops: Callable[[], None],
        *,
        on_unheard: Callable[[Sequence[UUID]], None],
    ) -> None:
        """`on_claimable` is told when held runs may be claimed, `on_stops` when running ones were asked to stop,
        `on_missed` what was closed that waited: rows as end_waiting returns them.

        `on_unheard` is told of jobs for which a COMMIT may have landed unheard.
        """
        self._on_unheard = on_unheard
        self._on_claimable = on_claimable
        self._on_stops = on_stops
        self._leader = leader
        self._specs = specs
        self._on_released = on_released
        self._on_missed = on_missed
        self._told: set[UUID] = set()
        self._passes = 0
        self._looks = 1
        self._has_locked = False
        self.wake = asyncio.Event()

    async def step(self) -> float | None:
        """Release every job that may go on; return soon where one was locked.

        Raises `StoreBusy` at the end if a part could not be done for now; the others do not wait for it.
        """
        self._has_locked = False
        async with self._leader.session() as conn:
            there = await find_releases(conn, self._leader.term, self._leader.holder)
            if not there["is_in_force"]:
                raise lost(self._leader.term, self._leader.holder)
            waiting = await find_waiting_jobs(conn) if there["is_any_waiting"] else []
        parts: list[Callable[[], Awaitable[None]]] = []
        if waiting:
            parts.append(lambda: halving(waiting, self.release, self._tell_bad, self._on_unheard))
        if there["is_any_late"]:
            parts.append(self._miss)
        if there["is_any_held"]:
            parts += [self._release_held, self._ask_again]
        busy: StoreBusy | None = None
        for part in [*parts, self._cancel_orphans]:
            try:
                await part()
            except StoreBusy as error:
                busy = error
        if busy is not None:
            raise busy
        return LOCKED_SECONDS if self._has_locked else None

    async def _miss(self) -> None:
        async with self._leader.write() as conn:
            missed = await miss_unstarted(conn)
        for row in missed:  # when they were inserted nobody knew
            if row["state"] == State.MISSED:
                metrics.fires(row["state"], row["reason"]).inc()
            else:
                metrics.executions(row["handler"], camel(row["state"])).inc()
        if missed:
            self._on_missed(missed)

    def look_for_orphans(self) -> None:
        """Jobs were deleted: an attempt of theirs may be going back to PENDING at this moment."""
        self._looks = 3

    async def _cancel_orphans(self) -> None:
        self._passes += 1
        if not self._looks and self._passes % ORPHANS_EVERY:
            return
        self._looks = max(0, self._looks - 1)
        async with self._leader.write() as conn:
            cancelled = await cancel_orphans(conn)
        if cancelled:
            log.warning("executions of deleted jobs cancelled", count=cancelled)
            metrics.repairs("cancelled").inc(cancelled)

    def _tell_bad(self, job_id: UUID, error: Exception) -> None:
        if job_id not in self._told:  # once: it is tried again each second
            self._told.add(job_id)
            log.error("job cannot be released", job_id=str(job_id), exc_info=error)

    async def _release_held(self) -> None:
        async with self._leader.session() as conn:
            jobs = await find_releasable_jobs(conn)
        if not jobs:
            return
        async with self._leader.write() as conn:
            free = await lock_free_jobs(conn, jobs)
            released = await release_executions(conn, free)
        self._has_locked |= len(free) < len(jobs)
        if released:
            self._on_claimable()

    async def _ask_again(self) -> None:
        """Level-triggered: a run in the way of a newer one is asked to stop, whatever became of the first request."""
        async with self._leader.session() as conn:
            unasked = await find_unasked_stops(conn)
        if not unasked:
            return
        waiting = [row for row in unasked if row["is_waiting"]]
        ended: list[Row] = []
        async with self._leader.write() as conn:
            if waiting:  # its attempt failed before it was asked; its next one would come before the newer run
                ended = await end_waiting(conn, [row["id"] for row in waiting], [row["job_id"] for row in waiting])
            await request_stops(conn, [row["id"] for row in unasked if not row["is_waiting"]])
        if waiting:
            self._has_locked = True  # what waited for it may go on at once
            self._on_missed(ended)
        self._on_stops()

    async def release(self, ids: Sequence[UUID]) -> None:
        """Set the next moment of those of `ids` that still wait and have nothing live."""
        async with self._leader.write() as conn:
            jobs = [self._specs.job(row) for row in await lock_waiting_jobs(conn, ids)]
            self._has_locked |= len(jobs) < len(ids)
            ended = await find_last_runs(conn, [job.id for job in jobs])
            now = await database_now(conn)
            rows = [_row(job, following(job, at)) for job in jobs if (at := ended.get(job.id, now)) is not None]
            if rows:
                await release_jobs(conn, rows)
        await self._on_released([UUID(str(row["id"])) for row in rows])


def _row(job: Job, fire_time: datetime | None) -> dict[str, Any]:
    return {"id": job.id, "next_fire_at": fire_time, "next_due_at": None if fire_time is None else due(job, fire_time)}


def following(job: Job, ended_at: datetime) -> datetime | None:
    """Return the next moment of a fixedDelay job: its delay after the end of the last run.

    `ended_at` is the present where the history no longer has that run: what is planned from a time before the history
    gets no row when it is due, so nothing would ever follow it.
    """
    return following_fire(job.schedule, ended_at, job.last_fire_time or ended_at, job.effective_from)
