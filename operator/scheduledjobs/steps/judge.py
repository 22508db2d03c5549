"""Judge: when handlers come or go, what cannot run and what no longer can is judged anew, from the mirror alone.

Level-triggered: what handlers were last judged by is kept, so a pass that fails is made again. It is a page at a time,
as the compare is: a handler that many jobs misspell is many payloads. What is being mirrored as handlers change may be
judged by those of before, and is in no row yet: it is waited for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from uuid import UUID

from scheduledjobs.steps.compare import MOST_WAITING
from scheduledjobs.steps.inbox import Inbox, Seen
from scheduledjobs.steps.resume import resource_of
from scheduledjobs.store.leadership import Leader
from scheduledjobs.store.mirror import find_judgeable
from scheduledjobs.store.queries import Row

EVERY_SECONDS = 10.0
PAGE = 200
NOBODY = UUID(int=0)
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
        last = NOBODY
        while rows := await self._load(last, handlers):
            for row in rows:
                self._inbox.put(Seen(resource_of(row), judge_again=True))
            last = rows[-1]["id"]
            await self._inbox.room(MOST_WAITING)
        if is_settled:
            self._judged = handlers

    async def _load(self, after: UUID, handlers: frozenset[str]) -> list[Row]:
        async with self._leader.session() as conn:
            return await find_judgeable(conn, after, sorted(handlers), PAGE)

    async def _settle(self) -> bool:
        """Wait until all verdicts of before are in their rows; False if that takes too long: look again later, then."""
        mirrored = asyncio.Event()
        self._inbox.once_mirrored(mirrored.set)
        with suppress(TimeoutError):
            async with asyncio.timeout(SETTLED_SECONDS):
                await mirrored.wait()
        return mirrored.is_set()
