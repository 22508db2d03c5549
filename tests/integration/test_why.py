"""why and history where it is not plain which job, version or instant is meant, or whether the moment has come."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from tests.integration.conftest import Stage, resource

from scheduledjobs.cli.history import read as history
from scheduledjobs.core.jitter import due_at
from scheduledjobs.core.resource import Resource
from scheduledjobs.core.schedule import Cron, FixedRate, next_fire
from scheduledjobs.ledger.moment import show
from scheduledjobs.ledger.why import why, why_of
from scheduledjobs.steps.inbox import Gone
from scheduledjobs.store.ledger import snapshot

SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
ONE, TWO = UUID(int=1), UUID(int=2)


async def told(stage: Stage, at: datetime) -> str:
    return "\n".join(await why(stage.url, "default", "job", at, **stage.clock_setting))


def written(name: str = "job", **changes: object) -> Resource:
    return replace(resource(name, **changes), field_manager="kubectl")


async def test_why_a_one_shot_of_before_it_was_recorded_ran_or_was_missed(stage: Stage) -> None:
    now = await stage.now()
    past, late = now - 3 * HOUR, now - HOUR
    await stage.mirror(written(runAt=past.isoformat(), created_at=now - 2 * HOUR, uid=ONE))
    await stage.mirror(written("late", runAt=late.isoformat(), created_at=now - 2 * HOUR, uid=TWO))
    await stage.fire()
    told_past = await told(stage, past.replace(microsecond=past.microsecond // 1000 * 1000))
    assert "MISSED (InThePast)" in told_past
    assert "written by kubectl" in told_past
    assert "never due" not in told_past
    (row,) = stage.rows("SELECT fire_time FROM job_execution_log WHERE job_name = 'late'")
    ran = "\n".join(await why(stage.url, "default", "late", row["fire_time"], **stage.clock_setting))
    assert "PENDING, execution" in ran


async def test_why_names_from_when_the_job_counted_first(stage: Stage) -> None:
    await stage.mirror(resource(fixedRate="1m", uid=ONE))
    first = stage.job()["effective_from"]
    stage.tick(hours=5)
    await stage.mirror(resource(fixedRate="2m", uid=ONE, generation=2))
    counts = f"{first.isoformat(timespec='milliseconds')[:-6]}Z"
    assert f"never due: the job counts from {counts}" in await told(stage, first - HOUR)


async def lives_twice(stage: Stage) -> tuple[datetime, datetime]:
    """A job that ran and was deleted, an hour of nothing, and another of the same name; return when each ran."""
    await stage.mirror(resource(fixedRate="1m", uid=ONE))
    stage.tick(seconds=61)
    await stage.fire()
    stage.tick(minutes=10)
    await stage.mirror(Gone(ONE, "default", "job"))
    stage.tick(hours=1)
    await stage.mirror(resource(fixedRate="2m", uid=TWO))
    stage.tick(seconds=121)
    await stage.fire()
    first, last = stage.rows("SELECT fire_time FROM job_execution_log WHERE state = 'PENDING' OR reason = 'JobDeleted'")
    return first["fire_time"], last["fire_time"]


async def test_why_finds_the_job_that_had_the_name_then(stage: Stage) -> None:
    first, last = await lives_twice(stage)
    then = await told(stage, first)
    assert "CANCELLED (JobDeleted)" in then
    assert "every 1m" in then
    assert f"job       an earlier job of this name, {ONE}, which existed from" in then
    assert "MISSED (Deleted)" in await told(stage, first + timedelta(minutes=5))
    now = await told(stage, last)
    assert "PENDING" in now
    assert "earlier" not in now


async def test_why_says_that_an_earlier_job_had_ended(stage: Stage) -> None:
    first, _ = await lives_twice(stage)
    between = await told(stage, first + timedelta(minutes=30))
    assert "never due: the job counts from" in between
    assert f"earlier   an earlier job of this name, {ONE}, existed from" in between
    assert "earlier" not in await told(stage, first - HOUR)


async def test_history_names_the_earlier_jobs(stage: Stage) -> None:
    await lives_twice(stage)
    shown = await history(stage.url, "default", "job")
    assert shown[0].startswith(f"earlier job of this name: {ONE}, ")
    assert len(shown) == 2
    assert shown[1].startswith("version 1")
    await stage.mirror(Gone(TWO, "default", "job"))
    gone = await history(stage.url, "default", "job")
    assert [line.split()[0] for line in gone] == ["earlier", "version", "version"]


async def test_history_says_who_and_what_ended_a_pause_or_the_job(stage: Stage) -> None:
    until = (await stage.now() + HOUR).isoformat()
    await stage.mirror(written(fixedRate="1m", uid=ONE))
    pause = {"scheduledjobs.dev/paused-until": until}
    await stage.mirror(written(fixedRate="1m", uid=ONE, resource_version=2, annotations=pause))
    stage.tick(hours=2)
    await stage.resume()
    at = await stage.now()
    await stage.mirror(Gone(ONE, "default", "job"))
    shown = await history(stage.url, "default", "job")
    assert [line.split("UTC  ")[1].split("  ")[0] for line in shown] == [
        "by kubectl",
        "by kubectl",
        "pause ended",
        "deleted",
    ]
    assert "written by kubectl" in await told(stage, at - SECOND)


async def test_why_a_jittered_moment_is_not_due_yet(stage: Stage) -> None:
    schedule, jitter = Cron("@yearly", "Etc/UTC"), 50 * SECOND
    moment = next_fire(schedule, await stage.now())
    assert moment is not None
    drawn = (UUID(int=number) for number in range(1, 100))  # a jitter is drawn by uid: one that leaves time to look
    uid = next(uid for uid in drawn if due_at(uid, schedule, jitter, moment, None) - moment > 5 * SECOND)
    await stage.mirror(resource(schedule="@yearly", jitter="50s", uid=uid))
    job = stage.job()
    assert job["next_fire_at"] == moment
    stage.tick(seconds=(job["next_fire_at"] - await stage.now()).total_seconds() + 1)
    assert "decision  not due yet: with its jitter it is due at" in await told(stage, job["next_fire_at"])
    stage.tick(seconds=60)
    waited = await told(stage, job["next_fire_at"])
    assert "and not decided yet" in waited
    assert "due for 61 s" not in waited  # it counts from its jittered moment


async def test_why_a_retry_waits_and_then_runs(stage: Stage) -> None:
    """Its row has how long the attempt before it took."""
    await stage.mirror(resource(fixedRate="1m", uid=ONE))
    at = stage.job()["next_fire_at"]
    stage.tick(seconds=61)
    await stage.fire()
    replica = await stage.replica()
    (claimed,) = await stage.claim(replica)
    stage.tick(seconds=5)
    await stage.complete(replica, claimed, "FAILED", retry_seconds=30)
    assert "claim     not claimed: claimable from " in await told(stage, at)
    stage.tick(seconds=31)
    assert "claim     not claimed: claimable since " in await told(stage, at)
    (again,) = await stage.claim(replica)
    runs = await told(stage, at)
    assert "attempt   2: started " in runs
    assert runs.endswith(", still running")
    stage.tick(seconds=2)
    await stage.complete(replica, again)
    assert re.search(r", took \d+ ms$", await told(stage, at))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"suspend": True}, "it will be SKIPPED (Suspended) at the leader's next sweep: spec.suspend is true"),
        ({"handler": "nobody"}, "it will be SKIPPED (NotReady) at the leader's next sweep: no live replica has"),
    ],
)
async def test_why_a_moment_that_waits_for_the_sweep(stage: Stage, changes: dict[str, object], sentence: str) -> None:
    await stage.mirror(resource(fixedRate="1m", uid=ONE, **changes))
    stage.tick(seconds=90)
    assert sentence in await told(stage, stage.job()["next_fire_at"])


async def test_why_a_suspended_one_shot_waits(stage: Stage) -> None:
    at = (await stage.now() + HOUR).replace(microsecond=0)
    await stage.mirror(resource(runAt=at.isoformat(), uid=ONE, suspend=True))
    stage.tick(hours=2)
    await stage.fire(sweep=True)
    assert "a one-shot is due when the suspension ends" in await told(stage, at)


async def edited_once(stage: Stage, **changes: object) -> datetime:
    """A one-shot whose runAt becomes one that has just passed; return that."""
    now = (await stage.now()).replace(microsecond=0)
    at = now + HOUR - 2 * SECOND
    await stage.mirror(written(runAt=(now + 2 * HOUR).isoformat(), uid=ONE))
    stage.tick(hours=1)
    await stage.mirror(written(runAt=at.isoformat(), uid=ONE, generation=2, **changes))
    return at


async def test_why_a_one_shot_of_just_before_its_edit_is_told_of_the_edited_version(stage: Stage) -> None:
    at = await edited_once(stage)
    assert "due for" in await told(stage, at)
    await stage.fire()
    ran = await told(stage, at)
    assert f"once, at {show(at)} (version 2, in force since " in ran
    assert "PENDING, execution" in ran
    await stage.mirror(Gone(ONE, "default", "job"))
    gone = await told(stage, at)
    assert "(version 2, in force since " in gone
    assert "DELETED" not in gone  # that was recorded under the same number, and later


async def test_why_a_one_shot_of_just_before_its_edit_waits_for_the_end_of_its_suspension(stage: Stage) -> None:
    at = await edited_once(stage, suspend=True)
    waits = await told(stage, at)
    assert f"once, at {show(at)} (version 2, in force since " in waits
    assert "state     SUSPENDED: spec.suspend is true" in waits
    assert "not decided yet: a one-shot is due when the suspension ends" in waits


async def test_why_a_one_shot_of_just_before_its_edit_ran_when_its_pause_had_ended(stage: Stage) -> None:
    pause = {"scheduledjobs.dev/paused-until": (await stage.now() + 2 * HOUR).isoformat()}
    at = await edited_once(stage, annotations=pause)
    stage.tick(hours=2)
    await stage.resume()
    await stage.fire()
    ran = await told(stage, at)
    assert f"once, at {show(at)} (version 2, in force since " in ran
    assert "PENDING, execution" in ran
    assert "SUSPENDED" not in ran


async def test_why_a_one_shot_of_before_it_was_recorded_waits_also_if_its_name_was_anothers(stage: Stage) -> None:
    await stage.mirror(resource(fixedRate="1h", uid=ONE))
    at = (await stage.now()).replace(microsecond=0) + MINUTE
    stage.tick(minutes=2)
    await stage.mirror(Gone(ONE, "default", "job"))
    await stage.mirror(resource(runAt=at.isoformat(), uid=TWO, suspend=True))
    waits = await told(stage, at)
    assert f"once, at {show(at)} (version 1" in waits
    assert "not decided yet: a one-shot is due when the suspension ends" in waits


@pytest.mark.parametrize("minutes", [1, 2, 3])
async def test_why_a_moment_of_an_outage_is_told_of_the_version_that_decides_it(stage: Stage, minutes: int) -> None:
    await stage.mirror(resource(fixedRate="1m", jitter="10s", uid=ONE))
    at = stage.job()["next_fire_at"] + (minutes - 1) * MINUTE
    stage.tick(minutes=3, seconds=50)
    await stage.mirror(resource(fixedRate="1m", jitter="20s", uid=ONE, generation=2))
    due = due_at(ONE, FixedRate(MINUTE), 20 * SECOND, at, stage.job()["anchor_at"])
    for is_decided in (False, True):
        found = await told(stage, at)
        assert ("not decided yet" in found) is not is_decided
        assert "every 1m (version 2, in force since " in found
        assert f"later, at {show(due)}" in found
        await stage.fire()


async def test_why_does_not_know_which_moments_a_fixed_delay_had_before_the_history_that_is_kept(stage: Stage) -> None:
    await stage.mirror(resource(fixedDelay="1m", uid=ONE))
    at = stage.job()["next_fire_at"]
    stage.tick(seconds=61)
    await stage.fire()
    replica = await stage.replica()
    (claimed,) = await stage.claim(replica)
    await stage.complete(replica, claimed)
    assert "SUCCEEDED" in await told(stage, at)
    assert "never due: a fixedDelay counts from the end of each run" in await told(stage, at + SECOND)
    stage.tick(days=40)
    await stage.prune()
    unknown = "not known: a fixedDelay counts from the end of each run, and the history that is kept begins later"
    assert unknown in await told(stage, at)
    kept = (await stage.now()).replace(hour=0, minute=0, second=0, microsecond=0) - DAY
    assert unknown in await told(stage, kept - SECOND)
    assert "never due: a fixedDelay counts from the end of each run" in await told(stage, kept)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (resource(fixedRate="2h", uid=ONE, generation=2), "would be {}, but a later version took its place"),
        (resource(fixedDelay="1h", uid=ONE, generation=2), "would be {}, but a later version took its place"),
        (Gone(ONE, "default", "job"), "would be {}, but the job was deleted before"),
    ],
)
async def test_why_names_no_next_moment_of_a_version_that_ended_before(
    stage: Stage, change: Resource | Gone, sentence: str
) -> None:
    await stage.mirror(resource(fixedRate="1h", uid=ONE))
    following = stage.job()["next_fire_at"]
    stage.tick(minutes=20)
    unnamed = following - 50 * MINUTE
    assert f"the schedule does not name it; the next moment is {show(following)}" in await told(stage, unnamed)
    await stage.mirror(change)
    assert f"; the next moment of version 1 {sentence.format(show(following))}" in await told(stage, unnamed)


async def test_why_names_the_next_moment_where_an_edit_or_a_pause_left_the_schedule_as_it_was(stage: Stage) -> None:
    await stage.mirror(resource(fixedRate="1h", uid=ONE))
    following = stage.job()["next_fire_at"]
    pause = {"scheduledjobs.dev/paused-until": (following - 30 * MINUTE).isoformat()}
    stage.tick(minutes=20)
    await stage.mirror(resource(fixedRate="1h", uid=ONE, jitter="1s", generation=2))
    assert f"the next moment is {show(following)}" in await told(stage, following - 50 * MINUTE)
    await stage.mirror(
        resource(fixedRate="1h", uid=ONE, jitter="1s", generation=2, resource_version=3, annotations=pause)
    )
    stage.tick(minutes=20)
    await stage.resume()
    assert stage.job()["effective_from"] == following - 30 * MINUTE
    assert f"the next moment is {show(following)}" in await told(stage, following - 35 * MINUTE)


@pytest.mark.parametrize(
    "edits",
    [
        [{"suspend": True}, {"suspend": False}],
        [{"endTime": "2100-01-01T00:00:00Z"}],
    ],
    ids=["suspended and resumed", "another end"],
)
async def test_why_names_the_next_moment_where_it_came_under_a_later_version(
    stage: Stage, edits: list[dict[str, object]]
) -> None:
    await stage.mirror(resource(fixedRate="1h", uid=ONE))
    following = stage.job()["next_fire_at"]
    for generation, edit in enumerate(edits, start=2):
        stage.tick(minutes=10)
        await stage.mirror(resource(fixedRate="1h", uid=ONE, generation=generation, **edit))
    stage.tick(hours=1)
    await stage.fire()
    assert "PENDING" in await told(stage, following)
    unnamed = await told(stage, following - 55 * MINUTE)
    assert "(version 1, in force since" in unnamed
    assert f"the schedule does not name it; the next moment is {show(following)}" in unnamed


async def test_why_names_no_next_moment_of_a_version_where_a_later_one_had_another_before(stage: Stage) -> None:
    hour = next_fire(Cron("0 * * * *", "Etc/UTC"), await stage.now())
    assert hour is not None
    stage.tick(seconds=(hour - await stage.now()).total_seconds())
    await stage.mirror(resource(schedule="0 * * * *", uid=ONE))
    stage.tick(minutes=2)
    await stage.mirror(resource(schedule="0,30 * * * *", uid=ONE, generation=2))
    unnamed = await told(stage, hour + MINUTE)
    assert f"of version 1 would be {show(hour + HOUR)}, but a later version took its place" in unnamed


async def test_why_says_of_which_version_no_moment_is_left(stage: Stage) -> None:
    now = await stage.now()
    await stage.mirror(resource(runAt=(now + MINUTE).isoformat(), uid=ONE))
    stage.tick(minutes=30)
    assert "; no moment is left" in await told(stage, now + 10 * MINUTE)
    await stage.mirror(resource(runAt=(now + HOUR).isoformat(), uid=ONE, generation=2))
    assert "; version 1 has no moment left" in await told(stage, now + 10 * MINUTE)
    assert "; no moment is left" in await told(stage, now + 2 * HOUR)


async def test_why_names_no_next_moment_of_a_fixed_delay_that_ended(stage: Stage) -> None:
    await stage.mirror(resource(fixedDelay="1h", uid=ONE))
    at = stage.job()["next_fire_at"] - 50 * MINUTE
    assert f"end of each run; the next moment is {show(stage.job()['next_fire_at'])}" in await told(stage, at)
    stage.tick(minutes=20)
    await stage.mirror(resource(fixedRate="2h", uid=ONE, generation=2))
    assert (await told(stage, at)).endswith("never due: a fixedDelay counts from the end of each run")


async def test_why_a_local_time_that_comes_twice(stage: Stage) -> None:
    await stage.mirror(resource(schedule="30 2 * * *", timeZone="Europe/Berlin"))
    twice = await told(stage, datetime(2027, 10, 31, 2, 30))  # noqa: DTZ001 read in the job's zone
    assert "at 2027-10-31T00:30:00Z" in twice
    sentence = "2027-10-31T02:30:00 comes twice in Europe/Berlin: this is the first time; the second is"
    assert f"zone      {sentence} 2027-10-31T01:30:00Z" in twice
    assert "comes twice" not in await told(stage, datetime(2027, 10, 31, 2, 30, tzinfo=UTC))


@pytest.mark.parametrize(
    "at",
    [
        datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).replace(tzinfo=None),
        datetime(1, 1, 1, tzinfo=UTC),
    ],
)
async def test_why_far_off_moments_are_never_due(stage: Stage, at: datetime) -> None:
    await stage.mirror(resource(schedule="0 0 29 2 *", timeZone="Asia/Tokyo"))
    assert "never due: it lies outside the years 1970 to 9000" in await told(stage, at)


@pytest.mark.parametrize("year", [1970, 9000])
async def test_why_the_first_and_last_years_are_answered(stage: Stage, year: int) -> None:
    await stage.mirror(resource(schedule="0 0 29 2 *", timeZone="Asia/Tokyo"))
    assert "never due" in await told(stage, datetime(year, 1, 1, tzinfo=UTC))
    assert "never due" in await told(stage, datetime(year, 12, 31, 23, 59, 59, tzinfo=UTC))


async def test_why_is_told_of_the_moment_that_the_callers_transaction_sees(stage: Stage) -> None:
    await stage.mirror(resource(fixedRate="1m", uid=ONE))
    at = stage.job()["next_fire_at"]
    stage.tick(seconds=61)
    async with snapshot(stage.url, **stage.clock_setting) as conn:
        before = await why_of(conn, "default", "job", at)
        await stage.fire()
        assert await why_of(conn, "default", "job", at) == before
    assert "PENDING" in await told(stage, at)
    assert "PENDING" not in "\n".join(before)
