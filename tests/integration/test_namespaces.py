"""Namespaces: one that may not be read stops no other; one that is watched no more leaves no job to run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs
from tests.integration.conftest import Stage, resource

from scheduledjobs import metrics
from scheduledjobs.core.resource import Resource
from scheduledjobs.errors import Forbidden, KubeUnavailable, NotFound
from scheduledjobs.kube.client import KubeClient
from scheduledjobs.steps import compare
from scheduledjobs.steps.compare import Compare
from scheduledjobs.steps.inbox import Gone, Inbox, Seen

REFUSED = "a namespace is refused: its jobs fire on as they were last seen"
COMPARED = "compared the mirror with the cluster"
DROPPED = "jobs of namespaces that are not watched any more are taken for gone"


class Cluster:
    """An API server that has these resources."""

    def __init__(self, *resources: Resource) -> None:
        self.resources = resources
        self.is_up = True
        self.unlisted: set[str] = set()
        self.unread: set[str] = set()
        """The namespaces that may not be listed, and those of which nothing may be read by its name."""

    async def request(self, _verb: str, path: str, *, query: Mapping[str, Any] | None = None, **_: Any) -> Any:
        if not self.is_up:
            raise KubeUnavailable("GET: 503")
        _, _, rest = path.partition("/namespaces/")
        namespace, _, named = rest.partition("/")
        if namespace in (self.unread if query is None else self.unlisted):
            raise Forbidden(f"GET {path}: 403", 403)
        here = [each for each in self.resources if namespace in ("", each.meta.namespace)]
        if query is not None:
            return {"items": [_raw(each) for each in here]}
        for each in here:
            if named.endswith(f"/{each.meta.name}"):
                return _raw(each)
        raise NotFound(path)


def _raw(found: Resource) -> dict[str, Any]:
    meta = found.meta
    numbers = {"generation": meta.generation, "resourceVersion": str(meta.resource_version)}
    names = {"uid": str(meta.uid), "namespace": meta.namespace, "name": meta.name}
    return {
        "metadata": {**names, **numbers, "creationTimestamp": found.created_at.isoformat()},
        "spec": dict(found.spec),
    }


def job(name: str, namespace: str) -> Resource:
    made = resource(name, fixedRate="1m")
    return replace(made, meta=replace(made.meta, namespace=namespace))


async def begin_term(
    stage: Stage, cluster: Cluster, namespaces: Sequence[str], before_mirror: Callable[[Inbox], None] = lambda _: None
) -> int:
    """What the first compare of a term brings is mirrored; return how often it said that it has compared."""
    inbox, compared = Inbox(), list[bool]()

    def see(found: Resource, differs: bool) -> None:  # noqa: FBT001 the compare's signature
        if differs:
            inbox.put(Seen(found, is_quorum=True))

    async with stage.leader() as leader:
        step = Compare(leader, cast("KubeClient", cluster), inbox, namespaces, see, lambda: compared.append(True))
        step.ask()
        try:
            await step.step()
        except KubeUnavailable:
            assert not cluster.is_up
        except Forbidden:
            assert cluster.unlisted
    before_mirror(inbox)
    stage.living = {(each.meta.namespace, each.meta.name): each for each in cluster.resources}
    await stage.mirror(*inbox.take(1000))
    return len(compared)


def states(stage: Stage) -> dict[str, str]:
    return {row["name"]: row["state"] for row in stage.rows("SELECT name, state FROM job_definition ORDER BY name")}


def ran(stage: Stage, name: str) -> list[tuple[str, str | None]]:
    return [(row["state"], row["reason"]) for row in stage.rows() if row["job_name"] == name]


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "ABSENT_PAGE", 1)


async def test_a_namespace_that_is_not_watched_any_more_fires_no_more_and_keeps_its_history(stage: Stage) -> None:
    cluster = Cluster(job("kept", "a"), job("dropped", "b"), job("too", "c"))
    await begin_term(stage, cluster, [])
    stage.tick(minutes=1)
    await stage.fire()
    assert ran(stage, "dropped") == [("PENDING", None)]
    deleted, drift = metrics.repairs("deleted")._value.get(), metrics.MIRROR_DRIFT._value.get()
    with capture_logs() as logs:
        await begin_term(stage, cluster, ["a"])
    said = [entry for entry in logs if entry["event"] == DROPPED]
    assert [(entry["count"], entry["namespaces"]) for entry in said] == [(2, ["b", "c"])]
    assert metrics.repairs("deleted")._value.get() - deleted == 2
    assert metrics.MIRROR_DRIFT._value.get() == drift
    assert states(stage) == {"kept": "ACTIVE", "dropped": "DELETED", "too": "DELETED"}
    (message,) = stage.rows("SELECT DISTINCT message FROM job_definition WHERE state = 'DELETED'")
    assert message == {"message": "its namespace is not watched any more"}
    stage.tick(minutes=1)
    await stage.fire(sweep=True)
    assert ran(stage, "dropped") == [("CANCELLED", "JobDeleted")]  # what waited, and nothing since
    assert len(ran(stage, "kept")) == 2


async def test_a_namespace_that_is_watched_again_has_its_jobs_and_their_history_back(stage: Stage) -> None:
    cluster = Cluster(job("kept", "a"), job("dropped", "b"))
    await begin_term(stage, cluster, ["a", "b"])
    stage.tick(minutes=1)
    await stage.fire()
    await begin_term(stage, cluster, ["a"])
    stage.tick(minutes=30)
    await begin_term(stage, cluster, ["a", "b"])
    assert states(stage) == {"kept": "ACTIVE", "dropped": "ACTIVE"}
    assert ran(stage, "dropped") == [("CANCELLED", "JobDeleted")]  # nothing is made up for what nobody watched
    stage.tick(minutes=1)
    await stage.fire()
    assert ran(stage, "dropped") == [("CANCELLED", "JobDeleted"), ("PENDING", None)]


async def test_a_fixed_rate_of_a_namespace_that_is_watched_again_keeps_its_grid(stage: Stage) -> None:
    cluster = Cluster(job("kept", "a"), job("dropped", "b"))
    await begin_term(stage, cluster, ["a", "b"])
    before = {row["name"]: row for row in stage.rows("SELECT * FROM job_definition")}["dropped"]
    await begin_term(stage, cluster, ["a"])
    stage.tick(minutes=30, seconds=25)
    await begin_term(stage, cluster, ["a", "b"])
    after = {row["name"]: row for row in stage.rows("SELECT * FROM job_definition")}["dropped"]
    assert after["effective_from"] > before["effective_from"]
    assert (after["anchor_at"], after["next_fire_at"]) == (
        before["anchor_at"],
        before["next_fire_at"] + timedelta(minutes=30),
    )


async def test_what_is_not_watched_goes_though_the_api_server_is_silent_and_goes_once(stage: Stage) -> None:
    """Nobody asks it for them: their moments would fire for as long as it is away."""
    cluster = Cluster(job("kept", "a"), job("dropped", "b"))
    await begin_term(stage, cluster, [])
    cluster.is_up = False
    brought: list[str] = []

    def look(inbox: Inbox) -> None:
        brought.extend(change.name for change in inbox._changes.values() if isinstance(change, Gone))

    await begin_term(stage, cluster, ["a"], look)
    assert brought == ["dropped"]
    assert states(stage) == {"kept": "ACTIVE", "dropped": "DELETED"}
    with capture_logs() as logs:
        await begin_term(stage, cluster, ["a"], look)
    assert brought == ["dropped"]
    assert [entry for entry in logs if entry["event"] == DROPPED] == []


async def test_where_all_namespaces_are_watched_none_is_taken_for_gone(stage: Stage) -> None:
    cluster = Cluster(job("kept", "a"), job("another", "b"))
    await begin_term(stage, cluster, ["a", "b"])
    await begin_term(stage, cluster, [])
    assert states(stage) == {"kept": "ACTIVE", "another": "ACTIVE"}


async def test_a_namespace_that_may_not_be_listed_stops_no_other_and_its_jobs_stay_as_they_are(stage: Stage) -> None:
    """As after `kubectl delete namespace`, which takes the operator's Role with it: a 403 says nothing of its jobs."""
    cluster = Cluster(job("left", "a"), job("kept", "b"), job("gone", "c"))
    await begin_term(stage, cluster, ["a", "b", "c"])
    cluster.unlisted = cluster.unread = {"a"}
    cluster.resources = (job("kept", "b"), job("new", "c"))
    with capture_logs() as logs:
        assert await begin_term(stage, cluster, ["a", "b", "c"]) == 1
    assert states(stage) == {"left": "ACTIVE", "kept": "ACTIVE", "gone": "DELETED", "new": "ACTIVE"}
    (said,) = [entry for entry in logs if entry["event"] == COMPARED]
    assert (said["listed"], said["refused"]) == (2, ["a"])
    assert [entry["namespace"] for entry in logs if entry["event"] == REFUSED] == ["a"]
    cluster.unlisted = cluster.unread = set()
    assert await begin_term(stage, cluster, ["a", "b", "c"]) == 1
    assert states(stage)["left"] == "DELETED"


