"""A fixedDelay goes on, whatever became of the row that its next moment would follow."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from uuid import UUID

import psycopg
import pytest
from tests.integration.conftest import Stage, resource

Happens = Callable[[Stage], Awaitable[None]]
UID = UUID(int=1)
MINUTE = timedelta(minutes=1)


async def lose_its_handler(stage: Stage) -> None:
    """Its next moment is skipped, and the handler comes back when that is long forgotten."""
    stage.handlers = set()
    await stage.mirror(resource(fixedDelay="10m", uid=UID, generation=2, payload={}))
    stage.tick(minutes=11)
    await stage.fire(sweep=True)


async def run_before_an_outage(stage: Stage) -> None:
    """It runs once more, and nobody leads until that is long forgotten."""
    await run(stage)


async def run(stage: Stage) -> None:
    stage.tick(minutes=11)
    await stage.fire()
    replica = await stage.replica()
    (claimed,) = await stage.claim(replica)
    await stage.complete(replica, claimed)


@pytest.mark.parametrize("is_pruned", [True, False])  # a day is dropped later, and not at all while anything in it runs
@pytest.mark.parametrize("happens", [lose_its_handler, run_before_an_outage])
async def test_a_fixed_delay_goes_on_after_more_time_than_history_is_kept_for(
    stage: Stage, happens: Happens, *, is_pruned: bool
) -> None:
    await stage.mirror(resource(fixedDelay="10m", uid=UID))
    await run(stage)
    await stage.release()
    await happens(stage)
    decided = stage.job()["last_fire_time"]
    assert [row["fire_time"] for row in stage.rows()][1:] == [decided]
    stage.tick(days=40)
    if is_pruned:
        await stage.prune()
        assert stage.rows() == []
    stage.handlers = {"log"}
    await stage.mirror(resource(fixedDelay="10m", uid=UID, generation=3))
    for _ in range(2):
        await stage.release()
        await stage.fire()
        assert stage.job()["last_fire_time"] >= decided
    following, now = stage.job()["next_fire_at"], await stage.now()
    assert now < following <= now + 10 * MINUTE
    stage.tick(minutes=10)
    await stage.fire()
    assert (stage.rows()[-1]["fire_time"], stage.rows()[-1]["state"]) == (following, "PENDING")


async def test_the_newest_decided_moment_never_goes_back(stage: Stage) -> None:
    """An earlier release planned moments of before it, again and again."""
    await stage.mirror(resource(fixedDelay="10m", uid=UID))
    await run(stage)
    decided = stage.job()["last_fire_time"]
    with psycopg.connect(stage.url, autocommit=True) as conn:
        past = decided - timedelta(days=40)
        conn.execute("UPDATE job_definition SET next_fire_at = %s, next_due_at = %s", [past, past])
    await stage.fire()
    assert stage.job()["last_fire_time"] == decided
    assert stage.job()["next_fire_at"] > decided
