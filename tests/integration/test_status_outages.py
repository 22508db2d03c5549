"""One namespace's statuses meet an outage of their own, as of its admission webhook: no other waits for them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from typing import Any, cast
from uuid import UUID

import pytest
from structlog.testing import capture_logs
from tests.integration.conftest import Stage, resource

from scheduledjobs.core.resource import Resource
from scheduledjobs.errors import Forbidden, KubeError, KubeUnavailable
from scheduledjobs.kube.client import REQUEST_SECONDS, KubeClient
from scheduledjobs.logs import Seldom
from scheduledjobs.steps.loop import LONGEST_WAIT_SECONDS
from scheduledjobs.steps.report import EVERY_SECONDS, LOOKED_AT, PATCHES_PER_SECOND, ROUTINE_SECONDS, Report

HEALED_SECONDS = 10.0
"""How soon after an outage a status is what SQL says."""


class Statuses:
    """Takes statuses, but in some namespaces; by the clock of the test."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.down: set[str] = set()
        self.seconds = 0.0
        """How long a namespace that is down takes to say so."""

        self.hung = 0.0
        """How long those that are down took, in all."""

        self.slow: dict[str, float] = {}
        """How long a namespace takes for a status that it takes."""

        self.refusals: dict[str, KubeError] = {}
        """What a namespace that does not take any says, or of one job, as namespace/name."""

        self.fails_at = 0
        """The request that fails once."""

        self.asked: list[str] = []
        self.patched: list[str] = []
        self.patched_at = self.now

    async def request(self, verb: str, path: str, *, seconds: float = REQUEST_SECONDS, **_: Any) -> dict[str, Any]:
        assert verb == "PATCH"
        *_, namespace, _kind, name, _status = path.split("/")
        self.asked.append(namespace)
        if len(self.asked) == self.fails_at:
            raise KubeUnavailable(f"{verb} {path}: too many requests", 429)
        if (refusal := self.refusals.get(namespace) or self.refusals.get(f"{namespace}/{name}")) is not None:
            raise type(refusal)(f"{verb} {path}: {refusal}", refusal.status)
        if (slow := self.slow.get(namespace, 0.0)) >= seconds:
            self.now += seconds
            raise KubeUnavailable(f"{verb} {path}: TimeoutError")
        self.now += slow
        if namespace in self.down:
            self.now += min(seconds, self.seconds)
            self.hung += min(seconds, self.seconds)
            raise KubeUnavailable(f"{verb} {path}: failed calling webhook", 500)
        self.patched.append(f"{namespace}/{name}")
        self.patched_at = self.now
        return {"metadata": {"resourceVersion": str(len(self.asked) + 1)}}


class Counted(dict[UUID, Any]):
    """Counts how often one of them was looked up."""

    looked_up = 0

    def __getitem__(self, uid: UUID) -> Any:
        self.looked_up += 1
        return super().__getitem__(uid)

    def get(self, uid: UUID, default: Any = None) -> Any:
        self.looked_up += 1
        return super().get(uid, default)


class Telling:
    """The statuses of a term."""

    def __init__(self, stage: Stage, report: Report, api: Statuses, told: list[str]) -> None:
        self.stage, self.report, self.api, self.told = stage, report, api, told
        self.did_well = True

    async def mirror(self, *jobs: Resource) -> None:
        """Take new jobs in as the leader does."""
        await self.stage.mirror(*jobs)
        for job in jobs:
            self.report.know(job)

    async def step(self) -> bool:
        """Make a pass, half a second after the one before, a second after one that failed; return if it did well."""
        self.api.now += EVERY_SECONDS if self.did_well else LONGEST_WAIT_SECONDS
        self.did_well = False
        with suppress(KubeUnavailable, Forbidden):
            await self.report.step()
            self.did_well = True
        return self.did_well

    async def seconds_until_told(self, new: Resource, most: float = 120.0) -> float:
        """Mirror a new job; return how long it takes until its status is written, or so many seconds."""
        began, count = self.api.now, len(self.api.patched)
        await self.mirror(new)
        name = f"{new.meta.namespace}/{new.meta.name}"
        while name not in self.api.patched[count:] and self.api.now < began + most:
            await self.step()
        return self.api.patched_at - began if name in self.api.patched[count:] else most


