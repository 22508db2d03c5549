"""A stage: the leader's steps against a real database, with the database's time in the test's hand."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.rows import dict_row
from psycopg.types.datetime import TimestamptzLoader

from scheduledjobs.core.job import Job, JobName, NewExecution
from scheduledjobs.core.plan import Judge
from scheduledjobs.core.resource import Resource, ResourceMeta
from scheduledjobs.handlers import load_registry
from scheduledjobs.steps.clock import Clock
from scheduledjobs.steps.fire import Fire
from scheduledjobs.steps.inbox import Gone, Inbox, Seen
from scheduledjobs.steps.mirror import Mirror
from scheduledjobs.steps.mirror_batch import Written
from scheduledjobs.steps.prune import Prune
from scheduledjobs.steps.release import Release
from scheduledjobs.steps.rescue import Rescue
from scheduledjobs.steps.resume import Resume
from scheduledjobs.steps.specs import Specs
from scheduledjobs.store.executions import claim_executions, complete_executions, return_abandoned
from scheduledjobs.store.instances import beat_instance, register_instance
from scheduledjobs.store.jobs import database_now
from scheduledjobs.store.leadership import Leader, read_leadership, take_over
from scheduledjobs.store.queries import Row
from scheduledjobs.store.sessions import Sessions, connect

KEPT = timedelta(days=30)
REGISTRY = load_registry()


def resource(name: str = "job", *, generation: int = 1, uid: UUID | None = None, **changes: Any) -> Resource:
    """A ScheduledJob as the API server would hand it over."""
    created_at = changes.pop("created_at", datetime.now(UTC) - timedelta(days=1))
    annotations = changes.pop("annotations", {})
    version = changes.pop("resource_version", generation)
    spec = {"handler": "log", "timeZone": "Etc/UTC", "suspend": False, "concurrencyPolicy": "Forbid", **changes}
    meta = ResourceMeta(uid or uuid4(), "default", name, generation, version, annotations)
    return Resource(meta, created_at, {key: value for key, value in spec.items() if value is not None}, {})


class ReadInfinity(TimestamptzLoader):
    """Reads what is held (visible_at = infinity), which Python's datetime cannot say."""

    def load(self, data: Any) -> datetime:
        return datetime.max.replace(tzinfo=UTC) if bytes(data) == b"infinity" else super().load(data)


def _fail(job: JobName, error: Exception) -> None:
    raise AssertionError(f"{job.name}: {error}")


