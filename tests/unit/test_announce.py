"""Events: one that cannot be written delays no other, and is not forgotten."""

from __future__ import annotations

from typing import Any, cast
from uuid import uuid4

import pytest

from scheduledjobs.core.reasons import Reason
from scheduledjobs.core.resource import ResourceMeta
from scheduledjobs.kube.client import KubeClient
from scheduledjobs.steps.announce import PER_STEP, Announce
from scheduledjobs.steps.loop import PATIENCE_SECONDS


class Posts:
    """Takes Events, by a clock of its own."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.seconds = 0.0
        self.taken: list[dict[str, Any]] = []

    async def request(self, verb: str, path: str, *, body: dict[str, Any]) -> dict[str, Any]:
        assert verb == "POST"
        assert path.endswith(f"/namespaces/{body['metadata']['namespace']}/events")
        self.now += self.seconds
        self.taken.append(body)
        return body

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
