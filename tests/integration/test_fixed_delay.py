"""A fixedDelay goes on, whatever became of the row that its next moment would follow."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from uuid import UUID

import psycopg
import pytest
from tests.integration.conftest import Stage, resource

from scheduledjobs.errors import StoreBusy

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


SLOW = """
CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE 'it took too long' USING ERRCODE = 'query_canceled'; END $$;
CREATE TRIGGER slow BEFORE UPDATE ON {} FOR EACH ROW WHEN (OLD.{} = '{}') EXECUTE FUNCTION wait()
"""
LET_GO = """
SELECT name FROM job_definition WHERE name = 'delayed' AND next_fire_at IS NOT NULL
UNION
SELECT job_name FROM job_execution_log WHERE job_name = 'held' AND state = 'PENDING' AND visible_at < 'infinity'
UNION
SELECT job_name FROM job_execution_log WHERE job_name = 'late' AND state = 'MISSED'
UNION
SELECT job_name FROM job_execution_log WHERE job_name = 'deleted' AND state = 'CANCELLED'
"""


def let_go(stage: Stage) -> set[str]:
    return {row["name"] for row in stage.rows(LET_GO)}


@pytest.mark.parametrize("slow", ["delayed", "held", "late", "deleted"])
async def test_what_cannot_be_released_in_time_does_not_hold_up_what_waits_for_something_else(
    stage: Stage, slow: str
) -> None:
    await stage.mirror(
        resource("delayed", fixedDelay="10s"), resource("held", fixedRate="10s", concurrencyPolicy="Queue")
    )
    stage.tick(seconds=11)
    await stage.fire()
    replica = await stage.replica()
    claims = await stage.claim(replica)
    await stage.mirror(resource("late", fixedRate="10s", startingDeadline="5s"), resource("deleted", fixedRate="10s"))
    stage.tick(seconds=11)
    await stage.fire()
    for claimed in claims:
        await stage.complete(replica, claimed)
    stage.tick(seconds=6)
    with psycopg.connect(stage.url, autocommit=True) as conn:
        conn.execute("UPDATE job_definition SET state = 'DELETED', deleted_at = now() WHERE name = 'deleted'")
        of = ("job_definition", "name") if slow == "delayed" else ("job_execution_log", "job_name")
        conn.execute(SLOW.format(*of, slow).encode())
    assert let_go(stage) == set()
    with pytest.raises(StoreBusy, match="it took too long"):
        await stage.release()
    assert let_go(stage) == {"delayed", "held", "late", "deleted"} - {slow}
    with psycopg.connect(stage.url, autocommit=True) as conn:
        conn.execute("DROP FUNCTION wait CASCADE")
    await stage.release()
    assert let_go(stage) == {"delayed", "held", "late", "deleted"}
