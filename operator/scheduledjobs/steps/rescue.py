"""Rescue: declare replicas dead whose heartbeat stands still, and end what they were running as LOST.

A replica is dead when its heartbeat has not moved for ten seconds of the leader's own unbroken sight, on the
monotonic clock: times of two machines are never subtracted. A leader that has not trusted its own Lease for three
seconds without a break declares nobody dead, since it may be the one that was cut off.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

import structlog

from scheduledjobs.store.instances import bury_instances, forget_abandoned, list_instances, lose_executions
from scheduledjobs.store.leadership import Leader
from scheduledjobs.store.queries import Row

log = structlog.get_logger(__name__)

DEAD_AFTER_SECONDS = 10.0
TRUSTED_FOR_SECONDS = 3.0
SIGHT_GAP_SECONDS = 3.0
"""Longer than this between two looks, and the leader's sight was broken: everybody is watched afresh."""


class Rescue:
    """The leader's sight of all replicas during one term."""

    def __init__(
        self,
        leader: Leader,
        is_trusted: Callable[[], bool],
        on_lost: Callable[[Sequence[Row]], None],
        on_handlers: Callable[[frozenset[str]], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`on_handlers` is told the names of all handlers that live replicas have, whenever they change."""
        self._leader = leader
        self._is_trusted = is_trusted
        self._on_lost = on_lost
        self._on_handlers = on_handlers
        self._monotonic = monotonic
        self._seen: dict[UUID, tuple[datetime, float]] = {}
        self._looked_at = float("-inf")
        self._trusted_since: float | None = None
        self._handlers: frozenset[str] | None = None

    async def step(self) -> None:
        """Look at all replicas once; bury the dead and end what they left."""
        async with self._leader.session() as conn:
            instances = await list_instances(conn)
        now = self._monotonic()
        self._tell_handlers(instances)
        dead = self.observe(instances, now)
        if not self._may_judge(now):
            return
        async with self._leader.write() as conn:
            buried = await bury_instances(conn, dead) if dead else set()
            lost = await lose_executions(conn)
            await forget_abandoned(conn)
        for row in dead:
            if row["id"] in buried:
                log.warning("replica declared dead", replica=str(row["id"]), hostname=row["hostname"])
        if lost:
            log.warning("executions lost with their replica", count=len(lost))
            self._on_lost(lost)

    def observe(self, instances: Sequence[Row], now: float) -> list[Row]:
        """Take in one look; return the replicas whose heartbeat has stood still for too long."""
        if now - self._looked_at > SIGHT_GAP_SECONDS:
            self._seen.clear()
        self._looked_at = now
        seen: dict[UUID, tuple[datetime, float]] = {}
        for row in instances:
            heartbeat, since = self._seen.get(row["id"], (None, now))
            seen[row["id"]] = (row["heartbeat_at"], since if heartbeat == row["heartbeat_at"] else now)
        self._seen = seen
        return [row for row in instances if now - seen[row["id"]][1] >= DEAD_AFTER_SECONDS]

    def _may_judge(self, now: float) -> bool:
        if not self._is_trusted():
            self._trusted_since = None
        elif self._trusted_since is None:
            self._trusted_since = now
        return self._trusted_since is not None and now - self._trusted_since >= TRUSTED_FOR_SECONDS

    def _tell_handlers(self, instances: Sequence[Row]) -> None:
        handlers = frozenset(name for row in instances for name in row["handlers"])
        if handlers != self._handlers:
            self._handlers = handlers
            self._on_handlers(handlers)
