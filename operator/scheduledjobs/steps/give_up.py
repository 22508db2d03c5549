"""Give up: end what runs here and may be another's by now; what cannot be ended, ends with the process.

Past its trust a replica may be declared dead at any moment, and once it was, others are given what it runs. Async
handlers are cancelled, a sync one cannot be. That the replica is heard again within the second changes nothing for what
it ran when it was declared dead.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

import structlog

from scheduledjobs.core.reasons import Reason, State
from scheduledjobs.handlers.assignment import Key, Stop
from scheduledjobs.handlers.runner import Runner

log = structlog.get_logger(__name__)

EVERY_SECONDS = 0.5
STOP_SECONDS = 1.0
"""How long what is stopped may take to end."""


class GiveUp:
    """What one replica runs, by whether it may."""

    def __init__(self, runner: Runner, may_go_on: Callable[[], bool]) -> None:
        """`may_go_on()` is whether nobody can have declared this replica dead yet."""
        self._runner = runner
        self._may_go_on = may_go_on
        self._doomed: set[Key] = set()

    async def step(self) -> None:
        """Past its trust stop what runs; exit if that does not end, and trust does not come back."""
        if self._may_go_on() or not self._runner.running:
            return
        log.error("no heartbeat for too long: stopping what runs", running=len(self._runner.running))
        self._stop("the replica lost its connection to the database")
        await asyncio.sleep(STOP_SECONDS)
        if self._runner.running and not self._may_go_on():
            self._exit()

    def on_dead(self) -> None:
        """Declared dead, for good: stop what runs, its claims are another's by now."""
        self._doomed |= {assignment.key for assignment in self._runner.running}
        self._stop("this replica was declared dead")
        asyncio.get_running_loop().call_later(STOP_SECONDS, self.look)

    def look(self) -> None:
        """Exit if anything runs on that ran when this replica was declared dead, whatever it is trusted with now."""
        if any(assignment.key in self._doomed for assignment in self._runner.running):
            self._exit()
        self._doomed.clear()

    def _stop(self, why: str) -> None:
        self._runner.stop_attempts(Stop(State.LOST, Reason.TRUST_LOST, why))

    def _exit(self) -> None:
        log.error("a handler cannot be stopped: exiting", running=len(self._runner.running))
        os._exit(1)
