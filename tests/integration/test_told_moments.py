"""What was to run, waited, and was closed before it began: the leader hears of it, so that it is told."""

from __future__ import annotations

from uuid import UUID

from tests.integration.conftest import Stage, resource

RUN_NOW = "scheduledjobs.dev/run-now"


async def test_what_waited_too_long_is_handed_to_who_tells_of_it(stage: Stage) -> None:
    await stage.mirror(resource(fixedRate="1h", startingDeadline="10m"))
    stage.tick(hours=1)
    await stage.fire()
    stage.tick(minutes=11)
    await stage.release()
    (row,), (missed,) = stage.rows(), stage.closed
    assert (missed["state"], missed["reason"]) == ("MISSED", "StartingDeadlineExceeded")
    assert missed["message"] == "no slot was free before startingDeadline"
    assert (missed["job_id"], missed["fire_time"]) == (row["job_id"], row["fire_time"])


async def test_a_run_that_takes_the_place_of_a_held_one_tells_so(stage: Stage) -> None:
    asked = {"fixedRate": "1h", "concurrencyPolicy": "Replace", "uid": UUID(int=1)}
    await stage.mirror(resource(**asked))
    stage.tick(hours=1)
    await stage.fire()
    await stage.claim(await stage.replica())
    stage.tick(hours=1)
    await stage.fire()
    assert [row.replaced for row in stage.fired] == [(), ()]
    stage.tick(hours=1)
    await stage.fire()
    _, second, third = stage.rows()
    assert (second["state"], second["reason"]) == ("SKIPPED", "Replaced")
    assert stage.fired[-1].replaced == (second["fire_time"],)
    await stage.mirror(resource(**asked, resource_version=2, annotations={RUN_NOW: "now"}))
    (request,) = stage.written[-1].requests
    assert request.execution.replaced == (third["fire_time"],)


async def test_a_run_that_only_waited_to_be_retried_was_not_skipped(stage: Stage) -> None:
    await stage.mirror(resource(fixedRate="1h", concurrencyPolicy="Replace"))
    stage.tick(hours=1)
    await stage.fire()
    (claimed,) = await stage.claim(replica := await stage.replica())
    await stage.complete(replica, claimed, "FAILED", retry_seconds=36_000)
    stage.tick(hours=1)
    await stage.fire()
    first, _ = stage.rows()
    assert (first["state"], first["reason"]) == ("CANCELLED", "Replaced")
    assert [row.replaced for row in stage.fired] == [(), ()]
