"""An API server that answers slowly: a pass that tells it of statuses ends all the same, and none is forgotten."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from tests.integration.conftest import Stage, resource

from scheduledjobs.kube.client import KubeClient
from scheduledjobs.steps.loop import PATIENCE_SECONDS
from scheduledjobs.steps.report import Report

PATCH_SECONDS = 5.0
JOBS = 25


class Slow:
    """Takes five seconds for each patch, by the clock of the test."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.patched: list[str] = []

    async def request(self, verb: str, path: str, **_: Any) -> dict[str, Any]:
        assert verb == "PATCH"
        self.now += PATCH_SECONDS
        self.patched.append(path.split("/")[-2])
        return {"metadata": {"resourceVersion": str(len(self.patched) + 1)}}


class Telling:
    """The statuses of 25 new jobs, about to be told."""

    def __init__(self, report: Report, api: Slow) -> None:
        self.report, self.api = report, api
        self.is_trusted_until = float("inf")

    async def step(self) -> float:
        """Make a pass; return how long it took."""
        began = self.api.now
        await self.report.step()
        return self.api.now - began


@pytest.fixture
async def telling(database: str) -> AsyncIterator[Telling]:
    stage, api = Stage(database), Slow()
    jobs = [resource(f"job-{number}", fixedRate="1h") for number in range(JOBS)]
    await stage.mirror(*jobs)
    async with stage.leader() as leader:
        report = Report(leader, cast("KubeClient", api), stage.specs, lambda *_: None, lambda: api.now)
        found = Telling(report, api)
        leader.is_trusted = lambda: api.now < found.is_trusted_until
        for job in jobs:
            report.see(job)
        yield found


async def test_a_pass_ends_in_time_and_the_rest_is_told_in_later_ones(telling: Telling) -> None:
    """Or the loop counts as standing still, and a leader that only waits is killed."""
    passes = [await telling.step()]
    assert 0 < passes[0] < PATIENCE_SECONDS / 2
    while telling.report.waiting and len(passes) < JOBS:
        passes.append(await telling.step())
    assert max(passes) < PATIENCE_SECONDS / 2
    assert sorted(telling.api.patched) == sorted(f"job-{number}" for number in range(JOBS))


async def test_a_leader_that_does_not_trust_its_lease_any_more_ends_its_pass(telling: Telling) -> None:
    telling.is_trusted_until = telling.api.now + PATCH_SECONDS
    await telling.step()
    assert len(telling.api.patched) == 1
    assert telling.report.waiting == JOBS - 1