@dataclass
class Stage:
    """The steps of a leader, with time moved by `offset`."""

    url: str
    offset: timedelta = timedelta(0)
    specs: Specs = field(default_factory=Specs)
    fired: list[NewExecution] = field(default_factory=list)
    unheard: list[UUID] = field(default_factory=list)
    written: list[Written] = field(default_factory=list)
    closed: list[Row] = field(default_factory=list)
    living: dict[tuple[str, str], Resource] = field(default_factory=dict)
    on_failed: Callable[[JobName, Exception], None] = _fail
    handlers: set[str] = field(default_factory=lambda: set(REGISTRY.names()))

    @property
    def clock_setting(self) -> dict[str, str]:
        return {"scheduledjobs.clock_offset": f"{self.offset.total_seconds():.6f}s"}

    def tick(self, **delta: float) -> None:
        """Move the database's time on."""
        self.offset += timedelta(**delta)

    @asynccontextmanager
    async def leader(self) -> AsyncIterator[Leader]:
        """Take the next term."""
        async with connect(self.url, "test") as conn:
            expected = (await read_leadership(conn))["term"]
        async with take_over(self.url, "test", expected) as leader:
            assert leader is not None
            moved = Sessions(self.url, "test", size=2, **self.clock_setting)
            async with moved:
                yield Leader(leader.term, leader.holder, moved)

    async def now(self) -> datetime:
        """The database's time."""
        async with connect(self.url, "test", **self.clock_setting) as conn:
            return await database_now(conn)

    async def mirror(self, *changes: Resource | Gone | Seen) -> None:
        """Mirror resources, as the watch brings them."""
        inbox = Inbox()
        async with self.leader() as leader:
            hear = self.unheard.extend
            mirror = Mirror(leader, inbox, self.specs, KEPT, self.judge, self._get, self._on_written, on_unheard=hear)
            for change in changes:
                inbox.put(Seen(change) if isinstance(change, Resource) else change)
            while len(inbox):
                await mirror.step()

    @property
    def judge(self) -> Judge:
        """What specs are held against: the handlers of this installation."""
        return Judge(self.handlers.__contains__, REGISTRY.check)

    async def resume(self) -> None:
        """End the pauses whose time has come."""
        async with self.leader() as leader:
            hear = self.unheard.extend
            step = Resume(leader, self.specs, KEPT, self.judge, self._on_written, on_unheard=hear)
            while await step.step() == 0.0:
                pass

    async def _get(self, namespace: str, name: str) -> Resource | None:
        return self.living.get((namespace, name))

    async def _on_written(self, written: Written) -> None:
        self.written.append(written)
        if written.is_rewritten:
            self.specs.doubt()

    @asynccontextmanager
    async def firing(self, *, may_fire_old: bool = True) -> AsyncIterator[Fire]:
        """A leader that is about to fire, a step at a time."""
        async with self.leader() as leader:
            clock, hear = await self._clock(), self.unheard.extend
            step = Fire(leader, clock, self.specs, KEPT, self._on_fired, self.on_failed, on_unheard=hear)
            step.may_fire_old = may_fire_old
            yield step

    async def fire(self, *, may_fire_old: bool = True, sweep: bool = False) -> None:
        """Fire everything that is due."""
        async with self.firing(may_fire_old=may_fire_old) as step:
            while await step.step() == 0.0:
                pass
            if sweep:
                await step.sweep()

    async def prune(self, **settings: str) -> None:
        """Drop the days that are no longer kept."""
        async with Sessions(self.url, "test", size=1, **self.clock_setting, **settings) as sessions:
            await Prune(sessions, Clock(), KEPT.days).prune(await self.now())

    async def _clock(self) -> Clock:
        clock = Clock()
        clock.sample((await self.now()).timestamp())
        return clock

    def _on_fired(self, _: Sequence[Job], inserted: Sequence[tuple[Job, NewExecution]], _to_claim: int) -> None:
        self.fired.extend(row for _, row in inserted)

    async def release(self) -> None:
        """Release what may go on."""

        async def nothing(_: Any) -> None: ...

        async with self.leader() as leader:
            hear, close = self.unheard.extend, self.closed.extend
            step = Release(leader, self.specs, nothing, close, lambda: None, lambda: None, on_unheard=hear)
            await step.step()

    async def rescue(self, surviving: frozenset[str] = frozenset()) -> None:
        """End what the dead have left; nobody is declared dead. `surviving`: handlers whose work goes on."""
        async with self.leader() as leader:
            now = iter(range(100))
            clock = lambda: float(next(now))  # noqa: E731
            step = Rescue(leader, lambda: True, lambda _: None, lambda _: None, self.specs, clock, surviving=surviving)
            for _ in range(6):
                await step.step()

    async def replica(self) -> UUID:
        """Register a replica."""
        made = uuid4()
        async with connect(self.url, "test", **self.clock_setting) as conn:
            await register_instance(conn, made, hostname="r", version="1", slots=4, handlers=["log"])
            await beat_instance(conn, made, running=0, is_leader=False, term=None)
        return made

    async def claim(self, replica: UUID, slots: int = 10) -> list[dict[str, Any]]:
        """Claim for a replica."""
        async with connect(self.url, "test", **self.clock_setting) as conn:
            return await claim_executions(conn, replica, ["log"], slots)

    async def complete(
        self,
        replica: UUID,
        claimed: dict[str, Any],
        state: str = "SUCCEEDED",
        retry_seconds: float | None = None,
        *,
        abandoned: bool = False,
    ) -> dict[int, str]:
        """Complete a claimed execution now; `abandoned`: its code goes on."""
        now = await self.now()
        row = {
            **{key: claimed[key] for key in ("id", "fire_time", "claim_no")},
            "state": state,
            "started_at": claimed["claimed_at"],
            "finished_at": now,
            "duration_ms": round((now - claimed["claimed_at"]).total_seconds() * 1000),
            "job_id": claimed["job_id"],
            "retry_seconds": retry_seconds,
            "abandoned": abandoned,
        }
        async with connect(self.url, "test", **self.clock_setting) as conn:
            return await complete_executions(conn, replica, [row])

    async def return_code(self, replica: UUID, claimed: dict[str, Any]) -> None:
        """Note that the code of an abandoned execution has returned, and that no attempt follows."""
        row = {key: claimed[key] for key in ("id", "fire_time", "claim_no", "job_id")}
        async with connect(self.url, "test", **self.clock_setting) as conn:
            assert await return_abandoned(conn, replica, [{**row, "retry_seconds": None}])

    def rows(self, query: str = "SELECT * FROM job_execution_log ORDER BY fire_time, id") -> list[dict[str, Any]]:
        """Return the rows of a query."""
        with psycopg.connect(self.url, autocommit=True, row_factory=dict_row) as conn:
            conn.adapters.register_loader("timestamptz", ReadInfinity)
            return conn.execute(query.encode()).fetchall()

    def job(self) -> dict[str, Any]:
        """Return the one living job's row."""
        (row,) = self.rows("SELECT * FROM job_definition WHERE state <> 'DELETED'")
        return row


@pytest.fixture
def stage(database: str) -> Stage:
    return Stage(database)
