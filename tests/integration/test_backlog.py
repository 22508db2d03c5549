"""What is late is made up without delaying what is on time, however much it is."""

from __future__ import annotations

from typing import Any

import pytest
from tests.integration.conftest import Stage, resource
from tests.integration.test_fire import UNREADABLE, names_of, write_spec

from scheduledjobs.core.decide import AT_ONCE
from scheduledjobs.steps import fire
from scheduledjobs.steps.record import record
from scheduledjobs.steps.specs import Specs


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
    written: list[int] = []

    async def counted(*args: Any) -> Any:
        inserted = await record(*args)
        written.append(len(inserted))
        return inserted

    monkeypatch.setattr(fire, "record", counted)
    await stage.mirror(resource("busy", fixedRate="1s", misfire={"grace": "24h"}, concurrencyPolicy="Allow"))
    stage.tick(minutes=59)
    await stage.mirror(resource("prompt", fixedRate="30s"))
    stage.tick(seconds=31)
    await stage.fire()
    fire_times = [row["fire_time"] for row in stage.rows() if row["job_name"] == "busy"]
    assert len(set(fire_times)) == len(fire_times) >= 59 * 60 + 31
    assert written[0] == 1  # what is on time goes first
    assert max(written) == AT_ONCE


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
