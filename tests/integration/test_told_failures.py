"""Failures are told, each once, whatever was skipped while the run went on and whoever leads meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, cast
from uuid import UUID

import psycopg
import pytest
from tests.integration.conftest import Stage, resource

from scheduledjobs.core.resource import Resource, ResourceMeta
from scheduledjobs.kube.client import KubeClient
from scheduledjobs.steps.report import ROUTINE_SECONDS, Report
from scheduledjobs.store.queries import Row


class Statuses:
    """An API server that takes every status of the one job."""

    def __init__(self) -> None:
        self.newest: dict[str, Any] = {}
        self.version = 1

    async def request(self, verb: str, _path: str, *, body: list[dict[str, Any]], **_: Any) -> dict[str, Any]:
        assert verb == "PATCH"
        self.newest = body[-1]["value"]
        self.version += 1
        return {"metadata": {"resourceVersion": str(self.version)}}


@dataclass
class Term:
    """The statuses of a term, and what is told of failures in it."""

    stage: Stage
    job: Resource
    api: Statuses = field(default_factory=Statuses)
    told: list[datetime] = field(default_factory=list)
    now: float = 1000.0
    report: Report = field(init=False)

    def tell(self, meta: ResourceMeta, row: Row) -> None:
        assert meta.uid == self.job.meta.uid
        self.told.append(row["last_run_fire_time"])

    @asynccontextmanager
    async def begun(self) -> AsyncIterator[None]:
        """A leader that sees the resource as it is now."""
        meta = replace(self.job.meta, resource_version=self.api.version)
        async with self.stage.leader() as leader:
            kube = cast("KubeClient", self.api)
            self.report = Report(leader, kube, self.stage.specs, self.tell, lambda: self.now)
            self.report.see(replace(self.job, meta=meta, status=self.api.newest))
            await self.step()
            yield

    async def step(self) -> None:
        self.now += ROUTINE_SECONDS
        await self.report.step()

    async def begin(self, skips: int) -> tuple[UUID, dict[str, Any]]:
        """Begin a run that skips as many moments; return who runs it, and the claim."""
        self.stage.tick(hours=1)
        await self.stage.fire()
        (claimed,) = await self.stage.claim(replica := await self.stage.replica())
        for _ in range(skips):
            self.stage.tick(hours=1)
            await self.stage.fire()
        await self.step()
        return replica, claimed

    async def run(self, state: str = "FAILED", *, skips: int = 3) -> datetime:
        """Begin a run and end it as `state`; return its fire time."""
        replica, claimed = await self.begin(skips)
        assert await self.stage.complete(replica, claimed, state) == {claimed["id"]: state}
        await self.step()
        fire_time: datetime = claimed["fire_time"]
        return fire_time


@pytest.fixture
async def term(database: str) -> Term:
    stage, job = Stage(database), resource(fixedRate="1h")
    await stage.mirror(job)
    return Term(stage, job)


async def test_a_run_that_failed_is_told_though_it_skipped_moments(term: Term) -> None:
    """The newest row is one of these, and stays it: it is what lastExecution shows."""
    async with term.begun():
        failed = await term.run()
        assert term.api.newest["lastExecution"]["outcome"] == "Skipped"
        assert term.told == [failed]


@pytest.mark.parametrize("skips", [0, 2])
async def test_each_failure_is_told_once(term: Term, skips: int) -> None:
    async with term.begun():
        first = await term.run(skips=skips)
        term.report.mark([term.job.meta.uid])  # as where the watch has brought it
        await term.step()
        second = await term.run(skips=skips)
        await term.run("SUCCEEDED", skips=skips)
        third = await term.run(skips=skips)
        assert term.told == [first, second, third]


async def test_what_an_older_leader_has_told_is_not_told_again(term: Term) -> None:
    async with term.begun():
        first = await term.run()
    async with term.begun():
        assert term.told == [first]
        second = await term.run()
        assert term.told == [first, second]


async def test_what_failed_while_nobody_led_is_told(term: Term) -> None:
    async with term.begun():
        replica, claimed = await term.begin(skips=2)
    await term.stage.complete(replica, claimed, "FAILED")
    async with term.begun():
        assert term.told == [claimed["fire_time"]]


async def test_a_failure_is_told_though_as_many_are_counted_as_before(term: Term) -> None:
    """Beyond a bound they are not counted, and old ones go with their day."""
    async with term.begun():
        first = await term.run()
        replica, claimed = await term.begin(skips=2)
        with psycopg.connect(term.stage.url, autocommit=True) as conn:
            conn.execute("UPDATE job_execution_log SET state = 'CANCELLED' WHERE state = 'FAILED'")
        await term.stage.complete(replica, claimed, "FAILED")
        await term.step()
        assert term.api.newest["consecutiveFailures"] == 1
        assert term.told == [first, claimed["fire_time"]]


async def test_a_failure_is_told_once_though_its_code_returns_later(term: Term) -> None:
    async with term.begun():
        replica, claimed = await term.begin(skips=0)
        await term.stage.complete(replica, claimed, "TIMED_OUT", abandoned=True)
        await term.step()
        term.stage.tick(minutes=20)
        await term.stage.return_code(replica, claimed)
        await term.step()
        assert term.told == [claimed["fire_time"]]
        assert await term.run(skips=0) == term.told[-1]