@pytest.fixture
async def telling(database: str) -> AsyncIterator[Telling]:
    stage, api, told = Stage(database), Statuses(), list[str]()
    async with stage.leader() as leader:

        def tell(meta: Any, _row: Any) -> None:
            told.append(f"{meta.namespace}/{meta.name}")

        report = Report(leader, cast("KubeClient", api), stage.specs, tell, lambda: api.now)
        yield Telling(stage, report, api, told)


def job(namespace: str, name: str = "job", uid: UUID | None = None) -> Resource:
    """Make a new job of a namespace."""
    made = resource(name, uid=uid, fixedRate="1h")
    return replace(made, meta=replace(made.meta, namespace=namespace))


def jobs(namespace: str, count: int) -> list[Resource]:
    """Make new jobs of a namespace."""
    return [job(namespace, f"job-{number}") for number in range(count)]


@pytest.mark.parametrize("count", [1, 2 * LOOKED_AT], ids=["one job", "more than a pass looks at"])
async def test_a_namespace_whose_statuses_meet_an_outage_of_their_own_delays_no_other(
    telling: Telling, count: int
) -> None:
    telling.api.down = {"a"}
    await telling.mirror(*jobs("a", count))
    await telling.step()
    await telling.mirror(*jobs("b", 3))
    for _ in range(3):
        await telling.step()
    assert sorted(telling.api.patched) == ["b/job-0", "b/job-1", "b/job-2"]
    telling.api.down.clear()
    healed_at = telling.api.now
    while telling.report.waiting and telling.api.now < healed_at + HEALED_SECONDS:
        await telling.step()
    assert len(telling.api.patched) == 3 + count


async def test_a_failure_is_told_while_another_namespaces_statuses_meet_an_outage(telling: Telling) -> None:
    """One of the bad ones is the first, whichever way they are read."""
    made = [job(namespace, f"job-{uid}", UUID(int=uid)) for uid, namespace in enumerate("aba", start=1)]
    await telling.mirror(*made)
    while telling.report.waiting:
        await telling.step()
    telling.api.down = {"a"}
    telling.stage.tick(hours=1)
    await telling.stage.fire()
    replica = await telling.stage.replica()
    for claimed in await telling.stage.claim(replica):
        await telling.stage.complete(replica, claimed, "FAILED")
    telling.api.now += ROUTINE_SECONDS
    telling.report.fired([one.meta.uid for one in made])
    for _ in range(3):
        await telling.step()
    assert telling.told == ["b/job-2"]


async def test_a_namespace_whose_patches_hang_takes_a_part_of_the_time_alone(telling: Telling) -> None:
    """Nothing is patched beside one that hangs: it is not tried again at once, nor before what is new."""
    telling.api.down, telling.api.seconds = {"a"}, REQUEST_SECONDS
    await telling.mirror(*jobs("a", 3))
    began, number, longest = telling.api.now, 0, 0.0
    while telling.api.now < began + 120:
        await telling.mirror(job("b", f"new-{number}"))
        new_at = telling.api.now
        for _ in range(10):
            if len(telling.api.patched) == number:
                await telling.step()
        assert len(telling.api.patched) == number + 1
        longest = max(longest, telling.api.patched_at - new_at)
        number += 1
    assert longest <= REQUEST_SECONDS + EVERY_SECONDS + LONGEST_WAIT_SECONDS
    assert telling.api.asked.count("a") > 5
    assert telling.api.hung < 1 / 2 * (telling.api.now - began)


