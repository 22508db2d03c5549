"""Nothing fires early, however far ahead of the database's clock the leader believes to be."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.integration.conftest import Stage, resource

from scheduledjobs.core.decide import decide
from scheduledjobs.steps.fire import advance_row
from scheduledjobs.store.jobs import advance_jobs, load_jobs

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


async def test_nothing_fires_early_whatever_the_leader_believes(stage: Stage) -> None:
    await stage.mirror(resource(fixedRate="10s"))
    async with stage.leader() as leader, leader.write() as conn:
        (row,) = await load_jobs(conn, [stage.job()["id"]])
        job = stage.specs.job(row)
        assert job.next_fire_at is not None
        decision = decide(job, job.next_fire_at - timedelta(days=1), job.next_fire_at)
        assert await advance_jobs(conn, [advance_row(job, decision)]) == set()
    assert stage.rows() == []


async def test_of_several_moments_none_is_decided_before_the_newest_is_due(stage: Stage) -> None:
    await stage.mirror(resource(fixedRate="1h", jitter="10m"))
    stage.tick(hours=1, minutes=11)
    async with stage.leader() as leader, leader.write() as conn:
        (row,) = await load_jobs(conn, [stage.job()["id"]])
        job, now = stage.specs.job(row), await stage.now()
        for ahead, moved in ((HOUR, set()), (timedelta(0), {job.id})):
            decision = decide(job, now - DAY, now + ahead)
            assert await advance_jobs(conn, [advance_row(job, decision)]) == moved


@pytest.mark.parametrize("changes", [{}, {"misfire": {"grace": "1s"}}, {"concurrencyPolicy": "Allow"}])
@pytest.mark.parametrize("ahead", [0.5, 1.0, 1.5])
async def test_a_leader_that_is_ahead_fires_what_is_due_and_nothing_else(
    stage: Stage, ahead: float, changes: dict[str, object]
) -> None:
    """As after the database's clock was set back by less than what is noticed as a step."""
    await stage.mirror(resource(fixedRate="1s", **changes))
    first = stage.job()["next_fire_at"]
    stage.tick(seconds=(first - await stage.now()).total_seconds() + 0.6)
    async with stage.firing() as step:
        step._clock.sample((await stage.now()).timestamp() + ahead)
        while await step.step() == 0.0:
            pass
        fired, now = [row["fire_time"] for row in stage.rows()], await stage.now()
    assert fired[:1] == [first]
    assert max(fired) <= now
