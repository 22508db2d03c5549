"""Heartbeat: a sign of life each second, on a connection that nothing else uses.

A replica trusts itself for a while after it *sent* the last heartbeat that was acknowledged. Once the leader has
declared it dead, which is final, its heartbeats change no row: it stops what it runs and registers under a new id.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID, uuid4

import structlog

from scheduledjobs import metrics
from scheduledjobs.errors import StoreUnavailable
from scheduledjobs.steps.clock import Clock
from scheduledjobs.store.instances import beat_instance, close_instance, register_instance
from scheduledjobs.store.sessions import Sessions

log = structlog.get_logger(__name__)

EVERY_SECONDS = 1.0


class Heartbeat:
    """The registration of one replica and its signs of life."""

    def __init__(
        self,
        sessions: Sessions,
        clock: Clock,
        identity: dict[str, object],
        *,
        on_beat: Callable[[float], None],
        on_dead: Callable[[], None],
        on_registered: Callable[[UUID], None],
        on_clock_step: Callable[[], None],
        state: Callable[[], dict[str, object]],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`identity` is hostname, version, slots and handlers; `state()` is running, is_leader, term and
        loop_lag_ms.

        `on_beat(sent_at)` is told of each acknowledged heartbeat, with the monotonic second at which it was sent.
        """
        self._sessions = sessions
        self._clock = clock
        self._identity = identity
        self._on_beat = on_beat
        self._on_dead = on_dead
        self._on_registered = on_registered
        self._on_clock_step = on_clock_step
        self._state = state
        self._monotonic = monotonic
        self._took_ms: float | None = None
        self.replica: UUID | None = None

    async def step(self) -> None:
        """Register if need be, then send one sign of life."""
        sent_at = self._monotonic()
        try:
            now = await self._beat()
        finally:
            took = self._monotonic() - sent_at
            self._took_ms = took * 1000
            metrics.HEARTBEAT.set(took)
        if now is None:
            log.error("this replica was declared dead", replica_id=str(self.replica))
            self.replica = None
            self._on_dead()
        else:
            if self._clock.sample(now, sent_at):
                log.warning("the database's clock was set", database_time=datetime.fromtimestamp(now, UTC).isoformat())
                self._on_clock_step()
            self._on_beat(sent_at)

    async def _beat(self) -> float | None:
        async with self._sessions.session() as conn:
            if self.replica is None:
                replica = uuid4()
                await register_instance(conn, replica, **self._identity)  # type: ignore[arg-type]
                self.replica = replica
                self._on_registered(replica)
            state = {**self._state(), "database_ms": self._took_ms}
            return await beat_instance(conn, self.replica, **state)  # type: ignore[arg-type]

    async def close(self) -> None:
        """Say that this replica has stopped, if the database can be reached."""
        if self.replica is None:
            return
        try:
            async with self._sessions.session() as conn:
                await close_instance(conn, self.replica)
        except StoreUnavailable as error:
            log.warning("could not say goodbye", error=str(error))
        self.replica = None
