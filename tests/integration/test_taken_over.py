"""A one-shot whose resource another database knew before this one: its status says whether it has fired."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from dev.postgres import Postgres
from tests.conftest import new_database
from tests.integration.conftest import Stage, resource

from scheduledjobs.core.resource import Resource
from scheduledjobs.core.status_of import status_of
from scheduledjobs.ledger.verify import verify
from scheduledjobs.ledger.why import why
from scheduledjobs.steps.inbox import Gone, Seen
from scheduledjobs.store.sessions import connect
from scheduledjobs.store.status import load_status

UID = UUID(int=1)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
BEFORE = (datetime.now(UTC) - HOUR).replace(microsecond=750_000)
"""When the one-shot is due: not at a whole second, as its status says it."""


def release(url: str, **ahead: float) -> Stage:
    """A release whose clock is so far ahead of when the one-shot is due."""
    stage = Stage(url)
    stage.offset = BEFORE + timedelta(**ahead) - datetime.now(UTC)
    return stage


@pytest.fixture
def first(database: str) -> Stage:
    """A release that is there before the one-shot is due."""
    return release(database, minutes=-10)


@pytest.fixture
def second(postgres_server: Postgres) -> Iterator[Stage]:
    """Another one, with a database of its own, which is empty until after that."""
    with new_database(postgres_server) as url:
        yield release(url, minutes=5)


def once(generation: int = 1, **changes: Any) -> Resource:
    created_at = BEFORE - HOUR
    spec = {"runAt": BEFORE.isoformat(), "jitter": "10s", **changes}
    return resource(uid=UID, generation=generation, created_at=created_at, **spec)


async def told(stage: Stage, found: Resource) -> Resource:
    """Return a resource with the status that this release gives it."""
    async with connect(stage.url, "test", **stage.clock_setting) as conn:
        (row,) = await load_status(conn, [UID])
    return replace(found, status=status_of(row, "once", found.status, await stage.now()))


async def run(stage: Stage) -> Resource:
    """Have the one-shot run to its end; return its resource, with its status."""
    await stage.mirror(once())
    stage.tick(minutes=11)
    await stage.fire()
    replica = await stage.replica()
    for claimed in await stage.claim(replica):
        await stage.complete(replica, claimed)
    assert [row["state"] for row in stage.rows()] == ["SUCCEEDED"]
    return await told(stage, once())


async def take(stage: Stage, *changes: Resource | Gone) -> None:
    """Mirror what the API server has, then fire whatever is due."""
    for change in changes:
        await stage.mirror(Seen(change, is_quorum=True) if isinstance(change, Resource) else change)
    await stage.fire(sweep=True)


async def findings(stage: Stage) -> list[Any]:
    found = await verify(stage.url, lambda now: now - 2 * HOUR, None, None, lambda *_: None, **stage.clock_setting)
    return found.findings


async def told_why(stage: Stage) -> str:
    return "\n".join(await why(stage.url, "default", "job", BEFORE, **stage.clock_setting))


async def test_a_one_shot_that_has_run_is_not_run_again_from_another_database(first: Stage, second: Stage) -> None:
    has_run = await run(first)
    await take(second, has_run)
    assert second.rows() == []
    assert (second.job()["state"], second.job()["next_fire_at"]) == ("COMPLETED", None)
    assert await findings(second) == []
    said = await told_why(second)
    assert "never due: the job counts from" in said
    assert "its status says that it has fired" in said
    after = await told(second, has_run)  # a third database must know it too
    assert after.status["lastScheduleTime"] == has_run.status["lastScheduleTime"]
    assert "its status says that it has fired" in after.status["conditions"][0]["message"]


async def test_what_has_run_elsewhere_is_over_whatever_is_edited_but_its_time(first: Stage, second: Stage) -> None:
    """Its handler comes later, it is resumed, and gets other fields; its namespace goes and comes."""
    status = (await run(first)).status
    second.handlers.clear()
    await take(second, replace(once(suspend=True), status=status))
    assert second.job()["state"] == "INVALID"
    second.handlers.add("log")
    for generation, changes in enumerate(({"suspend": True}, {}, {"timeout": "5m"}, {"timeZone": "Asia/Tokyo"}), 2):
        second.tick(seconds=1)
        await take(second, replace(once(generation, **changes), status=status))
        assert second.job()["state"] == "COMPLETED"
    await take(second, Gone(UID, "default", "job"), replace(once(6), status=status))
    assert second.job()["state"] == "COMPLETED"
    assert (second.rows(), await findings(second)) == ([], [])
    later = (BEFORE + 10 * MINUTE).isoformat()
    await take(second, replace(once(7, runAt=later), status=status))
    second.tick(minutes=10)
    await take(second)
    assert [row["state"] for row in second.rows()] == ["PENDING"]
    assert await findings(second) == []


@pytest.mark.parametrize("status", [{}, {"lastScheduleTime": "2026-01-01T00:00:00Z"}], ids=["none", "of another time"])
async def test_a_one_shot_is_due_at_first_sight_where_its_status_does_not_say_that_it_has_fired(
    second: Stage, status: dict[str, str]
) -> None:
    """None: what `kubectl apply` of an export makes, as the API server drops its status
    (tests/acceptance/test_crd.py). Of another time: the runAt was edited since."""
    await take(second, replace(once(), status=status))
    assert [row["state"] for row in second.rows()] == ["PENDING"]
    assert await findings(second) == []


async def test_a_one_shot_that_ran_while_another_release_had_its_namespace_is_not_run_again(
    first: Stage, second: Stage
) -> None:
    second.tick(minutes=-15)
    await take(second, once(), Gone(UID, "default", "job"))
    has_run = await run(first)
    second.tick(minutes=15)
    await take(second, has_run)
    assert (second.rows(), second.job()["state"]) == ([], "COMPLETED")
    assert await findings(second) == []


async def test_what_has_run_elsewhere_is_not_lost_where_the_clock_is_behind(first: Stage, second: Stage) -> None:
    has_run = await run(first)
    second.tick(minutes=-6)
    await take(second, has_run)
    second.tick(minutes=2)
    await take(second)
    assert (second.rows(), await findings(second)) == ([], [])
    assert "LOST" not in await told_why(second)
