"""What a leader asks of the API server each second, and what it sees of others that write to its Lease."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, cast

import pytest
from dev.controlplane import ControlPlane

from scheduledjobs.core.lease import LeaseView
from scheduledjobs.errors import KubeUnavailable, StoreUnavailable
from scheduledjobs.kube.client import KubeClient, open_client
from scheduledjobs.kube.lease import LeaseDoor
from scheduledjobs.settings import Settings
from scheduledjobs.steps import elect
from scheduledjobs.steps.elect import Elect
from scheduledjobs.steps.loop import keep
from scheduledjobs.store.leadership import Leader
from scheduledjobs.store.sessions import Sessions

NAME = "lease"


class Counted:
    """Asks the API server, and notes the verbs."""

    def __init__(self, kube: KubeClient) -> None:
        self.kube = kube
        self.verbs: list[str] = []
        self.on_answer: Callable[[], None] = lambda: None

    async def request(self, verb: str, path: str, **asked: Any) -> dict[str, Any]:
        self.verbs.append(verb)
        found = await self.kube.request(verb, path, **asked)
        self.on_answer()
        return found


class Candidate:
    """A replica's part in the election; each pass is a step of the test."""

    def __init__(
        self,
        kube: Counted,
        sessions: Sessions,
        cluster: ControlPlane,
        namespace: str,
        url: str,
        lease_seconds: float = 6.0,
    ) -> None:
        self.kube, self.cluster, self.namespace = kube, cluster, namespace
        self.heard: list[tuple[bool, str]] = []
        self.leads, self.tidies, self.may_end = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.may_end.set()
        self.has_tidied = False
        door = LeaseDoor(cast("KubeClient", kube), namespace, NAME)
        self.passed = 0.0
        self.clock: Callable[[], float] = time.monotonic
        self.elect = Elect(door, sessions, url, "me", self._lead, lease_seconds, self._hear, monotonic=self._monotonic)

    def _monotonic(self) -> float:
        return self.clock() + self.passed

    def _hear(self, is_held: bool, holder: str, _: float) -> None:  # noqa: FBT001 the election's signature
        self.heard.append((is_held, holder))

    async def _lead(self, _: Leader) -> None:
        self.leads.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.tidies.set()
            await self.may_end.wait()
            self.has_tidied = True

    async def step(self) -> list[str]:
        """Make one pass; return what was asked of the API server in it."""
        self.kube.verbs.clear()
        await self.elect.step()
        return list(self.kube.verbs)

    def write(self, **changes: Any) -> None:
        """Write to the Lease with kubectl."""
        patch = json.dumps(changes)
        self.cluster.kubectl("patch", "lease", NAME, "-n", self.namespace, "--type=merge", "-p", patch)


@pytest.fixture
async def leading(
    cluster: ControlPlane, namespace: str, database: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Candidate]:
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
    async with candidate(cluster, namespace, database) as found:
        await found.step()
        assert found.elect.is_leader
        yield found


@asynccontextmanager
async def candidate(
    cluster: ControlPlane, namespace: str, url: str, lease_seconds: float = 6.0
) -> AsyncIterator[Candidate]:
    async with open_client() as kube, Sessions(url, "test", size=2) as sessions:
        found = Candidate(Counted(kube), sessions, cluster, namespace, url, lease_seconds)
        yield found
        await found.elect.step_down()


async def test_a_leader_renews_with_one_request(leading: Candidate) -> None:
    for _ in range(3):
        leading.heard.clear()
        assert await leading.step() == ["PATCH"]
        assert leading.heard == [(False, "me")]
        assert leading.elect.is_trusted()


async def test_a_leader_whose_lease_somebody_wrote_to_looks_and_renews_in_the_same_pass(leading: Candidate) -> None:
    leading.write(metadata={"annotations": {"looked-at": "by a person"}})
    assert await leading.step() == ["PATCH", "GET", "PATCH"]
    assert leading.elect.is_leader
    assert await leading.step() == ["PATCH"]


async def test_a_leader_whose_lease_another_took_steps_down_in_the_same_pass(leading: Candidate) -> None:
    leading.write(spec={"holderIdentity": "another"})
    assert await leading.step() == ["PATCH", "GET", "GET"]  # the last one is made to release what may still be ours
    assert not leading.elect.is_leader
    assert leading.heard[-1] == (True, "another")
    assert not leading.elect.is_trusted()


