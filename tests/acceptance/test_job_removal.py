"""A stop ends an attempt once nothing of it runs, whoever has deleted its Job: its pods may take their grace."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from dev.controlplane import ControlPlane
from tests.unit.test_kubernetes_job import EXECUTION

from scheduledjobs.handlers import following
from scheduledjobs.handlers.execution import Execution, Note, Stopping
from scheduledjobs.handlers.following import Following
from scheduledjobs.handlers.job_manifest import manifest, name_of
from scheduledjobs.handlers.job_payload import KubernetesJobPayload
from scheduledjobs.kube.job_watch import JobWatch
from scheduledjobs.kube.jobs import JobDoor


class Looks:
    """How often the pods of a Job were asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        ask = JobDoor.pods

        async def counted(door: JobDoor, namespace: str, uid: str) -> list[dict[str, Any]]:
            found = await ask(door, namespace, uid)
            self.count += 1
            return found

        monkeypatch.setattr(JobDoor, "pods", counted)

    async def two_more(self, attempt: asyncio.Task[Any]) -> None:
        """Wait for two looks, while the attempt goes on."""
        wanted = self.count + 2
        await until(lambda: attempt.done() or self.count >= wanted)
        assert not attempt.done(), "the attempt has ended beside a pod that lives"


async def until(look: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not look():
            await asyncio.sleep(0.02)


def an_execution(namespace: str, **changes: Any) -> Execution:
    return replace(EXECUTION, namespace=namespace, stopping=Stopping(), note=Note(), **changes)


def body(execution: Execution) -> dict[str, Any]:
    return manifest(execution, KubernetesJobPayload(image="report:1"), [], frozenset())


async def kubectl(cluster: ControlPlane, *words: str, stdin: str | None = None) -> None:
    await asyncio.to_thread(cluster.kubectl, *words, stdin=stdin)


async def start_pod(cluster: ControlPlane, namespace: str, uid: str) -> None:
    """Start a pod of the Job with this uid; its grace ends when the test deletes it."""
    labels = {"batch.kubernetes.io/controller-uid": uid}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "a-pod", "labels": labels},
        "spec": {"containers": [{"name": "job", "image": "report:1"}]},
    }
    await kubectl(cluster, "create", "-n", namespace, "-f", "-", stdin=json.dumps(pod))


async def delete_in_the_background(cluster: ControlPlane, execution: Execution) -> None:
    words = ("delete", "job", name_of(execution), "-n", execution.namespace, "--cascade=background", "--wait=false")
    await kubectl(cluster, *words)


def stop(execution: Execution, attempt: asyncio.Task[Any]) -> None:
    """Cancel the attempt, as the runner does at a timeout, a cancel or a Replace."""
    execution.stopping.set()
    attempt.cancel()


@pytest.mark.parametrize("when", ["before the stop", "after the stop", "before the stop of what was handed over"])
async def test_a_stop_waits_for_the_pods_of_a_job_that_somebody_has_deleted(
    cluster: ControlPlane, namespace: str, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
    monkeypatch.setattr(following, "PODS_SECONDS", 0.05)
    monkeypatch.setattr(following, "LOOK_SECONDS", 0.2)
    execution, watch, looks = an_execution(namespace), JobWatch(), Looks(monkeypatch)
    async with watch.following(namespace, name_of(execution)) as (door, followed):
        made = await door.create(namespace, body(execution))
        uid = made["metadata"]["uid"]
        await start_pod(cluster, namespace, uid)
        if when.endswith("handed over"):
            await delete_in_the_background(cluster, execution)
            execution = an_execution(namespace, noted={"job": name_of(execution), "uid": uid})
            execution.stopping.set()
        attempt = asyncio.create_task(Following(execution, door, followed, 60).run(lambda: body(execution)))
        if when == "before the stop":
            await until(lambda: execution.note.value)
            await delete_in_the_background(cluster, execution)
            await until(lambda: followed.is_gone)
            await looks.two_more(attempt)
            stop(execution, attempt)
        elif when == "after the stop":
            await until(lambda: execution.note.value)
            stop(execution, attempt)
            await until(lambda: "deletionTimestamp" in (followed.latest or {}).get("metadata", {}))
            await delete_in_the_background(cluster, execution)
            await until(lambda: followed.is_gone)
        await looks.two_more(attempt)
        await kubectl(cluster, "delete", "pod", "a-pod", "-n", namespace, "--now")
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(attempt, 20)
