"""Rescue: declare replicas dead whose heartbeat stands still, and end what they were running as LOST.

A replica is dead when its heartbeat has not moved for ten seconds of the leader's own unbroken sight, on the monotonic
clock: times of two machines are never subtracted. A look that fails begins the sight anew. A leader that has not
trusted its own Lease for three seconds without a break declares nobody dead, since it may be the one that was cut off.

Where the work of a handler survives its replica, nothing is lost: the same attempt waits for another one to go on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from random import random
from typing import Any
from uuid import UUID

import structlog

from scheduledjobs import metrics
from scheduledjobs.core.backoff import next_attempt_in
from scheduledjobs.core.reasons import Reason, State, camel
from scheduledjobs.core.spec import Retry
from scheduledjobs.errors import SpecError, StoreError
from scheduledjobs.steps.specs import Read, Specs
from scheduledjobs.store.executions import insert_attempts
from scheduledjobs.store.instances import (
    bury_instances,
    find_orphans,
    hand_over_orphans,
    has_orphans,
    list_instances,
    lose_executions,
)
from scheduledjobs.store.leadership import Leader
from scheduledjobs.store.queries import Row

log = structlog.get_logger(__name__)

NO_RETRY = Retry()
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
        specs: Specs,
        monotonic: Callable[[], float] = time.monotonic,
        randomness: Callable[[], float] = random,
        surviving: frozenset[str] = frozenset(),
        own: Callable[[], UUID | None] = lambda: None,
    ) -> None:
        """`on_lost` is told of what a dead replica left, which may be nothing; `on_handlers` is told the names of all
        handlers that live replicas have, whenever they change; `surviving` are those whose work survives. `own` says
        which replica this is: while it leads nobody can rescue, so its work goes on without a heartbeat."""
        self._own = own
        self._surviving = surviving
        self._leader = leader
        self._is_trusted = is_trusted
        self._on_lost = on_lost
        self._on_handlers = on_handlers
        self._specs = specs
        self._monotonic = monotonic
        self._random = randomness
        self._seen: dict[UUID, tuple[datetime, float]] = {}
        self._looked_at = float("-inf")
        self._trusted_since: float | None = None
        self._handlers: frozenset[str] | None = None

    async def step(self) -> None:
        """Look at all replicas once; bury the dead and end what they left."""
        instances, are_orphans = await self._look()
        now = self._monotonic()
        self._tell_handlers(instances)
        dead = self.observe(instances, now)
        if not self._may_judge(now) or not (dead or are_orphans):
            return
        async with self._leader.write() as conn:
            buried = await bury_instances(conn, dead) if dead else set()
            orphans = await find_orphans(conn)
            specs = await self._specs.learn(conn, {(row["job_id"], row["version"]) for row in orphans})
            handed = [row for row in orphans if self._goes_on(row)]
            ended = [row for row in orphans if not self._goes_on(row)]
            over = await hand_over_orphans(conn, handed) if handed else []
            endings = [self._ending(row, specs.get((row["job_id"], row["version"]))) for row in ended]
            lost = await lose_executions(conn, endings) if endings else []
            retried = {row["id"] for row in lost if row["state"] == State.PENDING}
            if attempts := [_attempt(row) for row in ended if row["id"] in retried]:
                await insert_attempts(conn, attempts)
        for row in dead:
            if row["id"] in buried:
                log.warning("replica declared dead", dead_replica=row["hostname"], replica_id=str(row["id"]))
        if over:
            log.warning("executions handed over from their replica", count=len(over))
            metrics.repairs("handed_over").inc(len(over))
        if lost:
            log.warning("executions lost with their replica", count=len(lost), retried=len(retried))
            metrics.repairs("lost").inc(len(lost))
        handlers = {row["id"]: row["handler"] for row in ended}
        for row in lost:  # its replica, which counts how its attempts end, is no more
            if row["state"] == State.LOST:
                metrics.executions(handlers[row["id"]], camel(State.LOST)).inc()
        if buried or lost or over:
            self._on_lost([*lost, *over])

    async def _look(self) -> tuple[list[Row], bool]:
        """Return all replicas that are not dead, and whether there may be something that dead ones have left."""
        try:
            async with self._leader.session() as conn:
                return await list_instances(conn), await has_orphans(conn)
        except StoreError:
            # The next session may lead to another server, which has forgotten the newest heartbeats: the one that was
            # seen before would seem to stand still, though its replica trusts itself since a later one.
            self._seen.clear()
            raise

    def _goes_on(self, row: Row) -> bool:
        return row["handler"] in self._surviving and row["state"] == State.RUNNING

    def _ending(self, row: Row, spec: Read | SpecError | None) -> dict[str, Any]:
        """How an orphan ends: a running one is LOST, an abandoned one as it had ended; or it is to be retried."""
        state, reason, message = row["state"], row["reason"], row["message"]
        if state == State.RUNNING:
            who = f"replica {row['hostname']}" if row["hostname"] else "its replica"
            state, reason, message = State.LOST, Reason.REPLICA_DIED, f"{who} died while it ran"
        retry = NO_RETRY if spec is None or isinstance(spec, SpecError) else spec[0].retry
        wait = next_attempt_in(retry, State(state), Reason(reason), row["attempt"], self._random())
        return {
            **{name: row[name] for name in ("id", "fire_time", "job_id")},
            "state": state,
            "reason": reason,
            "message": message,
            "retry_seconds": None if wait is None else wait.total_seconds(),
        }

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
        own = self._own()
        return [row for row in instances if row["id"] != own and now - seen[row["id"]][1] >= DEAD_AFTER_SECONDS]

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


def _attempt(row: Row) -> dict[str, Any]:
    is_lost = row["state"] == State.RUNNING
    return {
        "fire_time": row["fire_time"],
        "execution_id": row["id"],
        "attempt": row["attempt"],
        "state": State.LOST if is_lost else row["state"],
        "error": "its replica died while it ran" if is_lost else row["message"],
        "started_at": row["started_at"],
        "finished_at": row["finished_at"],
        "replica": row["claimed_by"],
    }