async def test_where_no_namespace_may_be_listed_nothing_counts_as_compared(stage: Stage) -> None:
    cluster = Cluster(job("left", "a"), job("too", "b"))
    await begin_term(stage, cluster, ["a", "b"])
    cluster.unlisted, cluster.resources = {"a", "b"}, ()
    assert await begin_term(stage, cluster, ["a", "b"]) == 0
    assert states(stage) == {"left": "ACTIVE", "too": "ACTIVE"}


async def test_what_may_not_be_read_by_its_name_is_not_taken_for_gone_and_what_is_gone_elsewhere_is(
    stage: Stage,
) -> None:
    cluster = Cluster(job("left", "a"), job("gone", "b"))
    await begin_term(stage, cluster, ["a", "b"])
    cluster.unread, cluster.resources = {"a"}, ()
    assert await begin_term(stage, cluster, ["a", "b"]) == 1
    assert states(stage) == {"left": "ACTIVE", "gone": "DELETED"}


async def test_after_a_restore_of_etcd_a_namespace_that_was_refused_is_all_news_once_it_is_listed(
    stage: Stage,
) -> None:
    """Its numbers say nothing until then, however many compares there were without it."""
    cluster, seen, inbox = Cluster(job("a", "a"), job("b", "b")), list[tuple[str, bool]](), Inbox()
    await begin_term(stage, cluster, ["a", "b"])

    def see(found: Resource, differs: bool) -> None:  # noqa: FBT001 the compare's signature
        seen.append((found.meta.name, differs))

    async with stage.leader() as leader:
        kube = cast("KubeClient", cluster)
        step = Compare(leader, kube, inbox, ["a", "b"], see, lambda: None, is_all_news=True)
        cluster.unlisted = {"a"}
        step.ask()
        assert await step.step() == compare.REFUSED_SECONDS  # it may have been for a moment
        assert seen == [("b", True)]
        assert await step.step() == compare.EVERY_SECONDS
        assert seen == [("b", True), ("b", False)]
        seen.clear()
        cluster.unlisted = set()
        await step.step()
        assert seen == [("a", True), ("b", False)]
        seen.clear()
        await step.step()
        assert seen == [("a", False), ("b", False)]


async def test_a_refused_namespace_is_told_of_once_and_its_end_too(stage: Stage) -> None:
    cluster = Cluster(job("a", "a"), job("b", "b"))
    async with stage.leader() as leader:
        step = Compare(leader, cast("KubeClient", cluster), Inbox(), ["a", "b"], lambda *_: None, lambda: None)
        step.ask()
        counts = []
        with capture_logs() as logs:
            for refused in ({"a"}, {"a"}, set[str](), set[str]()):
                cluster.unlisted = refused
                await step.step()
                counts.append(REGISTRY.get_sample_value("scheduledjobs_namespaces_refused"))
    assert counts == [1, 1, 0, 0]
    told = [entry for entry in logs if entry["event"] != COMPARED]
    assert [(entry["event"], entry["namespace"]) for entry in told] == [
        (REFUSED, "a"),
        ("a namespace is refused no more", "a"),
    ]
    assert "403" in told[0]["error"]
