"""Prune: make the days ahead, drop those past the retention, forget deleted jobs, dead replicas, old terms and told
notices."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta

import structlog

from scheduledjobs import metrics
from scheduledjobs.core.decide import oldest_kept
from scheduledjobs.errors import StoreBusy, StoreError
from scheduledjobs.steps.clock import Clock
from scheduledjobs.store.instances import forget_instances
from scheduledjobs.store.leadership import forget_terms
from scheduledjobs.store.mirror import forget_jobs
from scheduledjobs.store.notices import (
    forget_notices,
    forget_webhooks,
    merge_notices,
    prune_failing,
    prune_messages,
    prune_notices,
)
from scheduledjobs.store.partitions import DAYS_AHEAD, drop_expired, ensure_days, list_partitions
from scheduledjobs.store.sessions import Connection, Sessions, our_errors

log = structlog.get_logger(__name__)

EVERY_SECONDS = 600.0
LONGEST_WAIT_SECONDS = 30.0
"""How long a pass waits at most after one that failed: what fails here may go on failing for days, and each pass reads
much. Once a minute would be too seldom for the alert of a step that fails."""

MOST_JOBS = 1000
MOST_BATCHES = 10
"""Deleted jobs are forgotten so many in a transaction, and in so many transactions a pass."""


class Prune:
    """The days of the log; on sessions of its own, since a detach must be outside a transaction and may wait."""

    def __init__(self, sessions: Sessions, clock: Clock, retention_days: int, webhooks: Collection[str] = ()) -> None:
        self._sessions = sessions
        self._clock = clock
        self._retention_days = retention_days
        self._webhooks = webhooks

    async def step(self) -> None:
        """Make and drop days as the database's clock says."""
        await self.prune(datetime.fromtimestamp(self._clock.now(), UTC))

    async def prune(self, now: datetime) -> None:
        """Make the days from yesterday to a week ahead of `now`; drop those wholly past the retention, and forget what
        was deleted or ended before it.

        Each of these has its turn, whatever has become of the others: `StoreError` is raised at the end, with the first
        that failed; at once only where there is no connection.
        """
        today, kept_from = now.date(), oldest_kept(timedelta(days=self._retention_days), now)
        failed: list[StoreError] = []
        async with self._turn(failed) as conn:
            await ensure_days(conn, today - timedelta(days=1), today + timedelta(days=DAYS_AHEAD))
        async with self._turn(failed) as conn:  # the alert of days that run out, and what frees a disk
            metrics.DAYS_AHEAD.set(sum(day > today for day in await list_partitions(conn)))
            await _drop_days(conn, kept_from.date(), failed)
        async with self._turn(failed) as conn:  # after the days that have their rows
            await _forget_jobs(conn, kept_from)
        async with self._turn(failed) as conn:
            await forget_instances(conn, self._retention_days)
        async with self._turn(failed) as conn:
            await forget_terms(conn, self._retention_days)
        async with self._turn(failed) as conn, conn.transaction():
            await self._forget_notices(conn)
        async with self._turn(failed) as conn:
            await merge_notices(conn)
        if failed:
            raise failed[0]

    @asynccontextmanager
    async def _turn(self, failed: list[StoreError]) -> AsyncIterator[Connection]:
        async with self._sessions.session() as conn:
            try:
                async with our_errors():
                    yield conn
            except StoreError as error:
                failed.append(error)

    async def _forget_notices(self, conn: Connection) -> None:
        """In one transaction: a message is forgotten with its notices, since its id may be needed again."""
        await forget_webhooks(conn, self._webhooks)
        await (prune_failing(conn) if self._webhooks else forget_notices(conn))
        await prune_notices(conn)
        await prune_messages(conn)


async def _drop_days(conn: Connection, before: date, failed: list[StoreError]) -> None:
    in_use: list[date] = []

    def on_bad(day: date, error: StoreError) -> None:
        if isinstance(error, StoreBusy):
            in_use.append(day)
        else:
            failed.append(error)

    dropped = await drop_expired(conn, before, on_bad)
    if dropped:
        log.info("dropped days past the retention", days=[str(day) for day in dropped])
    if in_use:
        log.info("days past the retention are in use", days=[str(day) for day in in_use])


async def _forget_jobs(conn: Connection, kept_from: datetime) -> None:
    forgotten = 0
    for _ in range(MOST_BATCHES):
        count = await forget_jobs(conn, kept_from, MOST_JOBS)
        forgotten += count
        if count < MOST_JOBS:
            break
    if forgotten:
        log.info("forgot deleted jobs past the retention", count=forgotten)
