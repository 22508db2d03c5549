"""The one watch of Jobs: open while something is followed, going on after its end, and doubted after a break."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from dev.controlplane import ControlPlane
from tests.faults.proxy import Network, Way
from tests.unit.test_kubernetes_job import EXECUTION

from scheduledjobs.errors import Conflict, Failed, KubeError
from scheduledjobs.handlers import following
from scheduledjobs.handlers.following import Following
from scheduledjobs.handlers.job_manifest import name_of
from scheduledjobs.kube import job_watch, jobs
from scheduledjobs.kube.client import load_configuration
from scheduledjobs.kube.job_watch import Followed, JobWatch
from scheduledjobs.kube.jobs import JobDoor

A_MILLION = 1_000_000


@pytest.fixture
def way(cluster: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> Iterator[Way]:
    """A way to the API server that can be cut; KUBECONFIG leads over it."""
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
    with Network() as network:
        made = Way(network, cluster.port)
        yield made
        made.close()


def watch_over(way: Way, *namespaces: str) -> JobWatch:
    async def configure() -> Any:
        configuration = await load_configuration()
        configuration.host = f"https://127.0.0.1:{way.port}"
        return configuration

    return JobWatch(namespaces, configure)


def body(name: str) -> dict[str, Any]:
    pod = {"restartPolicy": "Never", "containers": [{"name": "a", "image": "i"}]}
    labels = {"app.kubernetes.io/managed-by": "scheduledjobs", "scheduledjobs.dev/execution": "1"}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": labels},
        "spec": {"template": {"spec": pod}},
    }


async def made(door: JobDoor, followed: Followed, namespace: str, name: str) -> None:
    followed.mean(await door.create(namespace, body(name)))


async def kubectl(cluster: ControlPlane, *words: str) -> None:
    await asyncio.to_thread(cluster.kubectl, *words)


async def set_active(cluster: ControlPlane, namespace: str, name: str, active: int) -> None:
    patch = json.dumps({"status": {"active": active}})
    words = ("patch", "job", name, "-n", namespace, "--subresource=status", "--type=merge", "-p", patch)
    await kubectl(cluster, *words)


async def until(look: Callable[[], object], followed: Followed, seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not look():
            await followed.wait(1.0)


def active(followed: Followed) -> Any:
    return (followed.latest or {}).get("status", {}).get("active")


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """The scopes of the watches that are begun."""
    watches: list[str | None] = []
    events = JobDoor.events

    def begun(door: JobDoor, scope: str | None, version: str) -> Any:
        watches.append(scope)
        return events(door, scope, version)

    monkeypatch.setattr(JobDoor, "events", begun)
    return watches


@pytest.mark.parametrize("is_limited", [False, True], ids=["all namespaces", "some namespaces"])
async def test_one_watch_serves_all_that_is_followed_and_ends_with_it(
    cluster: ControlPlane,
    namespace: str,
    way: Way,
    monkeypatch: pytest.MonkeyPatch,
    is_limited: bool,  # noqa: FBT001
) -> None:
    watches = counted(monkeypatch)
    watch = watch_over(way, *([namespace, "other"] if is_limited else []))
    assert not watch.is_watching
    async with watch.following(namespace, "a") as (door, a), watch.following(namespace, "b") as (same, b):
        assert same is door
        await made(door, a, namespace, "a")
        await made(door, b, namespace, "b")
        await set_active(cluster, namespace, "a", 1)
        await until(lambda: active(a) == 1, a)
        await set_active(cluster, namespace, "b", 2)
        await until(lambda: active(b) == 2, b)
        assert active(a) == 1
        assert watches == [namespace if is_limited else None]
        assert a.latest is not None
        assert "spec" not in a.latest
    assert not watch.is_watching


async def test_a_watch_goes_on_after_its_end_without_a_doubt(
    cluster: ControlPlane, namespace: str, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "WATCH_SECONDS", 1)
    watches = counted(monkeypatch)
    watch = watch_over(way)
    async with watch.following(namespace, "a") as (door, a):
        await made(door, a, namespace, "a")
        await until(lambda: watches, a)
        a.is_stale = False
        for number in range(2, 5):
            await until(lambda wanted=number: len(watches) >= wanted, a)  # type: ignore[misc]
            await set_active(cluster, namespace, "a", number)
            await until(lambda wanted=number: active(a) == wanted, a)  # type: ignore[misc]
        assert not a.is_stale


async def test_after_a_break_what_is_followed_is_in_doubt_and_events_come_again(
    cluster: ControlPlane, namespace: str, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    watches = counted(monkeypatch)
    watch = watch_over(way)
    async with watch.following(namespace, "a") as (door, a):
        await made(door, a, namespace, "a")
        await until(lambda: watches, a)
        a.is_stale = False
        way.refused = True
        await asyncio.to_thread(way.cut)
        await set_active(cluster, namespace, "a", 1)
        way.refused = False
        await until(lambda: a.is_stale, a, 20)
        await set_active(cluster, namespace, "a", 2)
        await until(lambda: active(a) == 2, a, 20)


async def test_a_job_that_is_deleted_is_gone_and_another_of_its_name_is_not_it(
    cluster: ControlPlane, namespace: str, way: Way
) -> None:
    watch = watch_over(way)
    async with watch.following(namespace, "a") as (door, a):
        await made(door, a, namespace, "a")
        first = a.uid
        await kubectl(cluster, "delete", "job", "a", "-n", namespace, "--cascade=background", "--wait=false")
        await until(lambda: a.is_gone, a)
        await door.create(namespace, body("a"))
        await set_active(cluster, namespace, "a", 3)
        await a.wait(2.0)
        assert (a.uid, active(a)) == (first, None)
        with pytest.raises(Conflict):
            await door.create(namespace, body("a"))


async def test_what_is_not_a_job_any_more_is_deleted_without_an_error_and_another_uid_is_left(
    namespace: str, way: Way
) -> None:
    watch = watch_over(way)
    async with watch.following(namespace, "a") as (door, a):
        await door.delete(namespace, "a", "11111111-1111-1111-1111-111111111111")
        await made(door, a, namespace, "a")
        await door.delete(namespace, "a", "11111111-1111-1111-1111-111111111111")
        found = await door.get(namespace, "a")
        assert found is not None
        assert "deletionTimestamp" not in found["metadata"]


async def test_a_refusal_has_the_api_servers_own_sentence(namespace: str, way: Way) -> None:
    async with watch_over(way).following(namespace, "a") as (door, _):
        with pytest.raises(KubeError, match=r'unknown field "spec\.tempalte"'):
            await door.create(namespace, {**body("a"), "spec": {"tempalte": {}}})


async def test_after_a_restore_of_etcd_a_read_counts_whatever_its_version_and_the_watch_begins_anew(
    cluster: ControlPlane, namespace: str, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "WATCH_SECONDS", 1)
    newest, asked = JobDoor.newest, 0

    async def before_the_restore(door: JobDoor, scope: str | None) -> str:
        nonlocal asked
        asked += 1
        found = await newest(door, scope)
        return str(int(found) + A_MILLION) if asked == 1 else found

    monkeypatch.setattr(JobDoor, "newest", before_the_restore)
    name = name_of(EXECUTION)
    async with watch_over(way).following(namespace, name) as (door, a):
        job = await door.create(namespace, body(name))
        version = int(job["metadata"]["resourceVersion"])
        a.mean({**job, "metadata": {**job["metadata"], "resourceVersion": str(version + A_MILLION)}})
        await until(lambda: asked, a)
        await set_active(cluster, namespace, name, 1)
        await Following(replace(EXECUTION, namespace=namespace), door, a, 60)._read()
        assert active(a) == 1
        await until(lambda: asked == 2, a)
        await set_active(cluster, namespace, name, 2)
        await until(lambda: active(a) == 2, a)


async def test_a_job_whose_pod_is_not_ready_is_read_without_being_asked_too(
    cluster: ControlPlane, namespace: str, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "LOOK_SECONDS", 0.05)
    name = name_of(EXECUTION)
    async with watch_over(way).following(namespace, "another") as (door, _):
        unwatched = Followed(lambda: 0.1)  # no event of it comes
        await made(door, unwatched, namespace, name)
        await kubectl(cluster, "delete", "job", name, "-n", namespace, "--cascade=background")
        async with asyncio.timeout(10):
            with pytest.raises(Failed, match="was deleted"):
                await Following(replace(EXECUTION, namespace=namespace), door, unwatched, 60)._wait()


@pytest.mark.parametrize(("followed", "seconds"), [(1, 60), (6000, 600)])
def test_reads_without_being_asked_are_bounded(followed: int, seconds: float) -> None:
    watch = JobWatch()
    watch._followed = {("n", str(number)): Followed() for number in range(followed)}
    assert watch.again_seconds() == seconds
    assert job_watch.READS_PER_SECOND * seconds >= followed


def test_a_doubt_that_came_before_the_answer_to_a_creation_stays() -> None:
    followed = Followed()
    followed.doubt()  # the watch began after the Job was made: what happened in between is told by no event
    followed.mean({"metadata": {"name": "a", "uid": "1", "resourceVersion": "5"}})
    assert followed.is_stale


def test_what_is_older_changes_nothing() -> None:
    followed = Followed()
    followed.mean({"metadata": {"uid": "1", "resourceVersion": "10"}, "status": {"active": 2}})
    followed.see({"metadata": {"uid": "1", "resourceVersion": "9"}, "status": {"active": 1}})
    assert active(followed) == 2


def test_a_read_changes_nothing_that_an_event_has_told_meanwhile() -> None:
    followed = Followed()
    followed.mean({"metadata": {"uid": "1", "resourceVersion": "10"}, "status": {"active": 1}})
    before = followed.latest
    followed.see({"metadata": {"uid": "1", "resourceVersion": "12"}, "status": {"active": 2}})
    followed.read({"metadata": {"uid": "1", "resourceVersion": "11"}, "status": {"active": 1}}, before)
    assert (active(followed), followed.went_back) == (2, False)
