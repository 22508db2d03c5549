"""Stops: end running attempts that somebody asked to stop, woken by NOTIFY, and each second without being asked."""

from __future__ import annotations

import asyncio
from uuid import UUID

from scheduledjobs.core.reasons import Reason, State
from scheduledjobs.handlers.assignment import Stop
from scheduledjobs.handlers.runner import Runner
from scheduledjobs.store.executions import find_stops
from scheduledjobs.store.queries import Row
from scheduledjobs.store.sessions import Sessions

EVERY_SECONDS = 1.0


class Stops:
    """The stops of one replica; `replica` changes when it registers anew."""

    def __init__(self, sessions: Sessions, runner: Runner) -> None:
        self._sessions = sessions
        self._runner = runner
        self.wake = asyncio.Event()
        self.replica: UUID | None = None

    async def step(self) -> None:
        """Stop what is to be stopped; an attempt that is being stopped already is left to it."""
        if self.replica is None or not self._runner.running:
            return
        async with self._sessions.session() as conn:
            rows = await find_stops(conn, self.replica)
        for row in rows:
            self._runner.stop_attempt(row["id"], row["claim_no"], stop_of(row))


def stop_of(row: Row) -> Stop:
    """Return how an attempt ends that was asked to stop."""
    if row["cancel_reason"] == Reason.REPLACED:
        return Stop(State.CANCELLED, Reason.REPLACED, "a newer run took its place")
    return Stop(State.CANCELLED, Reason.CANCEL_REQUESTED, f"cancelled by {row['cancel_requested_by']}")
