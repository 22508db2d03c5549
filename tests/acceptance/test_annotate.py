"""A person's request races an edit: it is made onto the very version that was read, or read again, or given up."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from dev.controlplane import ControlPlane

from scheduledjobs.core.resource import Resource
from scheduledjobs.errors import Conflict, NotFound
from scheduledjobs.kube.annotate import TRIES, change
from scheduledjobs.kube.client import KubeClient, open_client

KEY = "scheduledjobs.dev/pause-reason"


class Racing:
    """Asks the API server, and edits the job just before each of the first `races` patches."""

    def __init__(self, kube: KubeClient, races: int) -> None:
        self.kube = kube
        self.races = races
        self.patches = 0

    async def request(self, verb: str, path: str, **asked: Any) -> dict[str, Any]:
        if verb == "PATCH":
            self.patches += 1
            if self.patches <= self.races:
                body = {"metadata": {"labels": {"edit": str(self.patches)}}}
                await self.kube.request("PATCH", path, body=body, headers=asked["headers"])
        return await self.kube.request(verb, path, **asked)


@pytest.fixture
def job(cluster: ControlPlane, namespace: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
    body = {
        "apiVersion": "scheduledjobs.dev/v1",
        "kind": "ScheduledJob",
        "metadata": {"name": "job", "namespace": namespace},
        "spec": {"handler": "log", "fixedRate": "1h"},
    }
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(body))
    return "job"


async def set_reason(namespace: str, name: str, races: int, reason: str | None = "why") -> tuple[Resource, Resource]:
    def changes(resource: Resource) -> Mapping[str, str | None]:
        return {} if resource.meta.annotations.get(KEY) == reason else {KEY: reason}

    async with open_client() as kube:
        return await change(Racing(kube, races), namespace, name, changes, field_manager="test")


async def test_a_job_that_was_edited_in_between_is_read_again(namespace: str, job: str) -> None:
    before, after = await set_reason(namespace, job, races=TRIES - 1)
    assert (before.meta.annotations, after.meta.annotations) == ({}, {KEY: "why"})
    assert after.meta.resource_version > before.meta.resource_version


async def test_a_job_that_is_always_edited_in_between_is_a_conflict(namespace: str, job: str) -> None:
    with pytest.raises(Conflict):
        await set_reason(namespace, job, races=TRIES)


async def test_nothing_to_change_writes_nothing(namespace: str, job: str) -> None:
    before, after = await set_reason(namespace, job, races=0, reason=None)
    assert before is after


async def test_a_job_that_is_not_there_is_not_found(namespace: str, job: str) -> None:
    with pytest.raises(NotFound, match=f"{namespace}/nobody: not found"):
        await set_reason(namespace, "nobody", races=0)
