"""What every run of the ledger machine shares: a database whose clock is set, a leader whose writes may fail, and the
steps of one process, which know only what that process has seen.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID, uuid4

from tests.integration.conftest import KEPT, REGISTRY

from scheduledjobs.core.job import Job
from scheduledjobs.core.plan import Judge
from scheduledjobs.core.resource import Resource
from scheduledjobs.errors import StoreUnavailable
from scheduledjobs.steps.clock import Clock
from scheduledjobs.steps.fire import Fire
from scheduledjobs.steps.inbox import Gone, Inbox, Seen
from scheduledjobs.steps.mirror import Mirror
from scheduledjobs.steps.mirror_batch import Written
from scheduledjobs.steps.release import Release
from scheduledjobs.steps.rescue import Rescue
from scheduledjobs.steps.resume import Resume
from scheduledjobs.steps.specs import Specs
from scheduledjobs.store.instances import register_instance
from scheduledjobs.store.jobs import database_now
from scheduledjobs.store.leadership import Leader, raise_term, read_leadership
from scheduledjobs.store.sessions import Connection, Sessions, connect

TABLES = ("job_execution_attempt", "job_execution_log", "run_request", "job_definition_version", "job_definition")
EMPTY = "; ".join(f"DELETE FROM {table}" for table in (*TABLES, "scheduler_instance"))
SET_CLOCK = "SELECT set_config('scheduledjobs.clock_offset', %s, false)"
T = TypeVar("T")
SAMPLES = 8
"""How many looks at the database's time a replica keeps: after so many it has forgotten the time before a step."""


class Shaky(Leader):
    """A leader whose next write fails: `before` its COMMIT, or `after` it, when only the answer is lost."""

    fails: str | None = None

    @asynccontextmanager
    async def write(self) -> AsyncIterator[Connection]:
        """Lend a transaction; the one that is to fail raises at its end."""
        fails, self.fails = self.fails, None
        async with super().write() as conn:
            yield conn
            if fails == "before":
                raise StoreUnavailable("the process died before its COMMIT")
        if fails == "after":
            raise StoreUnavailable("the answer to the COMMIT was lost")

    @asynccontextmanager
    async def write_after(self, first: Callable[[Connection], Awaitable[T]]) -> AsyncIterator[tuple[Connection, T]]:
        """Lend a transaction that began with `first`; the one that is to fail raises at its end."""
        fails, self.fails = self.fails, None
        async with super().write_after(first) as lent:
            yield lent
            if fails == "before":
                raise StoreUnavailable("the process died before its COMMIT")
        if fails == "after":
            raise StoreUnavailable("the answer to the COMMIT was lost")


class World:
    """One database and one leader; each run of the machine begins with empty tables at a time of its choice."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.loop = asyncio.new_event_loop()
        self.stack = AsyncExitStack()
        self.offset = timedelta(0)
        self.run(self._open())

    def run(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    async def _open(self) -> None:
        self.sessions = await self.stack.enter_async_context(
            Sessions(self.url, "test", size=2, synchronous_commit="off")
        )
        self.seat: Connection = await self.stack.enter_async_context(connect(self.url, "seat"))
        self.leader = await self.take_over()

    async def take_over(self) -> Shaky:
        """Take the next term."""
        expected = (await read_leadership(self.seat))["term"]
        term = await raise_term(self.url, self.seat, expected, "test")
        assert term is not None
        return Shaky(term, "test", self.sessions)

    @property
    def clock_setting(self) -> dict[str, str]:
        return {"scheduledjobs.clock_offset": f"{self.offset.total_seconds():.6f}s"}

    async def begin(self, at: datetime) -> None:
        """Empty the tables and set the database's clock."""
        await self.rows(EMPTY)
        self.leader.fails = None
        await self.tick(at - await self.now())

    async def tick(self, delta: timedelta) -> None:
        """Set the database's clock forth, or back."""
        self.offset += delta
        async with self.sessions.session() as one, self.sessions.session() as two:
            for conn in (one, two):
                await conn.execute(SET_CLOCK, list(self.clock_setting.values()))

    async def now(self) -> datetime:
        async with self.sessions.session() as conn:
            return await database_now(conn)

    async def rows(self, query: str, *params: Any) -> list[dict[str, Any]]:
        async with self.sessions.session() as conn:
            cursor = await conn.execute(query.encode(), params or None)
            names = [column.name for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in await cursor.fetchall()] if names else []

    def close(self) -> None:
        self.run(self.stack.aclose())
        self.loop.close()


async def _nothing(*_: Any) -> None: ...


def _ignore(*_: Any) -> None: ...


def _fail(job: Job, error: Exception) -> None:
    raise AssertionError(f"{job}: {error}")


class Process:
    """The steps of a leader in one process: what they look ahead to and remember is lost with it."""

    def __init__(self, world: World, living: dict[tuple[str, str], Resource], *, is_compared: bool) -> None:
        """`living` is what the API server has by namespace and name."""
        self.world = world
        self.leader = world.leader
        self.living = living
        self.clock = Clock()
        self.specs = Specs()
        self.inbox = Inbox()
        judge = Judge(lambda name: name in REGISTRY.names(), REGISTRY.check)
        self.fire = Fire(self.leader, self.clock, self.specs, KEPT, lambda *_: None, _fail, on_unheard=_ignore)
        self.fire.may_fire_old = is_compared
        told = self._on_written
        self.mirror = Mirror(self.leader, self.inbox, self.specs, KEPT, judge, self._get, told, on_unheard=_ignore)
        self.resume = Resume(self.leader, self.specs, KEPT, judge, told, on_unheard=_ignore)
        self.release = Release(self.leader, self.specs, self.fire.reload, *[_ignore] * 3, on_unheard=_ignore)

    async def _get(self, namespace: str, name: str) -> Resource | None:
        return self.living.get((namespace, name))

    async def _on_written(self, written: Written) -> None:
        await self.fire.reload(list(written.jobs))

    async def mirror_all(self) -> None:
        """Mirror what is in the inbox."""
        while len(self.inbox):
            await self.mirror.step()

    def put(self, changes: Sequence[Seen | Gone]) -> None:
        for change in changes:
            self.inbox.put(change)

    async def end_pauses(self) -> None:
        while await self.resume.step() == 0.0:
            pass

    async def fire_all(self) -> None:
        """Fire all that is due, some seconds after whatever happened to the clock."""
        for _ in range(SAMPLES):
            self.clock.sample((await self.world.now()).timestamp())
        self.fire.look_again()
        while await self.fire.step() == 0.0:
            pass

    async def fire_at_once(self) -> None:
        """Fire what this process knows to be due, one look at the clock after whatever happened to it."""
        if self.clock.sample((await self.world.now()).timestamp()):
            self.fire.look_again()
        await self.fire.step()

    async def sweep(self) -> None:
        self.clock.sample((await self.world.now()).timestamp())
        await self.fire.sweep()

    async def rescue(self) -> None:
        """End what dead replicas have left, once the Lease has been trusted for some seconds."""
        seconds = iter(range(100))
        step = Rescue(self.leader, lambda: True, *[lambda *_: None] * 2, self.specs, lambda: float(next(seconds)))
        for _ in range(5):
            await step.step()


async def new_replica(world: World) -> UUID:
    """Register a replica."""
    made = uuid4()
    async with world.sessions.session() as conn:
        await register_instance(conn, made, hostname="r", version="1", slots=4, handlers=["log"])
    return made
