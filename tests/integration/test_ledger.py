"""verify and why: what they find in a log that is right, and in one that somebody has damaged."""

from __future__ import annotations

import asyncio
import re
import sys
from datetime import UTC, datetime, timedelta
from uuid import UUID

import psycopg
import pytest
from tests.integration.conftest import KEPT, Stage, resource

from scheduledjobs.cli.history import lines as history_lines
from scheduledjobs.cli.main import exit_code
from scheduledjobs.ledger.verify import Verdict, lines, verify
from scheduledjobs.ledger.why import resolve, why
from scheduledjobs.steps.inbox import Gone
from scheduledjobs.store.ledger import snapshot, verify_versions

SECOND, HOUR, DAY = timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)


async def verified(stage: Stage, since: timedelta = 2 * DAY) -> Verdict:
    return await verify(stage.url, lambda now: now - since, None, None, lambda _done, _all: None, **stage.clock_setting)


async def a_day_of_everything(stage: Stage) -> None:
    """Jobs of each kind, edited, suspended, paused and deleted, with the leader away in between."""
    day = resource("cron", schedule="*/5 * * * * *", uid=UUID(int=1))
    await stage.mirror(day, resource("rate", fixedRate="7s", uid=UUID(int=2), misfire={"policy": "Skip"}))
    await stage.mirror(resource("delay", fixedDelay="3s", uid=UUID(int=3)), resource("gone", fixedRate="3s"))
    await stage.mirror(resource("once", runAt=(await stage.now() + 20 * SECOND).isoformat()))
    replica = await stage.replica()
    for step in range(12):
        stage.tick(seconds=4)
        await stage.fire(sweep=True)
        for claimed in await stage.claim(replica):
            await stage.complete(replica, claimed, "SUCCEEDED" if step % 3 else "FAILED")
        await stage.release()
        if step == 3:
            await stage.mirror(resource("rate", fixedRate="11s", uid=UUID(int=2), generation=2))
            await stage.mirror(resource("cron", schedule="*/5 * * * * *", uid=UUID(int=1), generation=2, suspend=True))
        if step == 6:
            stage.tick(hours=3)
            await stage.mirror(resource("cron", schedule="*/3 * * * * *", uid=UUID(int=1), generation=3))
        if step == 8:
            (gone,) = stage.rows("SELECT id FROM job_definition WHERE name = 'gone'")
            await stage.mirror(Gone(gone["id"], "default", "gone"))


async def test_verify_finds_nothing_in_a_log_that_is_right(stage: Stage) -> None:
    await a_day_of_everything(stage)
    verdict = await verified(stage)
    assert verdict.findings == []
    assert verdict.moments > 3 * 3600 / 5
    assert list(lines(verdict))[-1].startswith(f"0 lost, 0 doubled, {verdict.moments} moments")


async def test_verify_knows_a_one_shot_of_a_version_that_was_in_force_for_no_time(stage: Stage) -> None:
    await stage.mirror(resource(runAt=(await stage.now() - HOUR).isoformat(), uid=UUID(int=1)))
    stage.tick(seconds=-1)
    await stage.mirror(resource(fixedRate="10s", uid=UUID(int=1), generation=2))
    first, second = stage.rows("SELECT effective_from FROM job_definition_version ORDER BY seq")
    assert first == second
    assert len(stage.rows()) == 1
    assert (await verified(stage)).findings == []


async def test_verify_knows_that_a_one_shot_before_the_moments_of_a_fixed_delay_is_not_due(stage: Stage) -> None:
    past = (await stage.now() - HOUR).isoformat()
    await stage.mirror(resource(fixedDelay="10s", uid=UUID(int=1)))
    stage.tick(seconds=11)
    await stage.fire()
    await stage.mirror(resource(runAt=past, uid=UUID(int=1), generation=2))
    assert stage.job()["state"] == "COMPLETED"
    assert (await verified(stage)).findings == []


@pytest.mark.parametrize(
    ("before", "after"), [({}, {}), ({"suspend": True}, {"suspend": True}), ({}, {"suspend": True})]
)
async def test_after_an_outage_longer_than_history_is_kept_the_days_that_are_kept_are_whole(
    stage: Stage, before: dict[str, bool], after: dict[str, bool]
) -> None:
    hourly = {"fixedRate": "1h", "startTime": "2026-01-01T00:30:00Z", "uid": UUID(int=1)}
    await stage.mirror(resource(**hourly, **before))
    stage.tick(days=KEPT.days + 3)
    now = await stage.now()
    stage.tick(seconds=(now.replace(hour=9, minute=0) - now).total_seconds())
    await stage.mirror(resource(**hourly, **after, generation=2))
    await stage.fire(sweep=True)
    await stage.prune()
    verdict = await verified(stage, KEPT + 3 * DAY)
    assert (verdict.findings, verdict.moments) == ([], KEPT.days * 24 + 9)


