"""Judge: when handlers come or go, what cannot run and what no longer can is judged anew, from the mirror alone.

Level-triggered: what handlers were last judged by is kept, so a pass that fails is made again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from scheduledjobs.steps.mirror import Inbox, Seen
from scheduledjobs.steps.resume import resource_of
from scheduledjobs.store.leadership import Leader
from scheduledjobs.store.mirror import find_judgeable

EVERY_SECONDS = 10.0


class JudgeAgain:
    """The judging anew of one term."""

    def __init__(self, leader: Leader, inbox: Inbox, handlers: Callable[[], frozenset[str]]) -> None:
        """`handlers()` returns the names of all handlers that live replicas have."""
        self._leader = leader
        self._inbox = inbox
        self._handlers = handlers
        self._judged: frozenset[str] | None = None
        self.wake = asyncio.Event()

    async def step(self) -> None:
        """Put what is to be judged anew into the mirror's inbox, if handlers have changed."""
        handlers = self._handlers()
        if handlers == self._judged:
            return
        async with self._leader.session() as conn:
            rows = await find_judgeable(conn, sorted(handlers))
        for row in rows:
            self._inbox.put(Seen(resource_of(row), judge_again=True))
        self._judged = handlers
