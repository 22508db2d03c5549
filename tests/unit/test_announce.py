"""Events: one that cannot be written delays no other, and is not forgotten."""

from __future__ import annotations

from typing import Any, cast
from uuid import uuid4

import pytest

from scheduledjobs.core.reasons import Reason
from scheduledjobs.core.resource import ResourceMeta
from scheduledjobs.errors import Conflict, Forbidden, KubeError, KubeUnavailable
from scheduledjobs.kube.client import KubeClient
from scheduledjobs.steps.announce import MOST_QUEUED, PER_STEP, QUIET_SECONDS, Announce
from scheduledjobs.steps.loop import PATIENCE_SECONDS


class Posts:
    """Takes Events, by a clock of its own."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.seconds = 0.0
        self.refused: dict[str, KubeError] = {}
        """What is answered instead, by namespace."""

        self.taken: list[dict[str, Any]] = []

    async def request(self, verb: str, path: str, *, body: dict[str, Any]) -> dict[str, Any]:
        assert verb == "POST"
        assert path.endswith(f"/namespaces/{body['metadata']['namespace']}/events")
        self.now += self.seconds
        if error := self.refused.get(body["metadata"]["namespace"]):
            raise error
        self.taken.append(body)
        return body

    @property
    def notes(self) -> list[str]:
        """What the Events say that were taken."""
        return [body["note"] for body in self.taken]

    @property
    def of(self) -> list[str]:
        """The jobs of the Events that were taken."""
        return [f"{body['regarding']['namespace']}/{body['regarding']['name']}" for body in self.taken]


@pytest.fixture
def posts() -> Posts:
    return Posts()


@pytest.fixture
def announce(posts: Posts) -> Announce:
    return Announce(cast("KubeClient", posts), "one", lambda: posts.now)


def job(name: str, namespace: str = "a") -> ResourceMeta:
    return ResourceMeta(uuid4(), namespace, name, 1, 1, {})


async def test_a_pass_ends_in_time_however_slow_the_api_server_is(announce: Announce, posts: Posts) -> None:
    """Or the loop counts as standing still, and a leader that only waits is killed."""
    for number in range(PER_STEP):
        announce.say(job(f"job-{number}"), Reason.ERROR, "it failed")
    posts.seconds = 5.0
    passes = []
    while len(posts.taken) < PER_STEP and len(passes) < PER_STEP:
        began = posts.now
        await announce.step()
        passes.append(posts.now - began)
    assert 0 < max(passes) < PATIENCE_SECONDS / 2
    assert posts.of == [f"a/job-{number}" for number in range(PER_STEP)]


async def test_a_namespace_that_refuses_events_delays_no_other(announce: Announce, posts: Posts) -> None:
    posts.refused["a"] = Forbidden("forbidden", 403)
    for number in range(PER_STEP - 1):
        announce.say(job(f"job-{number}"), Reason.ERROR, "it failed")
    announce.say(job("other", "b"), Reason.ERROR, "it failed")
    await announce.step()
    assert posts.of == ["b/other"]


async def test_an_event_that_was_refused_is_counted_in_the_next_of_its_kind(announce: Announce, posts: Posts) -> None:
    refused = job("job")
    posts.refused["a"] = Forbidden("forbidden", 403)
    for _ in range(2):
        announce.say(refused, Reason.ERROR, "it failed")
        await announce.step()
        announce.say(refused, Reason.ERROR, "it failed")  # within the minute
        posts.now += QUIET_SECONDS
    posts.refused.clear()
    announce.say(refused, Reason.ERROR, "it failed again")
    await announce.step()
    assert posts.notes == ["it failed again (4 more since)"]


async def test_an_event_that_met_an_outage_is_written_after_it(announce: Announce, posts: Posts) -> None:
    posts.refused["a"] = KubeUnavailable("unavailable", 503)
    announce.say(job("job"), Reason.ERROR, "it failed")
    for _ in range(3):
        with pytest.raises(KubeUnavailable):
            await announce.step()
    posts.refused.clear()
    await announce.step()
    await announce.step()
    assert posts.of == ["a/job"]


async def test_a_namespace_whose_events_meet_an_outage_of_their_own_delays_no_other(
    announce: Announce, posts: Posts
) -> None:
    """An admission webhook of that namespace does not answer, say."""
    posts.refused["a"] = KubeUnavailable("failed calling webhook", 500)
    for number in range(3 * PER_STEP):
        announce.say(job(f"job-{number}"), Reason.ERROR, "it failed")
    for name in ("first", "second"):
        announce.say(job(name, "b"), Reason.ERROR, "it failed")
        for _ in range(2):
            with pytest.raises(KubeUnavailable):
                await announce.step()
    assert posts.of == ["b/first", "b/second"]
    posts.refused.clear()
    for _ in range(3):
        await announce.step()
    assert posts.of[2:] == [f"a/job-{number}" for number in range(3 * PER_STEP)]


async def test_an_event_whose_answer_was_lost_is_written_once(announce: Announce, posts: Posts) -> None:
    names: list[str] = []

    async def lose(verb: str, path: str, *, body: dict[str, Any]) -> dict[str, Any]:
        names.append(body["metadata"]["name"])
        if len(names) == 1:
            raise KubeUnavailable("no answer")
        raise Conflict("already exists", 409)

    posts.request = lose  # type: ignore[method-assign]
    said = job("job")
    announce.say(said, Reason.ERROR, "it failed")
    with pytest.raises(KubeUnavailable):
        await announce.step()
    await announce.step()
    assert len(names) == 2
    assert len(set(names)) == 1
    del posts.request  # type: ignore[attr-defined]
    posts.now += QUIET_SECONDS
    announce.say(said, Reason.ERROR, "it failed again")
    await announce.step()
    assert posts.notes == ["it failed again"]


async def test_an_event_that_the_queue_has_no_room_for_is_counted_too(announce: Announce, posts: Posts) -> None:
    oldest = job("oldest")
    announce.say(oldest, Reason.ERROR, "it failed")
    for number in range(MOST_QUEUED):
        announce.say(job(f"job-{number}"), Reason.ERROR, "it failed")
    while len(posts.taken) < MOST_QUEUED:
        await announce.step()
    posts.now += QUIET_SECONDS
    announce.say(oldest, Reason.ERROR, "it failed again")
    await announce.step()
    assert posts.notes[-1] == "it failed again (1 more since)"


async def test_a_warning_does_not_hide_what_is_no_warning(announce: Announce, posts: Posts) -> None:
    """A suspension is told beside what it came too late for, which has the same reason."""
    said = job("job")
    for _ in range(2):
        announce.say(said, Reason.SUSPENDED, "a moment was missed")
        announce.say(said, Reason.SUSPENDED, "suspended by the spec", warning=False)
    await announce.step()
    assert posts.notes == ["a moment was missed", "suspended by the spec"]
