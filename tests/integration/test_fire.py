"""Firing against a real database: exactly one row for every moment, never early, never under an old term."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from tests.integration.conftest import KEPT, Stage, resource
from tests.integration.ledger_world import Shaky

from scheduledjobs import metrics
from scheduledjobs.core.decide import decide, decide_if_due
from scheduledjobs.core.job import Decision, Job
from scheduledjobs.core.reasons import JobState, Reason
from scheduledjobs.errors import SpecError, StoreUnavailable, TermLost
from scheduledjobs.steps import fire
from scheduledjobs.steps.fire import LOCKED_SECONDS, Fire, advance_row
from scheduledjobs.steps.specs import Specs
from scheduledjobs.store.jobs import advance_jobs, load_due_jobs, load_jobs
from scheduledjobs.store.leadership import Leader
from scheduledjobs.store.queries import Row
from scheduledjobs.store.sessions import Connection

SECOND = timedelta(seconds=1)


def summary(stage: Stage) -> list[tuple[str, str | None]]:
    return [(row["state"], row["reason"]) for row in stage.rows()]


async def test_a_due_moment_gets_one_row_and_the_plan_moves_on(stage: Stage) -> None:
    await stage.mirror(resource(fixedRate="10s"))
    before = stage.job()
    stage.tick(seconds=11)
    await stage.fire()
    await stage.fire()
    (row,) = stage.rows()
    assert row["fire_time"] == before["next_fire_at"]
    assert (row["state"], row["trigger"]) == ("PENDING", "SCHEDULE")
    assert stage.job()["next_fire_at"] == before["next_fire_at"] + 10 * SECOND
    assert stage.job()["last_fire_time"] == row["fire_time"]


async def test_two_fires_of_one_moment_are_one(stage: Stage) -> None:
    await stage.mirror(resource(fixedRate="10s"))
    stage.tick(seconds=11)
    async with stage.leader() as leader:
        async with leader.write() as conn:
            (row,) = await load_due_jobs(conn, [JobState.ACTIVE], 10)
            job = stage.specs.job(row)
            now = await stage.now()
            move = [advance_row(job, decide(job, now - timedelta(days=1), now))]
            assert await advance_jobs(conn, move) == {job.id}
        async with leader.write() as conn:
            assert await advance_jobs(conn, move) == set()


async def test_a_look_ahead_reads_nothing_again_that_is_planned_as_it_is(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    async def load_and_note(conn: Connection, ids: Sequence[UUID]) -> list[Row]:
        rows = await load_jobs(conn, ids)
        read.extend(row["name"] for row in rows)
        return rows

    monkeypatch.setattr(fire, "load_jobs", load_and_note)
    await stage.mirror(*[resource(f"job-{number}", fixedRate="2s") for number in range(3)])
    stage.tick(seconds=3)
    async with stage.leader() as leader:
        step = await fire_of(stage, leader)
        await step.step()
        assert sorted(read) == ["job-0", "job-1", "job-2"]
        assert names_of(stage) == ["job-0", "job-1", "job-2"]
        read.clear()
        await step.load()  # fired meanwhile, and planned by that
        assert read == []
        with psycopg.connect(stage.url, autocommit=True) as conn:
            conn.execute("UPDATE job_definition SET version = 2 WHERE name = 'job-1'")
            conn.execute("UPDATE job_definition SET next_fire_at = next_fire_at + interval '1 s' WHERE name = 'job-2'")
        await step.load()
        assert sorted(read) == ["job-1", "job-2"]


async def test_a_job_that_is_due_beyond_the_look_ahead_is_kept_nowhere_and_found_in_time(stage: Stage) -> None:
    """Of 100,000 jobs most are idle: a leader that planned them, or kept their specs, would need 300 MB more."""
    await stage.mirror(resource("far", fixedRate="1h"), resource("near", fixedRate="5s"))
    ids = {row["name"]: row["id"] for row in stage.rows("SELECT * FROM job_definition")}
    due = {row["name"]: row["next_due_at"] for row in stage.rows("SELECT * FROM job_definition")}
    async with stage.leader() as leader:
        step = await fire_of(stage, leader)
        assert [step.concerns(ids[name], due[name]) for name in ("far", "near")] == [False, True]
        await step.reload(list(ids.values()))
        assert names_planned(step) == ["near"]
        assert [stage.specs.known(ids[name], 1) is not None for name in ("far", "near")] == [False, True]
    assert fire.HORIZON.total_seconds() > fire.RELOAD_SECONDS  # so each is planned before it is due
    stage.tick(seconds=3595)
    async with stage.leader() as leader:
        step = await fire_of(stage, leader)
        await step.load()
        assert "far" in names_planned(step)
        assert step.concerns(ids["far"], None)  # a change may take it out of the plan
        with psycopg.connect(stage.url, autocommit=True) as conn:
            conn.execute("UPDATE job_definition SET next_due_at = next_due_at + interval '1 day' WHERE name = 'far'")
        await step.reload([ids["far"]])
        assert "far" not in names_planned(step)


async def test_a_job_that_changed_since_it_was_looked_at_is_loaded_again(stage: Stage) -> None:
    await stage.mirror(resource(fixedRate="10s"))
    stage.tick(seconds=11)
    async with stage.leader() as leader:
        step = await fire_of(stage, leader)
        await step.load()
        with psycopg.connect(stage.url, autocommit=True) as conn:
            conn.execute("UPDATE job_definition SET version = 2")
        assert await step.step() == 0.0
        assert stage.rows() == []
        await step.step()
    assert [row["version"] for row in stage.rows()] == [2]


async def test_when_the_answer_to_a_commit_is_lost_the_jobs_are_loaded_again(stage: Stage) -> None:
    await stage.mirror(resource(fixedRate="10s"))
    stage.tick(seconds=11)
    async with stage.leader() as leader:
        shaky = Shaky(leader.term, leader.holder, leader._sessions)
        step = await fire_of(stage, shaky)
        shaky.fails = "after"
        with pytest.raises(StoreUnavailable):
            await step.step()
        await step.step()
        (planned,) = step._planned.values()
    (row,) = stage.rows()
    assert planned.next_fire_at == stage.job()["next_fire_at"] == row["fire_time"] + 10 * SECOND


def names_planned(step: Fire) -> list[str]:
    return sorted(job.name for job in step._planned.values())


async def fire_of(stage: Stage, leader: Leader) -> Fire:
    """The fire step of a term that has been compared."""
    clock, hear = await stage._clock(), stage.unheard.extend
    step = Fire(leader, clock, stage.specs, KEPT, lambda *_: None, stage.on_failed, on_unheard=hear)
    step.may_fire_old = True
    return step


async def test_a_leader_of_an_older_term_writes_nothing(stage: Stage) -> None:
    await stage.mirror(resource(fixedRate="10s"))
    stage.tick(seconds=11)
    async with stage.leader() as old, stage.leader():
        with pytest.raises(TermLost):
            async with old.write():
                raise AssertionError("an older term must not write")


async def test_skips_a_fire_when_the_previous_is_still_running(stage: Stage) -> None:
    await stage.mirror(resource(fixedRate="1s"))
    stage.tick(seconds=1.1)
    await stage.fire()
    running = await stage.claim(await stage.replica())
    stage.tick(seconds=1)
    await stage.fire()
    first, second = stage.rows()
    assert [row["id"] for row in running] == [first["id"]]
    assert (second["state"], second["reason"], second["blocked_by"]) == ("SKIPPED", "Overlap", first["id"])


async def test_allow_lets_runs_overlap(stage: Stage) -> None:
    await stage.mirror(resource(fixedRate="1s", concurrencyPolicy="Allow"))
    stage.tick(seconds=2.1)
    await stage.fire()
    assert [row["state"] for row in stage.rows()] == ["PENDING", "PENDING"]


async def test_after_hours_of_downtime_one_run_stands_for_all_moments(stage: Stage) -> None:
    await stage.mirror(resource(fixedRate="1m"))
    stage.tick(hours=3)
    await stage.fire()
    rows = stage.rows()
    assert sum(row["moment_count"] or 1 for row in rows) == 180
    assert [(row["state"], row["trigger"]) for row in rows if row["state"] == "PENDING"] == [("PENDING", "CATCH_UP")]
    assert rows[-1]["missed_count"] == 179
    assert {row["reason"] for row in rows[:-1]} == {"Coalesced"}


async def test_old_moments_wait_for_the_first_compare_of_a_term(stage: Stage) -> None:
    await stage.mirror(resource(fixedRate="1m"))
    stage.tick(hours=3)
    await stage.fire(may_fire_old=False)
    assert stage.rows() == []


async def test_days_of_downtime_write_a_range_row_a_day_and_make_the_days(stage: Stage) -> None:
    await stage.mirror(resource(fixedRate="1s"))
    stage.tick(days=12)
    await stage.fire()
    rows = stage.rows()
    assert sum(row["moment_count"] or 1 for row in rows) == 12 * 86_400
    assert 12 <= len(rows) <= 14 + 1
    assert summary(stage)[0] == ("MISSED", "StartingDeadlineExceeded")


async def test_suspended_moments_are_one_range_row_that_grows(stage: Stage) -> None:
    await stage.mirror(resource(fixedRate="1s", suspend=True))
    for _ in range(3):
        stage.tick(seconds=5)
        await stage.fire(sweep=True)
    counted = stage.rows()
    assert {(row["state"], row["reason"]) for row in counted} == {("SKIPPED", "Suspended")}
    assert sum(row["moment_count"] for row in counted) == 15
    assert len(counted) <= 2  # two where the run crosses midnight


async def test_a_job_without_its_handler_skips_its_moments(stage: Stage) -> None:
    await stage.mirror(resource(fixedRate="1s", handler="elsewhere"))
    stage.tick(seconds=5)
    await stage.fire(sweep=True)
    assert summary(stage) == [("SKIPPED", "NotReady")]
    assert stage.job()["reason"] == "HandlerNotFound"


async def test_a_one_shot_fires_once_and_completes(stage: Stage) -> None:
    run_at = (await stage.now()) + 5 * SECOND
    await stage.mirror(resource(runAt=run_at.isoformat()))
    stage.tick(seconds=6)
    await stage.fire()
    await stage.fire()
    (row,) = stage.rows()
    assert row["fire_time"] == run_at
    assert stage.job()["state"] == "COMPLETED"


async def test_a_one_shot_before_its_creation_is_missed(stage: Stage) -> None:
    now = await stage.now()
    await stage.mirror(resource(runAt=(now - timedelta(days=2)).isoformat(), created_at=now - timedelta(days=1)))
    await stage.fire()
    assert summary(stage) == [("MISSED", "InThePast")]
    assert stage.job()["state"] == "COMPLETED"


async def test_a_fixed_delay_waits_for_the_end_of_its_run(stage: Stage) -> None:
    await stage.mirror(resource(fixedDelay="10s"))
    stage.tick(seconds=11)
    await stage.fire()
    assert stage.job()["next_fire_at"] is None
    replica = await stage.replica()
    (claimed,) = await stage.claim(replica)
    await stage.release()
    assert stage.job()["next_fire_at"] is None
    stage.tick(seconds=100)
    await stage.complete(replica, claimed)
    await stage.release()
    assert stage.job()["next_fire_at"] == stage.rows()[0]["finished_at"] + 10 * SECOND


async def test_one_bad_job_does_not_stop_the_others(stage: Stage) -> None:
    await stage.mirror(*(resource(f"job-{number}", fixedRate="1m") for number in range(5)))
    failed: list[str] = []
    stage.on_failed = lambda job, _error: failed.append(job.name)
    _forbid(stage, "job-3")
    stage.tick(seconds=61)
    await stage.fire()
    assert sorted(row["job_name"] for row in stage.rows()) == ["job-0", "job-1", "job-2", "job-4"]
    assert failed == ["job-3"]


def _forbid(stage: Stage, name: str) -> None:
    with psycopg.connect(stage.url, autocommit=True) as conn:
        conn.execute(f"ALTER TABLE job_execution_log ADD CONSTRAINT bad CHECK (job_name <> '{name}')".encode())


async def test_a_day_made_in_a_transaction_that_was_rolled_back_is_made_again(stage: Stage) -> None:
    await stage.mirror(resource("good", fixedRate="1s"), resource("job-3", fixedRate="1s"))
    _forbid(stage, "job-3")
    failed: list[str] = []
    stage.on_failed = lambda job, _error: failed.append(job.name)
    stage.tick(days=20)  # no replica has made that day
    await stage.fire()
    assert sum(row["moment_count"] or 1 for row in stage.rows()) >= 20 * 86_400
    assert failed == ["job-3"]


async def test_a_moment_that_waited_past_its_deadline_is_missed(stage: Stage) -> None:
    await stage.mirror(resource(fixedRate="1h", startingDeadline="5s"))
    stage.tick(hours=1, seconds=1)
    await stage.fire()
    stage.tick(seconds=10)
    assert await stage.claim(await stage.replica()) == []
    missed = metrics.fires("MISSED", "StartingDeadlineExceeded")
    before = missed._value.get()
    await stage.release()
    assert summary(stage) == [("MISSED", "StartingDeadlineExceeded")]
    assert missed._value.get() == before + 1  # an alert takes the increase of it


async def test_claims_take_what_is_on_time_before_catch_ups(stage: Stage) -> None:
    await stage.mirror(resource("late", fixedRate="1h"))
    stage.tick(hours=3, minutes=-1)
    await stage.mirror(resource("prompt", fixedRate="30s"))
    stage.tick(minutes=1)
    await stage.fire()
    first: list[dict[str, Any]] = await stage.claim(await stage.replica(), slots=1)
    assert [row["job_name"] for row in first] == ["prompt"]


def names_of(stage: Stage) -> list[str]:
    return [row["job_name"] for row in stage.rows("SELECT DISTINCT job_name FROM job_execution_log ORDER BY job_name")]


async def test_a_job_whose_spec_cannot_be_read_does_not_stop_the_others(stage: Stage) -> None:
    await stage.mirror(*[resource(f"job-{number}", fixedRate="1s") for number in range(3)])
    write_spec(stage, "job-1", UNREADABLE)
    failed: list[str] = []
    stage.on_failed = lambda job, _error: failed.append(job.name)
    stage.specs = Specs()
    stage.tick(seconds=1.5)
    await stage.fire()
    assert names_of(stage) == ["job-0", "job-2"]
    assert failed == ["job-1"]


UNREADABLE = '{"handler": "log", "onTheMoon": true}'
"""A spec that another version of the program may have written."""


def write_spec(stage: Stage, name: str, spec: str) -> None:
    with psycopg.connect(stage.url, autocommit=True) as conn:
        conn.execute("UPDATE job_definition SET spec = %s WHERE name = %s", [spec, name])


async def test_a_job_that_can_be_read_again_fires(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fire, "RETRY_SECONDS", 1.0)
    stage.on_failed = lambda *_: None
    await stage.mirror(resource(fixedRate="10s"))
    readable, job_id = json.dumps(stage.job()["spec"]), stage.job()["id"]
    stage.tick(seconds=9.5)
    async with stage.firing() as step, asyncio.timeout(10):
        await step.step()  # it is planned, then a version comes that cannot be read, then one that can
        for spec in (UNREADABLE, readable):
            write_spec(stage, "job", spec)
            stage.specs._kept.clear()
            await step.reload([job_id])
        while not stage.rows():
            await asyncio.sleep(min(await step.step(), 0.1))


@pytest.mark.parametrize("error", [OverflowError("date value out of range"), SpecError(Reason.INVALID_SPEC, "unheard")])
async def test_a_job_whose_moments_cannot_be_decided_does_not_stop_the_others(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail_one(job: Job, *args: Any) -> Decision | None:
        if job.name == "job-1":
            raise error
        return decide_if_due(job, *args)

    monkeypatch.setattr(fire, "decide_if_due", fail_one)
    await stage.mirror(*[resource(f"job-{number}", fixedRate="1s") for number in range(3)])
    failed: list[tuple[str, Exception]] = []
    stage.on_failed = lambda job, found: failed.append((job.name, found))
    stage.tick(seconds=1.5)
    await stage.fire()
    assert names_of(stage) == ["job-0", "job-2"]
    assert failed == [("job-1", error)]


async def test_a_job_that_somebody_has_locked_does_not_hold_up_the_others(stage: Stage) -> None:
    await stage.mirror(resource("one", fixedRate="10s"), resource("other", fixedRate="10s"))
    stage.tick(seconds=11)
    async with stage.firing() as step:
        with psycopg.connect(stage.url) as stranger:
            stranger.execute("SELECT FROM job_definition WHERE name = 'one' FOR UPDATE")
            async with asyncio.timeout(1.5):  # less than the lock timeout of a leader
                await step.step()
                assert 0 < await step.step() <= LOCKED_SECONDS
            assert [row["job_name"] for row in stage.rows()] == ["other"]
            stranger.rollback()
        await asyncio.sleep(LOCKED_SECONDS)  # put off for so long
        await step.step()
    assert sorted(row["job_name"] for row in stage.rows()) == ["one", "other"]
