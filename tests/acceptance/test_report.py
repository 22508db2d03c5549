"""A job changes while its status is being told: what is told next is what it is then, and no change is forgotten."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
from dev.controlplane import ControlPlane
from tests.integration.conftest import Stage, resource

from scheduledjobs.core.resource import Resource
from scheduledjobs.errors import StoreBusy
from scheduledjobs.kube.client import KubeClient, open_client
from scheduledjobs.kube.listing import get_resource
from scheduledjobs.steps import report
from scheduledjobs.steps.dirty import Dirty
from scheduledjobs.steps.report import Report
from scheduledjobs.store.executions import return_abandoned
from scheduledjobs.store.queries import Row
from scheduledjobs.store.sessions import Connection, connect


class Meanwhile:
    """Asks the API server, and lets something else happen once while a patch is on its way there."""

    def __init__(self, kube: KubeClient) -> None:
        self.kube = kube
        self.happens: Callable[[], Any] | None = None

    async def request(self, verb: str, path: str, **asked: Any) -> dict[str, Any]:
        happens, self.happens = (self.happens, None) if verb == "PATCH" else (None, self.happens)
        if happens is not None:
            await happens()
        return await self.kube.request(verb, path, **asked)


class Telling:
    """A job, and the statuses of a term that knows it."""

    def __init__(self, cluster: ControlPlane, namespace: str, stage: Stage, kube: Meanwhile) -> None:
        self.cluster, self.namespace, self.stage, self.kube = cluster, namespace, stage, kube
        self.now = 1000.0
        self.report: Report

    async def read(self) -> Resource:
        found = await get_resource(cast("KubeClient", self.kube.kube), self.namespace, "job")
        assert found is not None
        return found

    async def mirror(self, resource: Resource) -> None:
        """Take it in as the leader does."""
        self.report.see(resource)
        await self.stage.mirror(resource)
        self.report.know(resource)

    async def step(self) -> None:
        self.now += 1.0
        await self.report.step()

    async def edit(self, **spec: Any) -> Resource:
        """Change the spec with kubectl; return the resource as it is then."""
        patch = json.dumps({"spec": spec})
        self.cluster.kubectl("patch", "scheduledjob", "job", "-n", self.namespace, "--type=merge", "-p", patch)
        return await self.read()

    async def fire(self) -> dict[str, Any]:
        """Fire the moment of the next hour, as the leader does, and claim it; return the claim."""
        self.stage.tick(hours=1)
        await self.stage.fire()
        self.report.fired([self.stage.job()["id"]])
        (claimed,) = await self.stage.claim(replica := await self.stage.replica())
        return {**claimed, "claimed_by": replica}

    async def status(self) -> dict[str, Any]:
        return dict((await self.read()).status)


@asynccontextmanager
async def telling(cluster: ControlPlane, namespace: str, stage: Stage) -> Any:
    body = {
        "apiVersion": "scheduledjobs.dev/v1",
        "kind": "ScheduledJob",
        "metadata": {"name": "job", "namespace": namespace},
        "spec": {"handler": "log", "fixedRate": "1h"},
    }
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(body))
    async with open_client() as kube, stage.leader() as leader:
        found = Telling(cluster, namespace, stage, Meanwhile(kube))
        client = cast("KubeClient", found.kube)
        found.report = Report(leader, client, stage.specs, lambda *_: None, lambda: found.now)
        await found.mirror(await found.read())
        yield found


@pytest.fixture(autouse=True)
def kubeconfig(cluster: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))


@pytest.fixture
def stage(database: str) -> Stage:
    return Stage(database)


async def test_a_change_that_comes_while_a_status_is_on_its_way_is_told_after_it(
    cluster: ControlPlane, namespace: str, stage: Stage
) -> None:
    async with telling(cluster, namespace, stage) as found:
        edited = await found.edit(suspend=True)
        found.report.see(edited)  # so the patch of what SQL says of the version before is made onto this one, and lands

        async def mirrored() -> None:
            await stage.mirror(edited)
            found.report.know(edited)

        found.kube.happens = mirrored
        await found.step()
        assert (await found.status())["suspended"] is False
        await found.step()
        assert (await found.status())["suspended"] is True
        assert found.report.waiting == 0


async def test_a_change_that_comes_after_its_row_was_read_is_told_all_the_same(
    cluster: ControlPlane, namespace: str, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with telling(cluster, namespace, stage) as found:
        await found.step()
        assert found.report.waiting == 0
        load = report.load_status

        async def load_and_change(*args: Any) -> list[Row]:
            rows = await load(*args)
            monkeypatch.setattr(report, "load_status", load)
            await found.mirror(await found.edit(suspend=True))
            return rows

        found.report.mark([stage.job()["id"]])
        monkeypatch.setattr(report, "load_status", load_and_change)
        await found.step()
        await found.step()
        assert (await found.status())["suspended"] is True
        assert found.report.waiting == 0


async def test_statuses_that_are_right_are_gone_through_quickly_and_only_they(
    cluster: ControlPlane, namespace: str, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new leader knows nothing of 100,000 statuses; at the pace of patches it would look at them for a quarter of an
    hour."""
    monkeypatch.setattr(report, "LOOKED_AT", 1)
    async with telling(cluster, namespace, stage) as found:
        job = stage.job()["id"]
        monkeypatch.setattr(report, "PATCHES_PER_SECOND", 4)
        assert await found.report.step() == 0.25  # one was patched
        found.now += 10
        found.report.mark([job])
        assert await found.report.step() == report.LEAST_PAUSE_SECONDS
        assert await found.report.step() == report.IDLE_SECONDS  # there are no more
        monkeypatch.setattr(Report, "_is_pressing", lambda *_: False)
        found.report.mark([job])
        found.report._known[job].status = b"{}"
        assert await found.report.step() == report.EVERY_SECONDS  # put off, as most are where much is fired


