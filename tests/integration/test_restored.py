"""Restored: what a backup believes to be undecided is closed, and none of it runs a second time."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from tests.integration.conftest import KEPT, Stage, resource

from scheduledjobs.core.resource import RUN_NOW
from scheduledjobs.ledger.verify import verify
from scheduledjobs.steps.restored import Closed, Restored, find_beating
from scheduledjobs.store.executions import hand_over_executions
from scheduledjobs.store.instances import beat_instance
from scheduledjobs.store.sessions import connect


async def restored(stage: Stage, until: datetime) -> Closed:
    async with stage.leader() as leader:
        return await Restored(leader, until, KEPT).run()


def became(stage: Stage, job: str = "job") -> list[tuple[Any, ...]]:
    return [
        (row["state"], row["reason"], row["moment_count"], row["trigger"])
        for row in stage.rows()
        if row["job_name"] == job
    ]


def counted(stage: Stage, job: str = "job") -> Counter[tuple[Any, ...]]:
    """How many moments became what: a range row ends at midnight."""
    found: Counter[tuple[Any, ...]] = Counter()
    for state, reason, count, _ in became(stage, job):
        found[state, reason] += count or 1
    return found


@pytest.mark.parametrize("policy", ["FireOnce", "FireAll", "Skip"])
async def test_nothing_that_was_due_before_the_restore_runs_again(stage: Stage, policy: str) -> None:
    """Nor do the moments within the grace, which every policy would fire."""
    await stage.mirror(resource(fixedRate="1m", misfire={"policy": policy, "grace": "5m", "limit": 10}))
    stage.tick(minutes=30, seconds=30)
    closed = await restored(stage, await stage.now())
    assert (closed.moments, closed.executions) == (30, 0)
    await stage.fire(sweep=True)
    assert counted(stage) == {("MISSED", "Restored"): 30}
    stage.tick(minutes=1)
    await stage.fire()
    assert became(stage)[-1] == ("PENDING", None, None, "SCHEDULE")


async def test_what_is_due_after_the_given_instant_follows_the_misfire_policy(stage: Stage) -> None:
    await stage.mirror(resource(fixedRate="1m", misfire={"policy": "FireOnce", "grace": "1s"}))
    stage.tick(minutes=10, seconds=30)
    until = await stage.now()
    stage.tick(minutes=10)
    assert (await restored(stage, until)).moments == 10
    await stage.fire()
    assert counted(stage) == {("MISSED", "Restored"): 10, ("MISSED", "Coalesced"): 9, ("PENDING", None): 1}
    assert became(stage)[-1][-1] == "CATCH_UP"


async def test_what_waited_or_ran_in_the_backup_is_lost_and_not_retried(stage: Stage) -> None:
    retry = {"limit": 3, "backoff": "1s", "maxBackoff": "1s"}
    for name in ("runs", "waits"):
        await stage.mirror(resource(name, fixedRate="1h", retry=retry))
    stage.tick(hours=1)
    await stage.fire()
    replica = await stage.replica()
    assert len(await stage.claim(replica, slots=1)) == 1
    closed = await restored(stage, await stage.now())
    assert (closed.moments, closed.executions) == (0, 2)
    await stage.rescue()
    assert [(row["state"], row["reason"]) for row in stage.rows()] == [("LOST", "Restored")] * 2
    assert all(row["finished_at"] for row in stage.rows())


async def test_how_long_a_run_of_the_backup_took_is_told_of_its_last_attempt(stage: Stage) -> None:
    await stage.mirror(resource("again", fixedRate="1h"))
    await stage.mirror(resource("over", fixedRate="1h"))
    stage.tick(hours=1)
    await stage.fire()
    replica = await stage.replica()
    for claimed in await stage.claim(replica):
        await stage.complete(replica, claimed, "FAILED", retry_seconds=0)  # at once
    second = {row["job_name"]: row for row in await stage.claim(replica)}
    async with connect(stage.url, "test") as conn:
        over = {**second["over"], "note": None}
        assert await hand_over_executions(conn, replica, [over]) == {over["id"]}
    stage.tick(minutes=10)
    await restored(stage, await stage.now())
    for row in stage.rows():
        assert (row["state"], row["duration_ms"] // 60_000) == ("LOST", 10), row["job_name"]


async def test_a_fixed_delay_whose_run_is_lost_goes_on(stage: Stage) -> None:
    await stage.mirror(resource(fixedDelay="10m"))
    stage.tick(minutes=10)
    await stage.fire()
    assert stage.job()["next_fire_at"] is None
    await restored(stage, await stage.now())
    await stage.release()
    assert stage.job()["next_fire_at"] is not None


async def test_a_one_shot_of_that_time_is_not_run_and_completes(stage: Stage) -> None:
    at = (await stage.now()) + timedelta(hours=1)
    await stage.mirror(resource(runAt=at.isoformat()))
    stage.tick(hours=2)
    assert (await restored(stage, await stage.now())).moments == 1
    assert became(stage)[0][:2] == ("MISSED", "Restored")
    assert stage.job()["state"] == "COMPLETED"


async def test_suspended_moments_stay_suspended_and_a_second_time_changes_nothing(stage: Stage) -> None:
    await stage.mirror(resource("asleep", fixedRate="1m", suspend=True))
    await stage.mirror(resource("awake", fixedRate="1m"))
    stage.tick(minutes=10, seconds=30)
    until = await stage.now()
    assert (await restored(stage, until)).moments == 10
    assert (await restored(stage, until)).moments == 0
    await stage.fire(sweep=True)
    assert counted(stage, "asleep") == {("SKIPPED", "Suspended"): 10}


async def test_the_ledger_has_every_moment_after_it(stage: Stage) -> None:
    await stage.mirror(*(resource(f"job-{number}", fixedRate="1m") for number in range(300)))
    stage.tick(minutes=10, seconds=30)
    closed = await restored(stage, await stage.now())
    assert closed.moments == 3000
    verdict = await verify(
        stage.url, lambda now: now - timedelta(hours=1), None, None, lambda *_: None, **stage.clock_setting
    )
    assert (verdict.findings, verdict.moments) == ([], 3000)


async def test_a_job_that_cannot_be_read_is_named_and_does_not_stop_the_others(stage: Stage) -> None:
    await stage.mirror(resource("good", fixedRate="1m"), resource("bad", fixedRate="1m"))
    async with connect(stage.url, "test") as conn:
        await conn.execute('UPDATE job_definition_version SET spec = \'{"handler": "log", "fixedRate": "no"}\'')
        await conn.execute("UPDATE job_definition SET spec = '{\"handler\": 1}' WHERE name = 'bad'")
    stage.tick(minutes=10, seconds=30)
    closed = await restored(stage, await stage.now())
    assert (closed.moments, closed.unreadable) == (10, ["default/bad"])


async def test_a_pause_that_ended_since_the_backup_is_named(stage: Stage) -> None:
    end = ((await stage.now()) + timedelta(minutes=5)).isoformat()
    await stage.mirror(resource(fixedRate="1m", annotations={"scheduledjobs.dev/paused-until": end}))
    stage.tick(minutes=10)
    assert (await restored(stage, await stage.now())).resuming == ["default/job"]


async def test_a_token_that_the_status_says_was_handled_is_not_run_again(stage: Stage) -> None:
    """The database was restored from before the request: it does not know the token, the resource does."""
    uid = uuid4()
    await stage.mirror(resource(uid=uid, schedule="0 0 1 1 *"))
    asked = resource(uid=uid, resource_version=2, schedule="0 0 1 1 *", annotations={RUN_NOW: "once"})
    asked.status["lastHandledRunNow"] = "once"  # type: ignore[index]
    await stage.mirror(asked)
    assert [(row["state"], row["reason"], row["run_key"]) for row in stage.rows()] == [("SKIPPED", "Restored", "once")]


async def test_a_replica_that_runs_is_seen_by_its_heartbeat(stage: Stage) -> None:
    replica, _of_the_backup = await stage.replica(), await stage.replica()
    async with connect(stage.url, "test", **stage.clock_setting) as conn:

        async def nothing() -> None: ...

        async def beat() -> None:
            stage.tick(seconds=1)
            async with connect(stage.url, "test", **stage.clock_setting) as other:
                await beat_instance(other, replica, running=0, is_leader=False, term=None)

        assert await find_beating(conn, nothing) == []
        assert await find_beating(conn, beat) == ["r"]


@pytest.mark.parametrize("is_paused", [False, True])
async def test_a_one_shot_that_may_have_been_resumed_since_the_backup_does_not_run_again(
    stage: Stage, *, is_paused: bool
) -> None:
    """The backup has it suspended; that somebody resumed it, and it ran, nobody knows any more."""
    uid, now = uuid4(), await stage.now()
    run_at = (now + timedelta(hours=1)).isoformat()
    pause = {"scheduledjobs.dev/paused-until": (now + timedelta(hours=9)).isoformat()} if is_paused else {}
    await stage.mirror(resource(uid=uid, runAt=run_at, suspend=not is_paused, annotations=pause))
    await stage.mirror(resource("later", runAt=(now + timedelta(hours=5)).isoformat(), suspend=True))
    stage.tick(hours=2)
    closed = await restored(stage, await stage.now())
    assert (closed.moments, closed.suspended) == (1, ["default/job"])
    await stage.mirror(resource(uid=uid, generation=2, runAt=run_at, suspend=False))
    await stage.fire(sweep=True)
    assert became(stage) == [("MISSED", "Restored", 1, "SCHEDULE")]
    states = {row["name"]: row["state"] for row in stage.rows("SELECT name, state FROM job_definition")}
    assert states == {"job": "COMPLETED", "later": "SUSPENDED"}
    verdict = await verify(
        stage.url, lambda now: now - timedelta(hours=3), None, None, lambda *_: None, **stage.clock_setting
    )
    assert verdict.findings == []


async def test_a_suspended_one_shot_of_after_the_given_instant_is_left_as_it_is(stage: Stage) -> None:
    until = await stage.now()
    await stage.mirror(resource(runAt=(until + timedelta(hours=1)).isoformat(), suspend=True))
    stage.tick(hours=2)
    closed = await restored(stage, until + timedelta(minutes=30))
    assert (closed.moments, closed.suspended, stage.job()["state"]) == (0, [], "SUSPENDED")


async def test_more_suspended_one_shots_than_a_transaction_takes_are_closed(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scheduledjobs.steps.restored.MOST_JOBS", 2)
    run_at = ((await stage.now()) + timedelta(hours=1)).isoformat()
    await stage.mirror(*(resource(f"job-{number}", runAt=run_at, suspend=True) for number in range(5)))
    stage.tick(hours=2)
    closed = await restored(stage, await stage.now())
    assert closed.suspended == [f"default/job-{number}" for number in range(5)]
