"""The compare: what a page of the list says is weighed against what has come in meanwhile; little is held at a time."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import psycopg
import pytest
from dev.controlplane import ControlPlane
from tests.acceptance.conftest import create, job
from tests.integration.conftest import Stage

from scheduledjobs import metrics
from scheduledjobs.core.resource import Resource
from scheduledjobs.errors import KubeUnavailable
from scheduledjobs.kube import listing
from scheduledjobs.kube.client import KubeClient, open_client
from scheduledjobs.kube.listing import get_resource
from scheduledjobs.leading import Leading
from scheduledjobs.steps import compare
from scheduledjobs.steps.compare import Compare
from scheduledjobs.steps.inbox import Gone, Inbox, Seen
from scheduledjobs.steps.report import Report
from scheduledjobs.store.leadership import Leader

PAGE = 2


class Between:
    """Asks the API server; after each page of a list something may happen, or the answer may be lost."""

    def __init__(self, kube: KubeClient) -> None:
        self.kube = kube
        self.pages = self.reads = 0
        self.after_page: Callable[[int], Awaitable[None]] | None = None

    async def request(self, verb: str, path: str, **asked: Any) -> dict[str, Any]:
        is_page = "limit" in (asked.get("query") or {})
        self.reads += not is_page
        answer = await self.kube.request(verb, path, **asked)
        if not is_page:
            return answer
        self.pages += 1
        if self.after_page is not None:
            await self.after_page(self.pages)
        return answer


class Comparing:
    """A term's compare beside its inbox; what it puts there is mirrored when a test says so."""

    def __init__(self, cluster: ControlPlane, namespace: str, stage: Stage, leader: Leader, kube: Between) -> None:
        self.cluster, self.namespace, self.stage, self.kube = cluster, namespace, stage, kube
        self.leader = leader
        self.inbox = Inbox()
        self.seen: list[tuple[str, bool]] = []
        self.compared = 0
        self.step = self.made()

    def made(self, *, is_all_news: bool = False, monotonic: Callable[[], float] = time.monotonic) -> Compare:
        """A compare of a term that has its watch."""
        made = Compare(
            self.leader,
            cast("KubeClient", self.kube),
            self.inbox,
            [self.namespace],
            self._on_seen,
            self._on_compared,
            is_all_news=is_all_news,
            monotonic=monotonic,
        )
        made.wake.set()
        return made

    def _on_seen(self, resource: Resource, differs: bool) -> None:  # noqa: FBT001 the signature
        self.seen.append((resource.meta.name, differs))
        if differs:
            self.inbox.put(Seen(resource, is_quorum=True))

    def _on_compared(self) -> None:
        self.compared += 1

    async def mirror(self) -> None:
        """Mirror what the inbox holds."""
        await self.stage.mirror(*self.inbox.take(1000))

    async def compare_and_mirror(self) -> None:
        """Compare once, and mirror what that brought."""
        await self.step.step()
        await self.mirror()

    def names(self) -> list[str]:
        """The jobs that the mirror has."""
        return [
            row["name"]
            for row in self.stage.rows("SELECT name FROM job_definition WHERE deleted_at IS NULL ORDER BY 1")
        ]

    async def edit(self, name: str, **spec: Any) -> Resource:
        """Change a spec with kubectl; return the resource as it is then."""
        patch = json.dumps({"spec": spec})
        self.cluster.kubectl("patch", "scheduledjob", name, "-n", self.namespace, "--type=merge", "-p", patch)
        return await self.read(name)

    async def read(self, name: str) -> Resource:
        found = await get_resource(self.kube.kube, self.namespace, name)
        assert found is not None
        return found

    def differing(self) -> list[str]:
        """Which resources were to be mirrored, since this was asked last."""
        found = [name for name, differs in self.seen if differs]
        self.seen.clear()
        return sorted(found)