async def test_little_is_kept_of_a_status(cluster: ControlPlane, namespace: str, stage: Stage) -> None:
    """orjson's bytes keep the 4 KiB in which they were written, which is 400 MB of 100,000 jobs."""
    async with telling(cluster, namespace, stage) as found:
        await found.step()
        resource = await found.read()
        others = [replace(resource, meta=replace(resource.meta, uid=uuid4())) for _ in range(500)]
        tracemalloc.start()
        for other in others:
            found.report.see(other)
        kept, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert kept / len(others) < 1500


async def test_a_status_keeps_no_spec(cluster: ControlPlane, namespace: str, stage: Stage) -> None:
    async with telling(cluster, namespace, stage) as found:
        await found.step()
        job = stage.job()
        assert (await found.status())["schedule"] == "every 1h"
        assert stage.specs.known(job["id"], job["version"]) is None


async def test_an_end_is_told_whoever_wrote_it(cluster: ControlPlane, namespace: str, stage: Stage) -> None:
    async with telling(cluster, namespace, stage) as found:
        claimed = await found.fire()
        await found.step()
        assert (await found.status())["active"] == 1
        await stage.complete(claimed["claimed_by"], claimed)
        await found.step()
        status = await found.status()
        assert (status["active"], status["lastExecution"]["outcome"]) == (0, "Succeeded")


