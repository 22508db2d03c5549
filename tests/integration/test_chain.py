"""verify and a fixedDelay, whose moments follow from the ends of its runs: what it owes, and what it does not."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID, uuid4

import psycopg
import pytest
from tests.integration.conftest import Stage, resource

from scheduledjobs.ledger.verify import Verdict, lines, verify
from scheduledjobs.steps.inbox import Gone

SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)
UID = UUID(int=1)


async def verified(stage: Stage, since: timedelta = 10 * HOUR) -> Verdict:
    return await verify(stage.url, lambda now: now - since, None, None, lambda *_: None, **stage.clock_setting)


async def found(stage: Stage, since: timedelta = 10 * HOUR) -> list[str]:
    return list(lines(await verified(stage, since)))[:-1]


async def mirror(stage: Stage, generation: int = 1, **changes: object) -> None:
    await stage.mirror(resource(generation=generation, uid=UID, **{"fixedDelay": "5s", **changes}))


async def run(stage: Stage, replica: UUID, seconds: float = 1, *, is_released: bool = True) -> None:
    """Fire what is due 5 s from now, and run it."""
    stage.tick(seconds=5.1)
    await stage.fire()
    (claimed,) = await stage.claim(replica)
    stage.tick(seconds=seconds)
    await stage.complete(replica, claimed)
    if is_released:
        await stage.release()


def delete_row(stage: Stage, number: int) -> None:
    """Delete the row of this number, 0 is the oldest."""
    with psycopg.connect(stage.url, autocommit=True) as conn:
        conn.execute(
            "DELETE FROM job_execution_log WHERE id ="
            " (SELECT id FROM job_execution_log ORDER BY fire_time OFFSET %s LIMIT 1)",
            [number],
        )


async def test_a_release_that_never_came_is_lost_and_one_in_flight_is_undecided(stage: Stage) -> None:
    await mirror(stage)
    await run(stage, await stage.replica(), is_released=False)
    assert (await verified(stage)).undecided == 0  # the delay after the run has not passed
    stage.tick(seconds=8)
    verdict = await verified(stage)
    assert (verdict.findings, verdict.undecided) == ([], 1)
    stage.tick(hours=3)
    (stalled,) = await found(stage)
    assert "LOST" in stalled
    assert "never released" in stalled
    assert await found(stage, HOUR) == [stalled]  # it stalls still, however short the range


async def test_a_release_follows_the_run_that_ended_last_though_newer_moments_were_skipped(stage: Stage) -> None:
    await mirror(stage, fixedDelay=None, fixedRate="5s")
    for _ in range(3):  # the first one waits, the others are skipped
        stage.tick(seconds=5.1)
        await stage.fire()
    await mirror(stage, 2, fixedRate=None)
    stage.tick(hours=3)
    replica = await stage.replica()
    (claimed,) = await stage.claim(replica)
    await stage.complete(replica, claimed)
    stage.tick(seconds=8)
    verdict = await verified(stage)
    assert (verdict.findings, verdict.undecided) == ([], 1)
    await stage.release()
    (ended,) = [row["finished_at"] for row in stage.rows() if row["state"] == "SUCCEEDED"]
    assert stage.job()["next_fire_at"] == ended + 5 * SECOND
    await stage.fire()
    for since in (HOUR, 10 * HOUR):
        verdict = await verified(stage, since)
        assert (verdict.findings, verdict.undecided) == ([], 0)


@pytest.mark.parametrize("change", [{"suspend": True}, {"fixedDelay": "7s"}, {"fixedDelay": None, "fixedRate": "1h"}])
async def test_a_change_before_the_release_owes_no_moment(stage: Stage, change: dict[str, object]) -> None:
    await mirror(stage)
    await run(stage, await stage.replica(), is_released=False)
    stage.tick(minutes=5)
    await mirror(stage, 2, **change)
    assert await found(stage) == []


async def test_a_deleted_job_owes_no_moment_but_those_that_were_decided(stage: Stage) -> None:
    await mirror(stage)
    replica = await stage.replica()
    await run(stage, replica)
    await run(stage, replica, is_released=False)
    stage.tick(hours=1)
    await stage.mirror(Gone(UID, "default", "job"))
    assert await found(stage) == []
    delete_row(stage, 1)
    assert len(await found(stage)) == 1


async def test_a_run_that_goes_on_for_hours_is_no_gap(stage: Stage) -> None:
    await mirror(stage)
    stage.tick(seconds=6)
    await stage.fire()
    await stage.claim(await stage.replica())
    stage.tick(hours=5)
    await stage.release()
    assert await found(stage, HOUR) == []


async def test_a_suspended_stretch_is_no_gap_and_its_row_is_owed(stage: Stage) -> None:
    await mirror(stage)
    await run(stage, await stage.replica())
    await mirror(stage, 2, suspend=True)
    stage.tick(hours=2)
    await stage.fire(sweep=True)
    stage.tick(hours=1)
    await mirror(stage, 3, suspend=False)
    await run(stage, await stage.replica())
    assert await found(stage) == []
    delete_row(stage, 1)
    assert len(await found(stage)) > 0


async def test_a_range_that_begins_between_two_runs_knows_the_one_before(stage: Stage) -> None:
    await mirror(stage)
    replica = await stage.replica()
    for _ in range(4):
        await run(stage, replica)
    third = stage.rows()[2]["fire_time"]
    since = await stage.now() - third + SECOND / 2
    assert await found(stage, since) == []
    delete_row(stage, 2)
    (gap,) = await found(stage, since)
    assert third.isoformat() in gap
    assert await found(stage, since - SECOND) == []  # the gap is not in this range


async def test_the_first_moment_of_each_stretch_is_owed(stage: Stage) -> None:
    await mirror(stage)
    replica = await stage.replica()
    await run(stage, replica)
    stage.tick(seconds=1)
    await mirror(stage, 2, fixedDelay="4s")
    await run(stage, replica)
    stage.tick(seconds=1)
    await mirror(stage, 3, fixedDelay=None, schedule="0 0 1 1 *")
    assert await found(stage) == []
    delete_row(stage, 1)
    assert len(await found(stage)) == 1
    delete_row(stage, 0)
    assert len(await found(stage)) == 2


async def test_no_moment_of_a_fixed_delay_lies_before_its_version_counts(stage: Stage) -> None:
    await mirror(stage)
    stage.tick(seconds=6)
    await stage.fire()
    replica = await stage.replica()
    (claimed,) = await stage.claim(replica)
    await mirror(stage, 2, fixedDelay="3s")
    stage.tick(seconds=-30)
    await stage.complete(replica, claimed)
    await stage.release()
    job = stage.job()
    assert job["next_fire_at"] == job["effective_from"] + 3 * SECOND
    stage.tick(seconds=40)
    await stage.fire()
    assert await found(stage) == []


async def test_a_delete_after_the_clock_was_set_back_ends_the_job(stage: Stage) -> None:
    await stage.mirror(resource(fixedRate="1s", uid=UID))
    stage.tick(seconds=-30)
    await stage.mirror(Gone(UID, "default", "job"))
    stage.tick(minutes=1)
    assert await found(stage) == []


async def test_moments_decided_before_the_clock_was_set_back_are_not_odd(stage: Stage) -> None:
    await stage.mirror(resource(fixedRate="1s", uid=UID, suspend=True))
    stage.tick(seconds=60)
    await stage.fire(sweep=True)
    stage.tick(seconds=-30)
    assert await found(stage) == []


@pytest.mark.parametrize("is_dead", [False, True])
async def test_a_fixed_delay_counts_from_when_the_code_of_its_run_has_returned(stage: Stage, *, is_dead: bool) -> None:
    await mirror(stage, misfire={"policy": "Skip"})
    replica = uuid4() if is_dead else await stage.replica()
    stage.tick(seconds=5.1)
    await stage.fire()
    (claimed,) = await stage.claim(replica)
    await stage.complete(replica, claimed, "TIMED_OUT", abandoned=True)
    stage.rows("UPDATE job_execution_log SET reason = 'TimeoutExceeded' RETURNING id")
    stage.tick(minutes=20)
    await stage.release()
    assert stage.job()["next_fire_at"] is None  # it is live, and nothing follows it yet
    if is_dead:
        await stage.rescue()
    else:
        await stage.return_code(replica, claimed)
    await stage.release()
    (row,) = stage.rows()
    assert (row["state"], row["abandoned"]) == ("TIMED_OUT", False)
    assert row["finished_at"] >= row["started_at"] + timedelta(minutes=20)
    assert stage.job()["next_fire_at"] == row["finished_at"] + 5 * SECOND
    stage.tick(seconds=5.1)
    await stage.fire()
    assert [row["state"] for row in stage.rows()] == ["TIMED_OUT", "PENDING"]
    assert (await verified(stage)).findings == []