async def test_an_election_that_is_told_to_end_while_a_term_ends_does_and_the_term_ends_whole(
    leading: Candidate,
) -> None:
    """Or SIGTERM, which may come at any time, ends nothing: the loop goes on, and may take the Lease again."""
    await asyncio.wait_for(leading.leads.wait(), 5)
    leading.may_end.clear()
    leading.write(spec={"holderIdentity": "another"})
    loop = asyncio.create_task(keep("elect", leading.elect.step, every_seconds=60))
    try:
        await asyncio.wait_for(leading.tidies.wait(), 5)
        loop.cancel()
        await asyncio.wait({loop}, timeout=5)
        assert loop.cancelled()
        stepping_down = asyncio.create_task(leading.elect.step_down())
        await asyncio.sleep(0)
    finally:
        leading.may_end.set()
        loop.cancel()
    await asyncio.wait_for(stepping_down, 5)
    assert leading.has_tidied


async def test_a_leader_whose_lease_was_deleted_looks_before_it_writes_again(leading: Candidate) -> None:
    leading.cluster.kubectl("delete", "lease", NAME, "-n", leading.namespace)
    with pytest.raises(Exception, match="not found"):
        await leading.step()
    assert (await leading.step())[0] == "GET"


async def test_a_lease_that_went_back_ends_the_term(leading: Candidate) -> None:
    """As after a restore of etcd: what is there is older than what this replica has written."""
    leading.write(spec={"leaseTransitions": 0})
    assert (await leading.step())[:2] == ["PATCH", "GET"]
    assert leading.elect.was_restored


async def test_a_leader_that_has_heard_nothing_of_postgres_looks_before_it_writes(
    leading: Candidate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have to give the Lease up, and who loses sight of the Lease must end what it runs."""
    with monkeypatch.context() as patch:
        patch.setattr(elect, "read_seat", unavailable)
        assert await leading.step() == ["PATCH"]
        assert await leading.step() == ["GET", "PATCH"]
    assert await leading.step() == ["GET", "PATCH"]
    assert await leading.step() == ["PATCH"]


async def test_a_leader_whose_renewals_take_long_needs_no_look_before_them(leading: Candidate) -> None:
    """One request more would make them late."""
    for _ in range(3):
        leading.passed += 2.5
        assert await leading.step() == ["PATCH"]


async def test_the_shortest_lease_is_trusted_without_a_break_though_each_answer_takes_its_time(
    cluster: ControlPlane, namespace: str, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else what a leader does only while it trusts itself would stop at each renewal: rescue, mirror, reports."""
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
    shortest = Settings.model_json_schema()["properties"]["lease_seconds"]["minimum"]
    async with candidate(cluster, namespace, database, shortest) as found:
        found.clock = lambda: 0.0
        await found.step()
        trusted = []

        def answer_late() -> None:
            found.passed += 0.99
            trusted.append(found.elect.is_trusted())

        found.kube.on_answer = answer_late
        for _ in range(3):
            found.passed += await found.elect.step()
            trusted.append(found.elect.is_trusted())
        found.kube.on_answer = lambda: None
    assert trusted == [True] * 6


async def test_postgres_does_not_seem_silent_because_the_api_server_is(
    leading: Candidate, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: Any, **__: Any) -> Any:
        raise KubeUnavailable("no answer")

    leading.passed += 3.0
    with monkeypatch.context() as patch:
        patch.setattr(leading.kube, "request", fail)
        for _ in range(4):
            with pytest.raises(KubeUnavailable):
                await leading.step()
            leading.passed += 2.0
    with monkeypatch.context() as patch:
        patch.setattr(elect, "read_seat", unavailable)  # for once, as if it were slow
        await leading.step()
    assert leading.elect.is_leader
    await leading.step()
    assert leading.elect.is_trusted()


async def test_a_renewal_that_another_holder_comes_back_from_is_none(
    leading: Candidate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a restore of etcd revisions are used again: another may have written under the one that we know."""
    renew = LeaseDoor.renew

    async def written_under_the_same_number(self: LeaseDoor, view: LeaseView, *args: Any) -> LeaseView:
        monkeypatch.setattr(LeaseDoor, "renew", renew)
        leading.write(spec={"holderIdentity": "another"})
        found = await self.read()
        assert found is not None
        return await renew(self, replace(view, resource_version=found.resource_version), *args)

    monkeypatch.setattr(LeaseDoor, "renew", written_under_the_same_number)
    await leading.step()
    assert not leading.elect.is_leader
    assert not leading.elect.is_trusted()
    assert leading.heard[-1] == (True, "another")


async def unavailable(*_: Any) -> Any:
    raise StoreUnavailable("no answer")
