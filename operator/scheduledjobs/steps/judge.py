"""Judge: when handlers come or go, what cannot run and what no longer can is judged anew, from the mirror alone.

Level-triggered: what handlers were last judged by is kept, so a pass that fails is made again. What is
being mirrored as they change may have been judged by those of before, and is in no row yet: it is waited for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from scheduledjobs.steps.mirror import Inbox, Seen
from scheduledjobs.steps.resume import resource_of
from scheduledjobs.store.leadership import Leader
from scheduledjobs.store.mirror import find_judgeable

EVERY_SECONDS = 10.0
SETTLED_SECONDS = 10.0
"""How long what waits to be mirrored is waited for: of two under one name, as long as the API server is away."""


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
        is_settled = await self._settle()
        async with self._leader.session() as conn:
            rows = await find_judgeable(conn, sorted(handlers))
        for row in rows:
            self._inbox.put(Seen(resource_of(row), judge_again=True))
        if is_settled:
            self._judged = handlers

    async def _settle(self) -> bool:
        """Wait until all verdicts of before are in their rows; False if that takes too long: look again later, then."""
        mirrored = asyncio.Event()
        self._inbox.once_mirrored(mirrored.set)
        with suppress(TimeoutError):
            async with asyncio.timeout(SETTLED_SECONDS):
                await mirrored.wait()
        return mirrored.is_set()