@asynccontextmanager
async def comparing(cluster: ControlPlane, namespace: str, stage: Stage, *names: str) -> AsyncIterator[Comparing]:
    """These jobs in the cluster, none in the mirror, and a leader."""
    await create(namespace, [job(name, fixedRate="1h") for name in names])
    async with open_client() as kube, stage.leader() as leader:
        yield Comparing(cluster, namespace, stage, leader, Between(kube))


@pytest.fixture(autouse=True)
def _small_pages(cluster: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
    monkeypatch.setattr(listing, "PAGE", PAGE)
    monkeypatch.setattr(compare, "PAGE", PAGE)
    monkeypatch.setattr(compare, "ABSENT_PAGE", PAGE)


@pytest.fixture
def stage(database: str) -> Stage:
    return Stage(database)


async def test_what_is_there_is_mirrored_from_the_pages_with_no_request_of_its_own(
    cluster: ControlPlane, namespace: str, stage: Stage
) -> None:
    async with comparing(cluster, namespace, stage, "a", "b", "c", "d", "e") as found:
        await found.compare_and_mirror()
        assert found.names() == ["a", "b", "c", "d", "e"]
        assert (found.kube.pages, found.kube.reads) == (3, 0)
        assert found.differing() == ["a", "b", "c", "d", "e"]
        await found.step.step()
        assert found.seen == [(name, False) for name in "abcde"]
        assert len(found.inbox) == 0


async def test_what_has_changed_unseen_is_mirrored(cluster: ControlPlane, namespace: str, stage: Stage) -> None:
    async with comparing(cluster, namespace, stage, "a", "b", "c") as found:
        await found.compare_and_mirror()
        found.differing()
        await found.edit("b", fixedRate="2h")
        cluster.kubectl("annotate", "scheduledjob", "c", "-n", namespace, "scheduledjobs.dev/run-now=x")
        cluster.kubectl("annotate", "scheduledjob", "a", "-n", namespace, "somebody.else/x=y")
        await found.step.step()
        assert found.differing() == ["b", "c"]
        assert found.kube.reads == 0


async def test_what_came_in_after_its_page_was_read_is_asked_for_by_name(
    cluster: ControlPlane, namespace: str, stage: Stage
) -> None:
    """Which of the two is newer cannot be told: a number of a version is not to be compared after a restore."""
    async with comparing(cluster, namespace, stage, "a", "b") as found:

        async def edited(_: int) -> None:
            found.inbox.put(Seen(await found.edit("a", fixedRate="2h")))
            await found.edit("a", fixedRate="3h")

        found.kube.after_page = edited
        await found.step.step()
        assert found.kube.reads == 1
        await found.mirror()
        (row,) = stage.rows("SELECT * FROM job_definition WHERE name = 'a'")
        assert row["spec"]["fixedRate"] == "3h"


async def test_what_the_watch_told_and_brought_nothing_is_asked_for_as_well(
    cluster: ControlPlane, namespace: str, stage: Stage
) -> None:
    """A job that was changed unseen and changed back: the list has the change, the mirror what is in force again."""
    async with comparing(cluster, namespace, stage, "a") as found:
        await found.compare_and_mirror()
        leading = object.__new__(Leading)
        leading.inbox, leading._seen = found.inbox, {}
        leading.report = cast("Report", SimpleNamespace(see=lambda _: None))
        leading._on_event(await found.read("a"), is_gone=False)
        await found.mirror()
        cluster.kubectl("annotate", "scheduledjob", "a", "-n", namespace, "scheduledjobs.dev/notify=x")

        async def changed_back(_: int) -> None:
            cluster.kubectl("annotate", "scheduledjob", "a", "-n", namespace, "scheduledjobs.dev/notify-")
            leading._on_event(await found.read("a"), is_gone=False)
            assert len(found.inbox) == 0

        found.kube.reads, found.kube.after_page = 0, changed_back
        await found.step.step()
        assert found.kube.reads == 1
        (change,) = found.inbox.take(9)
        assert isinstance(change, Seen)
        assert change.resource.meta.annotations == {}


async def test_what_the_mirror_has_deleted_since_is_not_brought_back_by_its_page(
    cluster: ControlPlane, namespace: str, stage: Stage
) -> None:
    async with comparing(cluster, namespace, stage, "a", "b") as found:
        await found.compare_and_mirror()
        found.differing()
        gone = await found.read("a")

        async def deleted(_: int) -> None:
            cluster.kubectl("delete", "scheduledjob", "a", "-n", namespace)
            await stage.mirror(Gone(gone.meta.uid, namespace, "a"))

        found.kube.after_page = deleted
        await found.step.step()
        assert found.seen == [("b", False)]
        assert found.names() == ["b"]


async def test_what_is_being_deleted_is_no_news_once_its_job_is(
    cluster: ControlPlane, namespace: str, stage: Stage
) -> None:
    async with comparing(cluster, namespace, stage, "a") as found:
        held = {"metadata": {"finalizers": ["example.com/held"]}}
        cluster.kubectl("patch", "scheduledjob", "a", "-n", namespace, "--type=merge", "-p", json.dumps(held))
        await found.compare_and_mirror()
        cluster.kubectl("delete", "scheduledjob", "a", "-n", namespace, "--wait=false")
        await found.compare_and_mirror()
        assert found.names() == []
        found.differing()
        await found.step.step()
        assert found.seen == [("a", False)]
        free = {"metadata": {"finalizers": None}}
        cluster.kubectl("patch", "scheduledjob", "a", "-n", namespace, "--type=merge", "-p", json.dumps(free))


async def test_a_compare_comes_to_its_end_however_often_watches_break(
    cluster: ControlPlane, namespace: str, stage: Stage
) -> None:
    """One that began anew with each break would never reach its last page, and who has waited for it would wait on."""
    async with comparing(cluster, namespace, stage, "a", "b", "c", "d", "e") as found:
        before = metrics.MIRROR_DRIFT._value.get()

        async def watch_breaks(_: int) -> None:
            found.step.ask()

        await found.compare_and_mirror()
        assert found.compared == 1
        found.differing()
        found.kube.after_page = watch_breaks
        await found.edit("e", fixedRate="2h")
        await found.step.step()
        assert found.differing() == ["e"]
        assert found.compared == 2
        assert found.step.wake.is_set()  # and another one follows
        assert metrics.MIRROR_DRIFT._value.get() == before


async def test_old_moments_wait_for_a_first_compare_that_goes_on_but_not_for_ever(
    cluster: ControlPlane, namespace: str, stage: Stage
) -> None:
    """With very many jobs, or many that are gone, it takes over half a minute while the API server answers."""
    now = 1000.0
    async with comparing(cluster, namespace, stage, "a", "b", "c") as found:
        found.step = found.made(monotonic=lambda: now)

        async def page_by_page(_: int) -> None:
            nonlocal now
            now += 20.0
            left.append(found.step.overdue_in())

        left: list[float] = []
        found.kube.after_page = page_by_page
        await found.step.step()
        assert left == [10.0, 10.0]
        assert found.step.overdue_in() == compare.QUIET_SECONDS
        await found.mirror()
        cluster.kubectl("delete", "sjob", "a", "-n", namespace)
        await found.step.step()
        left.clear()
        now += 1.0 + compare.QUIET_SECONDS
        await found.step.overdue()  # nothing more is heard
        for _ in range(20):
            await found.step.step()
        assert now < 1000.0 + 2 * compare.OVERDUE_SECONDS
        assert found.step.overdue_in() < 0 < found.kube.reads


async def test_what_the_watch_has_told_meanwhile_is_not_counted_as_missed_by_it(
    cluster: ControlPlane, namespace: str, stage: Stage
) -> None:
    async with comparing(cluster, namespace, stage, "a", "b", "c") as found:
        await found.compare_and_mirror()
        before = metrics.MIRROR_DRIFT._value.get()
        gone = {name: (await found.read(name)).meta.uid for name in ("a", "b", "c")}
        for name in gone:
            cluster.kubectl("delete", "sjob", name, "-n", namespace)
        for name in ("a", "b"):
            found.inbox.put(Gone(gone[name], namespace, name))
        found.inbox.take(1)  # one of them is being mirrored
        await found.step.step()
        assert metrics.MIRROR_DRIFT._value.get() == before + 1


async def test_one_that_was_asked_for_already_does_not_wait_for_the_watch(
    cluster: ControlPlane, namespace: str, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with comparing(cluster, namespace, stage, "a") as found:
        monkeypatch.setattr(compare, "WATCH_WITHIN_SECONDS", 60.0)
        found.step.ask()
        found.step.wake.clear()  # as the loop does before each pass
        async with asyncio.timeout(10):
            await found.step.step()
        assert found.compared == 1


async def test_what_is_gone_is_removed_and_what_came_after_the_list_is_not(
    cluster: ControlPlane, namespace: str, stage: Stage
) -> None:
    async with comparing(cluster, namespace, stage, "a", "b", "c", "d", "e", "f") as found:
        await found.compare_and_mirror()
        cluster.kubectl("delete", "scheduledjob", "a", "b", "c", "-n", namespace)

        async def created(page: int) -> None:
            if page == 1:  # the list is of the moment at which it began
                await create(namespace, [job("z", fixedRate="1h"), job("b", fixedRate="1h")])
                await stage.mirror(Seen(await found.read("z")))

        found.kube.pages, found.kube.after_page = 0, created
        await found.step.step()
        assert (found.kube.pages, found.kube.reads) == (2, 3)  # of a, b and c it was asked whether they are there
        changes = found.inbox.take(100)
        assert sorted(change.name for change in changes if isinstance(change, Gone)) == ["a", "b", "c"]
        await stage.mirror(*changes)
        assert found.names() == ["b", "d", "e", "f", "z"]  # the new b was seen by the read that asked for the old one


async def test_a_list_that_breaks_in_the_middle_judges_nothing(
    cluster: ControlPlane, namespace: str, stage: Stage
) -> None:
    async with comparing(cluster, namespace, stage, "a", "b", "c") as found:
        await found.compare_and_mirror()
        cluster.kubectl("delete", "scheduledjob", "a", "-n", namespace)

        async def lost(page: int) -> None:
            if page > 2:
                raise KubeUnavailable("the answer was lost")

        await create(namespace, [job("d", fixedRate="1h"), job("e", fixedRate="1h"), job("f", fixedRate="1h")])
        found.kube.pages, found.kube.after_page = 0, lost
        with pytest.raises(KubeUnavailable):
            await found.step.step()
        assert not [change for change in found.inbox.take(100) if isinstance(change, Gone)]
        assert found.compared == 1


async def test_jobs_of_a_namespace_that_is_not_watched_are_gone_and_not_asked_for(
    cluster: ControlPlane, namespace: str, stage: Stage
) -> None:
    async with comparing(cluster, namespace, stage, "a") as found:
        await found.compare_and_mirror()
        found.step = Compare(
            found.leader, cast("KubeClient", found.kube), found.inbox, ["default"], found._on_seen, found._on_compared
        )
        found.step.wake.set()
        for _ in range(2):  # the second compare is no more a term's first
            await found.step.step()
            assert found.kube.reads == 0
        (change,) = found.inbox.take(100)
        assert isinstance(change, Gone)
        assert change.name == "a"
        await found.step.step()
        assert len(found.inbox) == 0


async def test_a_cold_start_holds_only_a_few_of_the_resources_at_a_time(
    cluster: ControlPlane, namespace: str, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare, "MOST_WAITING", 3)
    async with comparing(cluster, namespace, stage, *"abcdefghij") as found:
        held: list[int] = []

        async def hold(_: int) -> None:
            held.append(len(found.inbox))

        found.kube.after_page = hold
        task = asyncio.create_task(found.step.step())
        while not task.done():
            await asyncio.sleep(0)
            if len(found.inbox) >= 3:
                await found.mirror()
        await task
        await found.mirror()
        assert found.names() == list("abcdefghij")
        assert max(held) < 3


async def test_the_first_compare_of_a_term_waits_for_the_watch_and_not_for_ever(
    cluster: ControlPlane, namespace: str, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with comparing(cluster, namespace, stage, "a") as found:
        monkeypatch.setattr(compare, "WATCH_WITHIN_SECONDS", 60.0)
        found.step.wake.clear()
        task = asyncio.create_task(found.step.step())
        done, _ = await asyncio.wait({task}, timeout=0.2)
        assert not done
        assert found.kube.pages == 0
        found.step.wake.set()
        await task
        assert not found.step.wake.is_set()  # it is this one that the watch has asked for
        monkeypatch.setattr(compare, "WATCH_WITHIN_SECONDS", 0.0)
        found.step = found.made()
        found.step.wake.clear()
        await found.step.step()
        assert found.compared == 2


async def test_after_a_restore_of_etcd_the_first_compare_takes_all_as_the_list_has_it(
    cluster: ControlPlane, namespace: str, stage: Stage
) -> None:
    async with comparing(cluster, namespace, stage, "a", "b") as found:
        await found.compare_and_mirror()
        found.differing()
        with psycopg.connect(stage.url, autocommit=True) as conn:  # as by an edit that the restored etcd does not have
            conn.execute("UPDATE job_definition SET spec = jsonb_set(spec, '{fixedRate}', '\"9h\"') WHERE name = 'a'")
        await found.step.step()
        assert found.differing() == []  # the numbers say nothing
        found.step = found.made(is_all_news=True)

        async def lost(_: int) -> None:
            raise KubeUnavailable("the answer was lost")

        found.kube.after_page = lost
        with pytest.raises(KubeUnavailable):
            await found.step.step()
        found.kube.after_page = None
        await found.step.step()
        assert found.differing() == ["a", "b"]
        await found.mirror()
        (row,) = stage.rows("SELECT * FROM job_definition WHERE name = 'a'")
        assert row["spec"]["fixedRate"] == "1h"
        await found.step.step()
        assert found.differing() == []


async def test_a_compare_of_many_jobs_comes_less_often(
    cluster: ControlPlane, namespace: str, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with comparing(cluster, namespace, stage, "a", "b") as found:
        assert await found.step.step() == compare.EVERY_SECONDS
        monkeypatch.setattr(compare, "SECONDS_A_JOB", 1000.0)
        assert await found.step.step() == 2000.0


async def test_only_what_no_compare_was_asked_for_counts_as_missed_by_the_watch(
    cluster: ControlPlane, namespace: str, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare, "WATCH_WITHIN_SECONDS", 0.0)
    async with comparing(cluster, namespace, stage, "a") as found:
        found.step.wake.clear()
        before = metrics.MIRROR_DRIFT._value.get()
        await found.step.step()  # the first of a term: much has happened that nobody watched
        await found.mirror()
        assert metrics.MIRROR_DRIFT._value.get() == before
        await found.edit("a", fixedRate="2h")

        async def lost(_: int) -> None:
            raise KubeUnavailable("the answer was lost")

        found.step.ask()  # a watch has begun anew: what happened in between is for this one to find
        found.kube.after_page = lost
        with pytest.raises(KubeUnavailable):
            await found.step.step()
        found.kube.after_page = None
        await found.compare_and_mirror()
        assert metrics.MIRROR_DRIFT._value.get() == before
        cluster.kubectl("delete", "sjob", "a", "-n", namespace)
        read = compare.get_resource

        async def refused(*_: Any) -> None:
            raise KubeUnavailable("too many requests")

        found.step.ask()
        monkeypatch.setattr(compare, "get_resource", refused)
        with pytest.raises(KubeUnavailable):
            await found.step.step()
        monkeypatch.setattr(compare, "get_resource", read)
        await found.compare_and_mirror()
        assert metrics.MIRROR_DRIFT._value.get() == before
        await create(namespace, [job("a", fixedRate="3h")])
        await found.step.step()
        assert metrics.MIRROR_DRIFT._value.get() == before + 1
