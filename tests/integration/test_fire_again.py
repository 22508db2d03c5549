"""A job that cannot be fired is tried again, less and less often, until it is changed or works."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest
from tests.integration.conftest import Stage, resource

from scheduledjobs.core.decide import decide_if_due
from scheduledjobs.core.job import Decision
from scheduledjobs.steps import fire
from scheduledjobs.steps.clock import Clock
from scheduledjobs.steps.fire import Fire

DUE_ANEW = """
UPDATE job_definition
SET next_fire_at = last_fire_time + interval '1 second', next_due_at = last_fire_time + interval '1 second'
"""


class Trial:
    """A job whose moment cannot be decided before it is mended, and the leader's time in the test's hand."""

    def __init__(self) -> None:
        self.step: Fire
        self.seconds = 0.0
        self.tried: list[float] = []
        self.is_mended = False

    def decide(self, *args: Any) -> Decision | None:
        self.tried.append(self.seconds)
        if not self.is_mended:
            raise OverflowError("date value out of range")
        return decide_if_due(*args)

    async def until(self, seconds: float) -> None:
        """Let time pass, ten seconds a step."""
        while self.seconds < seconds:
            self.seconds += 10
            await self.step.step()


@asynccontextmanager
async def failing(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Trial]:
    """A job that was tried once, at 0 seconds, when its moment was just due."""
    trial, stage.on_failed = Trial(), lambda *_: None
    clock = Clock(lambda: trial.seconds)
    monkeypatch.setattr(fire, "decide_if_due", trial.decide)
    await stage.mirror(resource(fixedRate="1h"))
    stage.tick(hours=1, seconds=2)
    clock.sample(float(int((await stage.now()).timestamp())))  # whole seconds, which add up to just what they are
    async with stage.firing() as trial.step:
        monkeypatch.setattr(trial.step, "_clock", clock)
        await trial.step.step()
        yield trial


async def test_a_job_that_cannot_be_fired_is_tried_after_twice_as_long_each_time_up_to_five_minutes(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with failing(stage, monkeypatch) as trial:
        await trial.until(1100)
    assert trial.tried == [0, 30, 90, 210, 450, 750, 1050]


async def test_that_a_job_could_not_be_fired_is_forgotten_once_it_was(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with failing(stage, monkeypatch) as trial:
        await trial.until(100)
        trial.is_mended = True
        await trial.until(210)
        assert [row["state"] for row in stage.rows()] == ["PENDING"]
        trial.is_mended = False
        with psycopg.connect(stage.url, autocommit=True) as conn:
            conn.execute(DUE_ANEW)
        await trial.until(250)
    assert trial.tried == [0, 30, 90, 210, 220, 250]


async def test_a_job_that_was_changed_is_tried_at_once(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    async with failing(stage, monkeypatch) as trial:
        await trial.until(100)
        await trial.step.reload([stage.job()["id"]])
        await trial.step.step()
        await trial.until(350)
    assert trial.tried == [0, 30, 90, 100, 340]
