"""What is late is made up without delaying what is on time, however much it is."""

from __future__ import annotations

from itertools import pairwise
from types import ModuleType
from typing import Any

import pytest
from tests.integration.conftest import Stage, resource
from tests.integration.test_fire import UNREADABLE, names_of, write_spec
from tests.integration.test_mirror import mirroring
from tests.integration.test_rules import SECOND

from scheduledjobs.core.decide import AT_ONCE
from scheduledjobs.core.resource import Resource
from scheduledjobs.steps import fire, mirror_batch
from scheduledjobs.steps.inbox import Inbox, Seen
from scheduledjobs.steps.record import record
from scheduledjobs.steps.specs import Specs

BUSY = {"fixedRate": "1s", "misfire": {"grace": "24h"}, "concurrencyPolicy": "Allow"}


def few_loaded(monkeypatch: pytest.MonkeyPatch, most: int = 5) -> None:
    """Make a herd of a few jobs one that is larger than a look-ahead."""
    monkeypatch.setattr(fire, "MOST_LOADED", most)
    monkeypatch.setattr(fire, "MOST_LATE", most)
    monkeypatch.setattr(fire, "LATE_ROWS", most)


async def herd(stage: Stage, count: int, **changes: Any) -> None:
    """Some jobs that were due three hours ago, and one that is due now."""
    await stage.mirror(*[resource(f"old-{number:02}", fixedRate="3h", **changes) for number in range(count)])
    stage.tick(hours=5, minutes=59)
    await stage.mirror(resource("prompt", fixedRate="30s"))
    stage.tick(seconds=31)


@pytest.mark.parametrize("may_fire_old", [True, False])
async def test_a_herd_larger_than_the_look_ahead_delays_nothing_that_is_on_time(
    stage: Stage,
    monkeypatch: pytest.MonkeyPatch,
    may_fire_old: bool,  # noqa: FBT001
) -> None:
    few_loaded(monkeypatch)
    await herd(stage, 20)
    async with stage.firing(may_fire_old=may_fire_old) as step:
        await step.step()
        assert names_of(stage) == ["prompt"]
        waits = [await step.step() for _ in range(20)]
    assert waits[-1] > 0  # neither is a herd that may not fire yet looked at again and again
    assert len(names_of(stage)) == (21 if may_fire_old else 1)


async def test_a_herd_late_by_less_than_its_grace_delays_nothing_that_is_on_time(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    few_loaded(monkeypatch)
    await herd(stage, 20, misfire={"grace": "24h"})
    async with stage.firing(may_fire_old=False) as step:
        await step.step()
        assert names_of(stage) == ["prompt"]
        while await step.step() == 0.0:
            pass
    assert len(names_of(stage)) == 21
    assert {row["trigger"] for row in stage.rows()} == {"SCHEDULE"}


async def test_many_moments_within_the_grace_are_fired_a_bounded_number_at_a_time(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = counted(monkeypatch, fire)
    await stage.mirror(resource("busy", **BUSY))
    stage.tick(minutes=59)
    await stage.mirror(resource("prompt", fixedRate="30s"))
    stage.tick(seconds=31)
    await stage.fire()
    fire_times = [row["fire_time"] for row in stage.rows() if row["job_name"] == "busy"]
    assert len(set(fire_times)) == len(fire_times) >= 59 * 60 + 31
    assert written[0] == 1  # what is on time goes first
    assert max(written) == AT_ONCE


def counted(monkeypatch: pytest.MonkeyPatch, step: ModuleType) -> list[int]:
    """Return a list to which each transaction of a step adds how many rows it writes."""
    written: list[int] = []

    async def counting(*args: Any) -> Any:
        inserted = await record(*args)
        written.append(len(inserted))
        return inserted

    monkeypatch.setattr(step, "record", counting)
    return written


def edited(job: Resource, **changes: Any) -> Resource:
    return resource(job.meta.name, uid=job.meta.uid, generation=2, **{**BUSY, **changes})


@pytest.mark.parametrize("changes", [{"fixedRate": "1h"}, {"suspend": True}], ids=lambda changes: next(iter(changes)))
async def test_a_change_counts_once_all_that_was_due_before_it_is_decided_in_parts(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    written = counted(monkeypatch, mirror_batch)
    busy = resource("busy", **BUSY)
    await stage.mirror(busy)
    stage.tick(minutes=59)
    await stage.mirror(edited(busy, **changes), resource("other", fixedRate="1h"))
    assert max(written) == AT_ONCE
    told = [[found.meta.name for found, _ in each.jobs.values()] for each in stage.written[1:]]
    assert told == [["other"], [], [], ["busy"]]  # it alone waits
    (new,) = stage.rows("SELECT recorded_at, effective_from FROM job_definition_version WHERE version = 2")
    rows = stage.rows()
    assert {(row["state"], row["version"]) for row in rows} == {("PENDING", 1)}
    fire_times = [row["fire_time"] for row in rows]
    assert {later - at for at, later in pairwise(fire_times)} == {SECOND}
    assert new["recorded_at"] - SECOND <= fire_times[-1] < new["recorded_at"]
    if "fixedRate" in changes:
        assert new["effective_from"] == new["recorded_at"]


async def test_the_changes_of_a_transaction_share_what_it_may_write(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror_batch, "AT_ONCE", 10)
    written = counted(monkeypatch, mirror_batch)
    jobs = [resource(f"busy-{number}", **BUSY) for number in range(3)]
    await stage.mirror(*jobs)
    stage.tick(seconds=30)
    await stage.mirror(*[edited(job, fixedRate="1h") for job in jobs])
    assert max(written) == 12  # and one of each of the others, so that each of them moves on
    assert {row["version"] for row in stage.rows("SELECT version FROM job_definition")} == {2}
    assert sum(written) == len(stage.rows()) >= 90


async def test_nobody_waits_for_a_change_that_waits_for_what_was_due_before_it(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as it waits, the old moments of other jobs would."""
    monkeypatch.setattr(mirror_batch, "AT_ONCE", 10)
    busy = resource("busy", **BUSY)
    await stage.mirror(busy)
    stage.tick(seconds=30)
    inbox, left = Inbox(), list[int]()
    inbox.put(Seen(edited(busy, fixedRate="1h")))
    inbox.once_mirrored(lambda: left.append(len(inbox)))
    async with mirroring(stage, inbox, []) as mirror:
        assert await mirror.step() == 0.0
    assert left == [1]


async def test_jobs_that_cannot_be_read_do_not_stand_before_a_backlog(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    few_loaded(monkeypatch)
    await herd(stage, 20)
    for number in range(15, 20):
        write_spec(stage, f"old-{number}", UNREADABLE)
    failed: list[str] = []
    stage.on_failed = lambda job, _error: failed.append(job.name)
    stage.specs = Specs()
    await stage.fire()
    assert names_of(stage) == [*(f"old-{number:02}" for number in range(15)), "prompt"]
    assert sorted(failed) == [f"old-{number}" for number in range(15, 20)]
