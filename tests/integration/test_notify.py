"""Wake-ups: at once where somebody waits for work, at most once a second where people only look on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
import pytest

from scheduledjobs.errors import StoreUnavailable
from scheduledjobs.steps.notify import Notify
from scheduledjobs.store.executions import CHANGED, WORK, notify
from scheduledjobs.store.sessions import Sessions, connect

CHANNELS = (CHANGED, WORK, "mark")


class Telling:
    """A Notify whose clock is the test's, and somebody who hears it."""

    def __init__(self, sessions: Sessions, listener: psycopg.AsyncConnection) -> None:
        self.now = 100.0
        self.notify = Notify(sessions, lambda: self.now)
        self._sessions = sessions
        self._listener = listener

    async def heard(self) -> list[str]:
        """Let the step run once; return what came of it."""
        await self.notify.step()
        async with self._sessions.session() as conn:
            await notify(conn, "mark")
        found = []
        async for notification in self._listener.notifies():
            if notification.channel == "mark":
                return found
            found.append(notification.channel)
        raise AssertionError("the mark comes")


@asynccontextmanager
async def telling(database: str) -> AsyncIterator[Telling]:
    async with Sessions(database, "test", size=1) as sessions, connect(database, "listener") as listener:
        for channel in CHANNELS:
            await listener.execute(f"LISTEN {channel}".encode())
        yield Telling(sessions, listener)


async def test_the_first_change_is_told_at_once_and_what_follows_together_at_the_end_of_the_second(
    database: str,
) -> None:
    async with telling(database) as told:
        told.notify.send_seldom(CHANGED)
        assert await told.heard() == [CHANGED]
        for _ in range(1000):
            told.notify.send_seldom(CHANGED)
        told.now += 0.9
        assert await told.heard() == []
        told.now += 0.1
        assert await told.heard() == [CHANGED]
        told.now += 5
        assert await told.heard() == []


async def test_the_step_comes_back_at_the_end_of_the_second(database: str) -> None:
    async with telling(database) as told:
        assert await told.notify.step() is None
        told.notify.send_seldom(CHANGED)
        assert await told.notify.step() == pytest.approx(1.0)
        told.now += 0.7
        assert await told.notify.step() == pytest.approx(0.3)
        told.now += 0.3
        assert await told.notify.step() is None


async def test_what_somebody_waits_for_is_told_at_once_all_the_same(database: str) -> None:
    async with telling(database) as told:
        told.notify.send_seldom(CHANGED)
        await told.heard()
        told.notify.send_seldom(CHANGED)
        for _ in range(3):
            told.notify.send(WORK)
            assert await told.heard() == [WORK]


async def test_a_change_that_could_not_be_told_is_told_later() -> None:
    now = 100.0
    sessions = Sessions("postgresql://localhost:1/nothing", "test", size=1)
    told = Notify(sessions, lambda: now)
    async with sessions:
        told.send_seldom(CHANGED)
        with pytest.raises(StoreUnavailable):
            await told.step()
        assert await told.step() == pytest.approx(1.0)  # not tried again before
        now += 1
        with pytest.raises(StoreUnavailable):
            await told.step()