def execute(stage: Stage, statement: str) -> None:
    with psycopg.connect(stage.url, autocommit=True) as conn:
        conn.execute(statement.encode())


ONE = "(SELECT id FROM job_execution_log WHERE job_name = '{}' AND state = '{}' ORDER BY fire_time OFFSET 1 LIMIT 1)"

DELAYED = "DELETE FROM job_execution_log WHERE job_name = 'delay' "


@pytest.mark.parametrize(
    ("kind", "statement"),
    [
        ("lost", "DELETE FROM job_execution_log WHERE id = " + ONE.format("rate", "SUCCEEDED")),
        ("lost", "DELETE FROM job_execution_log WHERE id = " + ONE.format("delay", "SUCCEEDED")),
        ("lost", DELAYED + "AND fire_time = (SELECT max(fire_time) FROM job_execution_log WHERE job_name = 'delay')"),
        ("lost", DELAYED + "AND fire_time = (SELECT min(fire_time) FROM job_execution_log WHERE job_name = 'delay')"),
        ("lost", DELAYED),
        ("lost", "DELETE FROM job_execution_log WHERE job_name = 'cron' AND reason = 'Suspended'"),
        ("lost", "DELETE FROM job_execution_log WHERE job_name = 'once'"),
        (
            "doubled",
            "UPDATE job_execution_log SET fire_time = fire_time + interval '3h' WHERE false;"
            "INSERT INTO job_execution_log (fire_time, namespace, job_name, state, trigger, handler, job_id, version)"
            " SELECT last_fire_time, namespace, job_name, 'SUCCEEDED', trigger, handler, job_id, version"
            " FROM job_execution_log WHERE moment_count > 1 AND job_name = 'cron' LIMIT 1",
        ),
        (
            "not due",
            "INSERT INTO job_execution_log (fire_time, namespace, job_name, state, trigger, handler, job_id, version)"
            " SELECT fire_time + interval '1 ms', namespace, job_name, 'SUCCEEDED', trigger, handler, job_id, version"
            " FROM job_execution_log WHERE job_name = 'rate' AND state = 'SUCCEEDED' LIMIT 1",
        ),
        ("not due", "UPDATE job_execution_log SET moment_count = moment_count + 1 WHERE moment_count > 1"),
    ],
)
async def test_verify_finds_rows_that_were_deleted_or_doubled_by_hand(stage: Stage, kind: str, statement: str) -> None:
    await a_day_of_everything(stage)
    execute(stage, statement)
    verdict = await verified(stage)
    assert verdict.count(kind) > 0, list(lines(verdict))
    assert len({finding.job for finding in verdict.findings}) == 1 or "moment_count + 1" in statement


async def told(stage: Stage, at: datetime, name: str = "job") -> str:
    return "\n".join(await why(stage.url, "default", name, at, **stage.clock_setting))


async def test_why_a_moment_ran_and_why_the_next_was_skipped(stage: Stage) -> None:
    await stage.mirror(resource(fixedRate="1s", retry={"limit": 1}))
    stage.tick(seconds=1.1)
    await stage.fire()
    replica = await stage.replica()
    (claimed,) = await stage.claim(replica)
    stage.tick(seconds=1)
    await stage.fire()
    await stage.complete(replica, claimed)
    ran = await told(stage, claimed["fire_time"])
    assert f"SUCCEEDED, execution {claimed['id']}, SCHEDULE" in ran
    assert "claim     by r at" in ran
    skipped = await told(stage, claimed["fire_time"] + SECOND)
    assert "SKIPPED (Overlap)" in skipped
    assert f"overlap   execution {claimed['id']}" in skipped


async def test_why_a_moment_was_suspended_missed_in_the_future_or_never_due(stage: Stage) -> None:
    now = await stage.now()
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    await stage.mirror(resource(schedule="0 * * * *", suspend=True))
    stage.tick(days=1, hours=1)
    await stage.fire(sweep=True)
    assert "SKIPPED (Suspended)" in await told(stage, midnight + DAY)
    assert "spec.suspend is true" in await told(stage, midnight + DAY)
    assert "in the future" in await told(stage, midnight + 20 * DAY)
    assert "never due: the schedule does not name it" in await told(stage, midnight + DAY + 61 * SECOND)
    assert "never due: the job counts from" in await told(stage, now - HOUR)


