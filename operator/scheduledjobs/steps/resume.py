"""Resume: end the pauses whose time has come, without the API server: the annotation stays, its time is over.

The job counts from the end of its pause, not from when that was noticed, so after an outage the misfire rule decides
what becomes of the moments in between.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import structlog

from scheduledjobs.core.decide import oldest_kept
from scheduledjobs.core.plan import Judge, has_expired
from scheduledjobs.core.resource import Resource, ResourceMeta
from scheduledjobs.steps.halve import halving
from scheduledjobs.steps.mirror_batch import MirrorBatch, Written
from scheduledjobs.steps.record import Days
from scheduledjobs.steps.specs import Specs
from scheduledjobs.store.jobs import database_now
from scheduledjobs.store.leadership import Leader
from scheduledjobs.store.mirror import find_expiring_pauses, lock_jobs

log = structlog.get_logger(__name__)

EVERY_SECONDS = 5.0
AHEAD_SECONDS = 8.0
"""A pause that ends later is found by a later look, though the clock be set by two seconds, of which nobody is told.
One that is set meanwhile wakes this step."""

AGAIN_SECONDS = 1.0
RETRY_SECONDS = 30.0
"""A pause that could not be ended is tried again so much later: those behind it need not wait."""


class Resume:
    """The ends of pauses in one term."""

    def __init__(
        self,
        leader: Leader,
        specs: Specs,
        retention: timedelta,
        judge: Judge,
        on_written: Callable[[Written], Any],
        monotonic: Callable[[], float] = time.monotonic,
        *,
        on_unheard: Callable[[Sequence[UUID]], None],
    ) -> None:
        """`on_unheard` is told of jobs for which a COMMIT may have landed unheard."""
        self._on_unheard = on_unheard
        self._leader = leader
        self._specs = specs
        self._retention = retention
        self._judge = judge
        self._on_written = on_written
        self._monotonic = monotonic
        self._not_before: dict[UUID, float] = {}
        self._days = Days()
        self.wake = asyncio.Event()

    async def step(self) -> float | None:
        """End what is due to end; return the seconds until the next end if it is near, 0 if there may be more."""
        async with self._leader.session() as conn:
            soon = await find_expiring_pauses(conn, AHEAD_SECONDS, self._excluded())
        if not soon:
            return None
        waits = float(soon[0]["seconds"])
        if waits > 0:
            return min(waits, AGAIN_SECONDS)  # so a small step of the database's clock is not slept through
        await halving([row["id"] for row in soon if row["seconds"] <= 0], self._end, self._put_off, self._on_unheard)
        return 0.0

    def _excluded(self) -> list[UUID]:
        now = self._monotonic()
        for job_id in [job_id for job_id, at in self._not_before.items() if at + RETRY_SECONDS < now]:
            del self._not_before[job_id]  # ended by a change, or the resource is gone: this step comes to it no more
        return [job_id for job_id, at in self._not_before.items() if at > now]

    def _put_off(self, job_id: UUID, error: Exception) -> None:
        if job_id not in self._not_before:  # once: it is tried again and again
            log.error("pause cannot be ended", job_id=str(job_id), exc_info=error)
        self._not_before[job_id] = self._monotonic() + RETRY_SECONDS

    async def _end(self, ids: Sequence[UUID]) -> None:
        try:
            async with self._leader.write() as conn:
                now = await database_now(conn)
                rows = await lock_jobs(conn, ids)
                expired = {uid: row for uid, row in rows.items() if has_expired(row, now)}
                keep_from = oldest_kept(self._retention, now)
                batch = MirrorBatch(conn, expired, self._specs, self._days, self._judge, keep_from, now)
                for row in expired.values():
                    batch.put(resource_of(row))
                written = await batch.write()
        except BaseException:
            self._days.forget()
            raise
        for job_id in ids:
            self._not_before.pop(job_id, None)
        await self._on_written(written)


def resource_of(row: Mapping[str, Any]) -> Resource:
    """Return the resource as the mirror holds it; its status is not known."""
    meta = ResourceMeta(
        uid=row["id"],
        namespace=row["namespace"],
        name=row["name"],
        generation=row["version"],
        resource_version=int(row["resource_version"]),
        annotations=row["annotations"],
    )
    return Resource(meta, row["created_at"], row["spec"], {})
