"""The output of a running attempt: kept while it runs, never by who does not run it, and the last word is the end's."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from tests.integration.conftest import Stage, resource

from scheduledjobs.store.executions import hand_back_executions, insert_outputs, write_outputs
from scheduledjobs.store.sessions import connect


async def running(stage: Stage) -> tuple[UUID, dict[str, Any]]:
    """Return a replica and what it has claimed."""
    await stage.mirror(resource(fixedRate="1s"))
    stage.tick(seconds=1.5)
    await stage.fire()
    replica = await stage.replica()
    (claimed,) = await stage.claim(replica)
    return replica, claimed


def logged(claimed: dict[str, Any], text: str) -> dict[str, Any]:
    same = {name: claimed[name] for name in ("fire_time", "attempt", "claim_no")}
    return {**same, "execution_id": claimed["id"], "output": text, "truncated": False}


async def write(stage: Stage, replica: UUID, claimed: dict[str, Any], text: str) -> int:
    async with connect(stage.url, "test") as conn:
        return await write_outputs(conn, replica, [logged(claimed, text)])


def outputs(stage: Stage) -> list[str]:
    return [row["output"] for row in stage.rows("SELECT output FROM job_execution_output")]


async def test_output_grows_while_an_attempt_runs(stage: Stage) -> None:
    replica, claimed = await running(stage)
    assert await write(stage, replica, claimed, "one") == 1
    assert await write(stage, replica, claimed, "one\ntwo") == 1
    assert outputs(stage) == ["one\ntwo"]


async def test_the_end_has_the_last_word(stage: Stage) -> None:
    replica, claimed = await running(stage)
    await write(stage, replica, claimed, "one")
    await stage.complete(replica, claimed)
    async with connect(stage.url, "test") as conn:
        await insert_outputs(conn, [logged(claimed, "one\ntwo\nthree")])
    assert await write(stage, replica, claimed, "one\ntwo") == 0
    assert outputs(stage) == ["one\ntwo\nthree"]


async def test_a_row_that_is_being_completed_is_passed_over(stage: Stage) -> None:
    replica, claimed = await running(stage)
    async with connect(stage.url, "completing") as conn, conn.transaction():
        await conn.execute("UPDATE job_execution_log SET message = 'on its way'")
        assert await write(stage, replica, claimed, "late") == 0


async def test_who_has_lost_its_claim_writes_no_output(stage: Stage) -> None:
    replica, claimed = await running(stage)
    async with connect(stage.url, "test") as conn:
        await hand_back_executions(conn, replica, [claimed])
    other = await stage.replica()
    (fresh,) = await stage.claim(other)
    assert await write(stage, replica, claimed, "stale") == 0
    assert await write(stage, other, claimed, "of another claim") == 0
    assert await write(stage, other, fresh, "mine") == 1
    assert outputs(stage) == ["mine"]