async def test_an_execution_is_told_that_came_and_went_between_two_looks(
    cluster: ControlPlane, namespace: str, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its status was made while it ran, after one look, and it had ended before the next one."""
    async with telling(cluster, namespace, stage) as found:
        find = report.find_live_jobs
        claimed: dict[str, Any] = {}

        async def find_and_fire(*args: Any) -> Any:
            monkeypatch.setattr(report, "find_live_jobs", find)
            live = await find(*args)
            claimed.update(await found.fire())
            return live

        monkeypatch.setattr(report, "find_live_jobs", find_and_fire)
        await found.step()
        assert (await found.status())["active"] == 1
        await stage.complete(claimed["claimed_by"], claimed)
        await found.step()
        assert (await found.status())["lastExecution"]["outcome"] == "Succeeded"
        assert found.report.waiting == 0


async def test_one_of_two_that_ends_while_another_begins_is_told(
    cluster: ControlPlane, namespace: str, stage: Stage
) -> None:
    """As many are live as before."""
    async with telling(cluster, namespace, stage) as found:
        await found.edit(concurrencyPolicy="Allow")
        await found.mirror(await found.read())
        first = await found.fire()
        await found.step()
        await stage.complete(first["claimed_by"], first)
        await found.fire()
        found.report._fired.clear()  # as where the leader before inserted it
        found.report._dirty = Dirty()
        await found.step()
        assert (await found.status())["lastExecution"]["outcome"] == "Succeeded"


async def test_an_end_is_told_whose_code_goes_on(cluster: ControlPlane, namespace: str, stage: Stage) -> None:
    """A timeout that its handler does not heed: it counts as live until the code returns, which may be never."""
    async with telling(cluster, namespace, stage) as found:
        claimed = await found.fire()
        await found.step()
        await stage.complete(claimed["claimed_by"], claimed, "TIMED_OUT", abandoned=True)
        await found.step()
        status = await found.status()
        assert (status["active"], status["lastExecution"]["outcome"]) == (1, "TimedOut")


async def test_an_end_is_told_while_another_whose_code_went_on_is_tried_again(
    cluster: ControlPlane, namespace: str, stage: Stage
) -> None:
    """As many are over but for their code as before, as many are live, and the newest of them is the same."""
    async with telling(cluster, namespace, stage) as found:
        await found.edit(concurrencyPolicy="Allow", retry={"limit": 1})
        await found.mirror(await found.read())
        first = await found.fire()
        await stage.complete(first["claimed_by"], first, "TIMED_OUT", abandoned=True)
        second = await found.fire()
        await found.fire()
        await found.step()
        await found.step()
        assert (await found.status())["lastExecution"]["id"] == str(first["id"])
        await stage.complete(second["claimed_by"], second, "TIMED_OUT", abandoned=True)
        async with connect(stage.url, "test") as conn:
            again = {**{key: first[key] for key in ("id", "fire_time", "claim_no", "job_id")}, "retry_seconds": 60.0}
            assert await return_abandoned(conn, first["claimed_by"], [again])
        found.now += report.ROUTINE_SECONDS
        await found.step()
        assert (await found.status())["lastExecution"]["id"] == str(second["id"])


async def test_a_status_that_takes_too_long_to_read_holds_up_no_other(
    cluster: ControlPlane, namespace: str, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = report.load_status
    heavy = [uuid4() for _ in range(3)]

    async def load_slowly(conn: Any, ids: list[UUID]) -> list[Row]:
        if set(ids) & set(heavy):
            raise StoreBusy("canceling statement due to statement timeout")
        return await load(conn, ids)

    async with telling(cluster, namespace, stage) as found:
        for number, uid in enumerate(heavy):
            found.report.see(resource(f"heavy-{number}", uid=uid))
        found.report._dirty = Dirty()
        found.report.mark([*heavy, stage.job()["id"]])
        with monkeypatch.context() as patch:
            patch.setattr(report, "load_status", load_slowly)
            for _ in range(10):
                with suppress(StoreBusy):
                    await found.step()
        assert (await found.status())["schedule"] == "every 1h"
        assert found.report.waiting == len(heavy)
        found.now += report.REFUSED_SECONDS
        for _ in range(5):
            await found.step()
        assert found.report.waiting == 0


async def test_what_a_lost_commit_brings_late_is_told(cluster: ControlPlane, namespace: str, stage: Stage) -> None:
    async with telling(cluster, namespace, stage) as found:
        found.report.fired([stage.job()["id"]], unheard=True)
        for _ in range(10):
            await found.step()
        stage.tick(hours=1)
        await stage.fire()
        (claimed,) = await stage.claim(replica := await stage.replica())
        await stage.complete(replica, claimed)
        await found.step()
        assert (await found.status())["lastExecution"]["outcome"] == "Succeeded"


async def test_a_look_that_took_long_is_not_the_last_one_for_long(
    cluster: ControlPlane, namespace: str, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with telling(cluster, namespace, stage) as found:
        find = report.find_live_jobs

        async def find_slowly(*args: Any) -> Any:
            monkeypatch.setattr(report, "find_live_jobs", find)
            live = await find(*args)
            found.now += 3.0
            return live

        claimed = await found.fire()
        monkeypatch.setattr(report, "find_live_jobs", find_slowly)
        await found.step()
        await stage.complete(claimed["claimed_by"], claimed)
        for _ in range(6):
            await found.step()
        assert (await found.status())["lastExecution"]["outcome"] == "Succeeded"


async def test_a_look_that_does_not_end_in_time_holds_up_no_status(
    cluster: ControlPlane, namespace: str, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with telling(cluster, namespace, stage) as found:
        find, looks = report.find_live_jobs, 0

        async def find_too_slowly(conn: Connection) -> Any:
            nonlocal looks
            looks += 1
            found.now += 4.0
            await conn.execute("SET statement_timeout = '1ms'")
            try:
                await conn.execute("SELECT pg_sleep(10)")
            finally:
                await conn.execute("RESET statement_timeout")

        monkeypatch.setattr(report, "find_live_jobs", find_too_slowly)  # from the term's first look on
        claimed = await found.fire()
        await found.step()
        assert (await found.status())["active"] == 1
        await found.mirror(await found.edit(suspend=True))
        for _ in range(4):
            await found.step()
        assert (await found.status())["suspended"] is True
        assert looks == 1  # nor is it tried at once again
        await stage.complete(claimed["claimed_by"], claimed)
        found.report._fired.clear()  # as of what another leader has fired
        monkeypatch.setattr(report, "find_live_jobs", find)
        found.now += report.ROUTINE_SECONDS
        await found.step()
        assert (await found.status())["lastExecution"]["outcome"] == "Succeeded"


async def test_nothing_is_looked_for_while_nothing_can_have_ended(
    cluster: ControlPlane, namespace: str, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    find = report.find_live_jobs

    async def count(*args: Any) -> Any:
        nonlocal looks
        looks += 1
        return await find(*args)

    monkeypatch.setattr(report, "find_live_jobs", count)
    async with telling(cluster, namespace, stage) as found:
        for _ in range(30):
            await found.step()
        assert 30 / report.IDLE_SECONDS <= looks <= 30 / report.IDLE_SECONDS + 2