@pytest.mark.parametrize(
    ("count", "seconds", "first", "later"),
    [
        (2, REQUEST_SECONDS, 30.0, 11.0),
        (3, 3.0, 15.0, 4.0),
        (30, 0.0, 15.0, 1.0),
        (30, REQUEST_SECONDS, 90.0, 11.0),
    ],
    ids=["two hang", "three are slow to fail", "thirty fail at once", "thirty hang"],
)
async def test_namespaces_that_share_an_outage_hold_up_no_other(
    telling: Telling, count: int, seconds: float, first: float, later: float
) -> None:
    """As those that one webhook matches: each has to show it, and from then on one of them is tried now and then."""
    telling.api.down, telling.api.seconds = {f"bad-{number}" for number in range(count)}, seconds
    for namespace in sorted(telling.api.down):
        await telling.mirror(*jobs(namespace, 2))
    assert await telling.seconds_until_told(job("good")) <= first
    began, asked, hung = telling.api.now, len(telling.api.asked), telling.api.hung
    found = [await telling.seconds_until_told(job("good", f"new-{number}")) for number in range(40)]
    assert sorted(found)[len(found) // 2] <= EVERY_SECONDS
    assert sorted(found)[-5] <= later / 2
    assert max(found) <= later
    bad = [one for one in telling.api.asked[asked:] if one in telling.api.down]
    assert 0 < len(bad) <= 3 * (telling.api.now - began)
    assert telling.api.hung - hung <= 2 / 3 * (telling.api.now - began)


async def test_namespaces_that_share_an_outage_are_told_soon_after_it(telling: Telling) -> None:
    telling.api.down, telling.api.seconds = {f"bad-{number}" for number in range(20)}, REQUEST_SECONDS
    for namespace in sorted(telling.api.down):
        await telling.mirror(*jobs(namespace, 2))
    for number in range(60):
        await telling.seconds_until_told(job("good", f"new-{number}"))
    telling.api.down.clear()
    healed_at, number = telling.api.now, 60
    while telling.report.waiting:
        await telling.seconds_until_told(job("good", f"new-{number}"))
        number += 1
    assert telling.api.now <= healed_at + HEALED_SECONDS


async def test_a_namespace_that_answers_slowly_is_told_in_the_end_after_its_outage(telling: Telling) -> None:
    """Its webhook takes seconds, which are given it now and then."""
    telling.api.down, telling.api.seconds = {"a"}, REQUEST_SECONDS
    await telling.mirror(*jobs("a", 1))
    for number in range(5):
        await telling.seconds_until_told(job("b", f"new-{number}"))
    telling.api.down, telling.api.slow = set(), {"a": 5.0}
    began = telling.api.now
    while telling.report.waiting and telling.api.now < began + 120:
        await telling.step()
    assert "a/job-0" in telling.api.patched


async def test_the_only_namespace_is_not_left_alone_after_one_failure(telling: Telling) -> None:
    """What was answered before in that pass is its own."""
    await telling.mirror(*jobs("a", 5))
    telling.api.fails_at = 3
    await telling.step()
    assert len(telling.api.patched) == 2
    await telling.step()
    assert len(telling.api.patched) == 5


async def test_a_namespace_that_failed_is_tried_while_the_others_have_more_than_can_be_told(telling: Telling) -> None:
    telling.api.down = {"a"}
    await telling.mirror(*jobs("a", 1), *jobs("b", 10))
    await telling.step()
    telling.api.down.clear()
    telling.api.slow = {"b": 1.0}
    more = 0
    while "a/job-0" not in telling.api.patched and more < 10:
        await telling.mirror(*(job("b", f"more-{more}-{number}") for number in range(30)))
        await telling.step()
        more += 1
    assert "a/job-0" in telling.api.patched


async def test_in_an_outage_of_the_api_server_each_pass_fails_after_a_few_requests(telling: Telling) -> None:
    """The loop backs off by that, and says so; and nothing waits longer once it is over."""
    namespaces = [f"namespace-{number}" for number in range(20)]
    for namespace in namespaces:
        await telling.mirror(*jobs(namespace, 1))
    telling.api.down = set(namespaces)
    for _ in range(20):
        before = len(telling.api.asked)
        assert not await telling.step()
        assert 1 <= len(telling.api.asked) - before <= 3
    telling.api.down.clear()
    assert await telling.step()
    assert len(telling.api.patched) == len(namespaces)


async def test_an_outage_of_several_namespaces_delays_no_other(telling: Telling) -> None:
    """More than one pass goes on after."""
    telling.api.down = {"a", "b", "c", "d", "e"}
    for namespace in sorted(telling.api.down):
        await telling.mirror(*jobs(namespace, 2))
    await telling.mirror(*jobs("z", 2))
    for _ in range(3):
        await telling.step()
    assert sorted(telling.api.patched) == ["z/job-0", "z/job-1"]


@pytest.mark.parametrize("state", ["urgent", "not urgent", "just patched"])
async def test_a_pass_looks_at_few_of_the_jobs_of_a_namespace_that_is_put_off(telling: Telling, state: str) -> None:
    """A pass does so in one go, and what is due waits for it."""
    telling.api.down = {"a"}
    await telling.mirror(*jobs("a", 1), *jobs("b", 1))
    await telling.step()
    assert telling.api.patched == ["b/job-0"]
    for waiting in jobs("a", 50 * LOOKED_AT):
        telling.report.see(waiting)
        if state == "urgent":
            telling.report.know(waiting)  # urgent
        elif state == "just patched":
            telling.report._known[waiting.meta.uid].patched_at = telling.api.now + 60.0
    telling.report._fired.clear()  # or the first look marks them all, each once
    known = telling.report._known = Counted(telling.report._known)
    for _ in range(20):
        known.looked_up = 0
        await telling.step()
        assert known.looked_up <= 15 * LOOKED_AT


NO_RIGHTS = Forbidden('User "system:serviceaccount:s:s" cannot patch resource "scheduledjobs/status"', 403)


@pytest.mark.parametrize(("namespaces", "count"), [(1, 1), (1, 250), (30, 10)], ids=["one job", "many jobs", "many"])
async def test_namespaces_whose_statuses_are_refused_hold_up_no_other(
    telling: Telling, namespaces: int, count: int
) -> None:
    """As where a namespace's Role is gone: each is asked now and then, by one status, and said to be refused."""
    telling.api.refusals = {f"bad-{number}": NO_RIGHTS for number in range(namespaces)}
    with capture_logs() as lines:
        for namespace in telling.api.refusals:
            await telling.mirror(*jobs(namespace, count))
        assert await telling.seconds_until_told(job("good")) <= 4 * EVERY_SECONDS
        asked, began = len(telling.api.asked), telling.api.now
        for number in range(60):
            assert await telling.seconds_until_told(job("good", f"new-{number}")) <= EVERY_SECONDS
            await telling.step()
    assert telling.api.now - began >= 60.0
    bad = [one for one in telling.api.asked[asked:] if one in telling.api.refusals]
    assert len(bad) <= min(120, 15 * namespaces)
    said = [line for line in lines if line["log_level"] != "info"]
    assert {line["event"] for line in said} == {"a namespace is put off"}
    assert {line["namespace"] for line in said} == set(telling.api.refusals)
    assert len(said) <= 3 * namespaces
    telling.api.refusals.clear()
    healed_at = telling.api.now
    while telling.report.waiting:
        await telling.step()
        assert telling.api.now <= healed_at + HEALED_SECONDS + namespaces * count / PATCHES_PER_SECOND


async def test_a_refused_namespace_fails_no_pass_and_refused_credentials_do(telling: Telling) -> None:
    telling.api.refusals = {"a": NO_RIGHTS}
    await telling.mirror(*jobs("a", 2))
    assert await telling.step()
    assert telling.api.asked == ["a"]
    telling.api.refusals = {"b": Forbidden("Unauthorized", 401), "c": Forbidden("Unauthorized", 401)}
    await telling.mirror(*jobs("b", 2), *jobs("c", 2))
    with pytest.raises(Forbidden):
        await telling.report.step()


async def test_a_policy_that_refuses_some_statuses_of_a_namespace_holds_up_no_other_of_it(telling: Telling) -> None:
    denied = Forbidden("ValidatingAdmissionPolicy 'p' denied request: no such label", 403)
    telling.api.refusals = {f"a/job-{number}": denied for number in range(10)}
    await telling.mirror(*jobs("a", 20))
    assert await telling.step()
    assert len(telling.api.patched) == 10
    assert len(telling.api.asked) == 20
    for _ in range(20):
        await telling.step()
    assert len(telling.api.asked) == 20


async def test_statuses_that_are_refused_one_by_one_do_not_fill_the_log(telling: Telling) -> None:
    """As by an older CRD, each of them."""
    telling.api.refusals = {"a": KubeError('ScheduledJob "job" is invalid: spec: Required value', 422)}
    await telling.mirror(*jobs("a", 250))
    with capture_logs() as lines:
        for _ in range(40):
            await telling.step()
    assert len(telling.api.asked) == 250
    assert len(lines) == Seldom.MOST
    assert {line["event"] for line in lines} == {"status refused"}
