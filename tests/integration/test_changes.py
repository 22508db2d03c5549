"""What a change of a job leaves alone, and from when it counts. One test a rule."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from tests.integration.conftest import Stage, resource
from tests.integration.test_rules import MILLISECOND, RUN_NOW, SECOND, at, running, summary

from scheduledjobs.core.resource import Resource
from scheduledjobs.steps.inbox import Gone

ONE = UUID(int=1)


def version(number: int, **spec: Any) -> Resource:
    """The job as it is from its `number`th edit on."""
    return resource(**{"fixedRate": "10s", "uid": ONE, "generation": number, **spec})


def asked(token: str, **spec: Any) -> Resource:
    """The job with a request to run now."""
    return version(1, resource_version=2, annotations={RUN_NOW: token}, **spec)


@pytest.mark.parametrize(
    "change",
    [
        {"payload": {"message": "new"}},
        {"handler": "http", "payload": {"url": "https://reports.example/run"}},
        {"concurrencyPolicy": "Queue"},
        {"misfire": {"policy": "Skip"}},
        {"retry": {"limit": 3}},
        {"timeout": "5m"},
    ],
    ids=lambda change: next(iter(change)),
)
async def test_an_edit_of_handler_payload_or_policy_does_not_move_the_next_fire(
    stage: Stage, change: dict[str, Any]
) -> None:
    await stage.mirror(version(1))
    before = stage.job()
    stage.tick(seconds=5)
    await stage.mirror(version(2, **change))
    after = stage.job()
    assert (after["version"], after["state"]) == (2, "ACTIVE")
    assert all(before[name] == after[name] for name in ("next_fire_at", "effective_from", "anchor_at"))


async def test_a_change_after_the_clock_was_set_back_counts_from_after_the_newest_decided_moment(stage: Stage) -> None:
    await stage.mirror(version(1))
    stage.tick(seconds=25)
    await stage.fire()
    newest = stage.rows()[-1]["fire_time"]
    stage.tick(seconds=-20)
    await stage.mirror(version(2, fixedRate="7s"))
    job = stage.job()
    assert job["effective_from"] == newest + MILLISECOND
    assert job["next_fire_at"] == newest + MILLISECOND + 7 * SECOND


async def test_a_waiting_run_survives_an_edit_and_a_suspension_and_runs_its_version(stage: Stage) -> None:
    await stage.mirror(version(1))
    stage.tick(seconds=11)
    await stage.fire()
    await stage.mirror(version(2, fixedRate="1h", payload={"message": "new"}))
    await stage.mirror(version(3, fixedRate="1h", suspend=True))
    (claimed,) = await stage.claim(await stage.replica())
    assert claimed["version"] == 1


async def test_running_work_goes_on_through_an_edit_a_suspension_and_a_delete(stage: Stage) -> None:
    replica, claimed = await running(stage)
    await stage.mirror(version(2, fixedRate="1h"))
    await stage.mirror(version(3, fixedRate="1h", suspend=True))
    await stage.mirror(Gone(ONE, "default", "job"))
    (row,) = stage.rows()
    assert (row["state"], row["cancel_reason"]) == ("RUNNING", None)
    assert await stage.complete(replica, claimed) == {claimed["id"]: "SUCCEEDED"}


async def test_a_run_that_waits_to_be_retried_goes_on_while_suspended(stage: Stage) -> None:
    replica, claimed = await running(stage)
    await stage.complete(replica, claimed, "FAILED", retry_seconds=5)
    await stage.mirror(version(2, fixedRate="1s", suspend=True))
    stage.tick(seconds=10)
    await stage.fire(sweep=True)
    await stage.release()
    (again,) = await stage.claim(replica)
    assert (again["id"], again["attempt"]) == (claimed["id"], 2)


async def test_a_job_whose_payload_does_not_fit_skips_its_moments(stage: Stage) -> None:
    await stage.mirror(version(1, payload={"seconds": "many"}))
    stage.tick(seconds=35)
    await stage.fire(sweep=True)
    assert stage.job()["reason"] == "InvalidPayload"
    assert {(row["state"], row["reason"]) for row in stage.rows()} == {("SKIPPED", "NotReady")}
    assert sum(row["moment_count"] for row in stage.rows()) == 3


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"schedule": "0 0 31 2 *"}, "InvalidSchedule"),
        ({"schedule": "* * * * *", "timeZone": "Mars/Base"}, "UnknownTimeZone"),
    ],
)
async def test_an_invalid_schedule_or_zone_has_no_moments(stage: Stage, spec: dict[str, Any], reason: str) -> None:
    await stage.mirror(version(1, fixedRate=None, **spec))
    stage.tick(hours=1)
    await stage.fire(sweep=True)
    assert (stage.job()["state"], stage.job()["reason"], stage.job()["next_fire_at"]) == ("INVALID", reason, None)
    assert stage.rows() == []


async def test_a_manual_run_does_not_use_up_a_one_shot_nor_move_the_next_fire(stage: Stage) -> None:
    run_at = await stage.now() + 600 * SECOND
    spec = {"fixedRate": None, "runAt": at(run_at), "concurrencyPolicy": "Allow"}
    await stage.mirror(version(1, **spec))
    await stage.mirror(asked("t1", **spec))
    assert (stage.job()["state"], stage.job()["next_fire_at"]) == ("ACTIVE", run_at)
    stage.tick(seconds=601)
    await stage.fire()
    assert [(row["trigger"], row["state"]) for row in stage.rows()] == [("MANUAL", "PENDING"), ("SCHEDULE", "PENDING")]


async def test_a_manual_run_does_not_move_a_fixed_delay(stage: Stage) -> None:
    spec = {"fixedRate": None, "fixedDelay": "10s"}
    await stage.mirror(version(1, **spec))
    planned = stage.job()["next_fire_at"]
    assert planned == stage.job()["effective_from"] + 10 * SECOND
    await stage.mirror(asked("t1", **spec))
    replica = await stage.replica()
    (claimed,) = await stage.claim(replica)
    stage.tick(seconds=5)
    await stage.complete(replica, claimed)
    await stage.release()
    assert stage.job()["next_fire_at"] == planned


async def test_the_starting_deadline_is_not_for_manual_runs(stage: Stage) -> None:
    spec = {"fixedRate": "1h", "startingDeadline": "5s"}
    await stage.mirror(version(1, **spec))
    await stage.mirror(asked("t1", **spec))
    stage.tick(seconds=60)
    await stage.release()
    assert len(await stage.claim(await stage.replica())) == 1
    assert summary(stage) == [("RUNNING", None)]
