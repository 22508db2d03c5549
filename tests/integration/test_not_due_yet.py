"""A job that is suspended between a moment and the end of its jitter: nothing of it runs while it is suspended."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from tests.integration.conftest import Stage, resource
from tests.integration.test_ledger import verified
from tests.integration.test_rules import RUN_NOW, SECOND, UNTIL, at, summary

from scheduledjobs.core.jitter import due_at
from scheduledjobs.core.resource import Resource
from scheduledjobs.core.schedule import FixedRate, OneShot, Schedule, Window
from scheduledjobs.ledger.why import why

HOUR = timedelta(hours=1)
CLOSED = ("SKIPPED", "Suspended")


async def told(stage: Stage, moment: datetime) -> str:
    return "\n".join(await why(stage.url, "default", "job", moment, **stage.clock_setting))


def drawn(schedule: Schedule, moment: datetime) -> UUID:
    """A uid that draws a jitter of 10 to 50 minutes for the moment: time to look before it is over."""
    for uid in (UUID(int=number) for number in range(1, 100)):
        if 600 * SECOND < due_at(uid, schedule, HOUR, moment, None) - moment < 3000 * SECOND:
            return uid
    raise AssertionError("most of a hundred draw such a one")


async def waiting(stage: Stage) -> Callable[..., Resource]:
    """A job of every hour, one second after its first moment; return what makes its next versions."""
    start = (await stage.now() + 10 * SECOND).replace(microsecond=0)
    uid = drawn(FixedRate(HOUR, Window(start, None)), start)
    version = partial(resource, fixedRate="1h", startTime=at(start), jitter="1h", uid=uid)
    await stage.mirror(version())
    assert stage.job()["next_fire_at"] == start
    await pass_until(stage, start + SECOND)
    return version


async def pass_until(stage: Stage, moment: datetime) -> None:
    stage.tick(seconds=(moment - await stage.now()).total_seconds())


def rows_of(stage: Stage, moment: datetime) -> list[dict[str, Any]]:
    return [row for row in stage.rows() if row["fire_time"] == moment]


@pytest.mark.parametrize("suspended", [{"suspend": True, "generation": 2}, {"annotations": {UNTIL: "forever"}}])
async def test_a_moment_whose_jitter_is_not_over_at_a_suspension_never_runs(
    stage: Stage, suspended: dict[str, Any]
) -> None:
    version = await waiting(stage)
    job = stage.job()
    await stage.mirror(version(resource_version=2, **suspended))
    await pass_until(stage, job["next_due_at"] + SECOND)
    await stage.fire(sweep=True)
    (row,) = rows_of(stage, job["next_fire_at"])
    assert (row["state"], row["reason"]) == CLOSED
    assert "before this moment was due" in row["message"]
    assert "because   the job was suspended before this moment was due" in await told(stage, job["next_fire_at"])
    assert (stage.job()["state"], stage.job()["next_fire_at"]) == ("SUSPENDED", job["next_fire_at"] + HOUR)
    found = await verified(stage)
    assert (found.findings, found.undecided) == ([], 0)


async def test_a_moment_that_a_suspension_closes_is_in_the_way_of_no_run_now(stage: Stage) -> None:
    version = await waiting(stage)
    await stage.mirror(version(resource_version=2, annotations={UNTIL: "forever"}))
    await stage.mirror(version(resource_version=3, annotations={UNTIL: "forever", RUN_NOW: "t1"}))
    assert [row["state"] for row in stage.rows() if row["run_key"] == "t1"] == ["PENDING"]


async def test_a_pause_that_ends_before_the_jitter_of_a_moment_closes_it_too(stage: Stage) -> None:
    version = await waiting(stage)
    job = stage.job()
    until = job["next_fire_at"] + 30 * SECOND
    await stage.mirror(version(resource_version=2, annotations={UNTIL: at(until)}))
    await pass_until(stage, until + SECOND)
    await stage.resume()
    await pass_until(stage, job["next_due_at"] + SECOND)
    await stage.fire()
    assert [(row["state"], row["reason"]) for row in rows_of(stage, job["next_fire_at"])] == [CLOSED]
    assert (stage.job()["state"], stage.job()["next_fire_at"]) == ("ACTIVE", job["next_fire_at"] + HOUR)
    assert (await verified(stage)).findings == []


async def once(stage: Stage) -> datetime:
    """A one-shot, one second after its time."""
    run_at = (await stage.now() + 10 * SECOND).replace(microsecond=0)
    await stage.mirror(resource(runAt=at(run_at), jitter="1h", uid=drawn(OneShot(run_at), run_at)))
    await pass_until(stage, run_at + SECOND)
    return run_at


async def test_a_one_shot_whose_jitter_is_not_over_is_due_when_its_suspension_ends(stage: Stage) -> None:
    run_at = await once(stage)
    uid = stage.job()["id"]
    await stage.mirror(resource(runAt=at(run_at), jitter="1h", uid=uid, generation=2, suspend=True))
    stage.tick(hours=2)
    await stage.fire(sweep=True)
    assert (stage.rows(), stage.job()["state"], stage.job()["next_fire_at"]) == ([], "SUSPENDED", run_at)
    assert "a one-shot is due when the suspension ends" in await told(stage, run_at)
    await stage.mirror(resource(runAt=at(run_at), jitter="1h", uid=uid, generation=3))
    await stage.fire()
    assert summary(stage) == [("PENDING", None)]


async def test_a_one_shot_that_gets_another_time_as_it_is_suspended_keeps_one_row_for_the_old_one(stage: Stage) -> None:
    run_at = await once(stage)
    later, uid = run_at + 24 * HOUR, stage.job()["id"]
    await stage.mirror(resource(runAt=at(later), jitter="1h", uid=uid, generation=2, suspend=True))
    stage.tick(hours=2)
    await stage.fire(sweep=True)
    assert summary(stage) == [CLOSED]
    assert (stage.job()["state"], stage.job()["next_fire_at"]) == ("SUSPENDED", later)
    assert (await verified(stage)).findings == []