async def test_why_a_moment_was_missed(stage: Stage) -> None:
    await stage.mirror(resource(fixedRate="1m"))
    first = stage.job()["next_fire_at"]
    stage.tick(hours=3)
    await stage.fire()
    missed = await told(stage, first)
    assert "MISSED (Coalesced)" in missed
    assert "moments that this row stands for" in missed
    (run,) = stage.rows("SELECT fire_time FROM job_execution_log WHERE trigger = 'CATCH_UP' AND state = 'PENDING'")
    assert "stands for 179 missed moments since" in await told(stage, run["fire_time"])


async def test_why_a_local_time_in_the_gap_of_the_clocks(stage: Stage) -> None:
    await stage.mirror(resource(schedule="30 2 * * *", timeZone="Europe/Berlin"))
    gap = await told(stage, datetime(2027, 3, 28, 2, 30))  # noqa: DTZ001 read in the job's zone
    assert "2027-03-28T02:30:00 does not exist in Europe/Berlin" in gap
    assert "at 2027-03-28T01:00:00Z" in gap
    assert "in the future" in gap


@pytest.mark.parametrize(
    ("local", "zone", "instant"),
    [
        (datetime(2027, 3, 28, 2, 30), "Europe/Berlin", datetime(2027, 3, 28, 1, tzinfo=UTC)),  # noqa: DTZ001
        (datetime(2026, 10, 4, 2, 15), "Australia/Lord_Howe", datetime(2026, 10, 3, 15, 30, tzinfo=UTC)),  # noqa: DTZ001
        (datetime(2027, 7, 1, 12), "Europe/Berlin", datetime(2027, 7, 1, 10, tzinfo=UTC)),  # noqa: DTZ001
    ],
)
def test_a_local_time_means_its_instant_or_the_end_of_the_gap(local: datetime, zone: str, instant: datetime) -> None:
    assert resolve(local, zone).at == instant


async def test_why_of_an_unknown_job_says_nothing(stage: Stage) -> None:
    assert await told(stage, await stage.now(), "nobody") == ""


async def test_history_shows_who_changed_what(stage: Stage) -> None:
    await stage.mirror(resource(fixedRate="1m", uid=UUID(int=1)))
    await stage.mirror(resource(fixedRate="2m", uid=UUID(int=1), generation=2, suspend=True))
    async with snapshot(stage.url) as conn:
        shown = list(history_lines(await verify_versions(conn, UUID(int=1))))
    assert shown[0].startswith("version 1")
    assert shown[1:] == [shown[1], '    fixedRate: "1m" -> "2m"', "    suspend: false -> true"]
    assert "SUSPENDED: spec.suspend is true" in shown[1]


async def test_verify_says_from_when_on_history_is_kept(stage: Stage) -> None:
    await stage.mirror(resource(fixedRate="1h"))
    verdict = await verify(stage.url, lambda now: now - 9 * DAY, None, None, lambda *_: None)
    yesterday = (verdict.until - DAY).replace(hour=0, minute=0, second=0, microsecond=0)
    assert verdict.since == yesterday
    first, _ = lines(verdict)
    asked = (verdict.until - 9 * DAY).isoformat()
    assert first == f"history is kept from {yesterday.isoformat()} on: nothing was verified between {asked} and then"
    assert len(list(lines(await verify(stage.url, lambda now: now - HOUR, None, None, lambda *_: None)))) == 1


def test_the_exit_codes_of_verify(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def verify_code(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["scheduledjobs", "verify", *arguments])
        return exit_code("scheduledjobs")

    monkeypatch.setenv("SCHEDULEDJOBS_DATABASE_URL", stage.url)
    monkeypatch.setenv("SCHEDULEDJOBS_RETENTION_DAYS", "1")  # the operator's decides, not the caller's
    stage.tick(hours=-3)
    asyncio.run(stage.mirror(resource(fixedRate="1h"), resource("gone", fixedRate="24h", uid=UUID(int=9))))
    asyncio.run(stage.mirror(Gone(UUID(int=9), "default", "gone")))
    stage.tick(hours=3)
    asyncio.run(stage.fire())
    assert verify_code("--since", "10m") == 0
    assert verify_code("--since", "2999-01-01T00:00:00Z") == 2
    assert "must not lie in the future" in capsys.readouterr().err
    for name in ("nobody", "gone"):
        assert verify_code("--since", "10m", "--job", f"default/{name}") == 1
        assert re.search(rf"default/{name}: no such job since \d{{4}}-\d\d-\d\dT", capsys.readouterr().err)
    execute(stage, "DELETE FROM job_execution_log")
    assert verify_code("--since", "4h") == 1
    assert "LOST" in capsys.readouterr().out
    execute(stage, "DROP TABLE job_execution_log CASCADE")
    assert verify_code("--since", "4h") == 3
