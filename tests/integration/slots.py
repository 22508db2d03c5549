"""The claims of one replica with slots that tests empty."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from time import monotonic
from typing import cast

from tests.integration.conftest import Stage

from scheduledjobs.handlers.assignment import Assignment
from scheduledjobs.handlers.runner import Runner
from scheduledjobs.steps.claim import Claim
from scheduledjobs.steps.complete import Complete
from scheduledjobs.store.sessions import Sessions


class Slots:
    """Slots that are taken until the test empties them."""

    def __init__(self, count: int) -> None:
        self.count = self.free_slots = count
        self.running: list[Assignment] = []
        self.blocked = False

    def is_blocked(self) -> bool:
        return self.blocked

    def take_back(self) -> list[Assignment]:
        taken, self.running = self.running, []
        self.free_slots = self.count
        return taken

    def submit(self, assignments: Sequence[Assignment]) -> None:
        self.running += assignments
        self.free_slots -= len(assignments)

    def empty(self) -> None:
        self.free_slots = self.count


@asynccontextmanager
async def claims(
    stage: Stage,
    slots: Slots,
    limit: int = 0,
    clock: Callable[[], float] | None = None,
    on_claimed: Callable[[], None] = lambda: None,
    may_start: Callable[[], bool] = lambda: True,
    **settings: str,
) -> AsyncIterator[Claim]:
    async with Sessions(stage.url, "test", size=1, **settings) as sessions:
        complete = Complete(sessions, lambda *_: None, lambda *_: None)
        runner = cast("Runner", slots)
        step = Claim(
            sessions,
            runner,
            complete,
            stage.specs,
            ["log"],
            may_start,
            clock or monotonic,
            on_claimed=on_claimed,
            limit=limit,
        )
        step.replica = await stage.replica()
        yield step
