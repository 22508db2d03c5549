"""Executions whose version this program cannot read, as after an upgrade that refuses what was taken before: they fail,
and their handler is never called with anything but its own parameters."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from tests.integration.conftest import Stage, resource

from scheduledjobs.handlers import Execution, Handler, Registry
from scheduledjobs.handlers.registry import AnyPayload
from scheduledjobs.handlers.runner import Runner
from scheduledjobs.steps.claim import Claim
from scheduledjobs.steps.complete import Complete
from scheduledjobs.steps.specs import Specs
from scheduledjobs.store.sessions import Sessions, connect

REFUSED = """
UPDATE job_definition_version SET spec = spec || '{"fixedDelay": "1s"}' WHERE job_id = %(job)s
"""
GONE = "DELETE FROM job_definition_version WHERE job_id = %(job)s"
BY_HAND = 'UPDATE job_execution_log SET payload = \'{"message": "by hand"}\' WHERE job_id = %(job)s'


async def run(stage: Stage, specs: Specs, count: int) -> list[tuple[str, Any]]:
    """Claim what waits, run it until that many have ended, and write that; return what handlers were called with."""
    called: list[tuple[str, Any]] = []
    ended: asyncio.Queue[None] = asyncio.Queue()

    async def handle(execution: Execution, payload: Any) -> None:
        called.append((execution.job, payload.message))

    def on_end(endings: Any) -> None:
        complete.add(endings)
        for _ in endings:
            ended.put_nowait(None)

    registry = Registry()
    registry.add(Handler("log", handle, AnyPayload, is_async=True))
    runner = Runner(registry, 4, on_end, lambda _: None)
    runner.start()
    async with Sessions(stage.url, "test", size=1, **stage.clock_setting) as sessions:
        complete = Complete(sessions, lambda *_: None, lambda *_: None)
        claim = Claim(sessions, runner, complete, specs, ["log"], lambda: True)
        claim.replica = complete.replica = await stage.replica()
        await claim.claim(claim.replica, 4)
        for _ in range(count):
            await asyncio.wait_for(ended.get(), 5)
        while await complete.step() == 0.0:
            pass
    await runner.close()
    return called


@pytest.mark.parametrize("is_known", [False, True], ids=["never read", "read before it was another"])
@pytest.mark.parametrize("damage", [[REFUSED], [GONE], [REFUSED, BY_HAND]], ids=["refused", "gone", "run by hand"])
async def test_an_execution_whose_version_cannot_be_read_fails_and_its_handler_is_not_called(
    stage: Stage, damage: list[str], *, is_known: bool
) -> None:
    await stage.mirror(resource("bad", fixedRate="1h", payload={"message": "bad"}, retry={"limit": 3}))
    job = stage.job()
    await stage.mirror(resource("good", fixedRate="1h", payload={"message": "good"}))
    stage.tick(hours=1, seconds=1)
    await stage.fire()
    specs = Specs()
    if is_known:
        async with connect(stage.url, "test") as conn:
            await specs.learn(conn, [(job["id"], job["version"])])
        specs.doubt()
    with psycopg.connect(stage.url, autocommit=True) as conn:
        for statement in damage:
            conn.execute(statement.encode(), {"job": job["id"]})
    assert await run(stage, specs, 2) == [("good", "good")]
    bad, good = sorted(stage.rows(), key=lambda row: str(row["job_name"]))
    assert (bad["state"], bad["reason"], good["state"]) == ("FAILED", "InvalidSpec", "SUCCEEDED")
    assert bad["message"].startswith("version 1 of the spec cannot be read by this replica: ")


@pytest.mark.parametrize("damage", [REFUSED, GONE], ids=["refused", "gone"])
async def test_work_that_was_handed_over_is_not_forgotten_where_its_version_cannot_be_read(
    stage: Stage, damage: str
) -> None:
    await stage.mirror(resource("outside", fixedRate="1h", payload={"message": "mine"}, retry={"limit": 3}))
    job = stage.job()
    stage.tick(hours=1, seconds=1)
    await stage.fire()
    await stage.claim(uuid4())
    await stage.rescue(frozenset({"log"}))
    with psycopg.connect(stage.url, autocommit=True) as conn:
        conn.execute("CREATE TABLE kept AS SELECT * FROM job_definition_version")
        conn.execute(damage.encode(), {"job": job["id"]})
        assert await run(stage, Specs(), 1) == []
        (row,) = stage.rows()
        assert (row["state"], row["reason"], row["attempt"]) == ("PENDING", "HandedOver", 0)
        assert "version 1 of the spec cannot be read by this replica: " in row["message"]
        conn.execute("DELETE FROM job_definition_version")
        conn.execute("INSERT INTO job_definition_version OVERRIDING SYSTEM VALUE SELECT * FROM kept")
    stage.tick(seconds=30)
    assert await run(stage, Specs(), 1) == [("outside", "mine")]  # as by a replica that can read it
    (row,) = stage.rows()
    assert (row["state"], row["attempt"]) == ("SUCCEEDED", 1)


async def test_a_spec_that_is_forgotten_while_others_are_read_is_there_all_the_same(stage: Stage) -> None:
    """The leader reads all jobs by the same memory, which holds so many."""
    for number in range(3):
        await stage.mirror(resource(f"job-{number}", fixedRate="1h", payload={"message": f"m-{number}"}))
    stage.tick(hours=1, seconds=1)
    await stage.fire()
    assert sorted(await run(stage, Specs(most=1), 3)) == [(f"job-{n}", f"m-{n}") for n in range(3)]


async def test_a_lost_attempt_is_retried_though_its_spec_is_forgotten_while_others_are_read(stage: Stage) -> None:
    for number in range(3):
        await stage.mirror(resource(f"job-{number}", fixedRate="1h", retry={"limit": 1}))
    stage.tick(hours=1, seconds=1)
    await stage.fire()
    assert len(await stage.claim(uuid4())) == 3
    stage.specs = Specs(most=1)
    await stage.rescue()
    assert [(row["state"], row["reason"]) for row in stage.rows()] == [("PENDING", "Retrying")] * 3
