"""Firing where much is due: what a fire writes of a job that fires often, and how many passes there are at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from tests.integration.conftest import Stage, resource

from scheduledjobs.core.decide import decide
from scheduledjobs.core.job import Job
from scheduledjobs.steps import fire
from scheduledjobs.steps.clock import Clock
from scheduledjobs.steps.fire import BEHIND_SECONDS, Fire, advance_row
from scheduledjobs.store.jobs import advance_jobs, load_jobs

SECOND = timedelta(seconds=1)
BUCKET_SECONDS = 16
UPDATES = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_xact_user_tables WHERE relname = 'job_definition'"


@pytest.mark.parametrize(("second", "hot"), [(3, 1), (BUCKET_SECONDS - 1, 0)], ids=["within its 16 s", "into the next"])
async def test_a_fire_that_stays_within_its_bucket_writes_no_index(stage: Stage, second: int, hot: int) -> None:
    await stage.mirror(resource(fixedRate="1s", startTime="2026-01-01T00:00:00Z"))
    now = (await stage.now()).timestamp()
    due = datetime.fromtimestamp(now - now % BUCKET_SECONDS - BUCKET_SECONDS + second, UTC)
    with psycopg.connect(stage.url, autocommit=True) as conn:
        conn.execute("UPDATE job_definition SET next_fire_at = %(due)s, next_due_at = %(due)s", {"due": due})
    async with stage.leader() as leader, leader.write() as conn:
        (row,) = await load_jobs(conn, [stage.job()["id"]])
        job = stage.specs.job(row)
        move = advance_row(job, decide(job, due - timedelta(days=1), due))
        assert move["next_due_at"] == due + SECOND
        assert await advance_jobs(conn, [move]) == {job.id}
        cursor = await conn.execute(UPDATES)
        assert await cursor.fetchall() == [(1, hot)]


class Slow:
    """Fires that begin and do not end before `end` is set."""

    def __init__(self) -> None:
        self.begun: list[Job] = []
        self.is_begun = asyncio.Event()
        self.end = asyncio.Event()

    async def __call__(self, jobs: Sequence[Job]) -> None:
        self.begun.extend(jobs)
        self.is_begun.set()
        await self.end.wait()

    async def reach(self, count: int) -> None:
        """Wait until so many have begun."""
        while len(self.begun) < count:
            self.is_begun.clear()
            await self.is_begun.wait()


@asynccontextmanager
async def standing_still(
    stage: Stage, at: datetime, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Fire, Slow]]:
    """Fires of one job each that do not end, by a leader for whom it is `at` all the time."""
    stage.tick(seconds=(at - await stage.now()).total_seconds())
    standing, slow = Clock(lambda: 0.0), Slow()
    standing.sample(at.timestamp())
    monkeypatch.setattr(fire, "BATCH", 1)
    async with stage.firing() as step:
        monkeypatch.setattr(step, "_clock", standing)
        monkeypatch.setattr(step, "fire", slow)
        yield step, slow


@pytest.mark.parametrize(("late_seconds", "at_once"), [(0.2, 2), (3.0, 1)])
async def test_what_is_late_is_fired_by_one_pass_at_a_time_as_long_as_it_moves(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, late_seconds: float, at_once: int
) -> None:
    await stage.mirror(*(resource(f"job-{n}", fixedRate="10s", startTime="2026-01-01T00:00:00Z") for n in range(4)))
    (due,) = {row["next_fire_at"] for row in stage.rows("SELECT next_fire_at FROM job_definition")}
    async with standing_still(stage, due + late_seconds * SECOND, monkeypatch) as (step, slow):
        passes = [asyncio.create_task(step.step())]
        await slow.reach(1)
        step._late_at = step._passed_at
        second = asyncio.create_task(step.step())
        passes.append(second)
        if at_once == 1:
            assert await second > 0.0  # nothing to do before something else is due
            assert len(slow.begun) == 1
            step._passed_at -= BEHIND_SECONDS  # the first has hung for so long
            passes.append(asyncio.create_task(step.step()))
        await slow.reach(2)
        slow.end.set()
        await asyncio.gather(*passes)
    assert len({job.id for job in slow.begun}) == len(slow.begun) == 4


async def test_the_backlog_goes_on_beside_what_is_on_time_once_a_second(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stage.mirror(resource("on-time", fixedRate="10s", startTime="2026-01-01T00:00:00Z"))
    await stage.mirror(resource("late", fixedRate="10s", startTime="2026-01-01T00:00:02Z"))
    due = max(
        row["next_fire_at"] for row in stage.rows("SELECT next_fire_at FROM job_definition WHERE name = 'on-time'")
    )
    async with standing_still(stage, due + 20 * SECOND, monkeypatch) as (step, slow):
        await step.load_late()
        assert len(step._planned) == 2
        on_time = next(job for job in step._planned.values() if job.name == "on-time")
        step.plan([replace(on_time, next_due_at=due + 20 * SECOND)])
        passes = [asyncio.create_task(step.step())]
        await slow.reach(1)
        step._late_at = step._passed_at
        assert await step.step() > 0.0
        assert [job.name for job in slow.begun] == ["on-time"]
        step._late_at -= BEHIND_SECONDS
        passes.append(asyncio.create_task(step.step()))
        await slow.reach(2)
        assert [job.name for job in slow.begun] == ["on-time", "late"]
        slow.end.set()
        await asyncio.gather(*passes)
